"""`zoo faces enroll`, `identify`, `list`, `forget` and `cluster`, with a small embedder and images that contain only a face."""

from __future__ import annotations

import json
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

import zoo
from tests.pictures import write_picture
from zoo.cli.main import main
from zoo.tasks.face.commands import gallery as commands
from zoo.tasks.face.commands.gallery import _crop
from zoo.tasks.face.gallery import Gallery, Identification, Match
from zoo.tasks.face.gallery.named import NamedFaces
from zoo.tasks.face.prediction.faces import Faces

pytestmark = pytest.mark.usefixtures("one_thread", "small_embedder")
Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def small_embedder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Replace the default embedder by one with random weights, and put the default gallery into the test's folder."""
    torch.manual_seed(0)
    model = zoo.build("resnet20", task="face", embedding_size=16)
    model.metadata["threshold"] = 1e-4
    monkeypatch.setattr(commands, "embedder", lambda folder, engine, precision, say: model)
    monkeypatch.setenv("ZOO_GALLERY", str(tmp_path / "default.gallery"))


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    """Return a function that runs a command and returns its exit status, standard output and standard error."""

    def call(*words: object) -> tuple[int, str, str]:
        status = main(["faces", *map(str, words)])
        said = capsys.readouterr()
        return status, said.out, said.err

    return call


def face(seed: int) -> NDArray[np.uint8]:
    """Return an image of noise with a half in a colour of the seed, which a random network distinguishes."""
    rng = np.random.default_rng(seed)
    image = rng.integers(60, 200, (64, 64, 3), np.uint8)
    image[:, :32] = image[:, :32] // 2 + rng.integers(0, 120, 3, np.uint8)
    return image


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Folder with photos of three people, one of them twice, next to a black image."""
    for name, seed in (("ann", 1), ("bob", 2), ("again/ann2", 1), ("again/stranger", 3)):
        write_picture(tmp_path / "photos" / f"{name}.png", face(seed))
    write_picture(tmp_path / "black.png", np.zeros((64, 64, 3), np.uint8))
    return tmp_path / "photos"


def test_from_a_photo_to_a_name_and_back(run: Run, photos: Path, tmp_path: Path) -> None:
    status, out, _ = run("enroll", "Ann Lee", photos / "ann.png")
    assert (status, out) == (0, f"Ann Lee: 1 photo enrolled in gallery {tmp_path}/default.gallery, which now holds 1 face\n")
    assert run("enroll", "Bob", photos / "bob.png")[0] == 0
    status, out, _ = run("identify", photos, "--out", tmp_path / "out")
    assert status == 0
    lines = dict(line.split(".png: ") for line in out.splitlines())
    assert {Path(key).name: said.split(" (")[0] for key, said in lines.items()} == {
        "ann": "Ann Lee",
        "bob": "Bob",
        "ann2": "Ann Lee",
        "stranger": "unknown",
    }
    assert "nearest: Ann Lee 0.000, Bob " in lines[str(photos / "ann")]
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        "ann.jpg",
        "ann2.jpg",
        "bob.jpg",
        "predictions.jsonl",
        "stranger.jpg",
    ]
    status, out, _ = run("list")
    assert status == 0
    assert [line.split("\t")[:2] for line in out.splitlines()[:2]] == [["Ann Lee", "1 face"], ["Bob", "1 face"]]
    assert out.splitlines()[2].startswith(f"2 people in gallery {tmp_path}/default.gallery; model resnet20 (")
    status, out, _ = run("forget", "Ann Lee")
    assert (status, out.split(";")[0]) == (0, f"Ann Lee: 1 face deleted from gallery {tmp_path}/default.gallery")
    assert "unknown" in run("identify", photos / "ann.png")[1]
    status, _, err = run("forget", "Ann Lee")
    assert (status, "no person named 'Ann Lee' is enrolled" in err) == (2, True)


def test_json_is_one_object_and_nothing_else(run: Run, photos: Path, tmp_path: Path) -> None:
    place = tmp_path / "own.gallery"
    status, out, err = run("enroll", "Ann", photos / "ann.png", photos / "again" / "ann2.png", "--gallery", place, "--json", "--quiet")
    content = json.loads(out)
    assert (status, err, content["enrolled"], content["faces"], content["name"]) == (0, "", 2, 2, "Ann")
    assert [Path(photo["photo"]).name for photo in content["photos"]] == ["ann.png", "ann2.png"]
    assert content["photos"][0]["quality"]["brightness"] > 25
    content = json.loads(run("identify", photos / "bob.png", "--gallery", place, "--json", "--top", 1, "--quiet")[1])
    (found,) = content["pictures"]
    assert (content["gallery"], content["distance"], content["skipped"]) == (str(place), "cosine", [])
    assert found["faces"][0]["box"] == [0, 0, 64, 64]
    assert found["faces"][0]["decision"] == "unknown"
    assert [match["name"] for match in found["faces"][0]["matches"]] == ["Ann"]
    assert "embedding" not in out
    assert (
        json.loads(run("identify", photos / "bob.png", "--gallery", place, "--json", "--threshold", 2)[1])["pictures"][0]["faces"][0][
            "name"
        ]
        == "Ann"
    )
    content = json.loads(run("list", "--gallery", place, "--json")[1])
    assert [(person["name"], person["faces"]) for person in content["people"]] == [("Ann", 2)]
    assert content["model"]["threshold"] == 1e-4
    content = json.loads(run("forget", "Ann", "--gallery", place, "--json")[1])
    assert content == {"gallery": str(place), "name": "Ann", "forgotten": 2, "faces": 0}


def test_unknown_faces_are_grouped_and_shown(run: Run, photos: Path, tmp_path: Path) -> None:
    page = tmp_path / "groups.html"
    status, out, _ = run("cluster", photos, "--out", page)  # without a gallery, every face is unknown
    assert status == 0
    assert out.splitlines()[0] == f"group 1: 2 faces: {photos}/again/ann2.png, {photos}/ann.png"
    assert out.splitlines()[-1] == "4 faces in 4 images: 1 group, 2 alone, 0 of enrolled people"
    text = page.read_text()
    assert "1 group, 2 faces alone" in text
    assert text.count("data:image/jpeg") == 4
    assert stat.S_IMODE(page.stat().st_mode) == 0o600
    assert text.count("<img") == 4
    assert text.count("<figure") == 3
    run("enroll", "Ann", photos / "ann.png")
    content = json.loads(run("cluster", photos, "--json", "--quiet")[1])
    assert (content["groups"], len(content["alone"]), content["known"], content["faces"], content["pictures"]) == ([], 2, 2, 4, 4)
    status, _, err = run("cluster", photos, "--out", page)
    assert (status, f"--out is {page}, which already exists and is not overwritten; choose another file" in err) == (2, True)


@pytest.mark.parametrize(("height", "width", "scale"), [(64, 64, 4), (1692, 1125, 1), (300, 2800, 1)])
def test_drawn_names_grow_with_the_picture(height: int, width: int, scale: int) -> None:
    image = np.full((height, width, 3), 120, np.uint8)
    box = np.array([[width // 4, height // 2, width // 2, height - 1]], np.float32)
    points = np.full((1, 5, 2), np.nan, np.float32)
    faces = Faces("a", image, box, np.ones(1, np.float32), points, np.ones((1, 4), np.float32))
    answer = Identification((Match("HHHH", 0.1, "", 1),), 0.6)
    plain, drawn = np.asarray(faces.plot()), np.asarray(NamedFaces(faces, [answer]).plot())
    rows, columns = np.nonzero((plain != drawn).any(2))
    assert rows.max() - rows.min() >= max(height, width) * scale / 60
    assert abs(int(columns.min()) - width // 4 * scale) <= 4
    assert rows.max() <= height // 2 * scale + 2  # above the box


def test_a_folder_with_files_of_somebody_else_is_not_replaced(run: Run, photos: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    run("enroll", "Ann", photos / "ann.png")
    for _ in range(2):  # it may replace its earlier output
        assert run("identify", photos / "ann.png", "--out", out)[0] == 0
    (out / "notes.txt").write_text("mine")
    status, _, err = run("identify", photos / "ann.png", "--out", out)
    assert (status, "contains notes.txt, which the zoo didn't write; choose another folder" in err) == (2, True)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "predictions.jsonl").write_text("hi")
    status, _, err = run("identify", photos / "ann.png", "--out", tmp_path / "mine")
    assert (status, "predictions.jsonl is not a file of earlier predictions and won't be overwritten; choose another folder" in err) == (
        2,
        True,
    )
    assert (out / "notes.txt").read_text() + (tmp_path / "mine" / "predictions.jsonl").read_text() == "minehi"


def test_who_is_nearest_alike_is_said_and_one_is_counted_as_one(run: Run, photos: Path) -> None:
    run("enroll", "Ann", photos / "ann.png")
    assert "\n1 person in gallery " in run("list")[1]
    status, _, err = run("enroll", "Bob", photos / "ann.png")
    assert (status, "already enrolled as 'Ann' (distance 0.000)" in err) == (2, True)
    assert run("enroll", "Bob", photos / "ann.png", "--force")[0] == 0
    assert "ann.png: undecided between Ann and Bob (nearest: Ann 0.000, Bob 0.000)" in run("identify", photos / "ann.png")[1]


@pytest.mark.parametrize(
    "words",
    [
        ("list",),
        ("list", "--json"),
        ("forget", "Ann"),
        ("identify", "ann.png", "--tresh", "1"),
        ("enroll", "", "ann.png"),
        ("enroll", "Ann"),
        ("identify",),
    ],
)
def test_what_needs_no_network_does_not_wait_for_torch(run: Run, photos: Path, words: tuple[str, ...]) -> None:
    run("enroll", "Ann", photos / "ann.png")
    program = f"""
import sys
from zoo.cli.main import main
try:
    main({["faces", *words]!r})
finally:
    print("torch" in sys.modules, file=sys.stderr)
"""
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert result.stderr.splitlines()[-1] == "False", result.stderr


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("enroll", "Ann"), "no photos given; usage: zoo faces enroll NAME PHOTO…"),
        (("enroll", "", "ann.png"), "the name '' is empty"),
        (("enroll", "Ann", "ann.png", "--add"), None),
        (("enroll", "Ann", "ann.png", "nobody.png"), "nobody.png"),
        (("enroll", "Ann", "../black.png"), "the face is too dark"),
        (("enroll", "Ann", "../black.png", "--force"), None),
        (("identify",), "no sources given; usage: zoo faces identify SOURCE…"),
        (("identify", "ann.png"), "there is no gallery yet; enrol a person first"),
        (("cluster",), "no sources given; usage: zoo faces cluster SOURCE…"),
        (("list",), "there is no gallery yet"),
        (("forget", "Ann"), "there is no gallery yet"),
        (
            ("list", "--gallery", "mysql://there/faces"),
            "gallery mysql://…: expected the path of a file, or an address that begins with postgresql://",
        ),
    ],
)
def test_what_is_wrong_is_said(
    run: Run, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: tuple[str, ...], said: str | None
) -> None:
    monkeypatch.chdir(photos)
    status, _, err = run(*words)
    assert status == (0 if said is None else 2)
    assert said is None or said in err
    if said is not None:
        assert not (tmp_path / "default.gallery").exists()


def test_a_name_that_exists_and_a_gallery_of_another_model(run: Run, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run("enroll", "Ann", photos / "ann.png")
    status, _, err = run("enroll", "Ann", photos / "again" / "ann2.png")
    assert (status, "'Ann' is already enrolled; choose another name, or add these photos to that person (--add)" in err) == (2, True)
    assert run("enroll", "Ann", photos / "again" / "ann2.png", "--add")[0] == 0
    torch.manual_seed(1)
    other = zoo.build("resnet20", task="face", embedding_size=16)
    monkeypatch.setattr(commands, "embedder", lambda folder, engine, precision, say: other)
    for words in (("enroll", "Bob", photos / "bob.png"), ("identify", photos / "ann.png"), ("cluster", photos)):
        status, _, err = run(*words)
        assert (status, "belongs to the model resnet20 (" in err, "but these embeddings come from resnet20 (" in err) == (2, True, True)
    assert len(Gallery(tmp_path / "default.gallery")) == 2


def test_pictures_that_can_not_be_read_are_left_out_where_asked(run: Run, photos: Path) -> None:
    run("enroll", "Ann", photos / "ann.png")
    (photos / "broken.jpg").write_bytes(b"no picture")
    for verb in ("identify", "cluster"):
        assert run(verb, photos, "--quiet")[0] == 2
        status, out, err = run(verb, photos, "--skip-bad", "--json", "--quiet")
        assert (status, [Path(fault["key"]).name for fault in json.loads(out)["skipped"]]) == (0, ["broken.jpg"])
        assert "skipped: " in err


def test_a_picture_without_a_face_and_one_with_two(run: Run, photos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run("enroll", "Ann", photos / "ann.png")
    image = face(1)

    def found(model: object, source: object, **options: Any) -> Any:
        count = 0 if "none" in str(source) else 2
        boxes = np.array([[0, 0, 30, 64], [-90, -90, -50, -50]], np.float32)[:count]
        yield Faces(
            "a.png",
            image,
            boxes,
            np.ones(count, np.float32),
            np.full((count, 5, 2), np.nan, np.float32),
            np.eye(16, dtype=np.float32)[:count],
        )

    monkeypatch.setattr("zoo.prediction.predict.predict", found)
    assert run("identify", "none.png")[1] == "a.png: no face was found\n"
    said = [line.split(" (")[0] for line in run("identify", "two.png")[1].splitlines()]
    assert said == ["a.png, face 1 at 15,32: unknown", "a.png, face 2 at -70,-70: unknown"]
    out = run("cluster", "two.png")[1]
    assert out.splitlines()[:2] == ["alone: a.png (face 1)", "alone: a.png (face 2)"]
    (both,) = found(None, "two")
    assert _crop(both, 1).shape == image.shape  # a box outside the image
    assert _crop(both, 0).shape == (64, 37, 3)
    status, _, err = run("enroll", "Eve", "none.png")
    assert (status, "each photo must show exactly one face" in err, "a.png: no face was found" in err) == (2, True, True)
