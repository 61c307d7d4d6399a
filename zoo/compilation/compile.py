"""`zoo.compile`: hand a model's networks to an engine, and hand the result out when it answers as the model does."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from zoo.compilation.agreement import DisagreementError
from zoo.compilation.source import Source
from zoo.compilation.tuning import quickest
from zoo.data.dataset import OnError
from zoo.engines import ENGINES, AskedPrecision, EnginePrecision
from zoo.errors import InputError, UnknownNameError
from zoo.models.archive import check_place, save
from zoo.models.compiled import Compiled
from zoo.models.model import Model
from zoo.system.hardware import cpu_has_bf16
from zoo.system.progress import Progress


def compile(
    model: Model,
    engine: str = "auto",
    precision: AskedPrecision = "auto",
    *,
    data: object = None,
    on_error: OnError = "raise",
    batch_size: int | None = None,
    tune_seconds: float = 20.0,
    say: Callable[[str], None] | None = None,
    progress: Progress | None = None,
) -> Compiled:
    """Return a model that is called, evaluated and saved like the given one, and computed by an engine.

    It is compared with the model in eager float32 before it is handed out, and carries the figures as `making.agreement`.

    Args:
        model: any model of the zoo; it stays as it is.
        engine: a name of `zoo.list_engines()`, or "auto" for the quickest of those installed, measured here, once: what won is kept.
        precision: "fp32", "bf16", "int8" (needs `data`), or "auto": bf16 where the processor has it and it agrees, else fp32.
        data: what to compare, and for int8 to calibrate, on: a dataset string, a path or samples. With truth in it the scores of both are
            compared too. None for a few built-in pictures.
        on_error: "raise", or "skip" to leave out annotations of it that can't be right, and pictures that can't be read.
        batch_size: that "auto" measures with; None for what suits the size of the pictures.
        tune_seconds: that "auto" may measure for.
        say: told what was compared and chosen.
        progress: where bars are drawn; None for nowhere.

    Raises:
        InputError: an engine that isn't installed or can't take the model, int8 without data, or a model that is compiled already.
        UnknownNameError: no such engine.
        DisagreementError: the compiled model's answers are too far from the model's.

    Example:
        >>> import zoo
        >>> model = zoo.build("resnet20", classes=["cat", "dog"])
        >>> zoo.compile(model, engine="eager").making.agreement.agreement
        1.0
    """
    if isinstance(model, Compiled):
        raise InputError(
            f"the model is compiled already (engine {model.making.engine}, {model.precision}); compile the one it was made from"
        )
    if precision not in ("auto", "fp32", "bf16", "int8"):
        raise InputError(f"precision is {precision!r}; expected auto, fp32, bf16 or int8")
    if not tune_seconds >= 0:  # NaN isn't either
        raise InputError(f"tune_seconds is {tune_seconds}; expected 0 or more seconds")
    if precision == "int8" and data is None:
        raise InputError("int8 is calibrated on pictures, and there are none: give data= (--calibration), some hundred of your own")
    say = say or (lambda text: None)
    source = Source.of(model, data, on_error, say, progress or Progress(enabled=False))
    if engine == "auto":
        return quickest(source, precision, batch_size, tune_seconds)
    chosen = ENGINES[engine]()
    missing = chosen.missing()
    if missing is not None:
        raise InputError(missing)
    settled: EnginePrecision = ("bf16" if cpu_has_bf16() and "bf16" in chosen.precisions else "fp32") if precision == "auto" else precision
    if settled not in chosen.precisions:
        raise InputError(f"the engine {engine} has no {settled}; it has {', '.join(chosen.precisions)}")
    try:
        compiled = source.compiled(chosen, settled)
    except DisagreementError as error:
        if precision != "auto" or settled == "fp32":
            raise
        say(f"{error}; fp32 it is")
        compiled = source.compiled(chosen, "fp32")
    say(f"engine {engine}, {compiled.precision}: {compiled.making.agreement}")
    return compiled


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
