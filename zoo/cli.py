"""The command line: `zoo train | eval | compare | predict | export | runs | bench`, and `zoo data | list | info`."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from zoo import __version__
from zoo.command import class_list, compiled, given, one_voice, print_json, progress_of, saved_or_built, task_of, value_of
from zoo.command_group import DATA, FACES
from zoo.errors import ImageError, InputError, ZooError
from zoo.wording import counted

if TYPE_CHECKING:
    from zoo.data import OnError

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
            return _COMMANDS[words[0]](words[1:])
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


def _train(words: list[str]) -> int:
    import torch

    from zoo.arguments import TrainFlags, combine, parse
    from zoo.model import build
    from zoo.recipe import find_recipe
    from zoo.schemes import open_data
    from zoo.training import train

    task = task_of(words)
    recipe = find_recipe(task.recipe, task.recipes, value_of("--recipe", words))
    flags = parse(combine("Train", TrainFlags, task.options, recipe), "train", words)
    if flags.build.backbone is None:
        raise InputError('no backbone: give --backbone, such as --backbone resnet18; see: zoo list "*"')
    on_error: OnError = "skip" if flags.run.skip_bad else "raise"
    with progress_of(flags.run.quiet) as progress:
        data = open_data(flags.main.data, task.schemes, task.name, on_error, progress.say)
        torch.manual_seed(flags.recipe.seed)  # fresh parameters too
        model = build(
            flags.build.backbone,
            task.name,
            classes=class_list(flags.build.classes) or data.classes or None,
            weights=flags.build.weights,
            say=progress.say,
            **given(flags.options),
        )
        out = flags.main.out or Path("runs") / f"{task.name}-{flags.build.backbone}"
        run = train(
            model, data, flags.main.val, flags.recipe, out,
            resume=flags.main.resume, device=flags.run.device, on_error=on_error,
            exact=flags.run.exact, max_pixels=flags.run.max_pixels,
            checkpoint_minutes=flags.main.checkpoint_minutes, track=class_list(flags.main.track) or (), progress=progress,
            align=flags.main.align,
        )  # fmt: skip
    summary = {
        "folder": str(run.folder),
        "model": str(run.folder / "model"),
        "epochs": len(run.history),
        "loss": run.history[-1]["loss"] if run.history else None,
        "scores": dict(run.scores) if run.scores is not None else {},
        "skipped": [fault.to_dict() for fault in run.skipped],
        "not_finite": run.not_finite,
        "seconds": round(run.seconds, 3),
    }
    if flags.run.json:
        print_json(summary)
    else:
        print(f"trained for {counted(len(run.history), 'epoch')} in {run.seconds:.0f} s; model saved in {run.folder / 'model'}")
        if run.not_finite:
            lost = counted(run.not_finite, "batch", "batches")
            print(f"left out: {lost} whose loss was not a number (--on-nan skip); their samples are named above")
        print(f"score it with: zoo eval {run.folder} --data …")
    return 0


def _predict(words: list[str]) -> int:
    from zoo.arguments import PredictFlags, combine, parse
    from zoo.hardware import pick_device
    from zoo.loader import pick_batch_size
    from zoo.output import write_predictions
    from zoo.prediction import predict

    flags = parse(combine("Predict", PredictFlags, task_of(words).options, answers=True), "predict", words)
    inputs = list(flags.main.inputs)
    folder = Path(inputs.pop(0)) if inputs and flags.build.backbone is None else None
    if not inputs:
        raise InputError("no source: zoo predict MODEL SOURCE […], where SOURCE is a picture, a folder, a video or a camera's number")
    skipped: list[Any] = []
    with progress_of(flags.run.quiet) as progress:
        built = saved_or_built(folder, flags, progress)
        model, precision = compiled(built, flags.engine, flags.run, flags.main.batch_size, progress)
        sources: list[Any] = [int(source) if source.isdecimal() and not Path(source).exists() else source for source in inputs]
        predictions = predict(
            model,
            sources[0] if len(sources) == 1 else sources,
            batch_size=flags.main.batch_size,
            precision=precision,
            device=flags.run.device,
            on_error="skip" if flags.run.skip_bad else "raise",
            exact=flags.run.exact,
            max_pixels=flags.run.max_pixels,
            detector=flags.main.detector,
            faces=flags.main.faces,
            skipped=skipped,
            progress=progress,
        )
        show = None if flags.run.json else lambda answer: print(json.dumps(answer))
        # as many as come at once: fewer would keep the network from the next batch
        waiting = pick_batch_size(flags.main.batch_size, model.preprocess, pick_device(flags.run.device, model.compiled))
        answers = write_predictions(predictions, flags.main.out, show, keep=flags.run.json, waiting=waiting)
    for fault in skipped:
        print(f"left out: {fault}", file=sys.stderr)
    if flags.run.json:
        print_json({"predictions": answers, "skipped": [fault.to_dict() for fault in skipped]})
    return 0


def _bench(words: list[str]) -> int:
    from zoo.arguments import BenchFlags, parse
    from zoo.benchmarks.harness import bench

    flags = parse(BenchFlags, "bench", words)
    report = bench(flags.suite, out=flags.out, engine=flags.engine, precision=flags.precision, quiet=flags.json)
    if flags.json:
        print_json(report.to_dict())
    return 0 if report.ok else 1


def _eval(words: list[str]) -> int:
    from zoo.eval_command import run

    return run(words)


def _runs(words: list[str]) -> int:
    from zoo.runs_command import run

    return run(words)


def _export(words: list[str]) -> int:
    from zoo.export_command import run

    return run(words)


def _compare(words: list[str]) -> int:
    from zoo.compare_command import run

    return run(words)


def _list(words: list[str]) -> int:
    from zoo.arguments import ListFlags, parse
    from zoo.backbones import BACKBONES
    from zoo.task import TASKS

    flags = parse(ListFlags, "list", words)
    names = BACKBONES.names(flags.pattern)
    if flags.json:
        print_json({"backbones": names, "tasks": TASKS.names()})
        return 0
    if not names:
        raise InputError(f'no backbone matches {flags.pattern!r}; see them all with: zoo list "*"')
    for name in names:
        print(name)
    print(f"{len(names)} backbones; tasks: {', '.join(TASKS)}", file=sys.stderr)
    return 0


def _info(words: list[str]) -> int:
    from zoo.arguments import InfoFlags, parse
    from zoo.description import info

    flags = parse(InfoFlags, "info", words)
    content = info(flags.name)
    if flags.json:
        print_json(content)
    else:
        from zoo.tables import print_info

        print_info(content)
    return 0


_COMMANDS: dict[str, Callable[[list[str]], int]] = {
    "train": _train,
    "eval": _eval,
    "compare": _compare,
    "predict": _predict,
    "export": _export,
    "runs": _runs,
    "bench": _bench,
    "data": DATA,
    "faces": FACES,
    "list": _list,
    "info": _info,
}

if __name__ == "__main__":
    sys.exit(main())
