"""Which way the arrows point, read off the syntax trees; each rule is also shown a source that breaks it."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

import zoo

ROOT = Path(__file__).resolve().parents[2]
LINKS = ("zoo/tasks", "zoo/benchmarks")
# their modules are found by a registry, one by one, and must not need each other
ROOMS = (
    "zoo.backbones.",
    "zoo.engines.",
    "zoo.tasks.classification.datasets.",
    "zoo.tasks.detection.datasets.",
    "zoo.tasks.face.datasets.",
)
DOORS = ("zoo", "zoo.cli.main")  # may reach for tasks and benchmarks, lazily


@dataclass(frozen=True)
class Import:
    """One imported module or name, and whether it waits until a function runs or only type checkers see it."""

    target: str
    lazy: bool
    line: int


@dataclass(frozen=True)
class Module:
    """A source file under the name it is imported by."""

    name: str
    source: str
    is_package: bool = False

    def imports(self) -> list[Import]:
        return list(self._walk(ast.parse(self.source), lazy=False))

    def _walk(self, node: ast.AST, lazy: bool) -> Iterator[Import]:
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.Import):
                yield from (Import(alias.name, lazy, child.lineno) for alias in child.names)
            elif isinstance(child, ast.ImportFrom):
                base = self._absolute(child)
                yield from (Import(f"{base}.{alias.name}", lazy, child.lineno) for alias in child.names)
            elif isinstance(child, ast.If) and "TYPE_CHECKING" in ast.unparse(child.test):
                yield from self._walk(child, lazy=True)
            else:
                yield from self._walk(child, lazy or isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda))

    def _absolute(self, node: ast.ImportFrom) -> str:
        if not node.level:
            return node.module or ""
        parts = self.name.split(".")
        package = parts[: len(parts) - node.level + self.is_package]
        return ".".join([*package, *([node.module] if node.module else [])])


def inside(name: str, package: str) -> bool:
    return name == package or name.startswith(f"{package}.")


def modules() -> list[Module]:
    found = []
    for folder, prefix in (("zoo", "zoo"), ("tasks", "zoo.tasks"), ("benchmarks", "zoo.benchmarks")):
        for path in sorted((ROOT / folder).rglob("*.py")):
            if path.relative_to(ROOT).as_posix().startswith(tuple(f"{link}/" for link in LINKS)):
                continue
            parts = path.relative_to(ROOT / folder).with_suffix("").parts
            name = ".".join([prefix, *(part for part in parts if part != "__init__")])
            found.append(Module(name, path.read_text(encoding="utf-8"), path.name == "__init__.py"))
    return found


def core_reaches_out(module: Module) -> list[str]:
    """Tell where the core imports tasks or benchmarks, other than lazily through its two doors."""
    if inside(module.name, "zoo.tasks") or inside(module.name, "zoo.benchmarks"):
        return []
    door = module.name in DOORS or inside(module.name, "zoo.cli.main")
    return [
        f"{module.name}:{item.line} imports {item.target}"
        for item in module.imports()
        if (inside(item.target, "zoo.tasks") or inside(item.target, "zoo.benchmarks")) and not (door and item.lazy)
    ]


def tasks_reach_out(module: Module) -> list[str]:
    """Tell where a task imports the benchmarks or another task."""
    if not inside(module.name, "zoo.tasks"):
        return []
    own = ".".join(module.name.split(".")[:3])
    return [
        f"{module.name}:{item.line} imports {item.target}"
        for item in module.imports()
        if inside(item.target, "zoo.benchmarks") or (inside(item.target, "zoo.tasks") and not inside(item.target, own))
    ]


def short_names(module: Module) -> list[str]:
    """Tell where `tasks` or `benchmarks` is imported without `zoo.`: works in a checkout, and nowhere else."""
    found = module.imports()
    return [f"{module.name}:{item.line} imports {item.target}" for item in found if item.target.split(".")[0] in ("tasks", "benchmarks")]


def neighbours(module: Module) -> list[str]:
    """Tell where one backbone, engine or data format imports another."""
    for room in ROOMS:
        if not module.name.startswith(room):
            continue
        own = room + module.name.removeprefix(room).split(".")[0]
        rooms = {other.name for other in modules() if other.name.startswith(room)}
        return [
            f"{module.name}:{item.line} imports {item.target}"
            for item in module.imports()
            if not inside(item.target, own) and any(inside(item.target, other) for other in rooms)
        ]
    return []


RULES = {"core": core_reaches_out, "tasks": tasks_reach_out, "short names": short_names, "neighbours": neighbours}


@pytest.mark.parametrize("rule", RULES)
def test_every_module_keeps_the_rule(rule: str) -> None:
    found = [fault for module in modules() for fault in RULES[rule](module)]
    assert not found, "\n".join(found)


def test_the_modules_are_found_under_their_import_names() -> None:
    names = [module.name for module in modules()]
    assert {"zoo", "zoo.registry", "zoo.backbones.timm", "zoo.tasks.classification", "zoo.benchmarks.harness.bench"} <= set(names)
    assert len(names) == len(set(names)), "a link was followed: a file counts twice"


def test_no_module_takes_the_place_of_a_public_name() -> None:
    """Importing `zoo.export`, if there were such a module, would set `zoo.export` to it."""
    assert not {module.name for module in modules()} & {f"zoo.{name}" for name in zoo.__all__}


@pytest.mark.parametrize(
    ("rule", "name", "source"),
    [
        ("core", "zoo.models.model", "import zoo.tasks.face"),
        ("core", "zoo.models.model", "def f():\n    from zoo.benchmarks.harness.bench import bench"),
        ("core", "zoo.models.weights.fit", "from zoo import tasks"),
        ("core", "zoo.models.weights.fit", "from ..tasks import detection"),
        ("core", "zoo.cli.main", "from zoo.benchmarks.harness.bench import bench"),
        ("core", "zoo.cli.main", "try:\n    import zoo.tasks\nexcept ImportError: ..."),
        ("tasks", "zoo.tasks.face.embedding.head", "from zoo.benchmarks import timing"),
        ("tasks", "zoo.tasks.face.embedding.head", "def f():\n    from zoo.tasks.detection.model.head import FasterRCNNHead"),
        ("tasks", "zoo.tasks.face.embedding.head", "from ..detection import head"),
        ("short names", "zoo.models.model", "import tasks"),
        ("short names", "zoo.tasks.face", "from benchmarks.timing import measure"),
        ("neighbours", "zoo.backbones.timm", "from zoo.backbones.cifar import BasicBlock"),
        ("neighbours", "zoo.backbones.timm", "from .cifar import BasicBlock"),
        ("neighbours", "zoo.backbones.timm", "from zoo.backbones import cifar"),
        ("neighbours", "zoo.tasks.classification.datasets.folder", "def f():\n    import zoo.tasks.classification.datasets.demo"),
    ],
)
def test_a_rule_sees_what_breaks_it(rule: str, name: str, source: str) -> None:
    assert RULES[rule](Module(name, source))


@pytest.mark.parametrize(
    ("rule", "name", "source"),
    [
        ("core", "zoo.cli.main", "def bench():\n    from zoo.benchmarks.harness.bench import bench"),
        ("core", "zoo", "if TYPE_CHECKING:\n    from zoo.benchmarks.harness.bench import bench"),
        ("core", "zoo.models.model", "from zoo.task.contract import TASKS"),
        ("core", "zoo.benchmarks.harness.case", "import zoo.tasks"),
        ("tasks", "zoo.tasks.face", "from zoo.tasks.face.embedding.head import EmbeddingHead"),
        ("tasks", "zoo.tasks.face.embedding.head", "from zoo.task.contract import Head"),
        ("short names", "zoo.models.model", "from zoo import tasks"),
        ("neighbours", "zoo.backbones.timm", "from zoo.backbones import BACKBONES, Level"),
    ],
)
def test_a_rule_lets_pass_what_is_right(rule: str, name: str, source: str) -> None:
    assert not RULES[rule](Module(name, source))


def test_relative_imports_of_a_package_start_at_itself() -> None:
    assert [item.target for item in Module("zoo.tasks.face", "from . import head", is_package=True).imports()] == [
        "zoo.tasks.face.embedding.head"
    ]
    assert [item.target for item in Module("zoo.tasks.face.embedding.head", "from . import options").imports()] == [
        "zoo.tasks.face.embedding.options"
    ]
