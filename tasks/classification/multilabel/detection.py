"""Detection data read as labels of whole images."""

from __future__ import annotations

from zoo.data.formats import DataRef
from zoo.errors import InputError


def check_as(ref: DataRef) -> None:
    """Raise an `InputError` unless the option `as` is "labels" or isn't set."""
    if ref.options.get("as", "labels") != "labels":
        raise InputError(f"data {ref.text!r}: as is {ref.options['as']!r}; expected labels, the classes that occur in each image")
