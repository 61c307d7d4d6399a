"""Training of each head alone, to compare it with the same head of a model trained jointly."""

from __future__ import annotations

from dataclasses import replace

from zoo.errors import InputError
from zoo.evaluation.intervals import REPLICATES
from zoo.models.archive import save
from zoo.models.model import Model
from zoo.system.disk import storing, tensor_bytes
from zoo.system.threads import THREADS
from zoo.system.wording import counted
from zoo.task.joint import JointRecipe
from zoo.task.metric import Scores
from zoo.training.batches import RunData
from zoo.training.checkpoints import RunFolder
from zoo.training.loop import TrainingLoop
from zoo.training.mixing import MixedPlan

FOLDER = "alone"  # subfolder of the run's folder


def check_alone(inputs: RunData) -> None:
    """Raise an `InputError` if the heads of a run can't be trained alone and compared."""
    if not inputs.model.is_joint:
        raise InputError("beside_alone compares the heads of a model with several heads, but the model has only one; omit it")
    for head in inputs.heads:
        if head.validation is None:
            raise InputError(
                f"beside_alone compares validation scores, but the head {head.name!r} has no validation data (--val {head.name}=…)"
            )


def train_alone(inputs: RunData, plan: MixedPlan, name: str, model: Model, folder: RunFolder, resume: bool) -> Scores:
    """Train a head alone, on the batches of its data that a run over several heads contained.

    Args:
        inputs: inputs of the run over several heads.
        plan: batches of that run.
        name: name of the head.
        model: the head with a backbone, with the weights from which that run started.
        folder: folder of that run.
        resume: whether to resume the training of the head if it was interrupted.

    Returns:
        The validation scores of the best epoch, with confidence intervals.
    """
    (place,) = (place for place, stream in enumerate(inputs.streams) if name in (head.name for head in stream.heads))
    assert isinstance(inputs.recipe, JointRecipe)
    own = replace(
        inputs, model=model, streams=(inputs.streams[place].only(name),), recipe=inputs.recipe.heads[name], counts=(plan.counts[place],)
    )
    batches = counted(plan.counts[place] * plan.epochs, "batch", "batches")
    own.reading.progress.say(f"training {name} alone, on the same {batches} of its data")
    with RunFolder(folder.path / FOLDER / name, inputs.processes.first, folder.minutes) as place_of:
        with own.processes.together():
            loop = TrainingLoop(own)
            place_of.open(own.describe(), own.recipe, resume, loop.checkpoint_bytes(), own.reading.progress.say)
        with THREADS.held(place_of.threads()):
            loop.run(place_of)
        own.store_metadata(loop.scores, own.summary(loop.history, loop.precision, loop.seconds))
        scores = own.score(model.eval(), REPLICATES)[name]
        if own.processes.first:
            with storing(place_of.path / "model", tensor_bytes(model.state_dict())):
                save(model, place_of.path / "model")
    return scores
