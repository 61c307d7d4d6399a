"""Pictures made to mislead: FGSM (Goodfellow et al. 2015) and PGD (Madry et al. 2018) in the maximum norm, for classification."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, Literal, get_args

import torch
from torch import Tensor, nn

from zoo.class_matching import match_classes
from zoo.data import OnError
from zoo.errors import DataError, Fault, InputError, UnknownNameError
from zoo.evaluation import summarise
from zoo.fingerprint import model_fingerprint
from zoo.hardware import pick_device, pick_workers, place
from zoo.images import Decoding
from zoo.loader import Batch, evaluation_loader, pick_batch_size
from zoo.model import Model
from zoo.preprocess import as_float
from zoo.progress import Progress
from zoo.schemes import open_data
from zoo.task import get_task
from zoo.uncertainty import REPLICATES

Attack = Literal["fgsm", "pgd"]
EPS = 8 / 255


def attack_evaluate(
    model: Model,
    data: object,
    attack: Attack = "pgd",
    *,
    eps: float = EPS,
    steps: int = 20,
    seed: int = 0,
    batch_size: int | None = None,
    workers: int | None = None,
    device: str = "auto",
    on_error: OnError = "raise",
    replicates: int = REPLICATES,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Score a classifier on clean pictures, and on the same pictures attacked with full knowledge of the model.

    Args:
        model: a classifier; it is moved to `device` and left in the mode it was in.
        data: as for `zoo.evaluate`.
        attack: "fgsm", one step of `eps`; or "pgd", `steps` steps of 2.5 · eps / steps from a random start.
        eps: the largest change of any value, as a part of 1, on the RGB picture as it is after resizing and cropping and before
            normalisation.
        steps: of "pgd".
        seed: of the random starts; with the same seed a picture's start is the same in every batch.
        batch_size: as for `zoo.evaluate`.
        workers: as for `zoo.evaluate`.
        device: as for `zoo.evaluate`.
        on_error: as for `zoo.evaluate`.
        replicates: as for `zoo.evaluate`.
        progress: as for `zoo.evaluate`.

    Returns:
        JSON-ready: `clean` and `robust` are results as of `zoo.evaluate`; `score` names the primary one; and the attack's settings.

    Raises:
        InputError: no classifier, settings that can't be meant, captum isn't installed, or as `zoo.evaluate`.
        DataError: none of the pictures can be read.
        ImageError: one can't be read and `on_error` is "raise".
    """
    _check(model, attack, eps, steps)
    task = get_task(model.task)
    progress = progress or Progress(enabled=False)
    opened = open_data(data, task.schemes, task.name, on_error, progress.say)
    dataset, classes = match_classes(task, opened, model.classes)
    place(model, pick_device(device))
    size = pick_batch_size(batch_size, model.preprocess)
    decoding = Decoding(model.preprocess.min_size_hw)
    loader = evaluation_loader(dataset, model.preprocess, size, pick_workers(workers, len(dataset)), on_error, decoding=decoding)
    metrics = {"clean": task.metric(dataset, classes), "robust": task.metric(dataset, classes)}
    start, keys, skipped = time.perf_counter(), list[str](), list[Fault]()
    was_training = model.training
    model.eval()
    try:
        for batch in progress.track(loader, f"attacking ({attack})", len(loader)):
            skipped += batch.skipped
            keys += batch.keys
            if batch.images is not None:
                for name, answers in _both(model, batch, attack, eps, steps, seed).items():
                    metrics[name].update(task.split(answers), batch.targets, batch.keys)
    finally:
        model.train(was_training)
    if not keys:
        raise DataError(f"data {dataset.name!r}: none of its {len(dataset)} pictures can be read:", skipped)
    results = {
        name: summarise(
            metric.compute(replicates), opened, keys, skipped,
            preprocess=model.preprocess.to_dict(), precision="fp32", seconds=time.perf_counter() - start,
            fingerprints={"model": model_fingerprint(model)},
        ).to_dict()
        for name, metric in metrics.items()
    }  # fmt: skip
    settings = {"attack": attack, "eps": eps, "steps": 1 if attack == "fgsm" else steps, "seed": seed}
    return {"score": task.primary_score, **settings, **results}


def _both(model: Model, batch: Batch, attack: Attack, eps: float, steps: int, seed: int) -> dict[str, Tensor]:
    """Return the logits [B, K] of the clean and of the attacked pictures."""
    assert batch.images is not None
    images = batch.images.to(model.device)

    def answer(pixels: Tensor) -> Tensor:
        logits: Tensor = model(replace(images, pixels=pixels))
        return logits

    clean = as_float(images.pixels)
    targets = torch.tensor(batch.targets, dtype=torch.int64, device=model.device)
    attacked = fgsm(answer, clean, targets, eps) if attack == "fgsm" else pgd(answer, clean, targets, eps, steps, batch.keys, seed)
    with torch.inference_mode():
        return {"clean": answer(clean), "robust": answer(attacked)}


def fgsm(answer: Callable[[Tensor], Tensor], pixels: Tensor, targets: Tensor, eps: float) -> Tensor:
    """Move every value by `eps` in the direction that raises the cross-entropy.

    Args:
        answer: from pictures to logits [B, K].
        pixels: [B, 3, H, W] float in 0–1.
        targets: [B] int64, the right classes.
        eps: the largest change.

    Returns:
        [B, 3, H, W] float in 0–1, within `eps` of `pixels`.

    Raises:
        InputError: captum isn't installed.
    """
    attacked: Tensor = _captum_fgsm(answer).perturb(pixels.clone().requires_grad_(), eps, targets).detach()
    return attacked


def pgd(
    answer: Callable[[Tensor], Tensor], pixels: Tensor, targets: Tensor, eps: float, steps: int, keys: Sequence[str], seed: int = 0
) -> Tensor:
    """Climb the cross-entropy from a random start, staying within `eps`.

    The steps are captum's FGSM. Its own PGD draws the start from torch's global generator for a whole batch, so that scores would
    depend on the batch size; here a picture's start depends on its key and the seed.

    Args:
        answer: from pictures to logits [B, K].
        pixels: [B, 3, H, W] float in 0–1.
        targets: [B] int64, the right classes.
        eps: the largest change.
        steps: how many, of 2.5 · eps / steps each.
        keys: of the pictures.
        seed: of the starts.

    Returns:
        [B, 3, H, W] float in 0–1, within `eps` of `pixels`.

    Raises:
        InputError: captum isn't installed.
    """
    step = _captum_fgsm(answer)
    low, high = (pixels - eps).clamp(0, 1), (pixels + eps).clamp(0, 1)
    attacked = (pixels + eps * _starts(pixels, keys, seed)).clamp(low, high)
    for _ in range(steps):
        attacked = step.perturb(attacked.requires_grad_(), 2.5 * eps / steps, targets).detach().clamp(low, high)
    return attacked


def _starts(pixels: Tensor, keys: Sequence[str], seed: int) -> Tensor:
    """Return uniform values in -1 to 1 [B, 3, H, W], drawn on the CPU: the same on every device."""
    drawn = []
    for key in keys:
        digest = hashlib.sha256(f"{seed}\0{key}".encode("utf-8", "surrogatepass")).digest()
        generator = torch.Generator().manual_seed(int.from_bytes(digest[:7], "little"))
        drawn.append(torch.rand(pixels.shape[1:], generator=generator) * 2 - 1)
    return torch.stack(drawn).to(pixels.device)


def _captum_fgsm(answer: Callable[[Tensor], Tensor]) -> Any:
    try:
        from captum.robust import FGSM  # an extra, and slow to import
    except ModuleNotFoundError as error:
        raise InputError("attacks need captum, which is not installed. Install it with: pip install 'resnet-zoo[robustness]'") from error
    step = FGSM(answer, nn.CrossEntropyLoss(reduction="none"), lower_bound=0.0, upper_bound=1.0)
    # captum takes gradients below 1e-6 for none, and so spares what the model is surest of: PGD-20 at 8/255 left the CIFAR ResNet-20
    # 11 % of its answers
    step.zero_thresh = 0.0
    return step


def _check(model: Model, attack: str, eps: float, steps: int) -> None:
    if attack not in get_args(Attack):
        raise UnknownNameError("attack", attack, get_args(Attack))
    if model.task != "classification":
        raise InputError(f"attack: the model's task is {model.task}; attacks are for classification")
    if not 0 <= eps <= 1:
        raise InputError(f"attack: eps is {eps}; expected a part of the range of values, from 0 to 1, such as 8/255")
    if steps < 1:
        raise InputError(f"attack: steps is {steps}; expected 1 or more")
