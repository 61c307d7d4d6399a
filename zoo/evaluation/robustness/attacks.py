"""Adversarial attacks bounded in the maximum norm: FGSM (Goodfellow et al. 2015), PGD (Madry et al. 2018), AutoAttack (Croce & Hein 2020).

The gradient steps are those of captum. AutoAttack is the implementation by its authors, from the package pyautoattack. If the package of an
attack isn't installed, the attack raises an `InputError`.

Attacks receive the model as a function from images to outputs, and images [B, 3, H, W], float in 0–1. They return attacked images of the
same shape and range, in which each value is within `eps` of the original. FGSM and PGD maximise a loss [B], a function of the outputs.
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
AUTOATTACK_PARTS = ("apgd-ce", "apgd-t", "fab-t", "square")  # attacks of the standard version, in execution order
_LEAST_CLASSES = 4  # the scale of the targeted DLR loss uses the largest, third-largest and fourth-largest logits
_TARGETS = 9  # number of target classes of the targeted attacks: the most likely wrong classes


def fgsm(answer: Answer, pixels: Tensor, loss: Loss, eps: float) -> Tensor:
    """Attack images with one FGSM step: change each value by `eps` in the direction that increases the loss."""
    attacked: Tensor = _captum_fgsm(answer, loss).perturb(pixels.clone().requires_grad_(), eps, None).detach()
    return attacked


def pgd(answer: Answer, pixels: Tensor, loss: Loss, eps: float, steps: int, keys: Sequence[str], seed: int = 0) -> Tensor:
    """Attack images with PGD: maximise the loss by projected gradient ascent from a random starting point.

    Each step is an FGSM step of captum, of size 2.5 · eps / steps. Captum's PGD isn't used, because it draws the starting points of a whole
    batch from torch's global generator, so scores would depend on the batch size. Here, the starting point depends only on the image's key
    and the seed.
    """
    step = _captum_fgsm(answer, loss)
    low, high = (pixels - eps).clamp(0, 1), (pixels + eps).clamp(0, 1)
    attacked = (pixels + eps * _starts(pixels, keys, seed)).clamp(low, high)
    for _ in range(steps):
        attacked = step.perturb(attacked.requires_grad_(), 2.5 * eps / steps, None).detach().clamp(low, high)
    return attacked


def autoattack(answer: Answer, pixels: Tensor, targets: Tensor, eps: float, seed: int = 0) -> Tensor:
    """Attack images with the standard version of AutoAttack: APGD-CE, targeted APGD-DLR, targeted FAB and Square.

    Each attack runs only on images for which all previous attacks failed (Croce & Hein, ICML 2020, arXiv:2003.01690). The targeted attacks
    try nine target classes, or all wrong classes if the model has fewer than ten classes.

    Random numbers are drawn for a whole batch, so the result depends on the batch. Images are unchanged if all attacks failed, or if they
    were already misclassified. The state of torch's global generator is preserved.

    Args:
        answer: the model as a function from images to logits [B, K].
        pixels: the images.
        targets: true class indices [B], int64.
        eps: maximum change of each value.
        seed: random seed.

    Raises:
        InputError: the model has fewer than four classes, or pyautoattack isn't installed.
    """
    if eps == 0:
        return pixels.clone()  # FAB's minimal perturbation is undefined for eps = 0, and the 5,000 queries of Square would be wasted
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
            sys.settrace(trace)  # one of AutoAttack's checks removes the trace function that a debugger or coverage tool has set
    # rounding can move FAB's interpolated points slightly out of range
    return attacked.clamp((pixels - eps).clamp(0, 1), (pixels + eps).clamp(0, 1))


def _starts(pixels: Tensor, keys: Sequence[str], seed: int) -> Tensor:
    """Return uniform random values in -1 to 1 [B, 3, H, W]. They are drawn on the CPU, so that they don't depend on the device."""
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
    # By default, captum treats gradients below 1e-6 as zero, so it doesn't attack the most confident predictions. With this default,
    # 11 % of the predictions of a CIFAR ResNet-20 were still correct under PGD-20 at 8/255.
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
