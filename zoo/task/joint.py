"""Training settings of models with several heads: those of the run, and a recipe of its task for each head."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from functools import cached_property
from typing import Any, ClassVar

from zoo.errors import InputError, UnknownNameError
from zoo.task.recipe import Recipe, RunRecipe, find_recipe, read_settings, replace_settings, toml_path

UNCERTAINTY = "uncertainty"
Kinds = Mapping[str, tuple[type[Recipe], Mapping[str, Recipe]]]  # recipe class and presets of each head's task, by head name
_RUN = tuple(setting.name for setting in fields(RunRecipe))


@dataclass(frozen=True)
class JointRecipe(RunRecipe):
    """Training settings of a model with several heads.

    `grad_accumulation` counts batches of all datasets, so a step with several batches usually trains several heads.

    Attributes:
        mix: share of each dataset in the batches of an epoch. "proportional" draws every sample of every dataset once, "equal" draws the
            same number of batches from each dataset, and "temperature=T" draws in proportion to n^(1/T), where n is the number of batches
            of a dataset: 1 is proportional, and a large T nearly equal.
        loss_weights: weights of the heads' losses, such as "parts=1,species=0.5"; 1 for all other heads. "uncertainty" learns the weights
            (Kendall et al. 2018, arXiv 1705.07115); by default, all weights are 1.
        heads: recipe of each head by name: how its data is sampled and augmented, and its loss. The settings of the run, such as lr, are
            always those of this recipe.
    """

    groups: ClassVar[Mapping[str, tuple[str, ...]]] = {"sampling": ("mix",), "loss": ("loss_weights",)}

    mix: str = "proportional"
    loss_weights: str | None = None
    heads: Mapping[str, Recipe] = field(default_factory=dict, metadata={"nested": True})

    def __post_init__(self) -> None:
        """Raise an `InputError` that names the first invalid setting, and pass the settings of the run on to the heads' recipes."""
        super().__post_init__()
        run = {name: getattr(self, name) for name in _RUN}
        object.__setattr__(self, "heads", {name: replace(recipe, **run) for name, recipe in self.heads.items()})
        _ = self.temperature
        for name in self.fixed_weights:
            if self.heads and name not in self.heads:
                raise UnknownNameError("head in loss_weights:", name, self.heads)

    @cached_property
    def temperature(self) -> float:
        """The temperature of the mixture: 1 for "proportional", infinity for "equal"."""
        known = {"proportional": 1.0, "equal": math.inf}
        if self.mix in known:
            return known[self.mix]
        name, _, text = self.mix.partition("=")
        try:
            temperature = float(text)
        except ValueError:
            temperature = math.nan
        if name != "temperature" or not 0 < temperature < math.inf:
            raise InputError(f"recipe: mix is {self.mix!r}; expected 'proportional', 'equal', or 'temperature=T' with a number T above 0")
        return temperature

    @cached_property
    def fixed_weights(self) -> dict[str, float]:
        """The weights in `loss_weights` by head name; empty if they are learned."""
        if self.loss_weights in (None, UNCERTAINTY):
            return {}
        assert self.loss_weights is not None
        found: dict[str, float] = {}
        for part in self.loss_weights.split(","):
            name, _, text = part.strip().partition("=")
            try:
                weight = float(text)
            except ValueError:
                weight = math.nan
            if not name or not 0 < weight < math.inf or name in found:
                raise InputError(
                    f"recipe: loss_weights is {self.loss_weights!r}; expected {UNCERTAINTY!r} or a number above 0 for each head, such as "
                    "'parts=1,species=0.5'"
                )
            found[name] = weight
        return found

    def settings(self) -> dict[str, Any]:
        """Return the settings of the run by name, and under "heads" those of each head. Settings that are None are left out."""
        run = {name: value for name, value in {**asdict(self), "heads": None}.items() if value is not None}
        heads = {name: {key: value for key, value in recipe.settings().items() if key not in _RUN} for name, recipe in self.heads.items()}
        return {**run, "heads": heads}


def find_joint_recipe(kinds: Kinds, which: str | None) -> JointRecipe:
    """Return the recipe of a model with several heads.

    The settings of the run are derived from the presets of the heads' tasks: the sum of the steps, the lowest learning rate, the smallest
    gradient norm, and the largest limit on the epochs. Other settings are those of the presets if they agree, and the defaults if not.

    Args:
        kinds: recipe class and presets of each head's task.
        which: name of a preset that all tasks have, or the path of a TOML file with a table `[heads.NAME]` for the settings of each head;
            None for the defaults.
    """
    names = set.intersection(*({*presets} for _, presets in kinds.values()))
    if which is not None and which not in names:
        path = toml_path(which, names)
        return joint_settings(find_joint_recipe(kinds, None), read_settings(path), str(path))
    heads = {name: find_recipe(kind, presets, which) for name, (kind, presets) in kinds.items()}
    return JointRecipe(**_derived([*heads.values()]), heads=heads)


def _derived(heads: list[Recipe]) -> dict[str, Any]:
    """Return the settings of a run derived from recipes of single heads; see `find_joint_recipe`."""
    values = {name: [getattr(recipe, name) for recipe in heads] for name in _RUN}
    agreed = {name: found[0] for name, found in values.items() if all(value == found[0] for value in found)}
    norms = [value for value in values["clip_grad"] if value] or [0.0]
    return {
        **agreed,
        "steps": sum(values["steps"]),
        "lr": min(values["lr"]),
        "clip_grad": min(norms),
        "max_epochs": max(values["max_epochs"]),
    }


def joint_settings(recipe: JointRecipe, values: Mapping[str, Any], origin: str) -> JointRecipe:
    """Return a copy of the recipe in which `values` replace settings of the run or of the heads.

    A setting of heads applies to all heads whose task has it, unless its value is a mapping from head name to value. The entry "heads" maps
    head names to settings of these heads, as in a TOML file.

    Raises:
        UnknownNameError: neither the run nor a head has a setting of that name, or there is no head of that name.
        InputError: a value is invalid or has the wrong type.
    """
    known = {name: {setting.name for setting in fields(head)} - {*_RUN} for name, head in recipe.heads.items()}
    run = {name: value for name, value in values.items() if name in (*_RUN, "mix", "loss_weights")}
    if isinstance(run.get("loss_weights"), Mapping):
        run["loss_weights"] = ",".join(f"{head}={weight!r}" for head, weight in run["loss_weights"].items())
    own: dict[str, dict[str, Any]] = {head: {} for head in recipe.heads}
    for head, name, value in _of_heads({name: value for name, value in values.items() if name not in run}, known, origin):
        if head not in own:
            raise UnknownNameError(f"head in the recipe of {origin}:", head, own)
        if name not in known[head]:
            raise UnknownNameError(f"recipe setting of {origin}, head {head}:", name, known[head])
        own[head][name] = value
    heads = {name: replace_settings(head, own[name], f"{origin}, head {name}") for name, head in recipe.heads.items()}
    return replace_settings(replace(recipe, heads=heads), run, origin)


def _of_heads(values: Mapping[str, Any], known: Mapping[str, set[str]], origin: str) -> Iterator[tuple[str, str, Any]]:
    """Yield the name of a head, the name of a setting and its value for each setting of heads. `known` are the settings of each head."""
    for name, value in values.items():
        if name == "heads":
            for head, settings in _table(value, name, origin).items():
                yield from ((head, setting, each) for setting, each in _table(settings, head, origin).items())
        elif isinstance(value, Mapping):
            yield from ((head, name, each) for head, each in value.items())
        else:
            having = [head for head in known if name in known[head]]
            if not having:
                raise UnknownNameError(f"recipe setting of {origin}:", name, {*_RUN, "mix", "loss_weights", *set().union(*known.values())})
            yield from ((head, name, value) for head in having)


def _table(value: Any, name: str, origin: str) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        raise InputError(f"{origin}: {name} is {value!r}; expected a table of settings, such as [heads.NAME]")
    return value
