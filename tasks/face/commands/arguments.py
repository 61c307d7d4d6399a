"""Flags of `zoo faces`: typed dataclasses that tyro turns into a command line."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import tyro

_PLACE = (
    "The gallery: a file, or postgresql://user@host/database (requires the extra [postgres]). Default: $ZOO_GALLERY, otherwise "
    "faces.gallery in your data folder."
)
_Place = Annotated[str | None, tyro.conf.arg(help=_PLACE)]
_FINDS = (
    "Face detector: mtcnn (also mtcnn?min_size=40&threshold=0.8), the folder of a detection model (also runs/faces?threshold=0.7), "
    "or none for photos that contain only a face."
)
_Detector = Annotated[str | None, tyro.conf.arg(help=_FINDS)]
_ENGINE = (
    "Engine of the embedder: eager, inductor, openvino or onnxruntime, or auto for the fastest on this machine; see zoo predict --help."
)
_Engine = Annotated[str, tyro.conf.arg(help=_ENGINE)]
_PRECISION = (
    "Numeric precision of the embedder's matrix multiplications. auto is fp32 with the engine eager, otherwise bf16 if the processor "
    "has it."
)
_Precision = Annotated[Literal["auto", "fp32", "bf16"], tyro.conf.arg(help=_PRECISION)]
_ONE = "If a photo shows several faces: refuse it (one), or take the main face (central or largest)."
_One = Annotated[Literal["one", "central", "largest"], tyro.conf.arg(help=_ONE)]
_SkipBad = Annotated[bool, tyro.conf.arg(help="Skip images that can't be read, report them and continue.")]
_Quiet = Annotated[bool, tyro.conf.arg(help="Don't show progress.")]
_Json = Annotated[bool, tyro.conf.arg(help="Print a single JSON object to standard output, and nothing else.")]


@dataclass(frozen=True)
class FacesAlignFlags:
    """Find and align the face in every image of a folder, and write it as PNG under the same name and subfolder in a new folder."""

    folder: tyro.conf.Positional[Path]
    """Folder of images, searched recursively."""
    out: tyro.conf.Positional[Path]
    """Output folder for the faces, aligned.json (what was found) and sheet.html (contact sheet): new, empty, or written by this command
    from the same folder."""
    model: Path | None = None
    """Folder of a run or saved model whose template and size are used. Default: those of the default embedder."""
    template: Literal["arcface", "dlib", "facenet"] | None = None
    """Template to align the faces to, instead of a model's."""
    size: int | None = None
    """Height and width of the aligned faces in pixels. Default: 112 for arcface, 150 for dlib, 160 for facenet."""
    detector: str = "mtcnn"
    """Face detector: mtcnn (also mtcnn?min_size=40&threshold=0.8), or the folder of a detection model with a class face (also
    runs/faces?threshold=0.7; for the template facenet)."""
    faces: Literal["central", "largest", "all"] = "central"
    """Which face to take if there are several: a large one near the middle, the largest, or all of them (NAME-2.png and so on)."""
    skip_bad: _SkipBad = False
    quiet: _Quiet = False
    json: _Json = False


@dataclass(frozen=True)
class FacesVerifyFlags:
    """Check whether two photos show the same person. The exit status is 0 whatever the answer."""

    a: tyro.conf.Positional[Path]
    """First photo, with one face."""
    b: tyro.conf.Positional[Path]
    """Second photo, with one face."""
    model: Path | None = None
    """Folder of a run or saved face model. Default: dlib's ResNet-29 (requires the extra [faces])."""
    threshold: float | None = None
    """Largest distance at which two faces count as the same person, instead of the model's own threshold."""
    detector: _Detector = None
    engine: _Engine = "eager"
    precision: _Precision = "auto"
    faces: _One = "one"
    json: _Json = False


@dataclass(frozen=True)
class GalleryFlags:
    """Which gallery to use, and how faces are found and embedded."""

    gallery: _Place = None
    model: Path | None = None
    """Folder of a run or saved face model. Default: dlib's ResNet-29 (requires the extra [faces]). A gallery belongs to one model."""
    detector: _Detector = None
    engine: _Engine = "eager"
    precision: _Precision = "auto"
    quiet: _Quiet = False
    json: _Json = False


_Gallery = Annotated[tyro.conf.OmitArgPrefixes[GalleryFlags], tyro.conf.arg(name="gallery")]


@dataclass(frozen=True)
class FacesEnrollFlags:
    """Enrol a person from photos that show only this person: either all of the photos or none."""

    name: tyro.conf.Positional[str]
    """Name of the person."""
    photos: tyro.conf.Positional[tuple[Path, ...]]
    """Images, or folders of images."""
    faces: _One = "one"
    add: bool = False
    """Add the photos to a person who is already enrolled."""
    force: bool = False
    """Accept photos whose face is too small, blurred, dark, turned away or cut off, or that seem to show another person."""
    at: _Gallery = GalleryFlags()


@dataclass(frozen=True)
class FacesIdentifyFlags:
    """Name the enrolled people in images."""

    sources: tyro.conf.Positional[tuple[Path, ...]]
    """Images, folders of images, or videos."""
    out: Path | None = None
    """Output folder for predictions.jsonl and the images with names drawn on them: new, empty, or written by this command before."""
    top: int = 3
    """Number of nearest people to list for each face."""
    threshold: float | None = None
    """Largest distance at which two faces count as the same person, instead of the gallery's own. Faces whose distance is within a
    tenth of it, on either side, are not named."""
    skip_bad: _SkipBad = False
    at: _Gallery = GalleryFlags()


@dataclass(frozen=True)
class FacesClusterFlags:
    """Group the unknown faces in photos by person. Faces of enrolled people are excluded."""

    sources: tyro.conf.Positional[tuple[Path, ...]]
    """Folders of images, images or videos."""
    out: Path | None = None
    """HTML page to create, which shows the groups."""
    threshold: float | None = None
    """Largest distance at which two faces count as the same person, instead of the gallery's or model's own threshold."""
    skip_bad: _SkipBad = False
    at: _Gallery = GalleryFlags()


@dataclass(frozen=True)
class FacesForgetFlags:
    """Permanently delete a person with all their faces."""

    name: tyro.conf.Positional[str]
    """Name of the person."""
    gallery: _Place = None
    json: _Json = False


@dataclass(frozen=True)
class FacesListFlags:
    """List the people enrolled."""

    gallery: _Place = None
    json: _Json = False
