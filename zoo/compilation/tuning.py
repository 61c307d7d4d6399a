"""Selection of the fastest engine for a model on this machine, for `engine="auto"`. The result of the measurement is cached."""

from __future__ import annotations

import contextlib
import hashlib
import json
import statistics
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict

import torch

from zoo.compilation.source import Source
from zoo.data.loader import pick_batch_size
from zoo.engines import ENGINES
from zoo.errors import InputError, ZooError
from zoo.images.preprocess import ImageBatch
from zoo.models.compiled import Compiled
from zoo.system.cache import cache_folder, shrink
from zoo.system.files import write_text
from zoo.system.hardware import cpu_has_bf16, cpu_name
from zoo.system.precision import AskedPrecision, EnginePrecision
from zoo.system.reproducibility import versions

_ORDER = ("openvino", "onnxruntime", "inductor")  # engines that are usually fastest, and convert fastest, come first
GAIN = 1.05  # minimum speed-up over eager; less is within timing noise and doesn't justify the peculiarities of another engine
_RUNS = 5
_LIMIT = 2**20

Choice = tuple[str, EnginePrecision]
Batches = dict[tuple[str, ...], ImageBatch]  # prepared images by the names of the heads of a pass


def quickest(source: Source, precision: AskedPrecision, batch_size: int | None, tune_seconds: float) -> Compiled:
    """Compile the model for the fastest engine whose predictions agree with the original model, or for eager if no engine is faster.

    The arguments are those of `zoo.compile`. After `tune_seconds`, no further engine is tried.
    """
    say, model = source.say, source.model
    size = min(pick_batch_size(batch_size, way.preprocess, model.device) for way in source.passes.values())
    choices = list(candidates(precision, say))
    if model.encrypted and (left_out := {name for name, _ in choices if not ENGINES[name].in_memory}):
        choices = [choice for choice in choices if choice[0] not in left_out]
        say(f"engine {', '.join(sorted(left_out))}: not tried, because it writes files and the model is encrypted")
    path = cache_folder("engines") / f"{_key(source, size, choices)}.json"
    kept = None
    with contextlib.suppress(OSError, ValueError, KeyError, TypeError):  # there is no earlier result, or it can't be read
        content = json.loads(path.read_text(encoding="utf-8"))
        kept = content["engine"], content["precision"]
    if kept in [*choices, ("eager", "fp32")]:
        with contextlib.suppress(ZooError):  # it doesn't agree on these images: measure again
            compiled = source.compiled(ENGINES[kept[0]](), kept[1])
            say(f"engine {kept[0]}, {kept[1]} (fastest here in an earlier measurement): {compiled.making}")
            return compiled
    best, figures = _race(source, choices, size, tune_seconds)
    with contextlib.suppress(OSError):  # no space or no permission: the next call measures again
        path.parent.mkdir(parents=True, exist_ok=True)
        write_text(path, json.dumps({"engine": best.making.engine, "precision": best.precision, "ms": figures}))
        shrink(path.parent, _LIMIT, [path])
    return best


def candidates(precision: AskedPrecision, say: Callable[[str], None] = lambda text: None) -> Iterator[Choice]:
    """Yield the pairs of engine and precision that may be faster than eager. Those that are usually fastest come first.

    "auto" stands for fp32 and, if the processor supports it, bf16. `say` receives a message about each engine that is not installed.
    Raise an `InputError` if no installed engine supports the requested precision.
    """
    asked = ("bf16", "fp32") if precision == "auto" and cpu_has_bf16() else ("fp32",) if precision == "auto" else (precision,)
    others = [name for name in ENGINES if name not in _ORDER and name != "eager"]
    found = False
    for name in (*_ORDER, *others, "eager"):
        missing = ENGINES[name].missing()
        if missing is not None:
            say(missing)
            continue
        for each in asked:
            if each in ENGINES[name].precisions and (name, each) != ("eager", "fp32"):
                found = True
                yield name, each
    if not found and precision not in ("auto", "fp32"):
        raise InputError(f"no installed engine supports {precision}; install one: pip install 'resnet-zoo[openvino]'")


def _race(source: Source, candidates: list[Choice], size: int, tune_seconds: float) -> tuple[Compiled, dict[str, float]]:
    """Measure candidates until the time limit. Return the fastest compiled model, and the measured times in milliseconds per batch."""
    start, say = time.perf_counter(), source.say
    eager = source.compiled(ENGINES["eager"](), "fp32")
    batches = _batches(source, size)
    best, figures, gain = eager, dict[str, float](), GAIN
    _milliseconds(eager, batches)  # warm-up: the first call allocates memory
    for engine, precision in candidates:
        label = f"{engine}, {precision}"
        left = tune_seconds - (time.perf_counter() - start)
        if left < ENGINES[engine].seconds:
            say(f"engine {label}: not tried, only {max(0.0, left):.0f} of {tune_seconds:g} seconds are left; set a larger --tune-seconds")
            continue
        try:
            compiled = source.compiled(ENGINES[engine](), precision)
        except ZooError as error:
            say(f"engine {label}: {error}")
            continue
        before, after = _in_turn(eager, compiled, batches, tune_seconds / len(candidates) / 2)
        figures[label] = after
        say(f"engine {label}: {after:.0f} ms per batch of {size}, eager {before:.0f} ms; {compiled.making}")
        if before / after > gain:
            best, gain = compiled, before / after
    if best is eager:
        say("engine auto: no engine that was tried is faster than eager")
    else:
        say(f"engine auto: {best.making.engine}, {best.precision}, {gain:.1f} times as fast as eager")
    return best, figures


def _batches(source: Source, size: int) -> Batches:
    """Return a batch of `size` images for each pass, by the names of its heads. If the source has fewer images, they are repeated."""
    found = {}
    for way in source.passes.values():
        images = source.heads[way.heads[0]]
        count = min(size, len(images.pictures))
        first = next(images.batches(count, count))
        places = [place % count for place in range(size)]
        sizes, originals = (tuple(all_of[place] for place in places) for all_of in (first.sizes_hw, first.original_sizes_hw))
        found[way.heads] = ImageBatch(first.pixels[places], sizes, originals)
    return found


def _in_turn(eager: Compiled, compiled: Compiled, batches: Batches, budget_s: float) -> tuple[float, float]:
    """Return the median times of both models in milliseconds, measured in turn, so that other processes slow down both equally."""
    _milliseconds(compiled, batches)  # warm-up
    pairs, start = [(_milliseconds(eager, batches), _milliseconds(compiled, batches))], time.perf_counter()
    while len(pairs) < _RUNS and time.perf_counter() - start < budget_s:
        pairs.append((_milliseconds(eager, batches), _milliseconds(compiled, batches)))
    return statistics.median(before for before, _ in pairs), statistics.median(after for _, after in pairs)


def _milliseconds(model: Compiled, batches: Batches) -> float:
    start = time.perf_counter()
    for heads, batch in batches.items():
        model(batch, tasks=heads)
    return 1000 * (time.perf_counter() - start)


def _key(source: Source, size: int, candidates: list[Choice]) -> str:
    """Return the cache key of a selection, which depends on the machine, versions, model, batch size and candidates."""
    ways = [asdict(way.preprocess) for way in source.passes.values()]
    preprocess = ways if source.model.is_joint else ways[0]
    content = [cpu_name(), torch.get_num_threads(), versions(), source.fingerprints, size, preprocess, candidates]
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:24]
