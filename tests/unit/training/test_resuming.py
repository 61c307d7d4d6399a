"""Which changes allow a run to be resumed: another location of the data does; longer training doesn't, and the message says what to do."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import zoo
from tests.pictures import write_class_folders
from tests.small_training import RECIPE, StopAt, fresh, same
from tests.unit.data.test_reader_mutations import CASES
from zoo.data.fingerprint import manifest_fingerprint
from zoo.errors import InputError
from zoo.models.archive import load
from zoo.system.progress import Progress
from zoo.system.signals import Interrupted
from zoo.training.checkpoints import METRICS, RUN, RunFolder
from zoo.training.train import train

DESCRIPTION = {"data": "folder:old", "manifest": "1", "val": "csv:a", "val_manifest": "2", "model": {"weights": "a/w.pth"}, "threads": 3}


def reopened(out: Path, recipe: Any = RECIPE, **changes: Any) -> list[str]:
    """Start a run with `DESCRIPTION`, resume it with `changes`, and return what is reported."""
    said: list[str] = []
    with RunFolder(out) as folder:
        folder.open(DESCRIPTION, RECIPE, False, 0)
        (out / METRICS).write_text("")
    with RunFolder(out) as folder:
        folder.open({**DESCRIPTION, **changes}, recipe, True, 0, said.append)
    return said


class Listener(Progress):
    def __init__(self) -> None:
        super().__init__(enabled=False)
        self.said: list[str] = []

    def say(self, text: str) -> None:
        self.said.append(text)


@pytest.mark.usefixtures("one_thread")
def test_a_run_continues_after_its_data_and_its_folder_were_moved(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_class_folders(tmp_path / "old")
    monkeypatch.chdir(tmp_path)
    whole = train(fresh(), "folder:old", "folder:old", RECIPE, tmp_path / "whole").folder
    with pytest.raises(Interrupted):
        train(fresh(), "folder:old", "folder:old", RECIPE, tmp_path / "run", progress=StopAt(1))
    Path("old").rename("new")
    Path("run").rename("moved")
    listener = Listener()
    train(fresh(), f"folder:{tmp_path}/new", "folder:new/", RECIPE, "moved", resume=True, progress=listener)
    assert [text for text in listener.said if "folder:old" in text] == [
        f"data: folder:old in the run is folder:{tmp_path}/new now; the samples are the same, so training continues",
        "val: folder:old in the run is folder:new/ now; the samples are the same, so training continues",
    ]
    assert same(load(tmp_path / "moved").state_dict(), load(whole).state_dict())


def test_another_place_is_reported_once_and_stored(tmp_path: Path) -> None:
    assert reopened(tmp_path / "a", data="folder:new") == [
        "data: folder:old in the run is folder:new now; the samples are the same, so training continues"
    ]
    assert json.loads((tmp_path / "a" / RUN).read_text()) == {**DESCRIPTION, "data": "folder:new"}
    assert reopened(tmp_path / "b", val="csv:./a") == [
        "val: csv:a in the run is csv:./a now; the samples are the same, so training continues"
    ]
    assert reopened(tmp_path / "c", model={"weights": "/elsewhere/w.pth"}, threads=2) == []
    for changes, message in (
        ({"data": "folder:new", "manifest": "9"}, "data was folder:old, is folder:new; manifest was 1, is 9"),
        ({"model": {"weights": "a/other.pth"}}, "model: weights was a/w.pth, is a/other.pth"),
        ({"val": None, "val_manifest": None}, "val was csv:a, is not set; val_manifest was 2, is not set"),
    ):
        with pytest.raises(InputError, match=f"{message}. Use the original"):
            reopened(tmp_path / message[:9], **changes)


def test_more_epochs_name_the_way_on(tmp_path: Path) -> None:
    longer = replace(RECIPE, epochs=(RECIPE.epochs or 0) + 3)
    way = rf"start a new run from its model: --weights {tmp_path}/\w+/model --epochs 3 and another --out, without --resume"
    with pytest.raises(InputError, match=rf"epochs was {RECIPE.epochs}, .*Let this run finish its {RECIPE.epochs} epochs first.*{way}"):
        reopened(tmp_path / "half", longer)
    (tmp_path / "whole" / "model").mkdir(parents=True)
    (tmp_path / "whole" / "run.json").write_text(json.dumps(DESCRIPTION))
    (tmp_path / "whole" / "model" / "model.json").touch()
    with RunFolder(tmp_path / "other") as folder:
        folder.open(DESCRIPTION, RECIPE, False, 0)
    shutil.copy(tmp_path / "other" / "recipe.toml", tmp_path / "whole")
    with (
        pytest.raises(InputError, match=f"This run is finished after {RECIPE.epochs} epochs, .*{way}"),
        RunFolder(tmp_path / "whole") as it,
    ):
        it.open(DESCRIPTION, longer, True, 0)
    with pytest.raises(InputError) as caught:
        reopened(tmp_path / "less", replace(RECIPE, epochs=1))
    assert "To train longer" not in str(caught.value)


@pytest.mark.parametrize("case", [name for name in CASES if not name.startswith("saved")])
def test_the_fingerprint_of_every_format_is_that_of_the_data_not_of_its_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, case: str
) -> None:
    def fingerprint(data: str) -> str:
        return manifest_fingerprint(zoo.open_data(data, CASES[case].task))

    (tmp_path / "old").mkdir()
    data, _ = CASES[case].write(tmp_path / "old")
    before = fingerprint(data)
    monkeypatch.chdir(tmp_path)
    assert fingerprint(data.replace(f"{tmp_path}/", "")) == fingerprint(data.replace(f"{tmp_path}/", "./")) == before
    Path("old").rename("new")
    assert fingerprint(data.replace(f"{tmp_path}/old", "new")) == before
