"""`lfw:` – pairs.txt with any number of folds, its faults, and scores over exactly the listed pairs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from tests.pictures import picture, write_picture
from zoo.data.dataset import Dataset, OnError
from zoo.data.formats import open_data
from zoo.errors import DataError, InputError, UnknownNameError
from zoo.task.contract import get_task
from zoo.tasks.face.datasets import SCHEMES
from zoo.tasks.face.verification.pairs import Pair, PairedDataset, PairsMetric

PAIRS = (
    "2\t2\nAnn_Lee\t1\t2\nBob\t1\t2\nAnn_Lee\t1\tBob\t1\nBob\t2\tCy\t1\nAnn_Lee\t2\t3\nBob\t1\t3\nCy\t1\tAnn_Lee\t3\nDi Ana\t1\tBob\t3\n"
)


def opened(data: object, on_error: OnError = "raise", say: Any = None) -> PairedDataset:
    dataset: Dataset = open_data(data, SCHEMES, "face", on_error, say)
    assert isinstance(dataset, PairedDataset)
    return dataset


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for person, count in (("Ann_Lee", 3), ("Bob", 3), ("Cy", 2), ("Di Ana", 1)):
        for number in range(1, count + 1):
            write_picture(tmp_path / "lfw" / person / f"{person}_{number:04d}.jpg", picture((9, 9, 9), number, (8, 8)))
    (tmp_path / "lfw" / "pairs.txt").write_text(PAIRS)
    return tmp_path / "lfw"


def test_pairs_keep_their_order_and_folds(folder: Path) -> None:
    dataset = opened(f"lfw:{folder}")
    first = dataset.pairs[0]
    assert first == Pair("Ann_Lee/Ann_Lee_0001.jpg", "Ann_Lee/Ann_Lee_0002.jpg", True, 0)
    assert dataset.pairs[7] == Pair("Di Ana/Di Ana_0001.jpg", "Bob/Bob_0003.jpg", False, 1)
    assert [pair.same for pair in dataset.pairs] == [True, True, False, False] * 2
    assert [pair.fold for pair in dataset.pairs] == [0] * 4 + [1] * 4
    assert dataset.keys[:3] == ("Ann_Lee/Ann_Lee_0001.jpg", "Ann_Lee/Ann_Lee_0002.jpg", "Bob/Bob_0001.jpg")
    assert len(dataset) == 8  # Cy's second picture is in no pair
    assert dataset.classes == ("Ann_Lee", "Bob", "Cy", "Di Ana")
    assert [record.target for record in dataset.records][:3] == [0, 0, 1]
    assert dataset[0].image.shape == (8, 8, 3)


@pytest.mark.parametrize(("separator", "name"), [(",", "pairs.csv"), ("; ", "pairs.csv"), (",", "pairs.txt")])
def test_pairs_that_a_spreadsheet_saved(folder: Path, separator: str, name: str) -> None:
    pairs = opened(f"lfw:{folder}").pairs
    (folder / "pairs.txt").unlink()
    lines = [line.replace("\t", separator) for line in PAIRS.splitlines()]
    padded = [line + separator.strip() * (3 - line.count(separator)) for line in lines]  # rows of equal length
    (folder / name).write_text("".join(f"{line}\r\n" for line in padded), encoding="utf-8-sig")
    assert opened(f"lfw:{folder}").pairs == opened(folder).pairs == pairs


def test_images_with_unusual_suffixes_are_found(folder: Path) -> None:
    for before, after in (
        ("Bob/Bob_0001.jpg", "Bob/Bob_0001.JPG"),
        ("Bob/Bob_0002.jpg", "Bob/Bob_0002"),
        ("Cy/Cy_0001.jpg", "Cy/Cy_0001.jfif"),
    ):
        (folder / before).rename(folder / after)
    dataset = opened(f"lfw:{folder}")
    assert {"Bob/Bob_0001.JPG", "Bob/Bob_0002", "Cy/Cy_0001.jfif"} <= set(dataset.keys)
    assert len(dataset) == 8


def test_the_sets_for_development_have_one_fold(folder: Path) -> None:
    (folder / "pairsDevTest.txt").write_text("1\r\nBob 1 2\r\n\r\nBob 1 Cy 2\r\n")
    dataset = opened(f"lfw:{folder}?split=test")
    assert [(pair.same, pair.fold) for pair in dataset.pairs] == [(True, 0), (False, 0)]
    with pytest.raises(UnknownNameError, match=r"unknown split of .* 'dev'\. Known: test, train"):
        opened(f"lfw:{folder}?split=dev")
    with pytest.raises(DataError, match=r"can't read .*pairsDevTrain\.txt: No such file"):
        opened(f"lfw:{folder}?split=train")


def test_classes_and_limit_take_their_pairs_along(folder: Path) -> None:
    two = opened(f"lfw:{folder}?classes=Bob,Cy")
    assert {key.split("/")[0] for key in two.keys} == {"Bob", "Cy"}
    assert len(two.pairs) == 3
    few = opened(f"lfw:{folder}?limit=3")
    assert [(pair.first, pair.second) for pair in few.pairs] == [(few.keys[0], few.keys[1]), (few.keys[0], few.keys[2])]


def test_other_suffixes_and_root(folder: Path) -> None:
    (folder / "Cy/Cy_0001.jpg").unlink()
    write_picture(folder / "Cy/Cy_0001.png", picture((9, 9, 9)))
    (folder.parent / "pairs").mkdir()
    (folder / "pairs.txt").rename(folder.parent / "pairs/pairs.txt")
    assert "Cy/Cy_0001.png" in opened(f"lfw:{folder.parent / 'pairs'}?root={folder}").keys


def test_a_bare_folder_is_lfw_and_not_identities(folder: Path) -> None:
    said: list[str] = []
    opened(folder, say=said.append)
    assert "recognised as lfw, because it contains pairs.txt" in said[0]
    (folder / "pairs.txt").unlink()
    assert len(open_data(folder, SCHEMES, "face", say=said.append)) == 9
    assert "recognised as identities, because" in said[1]


@pytest.mark.parametrize(
    ("line", "fault"),
    [
        ("Bob 1", r"pairs\.txt line 5: the pair is 'Bob 1'; expected person n m, or person n other m"),
        ("Bob 2 Cy 1 9", "line 5: the pair is 'Bob 2 Cy 1 9'; expected"),
        ("Bob 2 Cy x", "line 5: the pair is 'Bob 2 Cy x'; expected"),
        ("Bob 2 2", "line 5: the pair is 'Bob 2 2'; expected two images of one person, or one image each of two people"),
        ("Bob 2 Bob 1", "line 5: the pair is 'Bob 2 Bob 1'; expected two images of one person, or one image each of two people"),
        ("Bob 2 Cy 7", r"Cy/Cy_0007\.jpg: listed in .*pairs\.txt line 5: .* can't be found"),
        ("Bob 2 Eve 1", r"Eve/Eve_0001\.jpg: listed in .*pairs\.txt line 5: .* can't be found"),
        ("Bob 2 .. 1", r"\.\./\.\._0001\.jpg: listed in .*pairs\.txt line 5: .* is outside the dataset folder"),
        ("Bob 1 Ann_Lee 1", r"pairs\.txt line 5: 'Bob 1 Ann_Lee 1' repeats the pair of line 4, which would be counted twice"),
        ("Bob 2 Cy -1", "line 5: the pair is 'Bob 2 Cy -1'; expected"),
        ("Bob 2 Cy 1.0", "line 5: the pair is 'Bob 2 Cy 1.0'; expected"),
        ("Bob 2 Cy ²", "line 5: the pair is 'Bob 2 Cy ²'; expected"),
        ("Bob 2 Cy 0", r"Cy/Cy_0000\.jpg: listed in .*pairs\.txt line 5: .* can't be found"),
        ("Bob 2 Cy 99999999", "line 5: the pair is 'Bob 2 Cy 99999999'; expected"),
        ("Bob\t2\t\t1", r"_0001\.jpg: listed in .*pairs\.txt line 5: .* is outside the dataset folder"),
        ("Bob\t2\tC\0y\t1", r"pairs\.txt line 5: the pair is 'Bob\\t2\\tC\\x00y\\t1'; expected"),
        ("Bob 2 /etc 1", r"listed in .*pairs\.txt line 5: .* is outside the dataset folder"),
        (f"Bob 2 {'x' * 300} 1", r"pairs\.txt line 5: .*File name too long"),
    ],
)
def test_faults_name_their_line(folder: Path, line: str, fault: str) -> None:
    lines = PAIRS.splitlines()
    lines[4] = line
    (folder / "pairs.txt").write_text("\n".join(lines))
    with pytest.raises(DataError, match=fault):
        opened(f"lfw:{folder}")
    rest = opened(f"lfw:{folder}", "skip")
    assert len(rest.skipped) == 1
    assert [pair.fold for pair in rest.pairs][-4:] == [1] * 4


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", r"pairs\.txt line 1 is ''; expected the numbers of folds and of pairs"),
        ("a\n", "line 1 is 'a'; expected the numbers"),
        ("0\t3\n", r"pairs\.txt line 1 is '0\\t3'; expected the numbers"),
        ("1 2 3\n", "line 1 is '1 2 3'; expected the numbers"),
        ("Bob 1 2\nBob 1 Cy 2\n", "line 1 is 'Bob 1 2'; expected the numbers"),  # no header at all
        ("2 3\nBob 1 2\n", r"pairs\.txt line 1: the header announces 2 × 2 × 3 = 12 pairs, but 1 lines follow"),
        ("1\nBob 1 2\n\xff", "is not valid UTF-8"),
    ],
)
def test_wrong_headers(folder: Path, text: str, message: str) -> None:
    (folder / "pairs.txt").write_bytes(text.encode("latin-1"))
    with pytest.raises(DataError, match=message):
        opened(f"lfw:{folder}")


def test_without_the_announced_number_of_lines_no_pair_is_scored(folder: Path) -> None:
    """The folds can't be determined then: with skipped faults there are no scores, instead of scores over wrong folds."""
    lines = PAIRS.splitlines()
    (folder / "pairs.txt").write_text("\n".join([*lines[:4], "Bob 2", *lines[6:]]))
    with pytest.raises(
        DataError, match=r"line 1: the header announces 2 × 2 × 2 = 8 pairs, but 7 lines follow.*\n.*line 5: .*'Bob 2'; expected"
    ):
        opened(f"lfw:{folder}")
    rest = opened(f"lfw:{folder}", "skip")
    assert rest.pairs == ()
    assert "no pair can be scored" in rest.skipped[0].reason
    (folder / "pairs.txt").write_text(PAIRS + "Bob\t2\t3\n")
    with pytest.raises(DataError, match="line 1: the header announces 2 × 2 × 2 = 8 pairs, but 9 lines follow"):
        opened(f"lfw:{folder}")


def test_a_line_that_stands_in_the_wrong_fold_is_found(folder: Path) -> None:
    """The number of lines is right, but the first fold lacks one: all later lines would be scored one fold too early."""
    lines = PAIRS.splitlines()
    (folder / "pairs.txt").write_text("\n".join([lines[0], *lines[2:], "Bob\t2\t3"]))
    with pytest.raises(DataError, match=r"line 3: the pair shows two people, but fold 1 needs one person here") as raised:
        opened(f"lfw:{folder}")
    assert "line 5: the pair shows" not in str(raised.value)  # one fault per fold is enough
    assert "line 7: the pair shows two people, but fold 2" in str(raised.value)


def test_byte_order_marks_windows_line_ends_and_empty_lines_mean_nothing(folder: Path) -> None:
    expected = opened(f"lfw:{folder}")
    (folder / "pairs.txt").write_bytes(b"\xef\xbb\xbf" + PAIRS.replace("\n", " \r\n\r\n").encode())
    assert opened(f"lfw:{folder}").pairs == expected.pairs


# -- scores ------------------------------------------------------------------------------------------------------------


def unit(degrees: float) -> Any:
    return np.array([np.cos(np.radians(degrees)), np.sin(np.radians(degrees))], np.float32)


def test_scores_by_hand() -> None:
    # cosines of the angles between the two pictures of each pair; lengths don't count
    angles = [(10, True, 0), (50, False, 0), (20, True, 1), (15, False, 1), (30, True, 2), (60, False, 2)]
    pairs, rows, keys = [], [], []
    for index, (angle, same, fold) in enumerate(angles):
        pairs.append(Pair(f"{index}a", f"{index}b", same, fold))
        rows += [unit(index * 7), 3 * unit(index * 7 + angle)]
        keys += [f"{index}a", f"{index}b"]
    metric = PairsMetric((), pairs)
    order = np.random.default_rng(0).permutation(len(rows))
    metric.update([rows[i] for i in order], [None] * len(rows), [keys[i] for i in order])
    result = metric.compute()
    # fold 0: on the others 20, 30 | 15, 60 the lowest best threshold lies between 30 and 60 degrees: at (cos 30 + cos 60) / 2 = cos 46.9
    # fold 1: on 10, 30 | 50, 60 between 30 and 50: right for 20 (genuine), wrong for 15 (impostor)
    # fold 2: on 10, 20 | 50, 15 between 20 and 50 ((cos 20 + cos 50) / 2 = cos 37.7): right for both
    assert [fold["accuracy"] for fold in result.details["per_fold"]] == [1.0, 0.5, 1.0]
    threshold = result.details["per_fold"][0]["threshold"]
    assert threshold == pytest.approx((np.cos(np.radians(30)) + np.cos(np.radians(60))) / 2, abs=1e-6)
    assert result.scores["accuracy"] == pytest.approx(5 / 6)
    assert result.scores["accuracy_std"] == pytest.approx(np.std([1, 0.5, 1], ddof=1) / np.sqrt(3))
    expected = roc_auc_score([same for _, same, _ in angles], [np.cos(np.radians(angle)) for angle, _, _ in angles])
    assert result.scores["auc"] == pytest.approx(expected)
    assert result.scores["rank1"] is None  # the identities are unknown
    assert result.details["pairs"] == {"genuine": 3, "impostor": 3, "missing": 0}


def test_pairs_left_out_are_counted(folder: Path) -> None:
    (folder / "Cy/Cy_0001.jpg").unlink()
    dataset = opened(f"lfw:{folder}", "skip")
    metric = get_task("face").scoring.metric(dataset, ())
    assert isinstance(metric, PairsMetric)
    rng = np.random.default_rng(0)
    metric.update([rng.normal(size=4) for _ in dataset.keys], [record.target for record in dataset.records], dataset.keys)
    result = metric.compute()
    assert result.details["pairs"] == {"genuine": 4, "impostor": 2, "missing": 2}
    assert result.scores["accuracy"] is not None
    assert result.scores["rank1"] is not None
    assert result.details["identities"] == 3


def test_one_fold_supports_no_accuracy_and_nothing_no_scores() -> None:
    metric = PairsMetric((), [Pair("a", "b", True, 0)])
    result = metric.compute()
    assert set(result.scores.values()) == {None}
    assert result.details["pairs"] == {"genuine": 0, "impostor": 0, "missing": 1}
    metric.update([unit(0), unit(1)], [None, None], ["a", "b"])
    result = metric.compute()
    assert result.scores["accuracy"] is None
    assert "accuracy needs at least two folds of pairs" in result.details["note"]


def test_embeddings_that_are_not_finite_are_refused() -> None:
    with pytest.raises(InputError, match="a: its embedding is not finite"):
        PairsMetric((), []).update([np.array([np.nan])], [None], ["a"])
