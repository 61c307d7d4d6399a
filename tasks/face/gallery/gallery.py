"""`zoo.Gallery`: people by their faces."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING

import numpy as np

from zoo.errors import InputError
from zoo.tasks.face.detection.quality import Limits
from zoo.tasks.face.gallery.clustering import Groups, group
from zoo.tasks.face.gallery.consistency import copies, strangers
from zoo.tasks.face.gallery.embedder import Embedder, check_threshold
from zoo.tasks.face.gallery.enrolment import Given, embeddings_of, new_faces
from zoo.tasks.face.gallery.errors import GalleryError, QualityError, UnknownPersonError
from zoo.tasks.face.gallery.identification import Identification, tied
from zoo.tasks.face.gallery.location import open_store
from zoo.tasks.face.gallery.names import check_name
from zoo.tasks.face.gallery.store import Described, EnrolledFace, Match, NewFace, Person, Vectors
from zoo.tasks.face.prediction.faces import Faces

if TYPE_CHECKING:
    from zoo.models.model import Model

LIMITS = Limits()


class Gallery:
    """People by their faces, in one file or in a PostgreSQL database; made by the first enrolment.

    A gallery belongs to one model: distances between embeddings of two mean nothing. Its distance and threshold are the model's.
    Faces are biometric data, which many laws protect: nothing here is sent anywhere but to the gallery's own database, a file can be
    read by its owner alone once somebody was enrolled, and `forget` deletes for good. Several processes may use one gallery at once.

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
        """Name the gallery; nothing is opened yet.

        Args:
            place: a file, or `postgresql://user@host/database`.
            model: what embeds the faces; listing and forgetting need none.

        Raises:
            InputError: a place that can't be a gallery, or a model that embeds no faces.
        """
        self._store = open_store(place)
        self._embedder = None if model is None else Embedder.of(model)

    @property
    def place(self) -> str:
        """Where it is, as messages name it: without a password."""
        return self._store.place

    @property
    def model(self) -> Embedder:
        """The model that it belongs to, with distance and threshold.

        Raises:
            GalleryError: there is no gallery yet.
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
        """Enrol a person from one photo or several: all of them, or none.

        Args:
            name: who it is; see `names.check_name`.
            faces: what `zoo.predict` yields, of photos that show one face each; or embeddings [D] or [N, D], of which no quality is known.
            photos: keys of the photos, for embeddings; faces bring their own.
            quality: what a photo must have; None to take bad ones too, and ones of somebody else: else a photo that is farther than the
                threshold from the person's others, or a copy of one that another name has, is refused.
            add: add photos to somebody who is enrolled.

        Returns:
            How many faces were enrolled.

        Raises:
            InputError: a name that can't be, no face or several in a photo, embeddings that are none.
            QualityError: photos that are too bad, or of somebody else, with every reason.
            NameTakenError: the name exists, and `add` is false.
            ModelMismatchError: the gallery belongs to another model.
            GalleryError: it can't be written.
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
        """Enrol several people in one transaction, which is much quicker for many: all of them, or none.

        Args:
            people: faces by name, as for `enroll`.
            photos: keys of photos by name, for embeddings.
            quality: as for `enroll`.
            add: as for `enroll`.

        Returns:
            How many faces were enrolled.

        Raises:
            InputError: as `enroll`; also two names that are one (see `names.check_name`), or nobody.
        """
        embedder = self._known_embedder()
        rows = {}
        if unknown := sorted(set(photos or {}) - set(people)):
            raise InputError(f"photos are named of {', '.join(map(repr, unknown))}, who is not among the people to enrol")
        for given, faces in people.items():
            name = check_name(given)
            if name in rows:
                raise InputError(f"{name!r} stands twice among the people to enrol")
            rows[name] = new_faces(name, faces, (photos or {}).get(given, ()), quality)
        if not rows:
            raise InputError("there is nobody to enrol")
        sizes = {len(face.embedding) for faces_of in rows.values() for face in faces_of}
        if len(sizes) > 1:
            raise InputError(f"embeddings of {' and '.join(map(str, sorted(sizes)))} numbers; expected those of one model")
        about = Described(embedder, sizes.pop())
        if quality is not None:
            self._check_people(about, rows, add)
        self._store.add(about, rows, add)
        return sum(map(len, rows.values()))

    def identify(self, faces: Given, *, top: int = 5, threshold: float | None = None) -> list[Identification]:
        """Tell whose faces these are: exactly, by a comparison with every face enrolled.

        Args:
            faces: what `zoo.predict` yields, or embeddings [D] or [N, D].
            top: how many people to name for each, the nearest first.
            threshold: the largest distance at which two faces are taken for one person; the gallery's own where not given. Within a
                tenth of it on either side nobody is named.

        Returns:
            One answer per face, in their order.

        Raises:
            InputError: embeddings that are none, a number of people below 1, or a threshold that is no distance.
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
        about, found = self._nearest(queries, max(top, 2))  # a second one for ties
        limit = about.embedder.threshold if threshold is None else threshold
        return [Identification(tuple(matches[:top]), limit, tied(matches)) for matches in found]

    def forget(self, name: str) -> int:
        """Delete a person with every face and photo key, for good.

        In a file, the bytes and its journal's are overwritten with zeros and the file is written anew without them. A database
        server's tables are written anew too; its write-ahead log and its backups are its administrator's to clear. Where something
        is in the way of writing anew, that is said, and forgetting the same name again does it.

        Returns:
            How many faces were deleted.

        Raises:
            UnknownPersonError: nobody of that name is enrolled.
            GalleryError: it can't be written.
        """
        kept = check_name(name)
        self._described()
        count = self._store.remove(kept)
        if not count:
            raise self._unknown(name)
        return count

    def people(self) -> list[Person]:
        """Return everybody, in the order of their names.

        Raises:
            GalleryError: there is no gallery, or it can't be read.
        """
        self._described()
        return self._store.people()

    def faces(self, name: str) -> list[EnrolledFace]:
        """Return a person's faces in the order they came.

        Raises:
            UnknownPersonError: nobody of that name is enrolled.
            GalleryError: there is no gallery, or it can't be read.
        """
        self._described()
        found = self._store.faces(check_name(name))
        if not found:
            raise self._unknown(name)
        return found

    def cluster(self, faces: Sequence[Faces], *, threshold: float | None = None) -> Groups:
        """Group the faces that nobody enrolled has: which of them are one person. Without a gallery those are all.

        Args:
            faces: what `zoo.predict` yields, of any photos.
            threshold: as for `identify`.

        Returns:
            Groups of faces, and those that stand alone; the faces of people who are enrolled are in neither.

        Raises:
            InputError: as `identify`.
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
        """Let go of what is held; a later call takes it up again."""
        self._store.close()

    def __len__(self) -> int:
        """Return how many faces are enrolled; 0 where there is no gallery yet."""
        return self._store.count()

    def __enter__(self) -> Gallery:
        """Return itself."""
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        """Let go of what is held."""
        self.close()

    def _described(self) -> Described:
        about = self._store.described()
        if about is None:
            raise self._missing()
        return about

    def _missing(self) -> GalleryError:
        return GalleryError(f"gallery {self.place}: there is no gallery yet; enrol somebody first, or check the place")

    def _nearest(self, queries: Vectors, top: int) -> tuple[Described, list[list[Match]]]:
        found = self._store.nearest(self._known_embedder(), queries, top)
        if found is None:
            raise self._missing()
        return found

    def _check_people(self, about: Described, people: Mapping[str, Sequence[NewFace]], add: bool) -> None:
        """Refuse photos of somebody else, as far as the faces are from photos: whose embeddings are given alone is the caller's to know.

        Raises:
            QualityError: with every reason.
        """
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
            raise GalleryError(f"gallery {self.place}: whose embeddings are these? Open it with the model: zoo.Gallery(place, model)")
        return self._embedder

    def _unknown(self, name: str) -> UnknownPersonError:
        return UnknownPersonError(f"gallery {self.place}: nobody of the name {name!r} is enrolled; see who is with: zoo faces list")
