"""Exported models whose files or model.json were changed, and folders in which an export would replace other files."""

from __future__ import annotations

import copy
import json
import pickle
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

import zoo
from tests.engines import INSTALLED, small_joint, small_model
from zoo.cli.main import main
from zoo.errors import InputError
from zoo.models.fingerprint import embedding_fingerprint
from zoo.tasks.face.commands.gallery import embedder

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def intact(one_thread: None, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("intact") / "out"
    zoo.export(small_model("detection"), folder, "torch", precision="fp32")
    return folder


@pytest.fixture
def exported(intact: Path, tmp_path: Path) -> Path:
    """A copy of an export, for a test to damage."""
    return Path(shutil.copytree(intact, tmp_path / "out"))


def ask(folder: Path) -> Any:
    return zoo.load(folder)(torch.zeros(1, 3, 64, 64, dtype=torch.uint8))


def edit(folder: Path, change: Callable[[dict[str, Any]], object]) -> None:
    file = folder / "model.json"
    content = json.loads(file.read_text(encoding="utf-8"))
    change(content["compiled"])
    file.write_text(json.dumps(content), encoding="utf-8")


@pytest.mark.parametrize("graph", ["pictures.pt2", "boxes.pt2"])
def test_a_changed_byte_is_seen(graph: str, exported: Path) -> None:
    content = bytearray((exported / graph).read_bytes())
    content[len(content) // 2] ^= 1
    (exported / graph).write_bytes(content)
    with pytest.raises(InputError, match=rf"{re.escape(graph)} is damaged, or isn't the file that was exported; export the model again"):
        zoo.load(exported).head.call("boxes", torch.zeros(1, 16, 7, 7)) if graph == "boxes.pt2" else ask(exported)


def test_a_missing_file_is_named(exported: Path) -> None:
    (exported / "pictures.pt2").unlink()
    with pytest.raises(InputError, match=r"pictures\.pt2 can't be read \(FileNotFoundError.*\); export the model again"):
        ask(exported)


def test_an_export_from_before_there_were_checksums_is_read(exported: Path, capfd: pytest.CaptureFixture[str]) -> None:
    edit(exported, lambda compiled: compiled.pop("files"))
    ask(exported)
    (exported / "pictures.pt2").write_bytes(b"nothing")
    with pytest.raises(InputError, match=r"pictures\.pt2 can't be read .*; export the model again"):
        ask(exported)
    assert capfd.readouterr().err == "", "torch logs a traceback"


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda compiled: compiled.update(agreement=None), "TypeError"),
        (lambda compiled: compiled.update(fingerprints={}), "KeyError: 'model'"),
        (lambda compiled: compiled.update(networks=[]), "no network 'pictures'"),
        (lambda compiled: compiled.update(networks=None), "TypeError"),
        (lambda compiled: compiled.update(precision="fp7"), "precision 'fp7'"),
        (lambda compiled: compiled.update(files=[1]), "TypeError"),
        (lambda compiled: compiled["networks"][0].pop("file"), "KeyError: 'file'"),
    ],
)
def test_a_description_that_cannot_be_right(change: Callable[[dict[str, Any]], object], reason: str, exported: Path) -> None:
    edit(exported, change)
    with pytest.raises(InputError, match=rf"model\.json: the entry 'compiled' is invalid \(.*{reason}.*export the model again"):
        zoo.load(exported)


def test_a_network_that_is_not_listed_is_missed(exported: Path) -> None:
    edit(exported, lambda compiled: compiled["networks"].pop(1))
    with pytest.raises(InputError, match=r"model\.json lists no graph for the network 'boxes'; export the model again"):
        zoo.load(exported).head.call("boxes", torch.zeros(1, 16, 7, 7))


def test_weights_are_not_replaced_by_graphs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = zoo.save(small_model("classification"), tmp_path / "model")
    before = (folder / "weights.safetensors").read_bytes()
    assert main(["export", str(folder), "--format", "torch", "--out", str(folder)]) == 2
    error = capsys.readouterr().err
    assert f"{folder} contains a trainable model; refusing to overwrite it with an exported model; choose another folder (--out)" in error
    assert "engine" not in error, "the error must come before anything is compiled"
    with pytest.raises(InputError, match="contains a trainable model"):
        zoo.save(zoo.compile(small_model("classification"), "eager"), folder)
    assert (folder / "weights.safetensors").read_bytes() == before
    zoo.save(small_model("classification", seed=1), folder)
    assert (folder / "weights.safetensors").read_bytes() != before, "a trainable model may replace another"


def test_graphs_are_written_on_the_cpu(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["export", "--backbone", "resnet20", "--classes", "a,b", "--device", "cuda", "--out", str(tmp_path / "out")]) == 2
    assert "can't be combined with --device cuda" in capsys.readouterr().err


def test_what_somebody_has_put_beside_a_model_is_not_lost(exported: Path) -> None:
    zoo.export(small_model("detection"), exported, "torch", precision="fp32")  # a second export replaces the first
    (exported / "README.txt").write_text("mine")
    for model in (zoo.load(exported), small_model("detection")):
        with pytest.raises(InputError, match=r"contains README\.txt, which the zoo didn't write; choose another folder"):
            zoo.save(model, exported)
    with pytest.raises(InputError, match=r"contains README\.txt"):
        zoo.export(small_model("detection"), exported, "torch")
    assert (exported / "README.txt").read_text() == "mine"


def test_a_model_takes_the_place_of_an_export(exported: Path) -> None:
    zoo.save(small_model("detection"), exported)
    assert sorted(path.name for path in exported.iterdir()) == ["model.json", "weights.safetensors"]


def test_what_a_compiled_model_does_not_do() -> None:
    fast = zoo.compile(small_model("classification"), "eager")
    for copied in (copy.copy, copy.deepcopy, pickle.dumps):
        with pytest.raises(InputError, match=r"can't be copied or pickled: save it with zoo\.save, and load it with zoo\.load"):
            copied(fast)
    with pytest.raises(InputError, match="a compiled model can't load weights"):
        fast.load_state_dict(small_model("classification").state_dict())
    with pytest.raises(InputError, match="runs on the CPU, not on cuda"):
        fast.cuda()
    with pytest.raises(InputError, match="has nothing to freeze"):
        zoo.freeze(fast, "trunk")


@pytest.mark.parametrize("engine", [*INSTALLED, "eager"])
def test_floats_of_any_width_are_taken(engine: str) -> None:
    fast = zoo.compile(small_model("classification"), engine, "fp32")
    for dtype in (torch.float16, torch.bfloat16, torch.float64):
        pixels = torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(0)).to(dtype)
        assert torch.equal(fast(pixels), fast(pixels.float())), dtype


@pytest.mark.parametrize("seconds", [-5.0, float("nan")])
def test_a_time_that_cannot_be_meant(seconds: float) -> None:
    with pytest.raises(InputError, match=r"tune_seconds is .*; expected 0 or more seconds"):
        zoo.compile(small_model("classification"), "auto", tune_seconds=seconds)


def test_an_embedder_in_the_precision_that_is_asked_for(tmp_path: Path) -> None:
    folder = zoo.save(small_model("face"), tmp_path / "face")
    found = [embedder(folder, "eager", precision).precision for precision in ("auto", "fp32", "bf16")]
    assert found == [None, None, "bf16"]


def test_the_embedder_of_a_model_with_several_heads_is_its_face_head(tmp_path: Path) -> None:
    model = small_joint("parts", "who")
    fast = zoo.compile(model, "eager", "fp32")
    found = embedder(zoo.save(model, tmp_path / "model"), "eager", "auto")
    assert found.task == "face"
    assert embedding_fingerprint(found) == embedding_fingerprint(fast.view("who")), "galleries accept both"
    for heads, count in ((("species", "parts"), 0), (("parts", "who"), 2)):
        model = small_joint(*heads)
        if count:
            zoo.add_task(model, "other", "face")
        with pytest.raises(InputError, match=f"this model has {count} face heads; zoo faces requires one"):
            embedder(zoo.save(model, tmp_path / f"other-{count}"), "eager", "auto")


@pytest.mark.parametrize("precision", ["auto", "fp32", "bf16"])
def test_the_precision_reaches_the_engine(precision: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = list[tuple[str, str]]()

    def compile(model: zoo.Model, engine: str, precision: str, say: object) -> zoo.Model:
        asked.append((engine, precision))
        return model

    monkeypatch.setattr("zoo.compilation.compile.compile", compile)
    embedder(zoo.save(small_model("face"), tmp_path / "face"), "openvino", precision)
    assert asked == [("openvino", precision)]
