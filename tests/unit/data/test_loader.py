"""Assignment of samples to batches, and their processing in the workers."""

from __future__ import annotations

import threading
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from tests.pictures import cut_short, picture, write_class_folders
from zoo.data.dataset import Dataset, Record, Sample
from zoo.data.formats import open_data
from zoo.data.loader import Batch, evaluation_loader, pick_batch_size, training_loader
from zoo.data.sampling import Balanced, Shuffled, TrainingPlan
from zoo.errors import ImageError, InputError
from zoo.images.preprocess import ImageBatch, Preprocess
from zoo.system.hardware import pick_decoding_threads
from zoo.tasks.classification.datasets import SCHEMES

pytestmark = pytest.mark.usefixtures("one_thread")

PREPROCESS = Preprocess("squash", (8, 8))


def samples(count: int) -> Dataset:
    return Dataset("made", tuple(Record(f"s{index}", picture((index, 0, 0), index, (8, 8)), index) for index in range(count)))


@given(
    samples=st.integers(6, 300),
    batch_size=st.integers(2, 40),
    processes=st.integers(1, 3),
    epoch=st.integers(0, 5),
    seed=st.integers(0, 99),
)
def test_every_sample_is_taken_once_per_epoch(samples: int, batch_size: int, processes: int, epoch: int, seed: int) -> None:
    plans = [TrainingPlan(Shuffled(samples, batch_size * processes, 2 * processes), 6, seed, rank, processes) for rank in range(processes)]
    batches = [plan.epoch(epoch) for plan in plans]
    taken = Counter(position for own in batches for batch in own for _, _, position in batch)
    assert taken == Counter(range(samples))
    assert {len(own) for own in batches} == {plans[0].batches_per_epoch}  # no process waits for another
    sizes = [len(batch) for own in batches for batch in own]
    assert min(sizes) >= 2  # batch-norm can't train on one
    assert max(sizes) <= batch_size + 2


def test_the_order_is_fixed_by_the_seed_and_new_in_every_epoch() -> None:
    plan = TrainingPlan(Shuffled(50, 8, 2), 3, seed=1)
    positions = [[position for batch in plan.epoch(epoch) for _, _, position in batch] for epoch in range(3)]
    assert positions[0] == [position for batch in TrainingPlan(Shuffled(50, 8, 2), 3, seed=1).epoch(0) for _, _, position in batch]
    assert positions[0] != positions[1] != positions[2]
    assert positions[0] != [position for batch in replace(plan, seed=2).epoch(0) for _, _, position in batch]


def noisy(sample: Sample) -> Sample:
    """Augment a sample such that its random numbers are visible."""
    noise = torch.randint(0, 50, sample.image.shape, dtype=torch.uint8)
    return replace(sample, image=sample.image + noise.numpy())


def stream(workers: int, start: int = 0, batch_size: int = 4) -> dict[tuple[int, str], torch.Tensor]:
    plan = TrainingPlan(Shuffled(10, batch_size, 2), 2, seed=3)
    found = {}
    loader = training_loader(samples(10), PREPROCESS, plan, workers, "raise", noisy, start)
    for number, batch in enumerate(loader, start):
        epoch = number // plan.batches_per_epoch
        assert batch.images is not None
        for key, pixels in zip(batch.keys, batch.images.pixels, strict=True):
            found[epoch, key] = pixels
    return found


def test_augmentation_depends_on_seed_epoch_and_sample_alone() -> None:
    expected = stream(workers=0)
    assert len(expected) == 20
    assert not torch.equal(expected[0, "s3"], expected[1, "s3"])  # differs in every epoch
    for other in (stream(workers=2), stream(workers=0, batch_size=5)):
        assert other.keys() == expected.keys()
        assert all(torch.equal(other[name], pixels) for name, pixels in expected.items())


def test_a_sample_that_is_drawn_twice_in_an_epoch_is_augmented_anew() -> None:
    plan = TrainingPlan(Balanced([(0,)] * 9 + [(1,)], 5, 2), 1, seed=3)
    loader = training_loader(samples(10), PREPROCESS, plan, 0, "raise", noisy)
    rare = [pixels for batch in loader if batch.images for key, pixels in zip(batch.keys, batch.images.pixels, strict=True) if key == "s9"]
    assert len(rare) > 1
    assert not any(torch.equal(rare[0], other) for other in rare[1:])


def test_a_stream_goes_on_from_any_batch() -> None:
    plan = TrainingPlan(Shuffled(10, 4, 2), 2, seed=3)
    assert plan.batches_per_epoch == 3
    whole = [batch for epoch in range(2) for batch in plan.epoch(epoch)]
    for start in range(7):
        loader = training_loader(samples(10), PREPROCESS, plan, 0, "raise", noisy, start)
        assert len(loader) == 6 - start
        assert [batch.keys for batch in loader] == [tuple(f"s{position}" for _, _, position in batch) for batch in whole[start:]]


@pytest.mark.parametrize("workers", [0, 2])
def test_loading_leaves_the_global_random_generator_alone(workers: int) -> None:
    """A resumed run creates one loader more than an uninterrupted one, but must draw the same numbers."""
    torch.manual_seed(0)
    before = torch.get_rng_state()
    assert len(list(training_loader(samples(6), PREPROCESS, TrainingPlan(Shuffled(6, 3, 2), 1, seed=0), workers, "raise", noisy))) == 2
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("processes", [1, 2, 3])
def test_evaluation_takes_every_sample_once(processes: int) -> None:
    data = samples(11)
    keys: list[str] = []
    for rank in range(processes):
        loader = evaluation_loader(data, PREPROCESS, 4, 0, rank=rank, processes=processes)
        own = [key for batch in loader for key in batch.keys]
        assert own == list(data.keys[rank::processes])
        keys += own
    assert sorted(keys) == sorted(data.keys)


def test_unreadable_pictures(tmp_path: Path) -> None:
    write_class_folders(tmp_path, per_class=2, suffix=".jpg")
    for name in ("blue/0.jpg", "blue/1.jpg", "red/1.jpg"):
        cut_short(tmp_path / name)
    data = open_data(f"folder:{tmp_path}", SCHEMES, "classification")
    batches: list[Batch[ImageBatch]] = list(evaluation_loader(data, PREPROCESS, 2, 0, "skip"))
    assert batches[0].images is None
    assert [fault.key for fault in batches[0].skipped] == ["blue/0.jpg", "blue/1.jpg"]
    assert [batch.keys for batch in batches] == [(), ("green/0.jpg", "green/1.jpg"), ("red/0.jpg",)]
    assert [batch.targets for batch in batches] == [(), (1, 1), (2,)]
    for workers in (0, 1):  # also from a worker process
        with pytest.raises(ImageError, match=r"blue/0\.jpg: "):
            list(evaluation_loader(data, PREPROCESS, 2, workers, "raise"))


def test_original_sizes_travel_with_the_pictures() -> None:
    data = Dataset("made", (Record("a", picture((1, 2, 3), 0, (20, 10)), 0),))
    (batch,) = evaluation_loader(data, PREPROCESS, 1, 0)
    assert batch.images is not None
    assert batch.images.original_sizes_hw == ((20, 10),)
    assert batch.images.sizes_hw == ((8, 8),)


def test_the_evaluation_batch_has_about_the_same_pixels_whatever_their_size() -> None:
    cpu, gpu = torch.device("cpu"), torch.device("cuda")
    assert pick_batch_size(None, Preprocess(), gpu) == 32
    assert pick_batch_size(None, Preprocess(), cpu) == 8
    for device in (cpu, gpu):
        assert pick_batch_size(None, Preprocess(size_hw=(32, 32)), device) == 256
        assert pick_batch_size(None, Preprocess("fit", (800, 1333)), device) == 1
        assert pick_batch_size(7, Preprocess(), device) == 7
        with pytest.raises(InputError, match="batch_size is 0; expected 1 or more"):
            pick_batch_size(0, Preprocess(), device)


def test_a_thread_makes_the_batches_that_processes_make() -> None:
    beside, processes = (list(evaluation_loader(samples(11), PREPROCESS, 4, workers)) for workers in (0, 1))
    assert [batch.keys for batch in beside] == [batch.keys for batch in processes]
    for one, other in zip(beside, processes, strict=True):
        assert one.images is not None
        assert other.images is not None
        assert torch.equal(one.images.pixels, other.images.pixels)
        assert (one.targets, one.images.original_sizes_hw) == (other.targets, other.images.original_sizes_hw)


def test_batches_are_made_beside_the_loop_and_not_beyond_the_window() -> None:
    drawn: list[str] = []

    def draw() -> NDArray[np.uint8]:
        drawn.append(threading.current_thread().name)
        return picture((9, 0, 0), 0, (8, 8))

    data = Dataset("made", tuple(Record(f"s{index}", draw, index) for index in range(40)))
    loader = evaluation_loader(data, PREPROCESS, 2, 0)
    assert len(loader) == 20
    batches = iter(loader)
    next(batches)
    batches.close()
    assert len(drawn) <= 2 * (1 + pick_decoding_threads())
    assert all(name.startswith("zoo-ahead") for name in drawn)
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("zoo-ahead")]
