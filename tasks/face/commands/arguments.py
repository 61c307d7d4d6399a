"""Flags of `zoo faces`: typed dataclasses that tyro turns into a command line."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import tyro

_PLACE = (
    "The gallery: a file, or postgresql://user@host/database (requires the [postgres] extra). By default $ZOO_GALLERY, otherwise "
    "resnet-zoo/faces.gallery in $XDG_DATA_HOME, which defaults to ~/.local/share (macOS: ~/Library/Application Support; Windows: "
    "%LOCALAPPDATA%)."
)
_Place = Annotated[str | None, tyro.conf.arg(help=_PLACE)]
_DETECTORS = 'mtcnn, or the folder of a detection model with a "face" class (both accept settings, e.g. mtcnn?min_size=40&threshold=0.8)'
_FINDS = (
    f"Face detector: {_DETECTORS}, or none for photos cropped to a face. By default, mtcnn if the model requires aligned faces, otherwise "
    "none."
)
_Detector = Annotated[str | None, tyro.conf.arg(help=_FINDS)]
_ENGINE = (
    "Inference engine of the face model: eager, inductor, openvino, onnxruntime, or auto for the fastest on this machine; see zoo predict "
    "--help."
)
_Engine = Annotated[str, tyro.conf.arg(help=_ENGINE)]
_PRECISION = (
    "Numeric precision of the face model. With the eager engine, auto means fp32; with other engines, bf16 if the processor supports it, "
    "otherwise fp32."
)
_Precision = Annotated[Literal["auto", "fp32", "bf16"], tyro.conf.arg(help=_PRECISION)]
_ONE = (
    "What to do with a photo that shows several faces: reject the image (one), use the largest face (largest), or use a large face near "
    "the centre (central)."
)
_One = Annotated[Literal["one", "central", "largest"], tyro.conf.arg(help=_ONE)]
_SkipBad = Annotated[bool, tyro.conf.arg(help="Skip unreadable images, and list them.")]
_Quiet = Annotated[bool, tyro.conf.arg(help="Don't show progress.")]
_Json = Annotated[bool, tyro.conf.arg(help="Print only a single JSON object to standard output.")]


@dataclass(frozen=True)
class FacesAlignFlags:
    """Detect and align the face in every image of a folder, and save it as a PNG under the same relative path in a new folder."""

    folder: Annotated[tyro.conf.Positional[Path], tyro.conf.arg(metavar="FOLDER")]
    """Folder of images, searched recursively."""
    out: Annotated[tyro.conf.Positional[Path], tyro.conf.arg(metavar="OUT")]
    """Output folder for the aligned faces, aligned.json (the results) and sheet.html (a contact sheet). It must be new, empty, or written
    by this command from the same folder."""
    model: Path | None = None
    """Folder of a run or saved model whose template and input size are used; by default those of dlib's ResNet-29."""
    template: Literal["arcface", "dlib", "facenet"] | None = None
    """Template to which faces are aligned, an alternative to --model; by default dlib."""
    size: int | None = None
    """Height and width of the aligned faces in pixels; by default 112 for arcface, 150 for dlib, 160 for facenet."""
    detector: Annotated[str, tyro.conf.arg(help=f"Face detector: {_DETECTORS}. A detection model supports only the facenet template.")] = (
        "mtcnn"
    )
    faces: Literal["central", "largest", "all"] = "central"
    """Which faces to save if there are several: a large one near the centre (central), the largest, or all of them (NAME-2.png and so
    on)."""
    skip_bad: _SkipBad = False
    quiet: _Quiet = False
    json: _Json = False


@dataclass(frozen=True)
class FacesVerifyFlags:
    """Check whether two photos show the same person. The exit status is 0 whatever the result."""

    a: Annotated[tyro.conf.Positional[Path], tyro.conf.arg(metavar="A")]
    """First photo, with one face."""
    b: Annotated[tyro.conf.Positional[Path], tyro.conf.arg(metavar="B")]
    """Second photo, with one face."""
    model: Path | None = None
    """Folder of a run or saved face model; by default dlib's ResNet-29 (requires the [faces] extra)."""
    threshold: float | None = None
    """Maximum distance at which two faces count as the same person; by default the threshold of the model."""
    detector: _Detector = None
    engine: _Engine = "eager"
    precision: _Precision = "auto"
    faces: _One = "one"
    json: _Json = False


@dataclass(frozen=True)
class GalleryFlags:
    """Which gallery to use, and how faces are detected and embedded."""

    gallery: _Place = None
    model: Path | None = None
    """Folder of a run or saved face model; by default dlib's ResNet-29 (requires the [faces] extra). A gallery can be used only with the
    model that created it."""
    detector: _Detector = None
    engine: _Engine = "eager"
    precision: _Precision = "auto"
    quiet: _Quiet = False
    json: _Json = False


_Gallery = Annotated[tyro.conf.OmitArgPrefixes[GalleryFlags], tyro.conf.arg(name="gallery")]


@dataclass(frozen=True)
class FacesEnrollFlags:
    """Enrol a person from photos that show only them. If any photo is rejected, none is added."""

    name: Annotated[tyro.conf.Positional[str], tyro.conf.arg(metavar="NAME")]
    """Name of the person."""
    photos: Annotated[tyro.conf.Positional[tuple[Path, ...]], tyro.conf.arg(metavar="PHOTO…", help_behavior_hint="(required)")]
    """Images, or folders of images."""
    faces: _One = "one"
    add: bool = False
    """Add the photos to a person who is already enrolled."""
    force: bool = False
    """Accept photos in which the face is too small, blurred, dark, turned away or cut off, or seems to be another person's."""
    at: _Gallery = GalleryFlags()


@dataclass(frozen=True)
class FacesIdentifyFlags:
    """Identify enrolled people in images."""

    sources: Annotated[tyro.conf.Positional[tuple[Path, ...]], tyro.conf.arg(metavar="SOURCE…", help_behavior_hint="(required)")]
    """Images, folders of images, or videos."""
    out: Path | None = None
    """Output folder for predictions.jsonl and for the images with names drawn on them. It must be new, empty, or written by this command.
    By default, no files are written."""
    top: int = 3
    """Number of nearest people to list for each face."""
    threshold: float | None = None
    """Maximum distance at which two faces count as the same person; by default the threshold of the gallery. A face whose distance is
    within 10 % of the threshold is reported as undecided."""
    skip_bad: _SkipBad = False
    at: _Gallery = GalleryFlags()


@dataclass(frozen=True)
class FacesClusterFlags:
    """Group the unknown faces in photos by person. Faces of enrolled people are excluded."""

    sources: Annotated[tyro.conf.Positional[tuple[Path, ...]], tyro.conf.arg(metavar="SOURCE…", help_behavior_hint="(required)")]
    """Images, folders of images, or videos."""
    out: Path | None = None
    """Output file for an HTML page that shows the groups; by default, they are only printed."""
    threshold: float | None = None
    """Maximum distance at which two faces count as the same person; by default the threshold of the gallery or model."""
    skip_bad: _SkipBad = False
    at: _Gallery = GalleryFlags()


@dataclass(frozen=True)
class FacesForgetFlags:
    """Permanently delete a person and all their faces."""

    name: Annotated[tyro.conf.Positional[str], tyro.conf.arg(metavar="NAME")]
    """Name of the person."""
    gallery: _Place = None
    json: _Json = False


@dataclass(frozen=True)
class FacesListFlags:
    """List enrolled people."""

    gallery: _Place = None
    json: _Json = False
