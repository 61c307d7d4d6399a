"""Ids of images and categories, which some tools write as text in one list and as numbers in another."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import Any

from zoo.system.wording import counted


class Ids:
    """Ids of one list, found by equal value or, if the types differ, by equal text."""

    def __init__(self, name: str, ids: Iterable[Any], of: str) -> None:
        """Store the ids of the list `of`; `name` is the key of annotations that refers to them, such as `image_id`."""
        self._name, self._of = name, of
        self._ids = set(ids)
        texts = Counter(map(_text, self._ids))
        self._by_text = {_text(identity): identity for identity in self._ids if texts[_text(identity)] == 1}
        self._matched: list[Any] = []  # references of another type

    def match(self, given: Any) -> Any:
        """Return the id that a reference refers to; None if there is none."""
        return given if given in self._ids else self._by_text.get(_text(given))

    def find(self, given: Any) -> Any:
        """Return the id that a reference refers to, and record a reference of another type for the notes; None if there is none."""
        found = self.match(given)
        if found is not None and found != given:
            self._matched.append(given)
        return found

    def unknown(self, given: Any) -> str:
        """Return the end of the message about a reference that matches no id: the types if they differ, otherwise ""."""
        kinds = {isinstance(identity, str) for identity in self._ids}
        mixed = kinds == {not isinstance(given, str)}
        return f" (it is {_kind(given)}, but the ids in {self._of} are {'numbers' if isinstance(given, str) else 'text'})" if mixed else ""

    @property
    def notes(self) -> list[str]:
        """Note on references that were matched as text."""
        if not self._matched:
            return []
        given = self._matched[0]
        places = counted(len(self._matched), "entry", "entries")
        return [f"{self._name} is {_kind(given)} in {places}, such as {given!r}, but not in {self._of}: it was matched as text"]


def _kind(identity: Any) -> str:
    return "text" if isinstance(identity, str) else "a number"


def _text(identity: Any) -> str:
    return str(int(identity)) if isinstance(identity, float) and identity.is_integer() else str(identity).strip()
