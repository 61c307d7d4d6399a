"""Functions shared by the commands, such as selecting a task's flags, loading or building a model, and printing JSON."""

from __future__ import annotations

import contextlib
import json
import os
import shlex
from collections.abc import Iterator, Sequence
from contextvars import ContextVar
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from zoo.artefacts.encryption import is_encrypted
from zoo.cli.heads import calibration_data
from zoo.errors import InputError, ZooError

if TYPE_CHECKING:
    from zoo.cli.flags import EngineFlags, RunFlags
    from zoo.models.model import Model
    from zoo.system.precision import Precision
    from zoo.system.progress import Progress
    from zoo.task.flags import TaskFlags


_DATA_FLAGS = ("--data", "--val", "--calibration")
_words: ContextVar[tuple[str, ...]] = ContextVar("command line", default=())  # of the present command, after `zoo`


@contextlib.contextmanager
def running(words: Sequence[str]) -> Iterator[None]:
    """Return a context manager with the command line that `command_line` returns."""
    token = _words.set(tuple(words))
    try:
        yield
    finally:
        _words.reset(token)


def command_line() -> str:
    """Return the present command as it can be typed in a shell."""
    return shlex.join(["zoo", *_words.get()])


def print_json(content: Any) -> None:
    """Print the result of a command as JSON, for `--json`."""
    print(json.dumps(content, allow_nan=False))


def task_flags(words: list[str]) -> TaskFlags:
    """Return the flags of the task.

    The task is that of --task, or else that of the first saved model among the arguments (unless --backbone is set), or else
    classification. A saved model with several heads has the flags of all their tasks.

    Raises:
        UnknownNameError: the task is unknown.
        InputError: --task has the form NAME=TASK, which only `zoo train` takes.
    """
    from zoo.cli.flags import joined
    from zoo.task.flags import flags_of

    name = value_of("--task", words)
    if name is not None and "=" in name:
        raise InputError(
            f"--task is {name!r}, but only zoo train builds models with named heads; pass the folder of a saved model, which zoo train or "
            "zoo.save writes, or the name of a single task"
        )
    if name is None and value_of("--backbone", words) is None:
        for before, word in zip(["", *words], words, strict=False):
            if before not in _DATA_FLAGS and is_saved(word):  # hf:… is a dataset as well
                from zoo.models.config import saved_config

                try:
                    config = saved_config(word)
                except ZooError:
                    if not {"-h", "--help"} & set(words):  # the help of a command is shown for a model that can't be loaded, too
                        raise
                    break
                heads = () if config is None else config.heads.values()  # other weights in a repository are those of a classifier
                return joined([flags_of(task) for task in dict.fromkeys(head.task for head in heads) or ["classification"]])
    return flags_of(name or "classification")


def is_saved(word: str) -> bool:
    """Return whether an argument is the folder of a saved model, an encrypted model, or a repository of the Hub."""
    return word.startswith("hf:") or is_encrypted(word) or any((Path(word) / part).is_file() for part in ("model.json", "model/model.json"))


def value_of(flag: str, words: list[str]) -> str | None:
    """Return the value of a flag before the flags are parsed, or None if it isn't set.

    As for all flags, the last value counts, so that the flags of a command stored in a shell variable can be overridden.
    """
    found = None
    for index, word in enumerate(words):
        if word.startswith(f"{flag}="):
            found = word.removeprefix(f"{flag}=")
        elif word == flag and index + 1 < len(words):
            found = words[index + 1]
    return found


def values_of(flag: str, words: Sequence[str]) -> list[str]:
    """Return all values of a flag before the flags are parsed."""
    after = [words[place + 1] for place, word in enumerate(words[:-1]) if word == flag]
    return [*after, *(word.removeprefix(f"{flag}=") for word in words if word.startswith(f"{flag}="))]


def progress_of(quiet: bool) -> Progress:
    """Return a progress display, which is enabled unless `quiet`, and only in the first process."""
    from zoo.system.progress import Progress

    return Progress(enabled=not quiet and _rank() == 0)


def _rank() -> int:
    """Return the index of this process among those started by torchrun; 0 without torchrun."""
    return int(os.environ.get("RANK", "0"))


@contextlib.contextmanager
def one_voice() -> Iterator[None]:
    """Let only the first of several processes print to standard output, and report each error once.

    Before the process group is initialised, all processes of a machine raise the same errors, and the machine's first one reports them.
    Afterwards, an error that all processes raise is already marked as `said` in all but one.
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
    """Return the names in the comma-separated value of a flag such as `--classes`; None if the flag isn't set."""
    return None if classes is None else [name.strip() for name in classes.split(",")]


def saved_or_built(saved: Path | None, flags: Any, progress: Progress) -> Model:
    """Load a saved model, or build one from --backbone and --weights."""
    from zoo.models.archive import load
    from zoo.models.builder import build

    asked = flags.build
    if saved is not None and asked.backbone is not None:
        raise InputError(f"the saved model {saved} and --backbone {asked.backbone} can't be combined; pass only one of them")
    if saved is not None:
        return load(saved, licence_policy=asked.licence_policy, **given(flags.options))
    if asked.backbone is None:
        raise InputError("no model: pass the folder of a run or model, or --backbone (with --weights), or hf:OWNER/NAME")
    return build(
        asked.backbone, asked.task, classes=asked.class_names, weights=asked.weights, licence_policy=asked.licence_policy,
        say=progress.say, **given(flags.options),
    )  # fmt: skip


def compiled(model: Model, flags: EngineFlags, run: RunFlags, batch_size: int | None, progress: Progress) -> tuple[Model, Precision]:
    """Compile the model if --engine or --precision requires it, and return it with the precision in which to run it."""
    if flags.engine == "eager" and flags.precision != "int8":
        if flags.calibration:
            raise InputError("--calibration requires --engine, which is not set")
        return model, flags.precision
    if flags.precision == "fp16":
        raise InputError("--precision fp16 requires a GPU, but --engine computes on the CPU; pass only one of them")
    if run.device not in ("auto", "cpu"):
        raise InputError(f"--engine {flags.engine} computes on the CPU; it can't be combined with --device {run.device}")
    from zoo.compilation.compile import compile
    from zoo.models.compiled import Compiled

    if isinstance(model, Compiled):
        raise InputError(
            f"the model is already exported (engine {model.making.engine}, {model.precision}); it can't be combined with --engine"
        )
    data = calibration_data(flags.calibration, [*model.config.heads])
    fast = compile(
        model, flags.engine, flags.precision, data=data, on_error=run.on_error, batch_size=batch_size,
        tune_seconds=flags.tune_seconds, say=progress.say, progress=progress,
    )  # fmt: skip
    return fast, "auto"


def given(options: Any) -> dict[str, Any]:
    """Return the options that differ from their defaults. The remaining options may be determined by the weights."""
    return {option.name: value for option in fields(options) if (value := getattr(options, option.name)) != option.default}
