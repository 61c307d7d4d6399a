"""The `zoo export` command."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from zoo.cli.context import print_json, progress_of, saved_or_built, task_flags
from zoo.cli.flags import ExportFlags, combine
from zoo.errors import InputError


def flags_of(words: list[str]) -> type[Any]:
    """Return the flags of the command, which depend on the task."""
    task = task_flags(words)
    return combine("Export", ExportFlags, task)


def run(flags: Any) -> int:
    """Run the command and return its exit status.

    Raises:
        InputError: a flag or the model is invalid, or the format's engine isn't installed.
        DisagreementError: the predictions of the graphs differ from those of the model.
    """
    if flags.run.device not in ("auto", "cpu"):
        raise InputError(f"zoo export writes graphs on the CPU; it can't be combined with --device {flags.run.device}")
    with progress_of(flags.run.quiet) as progress:
        model = saved_or_built(flags.main.model, flags, progress)
        from zoo.compilation.compile import export  # slow to import, not needed for --help

        out = flags.main.out or Path(f"{Path(flags.main.model or flags.build.backbone).name}-{flags.main.format}")
        made = export(
            model, out, flags.main.format, precision=flags.main.precision, data=flags.main.calibration,
            on_error="skip" if flags.run.skip_bad else "raise", say=progress.say, progress=progress,
        ).making  # fmt: skip
    files = sorted(path.name for path in out.iterdir())
    if flags.run.json:
        print_json({"folder": str(out), "files": files, **made.to_dict()})
    else:
        print(f"exported to {out}: {', '.join(files)}")
    return 0
