"""A trunk and its head: build, call, freeze, save, load."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from zoo.backbones import BACKBONES, Backbone, Features
from zoo.errors import InputError, WeightsError
from zoo.files import draft_folder, write_text
from zoo.freezing import apply_freeze
from zoo.head import Head, HeadSpec
from zoo.model_config import CONTRACT_VERSION, ModelConfig, model_folder, read_description
from zoo.model_place import check_place
from zoo.pooling import AnyImages, PooledBatch, PooledHead
from zoo.preprocess import ImageBatch, Picture, as_float
from zoo.settling import refuse_others, settle
from zoo.storage import save_tensors
from zoo.task import Task, get_task
from zoo.weights import Weights
from zoo.weights.files import read_state
from zoo.weights.find import find_weights
from zoo.weights.fit import fit_weights


class Model(nn.Module):
    """One trunk with the head of one task.

    Calling it with pictures answers in the task's convention; with pictures and targets it answers named losses, in
    training and in evaluation mode alike. Pictures are RGB, uint8 0–255 or float 0–1: the model normalises them itself.

    Attributes:
        config: enough to rebuild the model.
        preprocess: the only preprocessing; the model has applied it to everything but a plain batch.
        metadata: what travels with the model: distance and threshold of embeddings, training summary, scores.
        compiled: whether an engine computes it (`zoo.compile`).
        precision: of the engine's matrix work; None where the caller decides.
        fingerprints: of the model that a compiled one was made from; None where they are to be taken of the numbers in it.
    """

    def __init__(self, config: ModelConfig) -> None:
        """Build the model with fresh parameters; `zoo.build` is the way in."""
        super().__init__()
        self.config = config
        self.preprocess = config.preprocess
        task = get_task(config.task)
        definition = BACKBONES[config.backbone]
        self.backbone: Backbone = definition.create()
        levels = self.backbone.levels
        if len(levels) < task.min_levels:
            raise InputError(
                f"the task {task.name} needs a backbone with at least {task.min_levels} levels; {config.backbone} has {len(levels)}"
            )
        self._least_side = levels[-1].field
        options = task.parse_options(config.options)
        head = task.head(HeadSpec(levels, len(config.classes), options, config.preprocess))
        self.heads = nn.ModuleDict({config.task: head})
        self.metadata: dict[str, Any] = dict(task.metadata(options))
        self.register_buffer("_mean", torch.tensor(self.preprocess.mean).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("_std", torch.tensor(self.preprocess.std).view(1, 3, 1, 1), persistent=False)
        self._mean: Tensor
        self._std: Tensor
        if config.norm_eps is not None:
            _set_norm_eps(self.backbone, config.norm_eps)
        self._frozen = apply_freeze(self.backbone, config.freeze)
        self.compiled = False
        self.precision: str | None = None
        self.fingerprints: dict[str, str] | None = None

    @property
    def classes(self) -> tuple[str, ...]:
        """The user's class names by index; no background among them."""
        return self.config.classes

    @property
    def task(self) -> str:
        """The task's name."""
        return self.config.task

    @property
    def backbone_name(self) -> str:
        """The trunk's name in the registry."""
        return self.config.backbone

    @property
    def head(self) -> Head:
        """The head of the model's task."""
        head = self.heads[self.config.task]
        assert isinstance(head, Head)
        return head

    @property
    def device(self) -> torch.device:
        """Where the parameters are."""
        return self._mean.device

    def check(self, batch: ImageBatch) -> None:
        """Refuse pictures that the trunk or the head can't take.

        Raises:
            InputError: too small for the one, or of another size than the other's own.
        """
        (height, width), least = batch.pixels.shape[-2:], self._least_side
        if min(height, width) < least:
            raise InputError(
                f"pictures of {height}×{width} pixels are too small for the backbone {self.backbone_name}, "
                f"which needs {least} each way; give a larger image_size"
            )
        self.head.check(batch)

    def features(self, batch: ImageBatch) -> Features:
        """Normalise and run the trunk: {"c2": [B, C, H / stride, W / stride], …}.

        Raises:
            InputError: pictures that the model can't take.
        """
        self.check(batch)
        return self.levels(as_float(batch.pixels))

    def levels(self, pixels: Tensor) -> Features:
        """Normalise and run the trunk on [B, 3, H, W], float 0–1."""
        features: Features = self.backbone((pixels - self._mean) / self._std)
        return features

    def forward(self, images: AnyImages | Tensor | Sequence[Picture], targets: Any = None) -> Any:
        """Answer in the task's convention, or, with targets, with named losses.

        Args:
            images: [B, 3, H, W], a list of pictures of any size, a prepared batch, or one that the trunk has seen already.
            targets: as the task's loss takes them: [B] int64 (classification, faces), or a list of
                `{"boxes": [N, 4] xyxy in pixels of the pictures as given, "labels": [N]}`.

        Raises:
            InputError: pictures that aren't RGB in 0–255 uint8 or 0–1 float.
        """
        if isinstance(images, PooledBatch):
            head, pooled = self.head, images.to(self.device).pooled
            assert isinstance(head, PooledHead), "other heads look at more of a trunk"
            return head.answer(pooled) if targets is None else head.pooled_loss(pooled, targets)
        batch = self.preprocess.batch(images).to(self.device)
        features = self.features(batch)
        if targets is None:
            return self.head(features, batch)
        return self.head.loss(features, batch, targets)

    def set_frozen(self, modules: tuple[nn.Module, ...]) -> None:
        """Keep these modules in evaluation mode from now on, and no others; `zoo.freeze` is the way in."""
        self._frozen = modules
        self.train(self.training)

    def group_matcher(self, coarse: bool = False) -> Callable[[str], int]:
        """Return which layer a parameter belongs to, by its name: the stem is 0, then the stages, then the head (timm's interface)."""
        stages = self.backbone.stages()
        names = {module: name for name, module in self.named_modules()}
        prefixes = {f"{names[module]}.": number for number, stage in enumerate(stages) for module in stage}
        deepest = len(stages) - 1  # of the trunk, what stands outside its stages (a last norm) belongs to the last one

        def layer(name: str) -> int:
            outside = deepest if name.startswith("backbone.") else deepest + 1
            return next((number for prefix, number in prefixes.items() if name.startswith(prefix)), outside)

        return layer

    def write(self, folder: Path) -> dict[str, Any]:
        """Write what the model computes with into a folder, and return what model.json says of that beside config and metadata.

        Raises:
            OSError: no room, no permission.
        """
        tensors = {key: value.detach().cpu().contiguous() for key, value in self.state_dict().items()}
        save_tensors(tensors, folder / "weights.safetensors")
        return {}

    def train(self, mode: bool = True) -> Model:
        """Set training mode; frozen parts stay in evaluation mode, so that their batch-norm statistics do not move."""
        super().train(mode)
        for module in self._frozen:
            module.eval()
        return self


def _set_norm_eps(backbone: nn.Module, eps: float) -> None:
    for module in backbone.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.eps = eps


def build(
    backbone: str,
    task: str = "classification",
    *,
    classes: Sequence[str] | None = None,
    num_classes: int | None = None,
    weights: str | Path | None = None,
    freeze: str = "none",
    pretrained: bool = False,
    checkpoint_path: str | Path | None = None,
    say: Callable[[str], None] | None = None,
    **options: Any,
) -> Model:
    """Build a model: a trunk from the registry with the head of a task.

    Args:
        backbone: a name of `zoo.list_backbones()`.
        task: a name of `zoo.list_tasks()`.
        classes: the user's class names, counted from 0, without background.
        num_classes: their number, where names don't matter. Without either, the weights' own classes are kept.
        weights: None (random), "default", a timm tag, a torchvision or facenet-pytorch weights name, or a file or folder.
        freeze: "none", "trunk", "stages=N", "norm", or two of them joined by a comma; see `zoo.freeze`.
        pretrained: timm's way to say `weights="default"`.
        checkpoint_path: timm's way to say `weights=path`.
        say: told what was left fresh; by default it goes to the log of "zoo".
        **options: the task's options, see `zoo.info(task)`.

    Returns:
        The model, in evaluation mode.

    Raises:
        UnknownNameError: an unknown backbone, task, option or weights name.
        InputError: options that contradict each other.
        WeightsError: weights that can't be read or do not fit.

    Example:
        >>> import zoo
        >>> model = zoo.build("resnet20", task="classification", classes=["cat", "dog"])
        >>> model.classes
        ('cat', 'dog')
    """
    definition, definition_task = BACKBONES[backbone], get_task(task)
    settle(definition_task, definition, None, options)  # a mistake here is told before anything is fetched
    weights = _one_of(weights, checkpoint_path, pretrained)
    loaded = None if weights is None else find_weights(weights, backbone, task)
    settled = settle(definition_task, definition, loaded, options)
    names = class_names(classes, num_classes, loaded, definition_task)
    native = (loaded.preprocess if loaded is not None else None) or definition.preprocess()
    config = ModelConfig(
        backbone=backbone,
        task=task,
        classes=names,
        options=asdict(settled.options),
        preprocess=definition_task.preprocess(native, settled.options),
        norm_eps=loaded.norm_eps if loaded is not None else None,
        freeze=freeze,
        weights=loaded.origin if loaded is not None else None,
    )
    model = Model(config)
    if loaded is not None:
        fit_weights(model, loaded, say)
    model.metadata.update(settled.metadata)
    return model.eval()


def _one_of(weights: str | Path | None, checkpoint_path: str | Path | None, pretrained: bool) -> str | Path | None:
    given = [value for value in (weights, checkpoint_path, "default" if pretrained else None) if value]
    if len(given) > 1:
        raise InputError("weights, checkpoint_path and pretrained say the same thing; give one of them")
    return given[0] if given else None


def class_names(classes: Sequence[str] | None, num_classes: int | None, weights: Weights | None, task: Task) -> tuple[str, ...]:
    """Settle the class names: given, counted, the weights' own, or the task's default.

    Raises:
        InputError: names that repeat, or that contradict `num_classes`.
    """
    if classes is not None:
        names = tuple(str(name) for name in classes)
        if isinstance(classes, str) or len(set(names)) < len(names) or not names:
            raise InputError(f"classes is {classes!r}; expected a list of different names")
        if num_classes not in (None, len(names)):
            raise InputError(f"num_classes is {num_classes} but classes has {len(names)} names")
        return names
    if weights is not None and weights.task == task.name and num_classes in (None, weights.num_classes):
        return weights.classes or unnamed(weights.num_classes)
    if num_classes is not None:
        if num_classes < 0 or (num_classes == 0 and task.default_classes()):
            raise InputError(f"num_classes is {num_classes}; expected 1 or more")
        return unnamed(num_classes)
    return task.default_classes()


def unnamed(count: int) -> tuple[str, ...]:
    """Return the names of classes that have none: their indices."""
    return tuple(str(index) for index in range(count))


def save(model: Model, folder: str | Path) -> Path:
    """Write `weights.safetensors`, or a compiled model's networks, and `model.json` into a folder, which appears whole or not at all.

    Args:
        model: what to save.
        folder: where to; an existing saved model there is replaced, by a compiled one only if it can't be trained either. Anything else
            is not touched.

    Returns:
        The folder.

    Raises:
        InputError: the folder exists and holds something else, or a compiled model would take the place of weights.
        OSError: no room, no permission; an older model there is untouched then.
    """
    folder = Path(folder)
    check_place(folder, model.compiled)
    with draft_folder(folder, "model.json") as draft:
        content = {"contract": CONTRACT_VERSION, **model.config.to_dict(), **model.write(draft), "metadata": model.metadata}
        write_text(draft / "model.json", json.dumps(content, indent=2, allow_nan=False) + "\n")
    return folder


def load(folder: str | Path, **options: Any) -> Model:
    """Rebuild a saved model exactly, or with other options than it was saved with.

    Args:
        folder: what `zoo.save` wrote, or a finished run that holds one as `model/`.
        **options: options of the task that don't change parameters, such as `score_threshold` or `image_size`; what is None is as saved.

    Raises:
        InputError: no saved model there, one of another contract version, or an option that its weights can't be used with.
        UnknownNameError: an option that the task doesn't have.
        WeightsError: the weights don't belong to the description, or don't fit the options.
    """
    folder = model_folder(folder)
    config, metadata, compiled = read_description(folder)
    options = {name: value for name, value in options.items() if value is not None}
    if compiled is not None:
        if options:
            raise InputError(f"{folder}: options of an exported model are fixed ({', '.join(options)}); export it with others")
        from zoo.stored import load_compiled

        return load_compiled(folder, config, metadata, compiled)
    if options:
        task = get_task(config.task)
        refuse_others(task, f"the weights of {folder}", config.options, options)
        before, parsed = task.parse_options(config.options), task.parse_options({**config.options, **options})
        config = replace(config, options=asdict(parsed), preprocess=task.preprocess(config.preprocess, parsed))
        if task.metadata(parsed) != task.metadata(before):  # the answers are others now
            metadata |= task.metadata(parsed)
    model = Model(config)
    state = read_state(folder / "weights.safetensors")
    try:
        model.load_state_dict(state)
    except RuntimeError as error:
        cause = f"does not fit the options {', '.join(options)}" if options else "does not belong to model.json"
        raise WeightsError(f"{folder}: weights.safetensors {cause}: {error}") from error
    model.metadata = metadata
    return model.eval()
