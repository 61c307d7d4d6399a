"""The `zoo export` command."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro

from zoo.cli.context import print_json, progress_of, saved_or_built, task_flags
from zoo.cli.flags import Calibration, combine
from zoo.cli.heads import calibration_data
from zoo.errors import InputError


@dataclass(frozen=True)
class ExportFlags:
    """Export a model for other programs, as a folder with graphs, classes and preprocessing. zoo.load and zoo eval can also read it."""

    model: Annotated[tyro.conf.Positional[Path | None], tyro.conf.arg(metavar="[MODEL]")] = None
    """Folder of a run or saved model, or hf:OWNER/NAME; by default, the model is built from --backbone and --weights."""
    format: Literal["openvino", "onnx", "torch"] = "openvino"
    """Format of the graphs. openvino: .xml and .bin (requires the [openvino] extra); onnx: .onnx (requires the [onnx] extra); torch:
    torch.export's .pt2."""
    out: Path | None = None
    """Output folder; by default MODEL-FORMAT in the current folder."""
    precision: Literal["auto", "fp32", "bf16", "fp16", "int8"] = "auto"
    """Numeric precision of matrix multiplications; auto means bf16 if the processor and the engine support it, otherwise fp32. fp16
    (openvino, onnx) and bf16 (openvino) halve the size of the file. int8 requires --calibration."""
    calibration: Calibration = ()
    with_resize: bool = False
    """Scale and crop images inside the graph, so that programs pass them as they are."""
    input: Literal["float32", "uint8"] | None = None
    """Type of the graph's input: float32 in 0–1, or uint8; by default uint8 with --with-resize, otherwise float32."""
    sbom: bool = False
    """Write an inventory in CycloneDX's format, sbom.cdx.json: files and weights with hashes and licences, and the packages that the
    graphs need (requires the [sbom] extra)."""


def flags_of(words: list[str]) -> type[Any]:
    """Return the flags of the command, which depend on the task."""
    return combine(ExportFlags, task_flags(words))


def run(flags: Any) -> int:
    """Run the command and return its exit status."""
    if flags.run.device not in ("auto", "cpu"):
        raise InputError(f"zoo export writes graphs on the CPU; it can't be combined with --device {flags.run.device}")
    with progress_of(flags.run.quiet) as progress:
        model = saved_or_built(flags.main.model, flags, progress)
        from zoo.compilation.compile import export  # slow to import, not needed for --help

        name = Path(flags.main.model or flags.build.backbone).name.partition("@")[0]
        out = flags.main.out or Path(f"{name}-{flags.main.format}")
        data = calibration_data(flags.main.calibration, [*model.config.heads])
        made = export(
            model, out, flags.main.format, precision=flags.main.precision, data=data,
            on_error=flags.run.on_error, say=progress.say, progress=progress,
            resize=flags.main.with_resize, input_type=flags.main.input, sbom=flags.main.sbom,
        ).making  # fmt: skip
    files = sorted(path.name for path in out.iterdir())
    if flags.run.json:
        print_json({"folder": str(out), "files": files, **made.to_dict()})
    else:
        print(f"exported to {out}: {', '.join(files)}")
    return 0
