"""Validation of names, embeddings, models and locations, and the search in memory."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import zoo
from zoo.backbones import dlib_resnet
from zoo.errors import InputError
from zoo.models.fingerprint import embedding_fingerprint
from zoo.models.model import Model
from zoo.tasks.face.embedding.distances import distances, first_people, slack
from zoo.tasks.face.gallery import Embedder, Gallery, ModelMismatchError, QualityError
from zoo.tasks.face.gallery.enrolment import check_name
from zoo.tasks.face.gallery.location import default_place, open_store
from zoo.tasks.face.gallery.sqlite.matrix import Matrix
from zoo.tasks.face.prediction.faces import Faces

MODEL = Embedder("0123456789abcdef", "dlib_resnet29", "euclidean", 0.6)


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("", "the name '' is empty; expected one or more visible characters"),
        ("   ", "is empty"),
        ("a\nb", r"contains control characters \(U\+000A\)"),
        ("a\0", r"contains control characters \(U\+0000\)"),
        ("\x1b[2J", r"contains control characters \(U\+001B\)"),
        ("a\u2028b", r"contains line breaks \(U\+2028\)"),
        ("nnA\u202e", r"characters that change the writing direction \(U\+202E\)"),
        ("caf\udce9", r"unpaired surrogates \(U\+DCE9\)"),
        ("x" * 201, r"the name 'x{20}'… has 201 characters; expected at most 200"),
        *(
            (f"A{sign}nn", "invisible characters")
            for sign in "\u00ad\u200b\u200c\u200d\u2060\ufeff\ufe0f\u180b\u3164\u034f\U000e0041\U000e0100"
        ),
        ("\u00a0", "is empty"),
        ("李\u200d", r"invisible characters \(U\+200D\)"),
        (None, "the name is None; expected a string"),
    ],
)
def test_names_that_can_not_be(tmp_path: Path, name: Any, reason: str) -> None:
    gallery = Gallery(tmp_path / "g", MODEL)
    with pytest.raises(InputError, match=reason):
        gallery.enroll(name, np.ones(3))
    assert not (tmp_path / "g").exists()


def test_one_name_in_two_forms_is_one_person(tmp_path: Path) -> None:
    gallery = Gallery(tmp_path / "g", MODEL)
    gallery.enroll("Zoe\u0308\u00a0", np.ones(3))
    assert check_name("\u2003Ann\u00a0 Lee") == "Ann Lee"
    for name in ("می\u200cخواهم", "क्\u200dष", "👩\u200d🚀", "❤\ufe0f", "葛\U000e0100"):
        assert check_name(name) == name
    assert gallery.people()[0].name == "Zo\u00eb"
    assert gallery.forget("Zo\u00eb") == 1
    with pytest.raises(InputError, match="'Zoë' appears twice among the people to enrol"):
        gallery.enroll_all({"Zoe\u0308": np.ones(3), "Zo\u00eb": np.ones(3)})


@given(st.text(max_size=210))
def test_a_name_is_kept_in_one_form_or_refused(name: str) -> None:
    try:
        kept = check_name(name)
    except InputError:
        return
    assert kept == check_name(kept)
    assert kept.isprintable() or not kept.isascii()


@pytest.mark.parametrize(
    ("faces", "reason"),
    [
        (np.array([1.0, np.nan]), "face 0: its embedding is not finite"),
        (np.array([[1.0, 1.0], [np.inf, 0]]), "face 1: its embedding is not finite"),
        (np.zeros(3), "face 0: all 3 values in its embedding are 0"),
        (np.full(3, 1e-9), r"face 0: the norm of its embedding is 1.73205e-09; expected 1e-06 to 1e\+06"),
        (np.full(3, 1e30), r"the norm of its embedding is 1.73205e\+30"),
        (np.ones((2, 2, 2)), r"the embeddings: the shape is \[2, 2, 2\]; expected \[N, D\], one row per face"),
        (np.float64(3), r"the shape is \[\]"),
        ("Ann", r"faces is a str; expected results of zoo.predict, or numeric embeddings \[N, D\]"),
        (np.empty((0, 3)), "'Ann' can't be enrolled without a face"),
        ([], "'Ann' can't be enrolled without a photo"),
    ],
)
def test_faces_that_can_not_be(tmp_path: Path, faces: Any, reason: str) -> None:
    gallery = Gallery(tmp_path / "g", MODEL)
    with pytest.raises(InputError, match=reason):
        gallery.enroll("Ann", faces)
    assert not (tmp_path / "g").exists()


def test_what_must_agree(tmp_path: Path) -> None:
    gallery = Gallery(tmp_path / "g", MODEL)
    with pytest.raises(InputError, match="2 embeddings and 1 photo keys; expected one key per embedding"):
        gallery.enroll("Ann", np.eye(2), photos="a.jpg")
    with pytest.raises(InputError, match="the embeddings have 2 and 3 dimensions; expected embeddings of one model"):
        gallery.enroll_all({"Ann": np.ones(2), "Bob": np.ones(3)})
    with pytest.raises(InputError, match="no people to enrol; expected at least one"):
        gallery.enroll_all({})
    image = np.zeros((50, 50, 3), np.uint8)
    two = [Faces.whole_picture("a", image, np.ones(2, np.float32)), Faces.whole_picture("b", image, np.ones(3, np.float32))]
    gallery.enroll("Cem", np.ones(2))
    with pytest.raises(InputError, match="the faces have embeddings of different lengths"):
        gallery.identify(two)


def test_a_photo_must_show_one_face(tmp_path: Path) -> None:
    image = np.zeros((50, 50, 3), np.uint8)
    nobody = Faces("none.jpg", image, *(np.empty(shape, np.float32) for shape in ((0, 4), (0,), (0, 5, 2), (0, 3))))
    pair = Faces("pair.jpg", image, *(np.ones(shape, np.float32) for shape in ((2, 4), (2,), (2, 5, 2), (2, 3))))
    gallery = Gallery(tmp_path / "g", MODEL)
    problems = r"none.jpg: no face was found\n  pair.jpg: the photo shows 2 faces"
    with pytest.raises(InputError, match=f"(?s)each photo must show exactly one face.*{problems}.*--faces central"):
        gallery.enroll("Ann", [nobody, pair, Faces.whole_picture("black.jpg", image, np.ones(3, np.float32))], quality=None)
    with pytest.raises(InputError, match=r"none.jpg: no face was found\nUse other photos$"):
        gallery.enroll("Ann", nobody)
    with pytest.raises(QualityError, match=r"(?s)black.jpg: the face is too dark .*: 0, expected 25 or more") as caught:
        gallery.enroll("Ann", Faces.whole_picture("black.jpg", image, np.ones(3, np.float32)))
    assert all(problem.startswith("black.jpg: ") for problem in caught.value.problems)


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        (("aa", "m", "manhattan", 1.0), "model m: the distance is 'manhattan'; expected one of: cosine, euclidean"),
        (("aa", "m", "cosine", -0.1), "model m: the threshold is -0.1"),
        (("aa", "m", "cosine", float("inf")), "model m: the threshold is inf"),
    ],
)
def test_models_that_can_not_be_compared_by(values: Any, reason: str) -> None:
    with pytest.raises(InputError, match=reason):
        Embedder(*values)


def test_a_model_says_who_it_is(tmp_path: Path) -> None:
    model = zoo.build("resnet20", task="face", embedding_size=16)
    gallery = Gallery(tmp_path / "g", model)
    gallery.enroll("Ann", np.ones(16))
    assert gallery.model == Embedder(embedding_fingerprint(model), "resnet20", "cosine", None)
    with pytest.raises(InputError, match=r"a gallery needs a face model; resnet20 is a classification model"):
        Gallery(tmp_path / "g", zoo.build("resnet20", num_classes=2))


def test_the_model_of_a_gallery_is_known_by_what_its_embeddings_depend_on() -> None:
    """The fingerprint must not change, whatever options are added: a change would make every existing gallery unusable."""
    model = zoo.build("resnet20", task="face", image_size=32, embedding_size=8)
    with torch.no_grad():
        for place, (_, value) in enumerate(sorted(model.state_dict().items())):
            value.fill_(place)
    own = embedding_fingerprint(model)
    assert own == "c7148d402c818473"
    state = model.state_dict()
    indifferent: list[dict[str, Any]] = [{"scale": 32.0, "margin": 0.3}, {"loss": "cosface", "dropout": 0.5}, {"num_classes": 5}]
    for options in indifferent:
        other = zoo.build("resnet20", task="face", image_size=32, embedding_size=8, **options)
        other.load_state_dict(state, strict=False)
        assert embedding_fingerprint(other) == own
    head = replace(model.config.only, options={**model.config.options, "added_later": True})
    model.config = replace(model.config, heads={"face": head})
    assert embedding_fingerprint(model) == own
    telling: list[dict[str, Any]] = [{"image_size": 48}, {"alignment": "dlib"}, {"distance": "euclidean"}]
    for options in telling:
        other = zoo.build("resnet20", task="face", **{"image_size": 32, "embedding_size": 8, **options})
        other.load_state_dict(state)
        assert embedding_fingerprint(other) != own
    with torch.no_grad():
        model.get_parameter("heads.face.fc.weight")[0, 0] += 1
    assert embedding_fingerprint(model) != own


def test_dlib_s_fingerprint_is_the_same_from_its_file(dlib_model: Model) -> None:
    assert embedding_fingerprint(dlib_model) == "fa8581843ca62f8b"
    again = zoo.build("dlib_resnet29", task="face", weights=dlib_resnet._load_weights("")[0])
    assert embedding_fingerprint(again) == embedding_fingerprint(dlib_model)
    assert again.preprocess == dlib_model.preprocess


def test_another_model_of_the_same_name_is_refused(tmp_path: Path) -> None:
    model = zoo.build("resnet20", task="face", embedding_size=8)
    Gallery(tmp_path / "g", model).enroll("Ann", np.ones(8))
    with pytest.raises(ModelMismatchError, match=r"can't be compared \(same name, but other settings or weights\)"):
        Gallery(tmp_path / "g", Embedder("aa", "resnet20", "cosine", None)).identify(np.ones(8))


def test_places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ZOO_GALLERY", raising=False)
    monkeypatch.setenv("XDG_DATA_HOME", "/data")
    assert default_place() == "/data/resnet-zoo/faces.gallery"
    monkeypatch.delenv("XDG_DATA_HOME")
    monkeypatch.setenv("HOME", "/home/ann")
    places = {"linux": "/home/ann/.local/share", "darwin": "/home/ann/Library/Application Support", "win32": "/home/ann/AppData/Local"}
    for platform, base in places.items():
        monkeypatch.setattr("sys.platform", platform)
        assert default_place() == f"{base}/resnet-zoo/faces.gallery"
    monkeypatch.setenv("ZOO_GALLERY", "postgresql://ann@there/faces")
    assert default_place() == "postgresql://ann@there/faces"
    with pytest.raises(InputError, match=r"gallery mysql://…: expected the path of a file, or an address that begins with postgresql://"):
        open_store("mysql://ann:secret@there/faces")
    for address in ("host=/tmp dbname=faces", Path("postgresql://ann@there/faces")):
        with pytest.raises(
            InputError, match=r"gallery address…: expected the path of a file, or an address that begins with postgresql://"
        ):
            open_store(address)
    with pytest.raises(InputError, match=r"gallery '.{40}'…: the file name is invalid \(.*\); expected the path of a file"):
        open_store(str(tmp_path / ("x" * 300)))
    for folder in (tmp_path, ""):
        with pytest.raises(InputError, match=r"this is a folder; expected the path of a file, such as faces\.gallery"):
            open_store(folder)


@settings(deadline=None, max_examples=60)
@given(st.integers(0, 2**32 - 1), st.integers(1, 40), st.integers(1, 40), st.sampled_from(["cosine", "euclidean"]), st.integers(1, 8))
def test_the_search_in_memory_is_float64s(seed: int, size: int, count: int, distance: str, top: int) -> None:
    rng = np.random.default_rng(seed)
    # norms of several orders of magnitude, and copies that differ by one rounding, on which float32 errs
    rows = (rng.standard_normal((count, size)) * rng.choice([1e-3, 1, 1e3], (count, 1))).astype(np.float32)
    rows[count // 2 :] = np.nextafter(rows[: count - count // 2], np.float32(np.inf))
    people = rng.integers(1, 10, count)
    matrix = Matrix(size, distance)
    for part in np.array_split(np.arange(count), 3):
        matrix.append(rows[part], part + 1, people[part])
    assert matrix.last_face == count
    queries = np.concatenate([rng.standard_normal((3, size)).astype(np.float32), rows[:3]])
    for query, found in zip(queries, matrix.nearest(queries, top), strict=True):
        far = distances(query, rows, distance)
        best = first_people(far, people, np.arange(count), top)
        assert [face - 1 for face, _ in found] == best.tolist()
        assert [apart for _, apart in found] == far[best].tolist()


def test_without_a_second_look_it_would_not_be(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = np.repeat(np.random.default_rng(0).standard_normal((1, 512)), 400, axis=0)
    rows += np.random.default_rng(1).standard_normal((400, 512)) * 1e-6
    matrix = Matrix(512, "cosine")
    matrix.append(rows.astype(np.float32), np.arange(1, 401), np.arange(1, 401))
    queries = np.random.default_rng(2).standard_normal((20, 512)).astype(np.float32)
    exact = [int(distances(query, rows.astype(np.float32), "cosine").argmin()) + 1 for query in queries]
    assert [found[0][0] for found in matrix.nearest(queries, 1)] == exact
    monkeypatch.setattr("zoo.tasks.face.gallery.sqlite.matrix.slack", lambda *_: 0.0)
    assert [found[0][0] for found in matrix.nearest(queries, 1)] != exact


@pytest.mark.parametrize("distance", ["cosine", "euclidean"])
def test_float32_is_never_wrong_by_more_than_is_allowed_for(distance: str) -> None:
    rng = np.random.default_rng(3)
    for size in (1, 8, 128, 2048):
        rows, query = rng.standard_normal((2000, size)).astype(np.float32), rng.standard_normal((1, size)).astype(np.float32)
        matrix = Matrix(size, distance)
        matrix.append(rows, np.arange(1, 2001), np.arange(1, 2001))
        ((_, rough),) = matrix._far(query)
        exact = distances(query[0], rows, distance)
        wrong = np.abs(rough - (exact if distance == "cosine" else exact**2)).max()
        assert wrong <= slack(size, float(np.linalg.norm(rows, axis=1).max()), float(np.linalg.norm(query)), distance)


def test_many_queries_are_answered_in_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(4)
    rows, queries = (rng.standard_normal((50, 4)).astype(np.float32) for _ in range(2))
    matrix = Matrix(4, "euclidean")
    matrix.append(rows, np.arange(1, 51), np.arange(1, 51))
    whole = matrix.nearest(queries, 3)
    monkeypatch.setattr("zoo.tasks.face.gallery.sqlite.matrix._BLOCK_BYTES", 4 * 50 * 7)
    assert matrix.nearest(queries, 3) == whole
    assert Matrix(4, "cosine").nearest(queries[:2], 3) == [[], []]
