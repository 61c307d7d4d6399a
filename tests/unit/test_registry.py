"""Registration, look-up, order, and discovery in a package and through entry points."""

from __future__ import annotations

import importlib
import importlib.metadata
import sys
from pathlib import Path
from types import ModuleType

import pytest

from zoo.errors import UnknownNameError
from zoo.registry import Registry, natural_key


def registry_of(*names: str) -> Registry[str]:
    registry: Registry[str] = Registry("thing")
    for name in names:
        registry.add(name, name.upper())
    return registry


def test_natural_order() -> None:
    assert sorted(["resnet101", "resnet18", "alexnet", "18a", "resnet18d"], key=natural_key) == [
        "18a",
        "alexnet",
        "resnet18",
        "resnet18d",
        "resnet101",
    ]


def test_a_registry_is_a_container_of_names() -> None:
    registry = registry_of("b10", "b9", "a")
    assert list(registry) == ["a", "b9", "b10"]
    assert registry.names("b*") == ["b9", "b10"]
    assert registry["b9"] == "B9"
    assert len(registry) == 3
    assert "a" in registry
    assert "c" not in registry
    assert 7 not in registry


def test_the_decorator_returns_what_it_decorates() -> None:
    registry: Registry[type] = Registry("thing")

    @registry.register("one")
    class One: ...

    assert registry["one"] is One


def test_a_second_definition_of_a_name_is_refused() -> None:
    registry = registry_of("a")
    with pytest.raises(ValueError, match="the thing 'a' is registered twice"):
        registry.add("a", "other")
    assert registry["a"] == "A"


def test_an_unknown_name() -> None:
    with pytest.raises(UnknownNameError, match=r"unknown thing 'resnet5O'\. Nearest: resnet50\. Known: resnet50, vgg\."):
        registry_of("resnet50", "vgg")["resnet5O"]


def package_of(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, **modules: str) -> None:
    folder = tmp_path / name
    folder.mkdir()
    (folder / "__init__.py").write_text("from zoo.registry import Registry\nTHINGS = Registry('thing', package=__name__)\n")
    for module, source in modules.items():
        (folder / f"{module}.py").write_text(source)
    monkeypatch.syspath_prepend(str(tmp_path))


def test_modules_of_the_package_are_imported_at_the_first_look_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package_of(
        tmp_path,
        monkeypatch,
        "things_found",
        one="from things_found import THINGS\nTHINGS.add('one', 1)\n",
        two="from things_found import THINGS\nTHINGS.add('two', 2)\n",
    )
    package = importlib.import_module("things_found")
    assert "things_found.one" not in sys.modules
    assert package.THINGS.names() == ["one", "two"]


def test_a_module_that_fails_fails_at_every_look_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package_of(
        tmp_path, monkeypatch, "things_broken", a="from things_broken import THINGS\nTHINGS.add('a', 1)\n", b="import no_such_module\n"
    )
    things = importlib.import_module("things_broken").THINGS
    for _ in range(2):  # the second time as well, instead of returning half of the names
        with pytest.raises(ModuleNotFoundError, match="no_such_module"):
            things.names()


class Entry:
    """An installed entry point, reduced to the attributes that the registry uses."""

    def __init__(self, name: str, value: object) -> None:
        self.name, self.value = name, value

    def load(self) -> object:
        return self.value


def entries(monkeypatch: pytest.MonkeyPatch, *found: Entry) -> Registry[object]:
    monkeypatch.setattr(importlib.metadata, "entry_points", lambda group: list(found) if group == "zoo.things" else [])
    return Registry("thing", entry_points="zoo.things")


def test_third_parties_join_by_entry_points(monkeypatch: pytest.MonkeyPatch) -> None:
    assert entries(monkeypatch, Entry("theirs", 3))["theirs"] == 3


def test_an_entry_point_that_has_registered_itself_or_is_a_module(monkeypatch: pytest.MonkeyPatch) -> None:
    mine = object()
    registry = entries(monkeypatch, Entry("mine", mine), Entry("package", ModuleType("package")))
    registry.add("mine", mine)
    assert registry.names() == ["mine"]


def test_an_entry_point_with_a_taken_name_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    registry = entries(monkeypatch, Entry("resnet50", object()))
    registry.add("resnet50", object())
    with pytest.raises(ValueError, match="the thing 'resnet50' is registered twice"):
        registry.names()
