"""`zoo.Gallery`: enrolment and identification of people by their faces."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, TypeVar

import numpy as np

from zoo.errors import InputError
from zoo.tasks.face.detection.quality import Limits
from zoo.tasks.face.gallery.clustering import Groups, group
from zoo.tasks.face.gallery.embedder import Embedder, check_threshold
from zoo.tasks.face.gallery.enrolment import Given, copies, embeddings_of, new_faces, strangers
from zoo.tasks.face.gallery.errors import GalleryError, QualityError, UnknownPersonError
from zoo.tasks.face.gallery.identification import Identification, tied
from zoo.tasks.face.gallery.location import open_store
from zoo.tasks.face.gallery.names import check_name
from zoo.tasks.face.gallery.store import Described, EnrolledFace, Match, NewFace, Person, Vectors
from zoo.tasks.face.prediction.faces import Faces

if TYPE_CHECKING:
    from zoo.models.model import Model

LIMITS = Limits()
_Found = TypeVar("_Found")


class Gallery:
    """People enrolled by their faces, in one file or a PostgreSQL database; created by the first enrolment.

    A gallery belongs to one model, because embeddings of two models can't be compared; it uses that model's distance and threshold.
    Faces are biometric data, which many laws protect: nothing here is sent anywhere except to the gallery's database, a gallery file is
    readable only by its owner from the first enrolment on, and `forget` deletes permanently. Several processes may use one gallery at once.

    Example:
        >>> import numpy as np, tempfile, zoo
        >>> from zoo.tasks.face.gallery import Embedder
        >>> place = tempfile.mkdtemp() + "/people.gallery"
        >>> with zoo.Gallery(place, Embedder("0123456789abcdef", "my-model", "euclidean", 0.6)) as gallery:
        ...     gallery.enroll("Ann", np.array([[1.0, 0.0], [0.9, 0.1]]))
        ...     gallery.enroll("Bob", np.array([0.0, 1.0]))
        ...     [answer.name for answer in gallery.identify(np.array([[0.8, 0.1], [5.0, 5.0]]))]
        2
        1
        ['Ann', None]
    """

    def __init__(self, place: str | Path, model: Model | Embedder | None = None) -> None:
        """Set the location and the model; nothing is opened yet.

        Args:
            place: path of a file, or `postgresql://user@host/database`.
            model: embedding model, or its identity; not needed for listing and forgetting.

        Raises:
            InputError: the location can't be a gallery, or the model doesn't embed faces.
        """
        self._store = open_store(place)
        self._embedder = None if model is None else Embedder.of(model)

    @property
    def place(self) -> str:
        """Location of the gallery as messages name it, without a password."""
        return self._store.place

    @property
    def model(self) -> Embedder:
        """Identity of the model that the gallery belongs to, with its distance and threshold.

        Raises:
            GalleryError: the gallery doesn't exist yet.
        """
        return self._described().embedder

    def enroll(
        self,
        name: str,
        faces: Given,
        *,
        photos: str | Sequence[str] = (),
        quality: Limits | None = LIMITS,
        add: bool = False,
    ) -> int:
        """Enrol a person from one or more photos: either all of them or none.

        Args:
            name: name of the person; see `names.check_name`.
            faces: results of `zoo.predict` for photos that show one face each; or embeddings [D] or [N, D], whose quality is unknown.
            photos: keys of the photos of plain embeddings; empty for faces, which carry their keys.
            quality: limits that each photo must meet. A photo is also refused if it is farther than the threshold from the person's
                other photos, or a copy of one enrolled under another name. None to accept every photo.
            add: whether to add the photos to a person who is already enrolled.

        Returns:
            Number of faces enrolled.

        Raises:
            InputError: the name is invalid, a photo shows no face or several, or an embedding is invalid.
            QualityError: photos are too bad or show another person; the message lists every reason.
            NameTakenError: the name exists, and `add` is false.
            ModelMismatchError: the gallery belongs to another model.
            GalleryError: the gallery can't be written.
        """
        return self.enroll_all({name: faces}, photos={name: photos}, quality=quality, add=add)

    def enroll_all(
        self,
        people: Mapping[str, Given],
        *,
        photos: Mapping[str, str | Sequence[str]] | None = None,
        quality: Limits | None = LIMITS,
        add: bool = False,
    ) -> int:
        """Enrol several people, either all or none, in one transaction, which is much faster for many people.

        Args:
            people: faces by name, as for `enroll`.
            photos: keys of the photos by name, for plain embeddings.
            quality: as for `enroll`.
            add: as for `enroll`.

        Returns:
            Number of faces enrolled.

        Raises:
            InputError: as for `enroll`; also if two names have the same stored form (see `names.check_name`), or `people` is empty.
        """
        embedder = self._known_embedder()
        rows = {}
        if unknown := sorted(set(photos or {}) - set(people)):
            raise InputError(f"photos has keys for {', '.join(map(repr, unknown))}, who is not among the people to enrol")
        for given, faces in people.items():
            name = check_name(given)
            if name in rows:
                raise InputError(f"{name!r} appears twice among the people to enrol")
            rows[name] = new_faces(name, faces, (photos or {}).get(given, ()), quality)
        if not rows:
            raise InputError("no people to enrol; expected at least one")
        sizes = {len(face.embedding) for faces_of in rows.values() for face in faces_of}
        if len(sizes) > 1:
            raise InputError(f"embeddings of {' and '.join(map(str, sorted(sizes)))} dimensions; expected embeddings of one model")
        about = Described(embedder, sizes.pop())
        if quality is not None:
            self._check_people(about, rows, add)
        self._store.add(about, rows, add)
        return sum(map(len, rows.values()))

    def identify(self, faces: Given, *, top: int = 5, threshold: float | None = None) -> list[Identification]:
        """Identify faces by an exact comparison with every enrolled face.

        Args:
            faces: results of `zoo.predict`, or embeddings [D] or [N, D].
            top: number of nearest people to return for each face.
            threshold: largest distance at which two faces count as the same person; None for the gallery's own. Faces whose distance is
                within a tenth of it, on either side, are not named.

        Returns:
            One identification per face, in the order of the faces.

        Raises:
            InputError: an embedding or the threshold is invalid, or `top` is below 1.
            ModelMismatchError: the gallery belongs to another model.
            GalleryError: there is no gallery, or it can't be read.
        """
        if top < 1:
            raise InputError(f"identify: top is {top}; expected 1 or more")
        check_threshold(threshold, "identify")
        queries = embeddings_of(faces)
        if not len(queries):
            self._described()
            return []
        about, found = self._nearest(queries, max(top, 2))  # at least two, to detect ties
        limit = about.embedder.threshold if threshold is None else threshold
        return [Identification(tuple(matches[:top]), limit, tied(matches)) for matches in found]

    def forget(self, name: str) -> int:
        """Permanently delete a person with every face and photo key.

        In a gallery file, the deleted bytes and the journal are overwritten with zeros, and the file is rewritten without them. The tables
        of a database are rewritten too; clearing the server's write-ahead log and backups is up to its administrator. If the rewrite fails,
        an error reports it, and forgetting the same name again repeats it.

        Returns:
            Number of faces deleted.

        Raises:
            UnknownPersonError: no person of this name is enrolled.
            GalleryError: the gallery can't be written.
        """
        kept = check_name(name)
        self._described()
        count = self._store.remove(kept)
        if not count:
            raise self._unknown(name)
        return count

    def people(self) -> list[Person]:
        """Return all enrolled people, sorted by name.

        Raises:
            GalleryError: there is no gallery, or it can't be read.
        """
        self._described()
        return self._store.people()

    def faces(self, name: str) -> list[EnrolledFace]:
        """Return a person's faces in the order of enrolment.

        Raises:
            UnknownPersonError: no person of this name is enrolled.
            GalleryError: there is no gallery, or it can't be read.
        """
        self._described()
        found = self._store.faces(check_name(name))
        if not found:
            raise self._unknown(name)
        return found

    def cluster(self, faces: Sequence[Faces], *, threshold: float | None = None) -> Groups:
        """Group the faces of people who are not enrolled by person; without a gallery, all faces are grouped.

        Args:
            faces: results of `zoo.predict` for any photos.
            threshold: as for `identify`.

        Returns:
            Groups of faces, and faces that belong to no group; the faces of enrolled people are in neither.

        Raises:
            InputError: as for `identify`.
        """
        check_threshold(threshold, "cluster")
        places = [(photo, face) for photo, found in enumerate(faces) for face in range(len(found))]
        rows = embeddings_of(faces)
        embedder = self._known_embedder()
        unknown = list(range(len(rows)))
        if self._store.described() is not None:
            answers = self.identify(rows, top=1, threshold=threshold) if len(rows) else []
            unknown = [place for place in unknown if not answers[place].enrolled]
            embedder = self.model
        limit = embedder.threshold if threshold is None else threshold
        return group(rows[unknown], [places[place] for place in unknown], embedder.distance, limit)

    def close(self) -> None:
        """Release the connection and cached embeddings; a later call acquires them again."""
        self._store.close()

    def __len__(self) -> int:
        """Return the number of enrolled faces; 0 if there is no gallery yet."""
        return self._store.count()

    def __enter__(self) -> Gallery:
        """Return the gallery."""
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        """Close the gallery."""
        self.close()

    def _existing(self, found: _Found | None) -> _Found:
        """Return an answer of the store, which is None if there is no gallery."""
        if found is None:
            raise GalleryError(f"gallery {self.place}: there is no gallery yet; enrol a person first, or check the path or address")
        return found

    def _described(self) -> Described:
        return self._existing(self._store.described())

    def _nearest(self, queries: Vectors, top: int) -> tuple[Described, list[list[Match]]]:
        return self._existing(self._store.nearest(self._known_embedder(), queries, top))

    def _check_people(self, about: Described, people: Mapping[str, Sequence[NewFace]], add: bool) -> None:
        """Raise an error if photos show another person than they are enrolled as. Plain embeddings are not checked."""
        exists = self._store.described() is not None
        for name, faces in people.items():
            photos = [face for face in faces if face.quality]
            if not photos:
                continue
            enrolled = self._store.faces(name) if exists and add else []
            problems = strangers(photos, enrolled, about.embedder)
            if exists:
                stored, nearest = self._nearest(np.stack([face.embedding for face in photos]), 2)
                problems += copies(name, photos, nearest, stored.embedder)
            if problems:
                raise QualityError(name, problems)

    def _known_embedder(self) -> Embedder:
        if self._embedder is None:
            raise GalleryError(
                f"gallery {self.place}: no model was given for the embeddings; open the gallery with it: zoo.Gallery(place, model)"
            )
        return self._embedder

    def _unknown(self, name: str) -> UnknownPersonError:
        return UnknownPersonError(f"gallery {self.place}: no person named {name!r} is enrolled; list the people enrolled: zoo faces list")
