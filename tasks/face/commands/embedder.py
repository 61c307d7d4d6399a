"""The model that `zoo faces` works with."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Literal

from zoo.errors import InputError
from zoo.model import Model, build, load

Precision = Literal["auto", "fp32", "bf16"]
DEFAULT = "dlib_resnet29"


def embedder(folder: Path | None, engine: str = "eager", precision: Precision = "auto", say: Callable[[str], None] | None = None) -> Model:
    """Return a saved face model, or the default one: dlib's ResNet-29 with its own weights.

    Args:
        folder: a run's or saved model's; None for the default.
        engine: what computes it; "eager" for the model as it is.
        precision: of its matrix work; "auto" is fp32 where the engine is eager.
        say: told what building says.

    Raises:
        InputError: no saved model there, or one for another task; an engine that isn't there.
        WeightsError: the default weights aren't installed; with the extra to install.
    """
    model = build(DEFAULT, "face", weights="default", say=say) if folder is None else load(folder)
    if model.task != "face":
        raise InputError(f"{folder}: the model is for the task {model.task}; zoo faces needs one for face")
    if engine == "eager" and precision in ("auto", "fp32"):
        return model
    from zoo.compiling import compile  # brings the evaluation along

    return compile(model, engine, precision, say=say)
