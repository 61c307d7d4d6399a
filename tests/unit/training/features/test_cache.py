"""The cache of features: keys, damaged files, missing space, and its folder."""

from __future__ import annotations

import errno
import os
import shutil
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch

from tests.listening import Listening
from tests.pictures import COLOURS, picture, write_class_folders, write_picture
from tests.small_training import coloured, fresh
from zoo.data.dataset import Dataset, Record
from zoo.data.formats import open_data
from zoo.errors import Fault, ImageError
from zoo.images.decoding import Decoding
from zoo.models.model import Model
from zoo.system.cache import cache_folder, shrink
from zoo.system.files import write_atomic
from zoo.tasks.classification.datasets import SCHEMES
from zoo.training.features.cache import FeatureCache, feature_key
from zoo.training.features.file import map_rows, write_rows

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("ZOO_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "features"


def cache_of(model: Model | None = None, **changes: Any) -> tuple[FeatureCache, list[str]]:
    listening = Listening()
    usual = FeatureCache(model or fresh(), "fp32", Decoding(), "raise", 0, listening)
    return replace(usual, **changes), listening.lines


def opened(root: Path) -> Dataset:
    return open_data(f"folder:{root}", SCHEMES, "classification")


def test_rows_are_the_means_of_the_deepest_level_in_the_order_of_the_data() -> None:
    model, data = fresh(), coloured(9)
    rows = cache_of(model)[0].rows(data).rows
    assert rows.shape == (9, model.backbone.levels[-1].channels)
    for place in (0, 4, 8):
        with torch.no_grad():
            deepest = model.features(model.preprocess.batch([data[place].image]))["c5"]
        torch.testing.assert_close(rows[place], deepest.mean((2, 3))[0], rtol=1e-5, atol=1e-6)


def test_features_are_computed_in_evaluation_mode(folder: Path) -> None:
    model = fresh().train()
    rows = cache_of(model)[0].rows(coloured()).rows
    assert model.training
    shutil.rmtree(folder)
    torch.testing.assert_close(rows, cache_of(fresh().eval())[0].rows(coloured()).rows, rtol=0, atol=0)
    assert all(torch.equal(value, fresh().state_dict()[key]) for key, value in model.state_dict().items())


def test_files_can_be_read_by_numpy(folder: Path) -> None:
    rows = cache_of()[0].rows(coloured()).rows
    (path,) = folder.iterdir()
    np.testing.assert_array_equal(np.load(path), rows.numpy())


# -- the key -----------------------------------------------------------------------------------------------------------


def same_size_other_pixels(path: Path) -> None:
    """Rewrite an image with other pixels, keeping its size and modification time."""
    before = path.stat()
    write_picture(path, picture((0, 0, 255), 7, (16, 16)))
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert path.stat().st_size == before.st_size


def replaced_by_rename(path: Path) -> None:
    other = path.with_name("other.bmp")
    shutil.copy(path.parent.parent / "red" / "0.bmp", other)
    os.replace(other, path)


@pytest.mark.parametrize("change", [same_size_other_pixels, replaced_by_rename])
def test_a_changed_picture_is_never_answered_from_the_old_cache(tmp_path: Path, change: Callable[[Path], None]) -> None:
    root = tmp_path / "data"
    for name, colour in COLOURS.items():
        write_picture(root / name / "0.bmp", picture(colour, 1, (16, 16)))
    cache, lines = cache_of()
    before = cache.rows(opened(root)).rows.clone()
    torch.testing.assert_close(cache.rows(opened(root)).rows, before, rtol=0, atol=0)
    assert "were loaded from" in lines[-1]
    time.sleep(0.01)  # file systems update their clock a few hundred times per second
    change(root / "green" / "0.bmp")
    after = cache.rows(opened(root)).rows
    assert "were saved to" in lines[-1]
    assert [bool((one != other).any()) for one, other in zip(before, after, strict=True)] == [False, True, False]


def test_pictures_in_memory_count_by_their_pixels() -> None:
    data = coloured()
    cache, lines = cache_of()
    cache.rows(data)
    cache.rows(data.with_targets(lambda label: 2 - label, data.classes))  # other labels, the same images
    drawn = replace(data, records=tuple(replace(record, source=partial(np.copy, record.source)) for record in data.records))
    cache.rows(drawn)
    assert [("loaded" in line) for line in lines] == [False, True, True]
    image = data[3].image.copy()
    image[0, 0, 0] ^= 1
    changed = (*data.records[:3], replace(data.records[3], source=image), *data.records[4:])
    for other in (changed, data.records[::-1], data.records[:-1]):
        cache.rows(replace(data, records=tuple(other)))
        assert "were saved to" in lines[-1]


def test_pictures_of_the_same_bytes_and_other_shape_differ() -> None:
    flat = np.arange(48, dtype=np.uint8)
    one, other = (Dataset("", (Record("a", flat.reshape(shape), 0),)) for shape in ((4, 4, 3), (2, 8, 3)))
    model = fresh()
    keys = {feature_key(model, data, Decoding(), "fp32") for data in (one, other)}
    assert len(keys) == 2


class Setting(NamedTuple):
    """What the key depends on."""

    model: Model
    data: Dataset
    decoding: Decoding
    precision: Any


def other_norm_statistics() -> Model:
    model = fresh()
    next(value for name, value in model.backbone.named_buffers() if name.endswith("running_mean")).add_(1e-3)
    return model


def usual() -> Setting:
    return Setting(fresh(), coloured(), Decoding((32, 32)), "fp32")


def key(setting: Setting) -> str:
    return feature_key(setting.model, setting.data, setting.decoding, setting.precision)


@pytest.mark.parametrize(
    "change",
    [
        lambda: {"model": fresh(6)},
        lambda: {"model": other_norm_statistics()},
        lambda: {"model": fresh(image_size=48)},
        lambda: {"precision": "bf16"},
        lambda: {"decoding": Decoding()},
        lambda: {"decoding": Decoding((32, 32), max_pixels=1000)},
        lambda: {"data": replace(coloured(), exact=True)},
    ],
)
def test_what_changes_the_features_changes_the_key(change: Callable[[], dict[str, Any]]) -> None:
    assert key(usual()) != key(usual()._replace(**change()))


def test_the_head_has_no_part_in_the_key(monkeypatch: pytest.MonkeyPatch) -> None:
    assert key(usual()) == key(usual()._replace(model=fresh(dropout=0.3)))
    before = key(usual())
    monkeypatch.setattr("zoo.training.features.cache.versions", lambda: {"torch": "9.9"})
    assert key(usual()) != before


# -- damage, space, other processes ------------------------------------------------------------------------------------


def cut(content: bytes) -> bytes:
    return content[:-100]


def flip(content: bytes) -> bytes:
    middle = len(content) // 2
    return content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :]


@pytest.mark.parametrize("damage", [cut, flip, lambda content: b"", lambda content: content + b"\0", lambda content: bytes(len(content))])
def test_damaged_files_are_written_again(folder: Path, damage: Callable[[bytes], bytes]) -> None:
    cache, lines = cache_of()
    before = cache.rows(coloured()).rows.clone()
    (path,) = folder.iterdir()
    whole = path.read_bytes()
    path.write_bytes(damage(whole))
    torch.testing.assert_close(cache.rows(coloured()).rows, before, rtol=0, atol=0)
    assert lines[1:] == [f"{path} is damaged; computing the features again", f"features of 12 images were saved to {path}"]
    assert path.read_bytes() == whole


def test_a_file_gives_back_what_was_written_and_nothing_of_another_shape(tmp_path: Path) -> None:
    fault = Fault("grün.jpg", "is „cut“", whole=True, kind="unreadable")
    rows = np.arange(6, dtype=np.float32).reshape(3, 2)
    with (tmp_path / "rows").open("w+b") as file:
        write_rows(file, (3, 2), [rows[:2], rows[2:]], {1: fault})
        found = map_rows(file, (3, 2))
        assert map_rows(file, (2, 3)) is None
        assert map_rows(file, (3, 1)) is None
    assert found is not None
    np.testing.assert_array_equal(found.rows.numpy(), rows)
    assert found.faults == {1: fault}


def no_room(monkeypatch: pytest.MonkeyPatch, folder: Path) -> str:
    usage = shutil.disk_usage("/")
    monkeypatch.setattr("zoo.training.features.cache.shutil.disk_usage", lambda path: usage._replace(free=1000))
    return "no room for 0 MB"


def no_folder(monkeypatch: pytest.MonkeyPatch, folder: Path) -> str:
    folder.parent.write_text("")
    return os.strerror(errno.ENOTDIR)


def full_in_the_middle(monkeypatch: pytest.MonkeyPatch, folder: Path) -> str:
    def fail(path: Path, write: Callable[[Any], None]) -> None:
        def interrupted(file: Any) -> None:
            write(file)
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

        write_atomic(path, interrupted)

    monkeypatch.setattr("zoo.training.features.cache.write_atomic", fail)
    return os.strerror(errno.ENOSPC)


def larger_than_the_limit(monkeypatch: pytest.MonkeyPatch, folder: Path) -> str:
    monkeypatch.setattr("zoo.training.features.cache.LIMIT_BYTES", 1000)
    return "no room for 0 MB"


@pytest.mark.parametrize("trouble", [no_room, no_folder, full_in_the_middle, larger_than_the_limit])
def test_without_room_a_temporary_file_does(
    folder: Path, monkeypatch: pytest.MonkeyPatch, trouble: Callable[[pytest.MonkeyPatch, Path], str]
) -> None:
    expected = cache_of()[0].rows(coloured()).rows.clone()
    shutil.rmtree(folder.parent)
    reason = trouble(monkeypatch, folder)
    cache, lines = cache_of()
    torch.testing.assert_close(cache.rows(coloured()).rows, expected, rtol=0, atol=0)
    assert lines == [f"features can't be saved to {folder} ({reason}); using a temporary file for this run"]
    assert not folder.is_dir() or not list(folder.iterdir())


def test_what_could_not_be_read_is_remembered(tmp_path: Path) -> None:
    root = write_class_folders(tmp_path / "data")
    (root / "green" / "1.png").write_bytes(b"no picture")
    cache, lines = cache_of(on_error="skip")
    first = cache.rows(opened(root))
    again = cache.rows(opened(root))
    assert "were loaded from" in lines[-1]
    assert first.faults == again.faults
    assert [(place, fault.key, fault.kind) for place, fault in again.faults.items()] == [(5, "green/1.png", first.faults[5].kind)]
    assert again.rows.isnan().all(dim=1).nonzero().flatten().tolist() == [5]
    with pytest.raises(ImageError, match=r"green/1\.png"):
        cache_of()[0].rows(opened(root))
    write_picture(root / "green" / "1.png", picture((0, 200, 0)))
    assert not cache.rows(opened(root)).faults


def test_a_file_that_is_replaced_stays_readable(folder: Path) -> None:
    """As when two processes compute the same features at once: the file of the second replaces that of the first."""
    cache, _ = cache_of()
    first = cache.rows(coloured()).rows
    (path,) = folder.iterdir()
    kept = first.clone()
    write_atomic(path, lambda file: file.writelines([b"x"]))
    path.unlink()
    torch.testing.assert_close(first, kept, rtol=0, atol=0)


# -- the folder --------------------------------------------------------------------------------------------------------


def test_the_folder_follows_the_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert cache_folder("features") == tmp_path / "cache" / "features"
    monkeypatch.delenv("ZOO_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", "/xdg")
    assert cache_folder("features") == Path("/xdg/resnet-zoo/features")
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("LOCALAPPDATA", "/local")
    monkeypatch.setenv("HOME", "/home/zoe")
    expected = {"linux": "/home/zoe/.cache", "darwin": "/home/zoe/Library/Caches", "win32": "/local"}
    for platform, place in expected.items():
        monkeypatch.setattr("sys.platform", platform)
        assert cache_folder("features") == Path(place) / "resnet-zoo" / "features"


def test_what_was_not_used_for_longest_goes_first(tmp_path: Path) -> None:
    now = time.time()
    for name, age, size in (("a", 50, 10), ("b", 40, 10), ("c", 30, 10), ("d", 60, 10), (".draft", 10, 99), (".old", 10**6, 99)):
        (tmp_path / name).write_bytes(bytes(size))
        os.utime(tmp_path / name, (now - age, now - age))
    (tmp_path / ".draft").write_bytes(bytes(10))
    shrink(tmp_path, 30, keep={tmp_path / "d"})
    shrink(tmp_path / "cleared", 30, keep={tmp_path / "cleared" / "d"})
    assert sorted(path.name for path in tmp_path.iterdir()) == [".draft", "c", "d"]


def test_a_cache_stays_within_its_limit_and_what_is_used_stays(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cache, lines = cache_of()
    for count in (6, 9, 12):
        cache.rows(coloured(count))
        time.sleep(0.02)
    cache.rows(coloured(6))
    monkeypatch.setattr("zoo.training.features.cache.LIMIT_BYTES", sum(path.stat().st_size for path in folder.iterdir()))
    cache.rows(coloured(7))
    cache.rows(coloured(6))
    assert "were loaded from" in lines[-1]
    cache.rows(coloured(9))
    assert "were saved to" in lines[-1]
