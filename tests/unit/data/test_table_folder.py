"""Folders with tables that tools write beside the images: Roboflow's exports with splits, and Hugging Face's image folders."""

from __future__ import annotations

from pathlib import Path

import pytest

import zoo
from tests.pictures import picture, write_picture
from zoo.cli.data.check import task_of
from zoo.curation.check.examination import examine
from zoo.curation.check.fix import write_cleaned
from zoo.curation.convert import convert
from zoo.data.formats import DataRef
from zoo.errors import DataError, InputError
from zoo.task.contract import get_task

BOXES = "filename,width,height,class,xmin,ymin,xmax,ymax\na.png,60,40,cat,1,2,30,20\n"
CLASSES = "filename, cat, dog\na.png, 0, 1\n"


def export(root: Path, name: str, table: str) -> Path:
    for part in ("train", "valid", "test"):
        write_picture(root / part / "a.png", picture((9, 9, 9), len(part), (40, 60)))
        (root / part / name).write_text(table)
    return root


@pytest.mark.parametrize(("task", "name", "table"), [("detection", "_annotations.csv", BOXES), ("classification", "_classes.csv", CLASSES)])
def test_an_export_of_roboflow(tmp_path: Path, task: str, name: str, table: str) -> None:
    folder = export(tmp_path / "data", name, table)
    said: list[str] = []
    dataset = zoo.open_data(f"{folder}?split=val", task, say=said.append)
    assert dataset.keys == ("valid/a.png",)
    assert f"recognised as csv, because it contains test/{name}" in said[0]
    assert dataset.records[0].target == 1 or dataset.records[0].target["boxes"].tolist() == [[1, 2, 30, 20]]
    assert task_of(DataRef.of(folder)) == task
    with pytest.raises(InputError, match=r"it has the splits test, train, valid; choose one with \?split=test"):
        zoo.open_data(folder, task)
    with pytest.raises(InputError, match="no split 'holdout'; its splits are: test, train, valid"):
        zoo.open_data(f"csv:{folder}?split=holdout", task)
    examination = examine(folder, task, workers=0)
    assert sorted((item.key, item.splits) for item in examination.opened.items) == [
        (f"{part}/a.png", (part,)) for part in ("test", "train", "valid")
    ]
    with pytest.raises(InputError, match=r"--fix needs one table, but .* is a folder; pass the table in it"):
        write_cleaned(examination, tmp_path / "out")
    done = convert(folder, f"csv:{tmp_path / 'converted'}", get_task(task))
    assert done.pictures == 3
    assert len(zoo.open_data(f"{done.data[0].partition('?')[0]}?split=valid", task)) == 1


def test_an_image_folder_of_hugging_face(tmp_path: Path) -> None:
    write_picture(tmp_path / "0.png", picture((9, 9, 9)))
    (tmp_path / "metadata.csv").write_text("file_name,label\n0.png,cat\n")
    (tmp_path / "more.csv").write_text("file_name,label\n0.png,dog\n")
    for data in (tmp_path, f"csv:{tmp_path}"):
        dataset = zoo.open_data(data, "classification")
        assert (dataset.keys, dataset.classes) == (("0.png",), ("cat",))
    (tmp_path / "metadata.csv").unlink()
    assert zoo.open_data(f"csv:{tmp_path}", "classification").classes == ("dog",)  # the only table
    with pytest.raises(InputError, match="no data format of the task classification was recognised"):
        zoo.open_data(tmp_path, "classification")
    (tmp_path / "third.csv").write_text("file_name,label\n0.png,dog\n")
    with pytest.raises(DataError, match="is a folder; expected a file"):
        zoo.open_data(f"csv:{tmp_path}", "classification")
