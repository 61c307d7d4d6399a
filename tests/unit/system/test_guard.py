"""Scripts that start worker processes without a main guard: one message that names the line and the guard."""

from __future__ import annotations

import multiprocessing
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

import zoo
from tests.pictures import picture, write_picture
from zoo.curation.check.pictures import look_at_all
from zoo.data.dataset import Dataset, Record
from zoo.data.loader import evaluation_loader
from zoo.errors import InputError
from zoo.images.preprocess import Preprocess
from zoo.system.guard import check_main_guard

PLAIN = "x = 1\nwork(\n    1)\n"
GUARDED = 'def main():\n    work(1)\n\n\ntry:\n    if __name__ == "__main__":\n        main()\nfinally:\n    pass\n'


def run(monkeypatch: pytest.MonkeyPatch, file: Path | str, code: str, work: Any, **attributes: Any) -> None:
    """Run code as the main script that is stored in a file."""
    main = ModuleType("__main__")
    vars(main).update(__file__=str(file), work=work, **attributes)
    if isinstance(file, Path):
        file.write_text(code)
    monkeypatch.setitem(sys.modules, "__main__", main)
    exec(compile(code, str(file), "exec"), vars(main))


def spawning(number: int) -> None:
    check_main_guard("spawn")


@pytest.mark.parametrize("method", ["spawn", "forkserver"])
def test_the_message_names_the_line_and_the_guard(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, method: str) -> None:
    words = rf"script\.py line 2: worker processes \(start method {method}\) import the main script again, and would run this line again\. "
    with pytest.raises(InputError, match=words + "Put it under 'if __name__ == \"__main__\":'; or set workers to 0"):
        run(monkeypatch, tmp_path / "script.py", PLAIN, lambda number: check_main_guard(method))
    with pytest.raises(InputError, match=r"from standard input\. Save the script in a file, under 'if __name__ == \"__main__\":'"):
        run(monkeypatch, "<stdin>", PLAIN, lambda number: check_main_guard(method))


def test_scripts_that_processes_can_import(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run(monkeypatch, tmp_path / "script.py", GUARDED, spawning)
    run(monkeypatch, tmp_path / "script.py", PLAIN, lambda number: check_main_guard("fork"))
    run(monkeypatch, tmp_path / "ipython.py", PLAIN, spawning)
    run(monkeypatch, tmp_path / "__main__.py", PLAIN, spawning, __spec__=SimpleNamespace(name="zoo.__main__"))
    run(monkeypatch, "packed.zip/script.py", PLAIN, spawning)
    run(monkeypatch, "", PLAIN, spawning)  # a notebook


def test_every_pool_of_processes_checks_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_picture(tmp_path / "a.png", picture((9, 9, 9)))
    records = (Record("a.png", tmp_path / "a.png", 0),)
    monkeypatch.setattr(multiprocessing, "get_start_method", lambda allow_none=False: "spawn")

    def examined(number: int) -> None:
        list(look_at_all(records, workers=1))

    def loaded(number: int) -> None:
        evaluation_loader(Dataset("data", records), Preprocess(size_hw=(8, 8)), 1, workers=1)

    for work in (examined, loaded):
        with pytest.raises(InputError, match=r"script\.py line 2: worker processes \(start method spawn\)"):
            run(monkeypatch, tmp_path / "script.py", PLAIN, work)


def test_a_recipe_takes_the_default_number_of_workers() -> None:
    assert zoo.recipe("classification", workers=None).workers is None
    with pytest.raises(InputError, match=r"lr is None; expected a number"):
        zoo.recipe("classification", lr=None)
