"""The pictures and parameters in the body of a request: multipart, raw bytes, or JSON with base64."""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qsl

from python_multipart.exceptions import MultipartParseError
from python_multipart.multipart import MultipartParser, parse_options_header

from zoo.serving.limits import RefusedError

_PARTS = 1000  # parts of a multipart body; the parser limits their headers
_KEY = 300  # characters of a picture's name
_FIELDS = ("files", "pictures", "images")  # names of the list of pictures; the first is documented
_EXPECTED = (
    "expected multipart/form-data with a field 'files', image/* or application/octet-stream with the bytes of one picture, "
    'or application/json: {"files": [{"key": "a.jpg", "data": "BASE64"}]}'
)


@dataclass(frozen=True)
class Upload:
    """One picture of a request: its name, and its file or its pixels.

    Attributes:
        key: name in the answer.
        data: content of an image file, or pixels.
        pixels: None for a file; or dtype and shape of the pixels, [3, H, W], RGB.
    """

    key: str
    data: bytes
    pixels: tuple[str, tuple[int, ...]] | None = None

    def header(self) -> dict[str, Any]:
        """Return the description for the worker."""
        about = {"key": self.key, "size": len(self.data), "kind": "file"}
        if self.pixels is None:
            return about
        return {**about, "kind": "pixels", "dtype": self.pixels[0], "shape": list(self.pixels[1])}


@dataclass(frozen=True)
class Content:
    """Pictures and text parameters of a request."""

    uploads: list[Upload] = field(default_factory=list)
    values: dict[str, str] = field(default_factory=dict)


def parse(body: bytes, content_type: str) -> Content:
    """Return the pictures and parameters of a body.

    Raises:
        RefusedError: the body is malformed or of an unknown type.
    """
    kind, options = parse_options_header(content_type)
    if kind == b"multipart/form-data":
        return _multipart(body, options)
    if kind == b"application/json":
        return _json(body)
    if kind == b"application/x-www-form-urlencoded":
        return _form(body)
    if kind.startswith(b"image/") or kind == b"application/octet-stream":
        return Content([Upload("image", body)])
    shown = content_type[:100] or "missing"
    raise RefusedError(415, f"the content type is {shown}; {_EXPECTED}")


@dataclass
class _Part:
    headers: dict[bytes, bytes] = field(default_factory=dict)
    data: list[bytes] = field(default_factory=list)


class _Parts:
    """Callbacks of the multipart parser, which collect all parts in memory."""

    def __init__(self) -> None:
        self.parts: list[_Part] = []
        self.ended = False
        self._name = self._value = b""

    def on_part_begin(self) -> None:
        if len(self.parts) == _PARTS:
            raise RefusedError(400, f"the request has more than {_PARTS} parts")
        self.parts.append(_Part())

    def on_part_data(self, data: bytes, start: int, end: int) -> None:
        self.parts[-1].data.append(data[start:end])

    def on_header_field(self, data: bytes, start: int, end: int) -> None:
        self._name += data[start:end]

    def on_header_value(self, data: bytes, start: int, end: int) -> None:
        self._value += data[start:end]

    def on_header_end(self) -> None:
        self.parts[-1].headers[self._name.lower()] = self._value
        self._name = self._value = b""

    def on_end(self) -> None:
        self.ended = True


_CALLBACKS = ("on_part_begin", "on_part_data", "on_header_field", "on_header_value", "on_header_end", "on_end")


def _multipart(body: bytes, options: Mapping[bytes, bytes]) -> Content:
    """Parse a multipart body in memory. Starlette's parser would write pictures above 1 MB to temporary files."""
    if not options.get(b"boundary"):
        raise RefusedError(400, "the content type multipart/form-data has no boundary")
    found = _Parts()
    callbacks: Any = {name: getattr(found, name) for name in _CALLBACKS}
    try:
        parser = MultipartParser(options[b"boundary"], callbacks)
        parser.write(body)
        parser.finalize()
    except MultipartParseError as error:
        raise RefusedError(400, f"the multipart body is malformed: {error}") from None
    if not found.ended:
        raise RefusedError(400, "the multipart body is cut short: its final boundary is missing")
    return _content(found.parts)


def _content(parts: Sequence[_Part]) -> Content:
    content = Content()
    for part in parts:
        _, options = parse_options_header(part.headers.get(b"content-disposition", b""))
        name, data = options.get(b"name", b"").decode("utf-8", "replace"), b"".join(part.data)
        if b"filename" in options or name in _FIELDS:
            key = options.get(b"filename", b"").decode("utf-8", "replace") or f"image {len(content.uploads)}"
            content.uploads.append(Upload(_key(key), data))
        else:
            content.values[name] = data.decode("utf-8", "replace")
    return content


def _form(body: bytes) -> Content:
    """Return the parameters of a form without files."""
    try:
        return Content(values=dict(parse_qsl(body.decode("utf-8", "replace"), keep_blank_values=True, max_num_fields=_PARTS)))
    except ValueError:
        raise RefusedError(400, f"the form has more than {_PARTS} fields") from None


def _json(body: bytes) -> Content:
    values = parse_json(body)
    content = Content()
    for name, value in values.items():
        if name in _FIELDS:
            if not isinstance(value, list):
                raise RefusedError(422, f"{name} is {type(value).__name__}; expected a list of pictures; {_EXPECTED}")
            content.uploads.extend(_encoded(entry, place) for place, entry in enumerate(value))
        elif isinstance(value, str | int | float):
            content.values[name] = str(value).lower() if isinstance(value, bool) else str(value)
        else:
            raise RefusedError(422, f"{name[:100]!r} is {type(value).__name__}; expected text or a number")
    return content


def parse_json(body: bytes) -> dict[str, Any]:
    """Return a JSON object.

    Raises:
        RefusedError: the text isn't a JSON object.
    """
    try:
        values = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise RefusedError(400, f"the body isn't valid JSON: {str(error)[:200]}") from None
    if not isinstance(values, dict):
        raise RefusedError(422, f"the body is a JSON {type(values).__name__}; expected an object")
    return values


def _encoded(entry: Any, place: int) -> Upload:
    key, data = f"image {place}", entry
    if isinstance(entry, dict):
        key, data = entry.get("key", key), entry.get("data")
    if not isinstance(data, str) or not isinstance(key, str):
        raise RefusedError(422, f'picture {place}: expected a base64 string, or {{"key": "a.jpg", "data": "BASE64"}}')
    return Upload(_key(key), decode_base64(data, f"picture {place}"))


def decode_base64(text: str, what: str) -> bytes:
    """Return the bytes of base64 text, which may be a data URL.

    Raises:
        RefusedError: the text isn't base64.
    """
    if text.startswith("data:"):
        text = text.partition(",")[2]
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as error:
        raise RefusedError(422, f"{what} isn't valid base64: {error}") from None


def _key(key: str) -> str:
    """Return a name that can be shown: of limited length, without control characters and unpaired surrogates."""
    shown = key.encode("utf-8", "replace").decode("utf-8")
    return "".join(sign if sign.isprintable() else "\N{REPLACEMENT CHARACTER}" for sign in shown)[:_KEY] or "image"
