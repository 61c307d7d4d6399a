"""Findings of the dataset check in real datasets; leaks, duplicates and invalid boxes were verified by eye."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.damaged import check
from zoo.curation.check.findings import Findings


def _of(found: Findings, kind: str) -> set[tuple[str, ...]]:
    return {(finding.key, *finding.others) for finding in found.of(kind)}


def test_bccd_has_two_boxes_without_area_and_one_field_in_two_splits(shared_data: Path) -> None:
    found = check(f"voc:{shared_data / 'bccd'}", "detection")
    assert found.splits == {"train": 205, "val": 87, "test": 72}
    assert found.classes == {"Platelets": 361, "RBC": 4153, "WBC": 372}  # 4,886 of the 4,888 boxes
    assert [(f.key, f.place, f.box) for f in found.of("box-no-area")] == [
        ("Annotations/BloodImage_00338.xml", "object 13", (504, 337, 504, 337)),
        ("Annotations/BloodImage_00343.xml", "object 4", (181, 329, 181, 329)),
    ]
    # the same microscope field at two focal planes: one for training, one for validation
    assert _of(found, "near-leak") == {("JPEGImages/BloodImage_00037.jpg", "JPEGImages/BloodImage_00038.jpg")}
    assert found.counts == {"box-no-area": 2, "near-leak": 1}
    assert not found.ok


def test_orl_has_nothing_but_pictures_of_a_person_taken_in_one_breath(shared_data: Path) -> None:
    found = check(f"identities:{shared_data / 'orl'}", "face")
    assert found.ok
    assert found.splits == {"train": 240, "test": 160}
    assert set(found.classes.values()) == {10}
    assert found.counts == {"near-duplicate": 25}
    # the closest pair: equal hashes, with the eyes slightly wider open
    assert ("test/s37/1.pgm", "test/s37/9.pgm") in _of(found, "near-duplicate")
    assert all(len({Path(name).parent for name in names}) == 1 for names in _of(found, "near-duplicate")), (
        "different people reported as duplicates"
    )


def test_coco_mini_is_small_for_its_classes(shared_data: Path) -> None:
    found = check(f"coco:{shared_data / 'coco-mini'}", "detection")
    assert (found.pictures, sum(found.classes.values()), len(found.classes)) == (32, 288, 80)
    assert found.counts == {"odd-mode": 1, "empty-class": 34, "unbalanced": 33}
    assert [finding.key for finding in found.of("odd-mode")] == ["000000000086.jpg"]  # an old grey photograph
    assert all("but person occurs 98 times" in finding.text for finding in found.of("unbalanced"))


@pytest.mark.slow
def test_cifar10_has_three_test_pictures_that_were_trained_on(shared_data: Path) -> None:
    """CIFAR-10's test set is known to contain near duplicates: Barz and Denzler 2020 ("Do we train on test data?") count 3.25 %."""
    found = check(f"folder:{shared_data / 'cifar10'}")
    assert found.splits == {"train": 6000, "test": 5000}
    assert _of(found, "near-leak") == {
        ("test/airplane/0164.jpg", "train/airplane/0571.jpg"),
        ("test/airplane/0324.jpg", "train/airplane/0542.jpg"),
        ("test/horse/0089.jpg", "train/horse/0338.jpg"),
    }
    assert found.counts == {"near-leak": 3, "near-duplicate": 2}
