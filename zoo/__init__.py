"""A multi-task vision model zoo: one ResNet trunk, every task, the same five verbs.

Everything here loads when it is first used, so that `import zoo` costs nothing.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from zoo.backbones import list_backbones
    from zoo.benchmarks.harness import bench
    from zoo.compiled import Compiled
    from zoo.compiling import compile
    from zoo.description import info
    from zoo.engines import list_engines
    from zoo.errors import ZooError
    from zoo.evaluation import evaluate
    from zoo.exporting import export
    from zoo.freezing import freeze, unfreeze
    from zoo.model import Model, build, load, save
    from zoo.model import build as create_model
    from zoo.prediction import predict
    from zoo.report.document import write_report
    from zoo.scores import Scores
    from zoo.task import list_tasks
    from zoo.tasks.face.gallery import Gallery
    from zoo.training import Run, train

__version__ = "0.1.0"

_HOME = {
    "Compiled": "zoo.compiled",
    "Gallery": "zoo.tasks.face.gallery",
    "Model": "zoo.model",
    "Run": "zoo.training",
    "Scores": "zoo.scores",
    "ZooError": "zoo.errors",
    "bench": "zoo.benchmarks.harness",
    "build": "zoo.model",
    "compile": "zoo.compiling",
    "create_model": "zoo.model",
    "evaluate": "zoo.evaluation",
    "export": "zoo.exporting",
    "freeze": "zoo.freezing",
    "info": "zoo.description",
    "list_backbones": "zoo.backbones",
    "list_engines": "zoo.engines",
    "list_tasks": "zoo.task",
    "load": "zoo.model",
    "predict": "zoo.prediction",
    "save": "zoo.model",
    "train": "zoo.training",
    "unfreeze": "zoo.freezing",
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
