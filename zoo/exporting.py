"""`zoo.export`: a model as a folder with the graph in a format that other programs read, and everything that they must know of it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from zoo.compiled import Compiled
from zoo.compiling import AskedPrecision, compile
from zoo.data import OnError
from zoo.errors import UnknownNameError
from zoo.model import Model, save
from zoo.model_place import check_place
from zoo.progress import Progress

FORMATS = {"openvino": "openvino", "onnx": "onnxruntime", "torch": "eager"}  # to the engine that writes and reads it


def export(
    model: Model,
    folder: str | Path,
    format: str = "openvino",
    *,
    precision: AskedPrecision = "auto",
    data: object = None,
    on_error: OnError = "raise",
    say: Callable[[str], None] | None = None,
    progress: Progress | None = None,
) -> Compiled:
    """Write a model's networks as graphs, with `model.json` (classes, preprocessing, metadata) and `labels.txt`.

    Every graph is named by its network. `pictures` takes RGB pictures [B, 3, H, W], float32 0–1, prepared as `preprocess` in model.json
    says; normalisation is in the graph, and the number of pictures is free. It answers logits or embeddings; a detector's answers the
    levels of its pyramid, objectness and deltas, and has a second graph, `boxes`. `zoo.load` puts them together again.

    Args:
        model: any model that isn't compiled.
        folder: where to; an older exported model there is replaced.
        format: "openvino" (.xml and .bin), "onnx" (checked by onnx.checker) or "torch" (torch.export's .pt2).
        precision: as for `zoo.compile`.
        data: as for `zoo.compile`: what the graph is compared, and int8 calibrated, on.
        on_error: likewise.
        say: told what was compared.
        progress: where bars are drawn.

    Returns:
        The model, as `zoo.load(folder)` gives it.

    Raises:
        UnknownNameError: no such format.
        InputError: its engine isn't installed or can't take the model, or the folder holds something else, weights among it.
        DisagreementError: the graph answers otherwise than the model.
    """
    if format not in FORMATS:
        raise UnknownNameError("format to export to", format, FORMATS)
    check_place(Path(folder), compiled=True)  # before the minutes that it may take
    compiled = compile(model, FORMATS[format], precision, data=data, on_error=on_error, say=say, progress=progress)
    save(compiled, folder)
    return compiled
