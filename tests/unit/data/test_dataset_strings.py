"""Dataset strings with every character in paths, splits and classes, and `Path` objects, in all functions that take data."""

from __future__ import annotations

from pathlib import Path

import pytest

import zoo
from tests.pictures import picture, write_picture
from zoo.cli.flags import BuildFlags
from zoo.curation.check.examination import examine
from zoo.curation.convert import convert
from zoo.curation.split import split
from zoo.data.formats import DataRef, escaped, escaped_value
from zoo.errors import DataError, InputError
from zoo.task.contract import get_task

ODD = ("a?b", "a+b & c#d", "50%", "a%20b", "a?b=c&d", "x=1", "fol:der", "ü–🙂")


def write_folders(root: Path, classes: list[str], per_class: int = 1) -> None:
    for place, name in enumerate(classes):
        for index in range(per_class):
            write_picture(root / name / f"{index}.png", picture((place * 40, 9, 9), index, (8, 8)))


def count(examination: object) -> int:
    return len(examination.opened.items)  # type: ignore[attr-defined]


@pytest.mark.parametrize("name", ODD)
def test_a_folder_of_any_name_opens_as_a_path_and_as_a_string(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    classes = ["C++", "C#", "a, b & c"]
    write_folders(tmp_path / name, classes)
    monkeypatch.chdir(tmp_path)
    for data in (tmp_path / name, Path(name), f"folder:{escaped(name)}", f"folder:{escaped(str(tmp_path / name))}"):
        dataset = zoo.open_data(data, "classification")
        assert dataset.classes == tuple(sorted(classes))
        assert count(examine(data, "classification")) == 3
        assert zoo.open_data(dataset.name, "classification").keys == dataset.keys  # the name is a dataset string that opens it again
    chosen = zoo.open_data(f"folder:{escaped(name)}?classes=C%23,a%2C b %26 c,C++", "classification")
    assert chosen.classes == ("C#", "a, b & c", "C++")


def test_the_doctor_opens_the_splits_of_a_path_with_a_question_mark(tmp_path: Path) -> None:
    for part in ("train", "test"):
        write_folders(tmp_path / "a?b" / part, ["cat"], 2)
    for data in (tmp_path / "a?b", f"folder:{tmp_path}/a%3Fb"):
        assert [item.splits for item in examine(data, "classification").opened.items] == [("test",)] * 2 + [("train",)] * 2


def test_written_datasets_open_under_the_strings_that_are_returned(tmp_path: Path) -> None:
    write_folders(tmp_path / "in?", ["cat", "dog"], 4)
    task = get_task("classification")
    made = split(tmp_path / "in?", f"csv:{tmp_path}/what%3F", task, {"a&b": 0.5, "c+d": 0.5})
    assert (tmp_path / "what?" / "labels.csv").is_file()
    assert next(iter(made.data.values())).endswith("/what%3F/labels.csv?split=a%26b")
    assert [len(zoo.open_data(data, "classification")) for data in made.data.values()] == [4, 4]
    done = convert(tmp_path / "in?", f"csv:{tmp_path}/100%25 sure", task)
    assert len(zoo.open_data(done.data[0], "classification")) == 8


def test_a_question_mark_without_an_option_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert DataRef.parse("folder:what?").path == "what"
    Path("what?").mkdir()
    for text in ("folder:what?", "what?/images"):
        with pytest.raises(InputError, match=r"expected \?option=value.* write a \? that belongs to the path as %3F"):
            DataRef.parse(text)


def test_escapes() -> None:
    assert escaped("a?b%3F%") == "a%3Fb%253F%"
    assert escaped(Path("fol:der")) == "./fol:der"
    assert escaped_value("a&b%26+#") == "a%26b%2526+#"
    ref = DataRef.parse("folder:no/where?split=a%26b&classes=C++,d%2Ce&root=x%3Fy+z")
    assert (ref.split, ref.classes, ref.options) == ("a&b", ("C++", "d,e"), {"root": "x?y+z"})


def test_class_names_from_a_file(tmp_path: Path) -> None:
    file = tmp_path / "names.txt"
    file.write_text("tench, Tinca tinca\r\n\r\nC++\n", encoding="utf-8-sig")
    assert BuildFlags(classes_file=file).class_names == ["tench, Tinca tinca", "C++"]
    assert BuildFlags(classes="a, b").class_names == ["a", "b"]
    assert BuildFlags().class_names is None
    with pytest.raises(InputError, match="--classes and --classes-file can't be combined"):
        _ = BuildFlags(classes="a", classes_file=file).class_names
    with pytest.raises(DataError, match=r"can't read .*none\.txt"):
        _ = BuildFlags(classes_file=tmp_path / "none.txt").class_names
