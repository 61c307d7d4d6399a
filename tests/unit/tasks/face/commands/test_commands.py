"""`zoo faces align` and `zoo faces verify`, and `--align` and `--detector` of the other commands."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import zoo
from tests.finders import BrightFinder, OnePlace, bright_quarter, green_quarter
from tests.pictures import cut_short, write_picture
from tests.unit.tasks.face.training.test_training import fresh
from zoo.cli.main import main
from zoo.errors import InputError
from zoo.images import decoding
from zoo.system.progress import Progress
from zoo.tasks.face.alignment.aligner import Looking, align
from zoo.tasks.face.commands.align import AlignedFolder, align_folder
from zoo.tasks.face.detection.faces import Wanted
from zoo.tasks.face.embedding.distances import BAND, decide, distances
from zoo.tasks.face.verification.verify import verify

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(autouse=True)
def bright(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make the commands' default detector find bright quarters as faces."""
    monkeypatch.setattr("zoo.tasks.face.detection.mtcnn.MTCNN", BrightFinder)


@pytest.fixture
def model_folder(tmp_path: Path) -> Path:
    return zoo.save(fresh(alignment="arcface"), tmp_path / "embedder")


def printed(capsys: pytest.CaptureFixture[str], *words: object) -> tuple[int, str, str]:
    status = main([str(word) for word in words])
    captured = capsys.readouterr()
    return status, captured.out, captured.err


def aligned(folder: Path, out: Path) -> AlignedFolder:
    looking = Looking(BrightFinder(), Wanted("central"), "arcface", (32, 32))
    return align_folder(folder, out, looking, skip=False, progress=Progress(enabled=False))


# -- align -------------------------------------------------------------------------------------------------------------


def test_a_folder_is_aligned_with_its_folders(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder, out = tmp_path / "photos", tmp_path / "faces"
    photo = bright_quarter(2)
    write_picture(folder / "ann" / "1.png", photo)
    write_picture(folder / "ben" / "old" / "x.y.png", bright_quarter(1))
    write_picture(folder / "nobody.png", bright_quarter())
    status, text, errors = printed(capsys, "faces", "align", folder, out, "--template", "arcface", "--size", 48, "--quiet")
    assert status == 0
    assert errors.splitlines() == ["skipped: nobody.png: no face was found in it"]
    assert text.startswith(f"2 faces of 3 images are in {out}; 1 has no face\ncontact sheet: ")
    assert sorted(path.relative_to(out).as_posix() for path in out.rglob("*") if path.is_file()) == [
        "aligned.json", "ann/1.png", "ben/old/x.y.png", "sheet.html",
    ]  # fmt: skip
    found = BrightFinder()(photo)
    expected = align(photo, found.landmarks[0], found.boxes[0], "arcface", (48, 48))
    np.testing.assert_array_equal(decoding.read(out / "ann" / "1.png"), expected)
    report = json.loads((out / "aligned.json").read_text())
    assert report["settings"]["template"] == "arcface"
    assert report["faces"][0] == {
        "file": "ann/1.png", "key": "ann/1.png", "box": [0, 32, 32, 64], "score": 200 / 256, "landmarks": found.landmarks[0].tolist(),
    }  # fmt: skip
    assert [fault["key"] for fault in report["not_found"]] == ["nobody.png"]
    sheet = (out / "sheet.html").read_text()
    assert "ann/1.png" in sheet
    assert "ben/old/x.y.png" in sheet


def test_all_faces_as_json_and_again(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder, out = tmp_path / "photos", tmp_path / "faces"
    write_picture(folder / "a.png", bright_quarter(0, 3, 1))
    write_picture(folder / "a-2.png", bright_quarter(0))
    for _ in range(2):  # the command may replace its earlier output
        status, text, errors = printed(capsys, "faces", "align", folder, out, "--faces", "all", "--json")
        assert (status, errors) == (0, "")
    done = json.loads(text)
    assert {face["file"]: face["key"] for face in done["faces"]} == {
        "a-2.png": "a-2.png", "a.png": "a.png", "a-3.png": "a.png", "a-4.png": "a.png",
    }  # fmt: skip
    assert decoding.read(out / "a.png").shape == (150, 150, 3)


def test_the_faces_of_another_folder_are_not_replaced(tmp_path: Path) -> None:
    out = tmp_path / "faces"
    for name in ("people", "portraits"):
        write_picture(tmp_path / name / "a.png", bright_quarter(0))
    aligned(tmp_path / "people", out)
    with pytest.raises(InputError, match=r"faces holds the faces of .*people; choose another .* for .*portraits, or delete .*faces"):
        aligned(tmp_path / "portraits", out)
    write_picture(out / "mine.png", bright_quarter(0))
    with pytest.raises(InputError, match=r"faces contains mine.png, which the zoo didn't write; choose another folder"):
        aligned(tmp_path / "people", out)
    (out / "mine.png").unlink()
    assert len(aligned(tmp_path / "people", out).faces) == 1
    (out / "aligned.json").write_text("{}")
    with pytest.raises(InputError, match=r"aligned.json doesn't name the input folder of .*faces; choose another .*, or delete .*faces"):
        aligned(tmp_path / "people", out)


def test_pictures_of_one_name_keep_their_endings(tmp_path: Path) -> None:
    folder = tmp_path / "photos"
    write_picture(folder / "a.png", bright_quarter(0))
    write_picture(folder / "a.bmp", bright_quarter(1))
    done = aligned(folder, tmp_path / "faces")
    assert sorted(face["file"] for face in done.faces) == ["a.bmp.png", "a.png.png"]


def test_pictures_that_cant_be_read(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder, out = tmp_path / "photos", tmp_path / "faces"
    for name in ("a", "b"):
        write_picture(folder / f"{name}.png", bright_quarter(0))
    cut_short(folder / "b.png")
    status, _, errors = printed(capsys, "faces", "align", folder, out, "--quiet")
    assert status == 2
    assert "b.png: is" in errors
    assert not out.exists()
    status, text, errors = printed(capsys, "faces", "align", folder, out, "--quiet", "--skip-bad")
    assert status == 0  # as with `zoo faces identify` and `zoo predict`
    assert errors.startswith("skipped: b.png: is")
    assert "1 face of 2 images is in" in text


def test_pictures_whose_faces_cant_be_aligned(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("zoo.tasks.face.detection.mtcnn.MTCNN", OnePlace)
    folder, out = tmp_path / "photos", tmp_path / "faces"
    write_picture(folder / "a.png", bright_quarter(0))
    write_picture(folder / "b.png", green_quarter(0))
    said = "b.png: the face can't be aligned, because its five landmarks coincide"
    status, _, errors = printed(capsys, "faces", "align", folder, out, "--quiet")
    assert (status, errors[: len(said) + 5]) == (2, f"zoo: {said}")
    status, text, errors = printed(capsys, "faces", "align", folder, out, "--quiet", "--skip-bad")
    assert status == 0
    assert errors.startswith(f"skipped: {said}")
    assert "1 face of 2 images" in text
    assert "; 0 have no face" in text


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["photos", "photos/faces"], "contain each other; choose a separate output folder"),
        (["photos", "."], "contain each other"),
        (["nowhere", "faces"], "nowhere is not a folder; expected a folder of images"),
        (["empty", "faces"], "empty contains no images"),
        (["photos", "taken"], "taken exists and contains no aligned.json"),
        (["photos", "faces", "--size", "3"], "--size is 3; expected 16 to 4096"),
        (["photos", "faces", "--detector", "mtcn"], "detector is 'mtcn'; expected mtcnn"),
        (
            ["photos", "faces", "--model", "embedder", "--size", "99"],
            "--model already sets the template and the size; pass either --model, or --template and --size",
        ),
        (["photos", "faces", "--model", "plain"], "plain: the model doesn't require aligned faces; pass --template and --size"),
    ],
)
def test_what_cant_be_aligned(
    words: list[str], message: str, tmp_path: Path, model_folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    zoo.save(fresh(), tmp_path / "plain")
    write_picture(tmp_path / "photos" / "a.png", bright_quarter(0))
    write_picture(tmp_path / "taken" / "mine.png", bright_quarter(0))
    (tmp_path / "empty").mkdir()
    status, text, errors = printed(capsys, "faces", "align", *words, "--quiet")
    assert (status, text) == (2, "")
    assert message in errors
    assert (tmp_path / "taken" / "mine.png").exists()


def test_the_template_and_size_of_a_model(tmp_path: Path, model_folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_picture(tmp_path / "photos" / "a.png", bright_quarter(0))
    status, *_ = printed(capsys, "faces", "align", tmp_path / "photos", tmp_path / "faces", "--model", model_folder)
    assert status == 0
    assert decoding.read(tmp_path / "faces" / "a.png").shape == (32, 32, 3)
    assert json.loads((tmp_path / "faces" / "aligned.json").read_text())["settings"]["template"] == "arcface"


def test_the_group(capsys: pytest.CaptureFixture[str]) -> None:
    status, text, _ = printed(capsys, "faces", "--help")
    assert status == 0
    assert "verify     compare the faces of two photos" in text
    assert printed(capsys, "faces")[0] == 2
    status, _, errors = printed(capsys, "faces", "alighn")
    assert status == 2
    assert "zoo faces: unknown command 'alighn'; expected one of: align, verify" in errors


# -- verify ------------------------------------------------------------------------------------------------------------


def test_the_band_around_the_threshold() -> None:
    assert decide(0.53, 0.6) == ("same", (0.6 * (1 - BAND), 0.6 * (1 + BAND)))
    assert [decide(apart, 0.6)[0] for apart in (0.54, 0.5401, 0.6, 0.6599, 0.6601)] == ["undecided"] * 4 + ["different"]
    assert decide(0.0, 0.6)[0] == "same"


def test_distances() -> None:
    a, b = np.array([3.0, 0, 0]), np.array([0.0, 4, 0])
    assert distances(a, np.stack([b]), "euclidean")[0] == 5
    assert distances(a, np.stack([b]), "cosine")[0] == 1
    assert distances(a, np.stack([2 * a]), "cosine")[0] == pytest.approx(0)
    assert distances(a, np.stack([-b]), "euclidean")[0] == 5


def test_two_photos(tmp_path: Path, model_folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rng = np.random.default_rng(0)
    for name in ("a", "b"):
        image = bright_quarter()
        image[:32, :32] = rng.integers(110, 256, (32, 32, 3))
        write_picture(tmp_path / f"{name}.png", image)
    words = ["faces", "verify", tmp_path / "a.png", tmp_path / "b.png", "--model", model_folder]
    status, text, _ = printed(capsys, *words, "--threshold", 0.5, "--json")
    found = json.loads(text)
    assert status == 0
    assert found["metric"] == "cosine"
    assert (found["threshold"], found["threshold_from"]) == (0.5, "given")
    assert found["a"] == {"key": str(tmp_path / "a.png"), "box": [0, 0, 32, 32], "score": pytest.approx(0.71, abs=0.03)}
    first, second = (next(iter(zoo.predict(zoo.load(model_folder), tmp_path / f"{name}.png", detector=BrightFinder()))) for name in "ab")
    expected = 1 - float(first.embeddings[0] @ second.embeddings[0])  # type: ignore[attr-defined]
    assert found["distance"] == pytest.approx(expected, abs=1e-5)
    assert found["answer"] == decide(expected, 0.5)[0]
    for threshold, answer in ((expected * 2, "same"), (expected, "undecided"), (expected / 2, "different")):
        status, text, _ = printed(capsys, *words, "--threshold", threshold)
        assert status == 0
        assert text.startswith(f"{answer}: cosine distance {expected:.3f}, threshold {threshold:g} (source: given)\nbelow ")


def test_the_model_s_own_threshold() -> None:
    model = fresh(alignment="arcface")
    photo = bright_quarter(0)
    with pytest.raises(InputError, match=r"the model has no threshold; pass a distance \(--threshold\), choose one with zoo tune, or"):
        verify(model, photo, photo, detector=BrightFinder())
    model.metadata["threshold"] = 0.4
    found = verify(model, photo, photo, detector=BrightFinder())
    assert (found.answer, found.threshold, found.threshold_from) == ("same", 0.4, "the model (test_resnet)")
    assert found.distance == pytest.approx(0, abs=1e-6)
    model.metadata["training"] = {}  # as after zoo.train, which chooses the threshold on --val
    assert verify(model, photo, photo, detector=BrightFinder()).threshold_from == "the model (its validation data)"
    model.metadata["distance"] = "euclidean"
    assert verify(model, photo, bright_quarter(1), detector=BrightFinder()).metric == "euclidean"
    with pytest.raises(InputError, match="threshold is -1; expected a distance above 0"):
        verify(model, photo, photo, threshold=-1)


def test_photos_with_no_face_or_several(tmp_path: Path) -> None:
    model, photo = fresh(alignment="arcface"), bright_quarter(0)
    several = bright_quarter(2, 0, 1)
    settings: dict[str, Any] = {"threshold": 0.5, "detector": BrightFinder()}
    with pytest.raises(InputError, match=r"array: no face was found; .*at least 20 pixels"):
        verify(model, photo, bright_quarter(), **settings)
    with pytest.raises(InputError, match=r"array shows 3 faces; expected one.*--faces central or --faces largest"):
        verify(model, several, photo, **settings)
    found = verify(model, several, photo, faces="largest", **settings)
    assert found.a["box"] == [0, 32, 32, 64]
    write_picture(tmp_path / "photos" / "a.png", photo)
    write_picture(tmp_path / "photos" / "b.png", photo)
    with pytest.raises(InputError, match="photos holds 2 images; expected one"):
        verify(model, tmp_path / "photos", photo, **settings)


def test_a_model_that_is_for_something_else(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = zoo.save(zoo.build("resnet20", classes=["a"]), tmp_path / "classifier")
    write_picture(tmp_path / "a.png", bright_quarter(0))
    status, _, errors = printed(capsys, "faces", "verify", tmp_path / "a.png", tmp_path / "a.png", "--model", folder)
    assert status == 2
    assert "this is a classification model; zoo faces requires a face model" in errors


# -- the other commands ------------------------------------------------------------------------------------------------


def test_predict_and_eval(tmp_path: Path, model_folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for person in range(4):
        for number in range(2):
            write_picture(tmp_path / "data" / f"p{person}" / f"{number}.png", bright_quarter(person, level=140 + 20 * person + 5 * number))
    write_picture(tmp_path / "data" / "p0" / "9.png", bright_quarter())
    data = tmp_path / "data"
    status, text, _ = printed(capsys, "predict", model_folder, data / "p3", "--detector", "mtcnn", "--json")
    assert status == 0
    assert [len(answer["faces"]) for answer in json.loads(text)["predictions"]] == [1, 1]
    status, text, _ = printed(capsys, "predict", model_folder, data / "p3", "--detector", "none", "--json")
    assert json.loads(text)["predictions"][0]["faces"][0]["box"] == [0, 0, 64, 64]
    status, text, errors = printed(capsys, "eval", model_folder, "--data", f"identities:{data}", "--align", "mtcnn", "--replicates", 0)
    assert status == 0
    assert "8 of 9 images scored" in text
    assert "aligned 8 of 9 images (detector bright, template arcface)" in text
    assert "already aligned" not in errors
    status, text, errors = printed(capsys, "eval", model_folder, "--data", f"identities:{data}", "--replicates", 0)
    assert "assuming that faces are already aligned to arcface; to align them, pass --align mtcnn" in errors


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--align", "mtcnn", "--corruptions"], "can't be combined with --align; align the images first with zoo faces align"),
        (["--align", "mtcnn", "--predictions", "p.npz", "--task", "face"], "--predictions can't be combined with --align"),
        (["--align", "nothing"], "detector is 'nothing'; expected mtcnn"),
    ],
)
def test_where_align_has_no_place(
    words: list[str], message: str, tmp_path: Path, model_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_picture(tmp_path / "data" / "p0" / "0.png", bright_quarter(0))
    models = [] if "--predictions" in words else [model_folder]
    status, text, errors = printed(capsys, "eval", *models, "--data", f"identities:{tmp_path / 'data'}", *words, "--quiet")
    assert (status, text) == (2, "")
    assert message in errors


def test_train(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rng = np.random.default_rng(0)
    for person in range(3):
        for number in range(3):
            image = bright_quarter()
            image[:32, :32] = np.clip(rng.integers(120, 250, 3) + rng.integers(-10, 10, (32, 32, 3)), 0, 255)
            write_picture(tmp_path / "data" / f"p{person}" / f"{number}.png", image)
    small = ["--alignment", "arcface", "--image-size", 32, "--epochs", 1, "--batch-size", 4, "--workers", 0]
    model = ["--task", "face", "--backbone", "test_resnet", "--data", f"identities:{tmp_path / 'data'}", "--out", tmp_path / "run"]
    status, text, _ = printed(capsys, "train", *model, "--align", "mtcnn", *small, "--json", "--quiet")
    assert status == 0
    assert json.loads(text)["skipped"] == []
    assert json.loads((tmp_path / "run" / "run.json").read_text())["alignment"]["data"]["found"] == 9
