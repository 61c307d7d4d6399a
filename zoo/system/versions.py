"""Versions of the packages that affect scores."""

from __future__ import annotations

import platform
from importlib.metadata import PackageNotFoundError, version

_PACKAGES = ("resnet-zoo", "torch", "torchvision", "timm", "opencv-python", "numpy", "pycocotools", "faster-coco-eval")
_ENGINES = ("openvino", "onnxruntime", "nncf")


def versions() -> dict[str, str]:
    """Return the versions of Python and of the installed packages that affect scores."""
    found = {"python": platform.python_version()}
    for package in (*_PACKAGES, *_ENGINES):
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found
