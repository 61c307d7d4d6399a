"""Opening large COCO files: what the benchmark measures, and that the optimised reader returns the same annotations."""

from __future__ import annotations

import gc
import json
import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from zoo.benchmarks import coco_opening
from zoo.benchmarks.coco_opening import Opening, main, measure, write_annotations
from zoo.data.coco.parsing import annotation_of, read_lists
from zoo.data.dataset import Dataset
from zoo.errors import DataError
from zoo.task.contract import get_task


def opened(folder: Path) -> Dataset:
    return get_task("detection").open(f"coco:{folder}")


def change(folder: Path, **values: Any) -> None:
    """Change values of the first annotation."""
    file = folder / "instances.json"
    content = json.loads(file.read_text())
    content["annotations"][0] |= values
    file.write_text(json.dumps(content))


def test_what_was_written_is_what_is_opened(tmp_path: Path) -> None:
    write_annotations(tmp_path, pictures=3, boxes=7)
    content = json.loads((tmp_path / "instances.json").read_text())
    dataset = opened(tmp_path)
    assert [len(record.target["boxes"]) for record in dataset.records] == [3, 2, 2]
    for index, annotation in enumerate(content["annotations"]):
        target, row = dataset.records[index % 3].target, index // 3
        x, y, width, height = annotation["bbox"]
        np.testing.assert_allclose(target["boxes"][row], [x, y, x + width, y + height], rtol=1e-6)
        assert target["labels"][row] == annotation["category_id"] - 1
        assert target["area"][row] == pytest.approx(annotation["area"])
        assert target["ids"][row] == index + 1


def test_outlines_are_not_kept(tmp_path: Path) -> None:
    write_annotations(tmp_path, pictures=1, boxes=1)
    before = opened(tmp_path).records[0].target
    change(tmp_path, segmentation={"counts": "abc", "size": [480, 640]})
    after = opened(tmp_path).records[0].target
    assert before.keys() == after.keys()
    np.testing.assert_array_equal(before["boxes"], after["boxes"])


def test_opening_takes_little_more_memory_than_the_file(tmp_path: Path) -> None:
    write_annotations(tmp_path, pictures=200, boxes=20_000)
    size = (tmp_path / "instances.json").stat().st_size
    opened(tmp_path)
    tracemalloc.start()
    try:
        opened(tmp_path)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 3 * size  # a list of dictionaries would take six times the size


_ORDINARY: dict[str, Any] = {"id": 5, "image_id": 1, "category_id": 2, "bbox": [1, 2.5, 3, 4], "area": 12, "iscrowd": 0}


@pytest.mark.parametrize("changed", [
    {"id": -(2**63)}, {"id": 2**63 - 1}, {"bbox": [0, -0.0, 1e-300, 999999999999.5]}, {"area": 0}, {"iscrowd": 1}, {"iscrowd": True},
    {"score": 0.5, "attributes": {"bbox": [1, 2, 3, 4]}},
])  # fmt: skip
def test_a_row_holds_what_the_file_says(tmp_path: Path, changed: dict[str, Any]) -> None:
    entry = _ORDINARY | changed
    found = annotation_of(parsed(tmp_path, entry))
    assert found == {name: entry[name] for name in (*_ORDINARY, *(["attributes"] if "attributes" in changed else []))}
    assert [np.copysign(1, side) for side in found["bbox"]] == [np.copysign(1, side) for side in entry["bbox"]]


def test_what_is_left_out_is_what_coco_takes_it_for(tmp_path: Path) -> None:
    row = parsed(tmp_path, {name: value for name, value in _ORDINARY.items() if name not in ("area", "iscrowd")})
    assert isinstance(row, bytes)
    assert annotation_of(row) == _ORDINARY


@pytest.mark.parametrize("changed", [
    {"id": 2**63}, {"id": "5"}, {"id": True}, {"id": None}, {"image_id": "1"}, {"category_id": 2**70}, {"bbox": [1, 2, 3]},
    {"bbox": [1, 2, 3, True]}, {"bbox": [1, 2, 3, 1e12]}, {"bbox": {}}, {"area": -1}, {"area": None}, {"area": float("nan")},
    {"iscrowd": 2}, {"iscrowd": []}, {"name": "x"}, {"file_name": "x"},
])  # fmt: skip
def test_what_is_odd_stays_as_it_was(tmp_path: Path, changed: dict[str, Any]) -> None:
    entry = _ORDINARY | changed
    found = parsed(tmp_path, entry)
    assert repr(found) == repr(entry)
    assert annotation_of(found) is found


def parsed(folder: Path, annotation: dict[str, Any]) -> Any:
    """Return an annotation in the form in which the reader keeps it."""
    file = folder / "instances.json"
    file.write_text(json.dumps({"images": [], "annotations": [annotation], "categories": []}))
    (found,) = read_lists("coco:x", file)["annotations"]
    return found


@pytest.mark.parametrize("enabled", [True, False])
def test_the_collector_is_left_as_it_was(tmp_path: Path, enabled: bool) -> None:
    write_annotations(tmp_path, pictures=1, boxes=1)
    before = gc.isenabled()
    try:
        (gc.enable if enabled else gc.disable)()
        opened(tmp_path)
        assert gc.isenabled() is enabled
        change(tmp_path, bbox=[1, 2, 3])
        with pytest.raises(DataError, match=r"annotation id 1: bbox is \[1, 2, 3\]; expected four finite numbers"):
            opened(tmp_path)
        (tmp_path / "instances.json").write_text("[")
        with pytest.raises(DataError, match="can't be read as JSON"):
            opened(tmp_path)
        assert gc.isenabled() is enabled
    finally:
        (gc.enable if before else gc.disable)()


@pytest.mark.parametrize("side", [True, "7", None, float("nan"), float("inf"), 10**400, -1e13])
@pytest.mark.parametrize("place", range(4))
def test_a_side_that_is_no_number_is_a_fault(tmp_path: Path, place: int, side: object) -> None:
    write_annotations(tmp_path, pictures=1, boxes=1)
    box: list[object] = [1, 2, 3, 4]
    box[place] = side
    change(tmp_path, bbox=box)
    with pytest.raises(DataError, match=r"annotation id 1: bbox is .*; expected four finite numbers"):
        opened(tmp_path)


def test_boxes_at_the_edge_are_kept_and_cut_within_a_pixel(tmp_path: Path) -> None:
    write_annotations(tmp_path, pictures=1, boxes=1)
    for box, expected in (([0, 0, 640, 480], [0, 0, 640, 480]), ([-0.5, 10, 640.5, 470.5], [0, 10, 640, 480])):
        change(tmp_path, bbox=box)
        assert opened(tmp_path).records[0].target["boxes"].tolist() == [expected]
    change(tmp_path, bbox=[-1.5, 0, 10, 10])
    with pytest.raises(DataError, match="lies outside the image of 640×480"):
        opened(tmp_path)


def test_a_byte_order_mark_is_read_over(tmp_path: Path) -> None:
    write_annotations(tmp_path, pictures=1, boxes=1)
    file = tmp_path / "instances.json"
    file.write_bytes(b"\xef\xbb\xbf" + file.read_bytes())
    assert len(opened(tmp_path)) == 1


def test_a_new_process_is_measured(tmp_path: Path) -> None:
    write_annotations(tmp_path, pictures=2, boxes=5)
    opening = measure(tmp_path, 1)
    assert (opening.pictures, opening.boxes) == (2, 5)
    assert 0 < opening.seconds < 30
    assert 0 <= opening.added_mib < opening.peak_mib


@pytest.mark.parametrize(("seconds", "mib", "status"), [(4.9, 1023.0, 0), (5.0, 10.0, 1), (1.0, 1024.0, 1)])
def test_the_command_says_whether_it_is_met(
    seconds: float, mib: float, status: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(coco_opening, "write_annotations", lambda folder, pictures, boxes: None)
    monkeypatch.setattr(coco_opening, "measure", lambda folder, rounds: Opening(5000, 500_000, seconds, mib / 2, mib))
    assert main([]) == status
    assert (": not met" in capsys.readouterr().out) is bool(status)
    assert main(["--json"]) == status
    assert json.loads(capsys.readouterr().out)["met"] is not bool(status)
