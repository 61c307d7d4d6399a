"""The report of a training run: its contents for every task and outcome."""

from __future__ import annotations

import json
import re
from dataclasses import fields, replace
from html import unescape
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tests.listening import Listening
from tests.pictures import COLOURS, picture
from tests.small_training import RECIPE, StopAt, coloured, fresh
from tests.unit.report.test_report import shown
from zoo.data.dataset import Dataset, Record
from zoo.errors import Fault
from zoo.models.builder import build
from zoo.report.examples import answered
from zoo.system.signals import Interrupted
from zoo.task.contract import get_task
from zoo.task.recipe import replace_settings
from zoo.training.checkpoints import CHECKPOINT
from zoo.training.history import best_epoch, curves
from zoo.training.report import Trained, html
from zoo.training.train import train

pytestmark = pytest.mark.usefixtures("one_thread")


def titles(page: str) -> list[str]:
    return re.findall(r"<h2>(.*?)</h2>", page)


def facts(page: str) -> dict[str, str]:
    return dict(re.findall(r"<div><dt>(.*?)</dt><dd>(.*?)</dd></div>", page))


def cells(page: str, name: str) -> tuple[str, str]:
    """Return the value and the note of a setting."""
    (found,) = re.findall(rf'<td><span title="[^"]+">{name}</span></td><td>(.*?)(?:<br><small>(.*?)</small>)?</td>', page)
    return unescape(found[0]), unescape(found[1])


def test_a_whole_run(tmp_path: Path) -> None:
    listening = Listening()
    run = train(fresh(), coloured(), coloured(6), replace(RECIPE, lr=3e-3), tmp_path / "my run", progress=listening)
    page = (run.folder / "report.html").read_text(encoding="utf-8")
    assert f"report: {run.folder / 'report.html'}" in listening.lines
    assert run.scores is not None
    expected = ["Learning", "Sample predictions", "Scores", "Confusion matrix", "Curves", "Worst mistakes", "Per class", "Details"]
    expected = [title for title in expected if title != "Worst mistakes" or run.scores.mistakes]
    assert titles(page) == [*expected, "Provenance", "Recipe", "Data"]
    assert f'<div class="big">{run.scores["top1"]:.4f}</div>' in page
    assert "<h1>my run</h1>" in page
    known = facts(page)
    assert known["epochs"] == "2 of 2"
    assert known["best epoch"] == str(best_epoch(run.history, "top1")["epoch"])  # type: ignore[index]
    assert known["steps"] == "6"
    assert known["last loss"] == f"{run.history[-1]['loss']:.4f}"
    assert known["model"] == "test_resnet"
    assert "6 samples of the validation data." in page
    assert len(shown(page)) == 6 + len(run.scores.mistakes)
    assert page.count('<li class="right">') == round(run.scores["top1"] * 6)
    assert "95 % interval" not in page, "no confidence intervals were computed"
    # settings that differ from the defaults are marked and show the default
    assert cells(page, "lr") == ("<mark>0.003</mark>", "default: 0.001")
    assert cells(page, "epochs") == ("<mark>2</mark>", "default: automatic")
    assert cells(page, "clip_grad") == ("0.0", "")
    assert f"6 of {len(fields(RECIPE))} settings differ from the task's defaults" in unescape(page)
    assert page.count("<td>coloured</td>") == 3, "training data, validation data, and provenance of the scores"
    assert re.search(r"<tr><td>blue</td><td class=\"n\">4</td><td class=\"n\">2</td></tr>", page)
    assert "http" not in page.replace("http-equiv", "")
    assert len(page.encode()) < 5_000_000


def test_without_validation_the_training_data_is_shown_and_said(tmp_path: Path) -> None:
    run = train(fresh(), coloured(), None, replace(RECIPE, epochs=1), tmp_path / "run")
    page = (run.folder / "report.html").read_text(encoding="utf-8")
    assert titles(page) == ["Learning", "Sample predictions", "Recipe", "Data"]
    assert "12 samples of the training data, because there is no validation data." in page
    assert f'<div class="big">{run.history[-1]["loss"]:.4f}</div>' in page
    assert "last epoch; no validation data" in page
    assert "on the validation data</h3>" not in page
    assert "best epoch" not in page
    assert len(shown(page)) == 12


def test_a_resumed_run_tells_of_all_its_epochs(tmp_path: Path) -> None:
    with pytest.raises(Interrupted):
        train(fresh(), coloured(), coloured(6), RECIPE, tmp_path / "run", progress=StopAt(4))
    assert not (tmp_path / "run" / "report.html").exists()
    before = torch.load(tmp_path / "run" / CHECKPOINT, weights_only=True)["seconds"]
    run = train(fresh(), coloured(), coloured(6), RECIPE, tmp_path / "run", resume=True)
    page = (tmp_path / "run" / "report.html").read_text(encoding="utf-8")
    assert facts(page)["epochs"] == "2 of 2"
    assert page.count("<circle") >= 2
    assert run.model.metadata["training"]["seconds"] > before > 0, "the time before the interruption counts"
    (tmp_path / "run" / "report.html").unlink()
    train(fresh(), coloured(), coloured(6), RECIPE, tmp_path / "run", resume=True)  # training has already finished
    assert titles((tmp_path / "run" / "report.html").read_text(encoding="utf-8")) == titles(page)


def test_a_report_that_fails_loses_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("zoo.training.report.write_text", full)
    listening = Listening()
    run = train(fresh(), coloured(), None, replace(RECIPE, epochs=1), tmp_path / "run", progress=listening)
    assert (run.folder / "model" / "model.json").is_file()
    assert not (run.folder / "report.html").exists()
    assert listening.lines[-1] == (
        "the report could not be written (OSError: [Errno 28] No space left on device); the run itself is complete"
    )


def made(task: str, history: list[dict[str, Any]], **changes: Any) -> Trained:
    """Return a run of an untrained model."""
    sizes: dict[str, Any] = {"classification": {"image_size": 32}, "face": {"image_size": 32, "embedding_size": 8}}
    options = sizes.get(task, {"image_size": 64, "max_image_size": 64})
    model = build("test_resnet" if task != "detection" else "resnet20", task, classes=sorted(COLOURS), **options)
    recipe = replace_settings(get_task(task).data.recipe(), {"epochs": 3}, "here")
    whole = Trained(model, coloured(), None, history, None, recipe, recipe, (), 61.4)
    return replace(whole, **changes)


def line(epoch: int, **more: Any) -> dict[str, Any]:
    curve = {"batch": [4 * epoch - 2, 4 * epoch], "loss": [2.0, 1.0]}
    return {"epoch": epoch, "step": 4 * epoch, "lr": 0.1, "loss": 1.5, "losses": {"loss": 1.5}, "curve": curve, **more}


def test_what_went_wrong_stands_at_the_top() -> None:
    faults = (Fault("<b>.png", "is cut short", whole=True),)
    run = made("classification", [line(1, not_finite=2), line(2, not_finite=1)], skipped=faults)
    page = html("run", replace(run, recipe=replace(run.recipe, early_stop=1)))
    assert "Training stopped early, after 2 of 3 epochs" in page
    assert "3 batches were skipped because their loss was not finite." in page
    assert "1 samples or annotations with errors were skipped" in page
    assert "<li>&lt;b&gt;.png: is cut short</li>" in page
    assert 'class="warning"' not in html("run", made("classification", [line(1), line(2), line(3)]))


def test_a_head_that_remembers_has_no_epochs_to_tell_of() -> None:
    page = html("run", made("classification", [{**line(1), "step": 0, "loss": 0.0, "curve": {"batch": [], "loss": []}}]))
    assert "epochs" not in facts(page)
    assert 'class="warning"' not in page


def test_settings_that_the_data_settled() -> None:
    run = made("classification", [line(1)])
    chosen = replace_settings(run.chosen, {"epochs": None, "batch_size": 64, "seed": 3}, "here")
    page = html("run", replace(run, chosen=chosen, recipe=replace_settings(chosen, {"epochs": 7, "batch_size": 12}, "here")))
    assert cells(page, "epochs") == ("7", "adapted to the dataset; requested: automatic")
    assert cells(page, "batch_size") == ("<mark>12</mark>", "default: 32; adapted to the dataset; requested: 64")
    assert cells(page, "seed") == ("<mark>3</mark>", "default: 0")
    assert f"2 of {len(fields(chosen))} settings differ" in page


def test_detection_and_faces_have_samples_too() -> None:
    target = {"boxes": np.array([[4, 4, 20, 20]], np.float32), "labels": np.array([1])}
    scenes = Dataset("scenes", tuple(Record(f"s{n}", picture((200, 0, 0), n), target) for n in range(3)), tuple(sorted(COLOURS)))
    page = html("run", made("detection", [line(1, losses={"a": 1.0, "b": 0.5})], dataset=scenes))
    assert len(shown(page)) == 3
    assert page.count("<dd>green × 1</dd>") == 3
    assert "true</li>" in page
    assert "<h3>Loss components</h3>" in page
    page = html("run", made("face", [line(1)]))
    assert len(shown(page)) == 2 * page.count('<li class="right">') + 2 * page.count('<li class="wrong">') == 24
    assert '<ol class="examples large">' in page
    unknown = Dataset("unknown", (Record("a", picture((0, 0, 0)), None),))
    page = html("run", made("face", [line(1)], validation=unknown))
    assert "No sample could be read." in page


def test_samples_that_can_not_be_read_are_left_out(tmp_path: Path) -> None:
    (tmp_path / "broken.png").write_bytes(b"no picture")
    run = made("classification", [line(1)])
    several = Dataset("d", (Record("broken", tmp_path / "broken.png", 0), Record("whole", picture((0, 0, 200)), 0)), run.dataset.classes)
    (example,) = answered(run.model, get_task("classification"), several)
    assert example.keys == ("whole",)
    none = replace(several, records=several.records[:1])
    assert answered(run.model, get_task("classification"), none) == []


def test_curves_are_counted_in_epochs() -> None:
    history = [line(1, val={"top1": 0.5, "auc": None, "n": 7}), line(2, curve={"batch": [], "loss": []}), line(3, val={"top1": 0.75})]
    history[2]["curve"] = {"batch": [5, 6, 8], "loss": [3.0, 2.0, 1.0]}
    loss, score, rate = curves(history, "top1")
    assert loss.lines["within epochs"] == ([0.5, 1.0, 2.25, 2.5, 3.0], [2.0, 1.0, 3.0, 2.0, 1.0])
    assert loss.lines["mean of the epoch"] == ([1, 2, 3], [1.5, 1.5, 1.5])
    assert score.lines == {"top1": ([1, 3], [0.5, 0.75])}
    assert rate.lines["learning rate"] == ([1, 2, 3], [0.1, 0.1, 0.1])
    assert best_epoch(history, "top1") == history[2]
    equal = [history[0], {**history[2], "val": {"top1": 0.5}}]
    assert best_epoch(equal, "top1") == equal[1], "the last of equals"
    assert best_epoch(history, "auc") is None
    more = [*curves([line(1, val={"top1": 0.5, "auc": 0.25, "seconds": 12.0})], "top1")]
    assert more[2].lines == {"auc": ([1], [0.25])}, "scores outside 0 to 1 would flatten the others"


def test_numbers_that_are_none_do_no_harm() -> None:
    history = [json.loads(json.dumps({**line(1), "loss": float("nan"), "curve": {"batch": [2, 4], "loss": [float("nan"), 1.0]}}))]
    page = html("run", made("classification", history))
    assert '<div class="big">–</div>' in page
    assert "nan" not in re.findall(r'points="([^"]*)"', page)[0]
    assert facts(html("run", made("classification", [])))["epochs"] == "0 of 3"
