"""Faces to enrol: their conversion from photos or plain embeddings, and checks that each name's photos show one and the same person."""

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

_LENGTHS = (1e-6, 1e6)  # range of valid norms; outside it, float32 can't represent the square of the norm
# Maximum distance between two copies of a photo, as a fraction of the threshold. With dlib's network (threshold 0.6), the smallest distance
# is 0.095 among ORL's 1,800 genuine pairs, and 0.456 among its 78,000 impostor pairs.
COPY = 0.1
Given = Faces | Sequence[Faces] | NDArray[Any]


def embeddings_of(faces: Given) -> Vectors:
    """Return the embeddings [N, D] of faces or of plain embeddings [D] or [N, D], after validating them."""
    if isinstance(faces, Faces):
        return _checked(faces.embeddings, faces.key)
    if isinstance(faces, Sequence) and all(isinstance(one, Faces) for one in faces):
        rows = [_checked(one.embeddings, one.key) for one in faces if len(one)]
        if len({row.shape[1] for row in rows}) > 1:
            raise InputError("the faces have embeddings of different lengths; expected embeddings from a single model")
        return np.concatenate(rows) if rows else np.empty((0, 0), np.float32)
    try:
        array = np.asarray(faces, np.float32)
    except (TypeError, ValueError) as error:
        raise InputError(f"faces is a {type(faces).__name__}; expected results of zoo.predict, or numeric embeddings [N, D]") from error
    return _checked(array[None] if array.ndim == 1 else array, "the embeddings")


def new_faces(name: str, faces: Given, photos: str | Sequence[str], quality: Limits | None) -> list[NewFace]:
    """Convert the faces of a person to records for a store.

    Args:
        name: name of the person.
        faces: results of `zoo.predict` for photos that show one face each; or embeddings [D] or [N, D], whose quality can't be measured.
        photos: keys of the photos that plain embeddings come from; empty for results of `zoo.predict`, which contain their keys.
        quality: limits that each photo must meet; None to accept every photo.
    """
    if isinstance(photos, str):
        photos = [photos]
    pictures = [faces] if isinstance(faces, Faces) else faces
    if isinstance(pictures, Sequence) and all(isinstance(one, Faces) for one in pictures):
        if photos:
            raise InputError(f"{name!r}: results of zoo.predict contain the keys of their photos; don't pass photos")
        return _of_photos(name, [one for one in pictures if isinstance(one, Faces)], quality)
    rows = embeddings_of(faces)
    if not len(rows):
        raise InputError(f"{name!r} can't be enrolled without a face")
    if photos and len(photos) != len(rows):
        raise InputError(f"{name!r} has {len(rows)} embeddings and {len(photos)} photo keys; expected one key per embedding")
    return [NewFace(row, _key(key)) for row, key in zip(rows, photos or [""] * len(rows), strict=True)]


def _of_photos(name: str, photos: Sequence[Faces], quality: Limits | None) -> list[NewFace]:
    if not photos:
        raise InputError(f"{name!r} can't be enrolled without a photo")
    found, problems = [], []
    for photo in photos:
        if len(photo) != 1:
            problems.append(f"{photo.key}: no face was found" if not len(photo) else f"{photo.key}: the photo shows {len(photo)} faces")
            continue
        measured = measure(photo.image, photo.boxes[0], photo.landmarks[0], float(photo.scores[0]))
        problems += [f"{photo.key}: {reason}" for reason in (measured.problems(quality) if quality is not None else ())]
        found.append(NewFace(embeddings_of(photo)[0], _key(photo.key), asdict(measured)))
    if any(len(photo) != 1 for photo in photos):
        listed = "\n".join(f"  {problem}" for problem in problems)
        several = any(len(photo) > 1 for photo in photos)
        remedy = "Crop the photos, or use only the main face (--faces central or --faces largest)" if several else "Use other photos"
        raise InputError(f"{name!r} is not enrolled; each photo must show exactly one face, that of this person:\n{listed}\n{remedy}")
    if problems:
        raise QualityError(name, problems)
    return found


def _key(photo: str) -> str:
    """Return a photo's key as text that every store accepts: null characters, and bytes that are not UTF-8, are escaped."""
    return photo.encode("utf-8", "backslashreplace").decode().replace("\0", "\\x00")


def _checked(embeddings: NDArray[Any], key: str) -> Vectors:
    if embeddings.ndim != 2:
        raise InputError(f"{key}: the shape is {list(embeddings.shape)}; expected [N, D], one row per face")
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
    """Return a message for each new photo that shows a different person from the other photos of the same name.

    Two photos are linked if their distance is at most the threshold. A new photo is accepted if it is linked to an enrolled photo (to the
    first new photo if none is enrolled), directly or through other photos. Links through other photos are accepted because a face
    turned to the left may be far from the same face turned to the right. Without a threshold, the result is empty.
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
        f"{face.photo}: not the person in the other photos (distance {apart[first + place]:.3f}, threshold {embedder.threshold:g})"
        for place, face in enumerate(new)
        if not linked[first + place]
    ]


def copies(name: str, new: Sequence[NewFace], nearest: Sequence[Sequence[Match]], embedder: Embedder) -> list[str]:
    """Return a message for each new photo that is nearly identical to a photo enrolled under another name.

    Args:
        name: name under which the photos are to be enrolled.
        new: new faces.
        nearest: nearest enrolled people of each new face.
        embedder: identity of the model.
    """
    most = COPY * (embedder.threshold or 0)
    return [
        f"{face.photo}: this photo is already enrolled as {match.name!r} (distance {match.distance:.3f})"
        for face, matches in zip(new, nearest, strict=True)
        for match in matches
        if match.name != name and match.distance <= most
    ]
