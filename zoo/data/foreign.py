"""Formats of annotation tools that aren't read, recognised for error messages only."""

from __future__ import annotations

import re
from itertools import islice
from pathlib import Path

from zoo.data.folders import Folders

_LOOKED = 500  # files
_START = 1 << 16  # bytes
# name of the format, suffix of its files, and what their beginning contains
_FORMATS = tuple(
    (name, suffix, re.compile(pattern, re.DOTALL))
    for name, suffix, pattern in (
        ("CVAT's own format", ".xml", rb"<annotations>.*<(version|image|track)\b"),
        ("labelme", ".json", rb'"shapes"\s*:\s*\['),
        ("VGG Image Annotator", ".json", rb'"(_via_settings|_via_img_metadata|region_attributes)"'),
        ("VGG Image Annotator", ".csv", rb"region_shape_attributes"),
        ("Label Studio's own format", ".json", rb'"from_name"\s*:'),
        ("CreateML", ".json", rb'"annotations"\s*:.*"coordinates"\s*:'),
        ("Supervisely", ".json", rb'"classTitle"\s*:'),
        ("TensorFlow's records", ".tfrecord", rb""),
    )
)


def foreign_format(path: Path) -> str:
    """Return a sentence about annotations in a folder or file in a format that isn't read; "" if none is recognised."""
    files = islice(Folders(path).files(path), _LOOKED) if path.is_dir() else [str(path)]
    for file in files:
        for name, suffix, pattern in _FORMATS:
            if file.lower().endswith(suffix) and pattern.search(_start(file)):
                where = Path(file).relative_to(path).as_posix() if path.is_dir() else "it"
                return f" The annotations are those of {name} ({where}): export them as COCO, VOC or YOLO."
    return ""


def _start(file: str) -> bytes:
    try:
        with open(file, "rb") as stream:
            return stream.read(_START)
    except OSError:
        return b""
