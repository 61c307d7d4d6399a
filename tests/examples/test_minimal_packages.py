"""The packages below docs/examples are installed as any third-party package is, and go through every verb."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from tests.forking import Job, run_job
from tests.pictures import write_class_folders

EXAMPLES = Path(__file__).resolve().parents[2] / "docs/examples"
RECIPE = ("--batch-size", "4", "--lr", "0.01", "--workers", "0", "--quiet")


@pytest.fixture(scope="session")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the three packages, installed by pip from copies of their sources."""
    target, sources = tmp_path_factory.mktemp("site"), tmp_path_factory.mktemp("sources")
    for package in ("minimal_task", "minimal_backbone", "minimal_format"):
        copy = sources / package
        copy.mkdir()
        for file in (EXAMPLES / package).iterdir():
            if file.is_file():
                (copy / file.name).write_bytes(file.read_bytes())
        options = ["--quiet", "--disable-pip-version-check", "--no-deps", "--no-build-isolation", "--target", str(target)]
        command = [sys.executable, "-m", "pip", "install", *options, str(copy)]
        subprocess.run(command, check=True, capture_output=True, text=True, timeout=300)
    return target


def zoo(installed: Path, *words: object, status: int = 0) -> str:
    """Run a command with the packages on the path, and return its standard output."""
    done = run_job(Job([*map(str, words)], environment={"PYTHONPATH": str(installed)}))
    assert done.status == status, done.stderr
    return done.stdout if status == 0 else done.stderr


def bars(folder: Path, count: int, seed: int) -> Path:
    """Draw white arrows at random angles, with angles.csv."""
    folder.mkdir()
    rng, lines = np.random.default_rng(seed), ["file,degrees"]
    for number in range(count):
        degrees = float(rng.uniform(0, 360))
        centre, end = (16, 16), (16 + 13 * np.cos(np.radians(degrees)), 16 + 13 * np.sin(np.radians(degrees)))
        image = np.zeros((32, 32, 3), np.uint8)
        cv2.arrowedLine(image, centre, (round(end[0]), round(end[1])), (255, 255, 255), 3, tipLength=0.5)
        cv2.imwrite(str(folder / f"{number}.png"), image)
        lines.append(f"{number}.png,{degrees:.3f}")
    (folder / "angles.csv").write_text("\n".join(lines) + "\n")
    return folder


def test_each_package_is_small() -> None:
    for file in EXAMPLES.glob("minimal_*/*.py"):
        assert len(file.read_text(encoding="utf-8").splitlines()) < 150, file.name


def test_a_task_goes_through_every_verb(installed: Path, tmp_path: Path) -> None:
    train, test, run = bars(tmp_path / "train", 96, 0), bars(tmp_path / "test", 24, 1), tmp_path / "run"
    assert "rotation" in json.loads(zoo(installed, "list", "resnet20", "--json"))["tasks"]
    words = ("--task", "rotation", "--backbone", "resnet20", "--data", f"angles:{train}", "--val", f"angles:{test}")
    zoo(installed, "train", *words, *RECIPE, "--epochs", "12", "--out", run)
    entries = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    assert entries[-1]["loss"] < 0.5 * entries[0]["loss"]
    found = json.loads(zoo(installed, "eval", run, "--data", f"angles:{test}", "--json"))
    assert found["n"] == found["expected"] == 24
    assert found["scores"]["error_deg"] < 60, "random answers are 90 degrees off on average"
    again = json.loads(zoo(installed, "eval", run / "model", "--data", f"angles:{test}", "--json"))
    assert again["scores"] == found["scores"]
    predicted = json.loads(zoo(installed, "predict", run, test, "--out", tmp_path / "drawn", "--json"))["predictions"]
    assert len(predicted) == len(list((tmp_path / "drawn").glob("*.jpg"))) == 24
    truth = dict(line.split(",") for line in (test / "angles.csv").read_text().splitlines()[1:])
    errors = [abs((p["degrees"] - float(truth[Path(p["key"]).name]) + 180) % 360 - 180) for p in predicted]
    assert np.mean(errors) == pytest.approx(found["scores"]["error_deg"], abs=0.1)


SAVED = """
import sys, torch, zoo
torch.manual_seed(0)
model = zoo.build("resnet20", task="rotation")
images = torch.rand(2, 3, 32, 32)
zoo.save(model, sys.argv[1])
assert torch.equal(zoo.load(sys.argv[1])(images), model(images))
print(model.task, tuple(model(images).shape), sorted(model(images, torch.tensor([10.0, 350.0]))))
for call in (lambda: zoo.evaluate([model, model], "angles:x"), lambda: zoo.compile(model, "eager")):
    try:
        call()
    except zoo.ZooError as error:
        print(error)
"""


def test_a_task_is_built_saved_and_loaded_and_says_what_it_lacks(installed: Path, tmp_path: Path) -> None:
    done = run_job(Job([str(tmp_path / "model")], SAVED, environment={"PYTHONPATH": str(installed)}))
    assert done.status == 0, done.stderr
    first, combined, compiled = done.stdout.splitlines()
    assert first == "rotation (2, 2) ['loss_angle']"
    assert "rotation" in combined
    assert "combine" in combined
    assert "data=" in compiled


def test_faults_in_a_task_s_own_format_are_listed(installed: Path, tmp_path: Path) -> None:
    folder = bars(tmp_path / "bars", 4, 0)
    with (folder / "angles.csv").open("a") as file:
        file.write("4.png,steep\n")
    words = ("eval", "--task", "rotation", "--backbone", "resnet20", "--data", f"angles:{folder}")
    assert "line 6" in zoo(installed, *words, status=2)
    assert json.loads(zoo(installed, *words, "--skip-bad", "--json"))["n"] == 4


@pytest.mark.parametrize(("task", "data"), [("classification", "demo:digits?limit=24"), ("detection", "demo:scenes?limit=4")])
def test_a_backbone_serves_the_zoo_s_tasks(installed: Path, tmp_path: Path, task: str, data: str) -> None:
    assert zoo(installed, "list", "plain*").split() == ["plain_net"]
    run, size = tmp_path / "run", ("--image-size", "64", *(("--max-image-size", "96") if task == "detection" else ()))
    words = ("--task", task, "--backbone", "plain_net", "--data", data)
    zoo(installed, "train", *words, *RECIPE, *size, "--epochs", "1", "--min-samples", "1", "--out", run)
    found: dict[str, Any] = json.loads(zoo(installed, "eval", run, "--data", data, "--json"))
    assert found["n"] == int(data.partition("limit=")[2])


def test_a_format_is_opened_by_every_command(installed: Path, tmp_path: Path) -> None:
    folder = tmp_path / "flat"
    folder.mkdir()
    for file in write_class_folders(tmp_path / "classes").rglob("*.png"):
        file.rename(folder / f"{file.parent.name}_{file.name}")
    assert "names:" in zoo(installed, "data", "check", f"names:{folder}", status=1), "plain colours are near-duplicates"
    run = tmp_path / "run"
    zoo(installed, "train", "--backbone", "resnet20", "--data", f"names:{folder}", *RECIPE, "--epochs", "1", "--out", run)
    assert json.loads((run / "model" / "model.json").read_text())["classes"] == ["blue", "green", "red"]
    (folder / "nameless.png").write_bytes(next(folder.glob("red*")).read_bytes())
    assert "nameless.png" in zoo(installed, "eval", run, "--data", f"names:{folder}", status=2)
