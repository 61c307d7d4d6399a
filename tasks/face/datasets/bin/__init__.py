"""Scheme `bin:` – InsightFace's verification sets (lfw.bin, cfp_fp.bin, agedb_30.bin, …), pairs of aligned images in a pickle file."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import numpy as np

from zoo.data.dataset import Dataset, OnError, Record
from zoo.data.formats import DataRef, Scheme, finish
from zoo.errors import DataError, InputError
from zoo.images import decoding
from zoo.tasks.face.datasets import SCHEMES
from zoo.tasks.face.datasets.bin import unpickler
from zoo.tasks.face.verification.pairs import Pair, PairedDataset

_FOLDS = 10


def open_bin(ref: DataRef, on_error: OnError) -> Dataset:
    """Open the images and their pairs. Images 2 i and 2 i + 1 form pair i.

    The identities are unknown, so the targets are None and there are no classes. The pairs are divided in file order into ten folds of
    nearly equal size, as by scikit-learn's KFold in InsightFace's evaluation.
    """
    file = ref.file()
    if ref.split is not None:
        raise InputError(f"data {ref.text!r}: split is {ref.split!r}, but .bin files have no splits; remove split=")
    try:
        pictures, same = unpickler.load(file.read_bytes())
    except OSError as error:
        raise DataError(f"{file}: can't be read: {error.strerror}") from None
    except ValueError as error:
        raise DataError(f"{file}: {error}") from None
    records = [Record(f"{index:06d}", partial(decoding.decode, data, f"{file} image {index}"), None) for index, data in enumerate(pictures)]
    runs = np.array_split(np.arange(len(same)), min(_FOLDS, len(same)))
    pairs = [Pair(records[2 * i].key, records[2 * i + 1].key, same[i], fold) for fold, run in enumerate(runs) for i in run]
    return PairedDataset.of(finish(ref, records, (), (), on_error), pairs, [record.key for record in records])


def _recognise(file: Path) -> str | None:
    if file.suffix.lower() != ".bin" or not file.is_file():
        return None
    with file.open("rb") as opened:
        return "it is a .bin file that contains a pickle" if opened.read(1) == b"\x80" else None


SCHEMES.add("bin", Scheme("bin", open_bin, recognise_file=_recognise))
