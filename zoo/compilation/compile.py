"""The functions `zoo.compile` and `zoo.export`, which compile or export a model and verify that its predictions agree with the original."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import get_args

from zoo.compilation.agreement import DisagreementError
from zoo.compilation.sbom import Weights, check_installed, write_sbom
from zoo.compilation.source import Source
from zoo.compilation.tuning import quickest
from zoo.compilation.whole import joined
from zoo.data.dataset import OnError
from zoo.engines import ENGINES
from zoo.errors import InputError, UnknownNameError
from zoo.models.archive import check_place, refuse_encrypted, save, save_with
from zoo.models.compiled import Compiled
from zoo.models.model import Model
from zoo.models.whole import InputType
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
    """Compile a model for an engine. The compiled model is called, evaluated and saved like the original model.

    Before it is returned, the compiled model is compared with the original model in eager float32. Its attribute `making.agreement`
    contains the results of the comparison.

    For a model with several heads, the graph of a pass computes the backbone once and the tensors of all heads of the pass, even if a call
    chooses only some of them (`tasks=`). Each head is compared and scored, and `making.agreement` is a dict from head name.

    Args:
        model: original model, which is not changed.
        engine: name of the engine, one of `zoo.list_engines()`, or "auto" for the fastest installed engine on this machine. The engines are
            measured once, and the result is cached.
        precision: numeric precision: "fp32", "bf16", "fp16" (OpenVINO and ONNX Runtime only, mainly for exports), "int8" (which requires
            `data`), or "auto". "auto" selects bf16 if the processor supports it and the predictions agree, otherwise fp32.
        data: images for the comparison, and for calibration of int8: a dataset string, a path or samples. If they have ground truth, the
            scores are compared as well. None to use a few built-in images. For a model with several heads, a mapping from head name, as in
            `zoo.evaluate`, or one source for all heads. A head without data uses the images of a head that shares its pass.
        on_error: "raise", or "skip" to skip images that can't be read and annotations that are invalid.
        batch_size: batch size of the measurements for "auto"; None to choose it by the image size.
        tune_seconds: time limit in seconds for the measurements for "auto".
        say: callback that receives messages about the comparison and the selected engine (one line each).
        progress: progress display; None for no display.

    Raises:
        InputError: the engine isn't installed or can't run the model, int8 was requested without data, the model is already compiled, or it
            is encrypted and the engine needs files.
        UnknownNameError: the engine is unknown.
        DisagreementError: the predictions of the compiled model, or of one of its heads, differ too much from those of the original model.

    Example:
        >>> import zoo
        >>> model = zoo.build("resnet20", classes=["cat", "dog"])
        >>> zoo.compile(model, engine="eager").making.agreement.agreement
        1.0
    """
    if not tune_seconds >= 0:  # true for NaN as well
        raise InputError(f"tune_seconds is {tune_seconds}; expected 0 or more seconds")
    source = _source(model, precision, data, on_error, say, progress)
    return quickest(source, precision, batch_size, tune_seconds) if engine == "auto" else _compiled(source, engine, precision)


def _source(
    model: Model,
    precision: AskedPrecision,
    data: object,
    on_error: OnError,
    say: Callable[[str], None] | None,
    progress: Progress | None,
) -> Source:
    """Check the arguments of `compile`, and open the data."""
    if isinstance(model, Compiled):
        raise InputError(
            f"the model is compiled already (engine {model.making.engine}, {model.precision}); compile the original model instead"
        )
    if precision not in get_args(AskedPrecision):
        raise InputError(f"precision is {precision!r}; expected auto, fp32, bf16, fp16 or int8")
    if precision == "int8" and data is None:
        raise InputError("int8 requires images for calibration: pass data= (--calibration) with a few hundred of your images")
    return Source.of(model, data, on_error, say or (lambda text: None), progress or Progress(enabled=False))


def _compiled(source: Source, engine: str, precision: AskedPrecision) -> Compiled:
    """Return the source's model compiled for one engine."""
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
        source.say(f"{error}; falling back to fp32")
        compiled = source.compiled(chosen, "fp32")
    source.say(f"engine {engine}, {compiled.precision}: {compiled.making}")
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
    resize: bool = False,
    input_type: InputType | None = None,
    sbom: bool = False,
) -> Compiled:
    """Export a model as a graph, with `model.json` (classes, preprocessing, metadata) and `labels.txt`.

    The graph (`model.onnx`, `model.xml`) maps images to answers. Its input `pictures` is RGB images [B, 3, H, W] of one size, any number
    and any size that the backbone takes, prepared according to `preprocess` in model.json. Normalisation, padding, thresholds and
    suppression are part of the graph. A detector has the outputs `boxes` [B, N, 4] (xyxy in pixels of the images as given), `scores` [B,
    N] in descending order, `labels` [B, N] and `counts` [B]; images with fewer than N boxes are padded with 0. Attributes are the outputs
    `attribute_NAME` [B, N, values]. Other tasks have the output `logits` [B, K] or `embeddings` [B, D]. The script `infer.py` runs the
    graph with NumPy and the runtime alone.

    For a model with several heads, there is one graph for each pass through the backbone (`model`, `model-2`, …). The names of its outputs
    begin with the name of the head: `parts.boxes`. Files with class names are `labels-parts.txt`.

    The format "torch" has a graph for each network instead: `pictures` from images to the tensors of the heads, and further ones, such as
    `boxes` from the pooled features of a detector's proposals to their classes. `zoo.load` reassembles them.

    Args:
        model: original model, not a compiled one.
        folder: destination. An exported model that is already there is replaced.
        format: "openvino" (.xml and .bin), "onnx" (checked by onnx.checker) or "torch" (torch.export's .pt2).
        precision: numeric precision, as for `zoo.compile`. In fp16, and for OpenVINO in bf16, the weights in the file have 16 bits, so
            that it is half as large as in fp32.
        data: images for the comparison, and for calibration of int8, as for `zoo.compile`.
        on_error: "raise" or "skip", as for `zoo.compile`.
        say: callback that receives messages about the comparison (one line each).
        progress: progress display; None for no display.
        resize: whether the graph also scales and crops images as the model's preprocessing does. Then `preprocess` in model.json says that
            images are given as they are.
        input_type: type of the input, "float32" in 0–1 or "uint8"; None for "uint8" if the graph scales images, and "float32" otherwise.
        sbom: whether to write an inventory as well, `sbom.cdx.json` in CycloneDX's format: the files of the export and the weights with
            their SHA-256 and licences, and the packages that the graphs need, with their versions.

    Returns:
        The exported model, equal to `zoo.load(folder)`.

    Raises:
        UnknownNameError: the format is unknown.
        InputError: the engine for the format isn't installed or can't run the model, the folder contains other files, such as weights, the
            packages for an inventory aren't installed, or the model is encrypted.
        DisagreementError: the predictions of the exported model differ too much from those of the original model.
    """
    refuse_encrypted(model, "saved or exported, since that writes its weights to the disk")
    if format not in FORMATS:
        raise UnknownNameError("export format", format, FORMATS)
    whole = format != "torch"
    if not whole and (resize or input_type is not None):
        raise InputError("the format torch takes neither resize (--with-resize) nor input_type (--input); use the format onnx or openvino")
    chosen = input_type or ("uint8" if resize else "float32")
    if chosen not in get_args(InputType):
        raise InputError(f"input_type is {input_type!r}; expected {' or '.join(get_args(InputType))}")
    check_place(Path(folder), compiled=True)  # before compiling, which may take minutes
    if sbom:
        check_installed()
    source = _source(model, precision, data, on_error, say, progress)
    compiled = _compiled(source, FORMATS[format], precision)
    if whole:
        compiled = joined(source, compiled, chosen, resize)
    if sbom:
        engine, weights, name = compiled.making.engine, Weights.of(model), Path(folder).absolute().name
        save_with(compiled, Path(folder), lambda draft: write_sbom(draft, name, engine, weights))
    else:
        save(compiled, folder)
    return compiled
