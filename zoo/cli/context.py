"""What the commands share: the task that the flags are for, the model that they name, and one JSON object on standard output."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from zoo.errors import InputError, ZooError

if TYPE_CHECKING:
    from zoo.cli.flags import EngineFlags, RunFlags
    from zoo.models.model import Model
    from zoo.system.precision import Precision
    from zoo.system.progress import Progress
    from zoo.task.flags import TaskFlags


def print_json(content: Any) -> None:
    """Print the one JSON object of `--json`."""
    print(json.dumps(content, allow_nan=False))


def task_flags(words: list[str]) -> TaskFlags:
    """Return the dataclasses behind the flags of the task: that of --task, else of the saved model, else classification."""
    from zoo.task.flags import flags_of

    name = value_of("--task", words)
    if name is None and value_of("--backbone", words) is None:
        for word in words:
            if any((Path(word) / part).is_file() for part in ("model.json", "model/model.json")):
                from zoo.models.config import model_folder, read_description

                return flags_of(read_description(model_folder(word))[0].task)
    return flags_of(name or "classification")


def value_of(flag: str, words: list[str]) -> str | None:
    """Return the value of a flag that must be known before the flags are parsed; None where it isn't given.

    Of several the last one counts, as of every flag: a command in a variable can be given another one.
    """
    found = None
    for index, word in enumerate(words):
        if word.startswith(f"{flag}="):
            found = word.removeprefix(f"{flag}=")
        elif word == flag and index + 1 < len(words):
            found = words[index + 1]
    return found


def progress_of(quiet: bool) -> Progress:
    """Return where progress is drawn."""
    from zoo.system.progress import Progress

    return Progress(enabled=not quiet and _rank() == 0)


def _rank() -> int:
    """Return which of the processes that torchrun has started this is."""
    return int(os.environ.get("RANK", "0"))


@contextlib.contextmanager
def one_voice() -> Iterator[None]:
    """Let the first of several processes speak for all.

    The others print nothing on standard output. Before they have joined, every one of a machine finds the same faults: there the
    machine's first one says them. Those that all have joined in finding are marked already, and what one finds alone it says.
    """
    if "LOCAL_RANK" not in os.environ:
        yield
        return
    import torch.distributed as dist

    from zoo.system.processes import bound

    with contextlib.ExitStack() as stack:
        if _rank():
            stack.enter_context(contextlib.redirect_stdout(stack.enter_context(open(os.devnull, "w", encoding="utf-8"))))
        try:
            with bound():
                yield
        except ZooError as error:
            error.said = error.said or (not dist.is_initialized() and os.environ["LOCAL_RANK"] != "0")
            raise
        if dist.is_initialized():
            dist.destroy_process_group()


def class_list(classes: str | None) -> list[str] | None:
    """Return the names in `--classes`."""
    return None if classes is None else [name.strip() for name in classes.split(",")]


def saved_or_built(saved: Path | None, flags: Any, progress: Progress) -> Model:
    """Load a saved model, or build one from --backbone and --weights."""
    from zoo.models.archive import load
    from zoo.models.builder import build

    if saved is not None and flags.build.backbone is not None:
        raise InputError(f"both the saved model {saved} and --backbone {flags.build.backbone} are given; give one of them")
    if saved is not None:
        return load(saved, **given(flags.options))
    if flags.build.backbone is None:
        raise InputError("no model: give a run's or model's folder, or --backbone (with --weights)")
    return build(
        flags.build.backbone,
        flags.build.task,
        classes=class_list(flags.build.classes),
        weights=flags.build.weights,
        say=progress.say,
        **given(flags.options),
    )


def compiled(model: Model, flags: EngineFlags, run: RunFlags, batch_size: int | None, progress: Progress) -> tuple[Model, Precision]:
    """Return the model as --engine and --precision want it, and the precision that is left to the caller.

    Raises:
        InputError: flags that don't go together, or an engine that isn't there or can't take the model.
    """
    if flags.engine == "eager" and flags.precision != "int8":
        if flags.calibration is not None:
            raise InputError("--calibration goes with --engine, which is not given")
        return model, flags.precision
    if flags.precision == "fp16":
        raise InputError("--precision fp16 is for GPUs, and --engine for processors: give one of them")
    if run.device not in ("auto", "cpu"):
        raise InputError(f"--engine {flags.engine} computes on the CPU: it goes without --device {run.device}")
    from zoo.compilation.compile import compile
    from zoo.models.compiled import Compiled

    if isinstance(model, Compiled):
        raise InputError(
            f"the model is an exported one already (engine {model.making.engine}, {model.precision}): it goes without --engine"
        )
    fast = compile(
        model,
        flags.engine,
        flags.precision,
        data=flags.calibration,
        on_error="skip" if run.skip_bad else "raise",
        batch_size=batch_size,
        tune_seconds=flags.tune_seconds,
        say=progress.say,
        progress=progress,
    )
    return fast, "auto"


def given(options: Any) -> dict[str, Any]:
    """Return the options that differ from their defaults: the others are the weights' to settle."""
    return {option.name: value for option in fields(options) if (value := getattr(options, option.name)) != option.default}
