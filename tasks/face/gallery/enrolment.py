"""Faces to enrol: rows from photos or plain embeddings, and checks that a name's photos show one person, under no other name."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
from numpy.typing import NDArray

from zoo.errors import Flaw, InputError
from zoo.tasks.face.detection.quality import Limits, measure
from zoo.tasks.face.embedding.distances import check_embedding, distances
from zoo.tasks.face.gallery.embedder import Embedder
from zoo.tasks.face.gallery.errors import QualityError
from zoo.tasks.face.gallery.store import EnrolledFace, Match, NewFace, Vectors
from zoo.tasks.face.prediction.faces import Faces

_LENGTHS = (1e-6, 1e6)  # valid norms of an embedding; outside this range, float32 can't represent the square
# Fraction of the threshold within which two photos are copies. With dlib's network (threshold 0.6), the smallest distance is 0.095 among
# ORL's 1,800 pairs of photos of one person, and 0.456 among its 78,000 pairs of two people.
COPY = 0.1
Given = Faces | Sequence[Faces] | NDArray[Any]


def embeddings_of(faces: Given) -> Vectors:
    """Return the embeddings [N, D] of faces, or validate plain embeddings [D] or [N, D]."""
    if isinstance(faces, Faces):
        return _checked(faces.embeddings, faces.key)
    if isinstance(faces, Sequence) and all(isinstance(one, Faces) for one in faces):
        rows = [_checked(one.embeddings, one.key) for one in faces if len(one)]
        if len({row.shape[1] for row in rows}) > 1:
            raise InputError("these faces have embeddings of different lengths; expected embeddings of one model")
        return np.concatenate(rows) if rows else np.empty((0, 0), np.float32)
    try:
        array = np.asarray(faces, np.float32)
    except (TypeError, ValueError) as error:
        raise InputError(f"expected faces from zoo.predict, or numeric embeddings [N, D]; got {type(faces).__name__}") from error
    return _checked(array[None] if array.ndim == 1 else array, "the embeddings")


def new_faces(name: str, faces: Given, photos: str | Sequence[str], quality: Limits | None) -> list[NewFace]:
    """Return one person's faces as rows, one per photo, each of which must meet the limits of quality; None accepts every photo.

    The faces come from photos that show one face each and carry their keys, or are embeddings [D] or [N, D], whose quality can't be
    measured; `photos` are the keys of the photos of embeddings.
    """
    if isinstance(photos, str):
        photos = [photos]
    pictures = [faces] if isinstance(faces, Faces) else faces
    if isinstance(pictures, Sequence) and all(isinstance(one, Faces) for one in pictures):
        if photos:
            raise InputError(f"{name!r}: faces from zoo.predict carry the keys of their photos; don't pass photos")
        return _of_photos(name, [one for one in pictures if isinstance(one, Faces)], quality)
    rows = embeddings_of(faces)
    if not len(rows):
        raise InputError(f"{name!r} can't be enrolled without a face")
    if photos and len(photos) != len(rows):
        raise InputError(f"{name!r}: {len(rows)} embeddings and {len(photos)} photo keys; expected one key per embedding")
    return [NewFace(row, _key(key)) for row, key in zip(rows, photos or [""] * len(rows), strict=True)]


def _of_photos(name: str, photos: Sequence[Faces], quality: Limits | None) -> list[NewFace]:
    if not photos:
        raise InputError(f"{name!r} can't be enrolled without a photo")
    found, problems = [], []
    for photo in photos:
        if len(photo) != 1:
            problems.append(f"{photo.key}: no face was found" if not len(photo) else f"{photo.key}: shows {len(photo)} faces")
            continue
        measured = measure(photo.image, photo.boxes[0], photo.landmarks[0], float(photo.scores[0]))
        problems += [f"{photo.key}: {reason}" for reason in (measured.problems(quality) if quality is not None else ())]
        found.append(NewFace(embeddings_of(photo)[0], _key(photo.key), asdict(measured)))
    if any(len(photo) != 1 for photo in photos):
        listed = "\n".join(f"  {problem}" for problem in problems)
        several = any(len(photo) > 1 for photo in photos)
        remedy = "Crop the others out, or take the main face (--faces central or --faces largest)" if several else "Use other photos"
        raise InputError(f"{name!r} is not enrolled; each photo must show one face, that of this person:\n{listed}\n{remedy}")
    if problems:
        raise QualityError(name, problems)
    return found


def _key(photo: str) -> str:
    """Return a photo's key as text that every store can hold: bytes of a file name that are not UTF-8, and null characters, are escaped."""
    return photo.encode("utf-8", "backslashreplace").decode().replace("\0", "\\x00")


def _checked(embeddings: NDArray[Any], key: str) -> Vectors:
    if embeddings.ndim != 2:
        raise InputError(f"{key}: the shape is {list(embeddings.shape)}; expected a row of numbers for each face, [N, D]")
    rows = embeddings.astype(np.float32)
    for place, row in enumerate(rows):
        try:
            check_embedding(row)
            length = float(np.linalg.norm(row.astype(np.float64)))
            if not _LENGTHS[0] <= length <= _LENGTHS[1]:
                raise Flaw(f"the norm of its embedding is {length:g}; expected {_LENGTHS[0]:g} to {_LENGTHS[1]:g}")
        except Flaw as flaw:
            raise InputError(f"{key}: face {place}: {flaw}") from None
    return rows


def strangers(new: Sequence[NewFace], enrolled: Sequence[EnrolledFace], embedder: Embedder) -> list[str]:
    """Return a message for each new photo that shows another person than the other photos of the same name.

    Photos show one person if each is within the threshold of another one, like the links of a chain: a face turned to one side may be
    far from one turned to the other. The reference is the enrolled photos, or the first new photo if there are none. Without a threshold,
    nothing is checked.
    """
    if embedder.threshold is None or not new:
        return []
    rows = np.stack([*(face.embedding for face in enrolled), *(face.embedding for face in new)])
    far = np.stack([distances(row, rows, embedder.distance) for row in rows])
    linked = np.arange(len(rows)) < max(1, len(enrolled))
    while (more := (far[linked] <= embedder.threshold).any(0) | linked).sum() > linked.sum():
        linked = more
    apart = far[linked].min(0)
    first = len(enrolled)
    return [
        f"{face.photo}: shows another person than the other photos (distance {apart[first + place]:.3f}, threshold {embedder.threshold:g})"
        for place, face in enumerate(new)
        if not linked[first + place]
    ]


def copies(name: str, new: Sequence[NewFace], nearest: Sequence[Sequence[Match]], embedder: Embedder) -> list[str]:
    """Return a message for each new photo that is nearly identical to one of another name among its two nearest enrolled people."""
    most = COPY * (embedder.threshold or 0)
    return [
        f"{face.photo}: already enrolled as {match.name!r} (distance {match.distance:.3f})"
        for face, matches in zip(new, nearest, strict=True)
        for match in matches
        if match.name != name and match.distance <= most
    ]
