"""Dataset check of duplicate images, and the search for them."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from tests.damaged import check, scene, write, write_folders, write_voc
from tests.pictures import write_picture
from zoo.curation.check.duplicates import near_pairs
from zoo.curation.check.pictures import grey_thumbnail, perceptual_hash
from zoo.errors import InputError


def resaved(image: NDArray[np.uint8], quality: int = 60) -> NDArray[np.uint8]:
    """Return an image after JPEG compression."""
    done, data = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, quality])
    assert done
    return np.asarray(cv2.imdecode(data, cv2.IMREAD_UNCHANGED), np.uint8)


def _write(root: Path, key: str, seed: int) -> None:
    write_picture(root / key, scene(seed))


def _kinds(root: Path, scheme: str = "folder", task: str = "classification", near: int = 4) -> list[tuple[str, str, str]]:
    found = check(f"{scheme}:{root}", task, near=near)
    return [(f.kind, f.severity, f.key) for f in found.findings]


def test_the_same_picture_in_two_splits_is_a_leak(tmp_path: Path) -> None:
    write_folders(tmp_path, splits=("train", "test"))
    write_picture(tmp_path / "test" / "dog" / "copy.bmp", scene(2))  # train/cat/1.png in another format, under another label
    found = check(f"folder:{tmp_path}")
    (leak,) = found.findings
    assert (leak.kind, leak.key, leak.others) == ("leak", "test/dog/copy.bmp", ("train/cat/1.png",))
    assert "in the splits test and train, labelled 'cat' and 'dog'" in leak.text
    assert found.splits == {"test": 7, "train": 6}
    assert not found.ok


def test_a_resaved_and_halved_picture_in_two_splits_is_a_near_leak(tmp_path: Path) -> None:
    write_folders(tmp_path, splits=("train", "val"))
    half = cv2.resize(resaved(scene(2)), (32, 24), interpolation=cv2.INTER_AREA)
    write_picture(tmp_path / "val" / "cat" / "copy.png", np.asarray(half, np.uint8))
    (leak,) = check(f"folder:{tmp_path}").findings
    assert (leak.kind, leak.severity, {leak.key, *leak.others}) == ("near-leak", "error", {"val/cat/copy.png", "train/cat/1.png"})


def test_within_a_split_copies_are_told_by_their_labels(tmp_path: Path) -> None:
    write_folders(tmp_path)
    _write(tmp_path, "cat/copy.png", 1)
    assert _kinds(tmp_path) == [("duplicate", "warning", "cat/0.png")]
    _write(tmp_path, "dog/copy.png", 1)
    assert _kinds(tmp_path) == [("two-labels", "error", "cat/0.png")]
    assert _kinds(tmp_path, "identities", "face") == [("two-names", "error", "cat/0.png")]


def test_near_copies_under_two_labels_are_worse_than_under_one(tmp_path: Path) -> None:
    write_folders(tmp_path)
    write_picture(tmp_path / "cat" / "copy.png", resaved(scene(1)))
    assert _kinds(tmp_path) == [("near-duplicate", "note", "cat/0.png")]
    assert check(f"folder:{tmp_path}").ok
    (tmp_path / "cat" / "copy.png").rename(tmp_path / "dog" / "copy.png")
    assert _kinds(tmp_path) == [("near-duplicate", "warning", "cat/0.png")]


def test_a_picture_listed_in_two_splits_is_a_leak(tmp_path: Path) -> None:
    write_voc(tmp_path, [[("cat", (4, 5, 30, 40))] for _ in range(4)], {"train": [0, 1, 2], "val": [2, 3], "trainval": [0, 1, 2, 3]})
    found = check(f"voc:{tmp_path}", "detection")
    assert [str(f) for f in found.findings] == ["JPEGImages/2.png: is listed in the splits train and val"]
    assert found.splits == {"train": 3, "val": 2}


def test_a_table_with_a_column_of_splits_is_read_whole(tmp_path: Path) -> None:
    write_folders(tmp_path)
    _write(tmp_path, "cat/copy.png", 1)
    rows = [("cat/0.png", "cat", "train"), ("dog/0.png", "dog", "train"), ("cat/copy.png", "cat", "test"), ("dog/1.png", "dog", "test")]
    write(tmp_path / "labels.csv", "path,label,split\n" + "".join(f"{','.join(row)}\n" for row in rows))
    found = check(f"csv:{tmp_path / 'labels.csv'}")
    assert found.splits == {"test": 2, "train": 2}
    assert found.counts["leak"] == 1
    assert [f.key for f in found.of("no-annotation")] == ["cat/1.png", "cat/2.png", "dog/2.png"]


def test_blank_pictures_are_not_called_equal(tmp_path: Path) -> None:
    write_folders(tmp_path)
    for name in ("a", "b"):
        write_picture(tmp_path / "cat" / f"{name}.png", np.full((48, 64, 3), 255, np.uint8))
    assert [kind for kind, _, _ in _kinds(tmp_path)] == ["blank", "blank"]


def test_pictures_that_share_a_hash_by_chance_are_told_apart(tmp_path: Path) -> None:
    """The hash contains only the signs of low frequencies; the grey levels of the thumbnails decide."""
    ramp = np.repeat(np.linspace(0, 255, 64)[None], 48, 0)
    step = np.where(np.arange(64) < 32, 0.0, 255.0)[None].repeat(48, 0)
    for name, grey in (("ramp", ramp), ("step", step)):
        write_picture(tmp_path / "cat" / f"{name}.png", np.repeat(grey.astype(np.uint8)[..., None], 3, 2))
    write_folders(tmp_path)
    assert _kinds(tmp_path, near=32) == []


def test_near_must_be_a_number_of_bits(tmp_path: Path) -> None:
    for wrong in (-1, 33):
        with pytest.raises(InputError, match=f"near is {wrong}; expected a Hamming distance of 0 to 32"):
            check(f"folder:{write_folders(tmp_path)}", near=wrong)


@pytest.mark.parametrize("radius", [0, 1, 4, 11, 32])
def test_the_search_finds_what_comparing_all_finds(radius: int) -> None:
    random = np.random.default_rng(radius)
    base = random.integers(0, 2**64, 40, dtype=np.uint64)
    flips = np.uint64(1) << random.integers(0, 64, (6, 120)).astype(np.uint64)
    hashes = np.concatenate(
        [base, base[random.integers(0, 40, 120)] ^ np.bitwise_xor.reduce(flips * random.integers(0, 2, (6, 120)).astype(np.uint64))]
    )
    every = [(a, b) for a in range(160) for b in range(a + 1, 160) if (int(hashes[a]) ^ int(hashes[b])).bit_count() <= radius]
    assert [tuple(pair) for pair in near_pairs(hashes, radius).tolist()] == every
    assert every or radius == 0


def test_the_search_takes_no_and_equal_hashes() -> None:
    assert near_pairs(np.zeros(0, np.uint64), 4).shape == (0, 2)
    assert near_pairs(np.full(3, 7, np.uint64), 0).tolist() == [[0, 1], [0, 2], [1, 2]]


def test_the_hash_bears_what_happens_to_pictures_on_their_way() -> None:
    """Recompression, halving and brightening change the hash little; a different image has a different hash."""
    for seed in range(8):
        image = scene(seed, (120, 160))
        half = np.asarray(cv2.resize(image, (80, 60), interpolation=cv2.INTER_AREA), np.uint8)
        brighter = np.asarray(image // 2 + 60, np.uint8)
        moved = [(perceptual_hash(image) ^ perceptual_hash(other)).bit_count() for other in (resaved(image, 40), half, brighter)]
        assert max(moved) <= 4
        assert (perceptual_hash(image) ^ perceptual_hash(scene(seed + 100, (120, 160)))).bit_count() > 12


def test_a_thumbnail_keeps_levels() -> None:
    image = np.zeros((32, 64, 3), np.uint8)
    image[:, 32:] = 200
    small = grey_thumbnail(image, 16)
    assert small.shape == (16, 16)
    assert (small[:, :8] == 0).all()
    assert (small[:, 8:] == 200).all()
