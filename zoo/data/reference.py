"""Dataset strings: `scheme:path[?option=value&…]`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import parse_qsl

from zoo.errors import DataError, InputError
from zoo.system.wording import look_at


@dataclass(frozen=True)
class DataRef:
    """A parsed dataset string `scheme:path[?option=value&…]`.

    Attributes:
        text: the original string, for messages.
        scheme: name of the scheme; "" if the string is a bare path.
        path: path between the scheme and the options.
        split: requested split; None for the scheme's default.
        classes: classes to keep, in this order; None for all.
        limit: maximum number of samples; None for no limit.
        exact: whether to decode all images at full size; see `Dataset`.
        options: scheme-specific options, by name.
        pictures: whether the image files must exist. It is False when predictions from a file are scored, which doesn't require the images;
            schemes that support this then open the dataset without them.
    """

    text: str
    scheme: str
    path: str
    split: str | None = None
    classes: tuple[str, ...] | None = None
    limit: int | None = None
    exact: bool = False
    options: Mapping[str, str] = field(default_factory=dict)
    pictures: bool = True

    @classmethod
    def parse(cls, text: str) -> DataRef:
        """Parse a dataset string.

        Raises:
            InputError: an option has no value or occurs twice, `limit` isn't an integer above 0, or `exact` is neither true nor false.
        """
        body, _, query = text.partition("?")
        head, colon, tail = body.partition(":")
        # one letter before the colon is a Windows drive
        scheme, path = (head, tail) if colon and len(head) > 1 and "/" not in head and "\\" not in head else ("", body)
        if query and any("=" not in part for part in query.split("&")):
            raise InputError(f"data {text!r}: expected ?option=value[&option=value…] after the path, got {query!r}")
        options: dict[str, str] = {}
        for name, value in parse_qsl(query, keep_blank_values=True):
            if name in options:
                raise InputError(f"data {text!r}: the option {name!r} is given twice")
            options[name] = value
        split, classes, limit = (options.pop(name, None) for name in ("split", "classes", "limit"))
        exact = options.pop("exact", "false")
        if limit is not None and (not limit.isdecimal() or int(limit) < 1):
            raise InputError(f"data {text!r}: limit is {limit!r}; expected an integer above 0")
        if exact not in ("true", "false"):
            raise InputError(f"data {text!r}: exact is {exact!r}; expected true (decode images at full size) or false")
        names = tuple(name.strip() for name in classes.split(",")) if classes is not None else None
        return cls(text, scheme, path, split, names, int(limit) if limit else None, exact == "true", options)

    def folder(self) -> Path:
        """Return the path, or raise a `DataError` if it isn't an existing folder."""
        folder = self.existing("folder")
        if not folder.is_dir():
            raise DataError(f"data {self.text!r}: {folder} is a file; expected a folder")
        return folder

    def file(self) -> Path:
        """Return the path, or raise a `DataError` if it isn't an existing file."""
        file = self.existing("file")
        if not file.is_file():
            raise DataError(f"data {self.text!r}: {file} is {'a folder' if file.is_dir() else 'not a regular file'}; expected a file")
        return file

    def existing(self, kind: str) -> Path:
        """Return the path with `~` expanded.

        Args:
            kind: expected kind of path, for error messages ("folder", "file").

        Raises:
            DataError: the path is empty or doesn't exist.
        """
        if not self.path:
            raise DataError(f"data {self.text!r} names no {kind}; expected scheme:path")
        path = Path(self.path).expanduser()
        if not path.exists():
            raise DataError(f"data {self.text!r}: the {kind} {path} does not exist. {look_at(path)}")
        return path

    def root_folder(self) -> Path | None:
        """Return the folder set by the option `root=`, which paths in annotations are relative to; None if the option isn't set."""
        if "root" not in self.options:
            return None
        root = Path(self.options["root"]).expanduser()
        if not root.is_dir():
            raise InputError(f"data {self.text!r}: root is {self.options['root']!r}, which isn't a folder. {look_at(root)}")
        return root
