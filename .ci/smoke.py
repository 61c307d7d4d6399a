"""Try the installed package: it is this environment's own, and every task builds and answers."""

from __future__ import annotations

import sysconfig
from pathlib import Path

import torch

import zoo


def main() -> None:
    """Build each task on a small trunk and call it once."""
    home = Path(zoo.__file__).resolve()
    own = Path(sysconfig.get_path("purelib")).resolve()
    if not home.is_relative_to(own):
        raise SystemExit(f"zoo comes from {home}; expected it below {own}")
    pictures = torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    for task in zoo.list_tasks():
        model = zoo.build("resnet18", task=task, classes=["left", "right"], image_size=64)
        with torch.inference_mode():
            answer = model(pictures)
        if len(answer) != len(pictures):
            raise SystemExit(f"{task}: {len(answer)} answers for {len(pictures)} pictures")
        print(f"{task}: {len(answer)} answers")


if __name__ == "__main__":
    main()
