"""Train a model with a recipe (`zoo.train`)."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from zoo.data.dataset import OnError
from zoo.data.loader import Reading
from zoo.errors import Fault, InputError
from zoo.evaluation.intervals import REPLICATES
from zoo.images.headers import MAX_PIXELS
from zoo.models.archive import refuse_encrypted, save
from zoo.models.joint import split
from zoo.models.model import Model
from zoo.system.disk import storing, tensor_bytes
from zoo.system.hardware import memory_format, pick_device
from zoo.system.processes import Processes, bound
from zoo.system.progress import Progress
from zoo.system.threads import THREADS
from zoo.task.head import RememberingHead
from zoo.task.joint import JointRecipe
from zoo.task.metric import Scores
from zoo.task.recipe import RunRecipe
from zoo.training.alone import check_alone, train_alone
from zoo.training.batches import RunData
from zoo.training.checkpoints import CHECKPOINT, RunFolder
from zoo.training.inputs import Inputs
from zoo.training.jointreport import JointlyTrained
from zoo.training.jointreport import html as joint_html
from zoo.training.loop import TrainingLoop
from zoo.training.memorizing import Memorizing
from zoo.training.report import Trained, html, write_training_report
from zoo.training.tracking import check_trackers


@dataclass(frozen=True)
class Run:
    """A finished training run.

    Attributes:
        model: the trained model, in evaluation mode. With validation data, it has the weights of the best epoch (the last one if
            several are equal).
        folder: folder of the run.
        history: one entry per epoch, as in metrics.jsonl.
        scores: validation scores of the model (`zoo.evaluate`), or for several heads a dict from head name to its scores; None without
            validation data.
        skipped: errors of skipped images and annotations; empty unless `on_error` is "skip".
        not_finite: number of batches skipped because their loss wasn't finite; 0 unless `recipe.on_nan` is "skip".
        seconds: wall-clock time of the call of `zoo.train`, in seconds.
        alone: validation scores of each head trained alone, by head name; empty unless `beside_alone` was True.
    """

    model: Model
    folder: Path
    history: list[dict[str, Any]]
    scores: Any
    skipped: tuple[Fault, ...]
    not_finite: int
    seconds: float
    alone: Mapping[str, Scores] = field(default_factory=dict)


def train(
    model: Model,
    data: object,
    val: object = None,
    recipe: RunRecipe | None = None,
    out: str | Path = "runs/last",
    *,
    resume: bool = False,
    device: str = "auto",
    on_error: OnError = "raise",
    exact: bool = False,
    max_pixels: int = MAX_PIXELS,
    checkpoint_minutes: float = 10.0,
    track: Sequence[str] = (),
    progress: Progress | None = None,
    align: object = None,
    beside_alone: bool = False,
) -> Run:
    """Train or fine-tune a model in place.

    Args:
        model: model from `zoo.build` or `zoo.load`.
        data: training data: a dataset string, a path, or a sequence of samples. For a model with several heads, a mapping from head name to
            such data. If a dataset labels several heads, the key is their names joined by commas, or a tuple. It is then opened once for
            each of them (or the value is a mapping from name), and their targets are joined by the keys of the samples. Heads without data
            keep their predictions, which requires a frozen backbone.
        val: validation data, scored after every epoch; None for no validation. For several heads, a mapping as for `data`, possibly only
            for some of them.
        recipe: the training settings (`zoo.recipe`); None for the defaults.
        out: folder of the run. It must not contain a run unless `resume` is True.
        resume: whether to resume the run in `out` from its last checkpoint.
        device: "auto" or a torch device.
        on_error: "raise", or "skip" to skip and report samples that can't be read.
        exact: whether to decode every image at full size. By default, JPEGs much larger than the model's input are decoded at a reduced
            scale.
        max_pixels: maximum width × height of an image, in pixels. Larger images are rejected before they are decoded.
        checkpoint_minutes: minutes between two checkpoints within an epoch; 0 writes a checkpoint after every step. A checkpoint is also
            written at the end of every epoch.
        track: names of experiment trackers, as used by Accelerate: "tensorboard" (files in `out`/tensorboard), "wandb", …
        progress: display of progress bars and messages, used only by the first process; None for no display.
        align: detector for face models, as `detector` of `zoo.predict`. It detects the main face in each image, which is then aligned to
            the model's `alignment`. A training image without a face raises an error, or is skipped and reported if `on_error` is "skip".
            A validation image without a face is always skipped. None if the images need no alignment.
        beside_alone: for a model with several heads, whether to also train each head alone, from the same initial weights on the same
            batches of its samples, and to compare the scores in the report. The runs are in `out`/alone/NAME.

    Returns:
        The finished run. The model is saved in `out`/model, and the report as `out`/report.html.

    Raises:
        InputError: an option or the dataset is invalid, a head has no data although the backbone is trained, `out` can't be used, there
            isn't enough disk space, or the model was encrypted.
        UnknownNameError: `data`, `val` or the recipe contains the name of an unknown head.
        ZooError: the loss or the weights aren't finite, or another process of the run has failed.
        Interrupted: training was stopped by Ctrl-C or SIGTERM. A checkpoint was written.
    """
    refuse_encrypted(model, "trained, since checkpoints and cached features are written to the disk")
    if model.compiled:
        raise InputError("a compiled model can't be trained; train the original model and compile it again")
    with bound():
        processes = Processes(pick_device(device))
    quiet = progress is None or not processes.first
    progress = Progress(enabled=False) if progress is None or quiet else progress
    track = check_trackers(track)
    start, layout = time.perf_counter(), memory_format(model)
    with bound(), RunFolder(Path(out), processes.first, checkpoint_minutes) as folder:
        with contextlib.ExitStack() as stack:
            with processes.together():
                reading = Reading(device=device, on_error=on_error, exact=exact, max_pixels=max_pixels, progress=progress)
                inputs, chosen = Inputs(model, processes, reading, align).opened(data, val, recipe)
                if beside_alone:
                    check_alone(inputs)
                initial = {name: split(model, name) for name in inputs.names} if beside_alone else {}
                stack.enter_context(_resting(model, inputs.names))
                remembers = any(isinstance(model.heads[name], RememberingHead) for name in inputs.names)
                loop = Memorizing(inputs, track) if remembers else TrainingLoop(inputs, track)
                folder.open(inputs.describe(), inputs.recipe, resume, loop.checkpoint_bytes(), progress.say)
                if resume and not (folder.path / CHECKPOINT).is_file():
                    progress.say(f"{folder.path}: there is no checkpoint to resume from; starting a new run")
            with THREADS.held(folder.threads()):
                loop.run(folder)
        inputs.store_metadata(loop.scores, inputs.summary(loop.history, loop.precision, loop.seconds))
        model.eval()
        skipped = (*(fault for head in inputs.heads for fault in head.dataset.skipped), *loop.skipped.values())
        if processes.first:
            with storing(folder.path / "model", tensor_bytes(model.state_dict())):
                save(model, folder.path / "model")
        processes.wait()  # wait until the model is saved
        scores, alone = loop.scores, dict[str, Scores]()
        if beside_alone:
            assert isinstance(loop, TrainingLoop), "a head that stores features can't be trained together with others"
            scores = inputs.score(model, REPLICATES)
            alone = {name: train_alone(inputs, loop.plan, name, own, folder, resume) for name, own in initial.items()}
        if processes.first:
            write_training_report(folder.path, lambda name: _page(name, inputs, loop, chosen, scores, skipped, alone), progress)
        processes.wait()
    whole = scores if scores is None or model.is_joint else next(iter(scores.values()))
    model.to(memory_format=layout)  # heads that weren't trained answer as before, to the last bit
    return Run(model, folder.path, loop.history, whole, skipped, loop.not_finite, time.perf_counter() - start, alone)


@contextlib.contextmanager
def _resting(model: Model, trained: Sequence[str]) -> Iterator[None]:
    """Exclude the parameters of heads that aren't trained from optimisation, weight decay and synchronisation."""
    modules = (module for modules in (model.heads, model.adapters) for name, module in modules.items() if name not in trained)
    parameters = [parameter for module in modules for parameter in module.parameters()]
    resting = [parameter for parameter in parameters if parameter.requires_grad]
    for parameter in resting:
        parameter.requires_grad_(False)
    try:
        yield
    finally:
        for parameter in resting:
            parameter.requires_grad_(True)


def _page(
    name: str,
    inputs: RunData,
    loop: TrainingLoop | Memorizing,
    chosen: RunRecipe,
    scores: Mapping[str, Scores] | None,
    skipped: Sequence[Fault],
    alone: Mapping[str, Scores],
) -> str:
    """Return the report of a run."""
    model, recipe, joint = inputs.model, inputs.recipe, inputs.model.is_joint
    heads = {
        head.name: Trained(
            model.view(head.name) if joint else model,
            head.dataset,
            head.validation,
            loop.history,
            (scores or {}).get(head.name),
            chosen,
            recipe,
            () if joint else skipped,
            loop.seconds,
        )
        for head in inputs.heads
    }
    if not joint:
        return html(name, heads[inputs.heads[0].name])
    assert isinstance(chosen, JointRecipe)
    assert isinstance(recipe, JointRecipe)
    return joint_html(name, JointlyTrained(heads, alone, loop.history, chosen, recipe, skipped, loop.seconds))
