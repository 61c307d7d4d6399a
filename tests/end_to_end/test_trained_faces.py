"""dlib's trained network, untrained by us, on people it has never seen: aligned and as they are."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest

import zoo

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def everybody(shared_data: Path, tmp_path_factory: pytest.TempPathFactory) -> str:
    """All forty people of ORL in one folder."""
    folder = tmp_path_factory.mktemp("orl")
    for person in (shared_data / "orl").glob("*/s*"):
        (folder / person.name).symlink_to(person)
    return f"identities:{folder}"


@pytest.fixture(scope="module")
def model() -> zoo.Model:
    if importlib.util.find_spec("face_recognition_models") is None:
        pytest.skip("the extra [faces] is not installed")
    return zoo.build("dlib_resnet29", task="face", weights="default")


def test_aligned_faces_are_told_apart(model: zoo.Model, everybody: str) -> None:
    scores = zoo.evaluate(model, everybody, align="mtcnn", replicates=0)
    assert scores.n == scores.expected == 400, "every face is found"
    assert scores.details["score"] == "euclidean"
    assert scores.details["alignment"]["template"] == "dlib"
    assert (scores["auc"] or 0) >= 0.999
    assert (scores["accuracy"] or 0) >= 0.99
    assert (scores["rank1"] or 0) >= 0.99


def test_alignment_is_the_point(model: zoo.Model, everybody: str) -> None:
    """Whole pictures, stretched to a square: the same weights lose fifteen points."""
    scores = zoo.evaluate(model, everybody, replicates=0)
    assert 0.8 < (scores["accuracy"] or 0) < 0.9
