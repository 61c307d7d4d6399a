"""Adversarial attacks in the maximum norm: FGSM (Goodfellow et al. 2015), PGD (Madry et al. 2018), AutoAttack (Croce & Hein 2020).

The gradient steps are captum's; AutoAttack is its authors' implementation, from the package pyautoattack.
"""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Callable, Sequence
from typing import Any, Literal

import torch
from torch import Tensor

from zoo.errors import InputError

Attack = Literal["fgsm", "pgd", "autoattack"]
Answer = Callable[[Tensor], Tensor]
Loss = Callable[[Tensor], Tensor]

EPS = 8 / 255
STEPS = 20
AUTOATTACK_BATCH = 32  # AutoAttack draws random numbers for a whole batch, so its results depend on the batch size
AUTOATTACK_PARTS = ("apgd-ce", "apgd-t", "fab-t", "square")  # the standard version, in the order in which they run
_LEAST_CLASSES = 4  # the targeted DLR loss is scaled by the first, third and fourth logit
_TARGETS = 9  # number of wrong classes that the targeted attacks try, the most likely ones


def fgsm(answer: Answer, pixels: Tensor, loss: Loss, eps: float) -> Tensor:
    """Change every value by `eps` in the direction that increases the loss.

    Args:
        answer: function from images to the model's answers [B, …].
        pixels: [B, 3, H, W] float in 0–1.
        loss: function from answers to the loss to maximise, [B].
        eps: largest change of any value.

    Returns:
        [B, 3, H, W] float in 0–1, within `eps` of `pixels`.

    Raises:
        InputError: captum isn't installed.
    """
    attacked: Tensor = _captum_fgsm(answer, loss).perturb(pixels.clone().requires_grad_(), eps, None).detach()
    return attacked


def pgd(answer: Answer, pixels: Tensor, loss: Loss, eps: float, steps: int, keys: Sequence[str], seed: int = 0) -> Tensor:
    """Maximise the loss by gradient ascent from a random start, staying within `eps` of the original.

    The steps are captum's FGSM. Captum's own PGD draws the start from torch's global generator for a whole batch, so that scores would
    depend on the batch size; here an image's start depends on its key and the seed.

    Args:
        answer: function from images to the model's answers [B, …].
        pixels: [B, 3, H, W] float in 0–1.
        loss: function from answers to the loss to maximise, [B].
        eps: largest change of any value.
        steps: number of steps, each of size 2.5 · eps / steps.
        keys: keys of the images.
        seed: random seed for the starts.

    Returns:
        [B, 3, H, W] float in 0–1, within `eps` of `pixels`.

    Raises:
        InputError: captum isn't installed.
    """
    step = _captum_fgsm(answer, loss)
    low, high = (pixels - eps).clamp(0, 1), (pixels + eps).clamp(0, 1)
    attacked = (pixels + eps * _starts(pixels, keys, seed)).clamp(low, high)
    for _ in range(steps):
        attacked = step.perturb(attacked.requires_grad_(), 2.5 * eps / steps, None).detach().clamp(low, high)
    return attacked


def autoattack(answer: Answer, pixels: Tensor, targets: Tensor, eps: float, seed: int = 0) -> Tensor:
    """Run the standard version of AutoAttack: APGD-CE, targeted APGD-DLR, targeted FAB and Square.

    Each attack runs on the images that withstood the earlier ones. Croce & Hein, ICML 2020, arXiv:2003.01690. The standard tries nine
    target classes; with fewer than ten classes, the targeted attacks try all wrong ones.

    Args:
        answer: function from images to logits [B, K], K at least 4.
        pixels: [B, 3, H, W] float in 0–1; random draws are made per batch, so the result depends on the composition of the batch.
        targets: [B] int64, the true classes.
        eps: largest change of any value.
        seed: random seed; torch's global generator isn't changed.

    Returns:
        [B, 3, H, W] float in 0–1, within `eps` of `pixels`; images that withstood all attacks or were misclassified before are unchanged.

    Raises:
        InputError: fewer than four classes, or pyautoattack isn't installed.
    """
    if eps == 0:
        return pixels.clone()  # FAB's minimal changes are undefined here, and the 5,000 queries of Square would be wasted
    with torch.inference_mode():
        classes = answer(pixels[:1]).shape[1]
    if classes < _LEAST_CLASSES:
        raise InputError(f"autoattack: the model has {classes} classes; its targeted loss (DLR) needs {_LEAST_CLASSES} or more. Use pgd")
    trace = sys.gettrace()
    with torch.random.fork_rng(enabled=True):
        attack = _autoattack(answer, eps, seed, pixels.device)
        attack.apgd_targeted.n_target_classes = attack.fab.n_target_classes = min(_TARGETS, classes - 1)
        try:
            attacked: Tensor = attack.run_standard_evaluation(pixels, targets, batch_size=len(pixels))[0].detach()
        finally:
            sys.settrace(trace)  # one of AutoAttack's checks removes the trace function of a debugger or coverage tool
    # rounding can move FAB's interpolated points slightly out of range
    return attacked.clamp((pixels - eps).clamp(0, 1), (pixels + eps).clamp(0, 1))


def _starts(pixels: Tensor, keys: Sequence[str], seed: int) -> Tensor:
    """Return uniform random values in -1 to 1 [B, 3, H, W]; they are drawn on the CPU, so that they don't depend on the device."""
    drawn = []
    for key in keys:
        digest = hashlib.sha256(f"{seed}\0{key}".encode("utf-8", "surrogatepass")).digest()
        generator = torch.Generator().manual_seed(int.from_bytes(digest[:7], "little"))
        drawn.append(torch.rand(pixels.shape[1:], generator=generator) * 2 - 1)
    return torch.stack(drawn).to(pixels.device)


def _captum_fgsm(answer: Answer, loss: Loss) -> Any:
    try:
        from captum.robust import FGSM  # an optional dependency, slow to import
    except ModuleNotFoundError as error:
        raise _missing("captum") from error
    step = FGSM(answer, lambda answers, _: loss(answers), lower_bound=0.0, upper_bound=1.0)
    # By default captum treats gradients below 1e-6 as zero and so spares the most confident answers: PGD-20 at 8/255 left 11 % of the
    # CIFAR ResNet-20's answers unharmed.
    step.zero_thresh = 0.0
    return step


def _autoattack(answer: Answer, eps: float, seed: int, device: torch.device) -> Any:
    try:
        from pyautoattack import AutoAttack  # an optional dependency
    except ModuleNotFoundError as error:
        raise _missing("pyautoattack") from error
    return AutoAttack(answer, eps=eps, norm="Linf", seed=seed, version="standard", device=device)


def _missing(package: str) -> InputError:
    return InputError(f"this attack needs {package}, which is not installed. Install it with: pip install 'resnet-zoo[robustness]'")
