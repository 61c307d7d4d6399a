"""Run one benchmark case in a separate process: open the data, build, train, score and time the model.

Usage: `python -m zoo.benchmarks.harness.case JOB RESULT`. JOB is the JSON file that describes the case, RESULT the JSON file to write.
"""

from __future__ import annotations

import json
import sys
import traceback
from collections.abc import Callable, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any, cast, get_args

import torch

from zoo.backbones import BACKBONES
from zoo.benchmarks.harness.expectations import check_names
from zoo.benchmarks.harness.limits import end_with_parent
from zoo.benchmarks.harness.measurement import measure, peak_memory_mib
from zoo.benchmarks.harness.report import Measurement, Throughput, Timing
from zoo.benchmarks.harness.scenarios import Length, check_scenarios, run_scenarios
from zoo.benchmarks.harness.suite import ByHead, Case
from zoo.compilation.compile import compile
from zoo.data.dataset import Dataset
from zoo.engines import ENGINES
from zoo.errors import InputError, UnknownNameError, ZooError
from zoo.evaluation.evaluate import evaluate
from zoo.models.builder import build
from zoo.models.heads import by_head, named_tasks
from zoo.models.model import Model
from zoo.system.files import write_text
from zoo.system.precision import AskedPrecision
from zoo.task.contract import Task, get_task, recipe
from zoo.task.metric import Scores
from zoo.training.train import train

_TIMED_PICTURES = 64  # number of images decoded in advance, so that timing covers several images but no disk access
_BUDGET_S = 4.0  # seconds of timed calls, for latency and throughput each
_REPLICATES = 200  # bootstrap replicates of a score in the report, enough for the 95 % interval of a difference
_LENGTH = Length()  # of each scenario


def check_case(case: Case, place: Callable[[str], str] | None = None) -> None:
    """Raise an `InputError` if a setting of a case is invalid or its engine isn't installed, before any case runs.

    `place` returns where a key of the case is set; the message begins with it.
    """
    for key, check in _CHECKS.items():
        try:
            check(case)
        except InputError as error:
            if place is None:
                raise
            raise InputError(f"{place(key)}: {error}") from error


def _definitions(case: Case) -> dict[str, Task]:
    """Return the task of each head with the options of the case."""
    tasks = named_tasks(case.task)
    options = by_head({name: get_task(task) for name, task in tasks.items()}, case.options)
    return {name: get_task(task, options[name]) for name, task in tasks.items()}


def _check_options(case: Case) -> None:
    tasks = named_tasks(case.task)
    for name, options in by_head({name: get_task(task) for name, task in tasks.items()}, case.options).items():
        get_task(tasks[name], options).parse_options(options)


def _check_engine(case: Case) -> None:
    missing = ENGINES[case.engine].missing() if case.engine != "auto" else None
    if missing is not None:
        raise InputError(missing)


def _check_precision(case: Case) -> None:
    if case.precision not in get_args(AskedPrecision):
        raise UnknownNameError("precision", case.precision, get_args(AskedPrecision))


def _check_expect(case: Case) -> None:
    several = not isinstance(case.task, str)
    patterns = {name if several else "": task.scoring.score_names for name, task in _definitions(case).items()}
    check_names(case.expect, patterns, case.train is not None)


def make_recipe(case: Case) -> Any:
    """Return the recipe of the task, or of a model with several heads, with the settings of the case."""
    return recipe(case.task, **{**case.recipe, **({} if case.seed is None else {"seed": case.seed})})


_CHECKS: dict[str, Callable[[Case], object]] = {
    "backbone": lambda case: BACKBONES[case.backbone],
    "task": lambda case: [get_task(task) for task in named_tasks(case.task).values()],
    "options": _check_options,
    "recipe": make_recipe,
    "scenarios": lambda case: check_scenarios(case.scenarios, case.server_bound_ms),
    "engine": _check_engine,
    "precision": _check_precision,
    "expect": _check_expect,
}


def _opened(case: Case, data: ByHead) -> dict[str, Dataset]:
    """Open the data of each head."""
    tasks = _definitions(case)
    sources = data if isinstance(data, Mapping) else dict.fromkeys(tasks, data)
    return {name: tasks[name].open(source) for name, source in sources.items()}


def run_case(case: Case, folder: Path) -> Measurement:
    """Build, train, evaluate and time the model of one case. The training run is written to `folder`."""
    several, settings, test, train_seconds = not isinstance(case.task, str), make_recipe(case), _opened(case, case.test), None
    torch.manual_seed(settings.seed)  # for the random initialisation of new parameters
    if case.train is None:
        model = build(case.backbone, task=case.task, weights=case.weights, **case.options)
        hub = model.hub
    else:
        data = _opened(case, case.train)
        classes = {name: each.classes for name, each in data.items()}
        fresh = build(case.backbone, task=case.task, classes=classes, weights=case.weights, **case.options)
        hub = fresh.hub
        run = train(fresh, data=data if several else next(iter(data.values())), recipe=settings, out=folder / "run")
        model, train_seconds = run.model, run.seconds
    if (case.engine, case.precision) != ("eager", "auto"):
        precision = cast(AskedPrecision, case.precision)
        model = compile(model, case.engine, precision, data=case.calibration, batch_size=case.batch_size)
    found: Mapping[str, Scores] = evaluate(model, test) if several else {"": evaluate(model, next(iter(test.values())))}
    scored = _scored(found, {name: task.scoring.primary_score for name, task in _definitions(case).items()}, case.expect)
    check_names(case.expect, {"": tuple(scored["scores"])}, case.train is not None)
    timed = next(iter(test.values()))
    latency, throughput = time_model(model, timed, case.batch_size)
    return Measurement(
        **scored,
        train_seconds=train_seconds,
        latency=latency,
        throughput=throughput,
        parameters=sum(parameter.numel() for parameter in model.parameters()),
        peak_memory_mib=peak_memory_mib(),
        scenarios=time_scenarios(model, timed, case) if case.scenarios else {},
        hub=hub,
    )


def _scored(found: Mapping[str, Scores], primary: Mapping[str, str], expect: Mapping[str, Any]) -> dict[str, Any]:
    """Return the fields of a `Measurement` that are results of the evaluation.

    Replicates are kept for the primary score of each head and the scores in `expect`, which are the ones that are compared.
    """
    named = {(name, score): f"{name}/{score}" if name else score for name, own in found.items() for score in own.scores}
    chosen = {(name, score) for name in found for score in (primary[name] if name else next(iter(primary.values())),)}
    chosen |= {place for place, full in named.items() if full in expect}
    count, seconds = sum(own.n for own in found.values()), sum(own.seconds for own in found.values())
    return {
        "scores": {full: found[name].scores[score] for (name, score), full in named.items()},
        "n": count,
        "skipped": sum(len(own.skipped) for own in found.values()),
        "eval_seconds": seconds,
        "eval_images_per_second": count / seconds,
        "intervals": {full: found[name].intervals[score] for (name, score), full in named.items() if score in found[name].intervals},
        "replicates": {
            named[name, score]: tuple(found[name].replicates[score][:_REPLICATES].tolist())
            for name, score in sorted(chosen)
            if score in found[name].replicates
        },
        "data_fingerprints": {name: own.fingerprints["data"] for name, own in found.items()},
    }


def time_model(model: Model, data: Dataset, batch_size: int) -> tuple[Timing, Throughput]:
    """Measure the latency (one image per call) and throughput of a model on images that are decoded in advance.

    They are also preprocessed in advance, unless the heads of the model need several passes through the backbone. A timed call covers
    normalisation, backbone, heads and decoding of the predictions. For detection, the time of non-maximum suppression depends on the image,
    so that several images are used. The precision is fp32, as in `zoo.evaluate`.
    """
    images = [sample.image for sample in islice(data, max(_TIMED_PICTURES, batch_size))]
    ways = model.passes()

    def caller(size: int) -> Callable[[int], object]:
        groups = [images[start : start + size] for start in range(0, len(images) - size + 1, size)]
        batches = [ways[0].preprocess.batch(group).to(model.device) for group in groups] if len(ways) == 1 else groups

        def call(number: int) -> object:
            answer = model(batches[number % len(batches)])
            if model.device.type != "cpu":
                torch.accelerator.synchronize()  # calls on an accelerator are asynchronous
            return answer

        return call

    size = min(batch_size, len(images))
    model.eval()
    with torch.inference_mode():
        latency = measure(caller(1), budget_s=_BUDGET_S)
        together = measure(caller(size), budget_s=_BUDGET_S, warmup=2, min_runs=5)
    return latency, Throughput(size, 1000 * size / together.median_ms)


def time_scenarios(model: Model, data: Dataset, case: Case) -> dict[str, dict[str, Any]]:
    """Measure the scenarios of a case on images that are decoded in advance. A query covers preprocessing, the model and its answer."""
    images = [sample.image for sample in islice(data, _TIMED_PICTURES)]

    def call(numbers: Sequence[int]) -> None:
        model([images[number] for number in numbers])
        if model.device.type != "cpu":
            torch.accelerator.synchronize()

    with torch.inference_mode():
        return run_scenarios(case.scenarios, call, len(images), case.batch_size, case.server_bound_ms, _LENGTH)


def main(job: Path, result: Path) -> None:
    """Run the case of a job file, `{"case": {…}, "folder": path}`, and write `{"measurement": {…}}` or `{"error": message}` atomically."""
    content = json.loads(job.read_text(encoding="utf-8"))
    outcome: Mapping[str, Any]
    try:
        outcome = {"measurement": run_case(Case(**content["case"]), Path(content["folder"])).to_dict()}
    except ZooError as error:
        outcome = {"error": str(error)}
    except Exception as error:  # a bug in the zoo: the suite continues, the traceback goes to the log
        traceback.print_exc()
        outcome = {"error": f"{type(error).__name__}: {error}"}
    write_text(result, json.dumps(outcome))


if __name__ == "__main__":
    end_with_parent(Path(sys.argv[1]).parent)
    main(Path(sys.argv[1]), Path(sys.argv[2]))
