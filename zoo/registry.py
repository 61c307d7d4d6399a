"""Names to definitions: decorated registration, wildcards, nearest names, discovery."""

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
    """Return a sort key under which resnet18 stands before resnet101."""
    return [(0, int(part)) if part.isdecimal() else (1, part) for part in re.split(r"(\d+)", name) if part]


class Registry(Generic[T]):
    """A set of named definitions that fills itself at the first look-up.

    A definition is added by decorating it in a module of `package` (one new file, nothing else to edit), or by
    a third party's entry point in `entry_points`.

    Example:
        >>> shapes: Registry[type] = Registry("shape")
        >>> @shapes.register("square")
        ... class Square: ...
        >>> shapes.names()
        ['square']
    """

    def __init__(self, kind: str, package: str | None = None, entry_points: str | None = None, remedy: str = "") -> None:
        """Describe where definitions come from.

        Args:
            kind: what is registered, in words, for messages.
            package: the package whose modules are imported at the first look-up.
            entry_points: the entry-point group through which others join.
            remedy: the sentence that an unknown name's message ends with.
        """
        self.kind, self._package, self._entry_points, self._remedy = kind, package, entry_points, remedy
        self._definitions: dict[str, T] = {}
        self._discovered = False

    def register(self, name: str) -> Callable[[D], D]:
        """Return a decorator that adds what it decorates under `name`.

        Raises:
            ValueError: the name is taken.
        """

        def add(definition: D) -> D:
            self.add(name, definition)  # type: ignore[arg-type]  # a decorator returns what it was given, unchanged
            return definition

        return add

    def add(self, name: str, definition: T) -> None:
        """Add one definition.

        Raises:
            ValueError: the name is taken by another definition.
        """
        if name in self._definitions:
            raise ValueError(f"the {self.kind} {name!r} is registered twice")
        self._definitions[name] = definition

    def _discover(self) -> None:
        if self._discovered:
            return
        self._discovered = True  # before the imports, which may look up names themselves
        try:
            self._import_package()
            self._load_entry_points()
        except BaseException:
            self._discovered = False  # the next look-up must fail as well, not see half of the names
            raise

    def _import_package(self) -> None:
        if self._package is None:
            return
        package = importlib.import_module(self._package)
        for module in pkgutil.iter_modules(package.__path__):
            found = importlib.import_module(f"{self._package}.{module.name}")
            register: Callable[[], None] = getattr(found, "register", lambda: None)
            register()  # of a package whose parts are also used without its definition, which takes long to import

    def _load_entry_points(self) -> None:
        if self._entry_points is None:
            return
        for entry in importlib.metadata.entry_points(group=self._entry_points):
            loaded = entry.load()
            # loading may itself have registered the definition, and a module registers what it defines
            if not isinstance(loaded, ModuleType) and self._definitions.get(entry.name) is not loaded:
                self.add(entry.name, loaded)

    def names(self, pattern: str = "*") -> list[str]:
        """Return the names that match a shell pattern, in natural order."""
        self._discover()
        return sorted(fnmatch.filter(self._definitions, pattern), key=natural_key)

    def __getitem__(self, name: str) -> T:
        """Return a definition.

        Raises:
            UnknownNameError: no such name; the nearest ones are listed.
        """
        self._discover()
        if name not in self._definitions:
            raise UnknownNameError(self.kind, name, self._definitions, self._remedy)
        return self._definitions[name]

    def __contains__(self, name: object) -> bool:
        """Tell whether a name is registered."""
        self._discover()
        return name in self._definitions

    def __iter__(self) -> Iterator[str]:
        """Iterate over the names in natural order."""
        return iter(self.names())

    def __len__(self) -> int:
        """Return the number of definitions."""
        self._discover()
        return len(self._definitions)
