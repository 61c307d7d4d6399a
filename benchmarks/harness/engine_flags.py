"""Command-line flags that select a network and the engine that runs it."""

from __future__ import annotations

import argparse
from pathlib import Path

import torch

from zoo.benchmarks.harness.command import log
from zoo.compilation.compile import compile
from zoo.models.model import Model


def add_flags(parser: argparse.ArgumentParser) -> None:
    """Add --engine and the flags of `add_network_flags` to a parser."""
    parser.add_argument("--engine", default="eager", help="engine that runs the model, as in zoo.compile")
    add_network_flags(parser)


def add_network_flags(parser: argparse.ArgumentParser, precision: str = "fp32") -> None:
    """Add --photos, --backbone, --precision (default: `precision`) and --batch-size to a parser."""
    parser.add_argument("--photos", type=Path, default=Path("../shared/data/photos"), help="folder of photos to use as input")
    parser.add_argument("--backbone", default="resnet50", help="backbone of the model, which has random weights")
    parser.add_argument("--precision", default=precision, choices=("fp32", "bf16", "int8"), help="precision of the engine")
    parser.add_argument("--batch-size", type=int, help="number of images per batch")


def computed(model: Model, flags: argparse.Namespace) -> Model:
    """Compile a model for the engine and precision in the flags. For int8, it is calibrated on the photos."""
    if flags.engine == "eager" and flags.precision == "fp32":
        return model
    return compile(model, flags.engine, flags.precision, data=calibration(flags), say=log)


def calibration(flags: argparse.Namespace) -> str | None:
    """Return the dataset string of the calibration images: the photos for int8, None for other precisions."""
    return str(flags.photos) if flags.precision == "int8" else None


def setting(flags: argparse.Namespace) -> dict[str, object]:
    """Return backbone, engine and precision from the flags, and the number of torch threads, as JSON values."""
    return {"backbone": flags.backbone, "engine": flags.engine, "precision": flags.precision, "threads": torch.get_num_threads()}
