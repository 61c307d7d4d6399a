"""Smoke test of the installed package: it is imported from this environment, and a model of every task predicts."""

from __future__ import annotations

import sysconfig
from pathlib import Path

import torch

import zoo


def main() -> None:
    """Build a model with a small backbone for each task and call it once."""
    home = Path(zoo.__file__).resolve()
    own = Path(sysconfig.get_path("purelib")).resolve()
    if not home.is_relative_to(own):
        raise SystemExit(f"zoo is imported from {home}; expected it below {own}")
    images = torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    for task in zoo.list_tasks():
        model = zoo.build("resnet18", task=task, classes=["left", "right"], image_size=64)
        with torch.inference_mode():
            predictions = model(images)
        if len(predictions) != len(images):
            raise SystemExit(f"{task}: {len(predictions)} predictions for {len(images)} images")
        print(f"{task}: {len(predictions)} predictions")


if __name__ == "__main__":
    main()
