"""`csv:` of classification: CSV, TSV and Parquet tables, their splits, and every error in them."""

from __future__ import annotations

import builtins
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.pictures import picture, write_picture
from zoo.data.dataset import Dataset, OnError
from zoo.data.formats import open_data
from zoo.errors import DataError, InputError, UnknownNameError
from zoo.tasks.classification.datasets import SCHEMES

TABLE = "path,label\nb/2.png,dog\na/1.png,cat\nb/3.png,cat\n"


def opened(data: object, on_error: OnError = "raise", say: Any = None) -> Dataset:
    return open_data(data, SCHEMES, "classification", on_error, say)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for index, name in enumerate(("a/1.png", "b/2.png", "b/3.png")):
        write_picture(tmp_path / "data" / name, picture((index, 0, 0), index, (4, 5)))
    return tmp_path / "data"


def write(folder: Path, text: str, name: str = "labels.csv") -> Path:
    (folder / name).write_text(text, encoding="utf-8")
    return folder / name


def targets(dataset: Dataset) -> list[tuple[str, str]]:
    return [(record.key, dataset.classes[record.target]) for record in dataset.records]


def test_rows_stay_in_order_and_classes_are_sorted(folder: Path) -> None:
    dataset = opened(f"csv:{write(folder, TABLE)}")
    assert dataset.classes == ("cat", "dog")
    assert targets(dataset) == [("b/2.png", "dog"), ("a/1.png", "cat"), ("b/3.png", "cat")]
    np.testing.assert_array_equal(dataset[1].image, picture((0, 0, 0), 0, (4, 5)))


@pytest.mark.parametrize(
    ("labels", "classes"),
    [(("10", "9", "2"), ("2", "9", "10")), (("10", "9", "x"), ("10", "9", "x")), (("1.5", "10", "2"), ("1.5", "10", "2"))],
)
def test_labels_that_are_all_whole_numbers_are_sorted_as_numbers(folder: Path, labels: tuple[str, ...], classes: tuple[str, ...]) -> None:
    lines = [f"{path},{label}" for path, label in zip(("a/1.png", "b/2.png", "b/3.png"), labels, strict=True)]
    dataset = opened(f"csv:{write(folder, chr(10).join(['path,label', *lines]))}")
    assert dataset.classes == classes
    assert [name for _, name in targets(dataset)] == list(labels)


def test_byte_order_mark_spaces_quotes_empty_lines_and_other_columns_orders(folder: Path) -> None:
    text = '\ufefflabel, path\r\n\r\n"a, b", ./a/1.png \r\n'
    assert targets(opened(f"csv:{write(folder, text)}")) == [("a/1.png", "a, b")]


def test_tsv(folder: Path) -> None:
    assert targets(opened(f"csv:{write(folder, TABLE.replace(',', chr(9)), 'labels.tsv')}"))[0] == ("b/2.png", "dog")


def test_parquet(folder: Path) -> None:
    pa = pytest.importorskip("pyarrow")
    pq = pytest.importorskip("pyarrow.parquet")
    path = folder / "labels.parquet"
    pq.write_table(pa.table({"path": ["a/1.png", "b/2.png", "b/3.png"], "label": [10, 9, None]}), path)
    with pytest.raises(DataError, match=r"labels\.parquet row 3: the label is empty"):
        opened(f"csv:{path}")
    assert targets(opened(f"csv:{path}", "skip")) == [("a/1.png", "10"), ("b/2.png", "9")]
    pq.write_table(pa.table({"path": ["a/1.png"], "label": [["x"]]}), path)
    with pytest.raises(DataError, match=r"row 1: the value of label has the type list; expected a string or a number"):
        opened(f"csv:{path}")
    path.write_bytes(path.read_bytes()[:-9])
    with pytest.raises(DataError, match=r"labels\.parquet is not a Parquet file, or is damaged: "):
        opened(f"csv:{path}")


def test_parquet_without_pyarrow_says_what_to_install(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    original = builtins.__import__

    def without(name: str, *rest: Any, **more: Any) -> Any:
        if name.startswith("pyarrow"):
            raise ImportError(name)
        return original(name, *rest, **more)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(InputError, match=r"Parquet requires pyarrow\. Install it with: pip install 'resnet-zoo\[hf\]'"):
        opened(f"csv:{write(folder, '', 'labels.parquet')}")


def test_splits(folder: Path) -> None:
    path = write(folder, "path,label,split\na/1.png,cat,train\nb/2.png,dog,test\nb/3.png,cat,train\n")
    assert targets(opened(f"csv:{path}?split=train")) == [("a/1.png", "cat"), ("b/3.png", "cat")]
    assert opened(f"csv:{path}?split=train").classes == opened(f"csv:{path}?split=test").classes == ("cat", "dog")
    with pytest.raises(InputError, match=r"has the splits train, test; choose one with \?split=train"):
        opened(f"csv:{path}")
    with pytest.raises(InputError, match=r"no split 'val'; its splits are: train, test"):
        opened(f"csv:{path}?split=val")
    with pytest.raises(InputError, match=r"no split 'val'; it has no column 'split'"):
        opened(f"csv:{write(folder, TABLE)}?split=val")


def test_classes_and_limit(folder: Path) -> None:
    path = write(folder, TABLE)
    assert targets(opened(f"csv:{path}?classes=dog,cat&limit=2")) == [("b/2.png", "dog"), ("a/1.png", "cat")]
    assert targets(opened(f"csv:{path}?classes=cat")) == [("a/1.png", "cat"), ("b/3.png", "cat")]
    with pytest.raises(UnknownNameError, match="unknown class"):
        opened(f"csv:{path}?classes=cow")


def test_root(folder: Path) -> None:
    path = write(folder.parent, TABLE)
    assert len(opened(f"csv:{path}?root={folder}")) == 3
    with pytest.raises(InputError, match=r"root is 'no/where', which isn't a folder"):
        opened(f"csv:{path}?root=no/where")


def test_a_bare_file_is_recognised(folder: Path) -> None:
    said: list[str] = []
    assert len(opened(str(write(folder, TABLE)), say=said.append)) == 3
    assert said[0].endswith("recognised as csv, because it is a table with the columns path and label")
    for text, name in (("path,cat\n", "x.csv"), (TABLE, "x.txt")):
        with pytest.raises(InputError, match="no data format of the task classification was recognised"):
            opened(write(folder, text, name))


@pytest.mark.parametrize(
    ("rows", "fault"),
    [
        ("a/1.png,", r"labels\.csv line 2: the label is empty"),
        (",cat", r"line 2: '' isn't a file path"),
        ("a/9.png,cat", r"line 2: 'a/9\.png' can't be found in .*: No such file"),
        ("a,cat", r"line 2: 'a' isn't a file"),
        ("../secret.png,cat", r"line 2: '\.\./secret\.png' is outside the dataset folder"),
        ("../nothing.png,cat", r"line 2: '\.\./nothing\.png' is outside the dataset folder"),
        ("/etc/passwd,cat", r"line 2: '/etc/passwd' is outside the dataset folder"),
        ("out.png,cat", r"line 2: 'out\.png' is outside the dataset folder"),
        ("out/secret.png,cat", r"line 2: 'out/secret\.png' is outside the dataset folder"),
        (f"{'x' * 300}.png,cat", r"line 2: .* can't be found in .*: File name too long"),
        ("a/1.png,cat\na/../a/1.png,cat", r"line 3: 'a/1\.png' is listed a second time; first listed at .*line 2"),
        ("a/1.png,cat,7", r"line 2: has 3 values; expected 2, as in the header"),
        ("a/1.png", r"line 2: has 1 values; expected 2"),
    ],
)
def test_faults_name_their_line(folder: Path, rows: str, fault: str) -> None:
    write_picture(folder.parent / "secret.png", picture((1, 2, 3)))
    (folder / "out.png").symlink_to(folder.parent / "secret.png")
    (folder / "out").symlink_to(folder.parent)
    path = write(folder, f"path,label\n{rows}\nb/2.png,dog\n")
    with pytest.raises(DataError, match=fault) as caught:
        opened(f"csv:{path}?links=refuse")
    assert len(caught.value.faults) == 1
    rest = opened(f"csv:{path}?links=refuse", "skip")
    assert ("b/2.png", "dog") in targets(rest)
    assert rest.skipped == caught.value.faults


def test_a_column_that_is_nearly_ours_is_a_fault_and_others_are_not(folder: Path) -> None:
    path = write(folder, "path,label,splits\na/1.png,cat,red\n")
    with pytest.raises(DataError, match=r"line 1: unknown column 'splits'; did you mean 'split'\?"):
        opened(f"csv:{path}")
    assert targets(opened(f"csv:{path}", "skip")) == [("a/1.png", "cat")]
    path = write(folder, "path,label,photographer\na/1.png,cat,Ann\n")
    assert targets(opened(f"csv:{path}")) == [("a/1.png", "cat")]


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "no column path, label; expected a header with path, label, split, found nothing"),
        (b"path:label\n", "no column path, label; .* found 'path:label'"),
        (b"path,label,label\n", "line 1: a column name occurs twice"),
        (b'path,label\n"a', "line 2 is not valid CSV: unexpected end of data"),
        (b"path,label\n\xff\xfe,a\n", "is not valid UTF-8 after line"),
    ],
)
def test_files_that_are_no_table(folder: Path, data: bytes, message: str) -> None:
    (folder / "labels.csv").write_bytes(data)
    with pytest.raises(DataError, match=message):
        opened(f"csv:{folder / 'labels.csv'}", "skip")


def test_a_path_that_is_no_file(folder: Path) -> None:
    with pytest.raises(DataError, match="is a folder; expected a file"):
        opened(f"csv:{folder}")
    with pytest.raises(DataError, match=r"the file .*none\.csv does not exist"):
        opened(f"csv:{folder / 'none.csv'}")
