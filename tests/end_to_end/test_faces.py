"""Real faces with real weights: aligned faces reach the expected scores."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path

import pytest

import zoo
from zoo.cli.main import main

pytestmark = [
    pytest.mark.usefixtures("one_thread"),
    pytest.mark.skipif(importlib.util.find_spec("face_recognition_models") is None, reason="the extra [faces] is not installed"),
]


@pytest.mark.slow
def test_orl_aligned_by_five_points(shared_data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = f"identities:{shared_data / 'orl'}?split=train,test"  # all 40 people
    words = ["eval", "--task", "face", "--backbone", "dlib_resnet29", "--weights", "default", "--data", data]
    assert main([*words, "--align", "mtcnn", "--replicates", "0", "--json", "--quiet"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["n"], found["expected"]) == (400, 400)
    assert found["details"]["alignment"]["found"] == 400, "every face is found"
    assert found["details"]["alignment"]["template"] == "dlib"
    assert found["scores"]["auc"] >= 0.999
    assert found["scores"]["accuracy"] >= 0.99
    assert found["scores"]["rank1"] >= 0.99
    assert found["details"]["score"] == "euclidean"


@pytest.mark.slow
def test_alignment_is_the_point(dlib_model: zoo.Model, shared_data: Path) -> None:
    """Without alignment, on whole images stretched to a square, the same weights lose fifteen points."""
    scores = zoo.evaluate(dlib_model, f"identities:{shared_data / 'orl'}?split=train,test", replicates=0)
    assert 0.8 < (scores["accuracy"] or 0) < 0.9


def test_photos_of_one_person_and_of_two(shared_data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    orl, portraits = shared_data / "orl" / "test" / "s25", shared_data / "portraits"
    answers = {}
    for a, b in ((orl / "1.pgm", orl / "5.pgm"), (orl / "1.pgm", portraits / "kate_siegel.jpg")):
        assert main(["faces", "verify", str(a), str(b), "--json"]) == 0
        found = json.loads(capsys.readouterr().out)
        answers[b.name] = found["answer"]
        assert (found["threshold"], found["metric"]) == (0.6, "euclidean")
        assert found["threshold_from"].startswith("the model (dlib_resnet29")
    assert answers == {"5.pgm": "same", "kate_siegel.jpg": "different"}
    assert main(["faces", "verify", str(orl / "1.pgm"), str(portraits / "multiface.jpg")]) == 2
    assert "multiface.jpg shows 6 faces; expected one" in capsys.readouterr().err


def test_every_face_of_the_group_photo_is_drawn(dlib_model: zoo.Model, shared_data: Path) -> None:
    (found,) = zoo.predict(dlib_model, shared_data / "portraits" / "multiface.jpg")
    assert len(found) == 6  # type: ignore[arg-type]
    answer = found.to_dict()
    assert all(len(face["embedding"]) == 128 and None not in face["landmarks"] for face in answer["faces"])
    assert found.plot().size[0] == 1200
