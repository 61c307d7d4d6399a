"""Align a dataset: find the main face of each image, align it and cache it on disk.

The cache holds one small PNG per image, keyed by the image's bytes and the alignment settings. Entries may be deleted at any time; they are
recreated on demand. An image without a face is cached as an empty file, because finding out that there is none takes just as long.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import BinaryIO

import cv2
import numpy as np

from zoo.data.dataset import Dataset, Record
from zoo.errors import DataError, Fault, ImageError, InputError
from zoo.images import decoding as images
from zoo.images.decoding import Decoding, Image
from zoo.system.cache import LIMIT_BYTES, cache_folder, mark_used, shrink
from zoo.system.files import write_atomic
from zoo.task.alignment import Aligned, Aligning
from zoo.task.model import TaskModel
from zoo.tasks.face.alignment.aligner import Looking, looking

MAIN = "central"  # which face is taken as the subject of an image
NO_FACE = "no face was found in it"
_FORMAT = 1  # cache version: changing it invalidates entries of older versions


def align_data(dataset: Dataset, models: Sequence[TaskModel], aligning: Aligning) -> Aligned:
    """Return the dataset aligned for one or several models, with a fault for each image without a face and for each that can't be read.

    Of an image with several faces, the main one is kept.
    """
    ways = {(model.preprocess.alignment, model.preprocess.size_hw) for model in models}
    if len(ways) > 1:
        listed = " and ".join(sorted(f"{template or 'none'} at {height}×{width}" for template, (height, width) in ways))
        raise InputError(f"align: the models need different alignments ({listed}); evaluate them one at a time")
    maker, count = FaceMaker(looking(models[0], aligning.detector, MAIN), aligning.decoding), len(dataset)
    records, not_found, unreadable = {}, {}, {}
    first = aligning.rank * count // aligning.processes
    for step in aligning.progress.track(range(count), "finding faces", count):
        place = (first + step) % count
        record = dataset.records[place]
        try:
            face = maker.of(record)
        except ImageError as error:
            if not aligning.skip:
                raise
            unreadable[place] = Fault(record.key, error.reason, whole=True, kind=error.kind)
            continue
        if face is None:
            not_found[place] = Fault(record.key, NO_FACE, whole=True, kind="no-face")
            continue
        records[place] = replace(record, source=face, size_hw=maker.looking.size_hw)
        if isinstance(face, KeptFace):
            aligning.kept.add(face.place)
    if aligning.kept:
        shrink(cache_folder("aligned"), LIMIT_BYTES, keep=aligning.kept)
    faults = tuple(not_found[place] for place in sorted(not_found))
    details = {**maker.looking.settings, "found": len(records), "not_found": [fault.key for fault in faults]}
    kept = replace(dataset, records=tuple(records[place] for place in sorted(records)))
    aligned = Aligned(kept, faults, tuple(unreadable[place] for place in sorted(unreadable)), details)
    if not records:
        raise DataError(f"data {dataset.name!r}: no face was found in any of its {count} images:", aligned.left_out)
    return aligned


@dataclass(frozen=True)
class FaceMaker:
    """Makes or looks up the aligned main face of an image; `looking` keeps at most one face per image."""

    looking: Looking
    decoding: Decoding

    def of(self, record: Record) -> KeptFace | Image | None:
        """Return the face of an image: its cache entry, or the crop itself where the cache can't be written; None if there is no face.

        Raises:
            ImageError: the image can't be read, or its face can't be aligned.
        """
        place = cache_folder("aligned") / f"{self._name(record)}.png"
        try:
            empty = place.stat().st_size == 0
            mark_used(place)
        except OSError:
            chip = self.made(record)
            if not keep(place, chip):
                return chip
            empty = chip is None
        return None if empty else KeptFace(place, record, self)

    def made(self, record: Record) -> Image | None:
        """Find and align the face of an image, without the cache; None if there is no face."""
        crops = self.looking(record.picture(self.decoding)[0], record.key).crops
        return crops[0] if len(crops) else None

    def _name(self, record: Record) -> str:
        """Return the cache key of an image's face: a hash of the settings and of the image's bytes."""
        settings = {"format": _FORMAT, "opencv": cv2.__version__, **self.looking.settings}
        digest = hashlib.blake2b(json.dumps(settings, sort_keys=True).encode(), digest_size=20)
        if isinstance(record.source, Path) and record.source.is_file():
            digest.update(record.source.read_bytes())
        else:  # generated or in memory; a missing file is reported by the read
            image = np.ascontiguousarray(record.picture(self.decoding)[0])
            digest.update(f"{image.shape}".encode() + image.tobytes())
        return digest.hexdigest()


@dataclass(frozen=True, slots=True)
class KeptFace:
    """Source of an aligned face: reads the cached file, and recreates it if it is missing or damaged."""

    place: Path
    record: Record
    maker: FaceMaker

    @property
    def fingerprint(self) -> str:
        """The cache key of the face."""
        return self.place.stem

    def __call__(self) -> Image:
        """Return the face, [h, w, 3] uint8, RGB.

        Raises:
            ImageError: the cached file is gone, and the image is gone too or no longer shows a face.
        """
        try:
            return images.read(self.place)
        except ImageError:
            chip = self.maker.made(self.record)
        if chip is None:
            raise ImageError(self.record.key, f"{NO_FACE}, but an earlier run found one: the image has changed since")
        keep(self.place, chip)
        return chip


def keep(place: Path, chip: Image | None) -> bool:
    """Write a face, or an empty file for none; return whether writing succeeded (disk space, permission)."""
    data = b"" if chip is None else cv2.imencode(".png", chip[:, :, ::-1])[1].tobytes()

    def write(file: BinaryIO) -> None:
        file.write(data)

    try:
        write_atomic(place, write)
    except OSError:
        return False
    return True
