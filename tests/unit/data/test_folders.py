"""Links, suffixes and system folders in every reader that lists files: what is followed, read, ignored or refused."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest

import zoo
from tests.pictures import picture, write_picture
from zoo.data.dataset import OnError
from zoo.data.folders import Folders, PictureRoot, is_picture
from zoo.errors import DataError, Flaw, InputError

XML = (
    "<annotation><filename>{}</filename><size><width>8</width><height>8</height></size><object><name>cat</name>"
    "<bndbox><xmin>1</xmin><ymin>1</ymin><xmax>4</xmax><ymax>5</ymax></bndbox></object></annotation>"
)


def _folder(root: Path, names: list[str]) -> str:
    write_picture(root / "dog" / "0.png", picture((9, 9, 9), 9, (8, 8)))
    return f"folder:{root}"


def _identities(root: Path, names: list[str]) -> str:
    _folder(root, names)
    return f"identities:{root}"


def _lfw(root: Path, names: list[str]) -> str:
    (root / "pairs.txt").write_text("1\nBo\t1\t2\nAl\t1\tBo\t1\n")
    return f"lfw:{root}"


def _table(root: Path, names: list[str]) -> str:
    (root / "t.csv").write_text("path,label\n" + "".join(f"{name},cat\n" for name in names))
    return f"csv:{root / 't.csv'}"


def _boxes(root: Path, names: list[str]) -> str:
    (root / "t.csv").write_text("path,xmin,ymin,xmax,ymax,label\n" + "".join(f"{name},1,1,4,5,cat\n" for name in names))
    return f"csv:{root / 't.csv'}"


def _yolo(root: Path, names: list[str]) -> str:
    for name in names:
        label = root / "labels" / Path(name).relative_to("images").with_suffix(".txt")
        label.parent.mkdir(parents=True, exist_ok=True)
        label.write_text("0 0.5 0.5 0.25 0.5\n")
    return f"yolo:{root}"


def _voc(root: Path, names: list[str]) -> str:
    (root / "Annotations").mkdir()
    for name in names:
        (root / "Annotations" / f"{Path(name).stem}.xml").write_text(XML.format(Path(name).relative_to("JPEGImages").as_posix()))
    return f"voc:{root}"


def _coco(root: Path, names: list[str]) -> str:
    boxes = [{"id": index, "image_id": index, "category_id": 1, "bbox": [1, 1, 3, 4]} for index in range(len(names))]
    pictures = [{"id": index, "file_name": name, "width": 8, "height": 8} for index, name in enumerate(names)]
    content = {"images": pictures, "annotations": boxes, "categories": [{"id": 1, "name": "cat"}]}
    (root / "instances.json").write_text(json.dumps(content))
    return f"coco:{root}"


# the task, the images of the dataset (the first is a file, the others are in one folder), and the function that writes its annotations
READERS: dict[str, tuple[str, tuple[str, str, str], Callable[[Path, list[str]], str]]] = {
    "folder": ("classification", ("cat/0.png", "cat/more/1.png", "cat/more/2.png"), _folder),
    "csv": ("classification", ("0.png", "more/1.png", "more/2.png"), _table),
    "identities": ("face", ("cat/0.png", "cat/more/1.png", "cat/more/2.png"), _identities),
    "lfw": ("face", ("Al/Al_0001.jpg", "Bo/Bo_0001.jpg", "Bo/Bo_0002.jpg"), _lfw),
    "boxes": ("detection", ("0.png", "more/1.png", "more/2.png"), _boxes),
    "yolo": ("detection", ("images/0.png", "images/more/1.png", "images/more/2.png"), _yolo),
    "voc": ("detection", ("JPEGImages/0.png", "JPEGImages/more/1.png", "JPEGImages/more/2.png"), _voc),
    "coco": ("detection", ("0.png", "more/1.png", "more/2.png"), _coco),
}


@pytest.fixture(params=READERS)
def reader(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def keys(data: str, reader: str, on_error: OnError = "raise") -> list[str]:
    return sorted(key for key in zoo.open_data(data, READERS[reader][0], on_error=on_error).keys if not key.startswith("dog/"))


def write(tmp_path: Path, reader: str, *, linked: bool, target: str = "disk") -> str:
    """Write a dataset whose first image is a link to a file, and whose others are in a linked folder, unless they are real."""
    _, names, annotate = READERS[reader]
    root, disk = tmp_path / "set", tmp_path / target
    for index, name in enumerate(names):
        place = disk / name if linked else root / name
        write_picture(place, picture((index * 40, 0, 0), index, (8, 8)))
    if linked:
        more = Path(names[1]).parent
        for path, folder in ((Path(names[0]), False), (more, True)):
            (root / path).parent.mkdir(parents=True, exist_ok=True)
            (root / path).symlink_to(disk / path, target_is_directory=folder)
    return annotate(root, list(names))


@pytest.mark.parametrize("target", ["disk", "set/pool"])
def test_links_are_followed_within_the_folder_and_out_of_it(tmp_path: Path, reader: str, target: str) -> None:
    linked = write(tmp_path, reader, linked=True, target=target)
    found = [key for key in keys(linked, reader) if not key.startswith("pool/")]
    assert found == list(READERS[reader][1])
    dataset = zoo.open_data(linked, READERS[reader][0])
    assert all(record.load().image.shape == (8, 8, 3) for record in dataset.records)
    if READERS[reader][0] == "detection":
        assert [record.target["labels"].tolist() for record in dataset.records] == [[0]] * 3


def test_links_that_leave_the_folder_are_refused_by_name(tmp_path: Path, reader: str) -> None:
    data = write(tmp_path, reader, linked=True)
    first, second, _ = READERS[reader][1]
    for options in ("?links=refuse", "?links=follow"):
        if options.endswith("follow"):
            assert keys(data + options, reader) == list(READERS[reader][1])
            continue
        with pytest.raises(DataError) as caught:
            zoo.open_data(data + options, READERS[reader][0])
        for name in (Path(first).as_posix(), Path(second).parent.as_posix()):
            assert f"{name!r} is a link that leaves it, and links=refuse" in str(caught.value)
    with pytest.raises(InputError, match="links is 'no'; expected one of own, follow, refuse"):
        zoo.open_data(f"{data}?links=no", READERS[reader][0])


def test_links_of_another_user_are_refused(tmp_path: Path, reader: str, monkeypatch: pytest.MonkeyPatch) -> None:
    data = write(tmp_path, reader, linked=True)
    monkeypatch.setattr(os, "geteuid", lambda: os.stat(tmp_path).st_uid + 1)
    with pytest.raises(DataError, match=r"is a link that leaves it, and it belongs to another user; follow it with \?links=follow"):
        zoo.open_data(data, READERS[reader][0])
    assert keys(f"{data}?links=follow", reader) == list(READERS[reader][1])


def test_a_link_that_leads_nowhere_is_a_fault_that_names_it(tmp_path: Path, reader: str) -> None:
    data = write(tmp_path, reader, linked=False)
    _, gone, kept = READERS[reader][1]
    (tmp_path / "set" / gone).unlink()
    (tmp_path / "set" / gone).symlink_to("/mnt/old/1.png")
    with pytest.raises(DataError, match=r"is a link to /mnt/old/1\.png, which can't be followed") as caught:
        zoo.open_data(data, READERS[reader][0])
    assert Path(gone).name in str(caught.value)
    if reader != "lfw":  # both pairs need the image
        rest = zoo.open_data(data, READERS[reader][0], on_error="skip")
        assert kept in rest.keys
        assert gone not in rest.keys
        assert any(Path(gone).name in str(fault) for fault in rest.skipped)


@pytest.mark.parametrize("reader", ["folder", "identities", "yolo", "voc"])
def test_cycles_of_links_end(tmp_path: Path, reader: str) -> None:
    data, (_, inner, _) = write(tmp_path, reader, linked=False), READERS[reader][1]
    place = (tmp_path / "set" / inner).parent
    (place / "self").symlink_to(place)
    (place / "top").symlink_to(tmp_path / "set")
    (place / "round").symlink_to(place / "trip")
    said: list[str] = []
    dataset = zoo.open_data(data, READERS[reader][0], on_error="skip", say=said.append)
    assert [key for key in dataset.keys if not key.startswith("dog/")] == list(READERS[reader][1])
    folder = place.relative_to(tmp_path / "set").as_posix()
    if reader != "voc":  # its images are named by the annotations
        assert [fault.key for fault in dataset.skipped] == [f"{folder}/round"]
        assert any("links to a folder that contains them, ignored" in line and f"{folder}/top" in line for line in said)


@pytest.mark.parametrize("reader", ["folder", "identities", "yolo"])
@pytest.mark.parametrize("name", ["@eaDir/x.png/SYNOPHOTO_THUMB_M.png", ".ipynb_checkpoints/1.png", "__MACOSX/._1.png", "#recycle/1.png"])
def test_system_folders_are_ignored(tmp_path: Path, reader: str, name: str) -> None:
    data = write(tmp_path, reader, linked=False)
    top = Path(READERS[reader][1][0]).parent
    for place in (top, top / "more", Path()):
        write_picture(tmp_path / "set" / place / name, picture((1, 2, 3), 7, (8, 8)))
    (tmp_path / "set" / top / "Thumbs.db").write_bytes(b"\xd0\xcf\x11\xe0")
    (tmp_path / "set" / top / "._0.png").write_bytes(b"Mac OS X")
    said: list[str] = []
    dataset = zoo.open_data(data, READERS[reader][0], say=said.append)
    assert [key for key in dataset.keys if not key.startswith("dog/")] == list(READERS[reader][1])
    system, said = Path(name).parts[0], [line for line in said if "system folders, ignored" in line]
    assert said == [] if system.startswith(".") else f"{top.as_posix()}/{system}" in said[0]


@pytest.mark.parametrize("reader", ["folder", "identities", "yolo"])
def test_images_of_any_name_are_read_and_others_are_counted(tmp_path: Path, reader: str) -> None:
    data = write(tmp_path, reader, linked=False)
    top = tmp_path / "set" / Path(READERS[reader][1][0]).parent
    write_picture(tmp_path / "x.jpg", picture((50, 60, 70), 3, (8, 8)))
    image = (tmp_path / "x.jpg").read_bytes()
    names = ["a.jfif", "b.JPE", "c", "d.0001", "e.jpg_large", "f.JPG"]
    for name in names:
        (top / name).write_bytes(image)
    for name in ("g.CR2", "h.mp4", "i"):
        (top / name).write_bytes(b"II*\0" if name == "g.CR2" else b"no image")
    (top / "notes.txt").write_text("not said\n")
    said: list[str] = []
    dataset = zoo.open_data(data, READERS[reader][0], say=said.append)
    assert {Path(key).name for key in dataset.keys} >= set(names)
    assert all(record.load().image.shape == (8, 8, 3) for record in dataset.records)
    prefix = f"data {data}: files that aren't images in a supported format, ignored: 3, "
    assert [line for line in said if line.startswith(prefix)] == [
        prefix + ", ".join((top / name).relative_to(tmp_path / "set").as_posix() for name in ("g.CR2", "h.mp4", "i"))
    ]


def test_what_counts_as_an_image(tmp_path: Path) -> None:
    for name, content, expected in (
        ("a.png", b"", True),
        ("b.HEIC", b"", True),
        (".c.png", b"", False),
        ("d.txt", b"\xff\xd8\xff\xe0", False),
        ("e", b"\xff\xd8\xff\xe0", True),
        ("f", b"P7", False),
        ("g", b"", False),
        ("h.scan", b"II*\0", True),
        ("h.NEF", b"II*\0", False),  # a camera's raw file
    ):
        (tmp_path / name).write_bytes(content)
        assert is_picture(tmp_path / name) is expected, name
    assert not is_picture(tmp_path / "missing")
    os.mkfifo(tmp_path / "pipe")  # opening it would block
    assert Folders(tmp_path).pictures(tmp_path) == [tmp_path / "a.png", tmp_path / "b.HEIC", tmp_path / "e", tmp_path / "h.scan"]


def test_a_folder_that_can_not_be_listed_is_a_fault(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "closed").mkdir()
    scandir = os.scandir

    def refuse(path: str | int) -> object:
        if str(path).endswith("closed"):
            raise PermissionError(13, "Permission denied")
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refuse)
    folders = Folders(tmp_path)
    assert folders.pictures(tmp_path) == []
    assert [str(fault) for fault in folders.faults] == ["closed: the folder can't be read: Permission denied"]


def test_an_annotation_is_not_read_through_a_link_to_a_file(tmp_path: Path) -> None:
    (tmp_path / "secret.txt").write_text("0 .5 .5 .1 .1")
    (tmp_path / "set").mkdir()
    (tmp_path / "set" / "a.txt").symlink_to(tmp_path / "secret.txt")
    (tmp_path / "set" / "out").symlink_to(tmp_path)
    root = PictureRoot(tmp_path / "set")
    assert root.find("a.txt") == ("a.txt", tmp_path / "set" / "a.txt")
    with pytest.raises(Flaw, match=r"'a\.txt' is a link that leaves it, and annotations must be inside it"):
        root.find("a.txt", annotation=True)
    assert root.find("out/secret.txt", annotation=True)[0] == "out/secret.txt"  # the user linked the folder
    for text in ("../secret.txt", "out/../secret.txt", str(tmp_path / "secret.txt"), "out/set/../../secret.txt"):
        with pytest.raises(Flaw, match="is outside the dataset folder"):
            root.find(text)
