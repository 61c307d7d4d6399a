"""The page's document and its headers, without a browser."""

from __future__ import annotations

import base64
import hashlib
import re

import pytest

from zoo import __version__
from zoo.serving.page import load_page


@pytest.mark.parametrize("element", ["style", "script"])
def test_the_policy_has_the_hashes_of_what_the_page_contains(element: str) -> None:
    page = load_page("")
    found = re.findall(rf"<{element}[^>]*>(.*?)</{element}>", page.content.decode(), re.DOTALL)
    assert len(found) == 1, "there is one, which nothing in it ends early"
    digest = base64.b64encode(hashlib.sha256(found[0].encode()).digest()).decode()
    assert f"{element}-src 'sha256-{digest}';" in page.headers["Content-Security-Policy"]


def test_the_page_is_one_small_document_without_external_resources() -> None:
    text = load_page("").content.decode()
    assert len(text.encode()) < 60_000
    assert __version__ in text
    assert not re.findall(r"\{(root|version|style|script)\}", text)
    assert not re.findall(r"""(?:src|href)=["']?(?:https?:)?//""", text)
    assert not re.findall(r"<[^>]+\son[a-z]+=", text), "no inline event handlers"
    assert "innerHTML" not in text


def test_the_root_path_is_escaped_and_changes_the_etag() -> None:
    page = load_page('/a"b')
    assert '<html lang="en" data-root="/a&quot;b">' in page.content.decode()
    assert page.headers["ETag"] != load_page("").headers["ETag"]
    assert page.headers["Content-Security-Policy"] == load_page("").headers["Content-Security-Policy"]
