"""People to enrol: valid names, faces from photos or plain embeddings, and checks that the photos of a name show one person."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
from numpy.typing import NDArray

from zoo.errors import Flaw, InputError
from zoo.tasks.face.detection.quality import Limits, measure
from zoo.tasks.face.embedding.distances import check_embedding, distances
from zoo.tasks.face.gallery.errors import QualityError
from zoo.tasks.face.gallery.store import Embedder, EnrolledFace, Match, NewFace, Vectors
from zoo.tasks.face.prediction.faces import Faces

_LENGTHS = (1e-6, 1e6)  # range of valid norms; outside it, float32 can't represent the square of the norm
# Maximum distance between two copies of a photo, as a fraction of the threshold. With dlib's network (threshold 0.6), the smallest distance
# is 0.095 among ORL's 1,800 genuine pairs, and 0.456 among its 78,000 impostor pairs.
COPY = 0.1
Given = Faces | Sequence[Faces] | NDArray[Any]

# Names are never used in paths or SQL commands, so `'; DROP TABLE` is a valid name.
LONGEST = 200  # maximum length in characters
# invisible characters that change the writing direction, so that different names may look alike (CVE-2021-42574)
_TURNING = frozenset("\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")
_REFUSED = {
    "Cc": "control characters",
    "Cs": "unpaired surrogates",
    "Zl": "line breaks",
    "Zp": "line breaks",
    "Cf": "invisible characters",
}
# characters with Unicode's property Default_Ignorable_Code_Point that aren't in Cf, and the Braille blank
_UNSEEN = frozenset("\u034f\u115f\u1160\u17b4\u17b5\u2800\u3164\uffa0")
_JOINERS = "\u200c\u200d"  # zero-width joiners: needed in Persian, Indic scripts and emoji, but invisible in other scripts
_UNJOINED = ("LATIN", "GREEK", "CYRILLIC")


def check_name(name: str) -> str:
    """Validate a name and return its stored form: Unicode NFC with single plain spaces, so that é and é are the same name."""
    if not isinstance(name, str):
        raise InputError(f"the name is {name!r}; expected a string")
    spaced = "".join(" " if unicodedata.category(sign) == "Zs" else sign for sign in name)
    kept = " ".join(part for part in unicodedata.normalize("NFC", spaced).split(" ") if part)
    for place, sign in enumerate(kept):
        reason = _reason(sign, kept[place - 1 : place], kept[place + 1 : place + 2])
        if reason is not None:
            raise InputError(f"the name {name!r} contains {reason} (U+{ord(sign):04X}); remove them")
    if not kept:
        raise InputError(f"the name {name!r} is empty; expected one or more visible characters")
    if len(kept) > LONGEST:
        raise InputError(f"the name {name[:20]!r}… has {len(kept)} characters; expected at most {LONGEST}")
    return kept


def _reason(sign: str, before: str, after: str) -> str | None:
    """Return why a character is not allowed between its two neighbours, or None if it is allowed."""
    if sign in _TURNING:
        return "characters that change the writing direction"
    if sign in _JOINERS:
        return None if _may_join(before) and _may_join(after) else _REFUSED["Cf"]
    if "\ufe00" <= sign <= "\ufe0f" or "\U000e0100" <= sign <= "\U000e01ef":  # variation selectors, which modify the preceding character
        return None if _may_join(before) else _REFUSED["Cf"]
    if sign in _UNSEEN or "\u180b" <= sign <= "\u180f" or "\U000e0000" <= sign <= "\U000e0fff":
        return _REFUSED["Cf"]
    return _REFUSED.get(unicodedata.category(sign))


def _may_join(sign: str) -> bool:
    return sign.strip() != "" and not sign.isascii() and not unicodedata.name(sign, "").startswith(_UNJOINED)


def _photos(faces: Given) -> list[Faces] | None:
    """Return results of `zoo.predict` as a list; None for plain embeddings."""
    given = [faces] if isinstance(faces, Faces) else faces
    return list(given) if isinstance(given, Sequence) and all(isinstance(one, Faces) for one in given) else None


def embeddings_of(faces: Given) -> Vectors:
    """Return the embeddings [N, D] of faces or of plain embeddings [D] or [N, D], after validating them."""
    photos = _photos(faces)
    if photos is not None:
        rows = [_checked(photo.embeddings, photo.key) for photo in photos if len(photo)]
        if len({row.shape[1] for row in rows}) > 1:
            raise InputError("the faces have embeddings of different lengths; expected embeddings from a single model")
        return np.concatenate(rows) if rows else np.empty((0, 0), np.float32)
    try:
        array = np.asarray(faces, np.float32)
    except (TypeError, ValueError) as error:
        raise InputError(f"faces is a {type(faces).__name__}; expected results of zoo.predict, or numeric embeddings [N, D]") from error
    return _checked(array[None] if array.ndim == 1 else array, "the embeddings")


def new_faces(name: str, faces: Given, photos: str | Sequence[str], quality: Limits | None) -> list[NewFace]:
    """Convert the faces of a person to records for a store; the arguments are those of `Gallery.enroll`."""
    if isinstance(photos, str):
        photos = [photos]
    predicted = _photos(faces)
    if predicted is not None:
        if photos:
            raise InputError(f"{name!r}: results of zoo.predict contain the keys of their photos; don't pass photos")
        return _of_photos(name, predicted, quality)
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
    """Return a message for each new photo that is nearly identical to a photo enrolled under another name than `name`.

    `nearest` are the nearest enrolled people of each new face.
    """
    most = COPY * (embedder.threshold or 0)
    return [
        f"{face.photo}: this photo is already enrolled as {match.name!r} (distance {match.distance:.3f})"
        for face, matches in zip(new, nearest, strict=True)
        for match in matches
        if match.name != name and match.distance <= most
    ]
