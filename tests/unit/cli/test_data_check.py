"""The `zoo data check` command: exit status, JSON and report."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from tests.damaged import Labelled, scene, write_coco, write_folders, write_voc
from tests.pictures import cut_short, write_picture
from zoo.cli.main import main
from zoo.curation.check import KINDS


def _run(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, str, str]:
    status = main(["data", *words])
    captured = capsys.readouterr()
    return status, captured.out, captured.err


def test_clean_data_is_status_0(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    status, out, err = _run(capsys, "check", f"folder:{write_folders(tmp_path)}")
    assert (status, out) == (0, "")
    assert "6 images (no split 6): no problems" in err


def test_findings_are_status_1_and_grouped(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_folders(tmp_path, each=12)
    for number in range(11):
        cut_short(tmp_path / "cat" / f"{number}.png")
    status, out, err = _run(capsys, "check", f"folder:{tmp_path}", "--quiet")
    assert status == 1
    assert out.startswith("error: truncated – truncated images (11)\n  cat/0.png: is cut short")
    assert "  … and 1 more; see --json or --report" in out
    assert "11 findings, 0 notes" in err


def test_notes_alone_are_status_0(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    status, out, _ = _run(capsys, "check", f"coco:{write_coco(tmp_path, [[('cat', (4, 5, 30, 40))], []])}")
    assert status == 0
    assert out.startswith("note: no-objects")


def test_json_is_one_object_and_nothing_else(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_folders(tmp_path / "data")
    cut_short(tmp_path / "data" / "cat" / "1.png")
    status, out, err = _run(capsys, "check", str(tmp_path / "data"), "--task", "classification", "--json", "--fix", str(tmp_path / "out"))
    content = json.loads(out)
    assert (status, out.count("\n")) == (1, 1)
    assert "recognised as folder, because" in err
    assert content["counts"] == {"truncated": 1}
    assert (content["ok"], content["scheme"], content["task"], content["pictures"]) == (False, "folder", "classification", 6)
    assert {key: content["findings"][0][key] for key in ("kind", "severity", "key", "place", "others", "box")} == {
        "kind": "truncated", "severity": "error", "key": "cat/1.png", "place": "", "others": [], "box": None,
    }  # fmt: skip
    assert [change["file"] for change in content["changes"]] == ["cat/1.png"]


@pytest.mark.parametrize(("words", "message"), [
    (["chek"], "unknown command 'chek'; expected one of: check"),
    (["check", "folder:/no/such/place"], "does not exist"),
    (["check", "folder:{}", "--near", "99"], "near is 99; expected a Hamming distance of 0 to 32"),
    (["check", "folder:{}", "--task", "clasification"], "unknown task 'clasification'"),
    (["check", "fodler:{}"], "unknown data format"),
])  # fmt: skip
def test_wrong_input_is_status_2(words: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    status, out, err = _run(capsys, *(word.format(write_folders(tmp_path)) for word in words))
    assert (status, out) == (2, "")
    assert message in err


@pytest.mark.parametrize(("name", "task"), [("voc", "detection"), ("identities", "face"), ("folder", "classification")])
def test_the_task_is_the_one_that_has_the_scheme(name: str, task: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    boxes: list[list[Labelled]] = [[("cat", (4, 5, 30, 40))]]
    data = write_voc(tmp_path, boxes) if name == "voc" else write_folders(tmp_path)
    assert json.loads(_run(capsys, "check", f"{name}:{data}", "--json", "--quiet")[1])["task"] == task


def test_a_bare_path_is_recognised_by_whichever_task_knows_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    boxes: list[list[Labelled]] = [[("cat", (4, 5, 30, 40))]]
    content = json.loads(_run(capsys, "check", str(write_coco(tmp_path, boxes)), "--json", "--quiet", "--task", "detection")[1])
    assert (content["task"], content["scheme"]) == ("detection", "coco")


def test_the_report_is_one_file_with_counts_and_pictures(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = tmp_path / "a<b>&c"
    write_voc(data, [[("cat", (4, 5, 30, 40)), ("cat", (10, 10, 10, 30))], [("dog", (0, 0, 64, 48)), ("dog", (0, 0, 64, 1e9))]])
    write_picture(data / "JPEGImages" / "copy.png", scene(0))
    status, _, err = _run(capsys, "check", f"voc:{data}", "--report", str(tmp_path / "report.html"))
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert status == 1
    assert "report: " in err
    for kind in ("box-no-area", "box-outside", "box-whole-picture", "no-annotation"):
        assert f'<a href="#{kind}">{kind}</a> – {KINDS[kind].title}</td><td class="n">1</td>' in page
        assert f'<h2 id="{kind}">' in page
    assert page.count('<img alt="" src="data:image/jpeg;base64,') == 3, "one for each box; the image without an annotation is not a sample"
    assert "a&lt;b&gt;&amp;c" in page
    assert "a<b>" not in page
    assert not re.search(r'(src|href)="(?!data:|#)', page), "it must load no external resources"


def test_the_report_shows_both_of_two_equal_pictures_and_none_that_cant_be_read(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_folders(tmp_path / "data")
    write_picture(tmp_path / "data" / "cat" / "copy.png", scene(1))
    cut_short(tmp_path / "data" / "dog" / "2.png")
    _run(capsys, "check", f"folder:{tmp_path / 'data'}", "--report", str(tmp_path / "report.html"))
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert re.findall(r"<figcaption>([^<]*)", page) == ["cat/0.png", "cat/copy.png"]
    assert "dog/2.png: is cut short" in page
