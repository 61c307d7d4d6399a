"""The fifteen corruptions: deterministic, worse with severity, and preserving colours and positions."""

from __future__ import annotations

import pickle
import subprocess
import sys
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from tests.pictures import picture, write_class_folders
from zoo.data.dataset import Dataset, Record
from zoo.data.loader import evaluation_loader
from zoo.errors import ImageError, InputError, UnknownNameError
from zoo.evaluation.robustness.corruptions import corrupt, corrupted
from zoo.evaluation.robustness.kinds import CORRUPTIONS, SEVERITIES
from zoo.evaluation.robustness.textures import disk_kernel, motion_kernel, plasma
from zoo.images import decoding
from zoo.images.preprocess import Preprocess
from zoo.task.contract import get_task

Image = NDArray[np.uint8]
PUBLISHED = {
    "gaussian_noise", "shot_noise", "impulse_noise", "defocus_blur", "glass_blur", "motion_blur", "zoom_blur", "snow", "frost", "fog",
    "brightness", "contrast", "elastic_transform", "pixelate", "jpeg_compression",
}  # fmt: skip
NAMES = sorted(PUBLISHED)


def scene(height: int, width: int) -> Image:
    """Return an image with edges, texture and colours."""
    y, x = np.mgrid[:height, :width]
    waves = np.stack([128 + 60 * np.sin(x / 5), 110 + 50 * np.cos(y / 7), 90 + 40 * np.sin((x + y) / 9)], axis=2)
    waves[(y // 8 + x // 8) % 2 == 0] *= 0.6
    return waves.astype(np.uint8)


def error(first: Image, second: Image) -> float:
    """Return the mean squared difference."""
    return float(np.mean((first.astype(np.float64) - second) ** 2))


def test_the_corruptions_are_the_published_fifteen() -> None:
    assert set(CORRUPTIONS) == PUBLISHED


@pytest.mark.parametrize("severity", SEVERITIES)
@pytest.mark.parametrize("name", NAMES)
def test_a_corruption_repeats_itself_and_changes_the_picture_alone(name: str, severity: int) -> None:
    clean = scene(64, 80)
    before = clean.copy()
    first, second = (corrupt(clean, name, severity, seed=3, key="a") for _ in range(2))
    assert first.shape == clean.shape
    assert first.dtype == np.uint8
    assert np.array_equal(first, second)
    assert np.array_equal(clean, before)
    assert error(first, clean) > 1


@pytest.mark.parametrize(
    "name", sorted(PUBLISHED - {"brightness", "contrast", "defocus_blur", "jpeg_compression", "pixelate", "zoom_blur"})
)
def test_what_is_random_depends_on_key_and_seed(name: str) -> None:
    clean = scene(64, 64)
    base = corrupt(clean, name, 3, seed=0, key="a")
    assert not np.array_equal(base, corrupt(clean, name, 3, seed=1, key="a"))
    assert not np.array_equal(base, corrupt(clean, name, 3, seed=0, key="b"))


@settings(max_examples=60)
@given(
    name=st.sampled_from(NAMES),
    severity=st.sampled_from(SEVERITIES),
    height=st.integers(1, 300),
    width=st.integers(1, 300),
    seed=st.integers(0),
)
def test_pictures_of_any_size_come_back_in_their_size(name: str, severity: int, height: int, width: int, seed: int) -> None:
    result = corrupt(scene(height, width), name, severity, seed=seed, key="ü\udcff")
    assert result.shape == (height, width, 3)
    assert result.dtype == np.uint8


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("side", [8, 9, 33, 224])
def test_red_stays_red(name: str, side: int) -> None:
    for severity in SEVERITIES:
        red, _, blue = corrupt(picture((200, 30, 10), size_hw=(side, side + 1)), name, severity).mean(axis=(0, 1))
        assert red > blue + 10


@pytest.mark.parametrize("name", NAMES)
def test_a_severer_corruption_is_farther_from_the_photo(name: str, shared_data: Path) -> None:
    photos = [decoding.read(path) for path in sorted((shared_data / "photos").iterdir())[:24:3]]
    photos = [cv2.resize(photo, (224, 224), interpolation=cv2.INTER_AREA).astype(np.uint8) for photo in photos]
    errors = [
        np.mean([error(corrupt(photo, name, severity, key=str(n)), photo) for n, photo in enumerate(photos)]) for severity in SEVERITIES
    ]
    # with the published constants, fog gets rougher as well as denser, and frost's last three severities differ little compared with its
    # random variation
    slack = 0.85 if name in ("fog", "frost") else 1
    assert all(after > before * slack for before, after in pairwise(errors)), errors
    assert errors[-1] > 1.1 * errors[0]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("side", [32, 96, 224])
def test_what_is_in_a_place_stays_there(name: str, side: int) -> None:
    """A bright disk, averaged over images, is found again within 3 % of the side, so that boxes stay valid."""
    clean = np.full((side, side, 3), 40, np.uint8)
    cv2.circle(clean, (side // 2, side // 3), side // 8, (230, 220, 210), -1)
    mean = np.mean([corrupt(clean, name, 5, key=str(key)) for key in range(16)], axis=(0, 3)).astype(np.float32)
    margin = side // 8
    wanted = np.ascontiguousarray(clean[margin:-margin, margin:-margin].mean(axis=2).astype(np.float32))
    match = cv2.matchTemplate(mean, wanted, cv2.TM_CCOEFF_NORMED)
    y, x = np.unravel_index(match.argmax(), match.shape)
    assert max(abs(y - margin), abs(x - margin)) <= max(1, 0.03 * side)


def test_noise_has_the_published_size() -> None:
    grey = np.full((224, 224, 3), 128, np.uint8)
    assert corrupt(grey, "gaussian_noise", 1).std() / 255 == pytest.approx(0.08, rel=0.02)
    assert corrupt(grey, "shot_noise", 2).std() / 255 == pytest.approx(np.sqrt(128 / 255 / 25), rel=0.02)
    assert np.isin(corrupt(grey, "impulse_noise", 5), (0, 255)).mean() == pytest.approx(0.27, rel=0.02)
    small = np.full((32, 32, 3), 128, np.uint8)
    many = [corrupt(small, "gaussian_noise", 5, key=str(key)).std() for key in range(20)]
    assert np.mean(many) / 255 == pytest.approx(0.10, rel=0.03)


@pytest.mark.parametrize("name", NAMES)
def test_constants_are_the_published_ones_at_both_ends_and_between_them_elsewhere(name: str) -> None:
    kind = CORRUPTIONS[name]
    for severity in SEVERITIES:
        small, large = kind.small[severity - 1], kind.large[severity - 1]
        assert kind.constants(severity, (32, 500)) == kind.constants(severity, (8, 8)) == pytest.approx(small)
        assert kind.constants(severity, (224, 224)) == kind.constants(severity, (900, 3000)) == pytest.approx(large)
        for low, value, high in zip(small, kind.constants(severity, (84, 90)), large, strict=True):
            assert min(low, high) <= value <= max(low, high)


def test_contrast_and_brightness_are_worked_out_by_hand() -> None:
    halves = np.zeros((224, 224, 3), np.uint8)
    halves[112:] = 200
    assert np.unique(corrupt(halves, "contrast", 1)).tolist() == [60, 140]  # 100 ± 0.4 · 100
    colour = np.full((224, 224, 3), (100, 50, 0), np.uint8)
    assert corrupt(colour, "brightness", 2)[0, 0].tolist() == [151, 76, 0]  # the value is 100 + 51, and ratios are preserved
    assert corrupt(np.zeros((224, 224, 3), np.uint8), "brightness", 2).max() == 51


def test_kernels_keep_light_and_place() -> None:
    for kernel in (disk_kernel(0.3, 0.4), disk_kernel(10, 0.5), motion_kernel(20, 15, 0.7), motion_kernel(6, 1, -2.0)):
        assert kernel.sum() == pytest.approx(1, abs=1e-5)
        reach = kernel.shape[0] // 2
        y, x = np.mgrid[-reach : reach + 1, -reach : reach + 1]
        assert abs((kernel * y).sum()) < 1e-4
        assert abs((kernel * x).sum()) < 1e-4


def test_plasma_fills_its_range() -> None:
    field = plasma((128, 96), 3, np.random.default_rng(0))
    assert field.shape == (128, 96)
    assert (field.min(), field.max()) == (0, 1)


@pytest.mark.parametrize("decay", [1.2, 1.4, 1.7])
def test_plasma_fades_by_the_square_of_its_decay_from_one_octave_to_the_next(decay: float) -> None:
    """As in the published fog; an octave is measured as the deviation of the detail lost by halving and doubling the size."""
    octaves = np.zeros(4)
    for seed in range(8):
        field = plasma((256, 256), decay, np.random.default_rng(seed))
        for octave in range(4):
            half = cv2.resize(field, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA).astype(np.float32)
            octaves[octave] += (field - cv2.resize(half, field.shape[::-1], interpolation=cv2.INTER_LINEAR)).std()
            field = half
    assert octaves[1:] / octaves[:-1] == pytest.approx([decay**2] * 3, rel=0.1)


@pytest.mark.parametrize(("severity", "largest", "zooms"), [(1, 1.11, 12), (2, 1.15, 16), (3, 1.20, 11), (4, 1.24, 13), (5, 1.30, 11)])
def test_zoom_blur_averages_over_the_published_zooms(severity: int, largest: float, zooms: int) -> None:
    """A bright pixel far from the centre is smeared to `largest` times its distance; its original position keeps 2 / (zooms + 1)."""
    dark = np.zeros((225, 225, 3), np.uint8)
    dark[112, 112 + 80] = 255
    light = corrupt(dark, "zoom_blur", severity)[112, 112:, 0].astype(float)
    assert light[80] / 255 == pytest.approx(2 / (zooms + 1), abs=0.02)
    assert abs(float(np.flatnonzero(light > 2).max()) - 80 * largest) <= 1


@pytest.mark.parametrize(
    ("array", "reason"),
    [
        (np.zeros((8, 8, 3), np.float32), r"image 'k' is float32 of shape \(8, 8, 3\); expected uint8"),
        (np.zeros((8, 8), np.uint8), r"uint8 of shape \(8, 8\); expected uint8 \[H, W, 3\], RGB"),
        (np.zeros((0, 8, 3), np.uint8), r"of shape \(0, 8, 3\)"),
    ],
)
def test_no_picture_is_refused(array: Image, reason: str) -> None:
    with pytest.raises(InputError, match=reason):
        corrupt(array, "fog", 1, key="k")


@pytest.mark.parametrize("call", [lambda name, severity: corrupt(scene(8, 8), name, severity), lambda *a: corrupted(Dataset("d", ()), *a)])
def test_unknown_names_and_severities_are_refused(call: Callable[[str, int], object]) -> None:
    with pytest.raises(UnknownNameError, match="motion_blur"):
        call("motoin_blur", 1)
    for severity in (0, 6):
        with pytest.raises(InputError, match=rf"severity is {severity}; expected 1, 2, 3, 4 or 5"):
            call("fog", severity)


def test_corrupted_data_keeps_keys_targets_and_classes(tmp_path: Path) -> None:
    task = get_task("classification")
    clean = task.open(f"folder:{write_class_folders(tmp_path)}")
    worse = corrupted(clean, "fog", 3, seed=7)
    assert (worse.keys, worse.classes) == (clean.keys, clean.classes)
    assert worse.name == f"{clean.name} with fog of severity 3"
    for before, after in zip(clean, worse, strict=True):
        assert after.target == before.target
        assert np.array_equal(after.image, corrupt(before.image, "fog", 3, seed=7, key=before.key))


def test_corrupted_data_loads_lazily_and_names_a_missing_picture(tmp_path: Path) -> None:
    worse = corrupted(Dataset("d", (Record("gone", tmp_path / "gone.png", 0),)), "snow", 1)
    with pytest.raises(ImageError, match=r"gone\.png: does not exist"):
        worse[0]


def test_worker_processes_corrupt_alike() -> None:
    records = tuple(Record(str(n), picture((90, 60, 30), n), n) for n in range(6))
    worse = corrupted(Dataset("d", records), "gaussian_noise", 2)
    alone, helped = (
        [batch.images.pixels for batch in evaluation_loader(worse, Preprocess(size_hw=(32, 32)), 4, workers) if batch.images is not None]
        for workers in (0, 2)
    )
    assert len(alone) == len(helped) == 2
    assert all(np.array_equal(first, second) for first, second in zip(alone, helped, strict=True))


def test_another_interpreter_corrupts_alike(tmp_path: Path) -> None:
    """A pickled source gives the same result in a new process, where string hashes differ and nothing has been imported."""
    source = corrupted(Dataset("d", (Record("k", picture((90, 60, 30)), 0),)), "elastic_transform", 4).records[0].source
    assert callable(source)
    (tmp_path / "source").write_bytes(pickle.dumps(source))
    program = "import pickle, sys, zoo; sys.stdout.buffer.write(pickle.load(open(sys.argv[1], 'rb'))().tobytes())"
    found = subprocess.run([sys.executable, "-c", program, str(tmp_path / "source")], capture_output=True, check=True, timeout=120)
    assert found.stdout == source().tobytes()
