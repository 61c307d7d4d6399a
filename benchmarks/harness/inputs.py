"""Inputs of a benchmark: photos, and the network and engine that flags select."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import torch

from zoo import Model, compile
from zoo.benchmarks.harness.command import Flag, Flags, flag, log
from zoo.data.folders import picture_files
from zoo.errors import DataError, InputError


def network_flags(precision: str) -> tuple[Flag, ...]:
    """Define --photos, --backbone, --precision (default: `precision`) and --batch-size."""
    return (
        flag("--photos", type=Path, default=Path("../shared/data/photos"), help="folder of photos to use as input"),
        flag("--backbone", default="resnet50", help="backbone of the model, which has random weights"),
        flag("--precision", default=precision, choices=("fp32", "bf16", "int8"), help="precision of the engine"),
        flag("--batch-size", type=int, help="number of images per batch"),
    )


ENGINE_FLAGS = (flag("--engine", default="eager", help="engine that runs the model, as in zoo.compile"), *network_flags("fp32"))


def computed(model: Model, flags: Flags) -> Model:
    """Compile a model for the engine and precision in the flags. An int8 model is calibrated on the photos in --photos."""
    if flags.engine == "eager" and flags.precision == "fp32":
        return model
    return compile(model, flags.engine, flags.precision, data=calibration(flags), say=log)


def calibration(flags: Flags) -> str | None:
    """Return the dataset string of the calibration images: the photos for int8, None for other precisions."""
    return str(flags.photos) if flags.precision == "int8" else None


def setting(flags: Flags) -> dict[str, object]:
    """Return backbone, engine and precision from the flags, and the number of torch threads, as JSON values."""
    return {"backbone": flags.backbone, "engine": flags.engine, "precision": flags.precision, "threads": torch.get_num_threads()}


def photo_files(folder: Path, remedy: str = "pass a folder of photos as --photos") -> list[Path]:
    """Return the image files in a folder and its subfolders. The error message for a missing folder ends with `remedy`."""
    if not folder.is_dir():
        raise InputError(f"{folder} is not a folder; {remedy}")
    files = picture_files(folder)
    if not files:
        raise DataError(f"{folder} contains no images")
    return files


def link_files(files: Iterable[Path], folder: Path) -> Path:
    """Create a folder with numbered symbolic links to the files, in their order, and return the folder."""
    folder.mkdir(parents=True)
    for index, file in enumerate(files):
        (folder / f"{index:06d}{file.suffix}").symlink_to(file.resolve())
    return folder
