"""The commands on models with several heads: --data NAME=DATA, and one result per head."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import zoo
import zoo.compilation.compile
from tests.engines import Fake, fake
from tests.pictures import COLOURS, picture, write_picture
from tests.unit.joint import KINDS, PARTS, joint_model
from zoo.cli.heads import head_values
from zoo.cli.main import main
from zoo.engines import ENGINES
from zoo.models.compiled import Compiled

__all__ = ["fake"]
pytestmark = pytest.mark.usefixtures("one_thread")

INT8 = ["--engine", "fake", "--precision", "int8"]
DATA = ["--data", f"kinds={KINDS}", "--data", f"parts={PARTS}"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Saved models: "joint", and "kinds" and "parts", which are its heads."""
    place, model = tmp_path_factory.mktemp("models"), joint_model()
    zoo.save(model, place / "joint")
    for name in ("kinds", "parts"):
        zoo.save(zoo.split(model, name), place / name)
    return place


def output(capsys: pytest.CaptureFixture[str], *words: object) -> Any:
    assert main([*map(str, words), "--quiet", "--json"]) == 0
    return json.loads(capsys.readouterr().out)


def test_eval_has_an_entry_per_head(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = output(capsys, "eval", folder / "joint", *DATA, "--replicates", 0)
    assert [*found] == ["kinds", "parts"]
    for name, data in (("kinds", KINDS), ("parts", PARTS)):
        alone = output(capsys, "eval", folder / name, "--data", data, "--replicates", 0)
        assert found[name]["scores"] == alone["scores"]
        assert found[name].keys() == alone.keys()


def test_eval_prints_a_table_per_head_and_writes_a_section_per_head(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    report = tmp_path / "report.html"
    assert main(["eval", str(folder / "joint"), *DATA, "--replicates", "0", "--quiet", "--report", str(report)]) == 0
    lines = [line.strip() for line in capsys.readouterr().out.splitlines()]
    assert lines.index("kinds:") < lines.index(KINDS) < lines.index("parts:") < lines.index(PARTS)
    html = report.read_text()
    for part in ('<a href="#kinds">kinds</a>', '<section id="kinds">', '<section id="parts">', '<section id="parts-scores">'):
        assert html.count(part) == 1
    assert html.index("top1") < html.index('<section id="parts">') < html.index("AP50")


def test_options_apply_to_the_heads_that_have_them(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    plain = output(capsys, "eval", folder / "joint", *DATA, "--replicates", 0)
    found = output(capsys, "eval", folder / "joint", *DATA, "--replicates", 0, "--max-detections", 1, "--max-dets", 11)
    assert found["kinds"]["scores"] == plain["kinds"]["scores"]
    assert "AR11" in found["parts"]["scores"]
    alone = output(capsys, "eval", folder / "parts", "--data", PARTS, "--replicates", 0, "--max-detections", 1, "--max-dets", 11)
    assert found["parts"]["scores"] == alone["scores"]
    with pytest.raises(SystemExit):
        main(["eval", str(folder / "kinds"), "--data", KINDS, "--max-dets", "11"])


def test_ensembles_predictions_and_corruptions(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    zoo.save(joint_model(seed=1), tmp_path / "other")
    saved, report = tmp_path / "answers", tmp_path / "report.html"
    words = [folder / "joint", tmp_path / "other", *DATA, "--replicates", 0, "--save-predictions", saved, "--report", report]
    found = output(capsys, "eval", *words)
    assert [found[name]["details"]["ensemble"]["models"] for name in found] == [2, 2]
    assert '<section id="parts-scores">' in report.read_text()
    words = ["eval", "--task", "detection", "--data", PARTS, "--predictions", saved / "parts.json", "--replicates", 0]
    assert output(capsys, *words)["scores"] == found["parts"]["scores"]
    words = [folder / "joint", *DATA[:2], "--corruptions", "--corruption-names", "fog", "--severities", 1, "--replicates", 0]
    assert [*output(capsys, "eval", *words)["kinds"]["corruptions"]] == ["fog"]


def test_compare_heads(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    zoo.save(joint_model(seed=1), tmp_path / "other")
    found = output(capsys, "compare", folder / "joint", tmp_path / "other", *DATA, "--replicates", 20)
    assert [*found] == ["kinds", "parts"]
    alone = output(capsys, "compare", folder / "joint", folder / "parts", "--data", f"parts={PARTS}", "--replicates", 20)
    assert [*alone] == ["parts"]
    assert {difference["difference"] for difference in alone["parts"]["differences"].values()} == {0.0}
    assert found["parts"]["a"][0]["scores"] == alone["parts"]["b"][0]["scores"]
    assert main(["compare", str(folder / "joint"), str(tmp_path / "other"), *DATA[:2], "--replicates", "0", "--quiet"]) == 0
    assert "kinds:\nA: " in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["eval", "joint", "--data", KINDS], f"--data is {KINDS!r}; expected NAME=DATA, where NAME is a head of the model (kinds, parts)"),
        (["eval", "joint", "--data", f"part={PARTS}"], "unknown head in data: 'part'. Nearest: parts"),
        (["eval", "joint", *DATA, "--data", f"kinds={KINDS}"], "--data has several values for 'kinds'; expected one"),
        (["eval", "joint", *DATA, "--data", f"kinds,parts={KINDS}"], "data has several entries for the head 'kinds'"),
        (["eval", "joint"], "no data: pass --data"),
        (["eval", "kinds", "--data", f"parts={PARTS}"], "unknown head in data: 'parts'. Known: classification"),
        (["eval", "joint", *DATA, "--save-predictions", "a.csv"], "a.csv is a file; the predictions of a model with several heads"),
        (["eval", "joint", *DATA, "--attack", "pgd"], "attack: the task detection doesn't support attacks"),
        (["compare", "joint", "kinds", "--data", f"parts={PARTS}"], "the two sides have different tasks (classification, detection)"),
        (["compare", "joint", "parts"], "no data: pass --data"),
        (["eval", "joint", *DATA, *INT8, "--calibration", f"kinds={KINDS}", "--calibration", KINDS], "--calibration is 'demo:digits?split"),
        (["eval", "joint", *DATA, *INT8, "--calibration", f"kind={KINDS}"], "unknown head in data: 'kind'. Nearest: kinds"),
        (["eval", "joint", *DATA, "--calibration", f"kinds={KINDS}"], "--calibration requires --engine, which is not set"),
        (["eval", "--task", "kinds=classification", "--backbone", "resnet20", *DATA], "only zoo train builds models with named heads"),
        (["predict", "--task", "kinds=classification", "--backbone", "resnet20", "{folder}"], "--task is 'kinds=classification', but only"),
        (["export", "--task=kinds=classification", "--backbone", "resnet20"], "pass the folder of a saved model, which zoo train"),
        (["predict", "joint", "{folder}", "--detector", "mtcnn"], "detector: the heads kinds, parts process whole images"),
    ],
)
def test_mistakes_are_named(fake: type[Fake], folder: Path, words: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    places = {name: str(folder / name) for name in ("joint", "kinds", "parts")}
    assert main([places.get(word, word).format(folder=folder) for word in words]) == 2
    assert said in capsys.readouterr().err


@pytest.mark.parametrize(
    ("command", "values", "images"),
    [
        ("eval", [f"kinds={KINDS}", f"parts={PARTS}"], {"kinds": (12, "top1"), "parts": (3, "AP")}),
        ("eval", ["{pictures}"], {"kinds": (2, None), "parts": (2, None)}),
        ("predict", [f"kinds={KINDS}", f"parts={PARTS}"], {"kinds": (12, "top1"), "parts": (3, "AP")}),
        ("export", [f"parts={PARTS}"], {"kinds": (3, None), "parts": (3, "AP")}),
        ("export", ["{pictures}"], {"kinds": (2, None), "parts": (2, None)}),
    ],
)
def test_calibration_images_of_each_head(
    fake: type[Fake], folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: str, values: list[str], images: dict[str, Any]
) -> None:
    made: list[Compiled] = []

    def kept(function: Callable[..., Compiled]) -> Callable[..., Compiled]:
        def called(*args: Any, **options: Any) -> Compiled:
            made.append(function(*args, **options))
            return made[-1]

        return called

    for name in ("compile", "export"):
        monkeypatch.setattr(zoo.compilation.compile, name, kept(getattr(zoo.compilation.compile, name)))
    monkeypatch.setitem(zoo.compilation.compile.FORMATS, "torch", "fake")  # one graph per network, which the engine can write
    for name in ("a", "b"):
        write_picture(tmp_path / "pictures" / f"{name}.png", picture(COLOURS["red"]))
    words = {
        "eval": [*DATA[:2], "--engine", "fake", "--replicates", "0"],
        "predict": [str(tmp_path / "pictures"), "--engine", "fake"],
        "export": ["--out", str(tmp_path / "exported"), "--format", "torch"],
    }[command]
    words += [word for value in values for word in ("--calibration", value.format(pictures=tmp_path / "pictures"))]
    assert main([command, str(folder / "joint"), *words, "--precision", "int8", "--quiet"]) == 0
    assert {name: (each.pictures, each.score) for name, each in made[0].making.agreement.items()} == images


@pytest.mark.skipif(ENGINES["onnxruntime"].missing() is not None, reason="needs the extra [onnx]")
def test_an_exported_model_is_evaluated_and_predicts_like_the_original(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["--out", str(tmp_path / "onnx"), "--precision", "fp32", "--calibration", f"kinds,parts={tmp_path}", "--quiet"]
    write_picture(tmp_path / "a.png", picture(COLOURS["red"], size_hw=(48, 70)))
    assert main(["export", str(folder / "joint"), "--format", "onnx", *words]) == 0
    capsys.readouterr()
    wanted, found = (output(capsys, "eval", model, *DATA, "--replicates", 0) for model in (folder / "joint", tmp_path / "onnx"))
    assert {name: each["scores"]["top1" if name == "kinds" else "AP"] for name, each in found.items()} == {
        name: pytest.approx(each["scores"]["top1" if name == "kinds" else "AP"], abs=1e-3) for name, each in wanted.items()
    }
    one, other = (output(capsys, "predict", model, tmp_path / "a.png")["predictions"][0] for model in (folder / "joint", tmp_path / "onnx"))
    assert one["kinds"]["label"] == other["kinds"]["label"]
    assert one["parts"].keys() == other["parts"].keys()


def test_predict_has_one_line_per_picture(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name, colour in COLOURS.items():
        write_picture(tmp_path / "in" / f"{name}.png", picture(colour))
    found = output(capsys, "predict", folder / "joint", tmp_path / "in", "--out", tmp_path / "out")
    assert [[*each] for each in found["predictions"]] == [["key", "kinds", "parts", "drawn"]] * len(COLOURS)
    assert sorted(path.suffix for path in (tmp_path / "out").iterdir()) == [".jpg"] * len(COLOURS) + [".jsonl"]


def test_a_path_with_an_equals_sign_is_no_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "lr=0.1").mkdir()
    assert head_values("--data", ["demo:digits", "lr=0.1"], ["classification"]) == "lr=0.1"
    assert head_values("--data", ["a", "demo:digits?split=test"], ["classification"]) == "demo:digits?split=test"
    assert head_values("--data", ["classification=a"], ["classification"]) == {"classification": "a"}
    assert head_values("--data", [], ["classification"]) is None
