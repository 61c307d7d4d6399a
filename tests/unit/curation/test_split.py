"""Splits share no group and no person, keep the share of every class, and are the same for the same seed."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.pictures import picture
from zoo.cli.main import main
from zoo.curation.check.items import open_all
from zoo.curation.grouping import Group, as_shares, assign, parse_parts
from zoo.curation.split import split
from zoo.data.formats import open_data
from zoo.errors import DataError, InputError
from zoo.task.contract import get_task

CLASSIFICATION = get_task("classification")


def write(root: Path, names: list[str]) -> None:
    for index, name in enumerate(names):
        file = root / name
        file.parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(file), picture((index * 7 % 256, 90, 20), index, (12, 16)))


def parts_of(data: object) -> dict[str, set[str]]:
    return {
        part: {record.key.removeprefix(f"{part}/") for record in open_data(text, CLASSIFICATION.data.schemes, "classification").records}
        for part, text in data.items()  # type: ignore[attr-defined]
    }


# -- the assignment ----------------------------------------------------------------------------------------------------


@given(
    st.lists(st.tuples(st.integers(0, 4), st.integers(1, 6)), min_size=12, max_size=60),
    st.sampled_from([{"a": 0.8, "b": 0.2}, {"a": 0.5, "b": 0.25, "c": 0.25}]),
    st.integers(0, 3),
)
def test_no_part_is_off_by_more_than_the_largest_group(drawn: list[tuple[int, int]], parts: dict[str, float], seed: int) -> None:
    groups, start = [], 0
    for number, (label, size) in enumerate(drawn):
        counts = np.bincount([label] * size, minlength=5)
        groups.append(Group(f"g{number}", tuple(range(start, start + size)), counts))
        start += size
    try:
        chosen = assign(groups, parts, seed)
    except InputError:
        return  # with a few large groups, a part would be empty, which is an error
    largest = max(size for _, size in drawn)
    for part, share in parts.items():
        for label in range(5):
            total = sum(size for found, size in drawn if found == label)
            got = sum(size for (found, size), where in zip(drawn, chosen, strict=True) if found == label and where == part)
            assert abs(got - share * total) <= largest
    assert assign(groups[::-1], parts, seed) == chosen[::-1]  # the order of the groups doesn't matter


def test_another_seed_is_another_split() -> None:
    groups = [Group(f"g{number}", (number,), np.array([1])) for number in range(40)]
    assert assign(groups, {"a": 0.5, "b": 0.5}, 0) == assign(groups, {"a": 0.5, "b": 0.5}, 0)
    assert assign(groups, {"a": 0.5, "b": 0.5}, 0) != assign(groups, {"a": 0.5, "b": 0.5}, 1)


def test_boxes_of_several_classes_are_stratified_together() -> None:
    rng = np.random.default_rng(0)
    groups = [Group(f"g{number}", (number,), rng.integers(0, 4, size=3) * np.array([1, 1, number % 9 == 0])) for number in range(300)]
    chosen = np.array(assign(groups, {"a": 0.7, "b": 0.3}, 0))
    counts = np.stack([group.counts for group in groups])
    shares = counts[chosen == "b"].sum(0) / counts.sum(0)
    assert shares == pytest.approx([0.3, 0.3, 0.3], abs=0.03)


@pytest.mark.parametrize("text", ["train", "train=0.8", "train=0.8,train=0.2", "train=1,val=0", "a=0.5,b=0.6", "=0.5,b=0.5"])
def test_parts_that_are_none(text: str) -> None:
    with pytest.raises(InputError, match=r"--parts is .*expected"):
        parse_parts(text)


def test_numbers_of_pictures_stand_for_shares() -> None:
    assert as_shares(parse_parts("train=30,val=10"), 40) == {"train": 0.75, "val": 0.25}
    assert as_shares(parse_parts("train=0.9,val=0.1"), 40) == {"train": 0.9, "val": 0.1}
    with pytest.raises(InputError, match=r"--parts requests 40 images, but there are 41; expected numbers that sum to the total"):
        as_shares(parse_parts("train=30,val=10"), 41)
    with pytest.raises(InputError, match=r"expected fractions below 1 for all splits, or numbers of images"):
        parse_parts("train=0.5,val=10")
    with pytest.raises(InputError, match=r"or with numbers of images"):
        parse_parts("train=1.5,val=10")


# -- the whole way -----------------------------------------------------------------------------------------------------


def test_classes_are_stratified_and_nothing_is_lost(tmp_path: Path) -> None:
    names = [f"{name}/{index}.png" for name, count in (("ape", 40), ("emu", 10)) for index in range(count)]
    write(tmp_path / "data", names)
    done = split(f"folder:{tmp_path / 'data'}", str(tmp_path / "out"), CLASSIFICATION, {"train": 0.8, "val": 0.2})
    assert done.classes == {"ape": {"train": 32, "val": 8}, "emu": {"train": 8, "val": 2}}
    parts = parts_of(done.data)
    assert parts["train"] | parts["val"] == set(names)
    assert not parts["train"] & parts["val"]
    again = split(f"folder:{tmp_path / 'data'}", f"csv:{tmp_path / 'table'}", CLASSIFICATION, {"train": 0.8, "val": 0.2})
    assert parts_of(again.data) == parts


@pytest.mark.parametrize("how", ["folder", r"regex:(p\d+)", "table"])
def test_groups_are_never_parted(how: str, tmp_path: Path) -> None:
    names = [f"{name}/p{patient}/{index}.png" for name in ("ill", "well") for patient in range(10) for index in range(3)]
    write(tmp_path / "data", names)
    if how == "table":
        how = str(tmp_path / "groups.csv")
        (tmp_path / "groups.csv").write_text("path,group\n" + "".join(f"{name},{name.split('/')[1]}\n" for name in names))
    done = split(f"folder:{tmp_path / 'data'}", str(tmp_path / "out"), CLASSIFICATION, {"train": 0.5, "val": 0.5}, groups=how)
    people = {
        part: {key.split("/")[1] if how != "folder" else key.rsplit("/", 1)[0] for key in keys}
        for part, keys in parts_of(done.data).items()
    }
    assert not people["train"] & people["val"]
    assert done.pictures == {"train": 30, "val": 30}


def test_nearly_equal_pictures_stay_together(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    (tmp_path / "data" / "a").mkdir(parents=True)
    for index in range(12):
        image = cv2.resize(rng.integers(0, 256, (6, 6, 3), np.uint8), (64, 64), interpolation=cv2.INTER_CUBIC)
        cv2.imwrite(str(tmp_path / "data" / "a" / f"{index}.png"), image)
        cv2.imwrite(str(tmp_path / "data" / "a" / f"{index} again.jpg"), image)
    done = split(f"folder:{tmp_path / 'data'}", str(tmp_path / "out"), CLASSIFICATION, {"train": 0.5, "val": 0.5}, groups="near")
    assert done.groups == 12
    for keys in parts_of(done.data).values():
        assert {key.split()[0].split(".")[0] for key in keys if "again" in key} == {key.split(".")[0] for key in keys if "again" not in key}


def test_people_are_never_parted(shared_data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["data", "split", f"identities:{shared_data / 'orl'}?split=train", str(tmp_path / "out"), "--json"]) == 0
    result = json.loads(capsys.readouterr().out)
    face = get_task("face")
    people = {part: set(open_data(data, face.data.schemes, "face").classes) for part, data in result["data"].items()}
    assert not people["train"] & people["val"]
    assert result["classes"] == {"people": {"train": len(people["train"]), "val": len(people["val"])}}
    assert sorted(len(names) for names in people.values()) == [5, 19]


def test_boxes_survive(shared_data: Path, tmp_path: Path) -> None:
    detection = get_task("detection")
    source = f"voc:{shared_data / 'bccd'}?split=trainval"
    done = split(source, str(tmp_path / "out"), detection, {"train": 0.8, "val": 0.2}, groups="near", skip_bad=True)
    assert sum(done.pictures.values()) == 292
    for counts in done.classes.values():
        assert counts["val"] / sum(counts.values()) == pytest.approx(0.2, abs=0.04)
    before = {item.key: item.record.target["boxes"].tolist() for item in open_all(source, detection).items}
    after = {item.key: item.record.target["boxes"].tolist() for item in open_all(f"voc:{tmp_path / 'out'}", detection).items}
    assert after == before


def test_a_class_that_cannot_be_in_every_part_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write(tmp_path / "data", [*(f"ape/{index}.png" for index in range(9)), "yak/0.png"])
    assert main(["data", "split", f"folder:{tmp_path / 'data'}", str(tmp_path / "out")]) == 0
    printed = capsys.readouterr()
    assert "warning: class 'yak': none of its 1 instances are in" in printed.err
    assert "10 images in 10 groups" in printed.out
    # both parts still have the same class indices
    classes = [open_data(f"folder:{tmp_path / 'out'}?split={part}", CLASSIFICATION.data.schemes, "").classes for part in ("train", "val")]
    assert classes == [("ape", "yak")] * 2


def test_a_group_that_is_too_large_is_said_before_anything_is_written(tmp_path: Path) -> None:
    write(tmp_path / "data", [*(f"ape/burst/{index}.png" for index in range(9)), "ape/a.png"])
    received: list[tuple[str, bool]] = []
    out = tmp_path / "out"
    done = split(
        f"folder:{tmp_path / 'data'}", str(out), CLASSIFICATION, {"train": 0.5, "val": 0.5}, groups="folder",
        warn=lambda text: received.append((text, out.exists())),
    )  # fmt: skip
    assert received == [("the group 'ape/burst' has 9 of 10 images (90%), which is too large", False)]
    assert done.warnings == (received[0][0],)


def test_files_in_another_order_give_the_same_parts(shared_data: Path, tmp_path: Path) -> None:
    names = [f"cat/{file.name}" for file in sorted((shared_data / "cifar10" / "test" / "cat").iterdir())[:60]]
    found = []
    for place, order in (("a", names), ("b", names[::-1])):  # files created in another order are listed in another order
        for name in order:
            link = tmp_path / place / name
            link.parent.mkdir(parents=True, exist_ok=True)
            link.write_bytes((shared_data / "cifar10" / "test" / name).read_bytes())
        done = split(f"folder:{tmp_path / place}", str(tmp_path / f"out {place}"), CLASSIFICATION, {"train": 45, "val": 15})
        found.append(parts_of(done.data))
    assert found[0] == found[1]
    assert {part: len(keys) for part, keys in found[0].items()} == {"train": 45, "val": 15}


def test_mistakes_are_named(tmp_path: Path) -> None:
    data = tmp_path / "data"
    write(data, [f"{name}/{index}.png" for name in ("ape", "emu") for index in range(4)])
    parts = {"train": 0.5, "val": 0.5}
    for groups, words in {
        "regex:(": "is not a valid pattern",
        "regex:ape": "no capturing group",
        r"regex:(ape)": "does not match 'emu/",
        "patients": "expected none, near, folder, regex:PATTERN or a CSV file",
    }.items():
        with pytest.raises(InputError, match=words):
            split(f"folder:{data}", str(tmp_path / "out"), CLASSIFICATION, parts, groups=groups)
    (tmp_path / "groups.csv").write_text("path,group\nape/0.png,a\n")
    with pytest.raises(InputError, match="has no group for 7 of 8 images"):
        split(f"folder:{data}", str(tmp_path / "out"), CLASSIFICATION, parts, groups=str(tmp_path / "groups.csv"))
    (tmp_path / "other.csv").write_text("file,patient\nape/0.png,a\n")
    with pytest.raises(InputError, match="no column group; expected a header with path, group"):
        split(f"folder:{data}", str(tmp_path / "out"), CLASSIFICATION, parts, groups=str(tmp_path / "other.csv"))
    (tmp_path / "torn.csv").write_text("path,group\nape/0.png\n")
    with pytest.raises(DataError, match=r"torn\.csv has invalid rows"):
        split(f"folder:{data}", str(tmp_path / "out"), CLASSIFICATION, parts, groups=str(tmp_path / "torn.csv"))
    (tmp_path / "twice.csv").write_text("path,group\nape/0.png,a\nape/0.png,b\n")
    with pytest.raises(DataError, match=r"line 3: ape/0\.png is in the group 'b', but in 'a' in an earlier row"):
        split(f"folder:{data}", str(tmp_path / "out"), CLASSIFICATION, parts, groups=str(tmp_path / "twice.csv"))
    with pytest.raises(InputError, match=r"the split val would be empty: there are 1 groups, the largest with 8"):
        split(f"folder:{data}", str(tmp_path / "out"), CLASSIFICATION, parts, groups="regex:()")
    with pytest.raises(InputError, match="--groups is 'near'; expected none, because datasets of people are always grouped by person"):
        split("demo:faces", str(tmp_path / "out"), get_task("face"), parts, groups="near")
    with pytest.raises(InputError, match="the format demo can't be written; specify the output format as scheme:FOLDER"):
        split("demo:digits", str(tmp_path / "out"), CLASSIFICATION, parts)
    split(f"folder:{data}", str(tmp_path / "done"), CLASSIFICATION, parts)
    with pytest.raises(InputError, match=r"has the splits train, val; choose one with \?split=train"):
        split(f"folder:{tmp_path / 'done'}", str(tmp_path / "out"), CLASSIFICATION, parts)
    table = tmp_path / "table.csv"
    table.write_text("path,label\ndata/ape/1.png,a\n../x.png,a\n")
    with pytest.raises(DataError, match="1 error in the annotations"):
        split(f"csv:{table}", str(tmp_path / "out"), CLASSIFICATION, parts)
    assert not (tmp_path / "out").exists()
