"""Lists of names as editors and tools write them, in every reader of lists."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.detection_data import annotation, thing
from tests.pictures import picture, write_picture
from zoo.data.lists import read_lines, unquoted
from zoo.errors import DataError
from zoo.task.contract import get_task

# the text of a file as different editors save it
SAVED: dict[str, Callable[[str], bytes]] = {
    "plain": lambda text: text.encode(),
    "Notepad": lambda text: text.replace("\n", "\r\n").encode("utf-8-sig"),
    "Notepad, Unicode": lambda text: b"\xff\xfe" + text.replace("\n", "\r\n").encode("utf-16-le"),
    "big-endian": lambda text: b"\xfe\xff" + text.encode("utf-16-be"),
    "old Macs": lambda text: text.replace("\n", "\r").encode(),
    "empty lines and spaces": lambda text: ("\n \n" + text.replace("\n", " \t\n\n")).encode(),
    "no line end": lambda text: text.removesuffix("\n").encode(),
}
QUOTED = '"{}"'


def write_voc_list(root: Path, form: str) -> tuple[str, str, Path, str, list[str]]:
    for name in ("leaf 1", "été"):
        write_picture(root / f"JPEGImages/{name}.png", picture((90, 90, 90), size_hw=(30, 40)))
        (root / "Annotations").mkdir(exist_ok=True)
        (root / f"Annotations/{name}.xml").write_text(annotation(f"{name}.png", thing()), encoding="utf-8")
    text = "".join(f"{form.format(name)}\n" for name in ("été", "leaf 1"))
    return "detection", f"voc:{root}?split=train", root / "ImageSets/Main/train.txt", text, ["JPEGImages/été.png", "JPEGImages/leaf 1.png"]


def write_yolo_list(root: Path, form: str) -> tuple[str, str, Path, str, list[str]]:
    for name in ("leaf 1", "été"):
        write_picture(root / f"images/{name}.png", picture((90, 90, 90)))
    (root / "data.yaml").write_text("train: train.txt\nnames: [cat]\n")
    text = "".join(f"{form.format(name)}\n" for name in ("images/été.png", "./images/leaf 1.png"))
    return "detection", f"yolo:{root}", root / "train.txt", text, ["images/été.png", "images/leaf 1.png"]


def write_lfw_pairs(root: Path, form: str) -> tuple[str, str, Path, str, list[str]]:
    for name in ("Ann Lee", "Zoé"):
        for number in (1, 2):
            write_picture(root / name / f"{name}_000{number}.png", picture((90, 90, 90), number))
    people = [form.format(name) for name in ("Ann Lee", "Zoé")]
    text = f"1\n{people[0]} 1 2\n{people[0]} 1 {people[1]} 2\n"
    return "face", f"lfw:{root}", root / "pairs.txt", text, ["Ann Lee/Ann Lee_0001.png", "Ann Lee/Ann Lee_0002.png", "Zoé/Zoé_0002.png"]


def write_class_list(root: Path, form: str) -> tuple[str, str, Path, str, list[str]]:
    names = [form.format(name) for name in ("leaf 1", "été")]  # quotation marks belong to the names of classes
    for name in names:
        write_picture(root / name / "1.png", picture((90, 90, 90)))
    text = "".join(f"{name}\n" for name in sorted(names, reverse=True))
    return "classification", f"folder:{root}", root / "classes.txt", text, [f"{name}/1.png" for name in names]


@pytest.mark.parametrize("form", ["{}", QUOTED])
@pytest.mark.parametrize("saved", SAVED)
@pytest.mark.parametrize("write", [write_voc_list, write_yolo_list, write_lfw_pairs, write_class_list])
def test_lists_of_names(tmp_path: Path, write: Callable[[Path, str], tuple[str, str, Path, str, list[str]]], saved: str, form: str) -> None:
    task, data, file, text, keys = write(tmp_path, form)
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(SAVED[saved](text))
    opened = get_task(task).open(data)
    assert list(opened.keys) == keys
    if task == "classification":
        assert opened.classes == tuple(sorted({key.partition("/")[0] for key in keys}, reverse=True))


@pytest.mark.parametrize("write", [write_voc_list, write_yolo_list, write_lfw_pairs, write_class_list])
def test_lists_in_other_encodings_are_named(tmp_path: Path, write: Callable[[Path, str], tuple[str, str, Path, str, list[str]]]) -> None:
    task, data, file, text, _ = write(tmp_path, "{}")
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(text.encode("latin-1"))
    with pytest.raises(DataError, match=rf"{file.name} is not valid UTF-8 \(.* at byte \d+\); save it as UTF-8"):
        get_task(task).open(data)


def write_yolo_classes(root: Path, form: str) -> tuple[str, str, Path, str, list[str]]:
    write_picture(root / "images/1.png", picture((90, 90, 90)))
    (root / "labels").mkdir()
    (root / "labels/1.txt").write_text("0 0.5 0.5 0.2 0.2\n")
    return "detection", f"yolo:{root}", root / "classes.txt", "cat\n", ["images/1.png"]


def write_voc_classes(root: Path, form: str) -> tuple[str, str, Path, str, list[str]]:
    task, data, _, _, keys = write_voc_list(root, form)
    return task, data.partition("?")[0], root / "classes.txt", "cat\n", sorted(keys)


def write_table_classes(root: Path, form: str) -> tuple[str, str, Path, str, list[str]]:
    write_picture(root / "1.png", picture((90, 90, 90)))
    (root / "t.csv").write_text("path,label\n1.png,cat\n")
    return "classification", f"csv:{root / 't.csv'}", root / "classes.txt", "cat\n", ["1.png"]


WRITERS = [
    write_voc_list, write_yolo_list, write_lfw_pairs, write_class_list, write_yolo_classes, write_voc_classes, write_table_classes
]  # fmt: skip


@pytest.mark.parametrize("write", WRITERS)
def test_links_to_lists_must_stay_in_the_folder(
    tmp_path: Path, write: Callable[[Path, str], tuple[str, str, Path, str, list[str]]]
) -> None:
    task, data, file, text, keys = write(tmp_path / "set", "{}")
    file.parent.mkdir(parents=True, exist_ok=True)
    for target in (tmp_path / "set/.inside/list.txt", tmp_path / "outside.txt"):
        target.parent.mkdir(exist_ok=True)
        target.write_text(text, encoding="utf-8")
        file.unlink(missing_ok=True)
        file.symlink_to(target)
        if target.name == "list.txt":
            assert list(get_task(task).open(data).keys) == keys
    with pytest.raises(DataError, match=rf"{file.name} is outside the dataset folder .*, and annotations must be inside it"):
        get_task(task).open(data)


def test_lines_keep_their_numbers_and_inner_quotes(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_bytes('a\r\n\r\n \'b c\' \n"d" and "e"\n\u2028x\n'.encode())
    assert read_lines(tmp_path / "a.txt") == [(1, "a"), (3, "b c"), (4, '"d" and "e"'), (5, "x")]
    assert read_lines(tmp_path / "a.txt", keep_quotes=True)[1] == (3, "'b c'")
    assert [unquoted(text) for text in ('"', '""', "'a\"", "'a'")] == ['"', '""', "'a\"", "a"]
