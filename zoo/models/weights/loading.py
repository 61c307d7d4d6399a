"""Find weights by file, folder of a saved model, or name, and load them into a model.

Names are timm tags, members of torchvision's enums, and names of the weights of other backbones. They are fetched with the loaders of the
libraries that publish them.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import Tensor, nn
from torchvision.transforms.v2.functional import InterpolationMode

from zoo.artefacts.encryption import refuse_as_weights
from zoo.artefacts.hub.reference import is_reference
from zoo.artefacts.hub.snapshot import Snapshot, fetch
from zoo.artefacts.signing import SIGNATURE
from zoo.artefacts.trust import Admitted, admit
from zoo.backbones import BACKBONES
from zoo.errors import InputError, WeightsError
from zoo.images.preprocess import Preprocess
from zoo.models.classes import imagenet_classes
from zoo.models.config import DESCRIPTION, HeadConfig, model_folder, read_description
from zoo.models.weights.files import is_path, read_state
from zoo.models.weights.layouts import Weights, convert
from zoo.models.weights.names import detector_weights, settled_name, torchvision_weights
from zoo.models.weights.repositories import described_by_timm
from zoo.models.weights.saved import saved_state, weights_file
from zoo.models.weights.shards import SUFFIX, weights_in
from zoo.task.contract import TASKS, Task, get_task

if TYPE_CHECKING:
    from zoo.models.model import Model

_LOG = logging.getLogger("zoo")


def find_weights(weights: str | Path, backbone: str, task: str) -> Weights:
    """Return the weights from a file, the folder of a saved model or by name, converted for a model with this backbone and task."""
    if not is_path(weights):
        return _named_weights(str(weights), backbone, task)
    if is_reference(weights):
        return _repository_weights(fetch(weights), backbone, task)
    path = Path(weights).expanduser()
    refuse_as_weights(path)
    if path.is_dir():
        return _saved_weights(_saved_model(path), backbone, task)
    if path.name == "weights.safetensors" and (path.parent / "model.json").is_file():
        return _saved_weights(path.parent, backbone, task)
    return convert(_admitted_state(path, _admitted_file(path)), backbone, str(path))


def _repository_weights(snapshot: Snapshot, backbone: str, task: str) -> Weights:
    """Return the weights in a repository of the Hub: those of a saved model, or others, such as timm's."""
    if snapshot.is_model:
        found = _saved_weights(snapshot.folder, backbone, task)
    else:
        path = snapshot.weights
        found = described_by_timm(convert(_admitted_state(path, _admitted_file(path)), backbone, str(snapshot)), snapshot, backbone)
    return replace(found, origin=str(snapshot), hub=snapshot.to_dict())


def _admitted_file(path: Path) -> Admitted:
    """Verify a weights file by the signature FILE.sig, or by that of its folder, if the user's policy demands it."""
    own = path.with_name(f"{path.name}.sig")
    if not path.exists():
        return Admitted(path.parent)  # reported when the file is read
    if path.name.endswith(SUFFIX) or (not own.exists() and (path.parent / SIGNATURE).exists()):
        return admit(path.parent, ())
    return admit(path, (), signature=own.name)


def _admitted_state(path: Path, admitted: Admitted) -> dict[str, Tensor]:
    """Read the tensors of a file that was verified, and make sure that the file wasn't changed meanwhile."""
    return _admitted(read_state(path), admitted)


def _admitted(state: dict[str, Tensor], admitted: Admitted) -> dict[str, Tensor]:
    """Return tensors, after making sure that their files weren't changed since they were verified."""
    if admitted.identities:  # tensors of safetensors files are read from the disk when they are used
        state = {name: tensor.clone() for name, tensor in state.items()}
        admitted.check(*admitted.identities)
    return state


def find_heads(weights: str | Path, backbone: str, tasks: Mapping[str, str]) -> dict[str, Weights]:
    """Return the weights of the heads of a saved model with several heads that have the names and tasks of those requested."""
    if not is_path(weights):
        return {}
    snapshot = fetch(weights) if is_reference(weights) else None
    path = Path(weights).expanduser() if snapshot is None else snapshot.folder
    if not path.is_dir() or (snapshot is not None and not snapshot.is_model):
        return {}
    folder = _saved_model(path)
    config, _, compiled = read_description(folder)
    if compiled is not None or len(config.heads) < 2:
        return {}
    same = [name for name, kind in tasks.items() if name in config.heads and config.heads[name].task == kind]
    found = {name: _saved_weights(folder, backbone, tasks[name], name) for name in same}
    if snapshot is not None:
        found = {name: replace(own, origin=str(snapshot), hub=snapshot.to_dict()) for name, own in found.items()}
    return found


def _saved_model(folder: Path) -> Path:
    """Return the folder of a saved model; if it is one of another library, the error names the weights file in it."""
    try:
        return model_folder(folder)
    except InputError as error:
        name = weights_in(folder)
        raise InputError(f"{error} To load weights of another library, pass their file: {folder / name}" if name else str(error)) from None


def _saved_weights(folder: Path, backbone: str, task: str, head_name: str | None = None) -> Weights:
    """Return the weights of a saved model, with its classes, epsilon, preprocessing, options and metadata.

    Of several heads, `head_name` chooses one.
    """
    admitted = admit(folder, (DESCRIPTION,))
    config, metadata, compiled = read_description(folder, admitted)
    if compiled is not None:
        raise WeightsError(
            f"{folder}: an exported model contains the graphs of one engine and no weights; pass the model that it was exported from"
        )
    known: Mapping[str, Any] = {}
    path = weights_file(folder)
    own = [name for name, head in config.heads.items() if head.task == task and head_name in (None, name)]
    if len(own) > 1:
        raise WeightsError(
            f"{folder} has several {task} heads ({', '.join(own)}); take one out with zoo.split, save it and pass its folder"
        )
    state = _admitted(saved_state(folder, config), admitted)
    if not own:  # image sizes of another task don't apply, but the backbone needs the same normalisation
        first = next(iter(config.heads))
        way = config.heads[first].preprocess
        preprocess = replace(BACKBONES[backbone].preprocess(), mean=way.mean, std=way.std)
        own = [first]
    else:
        preprocess = config.heads[own[0]].preprocess
        definition = config.heads[own[0]].definition
        known = definition.building.metadata(definition.parse_options(config.heads[own[0]].options))
    name, head = own[0], config.heads[own[0]]
    metadata = metadata["heads"][name] if len(config.heads) > 1 else metadata
    rest = {key: value for key, value in state.items() if not key.startswith("heads.")}
    prefix = f"heads.{name}."
    rest |= {f"heads.{head.task}.{key.removeprefix(prefix)}": value for key, value in state.items() if key.startswith(prefix)}
    return replace(
        convert(rest, backbone, str(path)),
        num_classes=len(head.classes),
        classes=head.classes,
        preprocess=preprocess,
        norm_eps=config.norm_eps,
        options=head.options,
        metadata={name: metadata[name] for name in known if name in metadata},
    )


def _named_weights(name: str, backbone: str, task: str) -> Weights:
    """Fetch weights by name, which is "default", one of `known_weights`, or the full name of one of torchvision's among them."""
    name = settled_name(name, backbone, task)
    detectors, definition = detector_weights(backbone, task), BACKBONES[backbone]
    if name in detectors:
        return _torchvision_weights(detectors[name], backbone)
    if name not in definition.weights():
        entry = torchvision_weights(backbone)[name]
        return _with_names(_torchvision_weights(entry, backbone), _preprocess_of(entry.transforms()))
    assert definition.load_weights is not None, "a backbone that lists weights can load them"
    loader, origin = definition.load_weights, f"{backbone}.{name}"
    found, preprocess = _fetch(origin, lambda: loader(name))
    state = read_state(found) if isinstance(found, Path) else found
    return _with_names(convert(state, backbone, origin), preprocess)


def _torchvision_weights(entry: Any, backbone: str) -> Weights:
    """Fetch weights of torchvision, given the member of their enum."""
    return convert(_fetch(str(entry), lambda: entry.get_state_dict(progress=False, check_hash=True)), backbone, str(entry))


def _fetch(origin: str, load: Callable[[], Any]) -> Any:
    try:
        return load()
    except WeightsError:  # its message already names the problem and the remedy
        raise
    except Exception as error:  # third-party loaders raise errors of any class
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise WeightsError(
            f"weights {origin}: could not be fetched ({reason}). Check the network, or download the file elsewhere and pass its path"
        ) from error


def _preprocess_of(transforms: Any) -> Preprocess:
    """Convert torchvision's `ImageClassification` preset to preprocessing settings."""
    crop, resize = transforms.crop_size[0], transforms.resize_size[0]
    return Preprocess(
        policy="crop",
        size_hw=(crop, crop),
        crop_pct=crop / resize,
        interpolation="bicubic" if transforms.interpolation == InterpolationMode.BICUBIC else "bilinear",
        mean=tuple(transforms.mean),
        std=tuple(transforms.std),
    )


def _with_names(weights: Weights, preprocess: Preprocess) -> Weights:
    return replace(weights, classes=imagenet_classes() if weights.num_classes == 1000 else (), preprocess=preprocess)


def fit_weights(model: Model, weights: Weights, say: Callable[[str], None] | None, named: Mapping[str, Weights] = {}) -> None:
    """Load weights into a model with fresh parameters, in place.

    The keys must match, except that the class-dependent parameters of a head with a different number of classes are skipped. `say` receives
    messages about parameters that were not loaded; by default, they are logged as warnings. Heads that are `named` have their own weights.
    """
    say = say or _LOG.warning
    if weights.note:
        say(f"weights {weights.origin}: {weights.note}")
    _load(model.backbone, weights.backbone, f"weights {weights.origin} for the backbone {model.backbone_name}")
    heads = model.config.heads
    made_for = get_task(weights.task, weights.options) if weights.head and weights.task in TASKS else None
    fits = (name for name, head in heads.items() if made_for is not None and _takes(head.definition, made_for))
    chosen = dict(named) or {name: weights for name in [next(fits, None)] if name is not None}
    fresh = [name for name in heads if name not in chosen]
    if fresh:
        words = f"the {fresh[0]} head is" if len(fresh) == 1 else f"the heads {', '.join(fresh)} are"
        say(f"weights {weights.origin}: loaded into the backbone; {words} newly initialised")
    for name, own in chosen.items():
        _fit_head(model.heads[name], own, name, heads[name], say)


def _takes(task: Task, other: Task) -> bool:
    return task.name == other.name and task.takes_weights_of(other)


def _fit_head(module: nn.Module, weights: Weights, name: str, config: HeadConfig, say: Callable[[str], None]) -> None:
    """Load weights into a head."""
    own = module.state_dict()
    fresh, classes = _unfit(module, config.options, weights), config.classes
    head = {key: value for key, value in weights.head.items() if key not in fresh} | {key: own[key] for key in fresh if key in own}
    _load(module, head, f"weights {weights.origin} for the head of {name}")
    if fresh:
        other = f"for {weights.num_classes or 'another number of'} classes, but the model has {len(classes)}"
        why = other if weights.num_classes != len(classes) else "with other options"
        say(f"weights {weights.origin}: made {why}; newly initialised: {', '.join(fresh)}")
    renamed = [pair for pair in zip(weights.classes, classes, strict=False) if pair[0] != pair[1]]
    if renamed and weights.num_classes == len(classes):
        of = f"{len(renamed)} of {len(classes)} classes have other names than in the weights"
        say(f"weights {weights.origin}: {of}: the output for {renamed[0][0]!r} is now called {renamed[0][1]!r}")


def _unfit(head: nn.Module, options: Mapping[str, Any], weights: Weights) -> list[str]:
    """Return all keys of head and weights under each class-dependent prefix under which any of them differ in shape or meaning."""
    found: list[str] = []
    for prefix in getattr(head, "class_dependent", ()):
        own = {key: value.shape for key, value in head.state_dict().items() if key.startswith(prefix)}
        theirs = {key: value.shape for key, value in weights.head.items() if key.startswith(prefix)}
        option = getattr(head, "named_by", {}).get(prefix, "")
        same = json.dumps(weights.options.get(option)) == json.dumps(options.get(option))
        found += [] if own == theirs and same else sorted({*own, *theirs})
    return found


def _load(module: nn.Module, given: Mapping[str, Tensor], what: str) -> None:
    own = module.state_dict()
    # batch counters may be missing: old files don't have them, and inference doesn't use them
    missing = [key for key in own if key not in given and not key.endswith("num_batches_tracked")]
    extra = [key for key in given if key not in own]
    shapes = [
        f"{key} is {list(given[key].shape)}, expected {list(value.shape)}"
        for key, value in own.items()
        if key in given and given[key].shape != value.shape
    ]
    faults = []
    for kind, keys in (("missing", missing), ("unknown", extra), ("of another shape", shapes)):
        more = f" and {len(keys) - 6} more" if len(keys) > 6 else ""
        faults += [f"{len(keys)} keys {kind}: {'; '.join(keys[:6])}{more}."] if keys else []
    if faults:
        raise WeightsError(f"{what} do not match. {' '.join(faults)} Are these weights for a different backbone?")
    module.load_state_dict({**own, **given})
