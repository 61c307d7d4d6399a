"""Commands print on consoles of every encoding."""

from __future__ import annotations

import io
import sys

import pytest

from tests.pictures import write_class_folders
from zoo.cli.main import main
from zoo.system.console import print_anything

TEXT = "0.81 – 0.83 × 2 … ± ≥ лист 猫 Käfer \udcff"


@pytest.mark.parametrize(
    ("encoding", "printed"),
    [
        ("ascii", r"0.81 - 0.83 x 2 ... +/- >= \u043b\u0438\u0441\u0442 \u732b K\xe4fer \udcff"),
        ("cp1252", r"0.81 – 0.83 × 2 … ± >= \u043b\u0438\u0441\u0442 \u732b Käfer \udcff"),
        ("cp437", r"0.81 - 0.83 x 2 ... ± ≥ \u043b\u0438\u0441\u0442 \u732b Käfer \udcff"),
        ("cp932", r"0.81 - 0.83 × 2 … ± >= лист 猫 K\xe4fer \udcff"),
        ("utf-8", "0.81 – 0.83 × 2 … ± ≥ лист 猫 Käfer \\udcff"),
    ],
)
def test_characters_that_cannot_be_encoded_are_replaced(encoding: str, printed: str, monkeypatch: pytest.MonkeyPatch) -> None:
    written = {name: io.BytesIO() for name in ("stdout", "stderr")}
    for name, file in written.items():
        monkeypatch.setattr(sys, name, io.TextIOWrapper(file, encoding=encoding))
    print_anything()
    for name, file in written.items():
        print(TEXT, file=getattr(sys, name), flush=True)
        assert file.getvalue().decode(encoding) == f"{printed}\n"


@pytest.mark.parametrize("encoding", ["ascii", "cp437", "cp949"])
@pytest.mark.parametrize(
    "words", ["--help", "train --help", "info resnet20", "list", "info face", "data check folder:{} --json", "data check folder:{}"]
)
def test_commands_exit_alike_on_every_console(encoding: str, words: str, tmp_path: object, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = write_class_folders(tmp_path / "лист")  # type: ignore[operator]
    statuses = []
    for each in ("utf-8", encoding):
        with monkeypatch.context() as patch:
            for name in ("stdout", "stderr"):
                patch.setattr(sys, name, io.TextIOWrapper(io.BytesIO(), encoding=each))
            try:
                statuses.append(main(words.format(folder).split()))
            except SystemExit as end:
                statuses.append(end.code)  # type: ignore[arg-type]
    assert statuses[0] == statuses[1]
