"""Cleaned copies of tables in the forms of other tools: boxes are mended where their columns are corners, otherwise removed."""

from __future__ import annotations

from pathlib import Path

import zoo
from tests.pictures import cut_short, picture, write_picture
from zoo.curation.check.examination import examine
from zoo.curation.check.fix import write_cleaned


def cleaned(folder: Path, text: str, task: str, options: str = "") -> tuple[str, list[tuple[str, str]]]:
    """Write a table and three images, the last of which is damaged; return the cleaned table and the changes."""
    for index in range(3):
        write_picture(folder / f"{index}.png", picture((9, 9, 9), index, (40, 60)))
    cut_short(folder / "2.png")
    (folder / "table.csv").write_bytes(text.encode("cp1251" if options else "utf-8"))
    changes = write_cleaned(examine(f"csv:{folder / 'table.csv'}{options}", task, workers=0), folder / "out")
    again = zoo.open_data(f"csv:{folder / 'out' / 'table.csv'}?root={folder}", task)
    assert len(again) == 2
    return (folder / "out" / "table.csv").read_text(), [(change.action, change.place) for change in changes if change.action != "kept"]


def test_corners_under_other_names_and_ids(tmp_path: Path) -> None:
    text = "image_id;class;x1;y1;x2;y2\n0;cat;10,5;5;30;20\n0;cat;50;30;80;45\n1;dog;0;0;60;40\n2;dog;0;0;9;9\n"
    table, changes = cleaned(tmp_path, text, "detection")
    assert table == "path,label,xmin,ymin,xmax,ymax\n0,cat,10.5,5,30,20\n0,cat,50,30,60,40\n1,dog,0,0,60,40\n"
    assert changes == [("changed", "line 3"), ("removed", "line 5")]


def test_a_table_without_a_header(tmp_path: Path) -> None:
    table, changes = cleaned(tmp_path, "0.png,30,20,10,5,cat\n1.png,,,,,\n2.png,0,0,9,9,cat\n", "detection")
    assert table == "path,xmin,ymin,xmax,ymax,label\n0.png,10,5,30,20,cat\n1.png,,,,,\n"
    assert changes == [("changed", "line 1"), ("removed", "line 3")]


def test_boxes_in_another_form_are_removed(tmp_path: Path) -> None:
    text = 'path,bbox,label\n0,"[10, 5, 20, 15]",cat\n0,"[50, 30, 30, 30]",cat\n1,"[0, 0, 60, 40]",dog\n2,"[0,0,9,9]",dog\n'
    table, changes = cleaned(tmp_path, text, "detection")
    assert table == 'path,bbox,label\n0,"[10, 5, 20, 15]",cat\n1,"[0, 0, 60, 40]",dog\n'
    assert changes == [("removed", "line 3"), ("removed", "line 5")]


def test_an_encoding_and_a_list_of_classes(tmp_path: Path) -> None:
    (tmp_path / "classes.txt").write_text("белый кот\nкот\n", encoding="utf-8")
    table, changes = cleaned(tmp_path, "path,label\n0,кот\n1,белый кот\n2,кот\n", "classification", "?encoding=cp1251")
    assert table == "path,label\n0,кот\n1,белый кот\n"
    assert changes == [("removed", "line 4")]
    assert (tmp_path / "out" / "classes.txt").read_text(encoding="utf-8") == "белый кот\nкот\n"


def test_folders_become_a_table_with_their_names(tmp_path: Path) -> None:
    for place, name in enumerate(("dog", "cat dog", "1.0")):
        write_picture(tmp_path / "data" / name / "a.png", picture((place * 50, 9, 9), place, (40, 60)))
    write_cleaned(examine(f"folder:{tmp_path / 'data'}", "classification", workers=0), tmp_path / "out")
    again = zoo.open_data(f"csv:{tmp_path / 'out' / 'labels.csv'}?root={tmp_path / 'data'}", "classification")
    assert [again.classes[record.target] for record in again.records] == ["1.0", "cat dog", "dog"]
