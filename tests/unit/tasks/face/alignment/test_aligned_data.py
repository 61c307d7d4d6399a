"""Evaluation and training with face alignment: the cache of aligned faces, and images without a face."""

from __future__ import annotations

import os
import pickle
import shutil
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

import zoo
from tests.finders import POINTS, BrightFinder, OnePlace, bright_quarter, green_quarter
from tests.listening import Listening
from tests.pictures import cut_short, write_picture
from tests.unit.tasks.face.training.test_training import RECIPE, fresh, people
from zoo.data.dataset import Dataset, OnError, Record
from zoo.data.fingerprint import data_fingerprint
from zoo.errors import DataError, Fault, ImageError, InputError
from zoo.images import decoding
from zoo.images.decoding import Decoding
from zoo.system import cache as cache_folder
from zoo.system.progress import Progress
from zoo.task.answers import Aligning
from zoo.task.contract import get_task
from zoo.tasks.face.alignment.aligner import align
from zoo.tasks.face.detection.faces import Found

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("ZOO_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "aligned"


@dataclass(frozen=True)
class Counting(BrightFinder):
    """Finder that records how often it is called."""

    looks: list[int] = field(default_factory=list)

    def __call__(self, image: NDArray[np.uint8]) -> Found:
        self.looks.append(1)
        return super().__call__(image)


def photos(folder: Path, people_count: int = 6, pictures: int = 3, without: tuple[str, ...] = (), seed: int = 0) -> Path:
    """Write one folder per person with noise of the person's colour in a quarter of each image; images in `without` are black."""
    rng = np.random.default_rng(seed)
    for person in range(people_count):
        colour = rng.integers(150, 250, 3)
        for number in range(pictures):
            image = bright_quarter()
            if f"p{person}/{number}.png" not in without:
                image[:32, 32:] = np.clip(colour + rng.integers(-20, 20, (32, 32, 3)), 0, 255)
            write_picture(folder / f"p{person}" / f"{number}.png", image)
    return folder


def test_what_is_not_found_is_counted_and_named(tmp_path: Path) -> None:
    lost = ("p0/1.png", "p4/2.png")
    folder = photos(tmp_path / "data", without=lost)
    scores = zoo.evaluate(fresh(alignment="arcface"), f"identities:{folder}", align=BrightFinder(), replicates=0)
    assert (scores.n, scores.expected) == (16, 18)
    assert {fault.key: (fault.kind, fault.whole) for fault in scores.skipped} == dict.fromkeys(lost, ("no-face", True))
    assert not set(lost) & set(scores.sample_keys)
    alignment = scores.details["alignment"]
    assert (alignment["found"], alignment["not_found"]) == (16, list(lost))
    assert (alignment["template"], alignment["size_hw"], alignment["detector"]) == ("arcface", [32, 32], "bright")
    accuracy, everything = scores["accuracy"], scores["accuracy_all"]
    assert accuracy is not None
    assert everything is not None
    assert everything < accuracy, "pairs with an image without a face count as errors in accuracy_all"
    assert scores.to_dict()["details"]["alignment"] == alignment


def test_pairs_of_which_a_face_was_not_found_count_as_errors(tmp_path: Path) -> None:
    folder = photos(tmp_path / "lfw", 4, 3, without=("p0/0.png",))
    for person in range(4):
        for number in range(3):
            (folder / f"p{person}" / f"{number}.png").rename(folder / f"p{person}" / f"p{person}_{number + 1:04d}.png")
    same, other = "p{0}\t1\t2\np{1}\t2\t3\n", "p{0}\t1\tp{1}\t1\np{0}\t2\tp{1}\t3\n"
    (folder / "pairs.txt").write_text("2\t2\n" + (same + other).format(0, 1) + (same + other).format(2, 3))
    scores = zoo.evaluate(fresh(alignment="arcface"), f"lfw:{folder}", align=BrightFinder(), replicates=0)
    assert scores.details["pairs"] == {"genuine": 3, "impostor": 3, "missing": 2}, "one pair of each kind is missing in the first fold"
    first, second = (fold["accuracy"] for fold in scores.details["per_fold"])
    assert first + second > 0
    assert scores["accuracy"] == pytest.approx((first + second) / 2)
    assert scores["accuracy_all"] == pytest.approx((first * 2 / 4 + second) / 2)


def test_the_face_that_a_picture_is_of_is_the_central_one() -> None:
    class Two(BrightFinder):
        def __call__(self, image: NDArray[np.uint8]) -> Found:
            boxes = np.array([(0, 0, 30, 30), (20, 20, 44, 44)], np.float32)  # the larger one is at the edge
            points = boxes[:, None, :2] + POINTS * (boxes[:, 2:] - boxes[:, :2])[:, None]
            return Found(boxes, np.array([0.9, 0.8], np.float32), points.astype(np.float32))

    image = np.random.default_rng(0).integers(0, 256, (64, 64, 3)).astype(np.uint8)
    aligning, found = Aligning(Two(), Decoding(), False, Progress(enabled=False)), Two()(image)
    aligned = get_task("face").align(Dataset("one", (Record("a", image, 0),), ("a",)), [fresh(alignment="arcface")], aligning)
    np.testing.assert_array_equal(aligned.dataset[0].image, align(image, found.landmarks[1], found.boxes[1], "arcface", (32, 32)))


def test_the_model_sees_the_aligned_faces(tmp_path: Path) -> None:
    folder = photos(tmp_path / "data")
    model, finder = fresh(alignment="arcface"), BrightFinder()
    aligned = Dataset(
        "by hand",
        tuple(
            Record(file.relative_to(folder).as_posix(), align(image, found.landmarks[0], found.boxes[0], "arcface", (32, 32)), person)
            for person in range(6)
            for file in sorted((folder / f"p{person}").iterdir())
            for image in [decoding.read(file)]
            for found in [finder(image)]
        ),
        tuple(f"p{person}" for person in range(6)),
    )
    expected = zoo.evaluate(model, aligned, replicates=0)
    found = zoo.evaluate(model, f"identities:{folder}", align=finder, replicates=0)
    assert dict(found) == dict(expected)
    assert dict(found) != dict(zoo.evaluate(model, f"identities:{folder}", replicates=0))


def test_faces_are_kept_and_found_again(tmp_path: Path, cache: Path) -> None:
    folder, finder, model = photos(tmp_path / "data", without=("p1/1.png",)), Counting(), fresh(alignment="arcface")
    listening = Listening()
    first = zoo.evaluate(model, f"identities:{folder}", align=finder, replicates=0, progress=listening)
    # the black image has an entry too, keyed by its bytes like the others
    assert len(finder.looks) == 18 == len(list(cache.iterdir()))
    again = zoo.evaluate(model, f"identities:{folder}", align=finder, replicates=0)
    assert len(finder.looks) == 18
    assert dict(again) == dict(first)
    assert again.details["alignment"] == first.details["alignment"]
    copied = photos(tmp_path / "elsewhere", without=("p1/1.png",))
    zoo.evaluate(model, f"identities:{copied}", align=finder, replicates=0)
    assert len(finder.looks) == 18, "the same images in another folder"
    write_picture(folder / "p0" / "0.png", bright_quarter(2))
    zoo.evaluate(model, f"identities:{folder}", align=finder, replicates=0)
    assert len(finder.looks) == 19, "a changed image"
    zoo.evaluate(model, f"identities:{folder}", align=replace(finder, level=90), replicates=0)
    assert len(finder.looks) == 37, "another finder setting"
    zoo.evaluate(fresh(alignment="dlib"), f"identities:{folder}", align=finder, replicates=0)
    assert len(finder.looks) == 55, "another template"


def test_where_nothing_can_be_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder, model = photos(tmp_path / "data", without=("p1/1.png",)), fresh(alignment="arcface")
    expected = zoo.evaluate(model, f"identities:{folder}", align=BrightFinder(), replicates=0)
    (tmp_path / "file").write_text("no folder")
    monkeypatch.setenv("ZOO_CACHE", str(tmp_path / "file"))
    found = zoo.evaluate(model, f"identities:{folder}", align=BrightFinder(), replicates=0)
    assert dict(found) == dict(expected)
    assert found.n == 17


def test_the_cache_is_kept_within_its_limit(tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("zoo.tasks.face.alignment.dataset.LIMIT_BYTES", 1)
    model = fresh(alignment="arcface")
    zoo.evaluate(model, f"identities:{photos(tmp_path / 'old')}", align=BrightFinder(), replicates=0)
    before = set(cache.iterdir())
    assert len(before) == 18, "no entry of the current data is deleted, whatever its size"
    for path in before:
        os.utime(path, (1, 1))
    zoo.evaluate(model, f"identities:{photos(tmp_path / 'new', 7, 2, seed=1)}", align=BrightFinder(), replicates=0)
    assert not before & set(cache.iterdir()), "unused entries are deleted until the cache is small enough"
    assert cache_folder.cache_folder("aligned") == cache


def test_pictures_in_memory(tmp_path: Path) -> None:
    finder = Counting()
    records = tuple(
        Record(f"{person}/{number}", bright_quarter(1, level=150 + 9 * person + number), person) for person in range(5) for number in (0, 1)
    )
    data = Dataset("memory", records, tuple("abcde"))
    for _ in range(2):
        assert zoo.evaluate(fresh(alignment="arcface"), data, align=finder, replicates=0).n == 10
    assert len(finder.looks) == 10


def test_what_cant_be_read(tmp_path: Path) -> None:
    folder, model = photos(tmp_path / "data"), fresh(alignment="arcface")
    cut_short(folder / "p2" / "0.png")
    with pytest.raises(ImageError, match=r"p2/0.png: is (damaged|cut short)"):
        zoo.evaluate(model, f"identities:{folder}", align=BrightFinder())
    scores = zoo.evaluate(model, f"identities:{folder}", align=BrightFinder(), on_error="skip", replicates=0)
    assert [fault.key for fault in scores.skipped] == ["p2/0.png"]
    assert scores.details["alignment"]["not_found"] == []


def test_what_cant_be_aligned(tmp_path: Path) -> None:
    folder = photos(tmp_path / "data", 4, 2)
    with pytest.raises(DataError, match="no face was found in any of its 8 images"):
        zoo.evaluate(fresh(alignment="arcface"), f"identities:{folder}", align=BrightFinder(level=254))
    with pytest.raises(InputError, match=r"need different alignments \(arcface at 32×32 and dlib at 32×32\)"):
        zoo.evaluate([fresh(alignment="arcface"), fresh(alignment="dlib")], f"identities:{folder}", align=BrightFinder())
    with pytest.raises(InputError, match="the task classification processes whole images and doesn't support align"):
        zoo.evaluate(zoo.build("resnet20", classes=["p0", "p1", "p2", "p3"]), f"folder:{folder}", align="mtcnn")


@dataclass(frozen=True)
class Clearing(BrightFinder):
    """Finder that deletes the cache on every call, as a user might meanwhile."""

    folder: Path = Path()

    def __call__(self, image: NDArray[np.uint8]) -> Found:
        shutil.rmtree(self.folder, ignore_errors=True)
        return super().__call__(image)


@pytest.mark.parametrize("on_error", ["raise", "skip"])
def test_the_cache_may_be_cleared_at_any_time(tmp_path: Path, cache: Path, on_error: OnError) -> None:
    folder, model = photos(tmp_path / "data", without=("p1/1.png",)), fresh(alignment="arcface")
    expected = zoo.evaluate(model, f"identities:{folder}", align=BrightFinder(), replicates=0)
    found = zoo.evaluate(model, f"identities:{folder}", align=Clearing(folder=cache), on_error=on_error, replicates=0)
    assert dict(found) == dict(expected)
    assert len(found.skipped) == 1


def aligned_photos(folder: Path, finder: Any) -> Dataset:
    task, aligning = get_task("face"), Aligning(finder, Decoding(), False, Progress(enabled=False))
    return task.align(task.open(f"identities:{folder}", "raise"), [fresh(alignment="arcface")], aligning).dataset


def test_a_face_that_is_gone_or_damaged_is_made_and_kept_again(tmp_path: Path, cache: Path) -> None:
    finder = Counting()
    record = aligned_photos(photos(tmp_path / "data", 2, 2), finder).records[0]
    expected = record.load().image
    for spoil in (Path.unlink, cut_short):
        looks = len(finder.looks)
        spoil(record.source.place)  # type: ignore[union-attr]
        for _ in range(2):
            np.testing.assert_array_equal(record.load().image, expected)
        assert len(finder.looks) == looks + 1
    elsewhere = pickle.loads(pickle.dumps(record))  # as on the way to a loader process
    np.testing.assert_array_equal(elsewhere.load().image, expected)
    assert data_fingerprint(Dataset("", (record,))) != data_fingerprint(Dataset("", (replace(record, source=expected),)))


def test_a_face_that_can_t_be_made_again(tmp_path: Path, cache: Path) -> None:
    folder = photos(tmp_path / "data", 2, 2)
    first, second, *_ = aligned_photos(folder, BrightFinder()).records
    shutil.rmtree(cache)
    write_picture(folder / first.key, bright_quarter())
    with pytest.raises(ImageError, match=f"{first.key}: no face was found in it, but a face was detected earlier; the image has changed"):
        first.load()
    (folder / second.key).unlink()
    with pytest.raises(ImageError, match=rf"{second.key}: does not exist"):
        second.load()


def test_a_face_that_can_t_be_aligned_is_named_and_may_be_left_out(tmp_path: Path) -> None:
    folder, model = photos(tmp_path / "data"), fresh(alignment="arcface")
    write_picture(folder / "p2" / "0.png", green_quarter(1))
    said = "p2/0.png: the face can't be aligned, because its five landmarks coincide"
    with pytest.raises(ImageError, match=said):
        zoo.evaluate(model, f"identities:{folder}", align=OnePlace())
    scores = zoo.evaluate(model, f"identities:{folder}", align=OnePlace(), on_error="skip", replicates=0)
    assert [str(fault)[: len(said)] for fault in scores.skipped] == [said]
    assert scores.n == 17
    with pytest.raises(ImageError, match=said):
        list(zoo.predict(model, folder, detector=OnePlace()))
    skipped: list[Fault] = []
    assert len(list(zoo.predict(model, folder, detector=OnePlace(), on_error="skip", skipped=skipped, batch_size=5))) == 17
    assert [fault.key for fault in skipped] == [str(folder / "p2" / "0.png")]


# -- training ----------------------------------------------------------------------------------------------------------


def test_training_on_aligned_faces(tmp_path: Path) -> None:
    folder, val = photos(tmp_path / "data", 5, 3), photos(tmp_path / "val", 5, 2, without=("p0/0.png",))
    run = zoo.train(
        fresh(alignment="arcface"), f"identities:{folder}", f"identities:{val}", RECIPE, tmp_path / "run", align=BrightFinder()
    )  # fmt: skip
    assert len(run.history) == 2
    assert run.scores is not None
    assert (run.scores.n, run.scores.expected) == (9, 10)
    assert [fault.key for fault in run.scores.skipped] == ["p0/0.png"]
    summary = run.model.metadata["training"]["alignment"]
    assert summary["data"]["found"] == 15
    assert summary["val"]["not_found"] == ["p0/0.png"]
    assert zoo.load(tmp_path / "run").preprocess.alignment == "arcface"
    again: Any = {"recipe": RECIPE, "out": tmp_path / "run", "resume": True}
    with pytest.raises(InputError, match=r"can't be resumed with different settings or data: .*level was 100, is 90"):
        zoo.train(fresh(alignment="arcface"), f"identities:{folder}", f"identities:{val}", align=BrightFinder(90), **again)


def test_what_a_run_reads_stays_whatever_the_limit(tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder, val = photos(tmp_path / "data", 5, 3), photos(tmp_path / "val", 8, 2, seed=1)
    monkeypatch.setattr("zoo.tasks.face.alignment.dataset.LIMIT_BYTES", 1)
    zoo.evaluate(fresh(alignment="arcface"), f"identities:{photos(tmp_path / 'old', 9, 1, seed=2)}", align=BrightFinder(), replicates=0)
    finder = Counting()
    zoo.train(fresh(alignment="arcface"), f"identities:{folder}", f"identities:{val}", RECIPE, tmp_path / "run", align=finder)
    assert len(finder.looks) == 31 == len(set(cache.iterdir())), "each face was found once, and entries of other data are gone"


def test_training_pictures_without_a_face(tmp_path: Path) -> None:
    folder = photos(tmp_path / "data", 5, 3, without=("p3/1.png",))
    with pytest.raises(DataError, match=r"nothing to align was detected in 1 of 15 images:\n  p3/1.png: no face(.|\n)*--skip-bad"):
        zoo.train(fresh(alignment="arcface"), f"identities:{folder}", None, RECIPE, tmp_path / "run", align=BrightFinder())
    listening = Listening()
    run = zoo.train(
        fresh(alignment="arcface"), f"identities:{folder}", None, RECIPE, tmp_path / "run", align=BrightFinder(), on_error="skip",
        progress=listening,
    )  # fmt: skip
    assert [fault.key for fault in run.skipped] == ["p3/1.png"]
    assert any("skipped: p3/1.png: no face was found" in line for line in listening.lines)


def test_a_model_that_learns_from_no_template(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"\(task face\) has no alignment template; .*alignment="):
        zoo.train(fresh(), people(), None, RECIPE, tmp_path / "run", align=BrightFinder())


@pytest.mark.parametrize(("rank", "processes"), [(0, 1), (1, 2), (2, 3)])
def test_each_process_begins_elsewhere_and_answers_alike(tmp_path: Path, rank: int, processes: int) -> None:
    order: list[str] = []

    @dataclass(frozen=True)
    class Noting(BrightFinder):
        def __call__(self, image: NDArray[np.uint8]) -> Found:
            order.append(str(int(image[0, 40, 0])))
            return super().__call__(image)

    records = tuple(
        Record(str(level), bright_quarter(1, level=level) if level != 180 else bright_quarter(), 0) for level in range(150, 210, 10)
    )
    data = Dataset("memory", records, ("a",))
    aligning = Aligning(Noting(), Decoding(), False, Progress(enabled=False), rank, processes)
    aligned = get_task("face").align(data, [fresh(alignment="arcface")], aligning)
    assert aligned.dataset.keys == ("150", "160", "170", "190", "200")
    assert [fault.key for fault in aligned.left_out] == ["180"]
    assert order[0] == {0: "150", 1: "0", 2: "190"}[rank]  # the image without a face is black
    assert len(order) == 6
