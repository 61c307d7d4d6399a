"""Reproducibility: random seeds that depend only on the position in a run, and the versions of the packages that affect scores.

Seeds don't depend on earlier draws, so a resumed run needs no stored generator state.
"""

from __future__ import annotations

import platform
from importlib.metadata import PackageNotFoundError, version

import torch

_PACKAGES = ("resnet-zoo", "torch", "torchvision", "timm", "opencv-python", "numpy", "pycocotools", "faster-coco-eval")
_ENGINES = ("openvino", "onnxruntime", "nncf")


def derived_seed(*parts: int) -> int:
    """Return the seed for a position in a run, such as (seed, epoch, draw). Different positions have different seeds."""
    return hash(parts) & 0x7FFF_FFFF_FFFF_FFFF


def seed_torch(seed: int, device: torch.device) -> None:
    """Seed torch's global generators for the CPU and for one device.

    `torch.manual_seed` seeds every kind of device that torch was built for. If such a device isn't present, torch queues the call together
    with a stack trace and never removes it. Queueing a call takes a millisecond, which is too slow for every step, and millions of queued
    calls use too much memory.
    """
    torch.default_generator.manual_seed(seed)
    if device.type != "cpu":
        torch.get_device_module(device).manual_seed(seed)


def versions() -> dict[str, str]:
    """Return the versions of Python and of the installed packages that affect scores."""
    found = {"python": platform.python_version()}
    for package in (*_PACKAGES, *_ENGINES):
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found
