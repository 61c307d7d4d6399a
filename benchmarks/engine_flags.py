"""Which network benchmarks of the whole way take, and what computes it: flags that they share."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from zoo.compilation.compile import compile
from zoo.models.model import Model


def add_flags(parser: argparse.ArgumentParser) -> None:
    """Add the flags to a command."""
    parser.add_argument("--engine", default="eager", help="that computes the model, see zoo.compile")
    add_network_flags(parser)


def add_network_flags(parser: argparse.ArgumentParser, precision: str = "fp32") -> None:
    """Add those of them that say nothing of the engine.

    Args:
        parser: the command's.
        precision: its default.
    """
    parser.add_argument("--photos", type=Path, default=Path("../shared/data/photos"), help="a folder")
    parser.add_argument("--backbone", default="resnet50", help="of a model with random weights")
    parser.add_argument("--precision", default=precision, choices=("fp32", "bf16", "int8"), help="that it computes in")
    parser.add_argument("--batch-size", type=int, help="pictures at once")
    parser.add_argument("--json", action="store_true", help="print one JSON object on standard output, and nothing else there")


def computed(model: Model, flags: argparse.Namespace) -> Model:
    """Hand a model to the engine that the flags name; int8 is calibrated on the photos."""
    if flags.engine == "eager" and flags.precision == "fp32":
        return model
    data = str(flags.photos) if flags.precision == "int8" else None
    return compile(model, flags.engine, flags.precision, data=data, say=lambda text: print(text, file=sys.stderr))
