"""The layout of the code: which wing may import which, no import cycles, and folders that stay small.

The rules read the syntax trees, so late imports and imports for type checkers count too. Each rule is also shown code that breaks it.
"""

from __future__ import annotations

import ast
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path

import pytest

import zoo

ROOT = Path(__file__).resolve().parents[2]
LINKS = ("zoo/tasks", "zoo/benchmarks")
# Each group of wings imports only groups that are listed before it.
WINGS = (
    ("errors", "registry"),
    ("system",),
    ("artefacts",),
    ("images", "kernels"),
    ("data", "backbones", "engines"),
    ("task",),
    ("models",),
    ("evaluation", "prediction", "report"),
    ("compilation", "curation", "publishing"),
    ("training",),
    ("serving",),
    ("cli",),
)
RANK = {wing: rank for rank, group in enumerate(WINGS) for wing in group}
# The modules of these packages are imported by a registry, one by one, and must not need each other.
PACKAGES = (
    "zoo.backbones.",
    "zoo.engines.",
    "zoo.tasks.classification.datasets.",
    "zoo.tasks.classification.multilabel.datasets.",
    "zoo.tasks.detection.datasets.",
    "zoo.tasks.face.datasets.",
)
MAX_FILES = 21  # Python files in a folder


@dataclass(frozen=True)
class Import:
    """An imported module or name, and whether the import runs late or only for type checkers."""

    target: str
    lazy: bool
    line: int


@dataclass(frozen=True)
class Module:
    """A source file under its import name."""

    name: str
    source: str
    is_package: bool = False

    def imports(self) -> list[Import]:
        return self._imports

    @cached_property
    def _imports(self) -> list[Import]:
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


def wing_of(name: str) -> str:
    """Return the second component of a dotted name: `data` of `zoo.data.loader`."""
    parts = name.split(".")
    return parts[1] if parts[0] == "zoo" and len(parts) > 1 else ""


@cache
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


def upward(module: Module) -> list[str]:
    """Return the imports of a wing from a later one, or from another wing of the same group."""
    wing = wing_of(module.name)
    if wing not in RANK:
        return []
    return [
        f"{module.name}:{item.line} imports {item.target}"
        for item in module.imports()
        if (other := wing_of(item.target)) in RANK and other != wing and RANK[other] >= max(RANK[wing], 1)
    ]


def core_reaches_out(module: Module) -> list[str]:
    """Return the imports of tasks or benchmarks from the core; the public names and the command line may do it late."""
    if inside(module.name, "zoo.tasks") or inside(module.name, "zoo.benchmarks"):
        return []
    allowed = module.name == "zoo" or inside(module.name, "zoo.cli")
    return [
        f"{module.name}:{item.line} imports {item.target}"
        for item in module.imports()
        if (inside(item.target, "zoo.tasks") or inside(item.target, "zoo.benchmarks")) and not (allowed and item.lazy)
    ]


def tasks_reach_out(module: Module) -> list[str]:
    """Return the imports of the benchmarks or another task from a task."""
    if not inside(module.name, "zoo.tasks"):
        return []
    own = ".".join(module.name.split(".")[:3])
    return [
        f"{module.name}:{item.line} imports {item.target}"
        for item in module.imports()
        if inside(item.target, "zoo.benchmarks") or (inside(item.target, "zoo.tasks") and not inside(item.target, own))
    ]


def short_names(module: Module) -> list[str]:
    """Return the imports of `tasks` or `benchmarks` without `zoo.`, which only work in a checkout."""
    found = module.imports()
    return [f"{module.name}:{item.line} imports {item.target}" for item in found if item.target.split(".")[0] in ("tasks", "benchmarks")]


def neighbours(module: Module) -> list[str]:
    """Return the imports of one backbone, engine or data format from another."""
    for package in PACKAGES:
        if not module.name.startswith(package):
            continue
        own = package + module.name.removeprefix(package).split(".")[0]
        others = {other.name for other in modules() if other.name.startswith(package)}
        return [
            f"{module.name}:{item.line} imports {item.target}"
            for item in module.imports()
            if not inside(item.target, own) and any(inside(item.target, other) for other in others)
        ]
    return []


def import_graph(sources: Iterable[Module]) -> dict[str, set[str]]:
    """Return which modules each module imports; a name imported from a module counts as the module, and `zoo` itself doesn't count."""
    by_name = {module.name: module for module in sources}

    def resolved(target: str) -> str:
        while target and target not in by_name:
            target = target.rpartition(".")[0]
        return target

    return {name: {resolved(item.target) for item in module.imports()} - {"", "zoo", name} for name, module in by_name.items()}


def cycles(sources: Iterable[Module]) -> list[list[str]]:
    """Return the groups of modules that import each other, directly or through others (Tarjan 1972); late imports count."""
    graph = import_graph(sources)
    index: dict[str, int] = {}
    low: dict[str, int] = {}
    stack: list[str] = []
    found: list[list[str]] = []

    def visit(name: str) -> None:
        index[name] = low[name] = len(index)
        stack.append(name)
        for other in sorted(graph[name]):
            if other not in index:
                visit(other)
            if other in stack:
                low[name] = min(low[name], low[other])
        if low[name] == index[name]:
            group = stack[stack.index(name) :]
            del stack[-len(group) :]
            found.append(sorted(group))

    for name in graph:
        if name not in index:
            visit(name)
    return [group for group in found if len(group) > 1]


RULES = {"wings": upward, "core": core_reaches_out, "tasks": tasks_reach_out, "short names": short_names, "neighbours": neighbours}


@pytest.mark.parametrize("rule", RULES)
def test_every_module_keeps_the_rule(rule: str) -> None:
    found = [fault for module in modules() for fault in RULES[rule](module)]
    assert not found, "\n".join(found)


def test_there_are_no_import_cycles() -> None:
    found = cycles(modules())
    assert not found, "\n".join(" <-> ".join(group) for group in found)


def test_every_module_of_the_core_belongs_to_a_wing() -> None:
    names = {module.name for module in modules()} - {"zoo", "zoo.__main__"}
    assert not [name for name in names if wing_of(name) not in {*RANK, "tasks", "benchmarks"}]


def test_no_folder_is_crowded() -> None:
    counts: dict[Path, int] = defaultdict(int)
    for folder in ("zoo", "tasks", "benchmarks", "tests"):
        for path in (ROOT / folder).rglob("*.py"):
            if not path.relative_to(ROOT).as_posix().startswith(tuple(f"{link}/" for link in LINKS)):
                counts[path.parent.relative_to(ROOT)] += 1
    assert not {str(folder): count for folder, count in counts.items() if count > MAX_FILES}


def test_unit_tests_mirror_the_wings() -> None:
    folders = {path.name for path in (ROOT / "tests/unit").iterdir() if path.is_dir() and any(path.glob("**/test_*.py"))}
    assert folders <= {*RANK, "tasks", "benchmarks"}


def test_the_modules_are_found_under_their_import_names() -> None:
    names = [module.name for module in modules()]
    assert {"zoo", "zoo.registry", "zoo.backbones.timm", "zoo.tasks.classification", "zoo.benchmarks.harness.bench"} <= set(names)
    assert len(names) == len(set(names)), "a link was followed: a file counts twice"


def test_no_module_takes_the_place_of_a_public_name() -> None:
    """Importing a module `zoo.export` would set the attribute `zoo.export` to it, in place of the function."""
    assert not {module.name for module in modules()} & {f"zoo.{name}" for name in zoo.__all__}


@pytest.mark.parametrize(
    ("rule", "name", "source"),
    [
        ("wings", "zoo.system.files", "from zoo.data.dataset import Dataset"),
        ("wings", "zoo.task.contract", "if TYPE_CHECKING:\n    from zoo.models.model import Model"),
        ("wings", "zoo.evaluation.evaluate", "def f():\n    import zoo.training.train"),
        ("wings", "zoo.images.decoding", "from zoo.kernels import library"),
        ("wings", "zoo.errors", "from zoo.system import wording"),
        ("core", "zoo.models.model", "import zoo.tasks.face"),
        ("core", "zoo.models.model", "def f():\n    from zoo.benchmarks.harness.bench import bench"),
        ("core", "zoo.models.weights.loading", "from zoo import tasks"),
        ("core", "zoo.models.weights.loading", "from ...tasks import detection"),
        ("core", "zoo.cli.main", "from zoo.benchmarks.harness.bench import bench"),
        ("core", "zoo.cli.main", "try:\n    import zoo.tasks\nexcept ImportError: ..."),
        ("tasks", "zoo.tasks.face.embedding.head", "from zoo.benchmarks.harness import measurement"),
        ("tasks", "zoo.tasks.face.embedding.head", "def f():\n    from zoo.tasks.detection.model.head import FasterRCNNHead"),
        ("tasks", "zoo.tasks.face.task", "from ..detection import model"),
        ("short names", "zoo.models.model", "import tasks"),
        ("short names", "zoo.tasks.face", "from benchmarks.harness.measurement import measure"),
        ("neighbours", "zoo.backbones.timm", "from zoo.backbones.cifar import BasicBlock"),
        ("neighbours", "zoo.backbones.timm", "from .cifar import BasicBlock"),
        ("neighbours", "zoo.backbones.timm", "from zoo.backbones import cifar"),
        ("neighbours", "zoo.tasks.classification.datasets.folder", "def f():\n    import zoo.tasks.classification.datasets.demo"),
    ],
)
def test_a_rule_finds_what_breaks_it(rule: str, name: str, source: str) -> None:
    assert RULES[rule](Module(name, source))


@pytest.mark.parametrize(
    ("rule", "name", "source"),
    [
        ("wings", "zoo.registry", "from zoo.errors import UnknownNameError"),
        ("wings", "zoo.models.model", "from zoo.task.head import Head"),
        ("wings", "zoo.data.loader", "from zoo.data.dataset import Dataset"),
        ("wings", "zoo.tasks.face.task", "from zoo.cli.group import Command"),
        ("core", "zoo.cli.main", "def bench():\n    from zoo.benchmarks.harness.bench import bench"),
        ("core", "zoo", "if TYPE_CHECKING:\n    from zoo.benchmarks.harness.bench import bench"),
        ("core", "zoo.models.builder", "from zoo.task.contract import TASKS"),
        ("core", "zoo.benchmarks.harness.case", "import zoo.tasks"),
        ("tasks", "zoo.tasks.face.task", "from zoo.tasks.face.embedding.head import EmbeddingHead"),
        ("tasks", "zoo.tasks.face.embedding.head", "from zoo.task.head import Head"),
        ("short names", "zoo.models.model", "from zoo import tasks"),
        ("neighbours", "zoo.backbones.timm", "from zoo.backbones import BACKBONES, Level"),
    ],
)
def test_a_rule_accepts_what_is_right(rule: str, name: str, source: str) -> None:
    assert not RULES[rule](Module(name, source))


def test_cycles_are_found_through_late_imports_and_third_modules() -> None:
    chain = [
        Module("zoo.a", "import zoo.b"),
        Module("zoo.b", "def f():\n    from zoo.c import g"),
        Module("zoo.c", "if TYPE_CHECKING:\n    from zoo.a import h"),
        Module("zoo.d", "import zoo.a"),
    ]
    assert cycles(chain) == [["zoo.a", "zoo.b", "zoo.c"]]
    assert cycles(chain[:2]) == []


def test_relative_imports_of_a_package_start_at_itself() -> None:
    package = Module("zoo.tasks.face", "from . import task", is_package=True)
    assert [item.target for item in package.imports()] == ["zoo.tasks.face.task"]
    assert [item.target for item in Module("zoo.tasks.face.task", "from . import options").imports()] == ["zoo.tasks.face.options"]
