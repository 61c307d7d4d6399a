"""Galleries of enrolled people and their faces, in a file or a database."""

from zoo.tasks.face.gallery.answers import Groups, Identification
from zoo.tasks.face.gallery.errors import GalleryError, ModelMismatchError, NameTakenError, QualityError, UnknownPersonError
from zoo.tasks.face.gallery.gallery import Gallery
from zoo.tasks.face.gallery.store import Embedder, EnrolledFace, Match, Person

__all__ = [
    "Embedder",
    "EnrolledFace",
    "Gallery",
    "GalleryError",
    "Groups",
    "Identification",
    "Match",
    "ModelMismatchError",
    "NameTakenError",
    "Person",
    "QualityError",
    "UnknownPersonError",
]
