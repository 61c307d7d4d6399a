"""Registries of named definitions, with decorators, wildcards, suggestions for unknown names and automatic discovery."""

from __future__ import annotations

import fnmatch
import importlib
import importlib.metadata
import pkgutil
import re
from collections.abc import Callable, Iterator
from types import ModuleType
from typing import Generic, TypeVar

from zoo.errors import UnknownNameError

T = TypeVar("T")
D = TypeVar("D")


def natural_key(name: str) -> list[tuple[int, int | str]]:
    """Return a sort key that compares numbers by value, so that resnet18 sorts before resnet101."""
    return [(0, int(part)) if part.isdecimal() else (1, part) for part in re.split(r"(\d+)", name) if part]


class Registry(Generic[T]):
    """A collection of named definitions that discovers its entries on first access.

    To add a definition, decorate it in a module of `package` (a new file is enough, no other file needs editing), or expose it
    from another distribution through the entry point group `entry_points`.

    Example:
        >>> shapes: Registry[type] = Registry("shape")
        >>> @shapes.register("square")
        ... class Square: ...
        >>> shapes.names()
        ['square']
    """

    def __init__(self, kind: str, package: str | None = None, entry_points: str | None = None, remedy: str = "") -> None:
        """Configure where definitions are discovered.

        Args:
            kind: kind of definition, in words, for error messages.
            package: name of the package whose modules are imported on first access.
            entry_points: name of the entry point group for third-party definitions.
            remedy: last sentence of the error message for an unknown name.
        """
        self.kind, self._package, self._entry_points, self._remedy = kind, package, entry_points, remedy
        self._definitions: dict[str, T] = {}
        self._discovered = False

    def register(self, name: str) -> Callable[[D], D]:
        """Return a decorator that registers an object under `name`, as `add` does."""

        def add(definition: D) -> D:
            self.add(name, definition)  # type: ignore[arg-type]  # a decorator returns its argument unchanged
            return definition

        return add

    def add(self, name: str, definition: T) -> None:
        """Register a definition.

        Raises:
            ValueError: the name is already registered.
        """
        if name in self._definitions:
            raise ValueError(f"the {self.kind} {name!r} is registered twice")
        self._definitions[name] = definition

    def _discover(self) -> None:
        if self._discovered:
            return
        self._discovered = True  # set before the imports, which may look up names themselves
        try:
            if self._package is not None:
                self._import_modules(self._package)
            if self._entry_points is not None:
                self._load_entry_points(self._entry_points)
        except BaseException:
            self._discovered = False  # otherwise the next lookup would succeed with only some of the names
            raise

    def _import_modules(self, package: str) -> None:
        for module in pkgutil.iter_modules(importlib.import_module(package).__path__):
            found = importlib.import_module(f"{package}.{module.name}")
            register: Callable[[], None] = getattr(found, "register", lambda: None)
            register()  # hook of packages whose definition is slow to import, but whose other modules are also imported directly

    def _load_entry_points(self, group: str) -> None:
        for entry in importlib.metadata.entry_points(group=group):
            loaded = entry.load()
            # a loaded module registers its definitions itself; loading an object may already have registered it
            if not isinstance(loaded, ModuleType) and self._definitions.get(entry.name) is not loaded:
                self.add(entry.name, loaded)

    def names(self, pattern: str = "*") -> list[str]:
        """Return the names that match a shell-style pattern, in natural order."""
        self._discover()
        return sorted(fnmatch.filter(self._definitions, pattern), key=natural_key)

    def __getitem__(self, name: str) -> T:
        """Return the definition registered under a name.

        Raises:
            UnknownNameError: the name is unknown; the message lists the closest names.
        """
        self._discover()
        if name not in self._definitions:
            raise UnknownNameError(self.kind, name, self._definitions, self._remedy)
        return self._definitions[name]

    def __contains__(self, name: object) -> bool:
        self._discover()
        return name in self._definitions

    def __iter__(self) -> Iterator[str]:
        return iter(self.names())

    def __len__(self) -> int:
        self._discover()
        return len(self._definitions)
