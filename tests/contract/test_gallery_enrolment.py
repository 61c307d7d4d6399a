"""Contract of galleries, for every kind of store: what is enrolled, and what is refused."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tests.contract.galleries import Open, photo
from zoo.errors import InputError
from zoo.tasks.face.gallery import QualityError
from zoo.tasks.face.prediction.faces import Faces


@pytest.mark.parametrize(
    "name",
    [
        "'; DROP TABLE people; --",
        '"; DROP TABLE zoo_people; --',
        "../../etc/passwd",
        "C:\\con",
        "%s %(x)s {0}",
        "O'Brien",
        "null",
        "李小龍",
        "👩‍🚀",
        "a" * 200,
    ],
)
def test_hostile_names_are_names(opened: Open, name: str) -> None:
    gallery = opened()
    gallery.enroll("Ann", np.eye(3)[0])
    gallery.enroll(name, np.eye(3)[1], photos=name)
    assert {person.name for person in gallery.people()} == {"Ann", name}
    assert gallery.identify(np.eye(3)[1])[0].name == name
    assert gallery.faces(name)[0].photo == name
    assert gallery.forget(name) == 1
    assert [person.name for person in gallery.people()] == ["Ann"]


def test_keys_of_photos_may_be_any_files_name(opened: Open) -> None:
    gallery = opened()
    gallery.enroll("Ann", np.eye(2), photos=["caf\udce9.jpg", "a\0b"])
    assert [face.photo for face in gallery.faces("Ann")] == ["caf\\udce9.jpg", "a\\x00b"]


def test_photos_are_enrolled_with_their_quality(opened: Open) -> None:
    gallery = opened()
    assert gallery.enroll("Ann", [photo("a.jpg"), photo("b.jpg")]) == 2
    first, second = gallery.faces("Ann")
    assert (first.photo, second.photo) == ("a.jpg", "b.jpg")
    assert first.quality["eye_distance"] == 40
    assert first.to_dict()["quality"]["confidence"] == pytest.approx(0.99)
    assert gallery.identify(photo("a.jpg"))[0].matches[0].photo == "a.jpg"


def test_bad_photos_are_refused_with_every_reason_and_nobody_is_half_enrolled(opened: Open) -> None:
    gallery = opened()
    bad = photo("bad.jpg", score=0.5)
    with pytest.raises(
        QualityError, match=r"(?s)'Ann' is not enrolled.*bad.jpg: the detection may not be a face \(confidence\): 0.5, expected 0.9 or more"
    ):
        gallery.enroll("Ann", [photo("a.jpg"), bad])
    assert len(gallery) == 0
    assert gallery.enroll("Ann", [photo("a.jpg"), bad], quality=None) == 2
    assert gallery.faces("Ann")[1].quality["confidence"] == 0.5


def of(key: str, embedding: Any) -> Faces:
    """Return a good photo with the given embedding."""
    good = photo(key)
    return Faces(key, good.image, good.boxes.copy(), good.scores.copy(), good.landmarks.copy(), np.array([embedding], np.float32))


def test_photos_of_two_people_under_one_name_are_refused(opened: Open) -> None:
    gallery = opened()  # threshold 0.6
    ann, turned, other_side, bob, bob_too = ([1, x] for x in (0, 0.5, 1.0, 3.0, 3.1))
    said = r"(?s)'Ann' is not enrolled.*b.jpg: not the person in the other photos \(distance 3.000, threshold 0.6\).*\(--force\)"
    with pytest.raises(QualityError, match=said):
        gallery.enroll("Ann", [of("a.jpg", ann), of("b.jpg", bob)])
    with pytest.raises(QualityError, match=r"(?s)b.jpg: not the person.*c.jpg: not the person"):
        gallery.enroll("Ann", [of("a.jpg", ann), of("a2.jpg", turned), of("b.jpg", bob), of("c.jpg", bob_too)])
    assert gallery.enroll("Ann", [of("a.jpg", ann), of("a3.jpg", other_side), of("a2.jpg", turned)]) == 3  # a chain
    with pytest.raises(QualityError, match=r"b.jpg: not the person in the other photos \(distance 2.000"):
        gallery.enroll("Ann", of("b.jpg", bob), add=True)
    assert len(gallery) == 3
    assert gallery.enroll("Ann", of("b.jpg", bob), add=True, quality=None) == 1


def test_one_photo_under_two_names_is_refused(opened: Open) -> None:
    gallery = opened()
    gallery.enroll("Ann", of("a.jpg", [1, 0]))
    with pytest.raises(QualityError, match=r"'Bob' is not enrolled(?s:.*)copy.jpg: .*already enrolled as 'Ann' \(distance 0.050\)"):
        gallery.enroll("Bob", of("copy.jpg", [1, 0.05]))
    assert gallery.enroll("Bob", of("twin.jpg", [1, 0.1])) == 1
    assert gallery.enroll("Ann", of("again.jpg", [1, 0]), add=True) == 1
    assert gallery.enroll("Cem", of("copy.jpg", [1, 0]), quality=None) == 1


def test_keys_of_photos_that_belong_to_nothing_are_refused(opened: Open) -> None:
    gallery = opened()
    assert gallery.enroll_all({"Ann": np.ones(3)}, photos={"Ann": "x.jpg"}) == 1
    assert gallery.faces("Ann")[0].photo == "x.jpg"
    with pytest.raises(InputError, match="photos contains keys for names that are not in people: 'Cem'"):
        gallery.enroll_all({"Bob": np.ones(3)}, photos={"Cem": ["x.jpg"]})
    with pytest.raises(InputError, match=r"'Bob': results of zoo.predict contain the keys of their photos; don't pass photos"):
        gallery.enroll("Bob", photo("a.jpg"), photos="x.jpg")
