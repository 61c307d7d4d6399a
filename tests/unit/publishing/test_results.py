"""Models of the Hub in commands and results: each result states the commit that was loaded."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("fastapi")
pytest.importorskip("httpx")

from tests.pictures import write_picture
from tests.unit.publishing.hub import Hub
from tests.unit.serving.local import MODEL, local, picture, run
from zoo import build, evaluate, load, save
from zoo.benchmarks.harness import case as case_process
from zoo.benchmarks.harness.report import Measurement
from zoo.benchmarks.harness.suite import Case
from zoo.cli.context import task_flags
from zoo.cli.jointtrain import heads_of
from zoo.cli.main import main
from zoo.evaluation.robustness.attacked import attack_evaluate
from zoo.evaluation.robustness.sweep import evaluate_corruptions
from zoo.report.tables import provenance
from zoo.serving.loading import described, load_all
from zoo.serving.settings import Settings, parse_models, worker_spec
from zoo.tasks.face.detection.finders import find_finder

pytestmark = pytest.mark.filterwarnings("ignore:Use 'content=<...>' to upload:DeprecationWarning")  # huggingface-hub's use of its client
DIGITS = "hf:me/digits"
DATA = "demo:digits?split=test&classes=0,1&limit=6"


@pytest.fixture
def commit(hub: Hub, digits: Path) -> dict[str, str]:
    """Publish a model, and return what results state about it."""
    return {"repository": "me/digits", "commit": hub.add_folder("me/digits", digits)}


def printed(capsys: pytest.CaptureFixture[str], *words: str) -> Any:
    """Run a command with `--json`, and return what it prints."""
    capsys.readouterr()
    assert main([*words, "--json"]) == 0
    return json.loads(capsys.readouterr().out)


def test_results_of_commands(commit: dict[str, str], digits: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = printed(capsys, "eval", DIGITS, "--data", DATA, "--replicates", "0")
    assert found["hub"] == {"model": commit}
    assert main(["eval", DIGITS, "--data", DATA, "--replicates", "0"]) == 0
    assert f"model: {DIGITS}@{commit['commit']}\n" in capsys.readouterr().out
    both = printed(capsys, "eval", str(digits), DIGITS, "--data", DATA, "--replicates", "0")
    assert both["hub"] == {"model 2": commit}
    sides = printed(capsys, "compare", str(digits), DIGITS, "--data", DATA, "--replicates", "0")
    assert [each.get("hub") for each in (*sides["a"], *sides["b"])] == [None, {"model": commit}]
    write_picture(tmp_path / "picture.png", np.zeros((32, 32, 3), np.uint8))
    answer = printed(capsys, "predict", DIGITS, str(tmp_path / "picture.png"), "--out", str(tmp_path / "out"))
    assert answer["predictions"][0]["hub"] == commit
    assert json.loads((tmp_path / "out" / "predictions.jsonl").read_text())["hub"] == commit
    assert printed(capsys, "info", DIGITS)["metadata"]["hub"] == commit
    assert printed(capsys, "pull", DIGITS)["commit"] == commit["commit"]


def test_results_of_functions(commit: dict[str, str]) -> None:
    model = load(DIGITS)
    assert evaluate(model, DATA, replicates=0).to_dict()["hub"] == {"model": commit}
    assert evaluate_corruptions(model, DATA, names=["fog"], severities=[1], replicates=0)["hub"] == {"model": commit}
    attacked = attack_evaluate(model, DATA, "fgsm", replicates=0)
    assert [attacked[name]["hub"] for name in ("clean", "robust")] == [{"model": commit}] * 2
    document = provenance(evaluate(model, DATA, replicates=0), "")
    assert f"me/digits {commit['commit']}" in document


def test_results_of_heads(hub: Hub, tmp_path: Path) -> None:
    heads = {"first": ["0", "1"], "second": ["0", "1"]}
    joint = save(build("resnet20", dict.fromkeys(heads, "classification"), classes=heads), tmp_path / "joint")
    commit = {"repository": "me/joint", "commit": hub.add_folder("me/joint", joint)}
    model = load("hf:me/joint")
    assert model.view("second").hub == commit
    found = evaluate(model, {"first,second": DATA}, replicates=0)
    assert [each.hub for each in found.values()] == [{"model": commit}] * 2
    assert model.view("second").metadata == {}


def test_a_benchmark_states_the_commit_of_its_weights(commit: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(case_process, "_BUDGET_S", 0.01)
    case = Case("digits", "classification", "resnet20", DATA, weights=DIGITS, batch_size=4)
    found = case_process.run_case(case, tmp_path)
    assert found.hub == commit
    assert Measurement.from_dict(json.loads(json.dumps(found.to_dict()))).hub == commit
    trained = replace(case, train=DATA, recipe={"epochs": 1, "min_samples": 1, "batch_size": 4})
    assert case_process.run_case(trained, tmp_path).hub == commit
    model = load(tmp_path / "run")
    assert model.hub is None  # the parameters are others now
    assert model.metadata["training"]["hub"] == commit
    assert model.config.weights == f"{DIGITS}@{commit['commit']}"
    assert [each.weights for each in model.config.licences] == [model.config.weights]


def test_the_workers_of_a_server_load_the_same_commit(commit: dict[str, str], hub: Hub, birds: Path, tmp_path: Path) -> None:
    settings = Settings(models=parse_models([f"{DIGITS}@main"]))
    assert [model.name for model in settings.models] == ["digits"]
    spec = json.loads(json.dumps(worker_spec(settings, tmp_path / "first")))
    assert described(load_all(spec))["digits"]["hub"] == commit
    later = hub.repositories["me/digits"].commit({path.name: path.read_bytes() for path in birds.iterdir()})
    assert described(load_all(spec))["digits"]["hub"] == commit
    again = json.loads(json.dumps(worker_spec(settings, tmp_path / "second")))  # after SIGHUP
    assert described(load_all(again))["digits"]["hub"]["commit"] == later


def test_answers_of_a_server_state_the_commit() -> None:
    async def test() -> None:
        async with local() as server:
            server.worker.models = {"colours": {**MODEL, "hub": {"repository": "me/colours", "commit": "0" * 40}}}
            answer = (await server.predict(("red.png", picture()))).json()
            assert answer["hub"] == {"repository": "me/colours", "commit": "0" * 40}

    run(test())


def test_a_detector_of_faces_may_be_in_a_repository(hub: Hub, tmp_path: Path) -> None:
    detector = build("resnet10t", "detection", classes=["face"], image_size=64)
    hub.add_folder("me/faces", save(detector, tmp_path / "faces"))
    found: Any = find_finder("hf:me/faces?threshold=0.7")
    assert (found.threshold, found.model.hub["repository"]) == (0.7, "me/faces")


def test_a_model_is_tuned_in_a_copy(commit: dict[str, str], digits: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["--data", DATA, "--target", "recall=0.5", "--replicates", "0", "--out", str(tmp_path / "tuned")]
    assert printed(capsys, "tune", DIGITS, *words)["model"] == str(tmp_path / "tuned")
    tuned = load(tmp_path / "tuned")
    assert (tuned.hub, [*tuned.metadata["thresholds"]]) == (commit, ["1"])
    assert "thresholds" not in load(DIGITS).metadata
    assert main(["tune", str(digits), *words]) == 2
    assert "--out" in capsys.readouterr().err
    (tmp_path / "tuned" / "notes.txt").write_text("mine")
    assert main(["tune", DIGITS, *words]) == 2
    assert "which the zoo didn't write" in capsys.readouterr().err


def test_a_verification_of_faces_states_the_commit(hub: Hub, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    commit = hub.add_folder("me/people", save(build("resnet20", "face", embedding_size=8), tmp_path / "people"))
    write_picture(tmp_path / "a.png", np.random.default_rng(0).integers(0, 256, (32, 32, 3), np.uint8))
    words = [str(tmp_path / "a.png")] * 2 + ["--model", "hf:me/people", "--threshold", "0.5", "--detector", "none"]
    assert printed(capsys, "faces", "verify", *words)["hub"] == {"repository": "me/people", "commit": commit}
    found = printed(capsys, "faces", "cluster", str(tmp_path / "a.png"), *words[2:], "--gallery", str(tmp_path / "gallery"))
    assert found["hub"]["commit"] == commit


def test_a_dataset_of_the_hub_is_not_taken_for_a_model(hub: Hub) -> None:
    assert task_flags(["x", "--data", "hf:me/data"]).name == "classification"
    assert not hub.requests


def test_a_repository_determines_the_flags_of_a_command(hub: Hub, tmp_path: Path) -> None:
    hub.add_folder("me/boxes", save(build("resnet10t", "detection", classes=["cell"], image_size=64), tmp_path / "boxes"))
    assert task_flags(["hf:me/boxes", "photos"]).name == "detection"
    assert heads_of(["--weights", "hf:me/boxes"]) == {}
    hub.add("you/net", {"config.json": b"{}", "model.safetensors": b""})
    assert task_flags(["hf:you/net"]).name == "classification"
    assert heads_of(["--weights", "hf:you/net"]) == {}
    assert not hub.asked("GET .*safetensors")


def test_errors_of_commands_are_one_message(hub: Hub, capsys: pytest.CaptureFixture[str]) -> None:
    for words in (
        ["info", "hf:me/none"],
        ["eval", "hf:me/none", "--data", DATA],
        ["pull", "hf:me/none"],
        ["compare", DIGITS, DIGITS, "--data", DATA],
    ):
        assert main(words) == 2
        printed = capsys.readouterr()
        assert "there is no such repository, or it is private" in printed.err
        assert len(printed.err.splitlines()) == 1
        assert not printed.out


def test_push_prints_what_it_published(hub: Hub, birds: Path, digits: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = printed(capsys, "push", str(digits), DIGITS, "--licence", "mit")
    assert (found["licence"], found["timm"], found["url"]) == ("mit", False, f"{hub.address}/me/digits")
    assert main(["push", str(birds), "hf:me/birds", "--licence", "mit", "--private"]) == 0
    assert 'timm.create_model("hf-hub:me/birds", pretrained=True)' in capsys.readouterr().out
    assert hub.repositories["me/birds"].private
    assert main(["pull", "hf:me/birds"]) == 0
    assert "pulled me/birds, commit" in capsys.readouterr().out
