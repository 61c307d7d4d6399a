"""Coordinate frames of annotated boxes: annotated sizes are compared with the headers of the image files, EXIF orientation included.

A phone stores a photo as the sensor sees it, and an EXIF orientation that turns it upright. Some annotation tools show the stored picture,
others the upright one, and a few write the size of one with the boxes of the other.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from zoo.data.dataset import wrong_size
from zoo.data.formats import DataRef
from zoo.errors import Box, Flaw, InputError
from zoo.images import decoding
from zoo.images.header import Header
from zoo.system.wording import counted
from zoo.tasks.detection.data.targets import TOLERANCE

Size = tuple[int, int]  # height and width in pixels
_LARGEST = 1e9  # pixels of a side
_LOOKED = 2000  # headers read of a larger dataset, as long as they show nothing special; the others are compared when they are decoded


def stated_size(height: Any, width: Any) -> Size | None:
    """Return the size of an image as an annotation states it, in numbers or as text; None if it is missing, or isn't a size in pixels."""
    try:
        size = float(height), float(width)
    except (TypeError, ValueError, OverflowError):
        return None
    return (int(size[0]), int(size[1])) if all(1 <= side < _LARGEST for side in size) else None


@dataclass(frozen=True, slots=True)
class Annotated:
    """An image file with its annotated size, None if there is none, and its header if the reader has already parsed it."""

    key: str
    path: Path
    stated_hw: Size | None
    header: Header | None = None


@dataclass(frozen=True, slots=True)
class Frame:
    """Frame in which the boxes of an image are annotated, and the EXIF orientation that turns it upright."""

    size_hw: tuple[float, float]
    orientation: int = 1

    @property
    def upright_hw(self) -> tuple[float, float]:
        """Height and width of the upright image."""
        return self.size_hw if self.orientation < 5 else (self.size_hw[1], self.size_hw[0])

    def upright(self, box: Box) -> Box:
        """Return a box, xyxy in pixels of this frame, in pixels of the upright image (TIFF 6.0, tag 274)."""
        left, top, right, bottom = box
        height, width = self.size_hw
        if self.orientation in (2, 3, 7, 8):
            left, right = width - right, width - left
        if self.orientation in (3, 4, 6, 7):
            top, bottom = height - bottom, height - top
        return (left, top, right, bottom) if self.orientation < 5 else (top, left, bottom, right)


@dataclass
class Frames:
    """Frames of images whose frame isn't simply the annotated size, flaws of images whose frame is unknown, and notes."""

    frames: dict[str, Frame] = field(default_factory=dict)  # by key
    flaws: dict[str, Flaw] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    def of(self, image: Annotated) -> Frame:
        """Return the frame of an image; its size is infinite if it isn't known."""
        stated = image.header.size_hw if image.header else image.stated_hw
        return self.frames.get(image.key) or Frame(stated or (math.inf, math.inf))

    def size_hw(self, image: Annotated) -> Size | None:
        """Return the size of the upright image; None if it isn't known."""
        height, width = self.of(image).upright_hw
        return None if height == math.inf else (int(height), int(width))


@dataclass(eq=False)
class _Photo:
    """A photo with an EXIF orientation."""

    annotated: Annotated
    upright_hw: Size
    orientation: int
    boxes: int = 0
    fits_stored: bool = True
    fits_upright: bool = True

    @property
    def stored_hw(self) -> Size:
        return self.upright_hw if self.orientation < 5 else (self.upright_hw[1], self.upright_hw[0])

    @property
    def states(self) -> Literal["stored", "upright", ""]:
        """Frame that the annotated size shows; "" if there is no annotated size, or it is that of both."""
        stated = self.annotated.stated_hw
        if stated is None or self.stored_hw == self.upright_hw:
            return ""
        return "stored" if stated == self.stored_hw else "upright"

    @property
    def only_stored(self) -> bool:
        return self.boxes > 0 and self.fits_stored and not self.fits_upright

    @property
    def only_upright(self) -> bool:
        return self.boxes > 0 and self.fits_upright and not self.fits_stored

    def add(self, box: Box) -> None:
        self.boxes += 1
        self.fits_stored &= _fits(box, self.stored_hw)
        self.fits_upright &= _fits(box, self.upright_hw)

    def flaw(self) -> Flaw:
        """Return the flaw of boxes in the stored frame, or in a frame that can't be determined."""
        stated = "its annotation is for" if self.annotated.stated_hw else "its annotation fits"
        photo = f"the upright photo (EXIF orientation {self.orientation}) has {shown(self.upright_hw)}"
        reason = f"{stated} the stored picture of {shown(self.stored_hw)} pixels, but {photo}"
        if self.only_stored:
            return Flaw(f"{reason}. Its boxes fit only the stored one: convert them with ?frame=stored", "wrong-size")
        fit = "fit both" if self.fits_stored and self.fits_upright else "fit only the upright one" if self.fits_upright else "fit neither"
        return Flaw(f"{reason}. Its boxes {fit}: state where they were drawn with ?frame=stored or ?frame=upright", "wrong-size")


def find_frames(
    ref: DataRef, images: Sequence[Annotated], boxes_of: Callable[[Collection[str]], Iterable[tuple[str, Box]]] = lambda keys: ()
) -> Frames:
    """Compare annotated sizes with the image files, and decide in which frame photos with an EXIF orientation are annotated.

    The option `frame=` decides if it is set. Otherwise the annotated size does; if it is that of the stored picture, boxes that fit only
    one of the frames do. Boxes are converted only with `frame=stored`.

    Args:
        ref: the dataset string.
        images: all images; unreadable files are ignored, because decoding reports them.
        boxes_of: function that returns the keys and boxes, xyxy in the annotated frame, of the images with these keys.

    Raises:
        InputError: the value of `frame=` is unknown.
    """
    option = ref.options.get("frame")
    if option not in (None, "stored", "upright"):
        raise InputError(f"data {ref.text!r}: frame is {option!r}; expected stored or upright")
    answer = Frames()
    photos = dict(_photos_of(images, answer, every=option == "stored"))
    for key, box in boxes_of({key for key, photo in photos.items() if photo.stored_hw != photo.upright_hw}):
        photos[key].add(box)
    if option == "stored":
        _convert(answer, list(photos.values()))
        return answer
    swapped = [photo for photo in photos.values() if photo.states == "stored"]
    evident = any(photo.only_upright for photo in swapped) and not any(photo.only_stored for photo in swapped)
    for key, photo in photos.items():
        doubtful = photo.only_stored or (photo.states == "stored" and photo.boxes and not evident)
        if option is None and doubtful and photo.states != "upright":
            answer.flaws[key] = photo.flaw()
        else:
            answer.frames[key] = Frame(photo.upright_hw)
    if option is None:
        _tell(answer, [photo for key, photo in photos.items() if key in answer.frames])
    return answer


def _photos_of(images: Sequence[Annotated], answer: Frames, every: bool) -> Iterator[tuple[str, _Photo]]:
    """Yield the photos with an EXIF orientation, and add flaws of images with another size than annotated.

    If `every` header is needed, images without one get a flaw too.
    """
    step = 1 if every else -(-len(images) // _LOOKED) or 1
    headers = _headers(images[::step])
    if step > 1 and any(header.declared != 1 or image.stated_hw not in (None, header.size_hw) for image, header in headers):
        headers = _headers(images)
    if every:
        read = {image.key for image, _ in headers}
        unread = Flaw("frame=stored needs the EXIF orientation, but the image can't be read", "unreadable")
        answer.flaws |= {image.key: unread for image in images if image.key not in read}
    for image, header in headers:
        photo = _Photo(image, header.size_hw, header.declared)
        if image.stated_hw is not None and image.stated_hw not in (photo.upright_hw, photo.stored_hw):
            answer.flaws[image.key] = Flaw(wrong_size(image.stated_hw, photo.upright_hw), "wrong-size")
        elif header.declared != 1:
            yield image.key, photo


def _headers(images: Sequence[Annotated]) -> list[tuple[Annotated, Header]]:
    return [(image, header) for image in images if (header := image.header or decoding.peek(image.path)) is not None]


def _convert(answer: Frames, photos: Sequence[_Photo]) -> None:
    """Set the frames for `frame=stored`, and add notes."""
    told = [photo for photo in photos if photo.states == "upright"]
    turned = [photo for photo in photos if photo.states != "upright"]
    for photo in turned:
        answer.frames[photo.annotated.key] = Frame(photo.stored_hw, photo.orientation)
    if turned:
        answer.notes.append(f"{_photos(turned)}: their boxes were converted from the stored to the upright frame")
    else:
        answer.notes.append("frame=stored converts nothing: no photo with an EXIF orientation needs it")
    if told:
        answer.notes.append(f"{_photos(told)}: their annotated size is that of the upright frame, so their boxes weren't converted")


def _tell(answer: Frames, photos: Sequence[_Photo]) -> None:
    """Add notes on photos that are read in the upright frame."""
    if told := [photo for photo in photos if photo.states == "upright"]:
        answer.notes.append(f"{_photos(told)}: annotated in the upright frame, as their annotated size shows")
    if swapped := [photo for photo in photos if photo.states == "stored" and photo.boxes]:
        sizes = f"{shown(swapped[0].stored_hw)}, upright {shown(swapped[0].upright_hw)}"
        answer.notes.append(f"{_photos(swapped)}: annotated with the size of the stored picture ({sizes}), but in the upright frame")
    if free := [photo for photo in photos if not photo.states]:
        answer.notes.append(
            f"{_photos(free)}: boxes are read in the upright frame; if they were drawn on the stored picture, add ?frame=stored"
        )


def _photos(photos: Sequence[_Photo]) -> str:
    return f"{counted(len(photos), 'photo')} with an EXIF orientation, such as {photos[0].annotated.key}"


def _fits(box: Box, size_hw: Size) -> bool:
    left, top, right, bottom = box
    return min(left, top) >= -TOLERANCE and right <= size_hw[1] + TOLERANCE and bottom <= size_hw[0] + TOLERANCE


def shown(size_hw: Size | None) -> str:
    """Return a size as width×height, for messages; None for a size that isn't stated."""
    return "missing" if size_hw is None else f"{size_hw[1]}×{size_hw[0]}"
