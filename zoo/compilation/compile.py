"""`zoo.compile` and `zoo.export`: run a model with an engine, or export its graphs, once they are shown to agree with the model."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from zoo.compilation.agreement import DisagreementError
from zoo.compilation.source import Source
from zoo.compilation.tuning import quickest
from zoo.data.dataset import OnError
from zoo.engines import ENGINES
from zoo.errors import InputError, UnknownNameError
from zoo.models.archive import check_place, save
from zoo.models.compiled import Compiled
from zoo.models.model import Model
from zoo.system.hardware import cpu_has_bf16
from zoo.system.precision import AskedPrecision, EnginePrecision
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
    """Compile a model: the result is called, evaluated and saved like the model, but an engine runs it.

    The result is compared with the model in eager float32 before it is returned; `making.agreement` holds the figures.

    Args:
        model: model to compile; it is not changed.
        engine: name of the engine, one of `zoo.list_engines()`, or "auto" for the fastest installed engine, which is measured on this
            machine once and remembered.
        precision: "fp32", "bf16", "int8" (needs `data`), or "auto": bf16 if the processor supports it and the predictions agree, otherwise
            fp32.
        data: images to compare on, and to calibrate on for int8: a dataset string, a path or samples. If they have ground truth, the scores
            are compared as well. None for a few built-in images.
        on_error: "raise", or "skip" to skip images that can't be read and annotations that are invalid.
        batch_size: batch size that "auto" measures with; None to choose it by the image size.
        tune_seconds: time limit of the measurements of "auto", in seconds.
        say: callback that receives messages about what was compared and chosen (one line each).
        progress: progress bars; None for none.

    Raises:
        InputError: the engine isn't installed or can't run the model, int8 without data, or the model is already compiled.
        UnknownNameError: an unknown engine.
        DisagreementError: the predictions of the compiled model differ too much from the model's.

    Example:
        >>> import zoo
        >>> model = zoo.build("resnet20", classes=["cat", "dog"])
        >>> zoo.compile(model, engine="eager").making.agreement.agreement
        1.0
    """
    if isinstance(model, Compiled):
        raise InputError(
            f"the model is compiled already (engine {model.making.engine}, {model.precision}); compile the original model instead"
        )
    if precision not in ("auto", "fp32", "bf16", "int8"):
        raise InputError(f"precision is {precision!r}; expected auto, fp32, bf16 or int8")
    if not tune_seconds >= 0:  # true for NaN as well
        raise InputError(f"tune_seconds is {tune_seconds}; expected 0 or more seconds")
    if precision == "int8" and data is None:
        raise InputError("int8 is calibrated on images, and there are none: pass data= (--calibration) with a few hundred of your own")
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
        raise InputError(f"the engine {engine} doesn't support {settled}; it supports {', '.join(chosen.precisions)}")
    try:
        compiled = source.compiled(chosen, settled)
    except DisagreementError as error:
        if precision != "auto" or settled == "fp32":
            raise
        say(f"{error}; falling back to fp32")
        compiled = source.compiled(chosen, "fp32")
    say(f"engine {engine}, {compiled.precision}: {compiled.making.agreement}")
    return compiled


FORMATS = {"openvino": "openvino", "onnx": "onnxruntime", "torch": "eager"}  # format: the engine that writes and reads it


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
    """Export the networks of a model as graphs, with `model.json` (classes, preprocessing, metadata) and `labels.txt`.

    Each graph is named after its network. The graph `pictures` takes RGB images [B, 3, H, W], float32 in 0–1, prepared according to
    `preprocess` in model.json; normalisation is part of the graph, and the batch size is dynamic. It returns logits or embeddings. A
    detector's graph returns pyramid levels, objectness and deltas, and a second graph, `boxes`, completes it. `zoo.load` reassembles them.

    Args:
        model: model to export, not compiled.
        folder: destination; an older exported model there is replaced.
        format: "openvino" (.xml and .bin), "onnx" (checked by onnx.checker) or "torch" (torch.export's .pt2).
        precision: numeric precision, as for `zoo.compile`.
        data: images to compare on, and to calibrate on for int8, as for `zoo.compile`.
        on_error: "raise" or "skip", as for `zoo.compile`.
        say: callback that receives messages about the comparison (one line each).
        progress: progress bars; None for none.

    Returns:
        The compiled model, equal to `zoo.load(folder)`.

    Raises:
        UnknownNameError: an unknown format.
        InputError: the format's engine isn't installed or can't run the model, or the folder holds something else, such as weights.
        DisagreementError: the predictions of the graph differ too much from the model's.
    """
    if format not in FORMATS:
        raise UnknownNameError("export format", format, FORMATS)
    check_place(Path(folder), compiled=True)  # before compiling, which may take minutes
    compiled = compile(model, FORMATS[format], precision, data=data, on_error=on_error, say=say, progress=progress)
    save(compiled, folder)
    return compiled
