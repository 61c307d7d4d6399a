"""`identities:`, `demo:faces` and the training augmentation."""

from __future__ import annotations

import pickle
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from zoo.data.dataset import Dataset, OnError, Sample
from zoo.data.formats import open_data
from zoo.errors import DataError, InputError, UnknownNameError
from zoo.tasks.face.datasets import SCHEMES
from zoo.tasks.face.training.augment import Augment
from zoo.tasks.face.training.recipe import FaceRecipe


def opened(data: str, on_error: OnError = "raise") -> Dataset:
    return open_data(data, SCHEMES, "face", on_error)


def people(folder: Path, **pictures: int) -> Path:
    """Write the given number of grey images per person, named 1.png and up."""
    for person, count in pictures.items():
        (folder / person).mkdir(parents=True)
        for index in range(count):
            cv2.imwrite(str(folder / person / f"{index + 1}.png"), np.full((6, 4), 20 * index, np.uint8))
    return folder


def test_people_and_pictures_are_in_natural_order(tmp_path: Path) -> None:
    root = people(tmp_path, s10=2, s2=11)
    (root / "s2" / "notes.txt").write_text("not a picture")
    dataset = opened(f"identities:{root}")
    assert dataset.classes == ("s2", "s10")
    assert dataset.keys == (*(f"s2/{index}.png" for index in range(1, 12)), "s10/1.png", "s10/2.png")
    assert [sample.target for sample in dataset] == [0] * 11 + [1] * 2
    assert dataset[12].image.shape == (6, 4, 3)
    assert (dataset[12].image == 20).all()


def test_splits_are_folders(tmp_path: Path) -> None:
    people(tmp_path / "train", a=1, b=2)
    people(tmp_path / "test", c=1)
    dataset = opened(f"identities:{tmp_path}?split=train")
    assert (dataset.classes, dataset.keys) == (("a", "b"), ("train/a/1.png", "train/b/1.png", "train/b/2.png"))
    assert opened(f"{tmp_path}?split=test").keys == ("test/c/1.png",)  # recognised
    with pytest.raises(InputError, match=r"has the splits test, train; choose one with \?split="):
        opened(f"identities:{tmp_path}")
    with pytest.raises(InputError, match=r"no split 'val' .* its folders are: test, train"):
        opened(f"identities:{tmp_path}?split=val")


def test_splits_can_be_read_as_one_set(tmp_path: Path) -> None:
    people(tmp_path / "train", s10=1, s2=2)
    people(tmp_path / "test", s2=1, s3=1)
    dataset = opened(f"identities:{tmp_path}?split=train,test")
    assert dataset.classes == ("s2", "s3", "s10")
    assert [(key.split("/")[0], record.target) for key, record in zip(dataset.keys, dataset.records, strict=True)] == [
        ("test", 0), ("train", 0), ("train", 0), ("test", 1), ("train", 2),
    ]  # fmt: skip
    with pytest.raises(InputError, match="split lists a name twice"):
        opened(f"identities:{tmp_path}?split=test, test")
    with pytest.raises(InputError, match="no split 'val'"):
        opened(f"identities:{tmp_path}?split=train,val")


def test_people_can_be_chosen(tmp_path: Path) -> None:
    dataset = opened(f"identities:{people(tmp_path, a=1, b=2, c=1)}?classes=c,b&limit=2")
    assert dataset.classes == ("c", "b")
    assert [(record.key, record.target) for record in dataset.records] == [("b/1.png", 1), ("b/2.png", 1)]


def test_all_faults_come_in_one_message_and_can_be_skipped(tmp_path: Path) -> None:
    root = people(tmp_path, a=1, b=0, c=1)
    cv2.imwrite(str(root / "loose.png"), np.zeros((2, 2), np.uint8))
    with pytest.raises(
        DataError, match=r"(?s)2 errors.*loose\.png: the image is not in a person folder.*b: the person folder contains no images"
    ):
        opened(f"identities:{root}")
    dataset = opened(f"identities:{root}", "skip")
    assert dataset.classes == ("a", "c")
    assert [sample.target for sample in dataset] == [0, 1]
    assert [fault.key for fault in dataset.skipped] == ["loose.png", str(root / "b")]


def test_a_folder_without_people(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"no person folders in .*; expected one folder of images per person"):
        opened(f"identities:{tmp_path}")
    with pytest.raises(InputError, match="no data format of the task face was recognised"):
        opened(str(tmp_path))
    with pytest.raises(DataError, match="does not exist"):
        opened(f"identities:{tmp_path}/nowhere")


def test_the_real_faces_of_orl(shared_data: Path) -> None:
    train, test = (opened(f"identities:{shared_data}/orl?split={split}") for split in ("train", "test"))
    assert (len(train), len(test), len(train.classes), len(test.classes)) == (240, 160, 24, 16)
    assert not set(train.classes) & set(test.classes)
    assert train.keys[:2] == ("train/s1/1.pgm", "train/s1/2.pgm")
    assert test[0].image.shape == (112, 92, 3)


def test_drawn_faces_are_the_same_every_time_and_different_from_each_other() -> None:
    first, second = opened("demo:faces?people=4&per_person=3"), opened("demo:faces?people=4&per_person=3")
    pictures = [sample.image for sample in first]
    assert {(image.shape, image.dtype) for image in pictures} == {((112, 112, 3), np.dtype(np.uint8))}
    assert all((one == other.image).all() for one, other in zip(pictures, second, strict=True))
    assert len({image.tobytes() for image in pictures}) == 12
    assert (opened("demo:faces?people=2&per_person=1&seed=1")[0].image != pictures[0]).any()
    # a person's appearance doesn't depend on the number of people
    assert (opened("demo:faces?people=2&per_person=1")[1].image == pictures[3]).all()


def test_drawn_people_of_train_and_test_are_not_the_same() -> None:
    train, test, whole = (opened(f"demo:faces{split}") for split in ("?split=train", "?split=test", ""))
    assert (len(train), len(test), len(whole)) == (800, 200, 1000)
    assert (len(train.classes), len(test.classes)) == (80, 20)
    assert not set(train.classes) & set(test.classes)
    assert set(train.keys) | set(test.keys) == set(whole.keys)
    assert test.records[10].key == "person-0005/000"
    assert test.classes[test.records[10].target] == "person-0005"


def test_drawn_pictures_travel_to_loader_processes() -> None:
    dataset = opened("demo:faces?people=1&per_person=1")
    assert (pickle.loads(pickle.dumps(dataset))[0].image == dataset[0].image).all()


def test_a_drawn_person_resembles_itself() -> None:
    """In averages over many images, pose, light and background cancel out and the person remains."""
    dataset = opened("demo:faces?people=6&per_person=40")
    middle = np.stack([sample.image[24:96, 30:82] for sample in dataset]).astype(float)
    means = middle.reshape(6, 2, 20, -1).mean(2)
    distance = np.linalg.norm(means[:, None, 0] - means[None, :, 1], axis=2)
    assert np.diag(distance).mean() < 0.6 * distance[~np.eye(6, dtype=bool)].mean()


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ("demo:facets", "unknown demo data of face 'facets'. Nearest: faces"),
        ("demo:faces?split=val", "split is 'val'; expected train or test"),
        ("demo:faces?people=0", "people is '0'; expected a whole number, 1 or more"),
        ("demo:faces?seed=-1", "seed is '-1'; expected a whole number, 0 or more"),
        ("demo:faces?persons=3", "unknown option of demo: 'persons'. Nearest: per_person"),
        ("demo:faces?people=1&split=train", "has no samples"),
    ],
)
def test_wrong_demo_data(data: str, message: str) -> None:
    with pytest.raises(InputError, match=message.replace("?", r"\?")):
        opened(data)


def test_an_unknown_scheme_lists_the_nearest() -> None:
    with pytest.raises(UnknownNameError, match=r"unknown data format of face 'identity'\. Nearest: identities"):
        opened("identity:somewhere")


STILL = FaceRecipe(flip=0, rotation=0, shift=0, zoom=0, light=0)


def augmented(recipe: FaceRecipe, image: NDArray[np.uint8], seed: int = 0) -> NDArray[np.uint8]:
    torch.manual_seed(seed)
    sample = Augment(recipe)(Sample(image, 3, "key"))
    assert (sample.target, sample.key, sample.image.shape, sample.image.dtype) == (3, "key", image.shape, np.dtype(np.uint8))
    return sample.image


def picture() -> NDArray[np.uint8]:
    return np.random.default_rng(0).integers(0, 256, (20, 14, 3), dtype=np.uint8)


def test_without_ranges_nothing_changes() -> None:
    assert (augmented(STILL, picture()) == picture()).all()


def test_a_mirror_image_is_exact() -> None:
    assert (augmented(replace(STILL, flip=1), picture()) == picture()[:, ::-1]).all()


def test_movements_keep_the_middle_and_continue_the_border() -> None:
    image = np.full((41, 41, 3), 200, np.uint8)
    assert (augmented(FaceRecipe(light=0), image) == 200).all()  # no black wedges
    image[20, 20] = 0
    turned = augmented(replace(STILL, rotation=30), image)
    assert (turned[20, 20] < 60).all()


@pytest.mark.parametrize(
    ("recipe", "reach"),
    [(replace(STILL, shift=0.2), 8.5), (replace(STILL, zoom=0.4), 0.5), (replace(STILL, rotation=40), 0.5)],
    ids=["shift", "zoom", "rotation"],
)
def test_how_far_the_middle_moves(recipe: FaceRecipe, reach: float) -> None:
    image = np.zeros((41, 41, 3), np.uint8)
    image[19:22, 19:22] = 255
    places = [np.argwhere(augmented(recipe, image, seed)[:, :, 0] > 100).mean(0) for seed in range(30)]
    away = np.abs(np.array(places) - 20).max()
    assert away <= reach
    assert not recipe.shift or away > 5


def test_light_changes_brightness_within_its_range() -> None:
    image = np.full((8, 8, 3), 100, np.uint8)
    levels = [int(augmented(replace(STILL, light=0.3), image, seed)[0, 0, 0]) for seed in range(50)]
    assert 70 <= min(levels) < 80
    assert 120 < max(levels) <= 130
    striped = np.tile(np.array([[[90] * 3, [110] * 3]], np.uint8), (8, 4, 1))
    spans = [float(np.ptp(augmented(replace(STILL, light=0.3), striped, seed))) for seed in range(50)]
    assert 9 <= min(spans) < 15
    assert 24 < max(spans) <= 34  # 20 × 1.3 × 1.3


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"flip": 1.5}, "flip is 1.5"),
        ({"light": -0.1}, "light is -0.1"),
        ({"zoom": 0.6}, "zoom is 0.6"),
        ({"rotation": 200.0}, "rotation is 200.0"),
    ],
)
def test_changes_that_leave_no_face(values: dict[str, float], message: str) -> None:
    with pytest.raises(InputError, match=message):
        FaceRecipe(**values)  # type: ignore[arg-type]  # one float setting each
