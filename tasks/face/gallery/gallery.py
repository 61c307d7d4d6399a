"""`zoo.Gallery`: enrolment and identification of people by their faces."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from zoo.errors import InputError
from zoo.tasks.face.detection.quality import Limits
from zoo.tasks.face.gallery.answers import Groups, Identification, group, tied
from zoo.tasks.face.gallery.enrolment import Given, check_name, copies, embeddings_of, new_faces, strangers
from zoo.tasks.face.gallery.errors import GalleryError, MissingGalleryError, QualityError, UnknownPersonError
from zoo.tasks.face.gallery.location import open_store
from zoo.tasks.face.gallery.store import Described, Embedder, EnrolledFace, NewFace, Person, check_threshold, identification_threshold
from zoo.tasks.face.prediction.faces import Faces

if TYPE_CHECKING:
    from zoo.models.model import Model

LIMITS = Limits()


class Gallery:
    """Gallery of enrolled people and their faces, in a file or a PostgreSQL database. The first enrolment creates it.

    A gallery belongs to one model and uses its distance and threshold, because embeddings of different models can't be compared. Faces are
    biometric data, which many laws protect. They are sent only to the gallery's database. From the first enrolment on, a gallery file is
    readable only by its owner. `forget` deletes faces permanently. Several processes may use a gallery at the same time.

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
        """Set the location and the model. The gallery is not opened yet.

        Args:
            place: path of a file, or `postgresql://user@host/database`.
            model: face model, or its identity; not needed for listing and forgetting people.

        Raises:
            InputError: the location is invalid, or the model isn't a face model.
        """
        self._store = open_store(place)
        self._embedder = None if model is None else Embedder.of(model)
        self._identification = identification_threshold(model)

    @property
    def place(self) -> str:
        """Location of the gallery as shown in messages, without a password."""
        return self._store.place

    @property
    def model(self) -> Embedder:
        """Identity of the gallery's model, with its distance and threshold.

        Raises:
            GalleryError: the gallery doesn't exist yet.
        """
        return self._store.described().embedder

    def enroll(
        self, name: str, faces: Given, *, photos: str | Sequence[str] = (), quality: Limits | None = LIMITS, add: bool = False
    ) -> int:
        """Enrol a person from one or more photos. If an error is raised, none of them is enrolled.

        Args:
            name: name of the person; see `enrolment.check_name`.
            faces: results of `zoo.predict` for photos that show one face each; or embeddings [D] or [N, D], whose quality can't be checked.
            photos: keys of the photos that plain embeddings come from; empty for results of `zoo.predict`, which contain their keys.
            quality: limits that each photo must meet. Photos that show a different person from the person's other photos, or are copies of
                a photo enrolled under another name, are also rejected. None to accept every photo.
            add: whether photos may be added to a person who is already enrolled.

        Returns:
            Number of faces enrolled.

        Raises:
            InputError: the name is invalid, a photo doesn't show exactly one face, or an embedding is invalid.
            QualityError: photos don't meet the limits or show a different person. The message lists every reason.
            NameTakenError: the name is already enrolled, and `add` is False.
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
        """Enrol several people in one transaction, which is faster than one by one. If an error is raised, none of them is enrolled.

        Args:
            people: faces of each person by name; see `enroll`.
            photos: keys of the photos that plain embeddings come from, by name.
            quality: limits that each photo must meet, or None to accept every photo; see `enroll`.
            add: whether photos may be added to people who are already enrolled.

        Returns:
            Number of faces enrolled.

        Raises:
            InputError: an argument is invalid (see `enroll`), `people` is empty, or two names have the same stored form.
        """
        embedder = self._known_embedder()
        if unknown := sorted(set(photos or {}) - set(people)):
            raise InputError(f"photos contains keys for names that are not in people: {', '.join(map(repr, unknown))}")
        rows: dict[str, list[NewFace]] = {}
        for given, faces in people.items():
            name = check_name(given)
            if name in rows:
                raise InputError(f"{name!r} appears twice among the people to enrol")
            rows[name] = new_faces(name, faces, (photos or {}).get(given, ()), quality)
        if not rows:
            raise InputError("no people to enrol; expected at least one")
        sizes = {len(face.embedding) for faces_of in rows.values() for face in faces_of}
        if len(sizes) > 1:
            raise InputError(f"the embeddings have {' and '.join(map(str, sorted(sizes)))} dimensions; expected embeddings of one model")
        about = Described(embedder, sizes.pop())
        if quality is not None:
            self._check_people(about, rows, add)
        self._store.add(about, rows, add)
        return sum(map(len, rows.values()))

    def identify(self, faces: Given, *, top: int = 5, threshold: float | None = None) -> list[Identification]:
        """Identify faces by comparing them with every enrolled face.

        Args:
            faces: results of `zoo.predict`, or embeddings [D] or [N, D].
            top: number of nearest people to return for each face.
            threshold: largest distance at which two faces count as the same person; None for the model's threshold of identification
                (`zoo.tune`) if it has one, otherwise for the gallery's threshold. If the distance differs from the threshold by less than a
                tenth of it, the face is not named.

        Returns:
            One identification per face, in the order of `faces`.

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
            self._store.described()
            return []
        about, found = self._store.nearest(self._known_embedder(), queries, max(top, 2))  # at least two, to detect ties
        own = about.embedder.threshold if self._identification is None else self._identification
        limit = own if threshold is None else threshold
        return [Identification(tuple(matches[:top]), limit, tied(matches)) for matches in found]

    def forget(self, name: str) -> int:
        """Permanently delete a person with every face and photo key.

        In a gallery file, the deleted bytes and the journal are overwritten with zeros, and the file is rewritten without them. In a
        database, the tables are rewritten, but the server's write-ahead log and backups must be cleared by its administrator. If rewriting
        fails, a GalleryError is raised; forgetting the same name again repeats the rewriting.

        Returns:
            Number of faces deleted.

        Raises:
            UnknownPersonError: no person with this name is enrolled.
            GalleryError: the gallery can't be written.
        """
        count = self._store.remove(check_name(name))
        if not count:
            raise UnknownPersonError(self.place, name)
        return count

    def people(self) -> list[Person]:
        """Return all enrolled people, sorted by name.

        Raises:
            GalleryError: there is no gallery, or it can't be read.
        """
        return self._store.people()

    def faces(self, name: str) -> list[EnrolledFace]:
        """Return a person's faces in the order of enrolment.

        Raises:
            UnknownPersonError: no person with this name is enrolled.
            GalleryError: there is no gallery, or it can't be read.
        """
        found = self._store.faces(check_name(name))
        if not found:
            raise UnknownPersonError(self.place, name)
        return found

    def cluster(self, faces: Sequence[Faces], *, threshold: float | None = None) -> Groups:
        """Group the faces of people who are not enrolled by person. If the gallery doesn't exist, all faces are grouped.

        Args:
            faces: results of `zoo.predict` for any photos.
            threshold: largest distance at which two faces count as the same person; None for the gallery's or the model's threshold.

        Returns:
            Groups of faces, and faces that belong to no group. The faces of enrolled people are not included.

        Raises:
            InputError: an embedding or the threshold is invalid.
        """
        check_threshold(threshold, "cluster")
        places = [(photo, face) for photo, found in enumerate(faces) for face in range(len(found))]
        rows = embeddings_of(faces)
        embedder = self._known_embedder()
        unknown = list(range(len(rows)))
        if self._exists():
            answers = self.identify(rows, top=1, threshold=threshold)
            unknown = [place for place in unknown if not answers[place].enrolled]
            embedder = self.model
        limit = embedder.threshold if threshold is None else threshold
        return group(rows[unknown], [places[place] for place in unknown], embedder.distance, limit)

    def close(self) -> None:
        """Close the connection and drop cached embeddings. The gallery can still be used, which opens it again."""
        self._store.close()

    def __len__(self) -> int:
        """Return the number of enrolled faces; 0 if there is no gallery yet."""
        try:
            return self._store.count()
        except MissingGalleryError:
            return 0

    def __enter__(self) -> Gallery:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def _exists(self) -> bool:
        try:
            self._store.described()
        except MissingGalleryError:
            return False
        return True

    def _check_people(self, about: Described, people: Mapping[str, Sequence[NewFace]], add: bool) -> None:
        """Raise a QualityError for photos of a different person, or copies of other people's photos. Plain embeddings aren't checked."""
        exists = self._exists()
        for name, faces in people.items():
            photos = [face for face in faces if face.quality]
            if not photos:
                continue
            enrolled = self._store.faces(name) if exists and add else []
            problems = strangers(photos, enrolled, about.embedder)
            if exists:
                stored, nearest = self._store.nearest(about.embedder, np.stack([face.embedding for face in photos]), 2)
                problems += copies(name, photos, nearest, stored.embedder)
            if problems:
                raise QualityError(name, problems)

    def _known_embedder(self) -> Embedder:
        if self._embedder is None:
            raise GalleryError(
                f"gallery {self.place}: it was opened without a model; open it with the model that produced its embeddings: "
                "zoo.Gallery(place, model)"
            )
        return self._embedder
