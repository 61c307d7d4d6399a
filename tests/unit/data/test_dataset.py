"""Dataset strings, recognition, sequences of samples, classes=, limit= and faults."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.pictures import COLOURS, cut_short, picture, write_class_folders, write_picture
from zoo.data.dataset import Dataset, OnError, Record, Sample
from zoo.data.folders import picture_files
from zoo.data.formats import DataRef, Scheme, finish, open_data
from zoo.errors import DataError, Fault, ImageError, InputError, UnknownNameError
from zoo.registry import Registry
from zoo.tasks.classification.datasets import SCHEMES


def opened(data: object, on_error: OnError = "raise", say: Any = None) -> Dataset:
    return open_data(data, SCHEMES, "classification", on_error, say)


def scheme(name: str, reason: str | None) -> Scheme:
    return Scheme(name, lambda ref, on_error: finish(ref, [], [], [], on_error), lambda path: reason)


def registry(*schemes: Scheme) -> Registry[Scheme]:
    made: Registry[Scheme] = Registry("data format")
    for one in schemes:
        made.add(one.name, one)
    return made


# -- dataset strings ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "scheme", "path"),
    [
        ("folder:a/b", "folder", "a/b"),
        ("a/b", "", "a/b"),
        ("/abs/x:y", "", "/abs/x:y"),
        ("./x:y", "", "./x:y"),
        ("C:\\pictures", "", "C:\\pictures"),
        ("folder:C:\\pictures", "folder", "C:\\pictures"),
        ("demo:digits", "demo", "digits"),
    ],
)
def test_scheme_and_path(text: str, scheme: str, path: str) -> None:
    ref = DataRef.parse(text)
    assert (ref.scheme, ref.path) == (scheme, path)


def test_options_of_a_dataset_string() -> None:
    ref = DataRef.parse("folder:a?split=test&classes=cat, dog,&limit=7&grey=1&name=a%26b")
    assert ref.split == "test"
    assert ref.classes == ("cat", "dog", "")
    assert ref.limit == 7
    assert ref.options == {"grey": "1", "name": "a&b"}
    assert DataRef.parse("folder:a") == DataRef("folder:a", "folder", "a")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("folder:a?split", r"expected \?option=value\[&option=value…\] after the path, got 'split'"),
        ("folder:a?split=x&", "expected .option=value"),
        ("folder:a?split=x&split=y", "the option 'split' is given twice"),
        ("folder:a?limit=0", "limit is '0'; expected an integer above 0"),
        ("folder:a?limit=-3", "limit is '-3'"),
        ("folder:a?limit=²", "limit is '²'"),
        ("folder:a?limit=", "limit is ''"),
        ("folder:a?exact=", "exact is ''; expected true"),
        ("folder:a?exact=True", "exact is 'True'; expected true"),
    ],
)
def test_dataset_strings_that_are_wrong(text: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        DataRef.parse(text)


def test_a_folder_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"data 'folder:no/where': the folder no/where does not exist\. Check the path; it is"):
        opened("folder:no/where")
    with pytest.raises(DataError, match="data 'folder:' names no folder; expected scheme:path"):
        opened("folder:")
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match="file is a file; expected a folder"):
        opened(f"folder:{tmp_path / 'file'}")


# -- schemes -----------------------------------------------------------------------------------------------------------


def test_an_unknown_scheme_names_the_nearest() -> None:
    with pytest.raises(UnknownNameError, match=r"unknown data format of classification 'foldr'\. Nearest: folder"):
        opened("foldr:x")


def test_an_unknown_option_names_the_nearest(tmp_path: Path) -> None:
    message = r"unknown option of folder: 'splt'\. Nearest: split\. Known: bands, classes, exact, limit, links, split"
    with pytest.raises(UnknownNameError, match=message):
        opened(f"folder:{tmp_path}?splt=x")


@pytest.mark.parametrize("kind", [str, Path])
def test_a_bare_path_is_recognised_and_said(tmp_path: Path, kind: Any) -> None:
    lines: list[str] = []
    dataset = opened(kind(write_class_folders(tmp_path)), say=lines.append)
    assert dataset.classes == ("blue", "green", "red")
    assert lines == [f"data {tmp_path}: recognised as folder, because it contains 3 folders with images"]


def test_a_path_with_a_question_mark_opens_as_a_path(tmp_path: Path) -> None:
    assert len(opened(write_class_folders(tmp_path / "what?split=no"))) == 12


def test_a_path_that_fits_no_scheme_or_several(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"no data format of the task classification was recognised in .*one of: .*demo, folder"):
        opened(tmp_path)
    several = registry(scheme("one", "of this"), scheme("two", "of that"), scheme("three", None))
    with pytest.raises(InputError, match=r"matches several formats: one: \(of this\); two: \(of that\)\. Specify .* as scheme:path"):
        open_data(str(tmp_path), several, "any")


def test_data_without_samples(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"data 'one:x' has no samples\nCheck the path, the split and the classes"):
        open_data("one:x", registry(scheme("one", None)), "any")


# -- sequences ---------------------------------------------------------------------------------------------------------


@dataclass
class Mine:
    image: Any
    target: Any = None
    key: Any = None


def test_sequences_of_objects_mappings_and_samples() -> None:
    red, blue = picture(COLOURS["red"]), picture(COLOURS["blue"])
    dataset = opened([Mine(red, 0, "r"), {"image": blue, "target": 1}, Sample(red, 2, "s")])
    assert dataset.keys == ("r", "000001", "s")
    assert [sample.target for sample in dataset] == [0, 1, 2]
    assert np.array_equal(dataset[1].image, blue)
    assert dataset.classes == ()
    assert dataset.name == "3 samples"
    assert opened(dataset) is dataset


def test_a_part_of_a_dataset() -> None:
    dataset = opened([Mine(picture(COLOURS["red"]), index) for index in range(5)])
    part = dataset[1:3]
    assert isinstance(part, Dataset)
    assert part.keys == ("000001", "000002")


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (7, "data is a int; expected a dataset string, a path, or a sequence of samples"),
        ([], "data is an empty sequence"),
        ([Mine(None)], "sample 0 has no image"),
        ([{}], "sample 0 has no image"),
        ([Mine(np.zeros((4, 4, 3)))], r"sample 0: the image is float64 of shape \(4, 4, 3\); expected uint8 \[H, W, 3\], RGB"),
        ([Mine(np.zeros((4, 4), np.uint8))], r"shape \(4, 4\)"),
        ([Mine(picture((0, 0, 0)), 0, "a")] * 3, "2 samples have the same key as another sample"),
    ],
)
def test_sequences_that_are_wrong(data: object, message: str) -> None:
    with pytest.raises(InputError, match=message):
        opened(data)


# -- the last step of every scheme -------------------------------------------------------------------------------------

RECORDS = [Record(f"{index}", picture((0, 0, 0)), index % 3) for index in range(6)]
FAULTS = [Fault("a.txt", "line 3: no class"), Fault("b.png", "missing", whole=True)]


def finished(query: str, faults: list[Fault], on_error: OnError = "raise") -> Dataset:
    return finish(DataRef.parse(f"x:y{query}"), RECORDS, ["cat", "dog", "eel"], faults, on_error)


def test_classes_are_kept_in_the_order_that_was_asked_for() -> None:
    dataset = finished("?classes=eel,cat", [])
    assert dataset.classes == ("eel", "cat")
    assert [(record.key, record.target) for record in dataset.records] == [("0", 1), ("2", 0), ("3", 1), ("5", 0)]


def test_the_limit_counts_what_is_kept() -> None:
    assert finished("?limit=3&classes=dog", []).keys == ("1", "4")
    assert finished("?limit=2", []).keys == ("0", "1")


def test_a_class_that_the_data_does_not_have() -> None:
    with pytest.raises(UnknownNameError, match=r"unknown class of 'x:y\?classes=cats': 'cats'\. Nearest: cat"):
        finished("?classes=cats", [])


def test_all_faults_stand_in_one_message() -> None:
    with pytest.raises(DataError, match="data 'x:y': 2 errors in the annotations:\n") as caught:
        finished("", FAULTS)
    assert str(caught.value).splitlines()[1:] == [
        "  a.txt: line 3: no class",
        "  b.png: missing",
        'Fix them, or skip them with --skip-bad (on_error="skip").',
    ]
    with pytest.raises(DataError, match="1 error in"):
        finished("", FAULTS[:1])


def test_faults_are_kept_when_they_are_skipped() -> None:
    assert finished("", FAULTS, "skip").skipped == tuple(FAULTS)


# -- the folder scheme -------------------------------------------------------------------------------------------------


def test_class_folders(tmp_path: Path) -> None:
    write_class_folders(tmp_path, per_class=2)
    write_picture(tmp_path / "red" / "deep" / "2.PNG", picture(COLOURS["red"]))
    (tmp_path / "red" / "notes.txt").write_text("no picture")
    (tmp_path / "red" / ".hidden.png").write_text("no picture")
    (tmp_path / ".git").mkdir()
    dataset = opened(f"folder:{tmp_path}")
    assert dataset.keys == ("blue/0.png", "blue/1.png", "green/0.png", "green/1.png", "red/0.png", "red/1.png", "red/deep/2.PNG")
    assert [record.target for record in dataset.records] == [0, 0, 1, 1, 2, 2, 2]
    assert dataset[6].image[0, 0, 0] >= 200  # red comes first: RGB


def test_splits_are_folders(tmp_path: Path) -> None:
    write_class_folders(tmp_path / "train", 2)
    write_class_folders(tmp_path / "test", 1)
    assert opened(f"folder:{tmp_path}?split=test").keys == ("test/blue/0.png", "test/green/0.png", "test/red/0.png")
    with pytest.raises(InputError, match=r"has the splits test, train; choose one with \?split=test"):
        opened(f"folder:{tmp_path}")
    with pytest.raises(InputError, match=r"no split 'val' in .*; its folders are: test, train"):
        opened(f"folder:{tmp_path}?split=val")


def test_a_class_folder_without_pictures(tmp_path: Path) -> None:
    write_class_folders(tmp_path)
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="empty: the class folder contains no images"):
        opened(f"folder:{tmp_path}")
    dataset = opened(f"folder:{tmp_path}", "skip")
    assert len(dataset) == 12
    assert [fault.key for fault in dataset.skipped] == [str(tmp_path / "empty")]


def test_no_class_folders(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="has no class folders; expected one folder of images per class"):
        opened(f"folder:{tmp_path}")


def test_a_truncated_picture_is_named_when_it_is_decoded(tmp_path: Path) -> None:
    write_class_folders(tmp_path, suffix=".jpg")
    bad = cut_short(tmp_path / "green" / "1.jpg")
    dataset = opened(f"folder:{tmp_path}")
    with pytest.raises(ImageError, match=str(bad)):
        list(dataset)


def test_pictures_below_a_folder_are_in_a_stable_order(tmp_path: Path) -> None:
    write_class_folders(tmp_path, 2)
    assert [path.relative_to(tmp_path).as_posix() for path in picture_files(tmp_path)][:3] == ["blue/0.png", "blue/1.png", "green/0.png"]


# -- the digits --------------------------------------------------------------------------------------------------------


def test_the_demo_splits_share_no_digit() -> None:
    train, test, everything = (opened(f"demo:digits{query}") for query in ("?split=train", "?split=test", ""))
    assert (len(train), len(test), len(everything)) == (1437, 360, 1797)
    assert not set(train.keys) & set(test.keys)
    assert set(everything.keys) == {*train.keys, *test.keys}
    assert everything.classes == tuple("0123456789")


def test_demo_data_that_is_not_there() -> None:
    with pytest.raises(UnknownNameError, match=r"unknown demo data of classification 'digit'\. Nearest: digits"):
        opened("demo:digit")
    with pytest.raises(InputError, match="split is 'val'; expected train or test"):
        opened("demo:digits?split=val")
