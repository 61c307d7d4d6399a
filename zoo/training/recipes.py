"""Choose the recipe of a run, and adapt it to model and data."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace

from zoo.errors import InputError, UnknownNameError
from zoo.models.model import Model
from zoo.system.progress import Progress
from zoo.task.joint import JointRecipe, find_joint_recipe
from zoo.task.recipe import Recipe, RunRecipe


def recipes_of(recipe: RunRecipe, trained: Sequence[str]) -> Mapping[str, Recipe]:
    """Return the recipe of each head."""
    if isinstance(recipe, JointRecipe):
        return recipe.heads
    assert isinstance(recipe, Recipe)
    return {trained[0]: recipe}


def chosen_recipe(model: Model, trained: Sequence[str], recipe: RunRecipe | None) -> RunRecipe:
    """Return the recipe, or the default one if it is None, for the trained heads. Raise an `InputError` if it doesn't fit the model."""
    tasks = {name: model.config.heads[name].definition for name in trained}
    if not model.is_joint:
        (task,) = tasks.values()
        if recipe is None:
            return task.data.recipe()
        if not isinstance(recipe, task.data.recipe):
            raise InputError(f"recipe is a {type(recipe).__name__}; expected a {task.data.recipe.__name__} for the task {task.name}")
        return recipe
    if recipe is None:
        return find_joint_recipe({name: (task.data.recipe, task.data.recipes) for name, task in tasks.items()}, None)
    if not isinstance(recipe, JointRecipe):
        raise InputError(
            f"recipe is a {type(recipe).__name__}; expected a JointRecipe, because the model has several heads: zoo.recipe(model.task, …)"
        )
    for name in {**recipe.heads, **recipe.fixed_weights}:
        if name not in model.config.heads:
            raise UnknownNameError("head in the recipe:", name, model.config.heads)
    for name, task in tasks.items():
        own = recipe.heads.get(name)
        if not isinstance(own, task.data.recipe):
            what = "nothing" if own is None else f"a {type(own).__name__}"
            raise InputError(
                f"the recipe has {what} for the head {name!r}; expected a {task.data.recipe.__name__}: zoo.recipe(model.task, …)"
            )
    weights = {name: weight for name, weight in recipe.fixed_weights.items() if name in trained}
    kept = recipe.loss_weights if not recipe.fixed_weights else ",".join(f"{name}={weight!r}" for name, weight in weights.items()) or None
    return replace(recipe, heads={name: recipe.heads[name] for name in trained}, loss_weights=kept)


def settle_batch_size(recipe: Recipe, samples: int, processes: int, presets: Mapping[str, Recipe], progress: Progress) -> Recipe:
    """Adapt the batch size of a recipe to the size of the dataset.

    A batch size that is too large for the dataset is reduced, with a message, if it comes from a preset; otherwise, it raises an
    `InputError`.
    """
    most = samples // processes
    if recipe.batch_size > most >= 2:
        if recipe.batch_size not in {preset.batch_size for preset in presets.values()}:
            raise InputError(
                f"batch_size is {recipe.batch_size}{f' in each of {processes} processes' if processes > 1 else ''}, but the data has "
                f"{samples} samples; set it to {most} or less"
            )
        progress.say(f"batch_size was reduced from {recipe.batch_size} to {most}, because the dataset has only {samples} samples")
        recipe = replace(recipe, batch_size=most)
    return recipe


def settle_epochs(recipe: RunRecipe, steps: float) -> RunRecipe:
    """Derive the number of epochs of a recipe from its number of steps, unless it is set. `steps` is the number of steps of an epoch."""
    if recipe.epochs is not None:
        return recipe
    return replace(recipe, epochs=min(recipe.max_epochs, max(2, math.ceil(recipe.steps / max(1, steps)))))
