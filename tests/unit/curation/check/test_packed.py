"""Dataset check of images packed into larger files: Hugging Face tables and InsightFace pickles."""

from __future__ import annotations

import json
import pickle
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from tests.damaged import check, scene
from zoo.cli.main import main
from zoo.tasks.face.datasets.bin import load

NAMES = ["cat", "dog", "eel"]


def encoded(seed: int, suffix: str = ".png") -> bytes:
    return cv2.imencode(suffix, scene(seed)[..., ::-1])[1].tobytes()


@pytest.fixture(scope="module")
def hf() -> Any:
    library = pytest.importorskip("datasets", reason="the extra [hf] is not installed")
    library.disable_progress_bars()
    return library


def table(hf: Any, pictures: Sequence[bytes], labels: Sequence[int]) -> Any:
    features = hf.Features({"image": hf.Image(), "label": hf.ClassLabel(names=NAMES)})
    return hf.Dataset.from_dict({"image": [{"bytes": data, "path": None} for data in pictures], "label": labels}, features=features)


def test_sound_tables_have_no_findings(hf: Any, tmp_path: Path) -> None:
    table(hf, [encoded(seed) for seed in range(6)], [0, 1, 2] * 2).save_to_disk(str(tmp_path / "saved"))
    found = check(f"hf:{tmp_path / 'saved'}")
    assert (found.findings, found.pictures, found.classes) == ((), 6, {"cat": 2, "dog": 2, "eel": 2})
    bare = check(str(tmp_path / "saved"))
    assert (bare.scheme, bare.findings) == ("hf", ())


def test_every_damage_in_a_table_is_found_and_named(hf: Any, tmp_path: Path) -> None:
    pictures = [encoded(seed) for seed in range(8)]
    pictures[1] = pictures[1][:-40]
    pictures[2] = b"text"
    pictures[3] = cv2.imencode(".png", np.full((40, 40, 3), 9, np.uint8))[1].tobytes()
    pictures[4] = pictures[0]
    pictures[6] = encoded(6)[:40] + b"\0" + encoded(6)[41:]
    table(hf, pictures, [0, 1, 0, 1, 1, -1, 0, 0]).save_to_disk(str(tmp_path / "saved"))
    found = check(f"hf:{tmp_path / 'saved'}")
    assert {(finding.kind, finding.key) for finding in found.findings} == {
        ("truncated", "000001"), ("unreadable", "000002"), ("blank", "000003"), ("two-labels", "000000"), ("unknown-label", "000005"),
        ("unreadable", "000006"), ("empty-class", "eel"),
    }  # fmt: skip
    (same,) = found.of("two-labels")
    assert same.others == ("000004",)


@pytest.mark.parametrize("names", [("train", "test"), ("spring", "autumn")])
def test_all_splits_are_read_and_their_numbers_told_apart(hf: Any, tmp_path: Path, names: tuple[str, str]) -> None:
    first = table(hf, [encoded(0), encoded(1), encoded(2)], [0, 1, 2])
    second = table(hf, [encoded(3), b"text", encoded(1), encoded(4)], [0, 1, 1, -1])
    hf.DatasetDict(dict(zip(names, (first, second), strict=True))).save_to_disk(str(tmp_path / "saved"))
    found = check(f"hf:{tmp_path / 'saved'}")
    assert found.splits == {names[0]: 3, names[1]: 3}
    (leak,) = found.of("leak")
    assert {leak.key, *leak.others} == {f"{names[0]}/000001", f"{names[1]}/000002"}
    assert [finding.key for finding in found.of("unreadable")] == [f"{names[1]}/000001"]
    assert [finding.key for finding in found.of("unknown-label")] == [f"{names[1]}/000003"]
    part = check(f"hf:{tmp_path / 'saved'}?split={names[0]}")
    assert (part.splits, part.findings) == ({names[0]: 3}, ())


def test_a_damaged_list_of_splits_is_the_readers_to_refuse(hf: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    hf.DatasetDict({"train": table(hf, [encoded(0)], [0])}).save_to_disk(str(tmp_path / "saved"))
    (tmp_path / "saved" / "dataset_dict.json").write_text("[")
    assert main(["data", "check", f"hf:{tmp_path / 'saved'}"]) == 2
    assert "can't be opened" in capsys.readouterr().err


def write_bin(file: Path, pictures: Sequence[bytes], same: Sequence[bool]) -> str:
    file.write_bytes(pickle.dumps((list(pictures), list(same))))
    assert len(load(file.read_bytes())[0]) == len(pictures)
    return f"bin:{file}"


def test_sound_pairs_have_no_findings_worth_a_warning(tmp_path: Path) -> None:
    pictures = [encoded(seed, ".jpg") for seed in (0, 1, 0, 2, 3, 4)]  # every pair stores a separate copy of an image
    found = check(write_bin(tmp_path / "a.bin", pictures, [True, False, True]), "face")
    assert found.ok
    assert [(finding.kind, finding.severity, finding.key, finding.others) for finding in found.findings] == [
        ("duplicate", "note", "000000", ("000002",))
    ]


def test_every_damage_in_pairs_is_found_and_named(tmp_path: Path) -> None:
    pictures = [encoded(seed, ".jpg") for seed in range(8)]
    pictures[3], pictures[4] = pictures[3][:200], b"text"
    pictures[1], pictures[7] = pictures[0], pictures[6]
    found = check(write_bin(tmp_path / "a.bin", pictures, [True, False, True, False]), "face")
    assert {(finding.kind, finding.severity, finding.key, finding.place) for finding in found.findings} == {
        ("truncated", "error", "000003", ""), ("unreadable", "error", "000004", ""),
        ("bad-pair", "warning", "000000", "pair 1"), ("bad-pair", "error", "000006", "pair 4"),
        ("duplicate", "note", "000000", ""), ("duplicate", "note", "000006", ""),
    }  # fmt: skip
    assert "as images of two people, but the two are pixel-identical" in found.of("bad-pair")[0].text + found.of("bad-pair")[1].text


@pytest.mark.parametrize("kind", ["hf", "bin"])
def test_the_command_the_report_and_the_refusal_to_rewrite(hf: Any, kind: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pictures = [encoded(0), encoded(1), encoded(2)[:-40], encoded(3)]
    if kind == "hf":
        table(hf, pictures, [0, 1, 2, 0]).save_to_disk(str(tmp_path / "saved"))
    data = f"hf:{tmp_path / 'saved'}" if kind == "hf" else write_bin(tmp_path / "a.bin", pictures, [True, False])
    assert main(["data", "check", data, "--json", "--quiet", "--report", str(tmp_path / "report.html")]) == 1
    content = json.loads(capsys.readouterr().out)
    assert (content["scheme"], content["task"]) == (kind, "classification" if kind == "hf" else "face")
    assert content["counts"] == {"truncated": 1}
    assert "000002" in (tmp_path / "report.html").read_text()
    assert main(["data", "check", data, "--quiet", "--fix", str(tmp_path / "fixed")]) == 2
    assert "stores several images per file; such files can't be rewritten" in capsys.readouterr().err
    assert not (tmp_path / "fixed").exists()
