"""A multi-task vision model zoo: one ResNet trunk, every task, the same five verbs.

Everything here loads when it is first used, so that `import zoo` costs nothing.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from zoo.backbones import list_backbones
    from zoo.benchmarks.harness.bench import bench
    from zoo.compilation.compile import compile, export
    from zoo.engines import list_engines
    from zoo.errors import ZooError
    from zoo.evaluation.evaluate import evaluate
    from zoo.models.archive import load, save
    from zoo.models.builder import build
    from zoo.models.builder import build as create_model
    from zoo.models.compiled import Compiled
    from zoo.models.freezing import freeze, unfreeze
    from zoo.models.info import info
    from zoo.models.model import Model
    from zoo.prediction.predict import predict
    from zoo.report.document import write_report
    from zoo.task.contract import list_tasks
    from zoo.task.scores import Scores
    from zoo.tasks.face.gallery import Gallery
    from zoo.training.train import Run, train

__version__ = "0.1.0"

_HOME = {
    "Compiled": "zoo.models.compiled",
    "Gallery": "zoo.tasks.face.gallery",
    "Model": "zoo.models.model",
    "Run": "zoo.training.train",
    "Scores": "zoo.task.scores",
    "ZooError": "zoo.errors",
    "bench": "zoo.benchmarks.harness.bench",
    "build": "zoo.models.model",
    "compile": "zoo.compilation.compile",
    "create_model": "zoo.models.model",
    "evaluate": "zoo.evaluation.evaluate",
    "export": "zoo.compilation.compile",
    "freeze": "zoo.models.freezing",
    "info": "zoo.models.info",
    "list_backbones": "zoo.backbones",
    "list_engines": "zoo.engines",
    "list_tasks": "zoo.task.contract",
    "load": "zoo.models.model",
    "predict": "zoo.prediction.predict",
    "save": "zoo.models.model",
    "train": "zoo.training.train",
    "unfreeze": "zoo.models.freezing",
    "write_report": "zoo.report.document",
}

__all__ = [
    "Compiled",
    "Gallery",
    "Model",
    "Run",
    "Scores",
    "ZooError",
    "bench",
    "build",
    "compile",
    "create_model",
    "evaluate",
    "export",
    "freeze",
    "info",
    "list_backbones",
    "list_engines",
    "list_tasks",
    "load",
    "predict",
    "save",
    "train",
    "unfreeze",
    "write_report",
]


def __getattr__(name: str) -> Any:
    """Import a public name from its module when it is first used."""
    if name not in _HOME:
        raise AttributeError(f"module 'zoo' has no attribute {name!r}")
    value = getattr(importlib.import_module(_HOME[name]), "build" if name == "create_model" else name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    """List the public names."""
    return [*__all__, "__version__"]
