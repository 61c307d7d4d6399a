"""`bin:` – InsightFace's pickles in all their variants, and malicious ones."""

from __future__ import annotations

import os
import pickle
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from tests.pictures import picture
from zoo.data.dataset import Dataset, OnError
from zoo.data.formats import open_data
from zoo.errors import DataError, ImageError, InputError, UnknownNameError
from zoo.tasks.face.datasets import SCHEMES
from zoo.tasks.face.datasets.bin import load
from zoo.tasks.face.verification.pairs import PairedDataset

SAME = [True, False, True]


def encoded(seed: int) -> bytes:
    return bytes(cv2.imencode(".png", picture((40 * seed, 0, 0), seed, (6, 5))[:, :, ::-1])[1].tobytes())


PICTURES = [encoded(index) for index in range(6)]


def opened(data: object, on_error: OnError = "raise", say: Any = None) -> Dataset:
    return open_data(data, SCHEMES, "face", on_error, say)


def write(folder: Path, content: Any, protocol: int = 4) -> Path:
    path = folder / "pairs.bin"
    path.write_bytes(content if isinstance(content, bytes) else pickle.dumps(content, protocol))
    return path


def python2(pictures: list[bytes], same: list[bool]) -> bytes:
    """Return a pickle as Python 2 writes it at its highest protocol: byte strings as SHORT_BINSTRING and BINSTRING."""
    strings = b"".join(
        (b"U" + bytes([len(data)]) if len(data) < 256 else b"T" + len(data).to_bytes(4, "little")) + data + b"q\x02" for data in pictures
    )
    labels = b"".join(b"\x88" if value else b"\x89" for value in same)
    return b"\x80\x02]q\x00(" + strings + b"e]q\x01(" + labels + b"e\x86q\x03."


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
@pytest.mark.parametrize(
    "content",
    [
        (PICTURES, SAME),
        [tuple(PICTURES), [1, 0, 1]],
        (PICTURES, np.array(SAME)),
        (PICTURES, [np.bool_(value) for value in SAME]),
        ([np.frombuffer(data, np.uint8) for data in PICTURES], SAME),
        ([np.frombuffer(data, np.uint8).copy() for data in PICTURES], SAME),
        (np.array(PICTURES, object), SAME),
    ],
    ids=["lists", "tuples", "label-array", "label-scalars", "read-only-arrays", "arrays", "object-array"],
)
def test_every_form_is_read(content: Any, protocol: int) -> None:
    assert load(pickle.dumps(content, protocol)) == (PICTURES, SAME)


def test_python_2s_form_is_read() -> None:
    data = python2([*PICTURES, b"x" * 300, b"y"], [*SAME, False])
    assert pickle.loads(data, encoding="bytes") == ([*PICTURES, b"x" * 300, b"y"], [*SAME, False])
    assert load(data) == ([*PICTURES, b"x" * 300, b"y"], [*SAME, False])


def test_pairs_are_two_by_two_and_folds_are_runs(tmp_path: Path) -> None:
    path = write(tmp_path, (PICTURES[:2] * 23, [index % 3 == 0 for index in range(23)]))
    dataset = opened(f"bin:{path}")
    assert isinstance(dataset, PairedDataset)
    assert [(pair.first, pair.second) for pair in dataset.pairs[:2]] == [("000000", "000001"), ("000002", "000003")]
    assert [pair.same for pair in dataset.pairs] == [index % 3 == 0 for index in range(23)]
    assert [pair.fold for pair in dataset.pairs] == sorted([*range(10), *range(10), 0, 1, 2])  # as in KFold, the first folds are longer
    assert dataset[3].target is None
    np.testing.assert_array_equal(dataset[3].image, picture((40, 0, 0), 1, (6, 5)))


def test_limit_keeps_whole_pairs_and_other_choices_are_refused(tmp_path: Path) -> None:
    path = write(tmp_path, (PICTURES, SAME))
    part = opened(f"bin:{path}?limit=4")
    assert isinstance(part, PairedDataset)
    assert (len(part), len(part.pairs)) == (4, 2)
    with pytest.raises(InputError, match=r"split is 'test', but \.bin files have no splits"):
        opened(f"bin:{path}?split=test")
    with pytest.raises(UnknownNameError, match="unknown class of"):
        opened(f"bin:{path}?classes=a")


def test_a_bare_file_is_recognised(tmp_path: Path) -> None:
    said: list[str] = []
    assert len(opened(write(tmp_path, (PICTURES, SAME)), say=said.append)) == 6
    assert "recognised as bin, because it is a .bin file that contains a pickle" in said[0]
    with pytest.raises(InputError, match="no data format"):
        opened(write(tmp_path, b"no pickle"))


def test_a_damaged_picture_is_named(tmp_path: Path) -> None:
    dataset = opened(f"bin:{write(tmp_path, ([b'x', *PICTURES[1:]], SAME))}")
    with pytest.raises(ImageError, match=r"pairs\.bin image 0: "):
        dataset[0]


class Hostile:
    def __reduce__(self) -> Any:
        return os.mkdir, ("/nonexistent/never",)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (([Hostile()], SAME), r"it imports posix\.mkdir, which is not allowed"),
        (({}, SAME), "contains the pickle instruction EMPTY_DICT, which is not allowed"),
        ((PICTURES, [1.0, 0.0, 1.0]), "contains the pickle instruction BINFLOAT"),
        (b"\x80\x04cbuiltins\neval\n.", r"it imports builtins\.eval, which is not allowed"),
        (b"\x80\x02r\xff\xff\xff\xffN.", "stores memo entry 4294967295 after 1 instructions"),
        (b"\x80\x04\x95" + b"\xff" * 7 + b"\x00N.", "announces a frame of 72057594037927935 bytes, but has only"),
        (b"\x80\x02c_codecs\\o\nencode\n.", r"it imports _codecs\\o\.encode, which is not allowed"),
        (b"\x80\x02](e", "not a pickle: pickle exhausted"),
        (b"\x80\x02NNR.", "damaged, or not an InsightFace file"),
        (b"", "not a pickle"),
        (PICTURES, "holds an object of type list; expected two lists"),
        (7, "holds an object of type int; expected two lists"),
        ((PICTURES, 7), "the labels are of type int; expected a list"),
        ((b"abc", SAME), "the images are of type bytes; expected a list"),
        ((PICTURES, SAME[:2]), "holds 6 images and 2 labels; expected two images per label"),
        (([], []), "holds 0 images and 0 labels"),
        ((["a"] * 6, SAME), "image 0 is of type str; expected the bytes of an image file"),
        ((PICTURES, [True, False, 2]), "label 2 is of type int; expected true or false"),
        ((PICTURES, [True, None, True]), "label 1 is of type NoneType"),
        ((PICTURES, np.array([1.0, 0.0, 1.0])), "it contains an array of type 'f8'; expected bytes or booleans"),
        (b"\x80\x04c_codecs\nencode\nX\x01\x00\x00\x00aX\x05\x00\x00\x00rot13\x86R.", "a codec other than latin1"),
    ],
)
def test_nothing_else_is_admitted(tmp_path: Path, content: Any, message: str) -> None:
    with pytest.raises(DataError, match=rf"pairs\.bin: .*{message}"):
        opened(f"bin:{write(tmp_path, content)}", "skip")
