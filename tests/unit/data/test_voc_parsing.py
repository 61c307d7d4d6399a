"""Parsing of VOC annotation files: encodings, namespaces, spelling of tags, and what stays refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from zoo.data.voc.parsing import is_annotation_file, parse
from zoo.errors import Flaw

BODY = "<annotation><filename>1.png</filename><object><name>NAME</name></object></annotation>"


def declared(encoding: str, name: str) -> bytes:
    return f'<?xml version="1.0" encoding="{encoding}"?>\n{BODY}'.replace("NAME", name).encode(encoding)


@pytest.mark.parametrize(("data", "name"), [
    (BODY.replace("NAME", "Käfer").encode(), "Käfer"),
    (BODY.replace("NAME", "Käfer").encode("utf-8-sig"), "Käfer"),
    (b"\n  " + declared("utf-8", "猫"), "猫"),
    (declared("UTF8", "猫"), "猫"),
    (declared("utf-16", "猫"), "猫"),
    (b"\xfe\xff" + BODY.replace("NAME", "猫").encode("utf-16-be"), "猫"),
    (declared("iso-8859-1", "Käfer"), "Käfer"),
    (declared("windows-1252", "Käfer – Œuvre"), "Käfer – Œuvre"),
    (declared("windows-1251", "кот"), "кот"),
    (declared("koi8-r", "кот"), "кот"),
    (declared("gbk", "猫"), "猫"),
    (declared("gb18030", "猫"), "猫"),
    (declared("gbk", "镕").replace(b"gbk", b"gb2312"), "镕"),  # a character of GBK that GB 2312 lacks
    (declared("big5", "貓"), "貓"),
    (declared("shift_jis", "猫ソ"), "猫ソ"),
    (declared("cp932", "①").replace(b"cp932", b"Windows-31J"), "①"),
    (declared("euc-jp", "猫"), "猫"),
    (declared("euc-kr", "고양이"), "고양이"),
    (declared("utf-8", "猫").replace(b"utf-8", b"utf-16"), "猫"),  # .NET
    (b"\xef\xbb\xbf" + declared("utf-8", "猫").replace(b"utf-8", b"gbk"), "猫"),  # the byte order mark is right
])  # fmt: skip
def test_encodings(data: bytes, name: str, tmp_path: Path) -> None:
    tree = parse(data)
    assert (tree.tag, tree.findtext("object/name")) == ("annotation", name)
    (tmp_path / "1.xml").write_bytes(data)
    assert is_annotation_file(tmp_path / "1.xml")


@pytest.mark.parametrize("data", [
    BODY.replace("<annotation>", '<annotation xmlns="http://example.org/voc">'),
    BODY.replace("<", "<v:").replace("<v:/", "</v:").replace("<v:annotation>", '<v:annotation xmlns:v="urn:voc">'),
    BODY.replace("<object>", '<object xmlns="urn:object">'),
    BODY.replace("annotation>", "Annotation>").replace("object>", "Object>").replace("name>", "Name>"),
    BODY.replace("<object>", "<objects><object>").replace("</object>", "</object></objects>"),
])  # fmt: skip
def test_namespaces_and_spelling(data: str, tmp_path: Path) -> None:
    tree = parse(data.encode())
    assert [entry.findtext("name") for entry in tree.iter("object")] == ["NAME"]
    assert tree.findtext("filename") == "1.png"
    (tmp_path / "1.XML").write_text(data)
    assert is_annotation_file(tmp_path / "1.XML")


@pytest.mark.parametrize(("data", "message"), [
    (b'<!DOCTYPE a [<!ENTITY b "c">]><annotation>&b;</annotation>', "EntitiesForbidden"),
    (b'<!DOCTYPE a [<!ENTITY b SYSTEM "file:///etc/passwd">]><annotation>&b;</annotation>', "EntitiesForbidden"),
    ('<?xml version="1.0" encoding="gbk"?><!DOCTYPE a [<!ENTITY b "猫">]><annotation>&b;</annotation>'.encode("gbk"), "EntitiesForbidden"),
    ('\ufeff<!DOCTYPE a [<!ENTITY b "c">]><annotation>&b;</annotation>'.encode("utf-16-le"), "EntitiesForbidden"),
    (b'<?xml version="1.0" encoding="zip"?><annotation/>', r"'zip' is not a text encoding"),
    (b'<?xml version="1.0" encoding="none-such"?><annotation/>', r"unknown encoding: none-such"),
    (declared("gbk", "猫").replace(b"gbk", b"big5")[:-3] + b"\xff\xff>", r"'big5hkscs' codec can't decode"),
    (BODY.replace("NAME", "Käfer").encode("latin-1"), r"byte 0xE4 at \d+ isn't UTF-8; save the file as UTF-8, or declare its encoding"),
    (b"", r"no element found"),
    (BODY.replace("NAME", "black & white").encode(), r"not well-formed \(invalid token\): line 1, column \d+"),
    (b"<annotations><image><box/></image></annotations>", r"the root element is <annotations>; expected VOC's <annotation>"),
    (b"<project><component/></project>", r"the root element is <project>; expected"),
])  # fmt: skip
def test_what_is_refused(data: bytes, message: str) -> None:
    with pytest.raises(Flaw, match=message):
        parse(data)


def test_other_files_are_no_annotations(tmp_path: Path) -> None:
    (tmp_path / "pom.xml").write_text("<project><annotationProcessor/></project>")
    (tmp_path / "._1.xml").write_text(BODY)
    (tmp_path / "1.txt").write_text(BODY)
    assert not any(is_annotation_file(tmp_path / name) for name in ("pom.xml", "._1.xml", "1.txt", "none.xml"))
