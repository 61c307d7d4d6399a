"""Image formats, bands and further frames through the readers of all tasks, the check and conversion."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, features

from tests.unit.images.test_bands import tiff
from tests.unit.images.test_pillow import encoded
from zoo.curation.check.examination import examine
from zoo.curation.check.findings import Finding
from zoo.curation.convert import convert
from zoo.data.dataset import Dataset
from zoo.data.fingerprint import data_fingerprint
from zoo.data.formats import DataRef
from zoo.errors import ImageError, InputError
from zoo.task.contract import get_task

COLOUR = (200, 60, 30)
KINDS = {
    "a.jfif": "JPEG", "a.JPE": "JPEG", "a.gif": "GIF", "a.avif": "AVIF", "a.HEIC": "HEIC", "a.jp2": "JPEG2000", "a.TIF": "TIFF",
    "a.webp": "WEBP", "a.jpg": "PNG",
}  # fmt: skip
FIELD = tiff(np.full((48, 64, 5), (*COLOUR, 20, 10), np.uint8), (0, 0))


def content(kind: str) -> bytes:
    return FIELD if kind == "FIELD" else encoded(Image.new("RGB", (64, 48), COLOUR), kind)


def write(file: Path, data: bytes) -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(data)
    return file


def _folder(root: Path, name: str, data: bytes) -> str:
    write(root / "cat" / name, data)
    return f"folder:{root}"


def _csv(root: Path, name: str, data: bytes) -> str:
    write(root / name, data)
    write(root / "table.csv", f"path,label\n{name},cat\n".encode())
    return f"csv:{root / 'table.csv'}"


def _coco(root: Path, name: str, data: bytes) -> str:
    write(root / name, data)
    boxes = [{"id": 1, "image_id": 1, "category_id": 1, "bbox": [1, 2, 30, 40]}]
    images = [{"id": 1, "file_name": name, "width": 64, "height": 48}]
    write(root / "instances.json", json.dumps({"images": images, "categories": [{"id": 1, "name": "cat"}], "annotations": boxes}).encode())
    return f"coco:{root}"


def _voc(root: Path, name: str, data: bytes) -> str:
    write(root / "JPEGImages" / name, data)
    box = "<bndbox><xmin>1</xmin><ymin>2</ymin><xmax>31</xmax><ymax>42</ymax></bndbox>"
    text = f"<annotation><filename>{name}</filename><object><name>cat</name>{box}</object></annotation>"
    write(root / "Annotations" / "a.xml", text.encode())
    return f"voc:{root}"


def _yolo(root: Path, name: str, data: bytes) -> str:
    write(root / "images" / name, data)
    write(root / "labels" / "a.txt", b"0 0.5 0.5 0.5 0.5\n")
    write(root / "classes.txt", b"cat\n")
    return f"yolo:{root}"


def _boxes(root: Path, name: str, data: bytes) -> str:
    write(root / name, data)
    write(root / "boxes.csv", f"path,xmin,ymin,xmax,ymax,label\n{name},1,2,31,42,cat\n".encode())
    return f"csv:{root / 'boxes.csv'}"


def _identities(root: Path, name: str, data: bytes) -> str:
    write(root / "cat" / name, data)
    return f"identities:{root}"


READERS: dict[str, tuple[str, Callable[[Path, str, bytes], str]]] = {
    "folder": ("classification", _folder),
    "csv": ("classification", _csv),
    "coco": ("detection", _coco),
    "voc": ("detection", _voc),
    "yolo": ("detection", _yolo),
    "boxes": ("detection", _boxes),
    "identities": ("face", _identities),
}
EACH = pytest.mark.parametrize("reader", READERS)


def found(data: str, task: str) -> tuple[Finding, ...]:
    return examine(data, task).findings.findings


def opened(reader: str, data: str, said: list[str] | None = None) -> Dataset:
    dataset: Dataset = get_task(READERS[reader][0]).open(data, say=None if said is None else said.append)
    return dataset


@EACH
@pytest.mark.parametrize("name", KINDS)
def test_every_reader_reads_every_format(reader: str, name: str, tmp_path: Path) -> None:
    if KINDS[name] == "AVIF" and not features.check("avif"):
        pytest.skip("this build of Pillow has no AVIF")
    dataset = opened(reader, READERS[reader][1](tmp_path, name, content(KINDS[name])))
    assert [Path(key).name for key in dataset.keys] == [name]
    assert dataset[0].image.shape == (48, 64, 3)
    np.testing.assert_allclose(dataset[0].image[20, 30], COLOUR, atol=3)


@EACH
def test_bands_are_chosen_in_the_dataset_string(reader: str, tmp_path: Path) -> None:
    task, make = READERS[reader]
    data = make(tmp_path, "a.tif", FIELD)
    plain, chosen = opened(reader, data), opened(reader, f"{data}?bands=3,0,1")
    with pytest.raises(ImageError, match=r"a\.tif: is a TIFF with 5 bands .* \?bands=0,1,2"):
        plain[0]
    assert chosen[0].image[20, 30].tolist() == [20, 200, 60]
    assert opened(reader, f"{data}?bands=4")[0].image[20, 30].tolist() == [10, 10, 10]
    assert data_fingerprint(chosen) != data_fingerprint(plain)
    assert ("unreadable", "bands") in {(it.kind, it.text.split()[5]) for it in found(data, task)}
    assert not [it for it in found(f"{data}?bands=3,0,1", task) if it.kind in ("unreadable", "assumed")]


def test_bands_of_images_in_tables_and_in_memory(tmp_path: Path) -> None:
    hf = pytest.importorskip("datasets")
    columns = {"image": [{"bytes": FIELD, "path": None}], "label": [0]}
    table = hf.Dataset.from_dict(columns, features=hf.Features({"image": hf.Image(), "label": hf.ClassLabel(names=["cat"])}))
    table.save_to_disk(str(tmp_path / "table"))
    assert opened("folder", f"hf:{tmp_path / 'table'}?bands=3,0,1")[0].image[20, 30].tolist() == [20, 200, 60]
    digits, turned = (opened("folder", f"demo:digits?limit=1{more}")[0].image for more in ("", "&bands=2,1,0"))
    assert np.array_equal(turned, digits[..., ::-1])
    with pytest.raises(ImageError, match="has the bands 0 to 2, but band 3 was chosen"):
        opened("folder", "demo:digits?limit=1&bands=3")[0]


@pytest.mark.parametrize("bands", ["", "0,1", "r,g,b"])
def test_bands_that_are_no_choice(bands: str) -> None:
    with pytest.raises(InputError, match="expected one or three numbers from 0"):
        DataRef.parse(f"folder:x?bands={bands}")
    assert DataRef.parse("folder:x?bands=0,1,2").bands == (0, 1, 2)


@EACH
def test_what_is_read_of_several_frames_and_bands_is_reported(reader: str, tmp_path: Path) -> None:
    task, make = READERS[reader]
    frames = [Image.new("RGB", (64, 48), colour) for colour in (COLOUR, (0, 0, 250))]
    buffer = io.BytesIO()
    frames[0].save(buffer, "GIF", save_all=True, append_images=frames[1:])
    data = make(tmp_path / "gif", "a.gif", buffer.getvalue())
    said: list[str] = []
    dataset = opened(reader, data, said)
    frames_read = f"several frames or pages, of which the first is read: 1 image, such as {dataset.keys[0]}"
    assert f"data {data}: {frames_read}" in said
    assert frames_read in dataset.notes
    assert dataset[0].image[20, 30].tolist() == list(COLOUR)
    texts = [it.text for it in found(data, task) if it.kind == "assumed"]
    assert "has several frames or pages, of which the first is read" in texts

    four = tiff(np.full((48, 64, 4), (*COLOUR, 20), np.uint8), (0,))
    data = make(tmp_path / "tif", "a.tif", four)
    bands_read = "4 bands, of which 0, 1 and 2 are read as red, green and blue (?bands= chooses others)"
    dataset = opened(reader, data)
    assert [note for note in dataset.notes if "bands" in note] == [f"{bands_read}: 1 image, such as {dataset.keys[0]}"]
    assert dataset[0].image[20, 30].tolist() == list(COLOUR)
    assert f"has {bands_read}" in [it.text for it in found(data, task) if it.kind == "assumed"]
    assert not [note for note in opened(reader, f"{data}?bands=3,0,1").notes if "bands" in note]


def test_a_still_gif_is_not_reported(tmp_path: Path) -> None:
    dataset = opened("folder", _folder(tmp_path, "a.gif", content("GIF")))
    assert dataset.notes == ()


def test_a_missing_end_marker_is_a_note_of_the_check(tmp_path: Path) -> None:
    data = _folder(tmp_path, "a.jpg", content("JPEG")[:-2])
    notes = [(it.kind, it.key) for it in found(data, "classification") if "end marker" in it.text]
    assert notes == [("assumed", "cat/a.jpg")]


def test_converted_images_need_their_bands_again(tmp_path: Path) -> None:
    data = _coco(tmp_path / "coco", "a.tif", FIELD)
    done = convert(f"{data}?bands=3,0,1", f"voc:{tmp_path / 'voc'}", get_task("detection"), lossy=True)
    assert done.data == (f"voc:{tmp_path / 'voc'}?bands=3,0,1",)
    assert opened("voc", done.data[0])[0].image[20, 30].tolist() == [20, 200, 60]
    with pytest.raises(InputError, match="options after \\? are only allowed in the source"):
        convert(data, f"voc:{tmp_path / 'other'}?bands=0,1,2", get_task("detection"))


@pytest.mark.parametrize(
    ("kind", "suffix"), [("GIF", ".gif"), ("HEIC", ".heic"), ("JPEG2000", ".jp2"), ("WEBP", ".webp"), ("JPEG", ".jpg")]
)
def test_images_in_tables_become_files_of_their_format(kind: str, suffix: str, tmp_path: Path) -> None:
    hf = pytest.importorskip("datasets")
    columns = {"image": [{"bytes": content(kind), "path": None}], "label": [0]}
    table = hf.Dataset.from_dict(columns, features=hf.Features({"image": hf.Image(), "label": hf.ClassLabel(names=["cat"])}))
    table.save_to_disk(str(tmp_path / "table"))
    convert(f"hf:{tmp_path / 'table'}", f"folder:{tmp_path / 'out'}", get_task("classification"))
    assert [path.read_bytes() for path in (tmp_path / "out").rglob(f"*{suffix}")] == [content(kind)]
