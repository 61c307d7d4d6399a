"""One case in a process of its own: open the data, build, train, score, time.

Run as `python -m zoo.benchmarks.harness.case JOB RESULT`: two JSON files, the first one read, the second one written.
"""

from __future__ import annotations

import json
import sys
import traceback
from collections.abc import Callable, Mapping
from dataclasses import asdict
from itertools import islice
from pathlib import Path
from typing import Any, cast, get_args

import torch

from zoo.backbones import BACKBONES
from zoo.benchmarks.harness.machine import describe_machine, peak_memory_mib
from zoo.benchmarks.harness.measurement import Measurement, Throughput
from zoo.benchmarks.harness.suite import Case
from zoo.benchmarks.harness.timing import Timing, measure
from zoo.compilation.compile import compile
from zoo.data.dataset import Dataset
from zoo.data.formats import open_data
from zoo.engines import ENGINES, AskedPrecision
from zoo.errors import InputError, UnknownNameError, ZooError
from zoo.evaluation.evaluate import evaluate
from zoo.images.preprocess import ImageBatch
from zoo.models.builder import build
from zoo.models.model import Model
from zoo.system.files import write_text
from zoo.task.contract import get_task
from zoo.task.recipe import Recipe, replace_settings
from zoo.training.train import train

_TIMED_PICTURES = 64  # decoded and held in memory, so that the clock sees several pictures and no disk
_BUDGET_S = 4.0  # of timed calls, for the latency and again for the throughput


def check_case(case: Case) -> None:
    """Find what is wrong with a case before any case has taken its minutes.

    Raises:
        InputError: an unknown task, backbone, option, engine or recipe setting, an engine that isn't installed, or a value that can't be.
    """
    task = get_task(case.task)
    BACKBONES[case.backbone]
    task.parse_options(case.options)
    make_recipe(case)
    missing = ENGINES[case.engine].missing() if case.engine != "auto" else None
    if missing is not None:
        raise InputError(missing)
    if case.precision not in get_args(AskedPrecision):
        raise UnknownNameError("precision", case.precision, get_args(AskedPrecision))


def make_recipe(case: Case) -> Recipe:
    """Return the task's recipe with the case's settings.

    Raises:
        UnknownNameError: a setting that the recipe doesn't have.
        InputError: a value that can't be.
    """
    return replace_settings(get_task(case.task).recipe(), case.recipe, f"the task {case.task}")


def run_case(case: Case, folder: Path) -> Measurement:
    """Build, train, score and time one case.

    Args:
        case: what to run.
        folder: where the training may write its run.

    Raises:
        ZooError: the case asks for something that isn't there.
    """
    task = get_task(case.task)
    test = open_data(case.test, task.schemes, task.name)
    train_seconds = None
    if case.train is None:
        model = build(case.backbone, task=case.task, weights=case.weights, **case.options)
    else:
        data = open_data(case.train, task.schemes, task.name)
        fresh = build(case.backbone, task=case.task, classes=data.classes, weights=case.weights, **case.options)
        run = train(fresh, data=data, recipe=make_recipe(case), out=folder / "run")
        model, train_seconds = run.model, run.seconds
    if (case.engine, case.precision) != ("eager", "auto"):
        precision = cast(AskedPrecision, case.precision)
        model = compile(model, case.engine, precision, data=case.calibration, batch_size=case.batch_size)
    scores = evaluate(model, test)
    missing = [name for name in case.expect if name not in scores]
    if missing:
        raise UnknownNameError(f"score in expect of the case {case.name}:", missing[0], scores)
    latency, throughput = time_model(model, test, case.batch_size)
    return Measurement(
        scores=scores.scores,
        n=scores.n,
        skipped=len(scores.skipped),
        train_seconds=train_seconds,
        eval_seconds=scores.seconds,
        eval_images_per_second=scores.n / scores.seconds,
        latency=latency,
        throughput=throughput,
        parameters=sum(parameter.numel() for parameter in model.parameters()),
        peak_memory_mib=peak_memory_mib(),
    )


def time_model(model: Model, data: Dataset, batch_size: int, budget_s: float = _BUDGET_S) -> tuple[Timing, Throughput]:
    """Time a model on real pictures that are decoded and prepared beforehand.

    What is timed is normalisation, trunk, head and the decoding of the answer (for detection with non-maximum suppression,
    whose time depends on the picture: hence several of them). fp32, as `zoo.evaluate` computes.

    Args:
        model: where it is, its device is used.
        data: where the pictures come from: its first ones.
        batch_size: pictures per call for the throughput; fewer where the data has fewer.
        budget_s: seconds of timed calls, for each of the two.

    Returns:
        The time of a call with one picture, and the rate with `batch_size` pictures.
    """
    preprocess = model.preprocess
    samples = list(islice(data, max(_TIMED_PICTURES, batch_size)))
    prepared = [(preprocess(sample.image), sample.image.shape[:2]) for sample in samples]

    def batches(size: int) -> list[ImageBatch]:
        groups = [prepared[start : start + size] for start in range(0, len(prepared) - size + 1, size)]
        return [preprocess.collate([pixels for pixels, _ in group], [hw for _, hw in group]).to(model.device) for group in groups]

    size = min(batch_size, len(prepared))
    model.eval()
    with torch.inference_mode():
        latency = measure(_caller(model, batches(1)), budget_s=budget_s)
        together = measure(_caller(model, batches(size)), budget_s=budget_s, warmup=2, min_runs=5)
    return latency, Throughput(size, 1000 * size / together.median_ms)


def _caller(model: Model, batches: list[ImageBatch]) -> Callable[[int], object]:
    def call(number: int) -> object:
        answer = model(batches[number % len(batches)])
        if model.device.type != "cpu":
            torch.accelerator.synchronize()  # an accelerator's call returns before its work is done
        return answer

    return call


def main(job: Path, result: Path) -> None:
    """Run the case of a job file and write what became of it.

    Args:
        job: `{"case": {…}, "folder": path}`.
        result: gets `{"measurement": {…}, "machine": {…}}` or `{"error": message}`; appears whole.
    """
    content = json.loads(job.read_text(encoding="utf-8"))
    outcome: Mapping[str, Any]
    try:
        measurement = run_case(Case(**content["case"]), Path(content["folder"]))
        outcome = {"measurement": measurement.to_dict(), "machine": asdict(describe_machine())}
    except ZooError as error:
        outcome = {"error": str(error)}
    except Exception as error:  # a defect of the zoo: the suite goes on, the trace goes to the report's log
        traceback.print_exc()
        outcome = {"error": f"{type(error).__name__}: {error}"}
    write_text(result, json.dumps(outcome))


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
