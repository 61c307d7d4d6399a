"""Dataset check of classes, people, pairs and images without annotations."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.damaged import check, scene, write, write_coco, write_folders, write_voc
from tests.pictures import write_picture
from zoo.curation.check.findings import Findings
from zoo.curation.check.items import open_all
from zoo.data.dataset import Sample
from zoo.errors import InputError
from zoo.task.contract import get_task


def _lines(found: Findings, kind: str) -> list[str]:
    return [str(finding) for finding in found.of(kind)]


def test_a_class_folder_without_pictures_is_an_error(tmp_path: Path) -> None:
    (write_folders(tmp_path) / "empty").mkdir()
    found = check(f"folder:{tmp_path}")
    assert found.counts["empty-class"] >= 1
    assert any("empty: the class folder contains no images" in line for line in _lines(found, "empty-class"))
    assert not found.ok


def test_a_person_folder_without_pictures_and_a_picture_without_a_person(tmp_path: Path) -> None:
    (write_folders(tmp_path) / "empty").mkdir()
    write_picture(tmp_path / "stray.png", scene(99))
    found = check(f"identities:{tmp_path}", "face")
    assert [f.key for f in found.of("no-annotation")] == ["stray.png"]
    assert found.counts == {"empty-class": 1, "no-annotation": 1}


def test_a_declared_class_that_nothing_has(tmp_path: Path) -> None:
    write_coco(tmp_path, [[("cat", (4, 5, 30, 40)), ("dog", (30, 5, 50, 40))], []])
    text = (tmp_path / "instances.json").read_text().replace('"name": "dog"}', '"name": "dog"}, {"id": 9, "name": "emu"}')
    write(tmp_path / "instances.json", text)
    found = check(f"coco:{tmp_path}", "detection")
    assert _lines(found, "empty-class") == ["emu: is a declared class without samples"]
    assert _lines(found, "no-objects") == ["1.png: is annotated as an image without objects"]
    assert found.classes == {"cat": 1, "dog": 1, "emu": 0}
    # a partial check reports nothing about the rest
    assert check(f"coco:{tmp_path}?limit=1", "detection").counts == {}


def test_bad_balance_starts_at_one_for_twenty(tmp_path: Path) -> None:
    samples = [Sample(scene(number), 0, f"{number}") for number in range(20)] + [Sample(scene(100), 1, "rare")]

    class Named(list[Sample]):
        classes = ("cat", "dog")

    found = check(Named(samples))
    assert _lines(found, "unbalanced") == ["dog: occurs 1 times, but cat occurs 20 times: a ratio of 1 to 20 or less"]
    assert check(Named(samples[1:])).counts == {}


def test_a_bare_path_is_recognised_once_for_all_splits(tmp_path: Path) -> None:
    write_folders(tmp_path / "data", splits=("train", "test"))
    lines: list[str] = []
    opened = open_all(str(tmp_path / "data"), get_task("classification"), lines.append)
    assert opened.scheme == "folder"
    assert len(opened.items) == 12
    assert {split for item in opened.items for split in item.splits} == {"train", "test"}
    (line,) = lines
    assert line.startswith(f"data {tmp_path / 'data'}: recognised as folder, because ")
    with pytest.raises(InputError, match="no data format of the task detection was recognised"):
        open_all(str(tmp_path / "data"), get_task("detection"), lines.append)
    assert len(lines) == 1


def test_a_class_of_the_test_that_training_lacks(tmp_path: Path) -> None:
    write_folders(tmp_path / "train", each=2)
    write_folders(tmp_path / "test", ("cat", "emu"), each=2, seed=50)
    found = check(f"folder:{tmp_path}")
    assert _lines(found, "unknown-label") == ["emu: is a class of the split test but not of the training split: it can't be learned"]


def test_labels_that_a_table_leaves_out(tmp_path: Path) -> None:
    write_folders(tmp_path)
    write(tmp_path / "labels.csv", "path,label\ncat/0.png,cat\ndog/0.png,\ndog/1.png,dog\ndog/1.png,dog\ncat/1.png,cat,3\n")
    found = check(f"csv:{tmp_path / 'labels.csv'}")
    assert {f.kind: f.place for f in found.findings if f.place} == {
        "unknown-label": "line 3",
        "repeated-id": "line 5",
        "annotation": "line 6",
    }
    assert {f.key for f in found.findings if f.place} == {"labels.csv"}


def test_people_with_one_picture_and_in_both_splits(tmp_path: Path) -> None:
    write_folders(tmp_path, ("ann", "bob"), splits=("train", "test"))
    write_folders(tmp_path / "train", ("eve",), each=1, seed=70)
    found = check(f"identities:{tmp_path}", "face")
    assert [f.key for f in found.of("single-picture")] == ["eve"]
    assert [f.key for f in found.of("person-in-splits")] == ["ann", "bob"]
    assert "unknown-label" not in found.counts, "face verification is tested on unseen people"


def test_pairs_that_name_missing_pictures(tmp_path: Path) -> None:
    for person in ("Ann", "Bob"):
        for number in (1, 2):
            write_picture(tmp_path / person / f"{person}_{number:04d}.png", scene(number + 10 * len(person) + ord(person[0])))
    write(tmp_path / "pairs.txt", "1\t1\nAnn\t1\t2\nAnn\t2\tBob\t7\n")
    found = check(f"lfw:{tmp_path}", "face")
    (finding,) = found.findings
    assert (finding.kind, finding.key, finding.place) == ("bad-pair", "Bob/Bob_0007.jpg", "line 3")
    write(tmp_path / "pairs.txt", "1\t1\nAnn\t1\t2\nAnn\t2\tBob\n")
    assert check(f"lfw:{tmp_path}", "face").counts == {"bad-pair": 1}


def test_pictures_that_no_annotation_speaks_of(tmp_path: Path) -> None:
    write_voc(tmp_path, [[("cat", (4, 5, 30, 40))]])
    write_picture(tmp_path / "JPEGImages" / "extra.png", scene(9))
    found = check(f"voc:{tmp_path}", "detection")
    assert _lines(found, "no-annotation") == ["JPEGImages/extra.png: is in the dataset folder but has no annotation"]


def test_drawn_data_and_single_splits_are_fine() -> None:
    found = check("demo:digits?split=test")
    assert (found.ok, found.pictures, found.splits) == (True, 360, {"test": 360})
    assert np.isclose(sum(found.classes.values()), 360)


def test_a_split_that_cant_be_opened_is_a_finding_beside_the_others(tmp_path: Path) -> None:
    write_folders(tmp_path, splits=("train",))
    (tmp_path / "test").mkdir()
    found = check(f"folder:{tmp_path}")
    assert [(f.kind, f.key) for f in found.findings] == [("split", "test")]
    assert "no class folders" in found.findings[0].text
    assert found.pictures == 6
