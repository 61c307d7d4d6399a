"""`zoo runs`: the table of runs, its order and JSON form, and damaged runs, which are reported and skipped."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.small_training import RECIPE, coloured, fresh
from zoo.cli.main import main
from zoo.cli.runs import RunSummary, _print, differing, find_runs, read_run, sort_runs
from zoo.errors import InputError, UnknownNameError
from zoo.training.train import train

pytestmark = pytest.mark.usefixtures("one_thread")

Edit = Callable[[Path], object]


@pytest.fixture(scope="module")
def made(one_thread: None, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that contains a finished run."""
    folder = tmp_path_factory.mktemp("made")
    train(fresh(), coloured(), coloured(6), RECIPE, folder / "first")
    return folder


@pytest.fixture
def runs(made: Path, tmp_path: Path) -> Path:
    """A folder with the finished run and an unfinished copy of it with another learning rate and better scores."""
    folder = tmp_path / "runs"
    shutil.copytree(made / "first", folder / "first")
    other = Path(shutil.copytree(made / "first", folder / "deeper" / "second"))
    shutil.rmtree(other / "model")
    edit(other / "recipe.toml", "lr = 0.001", "lr = 0.5")
    lines = [
        {"epoch": 1, "step": 3, "loss": 0.25, "val": {"top1": 2.0, "auc": 0.25}},
        {"epoch": 2, "step": 6, "loss": 0.125, "val": {"top1": 1.5, "auc": None}},
    ]
    (other / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return folder


def edit(path: Path, before: str, after: str) -> None:
    content = path.read_text()
    assert before in content
    path.write_text(content.replace(before, after))


def printed(capsys: pytest.CaptureFixture[str], *words: object) -> tuple[int, str, str]:
    status = main([str(word) for word in words])
    captured = capsys.readouterr()
    return status, captured.out, captured.err


def test_a_run_says_how_far_it_came(made: Path) -> None:
    run = read_run(made / "first")
    history = [json.loads(line) for line in (made / "first" / "metrics.jsonl").read_text().splitlines()]
    assert (run.name, run.task, run.backbone, run.data) == ("first", "classification", "test_resnet", "coloured")
    assert (run.epochs, run.planned, run.state, run.score) == (2, 2, "finished", "top1")
    assert run.best == max(reversed(history), key=lambda entry: entry["val"]["top1"])["epoch"]
    assert run.scores == history[run.best - 1]["val"]
    assert run.loss == history[-1]["loss"]
    assert run.recipe["batch_size"] == RECIPE.batch_size
    assert run.seconds is not None
    assert 0 < run.seconds < 600


def test_the_table(runs: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "160")
    status, out, _ = printed(capsys, "runs", runs)
    assert status == 0
    lines = [line.split() for line in out.splitlines() if line.strip()]
    assert " ".join(lines[0]) == "task classification, backbone test_resnet, data coloured"
    assert " ".join(lines[1]) == "run epochs best score loss time settings"
    assert " ".join(lines[3]) == "deeper/second 2/2 unfinished top1 2.0000 (epoch 1) 0.1250 – lr 0.5"
    assert lines[4][:2] == ["first", "2/2"]
    assert " ".join(lines[4]).endswith("s lr 0.001")
    assert len(lines) == 5
    status, out, _ = printed(capsys, "runs", runs, "--sort", "auc")
    assert " auc " in out.splitlines()[2]


def test_in_a_pipe_no_line_is_folded_and_in_a_narrow_terminal_settings_are_readable(
    runs: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("batch_size", "warmup", "weight_decay"):
        path = runs / "first" / "recipe.toml"
        path.write_text("".join(line for line in path.read_text().splitlines(True) if not line.startswith(f"{name} ")))
    monkeypatch.delenv("COLUMNS", raising=False)
    second = next(line for line in printed(capsys, "runs", runs)[1].splitlines() if "deeper" in line)
    assert "lr 0.5" in second
    assert all(f"{name} " in second for name in ("batch_size", "weight_decay", "warmup"))
    monkeypatch.setenv("COLUMNS", "80")
    lines = printed(capsys, "runs", runs)[1].splitlines()
    assert max(len(line) for line in lines) <= 80
    assert any("batch_size 4" in line for line in lines)


def test_words_are_whole_in_80_columns(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    def run(name: str, task: str, backbone: str, data: str) -> RunSummary:
        return RunSummary(name, task, backbone, data, 3, 4, "unfinished", 2, "precision", {"precision": 0.5}, 0.25, 700.0, {})

    monkeypatch.setenv("COLUMNS", "80")
    _print(
        [run("first", "classification", "resnet50", "folder:leaves"), run("second-run", "detection", "resnet18", "coco:bolts")], [], None
    )
    out = capsys.readouterr().out
    assert max(map(len, out.splitlines())) <= 80
    cells = "second-run classification detection resnet50 resnet18 folder:leaves coco:bolts unfinished precision 0.5000 0.2500"
    assert set(cells.split()) <= set(out.split())


def test_json_and_order(runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    edit(runs / "deeper" / "second" / "metrics.jsonl", "0.125", "NaN")
    status, out, _ = printed(capsys, "runs", runs, "--json")
    assert status == 0
    content = json.loads(out, parse_constant=lambda name: pytest.fail(f"{name} is not JSON"))
    assert [run["name"] for run in content["runs"]] == ["deeper/second", "first"]
    assert content["differing"] == ["lr"]
    assert content["damaged"] == []
    second, first = content["runs"]
    assert second["loss"] is None
    assert second["seconds"] is None
    assert (second["state"], first["state"]) == ("unfinished", "finished")
    assert second["scores"] == {"top1": 2.0, "auc": 0.25}
    assert first["recipe"]["lr"] == 0.001
    for score, names in {
        "top1": ["deeper/second", "first"],
        "loss": ["first", "deeper/second"],
        "top5": ["first", "deeper/second"],
    }.items():
        out = printed(capsys, "runs", runs, "--json", "--sort", score)[1]
        assert [run["name"] for run in json.loads(out)["runs"]] == names, score


def test_one_run_alone_and_a_run_that_has_only_begun(runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (runs / "deeper" / "second" / "metrics.jsonl").unlink()
    (run,), faults = find_runs(runs / "deeper" / "second")
    assert (run.name, run.epochs, run.loss, run.best, faults) == ("second", 0, None, 0, [])
    status, out, _ = printed(capsys, "runs", runs / "deeper" / "second")
    assert status == 0
    assert "0/2 unfinished" in out
    assert differing([run]) == []


def test_epochs_of_runs_that_stopped_early_or_had_none_to_make(runs: Path) -> None:
    first = runs / "first"
    edit(first / "recipe.toml", "epochs = 2", "epochs = 60")
    assert read_run(first).planned == 2, "as for a head that stores features in one epoch"
    edit(first / "recipe.toml", "early_stop = 0", "early_stop = 1")
    assert read_run(first).planned == 60


def test_settings_are_compared_within_a_task_and_those_that_only_one_has_differ_too(runs: Path) -> None:
    found, _ = find_runs(runs)
    edit(runs / "first" / "recipe.toml", "flip = 0.5", "")
    edit(runs / "first" / "run.json", '"task": "classification"', '"task": "face"')
    assert differing(find_runs(runs)[0]) == []
    edit(runs / "first" / "run.json", '"task": "face"', '"task": "classification"')
    assert differing(found) == ["lr"]
    assert differing(find_runs(runs)[0]) == ["lr", "flip"]


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda run: (run / "run.json").write_text("{"), "second: the run can't be read (JSONDecodeError"),
        (lambda run: (run / "run.json").write_text("[]"), "second: the run can't be read (TypeError"),
        (lambda run: (run / "run.json").write_bytes(b"\xff"), "run.json can't be read ('utf-8' codec"),
        (lambda run: (run / "recipe.toml").unlink(), "recipe.toml can't be read ([Errno 2]"),
        (lambda run: (run / "recipe.toml").write_text("lr ="), "second: the run can't be read (TOMLDecodeError"),
        (lambda run: (run / "metrics.jsonl").write_text('{"epoch": 1}\n'), "second: the run can't be read (KeyError: 'loss')"),
        (lambda run: edit(run / "run.json", '"task": "classification"', '"task": "no-such"'), "unknown task 'no-such'"),
    ],
)
def test_damaged_runs_are_named_and_the_others_listed(
    runs: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, damage: Edit, message: str
) -> None:
    monkeypatch.setenv("COLUMNS", "300")
    damage(runs / "deeper" / "second")
    status, out, _ = printed(capsys, "runs", runs)
    assert status == 1
    assert f"damaged: {runs / 'deeper' / 'second'}" in out
    assert message in out
    assert "\n  first " in out
    content = json.loads(printed(capsys, "runs", runs, "--json")[1])
    assert len(content["damaged"]) == 1
    assert [run["name"] for run in content["runs"]] == ["first"]


def test_what_holds_no_runs(tmp_path: Path, runs: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(InputError, match=r"contains no runs \(folders with a run\.json\); create one with zoo train"):
        find_runs(tmp_path / "runs" / "first" / "model")
    monkeypatch.chdir(tmp_path / "runs" / "first")
    status, out, said = printed(capsys, "runs")
    assert (status, out) == (2, "")
    assert "runs is not a folder; expected a folder that contains runs" in said
    with pytest.raises(UnknownNameError, match=r"unknown score of these runs 'top2'\. Nearest: top"):
        sort_runs(find_runs(runs)[0], "top2")


def test_scores_that_are_not_there_come_last() -> None:
    def run(name: str, score: float | None) -> Any:
        return RunSummary(name, "classification", "b", "d", 1, 1, "finished", 1, "top1", {"top1": score}, score, 1.0, {})

    runs = [run("none", None), run("low", 0.1), run("nan", float("nan")), run("high", 0.9)]
    assert [found.name for found in sort_runs(runs, "top1")] == ["high", "low", "none", "nan"]
    assert [found.name for found in sort_runs(runs, "loss")] == ["low", "high", "none", "nan"]
