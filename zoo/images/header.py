"""Properties of an image file that its header declares."""

from __future__ import annotations

from dataclasses import dataclass, replace

from zoo.errors import Flaw

# formats, by content, and the suffixes of their files; the decoder reads these, and folders of images are searched for the suffixes
FORMATS = {
    "JPEG": (".jpg", ".jpeg", ".jpe", ".jfif", ".mpo"),
    "PNG": (".png", ".apng"),
    "WebP": (".webp",),
    "BMP": (".bmp", ".dib"),
    "TIFF": (".tif", ".tiff"),
    "PNM": (".pgm", ".ppm", ".pbm", ".pnm"),
    "GIF": (".gif",),
    "HEIC": (".heic", ".heif", ".hif"),
    "AVIF": (".avif",),
    "JPEG 2000": (".jp2", ".j2k", ".jpf", ".jpx", ".j2c"),
}


@dataclass(frozen=True, slots=True)
class Header:
    """Header of an image file."""

    format: str  # a key of FORMATS
    height: int  # in pixels as stored, before orientation
    width: int
    orientation: int = 1  # EXIF orientation, 1 to 8
    peak: int = 255  # maximum sample value: 255, 65535, or the maximum declared by a PGM or PPM file
    alpha: bool = False  # whether the image has an alpha channel or a transparent colour
    premultiplied: bool = False  # whether the colours that OpenCV returns are already multiplied by alpha
    transparent_grey: int | None = None  # 8-bit or 16-bit grey value that a PNG declares as transparent
    samples: int = 0  # stored samples per pixel of a TIFF, or of a JPEG 2000 with four bands
    bands: tuple[int, ...] | None = ()  # stored samples to decode; () if they are grey or RGB, with or without alpha; None to be chosen
    several: bool = False  # whether the file has further frames or pages
    assumed: str = ""  # what the file has that is read by assumption, or isn't read
    inverted: bool = False  # whether 0 is white in the array that OpenCV returns
    turned: int = 1  # orientation of a TIFF, which OpenCV applies; `height` and `width` are those after it

    @property
    def size_hw(self) -> tuple[int, int]:
        """Height and width after orientation, in pixels."""
        return (self.width, self.height) if self.orientation >= 5 else (self.height, self.width)

    @property
    def note(self) -> str:
        """What the file has that isn't read, or is read by assumption, as the object of "has"; "" if there is nothing."""
        return "; ".join(filter(None, ("several frames or pages, of which the first is read" if self.several else "", self.assumed)))

    @property
    def declared(self) -> int:
        """Orientation declared by the file, 1 to 8, regardless of who applies it."""
        return max(self.orientation, self.turned)

    def choose(self, bands: tuple[int, ...]) -> Header:
        """Return a copy for decoding only some bands.

        They are stored samples of an image with bands other than grey or RGB, otherwise red, green and blue.

        Raises a Flaw if the image doesn't have all of the bands.
        """
        stored = self.bands != () or (self.format == "TIFF" and self.alpha)
        count = self.samples if stored else 3
        if max(bands) >= count:
            raise Flaw(f"has the bands 0 to {count - 1}, but band {max(bands)} was chosen", "unreadable")
        if not stored:
            return self
        height, width = (self.width, self.height) if self.turned >= 5 else (self.height, self.width)
        plain = replace(self, alpha=False, premultiplied=False, inverted=False, turned=1, assumed="")
        return replace(plain, height=height, width=width, orientation=self.declared, bands=bands)
