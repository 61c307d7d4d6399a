"""Parsing of VOC annotation files: XML in any declared encoding, with or without namespaces, and never with entities."""

from __future__ import annotations

import codecs
import os
import re
from pathlib import Path
from xml.etree.ElementTree import Element, ParseError

from defusedxml import DefusedXmlException
from defusedxml.ElementTree import fromstring

from zoo.errors import Flaw

_DECLARED = re.compile(rb"<\?xml[^>]*?\sencoding\s*=\s*[\"']([A-Za-z][\w.:-]*)[\"']")
_ROOT = re.compile(rb"<([\w.-]+:)?annotation[\s/>]", re.IGNORECASE)
_START = 2000  # bytes that show the root element
_MARKS = {codecs.BOM_UTF8: "utf-8", codecs.BOM_UTF16_LE: "utf-16", codecs.BOM_UTF16_BE: "utf-16"}
# The XML parser lacks encodings with several bytes per character. As in web browsers, a name stands for the largest set of characters with
# these codes: many files that declare gb2312 contain other characters of GBK.
_WIDE = {
    "utf-8": "utf-8", "gb2312": "gb18030", "gbk": "gb18030", "gb18030": "gb18030", "x-gbk": "gb18030", "big5": "big5hkscs",
    "big5hkscs": "big5hkscs", "cp950": "cp950", "shift_jis": "cp932", "cp932": "cp932", "windows-31j": "cp932", "x-sjis": "cp932",
    "euc_jp": "euc_jp", "iso2022_jp": "iso2022_jp", "euc_kr": "cp949", "cp949": "cp949",
}  # fmt: skip


def parse(data: bytes) -> Element:
    """Parse an annotation file. The tags are in lower case and without namespaces.

    Raises:
        Flaw: the file isn't XML, contains entities, isn't in the encoding that it declares, or isn't an annotation.
    """
    try:
        tree: Element = fromstring(_decoded(data))
    except (ParseError, DefusedXmlException, ValueError, LookupError) as error:
        raise Flaw(f"can't be read as XML ({_reason(error, data)})") from None
    for element in tree.iter():
        element.tag = element.tag.rpartition("}")[2].lower()
    if tree.tag != "annotation" and all(tree.find(tag) is None for tag in ("filename", "size", "object")):
        cvat = ". It is CVAT's own format: export it as PASCAL VOC" if tree.tag == "annotations" and tree.find("image") is not None else ""
        raise Flaw(f"the root element is <{tree.tag[:40]}>; expected VOC's <annotation>{cvat}")
    return tree


def is_annotation_file(path: Path | str) -> bool:
    """Return whether a file is an XML file that starts with the root element of VOC, in any encoding."""
    name = os.path.basename(path)
    if not name.lower().endswith(".xml") or name.startswith("."):
        return False
    try:
        with open(path, "rb") as content:
            return _ROOT.search(content.read(_START).replace(b"\0", b"")) is not None
    except OSError:
        return False


def _decoded(data: bytes) -> str | bytes:
    """Return the text of an XML file, or the bytes if the parser can decode them."""
    for mark, encoding in _MARKS.items():
        if data.startswith(mark):
            return data.removeprefix(codecs.BOM_UTF8).decode(encoding)
    data = data.lstrip(b" \t\r\n")
    found = _DECLARED.match(data)
    if found is None:
        return data
    name = found[1].decode().lower()
    if name.startswith(("utf-16", "utf16", "utf-32", "ucs-2")):  # .NET declares the encoding of its strings, and writes UTF-8
        return data.decode("utf-8")
    wide = _WIDE.get(name) or _WIDE.get(codecs.lookup(name).name)
    return data if wide is None else data.decode(wide)


def _reason(error: Exception, data: bytes) -> str:
    if isinstance(error, ParseError) and _DECLARED.match(data.lstrip()) is None and not data.startswith(tuple(_MARKS)):
        try:
            data.decode("utf-8")
        except UnicodeDecodeError as wrong:
            return f"byte 0x{data[wrong.start]:02X} at {wrong.start} isn't UTF-8; save the file as UTF-8, or declare its encoding"
    return str(error) or type(error).__name__
