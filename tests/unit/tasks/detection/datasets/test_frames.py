"""Frames of boxes: annotated sizes and EXIF orientations, in every format and command."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.detection_data import instances, opened, write_coco
from tests.photos import FORMATS, STORED_HW, place, write_dataset, write_photo
from zoo.cli.main import main
from zoo.data.dataset import Dataset
from zoo.data.formats import DataRef
from zoo.errors import DataError, ImageError, InputError
from zoo.task.contract import get_task
from zoo.tasks.detection.data import frames
from zoo.tasks.detection.data.frames import Annotated, find_frames
from zoo.tasks.detection.data.outlines import Outlines

SIZED = ("coco", "voc", "csv")
RIGHT = (50, 4, 60, 20)  # xyxy; it fits only the stored frame of 64×48
LOW = (4, 50, 20, 60)  # it fits only the upright frame of 48×64
SMALL = (4, 10, 20, 30)  # it fits both


def check_bright(data: Dataset) -> None:
    """Check that the box of the only sample encloses exactly the bright pixels of its upright image."""
    sample = data[0]
    (box,) = sample.target["boxes"].round(3).astype(int).tolist()
    left, top, right, bottom = box
    inside = np.zeros(sample.image.shape[:2], bool)
    inside[top:bottom, left:right] = True
    assert (sample.image[..., 0] > 100).tolist() == inside.tolist()


@pytest.mark.parametrize("scheme", FORMATS)
@pytest.mark.parametrize("orientation", range(1, 9))
def test_stored_boxes_are_turned_upright(tmp_path: Path, scheme: str, orientation: int) -> None:
    write_photo(place(tmp_path, scheme), RIGHT, orientation)
    data = opened(f"{write_dataset(tmp_path, scheme, RIGHT)}?frame=stored")
    check_bright(data)
    assert data.records[0].size_hw == (STORED_HW if orientation < 5 else STORED_HW[::-1])
    note = data.notes[-1]
    assert ("frame=stored converts nothing" if orientation == 1 else "their boxes were converted from the stored to the upright") in note


@pytest.mark.parametrize("orientation", range(2, 9))
@pytest.mark.parametrize("boxed", [True, False])
def test_outlines_are_turned_upright(tmp_path: Path, orientation: int, boxed: bool) -> None:
    write_photo(place(tmp_path, "coco"), RIGHT, orientation)
    text = write_dataset(tmp_path, "coco", RIGHT)
    content = json.loads((tmp_path / "instances.json").read_text())
    left, top, right, bottom = RIGHT
    content["annotations"][0]["segmentation"] = [[left, top, right, top, right, bottom, left, bottom]]
    if not boxed:
        del content["annotations"][0]["bbox"]
    (tmp_path / "instances.json").write_text(json.dumps(content))
    data = opened(f"{text}?frame=stored")
    check_bright(data)
    sample = data[0]
    (mask,) = Outlines.of(data).masks(sample.target, (sample.image.shape[0], sample.image.shape[1]))
    assert np.array_equal(mask, sample.image[..., 0] > 100)
    x, y, width, height, area = sample.target["annotated"][0].tolist()
    assert [x, y, x + width, y + height] == sample.target["boxes"][0].tolist()
    assert area == 160


@pytest.mark.parametrize("scheme", SIZED)
def test_boxes_that_fit_only_the_stored_frame_are_refused(tmp_path: Path, scheme: str) -> None:
    text = write_dataset(tmp_path, scheme, RIGHT)
    with pytest.raises(
        DataError, match=r"stored picture of 64×48 .* upright .*\(EXIF orientation 6\) has 48×64.* only the stored .*\?frame=stored"
    ):
        opened(text)


@pytest.mark.parametrize("scheme", SIZED)
def test_boxes_that_fit_both_frames_need_a_word(tmp_path: Path, scheme: str) -> None:
    text = write_dataset(tmp_path, scheme, SMALL)
    with pytest.raises(DataError, match=r"64×48 .* 48×64\. Its boxes fit both.*\?frame=stored or \?frame=upright"):
        opened(text)
    assert opened(f"{text}?frame=upright").records[0].target["boxes"].tolist() == [list(SMALL)]
    assert opened(f"{text}?frame=stored").records[0].target["boxes"].tolist() == [[18, 4, 38, 20]]


@pytest.mark.parametrize("scheme", SIZED)
def test_upright_boxes_with_the_stored_size_are_read(tmp_path: Path, scheme: str) -> None:
    """Label Studio writes the size of the stored picture, and boxes that were drawn on the upright one."""
    data = opened(write_dataset(tmp_path, scheme, LOW))
    assert data.records[0].target["boxes"].tolist() == [list(LOW)]
    assert data.records[0].size_hw == (64, 48)
    note = data.notes[-1]
    assert "annotated with the size of the stored picture (64×48, upright 48×64), but in the upright frame" in note


@pytest.mark.parametrize("scheme", SIZED)
def test_an_upright_size_shows_the_frame(tmp_path: Path, scheme: str) -> None:
    text = write_dataset(tmp_path, scheme, SMALL, STORED_HW[::-1])
    for query, note in (("", "annotated in the upright frame"), ("?frame=stored", "their boxes weren't converted")):
        data = opened(f"{text}{query}")
        assert data.records[0].target["boxes"].tolist() == [list(SMALL)]
        assert note in data.notes[-1]


@pytest.mark.parametrize("scheme", FORMATS)
def test_without_a_size_boxes_are_upright(tmp_path: Path, scheme: str) -> None:
    data = opened(write_dataset(tmp_path, scheme, LOW, None, STORED_HW[::-1]))
    assert data.records[0].target["boxes"].round(3).tolist() == [list(LOW)]
    note = data.notes[-1]
    assert "boxes are read in the upright frame; if they were drawn on the stored picture, add ?frame=stored" in note


@pytest.mark.parametrize("scheme", SIZED)
def test_without_a_size_boxes_may_show_the_stored_frame(tmp_path: Path, scheme: str) -> None:
    with pytest.raises(DataError, match=r"Its boxes fit only the stored one: convert them with \?frame=stored"):
        opened(write_dataset(tmp_path, scheme, RIGHT, None))


@pytest.mark.parametrize("scheme", SIZED)
@pytest.mark.parametrize(("stated_hw", "change"), [((96, 128), "resized or replaced"), ((64, 48), "rotated")])
def test_another_size_is_a_fault(tmp_path: Path, scheme: str, stated_hw: tuple[int, int], change: str) -> None:
    write_photo(place(tmp_path, scheme), SMALL, 1)
    text = write_dataset(tmp_path, scheme, SMALL, stated_hw)
    with pytest.raises(
        DataError, match=rf"for an image of {stated_hw[1]}×{stated_hw[0]} pixels, but the file has 64×48. Was it {change}"
    ) as caught:
        opened(text)
    assert [(fault.kind, fault.whole) for fault in caught.value.faults] == [("wrong-size", True)]
    with pytest.raises(DataError, match="has no samples"):
        opened(text, "skip")


@pytest.mark.parametrize("scheme", SIZED)
@pytest.mark.parametrize("form", ["{}", "{}.0"])
def test_sizes_as_text_and_with_decimals_are_compared(tmp_path: Path, scheme: str, form: str) -> None:
    write_photo(place(tmp_path, scheme), SMALL, 1)
    stated = {name: tuple(map(form.format, size_hw)) for name, size_hw in (("right", STORED_HW), ("wrong", (96, 128)))}
    assert opened(write_dataset(tmp_path, scheme, SMALL, stated["right"])).records[0].size_hw == STORED_HW
    with pytest.raises(DataError, match="for an image of 128×96 pixels, but the file has 64×48"):
        opened(write_dataset(tmp_path, scheme, SMALL, stated["wrong"]))


@pytest.mark.parametrize("stated", [(None, 64), ("", ""), (0, 0), ("nan", "64"), ("1e400", "64"), (10**400, 64), ([], {})])
def test_what_isnt_a_size(stated: tuple[Any, Any]) -> None:
    assert frames.stated_size(*stated) is None


@pytest.mark.parametrize("scheme", FORMATS)
def test_an_unknown_frame(tmp_path: Path, scheme: str) -> None:
    with pytest.raises(InputError, match="frame is 'upside'; expected stored or upright"):
        opened(f"{write_dataset(tmp_path, scheme, SMALL)}?frame=upside")


def test_columns_of_boxes_are_no_sizes_of_images(tmp_path: Path) -> None:
    write_photo(tmp_path / "0.png", SMALL, 1)
    write_dataset(tmp_path, "csv", SMALL, (SMALL[3] - SMALL[1], SMALL[2] - SMALL[0]))
    assert opened(f"csv:{tmp_path / 'boxes.csv'}").records[0].size_hw == STORED_HW


def test_a_changed_file_is_found_when_it_is_decoded(tmp_path: Path) -> None:
    """Of large datasets not every header is read; and a file may change after opening."""
    write_photo(place(tmp_path, "coco"), SMALL, 1)
    data = opened(write_dataset(tmp_path, "coco", SMALL))
    write_photo(place(tmp_path, "coco"), SMALL, 1, (96, 128))
    with pytest.raises(ImageError, match=r"0\.png: its annotation is for an image of 64×48 pixels, but the file has 128×96") as caught:
        data[0]
    assert caught.value.kind == "wrong-size"


def test_headers_of_a_part_of_a_large_dataset(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """All are read if the part, here images 0, 3 and 6, contains another size or an EXIF orientation."""
    monkeypatch.setattr(frames, "_LOOKED", 3)
    images = [Annotated(f"{number}.png", tmp_path / f"{number}.png", STORED_HW) for number in range(9)]
    for image in images:
        write_photo(image.path, SMALL, 1)
    write_photo(images[5].path, SMALL, 1, (96, 128))
    assert not find_frames(DataRef.parse("x"), images).flaws
    write_photo(images[3].path, LOW)
    assert list(find_frames(DataRef.parse("x"), images).flaws) == ["5.png"]
    write_photo(images[3].path, SMALL, 1, (96, 128))
    assert list(find_frames(DataRef.parse("x"), images).flaws) == ["3.png", "5.png"]


def test_a_size_that_was_not_compared_isnt_converted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    content = instances()
    content["images"][1]["height"] = 31
    write_coco(tmp_path / "a", content)
    monkeypatch.setattr(frames, "_LOOKED", 1)
    assert main(["data", "convert", f"coco:{tmp_path / 'a'}", f"voc:{tmp_path / 'b'}"]) == 2
    assert "b.png: its annotation is for an image of 40×31 pixels, but the file has 40×30" in capsys.readouterr().err
    assert not (tmp_path / "b").exists()


def test_images_that_are_not_there_cant_be_turned(tmp_path: Path) -> None:

    text = write_dataset(tmp_path, "coco", RIGHT)
    place(tmp_path, "coco").unlink()
    with pytest.raises(DataError, match="frame=stored needs the EXIF orientation, but the image can't be read"):
        get_task("detection").open(f"{text}?frame=stored", pictures=False)
    assert get_task("detection").open(text, pictures=False).records[0].target["boxes"].tolist() == [list(RIGHT)]


@pytest.mark.parametrize("scheme", SIZED)
def test_the_check_lists_another_size(tmp_path: Path, scheme: str, capsys: pytest.CaptureFixture[str]) -> None:
    write_photo(place(tmp_path, scheme), SMALL, 1)
    status = main(["data", "check", write_dataset(tmp_path, scheme, SMALL, (96, 128)), "--task", "detection"])
    out = capsys.readouterr().out
    assert status == 1
    assert "error: wrong-size – annotations for another image size (1)" in out
    assert "128×96 pixels, but the file has 64×48" in out


def test_the_check_lists_what_was_assumed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main(["data", "check", write_dataset(tmp_path, "coco", LOW)])
    assert "note: assumed" in capsys.readouterr().out


@pytest.mark.parametrize("scheme", FORMATS)
def test_a_converted_copy_is_upright(tmp_path: Path, scheme: str, capsys: pytest.CaptureFixture[str]) -> None:
    write_photo(place(tmp_path / "a", scheme), RIGHT, 8)
    text = write_dataset(tmp_path / "a", scheme, RIGHT)
    assert main(["data", "convert", f"{text}?frame=stored", f"coco:{tmp_path / 'b'}", "--task", "detection"]) == 0
    assert "their boxes were converted" in capsys.readouterr().err
    check_bright(opened(f"coco:{tmp_path / 'b'}"))
    assert main(["data", "check", f"{text}?frame=stored", "--task", "detection", "--fix", str(tmp_path / "c")]) == 2
    assert "convert the dataset with frame=stored first" in capsys.readouterr().err
