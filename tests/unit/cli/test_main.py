"""Every user error ends with its exit status and one message with a remedy; --json prints only one object."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.pictures import COLOURS, cut_short, write_class_folders
from zoo.cli.main import main
from zoo.models.archive import save
from zoo.models.builder import build
from zoo.models.model import Model

pytestmark = pytest.mark.usefixtures("one_thread")

TRAIN = ["--backbone", "test_resnet", "--image-size", "32", "--epochs", "1", "--batch-size", "4", "--workers", "0", "--precision", "fp32"]


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_class_folders(tmp_path_factory.mktemp("pictures"), per_class=4)


@pytest.fixture(scope="module")
def model_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(0)
    model: Model = build("test_resnet", classes=sorted(COLOURS), image_size=32)
    return save(model, tmp_path_factory.mktemp("saved") / "m")


@pytest.fixture
def zoo(capsys: pytest.CaptureFixture[str]) -> Any:
    """Run a command and return its exit status, standard output and standard error."""

    def run(*words: object) -> tuple[int, str, str]:
        try:
            status = main([str(word) for word in words])
        except SystemExit as ended:  # raised by tyro
            status = int(ended.code or 0)
        captured = capsys.readouterr()
        return status, captured.out, captured.err

    return run


def refused(result: tuple[int, str, str], *parts: object) -> None:
    status, out, said = result
    assert status == 2, said
    assert out == ""
    assert "Traceback" not in said
    for part in parts:
        assert str(part) in " ".join(said.split()), said


# -- mistakes ----------------------------------------------------------------------------------------------------------


def test_unknown_commands(zoo: Any) -> None:
    refused(zoo("evaluate"), "zoo: unknown command 'evaluate'; expected one of: train, eval, compare, predict")
    assert zoo()[0] == 2


@pytest.mark.parametrize(
    ("words", "parts"),
    [
        ("eval --backbone resnet5O --data demo:digits", ["unknown backbone 'resnet5O'. Nearest:", "resnet50"]),
        ("eval --task detektion --data demo:digits", ["unknown task 'detektion'. Nearest: detection"]),
        ("eval --task=detektion --data demo:digits", ["unknown task 'detektion'"]),
        ("eval --backbone resnet20 --data demos:digits", ["unknown data format of classification 'demos'. Nearest: demo"]),
        ("eval --backbone resnet20 --data demo:digits?splitt=test", ["unknown option of demo: 'splitt'. Nearest: split"]),
        ("eval --backbone resnet20 --data folder:no/where", ["the folder no/where does not exist. Check the path"]),
        ("eval --backbone resnet20 --data no/where", ["no/where does not exist"]),
        ("eval --data demo:digits", ["no model: pass the folder of a run or model, or --backbone"]),
        ("eval no/where --data demo:digits", ["no/where contains no saved model (no model.json there"]),
        ("eval --backbone resnet20 --weights no.pth --data demo:digits", ["weights no.pth: the file does not exist"]),
        ("eval --backbone resnet20 --weights defaults --data demo:digits", ["unknown weights for resnet20"]),
        ("eval --backbone resnet20 --classes 0,1 --data demo:digits --device tpu", ["of its 10 classes are unknown to the model"]),
        ("eval --backbone resnet20 --data demo:digits --precision fp8", ["--precision", "fp8"]),
        ("eval --backbone resnet20 --data demo:digits --bacth-size 3", ["--bacth-size"]),
        ("eval --backbone resnet20 --data demo:digits --batch-size many", ["--batch-size", "many"]),
        ("eval --backbone resnet20 --num-classes 10 --data demo:digits", ["--num-classes"]),
        ("eval --backbone resnet20", ["--data"]),
        ("train --data demo:digits", ["no backbone given; pass --backbone"]),
        ("train --backbone resnet20 --data demo:digits --recipe no.toml", ["recipe no.toml can't be read as TOML"]),
        ("train --backbone resnet20 --data demo:digits --optimizer adamv", ["unknown optimizer 'adamv'. Nearest:", "adamw"]),
        ("train --backbone resnet20 --data demo:digits --lr -1", ["lr is -1"]),
        ("train --backbone resnet20 --data demo:digits --batch-size 1", ["batch_size is 1; expected 2 or more"]),
        ("train --backbone resnet20 --data demo:digits --freeze half", ["freeze is 'half'"]),
        ("predict --backbone resnet20", ["no sources given; usage: zoo predict MODEL SOURCE"]),
        ("predict no/where photo.jpg", ["no/where contains no saved model"]),
        ("list zzz*", ["no backbone matches 'zzz*'"]),
        ("info resnet5O", ["unknown backbone, task or saved model 'resnet5O'"]),
        ("bench no-such-suite", ["no-such-suite"]),
    ],
)
def test_wrong_words(zoo: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: str, parts: list[str]) -> None:
    monkeypatch.chdir(tmp_path)
    refused(zoo(*words.split(), *(["--workers", "0"] if words.startswith("eval") else [])), *parts)
    assert os.listdir(tmp_path) == []


def test_wrong_folders(zoo: Any, tmp_path: Path, pictures: Path, model_folder: Path) -> None:
    refused(zoo("eval", pictures, "--data", f"folder:{pictures}"), pictures, "contains no saved model")
    refused(zoo("eval", model_folder, "--data", model_folder / "model.json"), "no data format of the task classification was recognised in")
    refused(
        zoo("eval", model_folder, "--backbone", "resnet20", "--data", pictures),
        "the saved model",
        "and --backbone resnet20 can't be combined; pass only one of them",
    )
    refused(zoo("eval", "--backbone", "resnet20", "--weights", pictures, "--data", pictures), pictures, "contains no saved model")
    refused(zoo("predict", model_folder), "no sources given; usage: zoo predict MODEL SOURCE")
    refused(zoo("predict", model_folder, tmp_path), "contains no images")
    refused(zoo("predict", model_folder, "no.jpg"), "no.jpg does not exist")
    refused(zoo("info", pictures), "contains no saved model", "not the name of a backbone or task")


def test_a_damaged_description(zoo: Any, tmp_path: Path, model_folder: Path, pictures: Path) -> None:
    for name in ("model.json", "weights.safetensors"):
        (tmp_path / name).write_bytes((model_folder / name).read_bytes())
    cut_short(tmp_path / "model.json")
    refused(zoo("eval", tmp_path, "--data", pictures), "model.json is not a valid model description")
    assert zoo("eval", tmp_path, "--help")[1].startswith("usage: zoo eval"), "the help is shown for any model"
    (tmp_path / "model.json").write_bytes((model_folder / "model.json").read_bytes())
    cut_short(tmp_path / "weights.safetensors")
    refused(zoo("eval", tmp_path, "--data", pictures), "weights.safetensors: the file is not a readable safetensors file")


def test_weights_that_do_not_fit(zoo: Any, model_folder: Path, pictures: Path) -> None:
    result = zoo("eval", "--backbone", "resnet10t", "--weights", model_folder / "weights.safetensors", "--data", pictures)
    refused(result, "weights.safetensors for the backbone resnet10t do not match", "keys", "Are these weights for a different backbone?")


def test_a_class_folder_without_pictures(zoo: Any, tmp_path: Path, model_folder: Path) -> None:
    write_class_folders(tmp_path, per_class=1)
    (tmp_path / "red" / "0.png").unlink()
    refused(
        zoo("eval", model_folder, "--data", f"folder:{tmp_path}"), tmp_path / "red", "the class folder contains no images", "--skip-bad"
    )


@pytest.mark.parametrize("workers", [0, 1])
def test_a_truncated_picture(zoo: Any, tmp_path: Path, model_folder: Path, workers: int) -> None:
    data = write_class_folders(tmp_path / "data", per_class=2, suffix=".jpg")
    bad = cut_short(data / "green" / "1.jpg")
    refused(zoo("eval", model_folder, "--data", f"folder:{data}", "--workers", workers), bad)
    refused(zoo("predict", model_folder, data, "--out", tmp_path / "out"), bad)
    refused(zoo("train", *TRAIN, "--data", f"folder:{data}", "--out", tmp_path / "run", "--workers", workers), bad)
    assert not (tmp_path / "out").exists()
    assert not (tmp_path / "run" / "model").exists()
    status, out, _ = zoo("eval", model_folder, "--data", f"folder:{data}", "--skip-bad", "--json", "--workers", workers)
    content = json.loads(out)
    assert status == 0
    assert (content["n"], content["expected"]) == (5, 6)
    assert [fault["key"] for fault in content["skipped"]] == ["green/1.jpg"]


def test_a_place_that_may_not_be_written(zoo: Any, tmp_path: Path, model_folder: Path, pictures: Path) -> None:
    (tmp_path / "file").write_text("")
    refused(zoo("predict", model_folder, pictures, "--out", tmp_path / "file" / "out"), tmp_path / "file")
    refused(zoo("train", *TRAIN, "--data", f"folder:{pictures}", "--out", tmp_path / "file" / "run"), tmp_path / "file")
    refused(zoo("predict", model_folder, pictures, "--out", pictures), "contains no predictions.jsonl")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_file_that_may_not_be_read(zoo: Any, tmp_path: Path, pictures: Path) -> None:
    (tmp_path / "w.pth").write_bytes(b"x")
    (tmp_path / "w.pth").chmod(0)
    refused(zoo("eval", "--backbone", "resnet20", "--weights", tmp_path / "w.pth", "--data", pictures), "w.pth")


def test_a_system_error_is_no_traceback(zoo: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*arguments: object, **options: object) -> object:
        raise OSError(28, "No space left on device", "/there/file")

    monkeypatch.setattr("zoo.models.info.info", full)
    refused(zoo("info", "resnet20"), "No space left on device: '/there/file'. Check the path, its permissions and the free disk space")


def test_ctrl_c_and_a_reader_that_has_gone(zoo: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*arguments: object) -> object:
        raise KeyboardInterrupt

    monkeypatch.setattr("zoo.models.info.info", interrupted)
    assert zoo("info", "resnet20") == (130, "", "zoo: interrupted\n")


# -- what works --------------------------------------------------------------------------------------------------------


def test_help_and_version(zoo: Any) -> None:
    status, out, said = zoo("--help")
    assert (status, said) == (0, "")
    assert "usage: zoo COMMAND" in out
    assert zoo("--version")[1].startswith("zoo ")
    status, out, _ = zoo("train", "--task", "face", "--help")
    assert status == 0
    assert "--embedding-size" in out
    assert "--embedding-size" not in zoo("train", "--help")[1]


def test_the_words_of_a_command_in_json(zoo: Any, tmp_path: Path, pictures: Path) -> None:
    """Train, eval, predict, info and list each print one JSON object, and nothing else, to standard output."""
    run = tmp_path / "run"
    data = f"folder:{pictures}"
    status, out, said = zoo("train", *TRAIN, "--data", data, "--val", data, "--out", run, "--json")
    assert status == 0, said
    content = json.loads(out)
    assert content["model"] == str(run / "model")
    assert {"top1", "top5", "precision", "recall", "f1"} <= set(content["scores"])
    assert "epoch 1/1" in said

    for words in (("eval", run, "--data", data), ("eval", "--data", pictures, run), ("eval", run / "model", "--data", data)):
        status, out, _ = zoo(*words, "--json")
        evaluated = json.loads(out)
        assert status == 0
        assert evaluated["n"] == evaluated["expected"] == 12
        assert evaluated["scores"] == content["scores"]

    status, out, said = zoo("predict", run, pictures, "--out", tmp_path / "out", "--json")
    predicted = json.loads(out)
    assert status == 0
    assert len(predicted["predictions"]) == 12
    assert predicted["skipped"] == []
    assert len(list((tmp_path / "out").glob("*.jpg"))) == 12

    for verb, name in (("info", run), ("info", "resnet20"), ("info", "classification"), ("list", "resnet2?")):
        status, out, said = zoo(verb, name, "--json")
        assert (status, said) == (0, "")
        assert isinstance(json.loads(out), dict)


def test_the_same_words_for_people(zoo: Any, model_folder: Path, pictures: Path) -> None:
    status, out, said = zoo("eval", model_folder, "--data", f"folder:{pictures}", "--quiet")
    assert (status, said) == (0, "")
    assert "top1" in out
    assert "12 of 12 images scored" in out
    status, out, _ = zoo("predict", model_folder, pictures / "red", "--quiet")
    assert [json.loads(line)["key"] for line in out.splitlines()] == [str(pictures / "red" / f"{index}.png") for index in range(4)]
    status, out, _ = zoo("list", "resnet5[06]")
    assert out.split() == ["resnet50", "resnet56"]
    status, out, _ = zoo("info", "resnet20")
    assert "0.27 M" in out
    assert zoo("info", model_folder)[0] == 0


def test_names_in_brackets_are_printed_as_they_stand(zoo: Any, tmp_path: Path) -> None:
    folder = save(build("test_resnet", classes=["[/b]", "[red]x"], image_size=32), tmp_path / "m")
    for name in ("[red]x", "[b]"):
        write_class_folders(tmp_path / "pictures" / name, 1)
    status, out, said = zoo("eval", folder, "--data", f"folder:{tmp_path / 'pictures'}?classes=[red]x", "--quiet")
    assert status == 0, said
    assert "[red]x" in out
    assert "[/b]" in zoo("info", folder)[1]


def test_the_same_command_gives_the_same_model(zoo: Any, tmp_path: Path, pictures: Path) -> None:
    for name in ("one", "two"):
        assert zoo("train", *TRAIN, "--data", f"folder:{pictures}", "--out", tmp_path / name, "--quiet")[0] == 0
    first, second = ((tmp_path / name / "model" / "weights.safetensors").read_bytes() for name in ("one", "two"))
    assert first == second
    refused(zoo("train", *TRAIN, "--data", f"folder:{pictures}", "--out", tmp_path / "one"), "already contains a run", "--resume")


def test_a_run_that_failed_on_a_picture_gives_way_to_one_without_it(zoo: Any, tmp_path: Path) -> None:
    data = write_class_folders(tmp_path / "data", per_class=4, suffix=".jpg")
    bad = [cut_short(data / "green" / f"{number}.jpg") for number in (1, 2)]
    words = ("train", *TRAIN, "--data", f"folder:{data}", "--out", tmp_path / "run", "--quiet")
    for _ in range(2):
        refused(zoo(*words), "is cut short", "To skip all such images and list them, pass --skip-bad.")
    assert (tmp_path / "run" / "run.json").is_file()
    status, out, said = zoo(*words, "--skip-bad", "--json")
    assert status == 0, said
    assert sorted(fault["key"] for fault in json.loads(out)["skipped"]) == [path.relative_to(data).as_posix() for path in bad]
    shutil.rmtree(tmp_path / "run" / "checkpoints")
    refused(zoo(*words, "--skip-bad"), "already contains a run")  # the run is finished, and its checkpoints are no longer needed


def test_flags_go_before_the_recipe_file(zoo: Any, tmp_path: Path, pictures: Path) -> None:
    (tmp_path / "mine.toml").write_text("epochs = 3\nlr = 0.002\nweight_decay = 0.01\n")
    words = ("train", *TRAIN, "--lr", "0.004", "--recipe", tmp_path / "mine.toml", "--data", f"folder:{pictures}")
    assert zoo(*words, "--out", tmp_path / "run", "--quiet")[0] == 0
    written = (tmp_path / "run" / "recipe.toml").read_text().splitlines()
    assert {"epochs = 1", "lr = 0.004", "weight_decay = 0.01"} <= set(written)


def test_of_a_flag_that_is_given_twice_the_last_counts(zoo: Any, tmp_path: Path, pictures: Path) -> None:
    (tmp_path / "mine.toml").write_text("weight_decay = 0.01\n")
    words = ("train", *TRAIN, "--recipe", "standard", f"--recipe={tmp_path / 'mine.toml'}", "--data", f"folder:{pictures}")
    assert zoo(*words, "--out", tmp_path / "run", "--quiet")[0] == 0
    assert "weight_decay = 0.01" in (tmp_path / "run" / "recipe.toml").read_text().splitlines()


LIGHT = """
import sys
from zoo.cli.main import main
assert main(sys.argv[1:]) == 0
heavy = {"torch", "torchvision", "timm", "numpy", "cv2", "rich", "tyro", "accelerate", "sklearn"} & set(sys.modules)
assert not heavy, heavy
"""


@pytest.mark.parametrize("words", [["--help"], ["--version"]])
def test_help_needs_nothing_heavy(words: list[str]) -> None:
    done = subprocess.run([sys.executable, "-c", LIGHT, *words], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_import_zoo_needs_nothing_heavy() -> None:
    program = "import sys, zoo\nassert 'Model' in dir(zoo)\nassert not {'torch', 'numpy', 'timm', 'rich'} & set(sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0
    import zoo

    with pytest.raises(AttributeError, match="module 'zoo' has no attribute 'trian'"):
        _ = zoo.trian


@pytest.mark.parametrize("reason", ["", "Connection reset by peer"])
@pytest.mark.parametrize("loader", [True, False])
def test_only_connections_to_loader_processes_are_those_of_a_killed_one(
    zoo: Any, monkeypatch: pytest.MonkeyPatch, reason: str, loader: bool
) -> None:
    source = f"def fetch(*words):\n    raise ConnectionResetError({reason!r})"
    module = {"__name__": "torch.utils.data.dataloader" if loader else "urllib.request"}
    exec(source, module)
    monkeypatch.setattr("zoo.cli.info.run", module["fetch"])
    status, _, said = zoo("info", "resnet20")
    if loader:
        assert (
            status,
            f"a data loader process was killed, probably because memory ran out ({reason or 'ConnectionResetError'})" in said,
        ) == (1, True)
    else:
        assert (status, said) == (2, f"zoo: {reason}. Check the network connection\n")
