"""A data set's faces, found, aligned and kept: each is one small picture in the cache, known by the bytes it came from and by how.

What is kept may be deleted at any time. A picture without a face is kept too, as an empty file: that it has none takes as long to find out.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, BinaryIO

import cv2
import numpy as np
from numpy.typing import NDArray

from zoo.aligned import Aligned, Aligning
from zoo.cache_folder import LIMIT_BYTES, cache_folder, mark_used, shrink
from zoo.data import Dataset, Record
from zoo.errors import DataError, Fault, ImageError, InputError
from zoo.files import write_atomic
from zoo.model import Model
from zoo.tasks.face.alignment import align
from zoo.tasks.face.looking import Looking, looking

MAIN = "central"  # the face that a picture is of
_FORMAT = 1  # another number leaves what older versions have kept aside
NO_FACE = "no face was found in it"


def align_data(dataset: Dataset, models: Sequence[Model], aligning: Aligning) -> Aligned:
    """Align a data set for models.

    Raises:
        InputError: the models' faces aren't aligned alike, or the detector doesn't suit them.
        ImageError: a picture can't be read and isn't to be skipped.
        DataError: there is no face in any picture.
    """
    ways = {(model.preprocess.alignment, model.preprocess.size_hw) for model in models}
    if len(ways) > 1:
        said = " and ".join(sorted(f"{template or 'none'} at {height}×{width}" for template, (height, width) in ways))
        raise InputError(f"align: the models' faces are aligned in different ways ({said}); evaluate them one at a time")
    aligned = AlignedData(looking(models[0], aligning.detector, MAIN), aligning).of(dataset)
    if not aligned.dataset.records:
        raise DataError(f"data {dataset.name!r}: in none of its {len(dataset)} pictures a face was found:", aligned.left_out)
    return aligned


@dataclass(frozen=True)
class AlignedData:
    """What aligns the pictures of a data set.

    Attributes:
        looking: finder, template and size; of a picture with several faces the main one is taken.
        aligning: what is asked for.
    """

    looking: Looking
    aligning: Aligning

    def of(self, dataset: Dataset) -> Aligned:
        """Align a data set.

        Raises:
            ImageError: a picture can't be read and isn't to be skipped.
        """
        records, not_found, unreadable = {}, {}, {}
        count, asked = len(dataset), self.aligning
        first = asked.rank * count // asked.processes
        for step in asked.progress.track(range(count), "finding faces", count):
            place = (first + step) % count
            record = dataset.records[place]
            try:
                chip = self._chip(record)
            except ImageError as error:
                if not asked.skip:
                    raise
                unreadable[place] = Fault(record.key, error.reason, whole=True, kind=error.kind)
                continue
            if chip is None:
                not_found[place] = Fault(record.key, NO_FACE, whole=True, kind="no-face")
            else:
                records[place] = replace(record, source=chip, size_hw=self.looking.size_hw)
        self._tidy([record.source for record in records.values() if isinstance(record.source, Path)])
        faults = tuple(not_found[place] for place in sorted(not_found))
        details = {**self._settings, "found": len(records), "not_found": [fault.key for fault in faults]}
        kept = replace(dataset, records=tuple(records[place] for place in sorted(records)))
        return Aligned(kept, faults, tuple(unreadable[place] for place in sorted(unreadable)), details)

    @property
    def _settings(self) -> dict[str, Any]:
        looking = self.looking
        crops = {"template": looking.template, "size_hw": list(looking.size_hw), "faces": asdict(looking.wanted)}
        return {**looking.finder.settings, **crops}

    def _chip(self, record: Record) -> Path | NDArray[np.uint8] | None:
        """Return the aligned face: its file, or the picture itself where none can be written; None where there is no face."""
        place = cache_folder("aligned") / f"{self._name(record)}.png"
        try:
            if place.stat().st_size == 0:
                return None
            mark_used(place)
            return place
        except OSError:
            chip = self._made(record)
        data = b"" if chip is None else cv2.imencode(".png", chip[:, :, ::-1])[1].tobytes()
        try:
            write_atomic(place, lambda file: _write(file, data))
        except OSError:  # no room, or no permission: nothing is kept
            return chip
        return None if chip is None else place

    def _name(self, record: Record) -> str:
        """Return what the face of a picture is known by.

        Raises:
            ImageError: the file can't be read.
        """
        settings = {"format": _FORMAT, "opencv": cv2.__version__, **self._settings}
        digest = hashlib.blake2b(json.dumps(settings, sort_keys=True).encode(), digest_size=20)
        if isinstance(record.source, Path) and record.source.is_file():
            digest.update(record.source.read_bytes())
        else:  # drawn or in memory; of a file that isn't there, reading says what is wrong
            image = np.ascontiguousarray(record.picture(self.aligning.decoding)[0])
            digest.update(f"{image.shape}".encode() + image.tobytes())
        return digest.hexdigest()

    def _made(self, record: Record) -> NDArray[np.uint8] | None:
        image = record.picture(self.aligning.decoding)[0]
        found = self.looking.wanted.of(self.looking.finder(image), (image.shape[0], image.shape[1]))
        if not len(found):
            return None
        return align(image, found.landmarks[0], found.boxes[0], self.looking.template, self.looking.size_hw)

    def _tidy(self, own: list[Path]) -> None:
        """Delete what hasn't been used for longest where the cache is over its limit, but nothing of this data."""
        if own:
            size = sum(path.stat().st_size for path in own if path.exists())
            shrink(own[0].parent, max(LIMIT_BYTES, size), keep=own[0])


def _write(file: BinaryIO, data: bytes) -> None:
    file.write(data)
