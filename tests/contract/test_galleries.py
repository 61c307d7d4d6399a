"""Contract of galleries, for every kind of store: answers, names, models and several writers."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest

from tests.contract.galleries import DLIB, OTHER, Open, photo, vectors
from zoo.errors import InputError
from zoo.tasks.face.embedding.distances import distances
from zoo.tasks.face.gallery import Embedder, Gallery, GalleryError, ModelMismatchError, NameTakenError, UnknownPersonError
from zoo.tasks.face.prediction.faces import Faces
from zoo.tasks.face.verification.protocol import all_similarities, comparable


def test_who_is_enrolled_is_identified(opened: Open) -> None:
    faces = vectors(4)
    with opened() as gallery:
        assert len(gallery) == 0
        assert gallery.enroll("Ann", faces[:2], photos=["a.jpg", "b.jpg"]) == 2
        assert gallery.enroll("Zoë 李", faces[2], photos="z.jpg") == 1
        assert len(gallery) == 3
        near, far = gallery.identify(np.stack([faces[1] + 0.01, faces[3] + 9]))
        assert (near.name, near.decision, near.threshold) == ("Ann", "known", 0.6)
        assert [match.name for match in near.matches] == ["Ann", "Zoë 李"]
        assert near.matches[0].photo == "b.jpg"
        assert near.matches[0].distance == pytest.approx(0.01 * np.sqrt(8), rel=1e-5)
        assert (far.name, far.decision) == (None, "unknown")
        assert near.to_dict()["matches"][1] == {"name": "Zoë 李", "distance": near.matches[1].distance, "photo": "z.jpg"}


def test_what_is_asked_for_decides_how_many_and_how_near(opened: Open) -> None:
    gallery = opened()
    gallery.enroll_all({"Ann": np.eye(3)[:1], "Bob": np.eye(3)[1], "Cem": np.eye(3)[2]})
    (answer,) = gallery.identify(np.array([1.0, 0.4, 0.3]), top=2, threshold=0.49)
    assert [match.name for match in answer.matches] == ["Ann", "Bob"]
    assert answer.name is None
    assert gallery.identify(np.array([1.0, 0.4, 0.3]), threshold=0.56)[0].name == "Ann"
    with pytest.raises(InputError, match="top is 0; expected 1 or more"):
        gallery.identify(np.eye(3), top=0)
    with pytest.raises(InputError, match=r"identify: the threshold is -1; expected a distance, 0 or more"):
        gallery.identify(np.eye(3), threshold=-1)


def test_nobody_is_named_by_the_threshold_of_a_single_pair(opened: Open) -> None:
    """Among many people, the nearest stranger is close: only a certain match gets a name."""
    gallery = opened()  # threshold 0.6, so that the band is 0.54 to 0.66
    gallery.enroll("Ann", np.array([1.0, 0, 0]))
    answers = gallery.identify(np.array([[1, apart, 0] for apart in (0.53, 0.55, 0.6, 0.65, 0.67)]))
    assert [answer.decision for answer in answers] == ["known", "undecided", "undecided", "undecided", "unknown"]
    assert [answer.name for answer in answers] == ["Ann", None, None, None, None]
    assert [answer.enrolled for answer in answers] == [True, False, False, False, False]


def test_only_who_is_surely_enrolled_is_left_out_of_the_groups(opened: Open) -> None:
    gallery = opened()
    gallery.enroll("Ann", np.zeros(8) + np.eye(8)[0])
    image = photo("x").image
    faces = [Faces.whole_picture("x", image, (np.eye(8)[0] + np.eye(8)[1] * apart).astype(np.float32)) for apart in (0.5, 0.57)]
    assert gallery.cluster(faces).alone == ((1, 0),)


def test_several_people_who_are_nearest_alike_are_said(opened: Open) -> None:
    gallery = opened()
    gallery.enroll_all({"Ann": np.array([1.0, 0]), "Bob": np.array([1.0, 0]), "Cem": np.array([1.1, 0])})
    for top, seen in ((1, ["Ann"]), (3, ["Ann", "Bob", "Cem"])):
        (answer,) = gallery.identify(np.array([1.0, 0.1]), top=top)
        assert (answer.name, answer.decision, answer.tied, answer.enrolled) == (None, "undecided", ("Ann", "Bob"), True)
        assert [match.name for match in answer.matches] == seen
    assert answer.to_dict()["tied"] == ["Ann", "Bob"]
    assert gallery.identify(np.array([1.1, 0]))[0].name == "Cem"


def test_a_model_without_a_threshold_decides_nothing(opened: Open) -> None:
    gallery = opened(Embedder("aa", "own", "cosine", None))
    gallery.enroll("Ann", np.array([1.0, 0]))
    (answer,) = gallery.identify(np.array([2.0, 0]))
    assert answer.matches[0].distance == pytest.approx(0)
    assert (answer.name, answer.decision) == (None, "undecided")
    assert gallery.identify(np.array([2.0, 0]), threshold=0.5)[0].name == "Ann"


@pytest.mark.parametrize("model", [DLIB, OTHER])
def test_the_search_is_exact(opened: Open, model: Embedder) -> None:
    rows, probes = vectors(300, 32), vectors(40, 32, seed=1)
    rows[200:250] = rows[:50]  # duplicates: the one enrolled first comes first
    rows[250:] = np.nextafter(rows[50:100], np.float32(9))  # as close as float32 allows
    gallery = opened(model)
    gallery.enroll_all({f"p{index:03}": row for index, row in enumerate(rows)})
    queries = np.concatenate([probes, rows[:60]])
    alike = all_similarities(comparable(queries, model.distance), comparable(rows, model.distance), model.distance)  # type: ignore[arg-type]
    for query, answer, row in zip(queries, gallery.identify(queries, top=7), alike, strict=True):
        exact = distances(query, rows, model.distance)
        best = np.lexsort((np.arange(300), exact))[:7]
        assert [match.name for match in answer.matches] == [f"p{index:03}" for index in best]
        assert [match.distance for match in answer.matches] == exact[best].tolist()
        np.testing.assert_allclose(exact, 1 - row if model is OTHER else -row, atol=1e-6)  # evaluation agrees


def test_people_with_many_photos_are_named_once(opened: Open) -> None:
    rows = vectors(60, 16)
    gallery = opened(OTHER)
    gallery.enroll_all({f"p{person}": rows[person::6] for person in range(6)})
    for query, answer in zip(vectors(20, 16, seed=2), gallery.identify(vectors(20, 16, seed=2), top=3), strict=True):
        exact = distances(query, rows, "cosine").reshape(10, 6).min(0)
        assert [match.name for match in answer.matches] == [f"p{person}" for person in np.argsort(exact)[:3]]


def test_who_is_forgotten_is_gone(opened: Open) -> None:
    gallery, reader = opened(), opened()
    gallery.enroll_all({"Ann": np.eye(3)[:2], "Bob": np.eye(3)[2]})
    assert reader.identify(np.eye(3))[0].name == "Ann"
    assert gallery.forget("Ann") == 2
    assert [answer.name for answer in reader.identify(np.eye(3))] == [None, None, "Bob"]  # another reader's cache is updated too
    with pytest.raises(UnknownPersonError, match=r"no person named 'Ann' is enrolled; zoo faces list shows the names"):
        gallery.forget("Ann")
    gallery.enroll("Ann", np.eye(3)[0])
    assert [(person.name, person.faces) for person in gallery.people()] == [("Ann", 1), ("Bob", 1)]
    assert gallery.faces("Ann")[0].number > 3  # numbers are never reused
    for name in ("Ann", "Bob"):
        gallery.forget(name)
    assert gallery.people() == []
    assert gallery.identify(np.eye(3))[0].matches == ()


def test_a_name_that_exists_is_refused_unless_photos_are_added(opened: Open) -> None:
    gallery = opened()
    gallery.enroll("Ann", np.eye(3)[0])
    with pytest.raises(
        NameTakenError, match=r"'Ann' is already enrolled; choose another name, or add these photos to that person \(--add\)"
    ):
        gallery.enroll("Ann", np.eye(3)[1])
    with pytest.raises(NameTakenError, match="'Ann' is already enrolled"):
        gallery.enroll_all({"Bob": np.eye(3)[1], "Ann": np.eye(3)[1]})
    assert [(person.name, person.faces) for person in gallery.people()] == [("Ann", 1)]
    assert gallery.enroll("Ann", np.eye(3)[1], add=True) == 1
    assert [face.embedding.tolist() for face in gallery.faces("Ann")] == np.eye(3)[:2].tolist()


def test_another_model_is_refused_and_both_are_named(opened: Open) -> None:
    opened().enroll("Ann", vectors(1))
    stranger = opened(OTHER)
    both = r"belongs to the model dlib_resnet29 \(0123456789abcdef\), but these embeddings come from iresnet50 \(fedcba9876543210\)"
    with pytest.raises(ModelMismatchError, match=both):
        stranger.enroll("Bob", vectors(1))
    with pytest.raises(ModelMismatchError, match=both):
        stranger.identify(vectors(1))
    with pytest.raises(ModelMismatchError, match=r"embeddings of 8 dimensions from dlib_resnet29 .*; these have 3"):
        opened().identify(np.ones(3))
    with pytest.raises(UnknownPersonError, match="no person named 'Eve' is enrolled; zoo faces list shows the names"):
        opened().faces("Eve")
    with pytest.raises(
        ModelMismatchError, match=r"created with the distance euclidean, but the metadata of its model .* now has the distance cosine"
    ):
        opened(Embedder(DLIB.fingerprint, DLIB.name, "cosine", 0.6)).enroll("Bob", vectors(1))
    with pytest.raises(ModelMismatchError, match=r"holds embeddings of 8 dimensions .* these have 9"):
        opened().enroll("Bob", vectors(1, 9))
    assert opened(None).model == DLIB
    assert len(opened(None)) == 1


def test_embeddings_of_nobody_knows_which_model_are_refused(opened: Open) -> None:
    with pytest.raises(GalleryError, match=r"it was opened without a model; open it with the model that produced its embeddings"):
        opened(None).enroll("Ann", vectors(1))
    opened().enroll("Ann", vectors(1))
    with pytest.raises(GalleryError, match="it was opened without a model"):
        opened(None).identify(vectors(1))


@pytest.mark.parametrize("call", ["people", "model", "identify", "faces", "forget"])
def test_a_gallery_that_is_not_there_is_not_taken_for_an_empty_one(opened: Open, call: str) -> None:
    calls: dict[str, Callable[[Gallery], Any]] = {
        "people": Gallery.people,
        "model": lambda gallery: gallery.model,
        "identify": lambda gallery: gallery.identify(vectors(1)),
        "faces": lambda gallery: gallery.faces("Ann"),
        "forget": lambda gallery: gallery.forget("Ann"),
    }
    with pytest.raises(GalleryError, match="there is no gallery yet; enrol a person first, or check the path or address"):
        calls[call](opened())


def test_unknown_faces_are_grouped(opened: Open) -> None:
    gallery = opened()
    gallery.enroll("Ann", photo("a"))
    near = Faces.whole_picture("x", photo("x").image, photo("bb").embeddings[0] + np.float32(0.01))
    groups = gallery.cluster([photo("a"), photo("bb"), photo("none", 0), near, photo("dddd", 1)])
    assert groups.groups == (((1, 0), (3, 0)),)
    assert groups.alone == ((4, 0),)


def test_nothing_is_asked_of_no_face(opened: Open) -> None:
    gallery = opened()
    gallery.enroll("Ann", vectors(1))
    assert gallery.identify(photo("none", 0)) == []
    assert gallery.identify([]) == []


def test_several_writers_at_once_lose_nothing(opened: Open) -> None:
    galleries = [opened() for _ in range(4)]

    def enroll(number: int) -> int:
        return sum(galleries[number].enroll(f"p{number}-{index}", vectors(2, seed=number * 10 + index)) for index in range(5))

    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(enroll, range(4))) == [10] * 4
    assert len(galleries[0]) == 40
    assert len(galleries[0].people()) == 20
    for number in range(4):
        assert galleries[3 - number].identify(vectors(2, seed=number * 10))[0].name == f"p{number}-0"


def test_one_name_from_two_writers_is_taken_once(opened: Open) -> None:
    def enroll(gallery: Gallery) -> str:
        try:
            gallery.enroll("Ann", vectors(1))
        except NameTakenError:
            return "taken"
        return "enrolled"

    with ThreadPoolExecutor(4) as pool:
        said = list(pool.map(enroll, [opened() for _ in range(4)]))
    assert sorted(said) == ["enrolled", "taken", "taken", "taken"]
