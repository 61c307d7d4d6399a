"""Metadata of a model card in YAML, as the Hugging Face Hub reads it (https://huggingface.co/docs/hub/model-cards)."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

import timm

from zoo.backbones import BACKBONES
from zoo.data.formats import DataRef
from zoo.errors import InputError
from zoo.models.model import Model
from zoo.report.card_licence import Terms
from zoo.report.card_results import Result, hub_dataset, published_data

if TYPE_CHECKING:
    from huggingface_hub import EvalResult

_METRICS = {"top1": "accuracy"}  # the Hub's names of scores, where they differ
_REPOSITORY = re.compile(r"(?:https://huggingface\.co/|hf:)([\w.-]+/[\w.-]+)(?:/|@.*)?")


def check_installed() -> None:
    """Raise an `InputError` if a package of the extra `hub` isn't installed."""
    if find_spec("huggingface_hub") is None:
        raise InputError("a model card requires huggingface-hub; install the extra: pip install 'resnet-zoo[hub]'")


def metadata_block(model: Model, name: str, terms: Terms | None, results: Sequence[Result]) -> str:
    """Return the metadata of a model as YAML, without the enclosing lines.

    The library is resnet-zoo, whose files the repository contains. The tag "timm" lists classifiers with a backbone of timm, which timm can
    load from a repository that `zoo push` has written, among timm's models as well.

    Args:
        model: the model.
        name: name of the model.
        terms: licence of the model; None if it isn't known.
        results: scores, for the entry "model-index".
    """
    from huggingface_hub import ModelCardData

    tasks = {head: _hub_task(model, head) for head in model.config.heads}
    known = [task for task in tasks.values() if task]
    training = model.metadata.get("training", {}).get("data")
    data = [*training.values()] if isinstance(training, dict) else [training]
    datasets = [found for each in data if isinstance(each, str) and (found := hub_dataset(each))]
    content = ModelCardData(
        license=None if terms is None else terms.identifier,
        license_name=None if terms is None else terms.name,
        license_link=None if terms is None else terms.link,
        library_name="resnet-zoo",
        pipeline_tag=known[0] if known else None,
        tags=[*_tags(model, known)],
        datasets=[*dict.fromkeys(datasets)] or None,
        base_model=[*dict.fromkeys(_parents(model))] or None,
        model_name=name,
        eval_results=[found for each in results for found in _entries(each, tasks)] or None,
    )
    if not content.eval_results:
        content.pop("model_name")
    return content.to_yaml()


def _hub_task(model: Model, head: str) -> str:
    config = model.config.heads[head]
    return config.definition.answers.purpose(config.classes, config.options, model.head_metadata(head)).hub_task


def _tags(model: Model, tasks: Sequence[str]) -> Iterator[str]:
    yield "resnet-zoo"
    of_timm = BACKBONES[model.backbone_name].family.startswith("timm ")
    if of_timm and not model.is_joint and not model.compiled and tasks == ["image-classification"]:
        yield "timm"
    yield from tasks[1:]
    yield from (head.task for head in model.config.heads.values())
    yield model.backbone_name


def _parents(model: Model) -> Iterator[str]:
    """Yield the names on the Hub of the weights that a model inherits, without the model's repository."""
    own = model.metadata.get("hub", {}).get("repository")
    for each in model.config.licences:
        if found := _REPOSITORY.fullmatch(each.weights) or _REPOSITORY.fullmatch(each.source):
            yield from [found[1]] if found[1] != own else []
        elif each.weights in timm.list_models(each.weights, pretrained=True):
            identifier = timm.get_pretrained_cfg(each.weights).hf_hub_id
            if identifier:
                yield identifier


def _entries(result: Result, tasks: dict[str, str]) -> Iterator[EvalResult]:
    from huggingface_hub import EvalResult

    shown = published_data(result.data)
    try:
        ref = DataRef.parse(shown)
    except InputError:  # data in memory, whose name isn't a dataset string
        ref = DataRef(shown, "", shown)
    arguments: dict[str, Any] = {"classes": ",".join(ref.classes or ()) or None, "limit": ref.limit, **ref.options}
    arguments = {name: value for name, value in arguments.items() if value is not None}
    for name, value in result.scores.items():
        yield EvalResult(
            task_type=tasks[result.head or next(iter(tasks))] or "other",
            dataset_type=hub_dataset(result.data) or ref.scheme or "local",
            dataset_name=ref.path,
            dataset_split=ref.split,
            dataset_revision=result.fingerprint or None,
            dataset_args=arguments or None,
            metric_type=_METRICS.get(name, name),
            metric_name=f"{result.head} {name}" if result.head else name,
            metric_value=round(value, 6),
        )
