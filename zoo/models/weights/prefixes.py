"""Find the weights of a backbone among the keys of a checkpoint, whatever prefixes wrappers and containers add to them."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from zoo.errors import WeightsError
from zoo.system.wording import counted

_LEAST_KEYS, _LEAST_OF_FILE = 0.1, 0.3  # smallest part of the backbone's keys, and of the file's keys under the prefix, that must match
_AVERAGED = re.compile(r"(?<![a-z])(ema|swa|teacher|average|averaged|polyak|shadow)(?![a-z])", re.IGNORECASE)
_MOMENTUM = re.compile(r"(?<![a-z])(encoder_k|momentum|target)(?![a-z])", re.IGNORECASE)
_CONTAINERS = ("state_dict", "model_state_dict", "model", "model_state", "net", "network", "module", "params", "weights", "student")
_STATISTICS = ("running_mean", "running_var", "num_batches_tracked")
# parts of a checkpoint that aren't weights, and entries that `torch.optim.swa_utils.AveragedModel` adds
_NO_WEIGHTS = re.compile(r"^[^.]*(optim|sched|scaler|callback|loop|rng)|(^|\.)(n_averaged|num_batches_tracked)$", re.IGNORECASE)


@dataclass(frozen=True)
class Found:
    """The weights of a backbone among the tensors of a file."""

    layout: str  # name of the layout
    prefix: str  # what stands before the keys: "", or names that each end in a dot
    state: dict[str, Tensor]  # entries under the prefix, without it
    rest: dict[str, Tensor]  # other entries, except other copies of the same weights
    choice: tuple[str, ...] = ()  # messages about the choice between several copies

    @property
    def notes(self) -> tuple[str, ...]:
        """Messages about the choice between several copies, and about entries that aren't used."""
        skipped = [key for key in self.rest if "." in key and not _NO_WEIGHTS.search(key)]
        if not skipped:
            return self.choice
        some = ", ".join([*skipped[:2], *(["…"] if len(skipped) > 2 else [])])
        return *self.choice, f"skipped what doesn't belong to the model: {counted(len(skipped), 'entry', 'entries')} ({some})"


def find(state: Mapping[str, Tensor], layouts: Mapping[str, Mapping[str, torch.Size]], origin: str) -> Found | None:
    """Return the entries of a state dict that match one of the layouts best; None if too few keys match any of them.

    If several sets match equally well, averaged weights have precedence, then the usual names of containers. Averaged weights without
    batch-norm statistics are completed by those of the weights that they are the average of.

    Args:
        state: all tensors of a file.
        layouts: by name of the layout, the shapes of the backbone's weights by key.
        origin: path of the file, for messages.

    Raises:
        WeightsError: several different sets match equally well, and their names don't determine which one to use.
    """
    scores = {
        (name, prefix): score
        for name, shapes in layouts.items()
        for prefix, score in _scores(state, shapes).items()
        if _plausible(state, shapes, prefix, score[1])
    }
    if not scores:
        return None
    best = max(scores.values())
    layout, _ = min((pair for pair in scores if scores[pair] == best), key=lambda pair: pair[1].count("."))
    prefixes = [prefix for name, prefix in scores if name == layout]
    equal = [prefix for prefix in prefixes if scores[layout, prefix] == best]
    chosen = _choose(state, equal, origin)
    inside = _under(state, chosen)
    copies, choice = (
        {*equal},
        [f"used the weights under {_named(chosen)}, not those under {_named(other)}" for other in equal if other != chosen],
    )
    if not _AVERAGED.search(chosen):
        for prefix in filter(_AVERAGED.search, prefixes):
            averaged = _under(state, prefix)
            copies.add(prefix)
            if _is_average_of(averaged, inside, layouts[layout]):
                choice = [f"used the averaged weights under {_named(prefix)}, and those under {_named(chosen)} for what they lack"]
                inside, chosen = {**inside, **averaged}, prefix
                break
            choice.append(f"used the weights under {_named(chosen)}, because the averaged ones under {_named(prefix)} are incomplete")
    elif choice:
        choice = [note.replace("the weights", "the averaged weights", 1) for note in choice]
    known = {f"{prefix}{key}" for prefix in {chosen, *copies} for key in (*inside, *layouts[layout])}
    return Found(layout, chosen, inside, {key: value for key, value in state.items() if key not in known}, tuple(choice))


def _scores(state: Mapping[str, Tensor], shapes: Mapping[str, torch.Size]) -> dict[str, tuple[int, int]]:
    """Return, for each prefix, how many keys of the layout follow it with the expected shape, and with any shape."""
    exact: Counter[str] = Counter()
    named: Counter[str] = Counter()
    for key, value in state.items():
        start = 0
        while start >= 0:
            if (shape := shapes.get(key[start:])) is not None:
                named[key[:start]] += 1
                exact[key[:start]] += shape == value.shape
            start = key.find(".", start) + 1 or -1
    return {prefix: (exact[prefix], count) for prefix, count in named.items()}


def _plausible(state: Mapping[str, Tensor], shapes: Mapping[str, torch.Size], prefix: str, matches: int) -> bool:
    inside = sum(key.startswith(prefix) for key in state)
    return matches >= _LEAST_OF_FILE * min(inside, len(shapes)) and (matches >= _LEAST_KEYS * len(shapes) or not prefix)


def _choose(state: Mapping[str, Tensor], prefixes: Sequence[str], origin: str) -> str:
    """Return the prefix of the weights to use, from those that match equally well."""

    def rank(prefix: str) -> tuple[int, int]:
        first = prefix.partition(".")[0]
        kind = 0 if _AVERAGED.search(prefix) else 2 if _MOMENTUM.search(prefix) else 1
        return kind, _CONTAINERS.index(first) if first in _CONTAINERS else len(_CONTAINERS)

    ranks = {prefix: rank(prefix) for prefix in prefixes}
    first, *others = [prefix for prefix in prefixes if ranks[prefix] == min(ranks.values())]
    content = _under(state, first)
    for other in others:
        again = _under(state, other)
        if content.keys() != again.keys() or not all(torch.equal(value, again[key]) for key, value in content.items()):
            raise WeightsError(
                f"weights {origin}: several sets of weights match equally well, under {', '.join(map(_named, (first, *others)))}. "
                "Save the one to use alone"
            )
    return first


def _is_average_of(averaged: Mapping[str, Tensor], raw: Mapping[str, Tensor], shapes: Mapping[str, torch.Size]) -> bool:
    """Return whether weights can be an average of others: of the same shapes, and lacking only batch-norm statistics of the backbone."""
    same = all(key in raw and raw[key].shape == value.shape for key, value in averaged.items() if not _NO_WEIGHTS.search(key))
    return same and all(key in averaged or key.endswith(_STATISTICS) for key in shapes)


def _under(state: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {key.removeprefix(prefix): value for key, value in state.items() if key.startswith(prefix)}


def _named(prefix: str) -> str:
    return repr(prefix.removesuffix(".")) if prefix else "no prefix"
