"""`bin:` – InsightFace's verification sets (lfw.bin, cfp_fp.bin, agedb_30.bin, …): aligned pictures in pairs, in one pickle."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import numpy as np

from zoo.data.dataset import Dataset, OnError, Record
from zoo.data.formats import Scheme, finish
from zoo.data.reference import DataRef
from zoo.errors import DataError, InputError
from zoo.images import decoding as images
from zoo.tasks.face.datasets import SCHEMES
from zoo.tasks.face.datasets.bin import unpickler as pickled_pictures
from zoo.tasks.face.verification.pairs import Pair, PairedDataset

_FOLDS = 10


def open_bin(ref: DataRef, on_error: OnError) -> Dataset:
    """Read the pictures, two by two the pairs to be scored; whose they are is unknown, so targets are None and there are no classes.

    The folds are ten runs of the pairs in the file's order, as equal as can be: what InsightFace's own evaluation does with
    scikit-learn's KFold.

    Raises:
        DataError: the file is damaged or something else.
        InputError: `split=`, which these files don't have.
    """
    file = ref.file()
    if ref.split is not None:
        raise InputError(f"data {ref.text!r}: split is {ref.split!r}; these files have no splits")
    try:
        pictures, same = pickled_pictures.load(file.read_bytes())
    except OSError as error:
        raise DataError(f"{file}: can't be read: {error.strerror}") from None
    except ValueError as error:
        raise DataError(f"{file}: {error}") from None
    records = [Record(f"{index:06d}", partial(images.decode, data, f"{file} picture {index}"), None) for index, data in enumerate(pictures)]
    runs = np.array_split(np.arange(len(same)), min(_FOLDS, len(same)))
    pairs = [Pair(records[2 * i].key, records[2 * i + 1].key, same[i], fold) for fold, run in enumerate(runs) for i in run]
    return PairedDataset.of(finish(ref, records, (), (), on_error), pairs, [record.key for record in records])


def _recognise(file: Path) -> str | None:
    if file.suffix.lower() != ".bin" or not file.is_file():
        return None
    with file.open("rb") as opened:
        return "it is a .bin file that holds a pickle" if opened.read(1) == b"\x80" else None


SCHEMES.add("bin", Scheme("bin", open_bin, recognise_file=_recognise))
