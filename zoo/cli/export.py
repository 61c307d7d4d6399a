"""`zoo export`."""

from __future__ import annotations

from pathlib import Path

from zoo.cli.context import print_json, progress_of, saved_or_built, task_of
from zoo.cli.flags import ExportFlags, combine, parse
from zoo.errors import InputError


def run(words: list[str]) -> int:
    """Run the command, and return its exit status.

    Raises:
        InputError: a flag or the model is wrong, or the format's engine isn't installed.
        DisagreementError: the graph answers otherwise than the model.
    """
    flags = parse(combine("Export", ExportFlags, task_of(words).building.options), "export", words)
    if flags.run.device not in ("auto", "cpu"):
        raise InputError(f"graphs are written on the CPU: zoo export goes without --device {flags.run.device}")
    with progress_of(flags.run.quiet) as progress:
        model = saved_or_built(flags.main.model, flags, progress)
        from zoo.compilation.compile import export  # after --help

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
