"""Evaluation of a model under white-box attacks, compared with clean images."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import torch
from torch import Tensor

from zoo.data.dataset import OnError
from zoo.data.loader import Batch, Batches, Reading, pick_batch_size
from zoo.errors import DataError, Fault, InputError, UnknownNameError
from zoo.evaluation.ensemble import answered
from zoo.evaluation.evaluate import summarise
from zoo.evaluation.heads import per_head
from zoo.evaluation.intervals import REPLICATES
from zoo.evaluation.robustness.attacks import AUTOATTACK_BATCH, AUTOATTACK_PARTS, EPS, STEPS, Attack, autoattack, fgsm, pgd
from zoo.images.preprocess import ImageBatch, as_float
from zoo.models.classes import match_classes
from zoo.models.fingerprint import model_fingerprint
from zoo.models.inference import evaluation_mode
from zoo.models.model import Model
from zoo.system.hardware import pick_device, pick_workers, place
from zoo.system.progress import Progress
from zoo.task.contract import TASKS, Task
from zoo.task.scoring import AttackProtocol

PAIRS = 500  # maximum number of face pairs of each kind (same and different identity)


@dataclass(frozen=True)
class _Plan:
    """Settings of an attack."""

    attack: Attack
    eps: float
    steps: int
    seed: int

    def to_dict(self) -> dict[str, Any]:
        how: dict[str, Any] = {"parts": list(AUTOATTACK_PARTS)} if self.attack == "autoattack" else {"steps": self.steps}
        return {"attack": self.attack, "norm": "max", "eps": self.eps, **how, "seed": self.seed}


def _check(
    task: Task,
    attack: str = "pgd",
    *,
    eps: float = EPS,
    steps: int = STEPS,
    pairs: int = PAIRS,
    batch_size: int | None = None,
    **further: object,
) -> None:
    if not task.scoring.attacks:
        known = [f"{name} ({', '.join(TASKS[name].scoring.attacks)})" for name in TASKS if TASKS[name].scoring.attacks]
        options = " with these options" if TASKS[task.name].scoring.attacks else ""
        raise InputError(f"attack: the task {task.name}{options} doesn't support attacks; supported are {' and '.join(known)}")
    if attack not in task.scoring.attacks:
        raise UnknownNameError(f"attack of the task {task.name}:", attack, task.scoring.attacks)
    if not 0 <= eps <= 1:
        raise InputError(f"attack: eps is {eps}; expected a fraction of the value range, from 0 to 1, such as 8/255")
    for name, value in (("steps", steps), ("pairs", pairs)):
        if value < 1:
            raise InputError(f"attack: {name} is {value}; expected 1 or more")
    if attack == "autoattack" and batch_size not in (None, AUTOATTACK_BATCH):
        raise InputError(
            f"autoattack: batch_size is {batch_size}; expected {AUTOATTACK_BATCH}, because its random draws depend on the batch size. "
            "Omit batch_size"
        )


@partial(per_head, check=_check)
def attack_evaluate(
    model: Model,
    data: object,
    attack: Attack = "pgd",
    *,
    eps: float = EPS,
    steps: int = STEPS,
    seed: int = 0,
    pairs: int = PAIRS,
    metric_options: Mapping[str, Any] | None = None,
    batch_size: int | None = None,
    workers: int | None = None,
    device: str = "auto",
    on_error: OnError = "raise",
    replicates: int = REPLICATES,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Score a model on clean images, and on the same images under white-box attacks.

    The task defines what is attacked (`Task.attack_protocol`). For classification, every image is moved away from its class. For faces, one
    image of each pair is moved away from the other image (same identity) or towards it (different identities). The attacker may change
    each value of an image by up to `eps`.

    Args:
        model: a model of a task that supports attacks. It is moved to `device`, and its training or evaluation mode is restored.
        data: dataset, as in `zoo.evaluate`; for several heads, a mapping from head name. The result is then a dict from head name.
        attack: "fgsm" (one step of `eps`), "pgd" (`steps` steps of 2.5 · eps / steps from a random start) or "autoattack" (its standard
            version). A task may support only some of them.
        eps: maximum change of each value of the resized and cropped RGB image, before normalisation. Values are in 0–1.
        steps: number of steps of "pgd".
        seed: random seed for starting points and for the choice of pairs. The starting point of an image doesn't depend on its batch.
        pairs: for faces, maximum number of attacked pairs of each kind (same and different identity), chosen uniformly at random.
        metric_options: scoring options, as in `zoo.evaluate`.
        batch_size: number of images per batch, as in `zoo.evaluate`. "autoattack" always uses batches of 32, because its random numbers
            depend on the batch size.
        workers: number of loader processes, as in `zoo.evaluate`.
        device: "auto" or a torch device.
        on_error: "raise", or "skip" to skip samples that can't be read.
        replicates: number of bootstrap replicates for the confidence intervals; 0 for no intervals.
        progress: display of progress bars and messages; None for no display.

    Returns:
        A JSON-serialisable dict. `clean` and `robust` are results in the format of `Scores.to_dict`, `score` is the name of the primary
        score, and the other entries are the settings of the attack.

    Raises:
        UnknownNameError: the task doesn't support the attack.
        InputError: the task doesn't support attacks, a setting or the dataset is invalid, or a required package isn't installed.
        DataError: none of the images can be read.
        ImageError: an image can't be read and `on_error` is "raise".
    """
    task = model.definition
    _check(task, attack, eps=eps, steps=steps, pairs=pairs, batch_size=batch_size)
    options = task.parse_scoring(metric_options or {}, [model.metadata])
    plan = _Plan(attack, eps, 1 if attack == "fgsm" else steps, seed)
    progress = progress or Progress(enabled=False)
    opened = task.open(data, on_error, progress.say)
    dataset, classes = match_classes(task, opened, model.classes)
    protocol = task.attack_protocol(dataset, classes, pairs, seed, **options)
    place(model, pick_device(device))
    size = AUTOATTACK_BATCH if attack == "autoattack" else pick_batch_size(batch_size, model.preprocess, model.device)
    reading = Reading(size, workers, "fp32", device, on_error, progress=progress)
    start = time.perf_counter()
    clean: dict[str, Any] = {}
    skipped: list[Fault] = []
    for batch in answered(model, protocol.pictures, reading):
        clean.update(zip(batch.keys, batch.answers, strict=True))
        skipped += batch.skipped
    if not clean:
        raise DataError(f"data {dataset.name!r}: none of its {len(protocol.pictures)} images can be read:", skipped)
    attacked = protocol.attacked(clean)
    loader = reading.loader(attacked, model.preprocess, size, pick_workers(workers, len(attacked)))
    robust = _robust(model, task, loader, protocol, plan, progress)
    scored = set(protocol.pictures.keys)
    manifest = replace(opened, records=tuple(record for record in opened.records if record.key in scored))
    results = {
        name: summarise(
            result, manifest, list(clean), skipped,
            preprocess=model.preprocess.to_dict(), precision="fp32", seconds=time.perf_counter() - start,
            fingerprints={"model": model_fingerprint(model)}, hub={} if model.hub is None else {"model": model.hub},
        ).to_dict()
        for name, result in protocol.score(robust, replicates).items()
    }  # fmt: skip
    return {"score": task.scoring.primary_score, **plan.to_dict(), **results}


def _robust(model: Model, task: Task, loader: Batches, protocol: AttackProtocol, plan: _Plan, progress: Progress) -> dict[str, Any]:
    """Attack every image and return the predictions by key. The model's training or evaluation mode is restored at the end."""

    def answer(pixels: Tensor) -> Tensor:
        """Return the outputs for preprocessed pixels [B, 3, H, W]. An attack may call it with a subset of a batch."""
        sizes = ((pixels.shape[2], pixels.shape[3]),) * len(pixels)
        outputs: Tensor = model(ImageBatch(pixels, sizes, sizes))
        return outputs

    answers: dict[str, Any] = {}
    with evaluation_mode(model):
        for batch in progress.track(loader, f"attacking ({plan.attack})", len(loader)):
            pixels = _attacked(answer, batch, protocol, plan, model.device)
            with torch.inference_mode():
                answers.update(zip(batch.keys, task.answers.split(answer(pixels)), strict=True))
    return answers


def _attacked(
    answer: Callable[[Tensor], Tensor], batch: Batch[ImageBatch], protocol: AttackProtocol, plan: _Plan, device: torch.device
) -> Tensor:
    assert batch.images is not None  # unreadable images were skipped in the clean run
    clean = as_float(batch.images.to(device).pixels)
    if plan.attack == "autoattack":
        return autoattack(answer, clean, torch.tensor(batch.targets, dtype=torch.int64, device=device), plan.eps, plan.seed)
    loss = partial(protocol.loss, targets=batch.targets)
    if plan.attack == "fgsm":
        return fgsm(answer, clean, loss, plan.eps)
    return pgd(answer, clean, loss, plan.eps, plan.steps, batch.keys, plan.seed)
