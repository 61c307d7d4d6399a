"""The main face of one picture, found, aligned and kept: a small picture in the cache, known by the bytes it came from and by how.

What is kept may be deleted at any time: it is made again. A picture without a face is kept too, as an empty file: that it has none takes
as long to find out.
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
_FORMAT = 1  # another number leaves what older versions have kept aside


@dataclass(frozen=True)
class FaceMaker:
    """What makes the face of a picture.

    Attributes:
        looking: finder, template and size; it wants one face of a picture.
        decoding: how pictures are read.
    """

    looking: Looking
    decoding: Decoding

    @property
    def settings(self) -> dict[str, Any]:
        """Everything but the picture that a face depends on."""
        looking = self.looking
        crops = {"template": looking.template, "size_hw": list(looking.size_hw), "faces": asdict(looking.wanted)}
        return {**looking.finder.settings, **crops}

    def of(self, record: Record) -> KeptFace | Image | None:
        """Return the face of a picture: what is kept, or the face itself where nothing can be; None where there is none.

        Raises:
            ImageError: the picture can't be read, or its face can't be aligned.
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
        """Find and align the face of a picture.

        Raises:
            ImageError: as in `of`.
        """
        crops = self.looking(record.picture(self.decoding)[0], record.key).crops
        return crops[0] if len(crops) else None

    def _name(self, record: Record) -> str:
        """Return what the face of a picture is known by.

        Raises:
            ImageError: the file can't be read.
        """
        settings = {"format": _FORMAT, "opencv": cv2.__version__, **self.settings}
        digest = hashlib.blake2b(json.dumps(settings, sort_keys=True).encode(), digest_size=20)
        if isinstance(record.source, Path) and record.source.is_file():
            digest.update(record.source.read_bytes())
        else:  # drawn or in memory; of a file that isn't there, reading says what is wrong
            image = np.ascontiguousarray(record.picture(self.decoding)[0])
            digest.update(f"{image.shape}".encode() + image.tobytes())
        return digest.hexdigest()


@dataclass(frozen=True, slots=True)
class KeptFace:
    """The source of an aligned picture: its file, or where that is gone the face, which is found again and kept again.

    Attributes:
        place: the file in the cache.
        record: the whole picture.
        maker: what has made it.
    """

    place: Path
    record: Record
    maker: FaceMaker

    @property
    def fingerprint(self) -> str:
        """What the face is known by."""
        return self.place.stem

    def __call__(self) -> Image:
        """Return the face, [h, w, 3] uint8, RGB.

        Raises:
            ImageError: it is gone, and so is the picture that it is of, or the face in it.
        """
        try:
            return images.read(self.place)
        except ImageError:
            chip = self.maker.made(self.record)
        if chip is None:
            raise ImageError(self.record.key, f"{NO_FACE}, and there was one before: the picture has been changed meanwhile")
        keep(self.place, chip)
        return chip


def keep(place: Path, chip: Image | None) -> bool:
    """Write a face, or that there is none; tell whether there was room and permission."""
    data = b"" if chip is None else cv2.imencode(".png", chip[:, :, ::-1])[1].tobytes()
    try:
        write_atomic(place, lambda file: _write(file, data))
    except OSError:
        return False
    return True


def _write(file: BinaryIO, data: bytes) -> None:
    file.write(data)
