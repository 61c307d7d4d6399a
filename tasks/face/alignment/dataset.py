"""Alignment of a dataset: the main face of each image is detected, aligned and cached on disk.

The cache holds one small PNG file per image, keyed by the image's bytes and the alignment settings. Its files may be deleted at any time,
because they are recreated on demand. The entry for an image without a face is an empty file, which saves detecting faces again.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np

from zoo.data.dataset import Dataset, Record
from zoo.errors import DataError, Fault, ImageError, InputError
from zoo.images import decoding as images
from zoo.images.decoding import Decoding, Image
from zoo.system.cache import LIMIT_BYTES, cache_folder, mark_used, shrink
from zoo.system.files import write_atomic
from zoo.task.answers import Aligned, Aligning
from zoo.task.building import TaskModel
from zoo.tasks.face.alignment.aligner import Looking, looking

MAIN = "central"  # choice of the main face; see `Wanted`
NO_FACE = "no face was found in it"
_FORMAT = 1  # version of the cache format; changing it invalidates older entries


def align_data(dataset: Dataset, models: Sequence[TaskModel], aligning: Aligning) -> Aligned:
    """Align a dataset for one or several models with the same alignment settings.

    Only the main face of each image is kept. The result lists the images without a face and the unreadable images as faults.
    """
    ways = {(model.preprocess.alignment, model.preprocess.size_hw) for model in models}
    if len(ways) > 1:
        listed = " and ".join(sorted(f"{template or 'none'} at {height}×{width}" for template, (height, width) in ways))
        raise InputError(f"align: the models need different alignments ({listed}); evaluate them separately")
    maker, count = FaceMaker(looking(models[0], aligning.detector, MAIN), aligning.decoding), len(dataset)
    records, not_found, unreadable = {}, {}, {}
    first = aligning.rank * count // aligning.processes
    for step in aligning.progress.track(range(count), "detecting faces", count):
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
    """Source of aligned main faces, with a cache. Its `looking` must return at most one face per image."""

    looking: Looking
    decoding: Decoding

    def of(self, record: Record) -> KeptFace | Image | None:
        """Return the face of an image as a cache entry, or as a crop if the cache can't be written; None if there is no face."""
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
        """Detect and align the face of an image without using the cache; return None if there is no face."""
        crops = self.looking(record.picture(self.decoding)[0], record.key).crops
        return crops[0] if len(crops) else None

    def _name(self, record: Record) -> str:
        """Return the cache key of a face: a hash of the settings and of the image's bytes."""
        settings = {"format": _FORMAT, "opencv": cv2.__version__, **self.looking.settings}
        digest = hashlib.blake2b(json.dumps(settings, sort_keys=True).encode(), digest_size=20)
        if isinstance(record.source, Path) and record.source.is_file():
            digest.update(record.source.read_bytes())
        else:  # the image is generated or in memory; reading a missing file raises an error
            image = np.ascontiguousarray(record.picture(self.decoding)[0])
            digest.update(f"{image.shape}".encode() + image.tobytes())
        return digest.hexdigest()


@dataclass(frozen=True, slots=True)
class KeptFace:
    """Image source of an aligned face. It reads the cached file, and recreates it if the file is missing or damaged."""

    place: Path
    record: Record
    maker: FaceMaker

    @property
    def fingerprint(self) -> str:
        """Cache key of the face."""
        return self.place.stem

    def __call__(self) -> Image:
        """Return the face, [h, w, 3] uint8, RGB."""
        try:
            return images.read(self.place)
        except ImageError:
            chip = self.maker.made(self.record)
        if chip is None:
            raise ImageError(self.record.key, f"{NO_FACE}, but a face was detected earlier; the image has changed since then")
        keep(self.place, chip)
        return chip


def keep(place: Path, chip: Image | None) -> bool:
    """Write a face to the cache, or an empty file for None; return False if the file can't be written."""
    data = b"" if chip is None else cv2.imencode(".png", chip[:, :, ::-1])[1].tobytes()
    try:
        write_atomic(place, lambda file: file.write(data))
    except OSError:
        return False
    return True
