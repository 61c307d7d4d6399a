"""Recognition of files that aren't images in a supported format, for error messages."""

from __future__ import annotations

import re


def describe(data: bytes) -> str:
    """Describe, for an error message, the likely type of a file that isn't a supported image, judged by its content."""
    for pattern, words in _KINDS:
        if pattern.match(data):
            return words
    if b"\0" not in data[:512]:
        try:
            return f"text ({data[:24].decode('ascii')!r}…)"
        except UnicodeDecodeError:
            pass
    return f"of an unknown format (it starts with {data[:8].hex(' ')})"


_KINDS: tuple[tuple[re.Pattern[bytes], str], ...] = tuple(
    (re.compile(pattern, re.DOTALL | re.IGNORECASE), words)
    for pattern, words in (
        (rb"\s*(?:<!doctype html|<html)", "an HTML page (a failed download?)"),
        (rb"\s*<(?:\?xml|svg)", "an XML or SVG file"),
        (rb"version https://git-lfs", "a Git LFS pointer (fetch it with `git lfs pull`)"),
        (rb"\0+\Z", "nothing but zeros"),
        (rb"....ftyp", "an MP4 or QuickTime video"),
        (rb"(?:II\x2b\0|MM\0\x2b)", "a BigTIFF"),
        (rb"\xff\x0a|\0\0\0\x0cJXL ", "a JPEG XL"),
        (rb"8BPS", "a Photoshop document"),
        (rb"%PDF", "a PDF"),
        (rb"PK\x03\x04", "a ZIP archive"),
        (rb"\x1f\x8b", "a gzip archive"),
        (rb"\x93NUMPY", "a NumPy array"),
        (rb"P[Ff7]\s", "a PFM or PAM"),
    )
)
