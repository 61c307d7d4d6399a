"""A multi-task vision model zoo: one ResNet trunk, every task, the same five verbs.

Public names are imported on first use, so that `import zoo` is fast.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from zoo.artefacts.encryption import encrypt
    from zoo.artefacts.signing import sign, verify
    from zoo.backbones import list_backbones
    from zoo.benchmarks.harness.bench import bench
    from zoo.compilation.compile import compile, export
    from zoo.engines import list_engines
    from zoo.errors import ZooError
    from zoo.evaluation.evaluate import evaluate
    from zoo.evaluation.tune import tune
    from zoo.images.decoding import read_image
    from zoo.models.archive import load, save
    from zoo.models.builder import build
    from zoo.models.builder import build as create_model
    from zoo.models.compiled import Compiled
    from zoo.models.freezing import freeze, unfreeze
    from zoo.models.info import info
    from zoo.models.joint import add_task, remove_task, split
    from zoo.models.model import Model
    from zoo.prediction.predict import predict
    from zoo.publishing.pull import pull
    from zoo.publishing.push import push
    from zoo.report.card import card
    from zoo.report.document import write_report
    from zoo.task.contract import list_tasks, open_data, recipe
    from zoo.task.metric import Scores
    from zoo.tasks.face.gallery import Gallery
    from zoo.training.train import Run, train

__version__ = "0.1.0"

_MODULES = {
    "zoo.artefacts.encryption": ("encrypt",),
    "zoo.artefacts.signing": ("sign", "verify"),
    "zoo.backbones": ("list_backbones",),
    "zoo.benchmarks.harness.bench": ("bench",),
    "zoo.compilation.compile": ("compile", "export"),
    "zoo.engines": ("list_engines",),
    "zoo.errors": ("ZooError",),
    "zoo.evaluation.evaluate": ("evaluate",),
    "zoo.evaluation.tune": ("tune",),
    "zoo.images.decoding": ("read_image",),
    "zoo.models.archive": ("load", "save"),
    "zoo.models.builder": ("build",),
    "zoo.models.compiled": ("Compiled",),
    "zoo.models.freezing": ("freeze", "unfreeze"),
    "zoo.models.info": ("info",),
    "zoo.models.joint": ("add_task", "remove_task", "split"),
    "zoo.models.model": ("Model",),
    "zoo.prediction.predict": ("predict",),
    "zoo.publishing.pull": ("pull",),
    "zoo.publishing.push": ("push",),
    "zoo.report.card": ("card",),
    "zoo.report.document": ("write_report",),
    "zoo.task.contract": ("list_tasks", "open_data", "recipe"),
    "zoo.task.metric": ("Scores",),
    "zoo.tasks.face.gallery": ("Gallery",),
    "zoo.training.train": ("Run", "train"),
}
_HOME = {name: module for module, names in _MODULES.items() for name in names}

__all__ = [
    "Compiled",
    "Gallery",
    "Model",
    "Run",
    "Scores",
    "ZooError",
    "add_task",
    "bench",
    "build",
    "card",
    "compile",
    "create_model",
    "encrypt",
    "evaluate",
    "export",
    "freeze",
    "info",
    "list_backbones",
    "list_engines",
    "list_tasks",
    "load",
    "open_data",
    "predict",
    "pull",
    "push",
    "read_image",
    "recipe",
    "remove_task",
    "save",
    "sign",
    "split",
    "train",
    "tune",
    "unfreeze",
    "verify",
    "write_report",
]


def __getattr__(name: str) -> Any:
    """Import a public name from its module on first use."""
    if name not in __all__:
        raise AttributeError(f"module 'zoo' has no attribute {name!r}")
    original = "build" if name == "create_model" else name
    value = getattr(importlib.import_module(_HOME[original]), original)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return [*__all__, "__version__"]
