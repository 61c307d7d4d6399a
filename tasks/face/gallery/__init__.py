"""Galleries of enrolled people and their faces, in a file or a database."""

from zoo.tasks.face.gallery.embedder import Embedder
from zoo.tasks.face.gallery.errors import GalleryError, ModelMismatchError, NameTakenError, QualityError, UnknownPersonError
from zoo.tasks.face.gallery.gallery import Gallery
from zoo.tasks.face.gallery.identification import Identification
from zoo.tasks.face.gallery.store import EnrolledFace, Match, Person

__all__ = [
    "Embedder",
    "EnrolledFace",
    "Gallery",
    "GalleryError",
    "Identification",
    "Match",
    "ModelMismatchError",
    "NameTakenError",
    "Person",
    "QualityError",
    "UnknownPersonError",
]
