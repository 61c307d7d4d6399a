"""Disk cache of aligned main faces: one small PNG per image, keyed by the image's bytes and the alignment settings.

Entries may be deleted at any time; they are recreated on demand. An image without a face is cached as an empty file, because finding out
that there is none takes just as long.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, BinaryIO

import cv2
import numpy as np

from zoo.data.dataset import Record
from zoo.errors import ImageError
from zoo.images import decoding as images
from zoo.images.decoding import Decoding, Image
from zoo.system.cache import cache_folder, mark_used
from zoo.system.files import write_atomic
from zoo.tasks.face.alignment.aligner import Looking

NO_FACE = "no face was found in it"
_FORMAT = 1  # cache version: changing it invalidates entries of older versions


@dataclass(frozen=True)
class FaceMaker:
    """Makes or looks up the aligned main face of an image.

    Attributes:
        looking: finder, template and crop size; it keeps at most one face per image.
        decoding: options of the image decoder.
    """

    looking: Looking
    decoding: Decoding

    @property
    def settings(self) -> dict[str, Any]:
        """All settings that the aligned face depends on, apart from the image."""
        looking = self.looking
        crops = {"template": looking.template, "size_hw": list(looking.size_hw), "faces": asdict(looking.wanted)}
        return {**looking.finder.settings, **crops}

    def of(self, record: Record) -> KeptFace | Image | None:
        """Return the face of an image: its cache entry, or the crop itself where the cache can't be written; None if there is no face.

        Raises:
            ImageError: the image can't be read, or its face can't be aligned.
        """
        name = self._name(record)
        place = cache_folder("aligned") / f"{name}.png"
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
        """Find and align the face of an image, without the cache; None if there is no face.

        Raises:
            ImageError: as in `of`.
        """
        crops = self.looking(record.picture(self.decoding)[0], record.key).crops
        return crops[0] if len(crops) else None

    def _name(self, record: Record) -> str:
        """Return the cache key of an image's face: a hash of the settings and of the image's bytes.

        Raises:
            ImageError: the image can't be read.
        """
        settings = {"format": _FORMAT, "opencv": cv2.__version__, **self.settings}
        digest = hashlib.blake2b(json.dumps(settings, sort_keys=True).encode(), digest_size=20)
        if isinstance(record.source, Path) and record.source.is_file():
            digest.update(record.source.read_bytes())
        else:  # generated or in memory; a missing file is reported by the read
            image = np.ascontiguousarray(record.picture(self.decoding)[0])
            digest.update(f"{image.shape}".encode() + image.tobytes())
        return digest.hexdigest()


@dataclass(frozen=True, slots=True)
class KeptFace:
    """Source of an aligned face: reads the cached file, and recreates it if it is missing or damaged.

    Attributes:
        place: path of the cached file.
        record: record of the whole image.
        maker: the maker of the face, used to recreate it.
    """

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
    try:
        write_atomic(place, lambda file: _write(file, data))
    except OSError:
        return False
    return True


def _write(file: BinaryIO, data: bytes) -> None:
    file.write(data)
