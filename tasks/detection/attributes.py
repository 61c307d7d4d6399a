"""Attributes of objects, such as colour: their declaration (`{"colour": ["red", "blue"]}`) and their values in annotations."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from zoo.data.names import nfc
from zoo.errors import InputError

Attributes = Mapping[str, Sequence[str]]  # values by name; the index of a value is its class in the attribute's head

_UNKNOWN = ("", "__undefined__")  # the second is CVAT's value for "not set"
_EXAMPLE = '{"colour": ["red", "blue"], "damaged": ["no", "yes"]} (--attributes "colour=red,blue;damaged=no,yes")'


def checked_attributes(attributes: Any) -> dict[str, list[str]]:
    """Return declared attributes with their names and values as texts, as annotations are read.

    Raises:
        InputError: the attributes aren't a mapping, a name is empty or occurs twice, or an attribute has fewer than two different values.
    """
    if not isinstance(attributes, Mapping) or any(isinstance(values, str) for values in attributes.values()):
        raise InputError(f"detection: attributes is {attributes!r}; expected a mapping from names to values, such as {_EXAMPLE}")
    checked: dict[str, list[str]] = {}
    for given, listed in attributes.items():
        name, values = nfc(str(given).strip()), [value_text(value) for value in listed]
        if not name or name in checked:
            what = "has an empty name" if not name else f"has the attribute {name!r} twice"
            raise InputError(f"detection: attributes {what}; expected unique names, such as {_EXAMPLE}")
        repeated = sorted({value for value in values if values.count(value) > 1})
        if len(values) < 2 or repeated or "" in values:
            shown = ", ".join(map(repr, values)) or "none"
            raise InputError(
                f"detection: the values of the attribute {name!r} are {shown}; expected at least two different ones, such as {_EXAMPLE}"
            )
        checked[name] = values
    return checked


def value_text(value: Any) -> str:
    """Return an attribute's value in an annotation as text; "" if it is unknown.

    True and false are "true" and "false", even if they are texts in another spelling, because CVAT writes them as booleans to JSON and as
    texts to XML. Whole numbers have no decimal point. A list with one value, as annotation tools write choices, stands for this value.
    """
    if isinstance(value, list) and len(value) == 1:
        value = value[0]
    if value is None:
        return ""
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    text = nfc(str(value).strip())
    if text in _UNKNOWN:
        return ""
    return text.lower() if text.lower() in ("true", "false") else text
