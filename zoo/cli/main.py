"""The command line: `zoo train | eval | compare | predict | export | runs | bench`, and `zoo data | list | info`."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from importlib import import_module

from zoo import __version__
from zoo.cli.context import one_voice
from zoo.errors import ImageError, InputError, ZooError

_HELP = """usage: zoo COMMAND […]

One ResNet trunk, every task: image classification, object detection, face embedding.

commands:
  train      fine-tune a model on your pictures
  eval       score a trained model, weights without a run, or a file of predictions
  compare    two models, or two files of predictions, on the same samples
  predict    answer for pictures, folders, videos or a camera
  export     write a model as OpenVINO, ONNX or torch.export graphs: zoo export runs/mine --format onnx
  runs       training runs side by side: zoo runs --sort top1
  bench      measure accuracy, speed and memory: zoo bench quick
  data       look after data: check, convert, split, show
  faces      align faces in photos, and tell people apart: zoo faces verify A.jpg B.jpg
  list       the backbones and tasks: zoo list "resnet*"
  info       a backbone, task or saved model: zoo info resnet50

zoo COMMAND --help shows its flags, zoo train --task detection --help those of a task.
Exit status: 0 all right (also where --skip-bad has left something out, or a picture shows no face: that is said);
1 something was found wrong; 2 the input is wrong; 130 interrupted, 143 by SIGTERM.
Several processes: torchrun --nproc-per-node 2 -m zoo train …; the first one prints."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line.

    Args:
        argv: the words after `zoo`; None for the process's own.

    Returns:
        The exit status.
    """
    words = list(sys.argv[1:] if argv is None else argv)
    if not words or words[0] in ("-h", "--help", "help"):
        print(_HELP)
        return 0 if words else 2
    if words[0] in ("-V", "--version"):
        print(f"zoo {__version__}")
        return 0
    return _answered(words)


def _answered(words: list[str]) -> int:
    """Run a command, and turn a killed loader into a message: torch's signal handler raises it anywhere, in handlers of errors too."""
    try:
        return _told(words)
    except RuntimeError as error:
        if not str(error).startswith("DataLoader worker (pid"):
            raise
        print(
            f"zoo: a process that reads pictures was ended from outside, mostly since memory ran out ({str(error).splitlines()[0]}). "
            "Give a smaller --workers (0 for none); a training goes on with the same command and --resume",
            file=sys.stderr,
        )
        return 1


def _told(words: list[str]) -> int:
    """Run a command, and turn what goes wrong on purpose into a message and an exit status."""
    try:
        if words[0] not in _COMMANDS:
            raise InputError(f"unknown command {words[0]!r}; expected one of: {', '.join(_COMMANDS)}")
        with one_voice():
            return _run(words)
    except ZooError as error:
        if not error.said:
            print(f"zoo: {error}{_remedy(error, words)}", file=sys.stderr)
        return error.exit_status
    except KeyboardInterrupt:
        print("zoo: interrupted", file=sys.stderr)
        return 130
    except BrokenPipeError:
        sys.stderr.close()  # the reader of our output has gone; there is nobody to tell
        return 1
    except OSError as error:  # no permission, no room: names the file
        print(f"zoo: {error}. Check the path, its permissions and the room there", file=sys.stderr)
        return 2


def _remedy(error: ZooError, words: list[str]) -> str:
    """Return what helps against a picture that can't be read: the first one ends a command, and there may be more."""
    able = words[0] in ("train", "eval", "compare", "predict") or words[:2] in (
        ["faces", "align"],
        ["faces", "identify"],
        ["faces", "cluster"],
    )
    return "\nWith --skip-bad every such picture is left out, and all of them are listed." if able and isinstance(error, ImageError) else ""


_COMMANDS = {
    "train": "zoo.cli.train",
    "eval": "zoo.cli.evaluate",
    "compare": "zoo.cli.compare",
    "predict": "zoo.cli.predict",
    "export": "zoo.cli.export",
    "runs": "zoo.cli.runs",
    "bench": "zoo.cli.bench",
    "data": "zoo.cli.data.group",
    "faces": "zoo.tasks.face.commands.group",
    "list": "zoo.cli.list",
    "info": "zoo.cli.info",
}  # to the module whose `run` takes the remaining words and returns the exit status


def _run(words: list[str]) -> int:
    command: Callable[[list[str]], int] = import_module(_COMMANDS[words[0]]).run
    return command(words[1:])


if __name__ == "__main__":
    sys.exit(main())
