"""Parse the flags of a command with tyro, with help that is easier to read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import is_dataclass, replace
from typing import Annotated, Any, Literal, get_args, get_origin

import tyro

_HELP = tyro.constructors.ConstructorRegistry()
_NAMED_VALUES = "NAME=VALUE,VALUE;NAME=VALUE,VALUE"
_ACTIVE: set[Any] = set()  # dataclasses that tyro's own rule is reading, so that `_readable` doesn't call itself


@_HELP.struct_rule
def _readable(info: tyro.constructors.StructTypeInfo) -> tyro.constructors.StructConstructorSpec | None:
    """Return tyro's specification of a dataclass, with more readable help for its flags."""
    if not is_dataclass(info.type) or info.type in _ACTIVE:
        return None
    _ACTIVE.add(info.type)
    try:
        spec = tyro.constructors.ConstructorRegistry.get_struct_spec(info)
    finally:
        _ACTIVE.remove(info.type)
    if not isinstance(spec, tyro.constructors.StructConstructorSpec):
        return None
    return replace(spec, fields=tuple(map(_readable_flag, spec.fields)))


def _readable_flag(flag: tyro.constructors.StructFieldSpec) -> tyro.constructors.StructFieldSpec:
    """Return a flag whose help starts with a capital letter and has no line breaks.

    An optional value is shown as STR instead of {None}|STR. None, True and False aren't shown as defaults; the text describes them.
    """
    kind, *extras = get_args(flag.type) if get_origin(flag.type) is Annotated else (flag.type,)
    hint = "" if flag.default is None or isinstance(flag.default, bool) else None
    shown = tyro.conf.arg(metavar=_optional_metavar(kind), help_behavior_hint=hint)
    return replace(flag, type=Annotated[(kind, shown, *extras)], helptext=lambda: _sentence(flag.helptext))  # type: ignore[arg-type]


def parsed_lists(text: str) -> dict[str, list[str]]:
    """Return the values by name in a text such as "colour=red,blue;damaged=no,yes". Raise a `ValueError` for other texts."""
    pairs = [part.partition("=") for part in text.split(";") if part.strip()]
    names = [name.strip() for name, _, _ in pairs]
    if not pairs or not all(names) or not all(equals for _, equals, _ in pairs) or len(set(names)) < len(names):
        raise ValueError(f"{text!r} isn't a list of unique names with their values; expected {_NAMED_VALUES}")
    return {name: [value.strip() for value in values.split(",")] for name, (_, _, values) in zip(names, pairs, strict=True)}


@_HELP.primitive_rule
def _named_values(info: tyro.constructors.PrimitiveTypeInfo) -> tyro.constructors.PrimitiveConstructorSpec[Any] | None:
    """Return tyro's specification of a mapping from names to values, such as "colour=red,blue;damaged=no,yes"."""
    if get_origin(info.type) is not Mapping:
        return None

    def written(values: Mapping[str, Sequence[str]]) -> list[str]:
        return [";".join(f"{name}={','.join(each)}" for name, each in values.items())]

    return tyro.constructors.PrimitiveConstructorSpec(
        nargs=1,
        metavar=_NAMED_VALUES,
        instance_from_str=lambda words: parsed_lists(words[0]),
        is_instance=lambda value: isinstance(value, Mapping),
        str_from_instance=written,
    )


def _sentence(text: Any) -> str | None:
    words = " ".join(((text() if callable(text) else text) or "").split())
    return words[:1].upper() + words[1:] or None


def _optional_metavar(kind: Any) -> str | None:
    """Return STR for `str | None` and {a,b} for `Literal["a", "b"] | None`; None for a type that isn't optional."""
    kinds = [inner for inner in get_args(kind) if inner is not type(None)]
    if len(kinds) == len(get_args(kind)):
        return None
    if get_origin(kinds[0]) is Mapping:
        return _NAMED_VALUES
    return f"{{{','.join(get_args(kinds[0]))}}}" if get_origin(kinds[0]) is Literal else kinds[0].__name__.upper()


def parse(kind: type[Any], command: str, argv: list[str]) -> Any:
    """Parse the arguments after a command into its dataclass of flags. The command's name is for the help."""
    settings = (tyro.conf.FlagCreatePairsOff, tyro.conf.OmitSubcommandPrefixes)
    with _HELP:
        return tyro.cli(kind, prog=f"zoo {command}", args=argv, config=settings, description=kind.__doc__)
