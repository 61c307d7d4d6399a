"""The flags of `zoo faces`: typed dataclasses that tyro turns into a command line."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import tyro

_PLACE = "A file, or postgresql://user@host/database (extra [postgres]); by default $ZOO_GALLERY, else faces.gallery in your data folder."
_Place = Annotated[str | None, tyro.conf.arg(help=_PLACE)]
_FINDS = (
    "mtcnn (settings: mtcnn?min_size=40&threshold=0.8), a detection model's folder (also runs/faces?threshold=0.7), or none for photos "
    "that are nothing but a face."
)
_Detector = Annotated[str | None, tyro.conf.arg(help=_FINDS)]


@dataclass(frozen=True)
class FacesAlignFlags:
    """Find the face in every picture of a folder, and write it aligned, as PNG, under its old name into the same folders of a new one."""

    folder: tyro.conf.Positional[Path]
    """Searched whole."""
    out: tyro.conf.Positional[Path]
    """New, empty, or written by this command before, of this folder: faces, aligned.json (what was found), sheet.html (to look at)."""
    model: Path | None = None
    """A run's or saved model's folder: its template and size. By default those of the default embedder."""
    template: Literal["arcface", "dlib", "facenet"] | None = None
    """What the faces are aligned to, instead of a model's."""
    size: int | None = None
    """Height and width in pixels; by default the template's own: 112, 150, 160."""
    detector: str = "mtcnn"
    """mtcnn (also mtcnn?min_size=40&threshold=0.8), or the folder of a detection model with a class face (also runs/faces?threshold=0.7;
    for the template facenet)."""
    faces: Literal["central", "largest", "all"] = "central"
    """Which of several faces: large and near the middle, the largest, or all of them (NAME-2.png and so on)."""
    skip_bad: bool = False
    """Leave out pictures that can't be read, say which, and go on."""
    quiet: bool = False
    """Show no progress."""
    json: bool = False
    """Print one JSON object on standard output, and nothing else there."""


@dataclass(frozen=True)
class FacesVerifyFlags:
    """Say whether two photos show the same person. Exit status 0 whatever the answer is."""

    a: tyro.conf.Positional[Path]
    """A photo with one face."""
    b: tyro.conf.Positional[Path]
    """Another."""
    model: Path | None = None
    """A run's or saved face model's folder; by default dlib's ResNet-29 (extra [faces])."""
    threshold: float | None = None
    """The largest distance of one person, instead of the model's own."""
    detector: _Detector = None
    engine: str = "eager"
    """What computes the embedder: eager, inductor, openvino or onnxruntime, or auto for the quickest here; see zoo predict --help."""
    precision: Literal["auto", "fp32", "bf16"] = "auto"
    """Of the embedder's matrix work. auto is fp32 where the engine is eager, elsewhere bf16 where the processor has it."""
    faces: Literal["one", "central", "largest"] = "one"
    """What to do with several faces in a photo: refuse it, or take the main one."""
    json: bool = False
    """Print one JSON object on standard output, and nothing else there."""


@dataclass(frozen=True)
class GalleryFlags:
    """Which gallery, and how faces are found and embedded."""

    gallery: _Place = None
    model: Path | None = None
    """A run's or saved face model's folder; by default dlib's ResNet-29 (extra [faces]). A gallery belongs to one model."""
    detector: _Detector = None
    engine: str = "eager"
    """What computes the embedder: eager, inductor, openvino or onnxruntime, or auto for the quickest here; see zoo predict --help."""
    precision: Literal["auto", "fp32", "bf16"] = "auto"
    """Of the embedder's matrix work. auto is fp32 where the engine is eager, elsewhere bf16 where the processor has it."""
    quiet: bool = False
    """Show no progress."""
    json: bool = False
    """Print one JSON object on standard output, and nothing else there."""


_Gallery = Annotated[tyro.conf.OmitArgPrefixes[GalleryFlags], tyro.conf.arg(name="gallery")]


@dataclass(frozen=True)
class FacesEnrollFlags:
    """Enrol a person from photos that show nobody else: all of them, or none."""

    name: tyro.conf.Positional[str]
    """Who it is."""
    photos: tyro.conf.Positional[tuple[Path, ...]]
    """Pictures, or folders of them."""
    faces: Literal["one", "central", "largest"] = "one"
    """What to do with several faces in a photo: refuse it, or take the main one."""
    add: bool = False
    """Add photos to somebody who is enrolled."""
    force: bool = False
    """Take photos that are too small, blurred, dark, turned away or cut off, or that seem to be of somebody else."""
    at: _Gallery = GalleryFlags()
    """Which gallery, and how faces are found and embedded."""


@dataclass(frozen=True)
class FacesIdentifyFlags:
    """Say who is to be seen, of those enrolled."""

    sources: tyro.conf.Positional[tuple[Path, ...]]
    """Pictures, folders of them, or videos."""
    out: Path | None = None
    """A folder for the pictures with names drawn, and predictions.jsonl: new, empty, or written by this command before."""
    top: int = 3
    """How many people to name for each face, the nearest first."""
    threshold: float | None = None
    """The largest distance of one person, instead of the gallery's own; within a tenth of it on either side nobody is named."""
    skip_bad: bool = False
    """Leave out pictures that can't be read, say which, and go on."""
    at: _Gallery = GalleryFlags()
    """Which gallery, and how faces are found and embedded."""


@dataclass(frozen=True)
class FacesClusterFlags:
    """Group the unknown faces of photos by person; people who are enrolled are left out."""

    sources: tyro.conf.Positional[tuple[Path, ...]]
    """Folders, pictures or videos."""
    out: Path | None = None
    """A new HTML page that shows the groups."""
    threshold: float | None = None
    """The largest distance of one person, instead of the gallery's or model's own."""
    skip_bad: bool = False
    """Leave out pictures that can't be read, say which, and go on."""
    at: _Gallery = GalleryFlags()
    """Which gallery, and how faces are found and embedded."""


@dataclass(frozen=True)
class FacesForgetFlags:
    """Delete a person with every face, for good."""

    name: tyro.conf.Positional[str]
    """Who it is."""
    gallery: _Place = None
    json: bool = False
    """Print one JSON object on standard output, and nothing else there."""


@dataclass(frozen=True)
class FacesListFlags:
    """List who is enrolled."""

    gallery: _Place = None
    json: bool = False
    """Print one JSON object on standard output, and nothing else there."""
