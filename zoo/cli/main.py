"""The command line: all commands by name, and errors as messages with an exit status."""

from __future__ import annotations

import pkgutil
import sys
import traceback
from collections.abc import Sequence
from importlib import import_module

from zoo import __version__
from zoo.cli.context import one_voice, running
from zoo.cli.group import Command
from zoo.errors import ImageError, InputError, ZooError
from zoo.system.console import print_anything
from zoo.system.threads import wait_briefly

COMMANDS: dict[str, Command] = {
    "train": Command("fine-tune a model on your images", "zoo.cli.train:run", "zoo.cli.train:flags_of", loads=True),
    "eval": Command(
        "evaluate trained models, a backbone with weights, or a prediction file",
        "zoo.cli.evaluate:run",
        "zoo.cli.evaluate:flags_of",
        loads=True,
    ),
    "compare": Command(
        "compare two models or prediction files on the same samples", "zoo.cli.compare:run", "zoo.cli.compare:Flags", loads=True
    ),
    "predict": Command(
        "predict on images, folders, videos or a camera (by device index, e.g. 0)",
        "zoo.cli.predict:run",
        "zoo.cli.predict:flags_of",
        loads=True,
    ),
    "serve": Command(
        "serve models over HTTP: zoo serve runs/mine, then POST pictures to /v1/models/default/predict",
        "zoo.cli.serve:run",
        "zoo.cli.serve:ServeFlags",
        loads=True,
    ),
    "export": Command(
        "export a model as OpenVINO, ONNX or torch.export graphs: zoo export runs/mine --format onnx",
        "zoo.cli.export:run",
        "zoo.cli.export:flags_of",
        loads=True,
    ),
    "tune": Command(
        "choose a model's thresholds on validation data: zoo tune runs/mine --data voc:cells",
        "zoo.cli.tune:run",
        "zoo.cli.tune:Flags",
        loads=True,
    ),
    "sign": Command(
        "sign a model, an export or a report: zoo sign runs/mine --key key.pem",
        "zoo.cli.artefacts.sign:run",
        "zoo.cli.artefacts.sign:SignFlags",
    ),
    "verify": Command(
        "verify a signature and every signed file: zoo verify runs/mine --key key.pub",
        "zoo.cli.artefacts.verify:run",
        "zoo.cli.artefacts.verify:VerifyFlags",
    ),
    "encrypt": Command(
        "encrypt a model or an export: zoo encrypt runs/mine --to age1…",
        "zoo.cli.artefacts.encrypt:run",
        "zoo.cli.artefacts.encrypt:EncryptFlags",
    ),
    "push": Command(
        "publish a model on the Hugging Face Hub: zoo push runs/mine hf:me/mine --licence Apache-2.0",
        "zoo.cli.artefacts.push:run",
        "zoo.cli.artefacts.push:PushFlags",
        loads=True,
    ),
    "pull": Command(
        "fetch a model from the Hub, for use without a network: zoo pull hf:me/mine",
        "zoo.cli.artefacts.pull:run",
        "zoo.cli.artefacts.pull:PullFlags",
        loads=True,
    ),
    "card": Command(
        "write a model card, README.md with metadata for the Hugging Face Hub: zoo card runs/mine --licence Apache-2.0",
        "zoo.cli.artefacts.card:run",
        "zoo.cli.artefacts.card:CardFlags",
        loads=True,
    ),
    "runs": Command("list and compare training runs: zoo runs --sort top1", "zoo.cli.runs:run", "zoo.cli.runs:RunsFlags"),
    "bench": Command("run a benchmark of accuracy, speed and memory: zoo bench quick", "zoo.cli.bench:dispatch"),
    "data": Command("check, convert, split and show datasets", "zoo.cli.data:run"),
    "list": Command('list backbones and tasks: zoo list "resnet*"', "zoo.cli.info:list_names", "zoo.cli.info:ListFlags"),
    "info": Command(
        "describe a backbone, a task or a saved model: zoo info resnet50", "zoo.cli.info:run", "zoo.cli.info:InfoFlags", loads=True
    ),
}


def commands() -> dict[str, Command]:
    """Return all commands by name: the built-in ones, and those that task packages define as `COMMANDS`."""
    import zoo.tasks

    found = dict(COMMANDS)
    for module in pkgutil.iter_modules(zoo.tasks.__path__):
        found |= getattr(import_module(f"zoo.tasks.{module.name}"), "COMMANDS", {})
    return found


def _help() -> str:
    lines = "\n".join(f"  {name:11}{command.summary}" for name, command in commands().items())
    return f"""usage: zoo COMMAND […]

One ResNet trunk, every task: image classification, object detection, face embedding.

commands:
{lines}

Run "zoo COMMAND --help" for the flags of a command, and for example "zoo train --task detection --help" for those of a task.
Exit status: 0 success (even if samples were skipped or no face was found);
1 the command finished but found a problem; 2 invalid input; 130 interrupted; 143 stopped by SIGTERM.
To use several processes, run: torchrun --nproc-per-node 2 -m zoo train …; only the first process prints."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit status.

    Args:
        argv: command-line arguments after `zoo`; None for those of this process.
    """
    wait_briefly()
    print_anything()
    try:
        return _run(list(sys.argv[1:] if argv is None else argv))
    # a killed data loader process: torch raises this in a signal handler, which may interrupt any code, including the handlers in `_run`
    except (RuntimeError, ConnectionResetError) as error:  # the latter if the process is killed while it passes a batch on
        if not _is_killed_loader(error):
            raise
        reason = next(iter(str(error).splitlines()), type(error).__name__)
        print(
            f"zoo: a data loader process was killed, probably because memory ran out ({reason}). "
            "Pass a smaller number with --workers (0 disables the processes); to continue training, add --resume to the command",
            file=sys.stderr,
        )
        return 1


def _is_killed_loader(error: BaseException | None) -> bool:
    """Return whether an error, or one that it was raised during the handling of, is torch's for a killed loader process."""
    while error is not None:
        if str(error).startswith("DataLoader worker (pid"):
            return True
        frames = traceback.walk_tb(error.__traceback__) if isinstance(error, ConnectionResetError) else ()
        if any(frame.f_globals.get("__name__", "").startswith("torch.utils.data.") for frame, _ in frames):
            return True
        error = error.__context__
    return False


def _run(words: list[str]) -> int:
    """Run a command, and convert expected errors to a message and an exit status."""
    try:
        if not words or words[0] in ("-h", "--help", "help"):
            print(_help(), flush=True)
            return 0 if words else 2
        if words[0] in ("-V", "--version"):
            print(f"zoo {__version__}", flush=True)
            return 0
        known = commands()
        if words[0] not in known:
            raise InputError(f"unknown command {words[0]!r}; expected one of: {', '.join(known)}")
        with one_voice(), running(words):
            return known[words[0]].run(words[0], words[1:])
    except ZooError as error:
        if not error.said:
            print(f"zoo: {error}{_remedy(error, words)}", file=sys.stderr)
        return error.exit_status
    except KeyboardInterrupt:
        print("zoo: interrupted", file=sys.stderr)
        return 130
    except BrokenPipeError:
        sys.stderr.close()  # the program that reads the output has exited; suppress Python's message about it
        return 1
    except OSError as error:  # such as missing permissions or a full disk; the error names the file
        if _is_killed_loader(error):
            raise
        remedy = "the network connection" if isinstance(error, ConnectionError) else "the path, its permissions and the free disk space"
        print(f"zoo: {error}. Check {remedy}", file=sys.stderr)
        return 2


def _remedy(error: ZooError, words: list[str]) -> str:
    """Return the hint to pass --skip-bad, for the first unreadable image in a command that has this flag."""
    able = words[0] in ("train", "eval", "compare", "predict", "export", "tune") or (
        words[0] == "faces" and words[1:2] in (["align"], ["identify"], ["cluster"])
    )
    return "\nTo skip all such images and list them, pass --skip-bad." if able and isinstance(error, ImageError) else ""


if __name__ == "__main__":
    sys.exit(main())
