"""The serving benchmark itself, quickly and with a small model: real servers and a real load generator."""

from __future__ import annotations

import importlib.util
import json
import math
import re
from pathlib import Path

import pytest

from tests.pictures import write_photos
from zoo.benchmarks.serving.__main__ import main
from zoo.benchmarks.serving.load import LoadError, Plan, Sending, send
from zoo.benchmarks.serving.servers import ServerError, zoo_server
from zoo.engines import ENGINES

_MISSING = [name for name in ("locust", "litserve", "fastapi", "uvicorn") if importlib.util.find_spec(name) is None]
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(bool(_MISSING) or ENGINES["openvino"].missing() is not None, reason=f"not installed: {_MISSING or 'openvino'}"),
]
_ROWS = ("throughput",)  # each row starts a server, which takes seconds; those of the others are like this one


def test_the_rows_are_measured(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_photos(tmp_path / "photos")
    words = ["--quick", "--backbone", "test_resnet", "--side", "224", "--data", str(tmp_path), "--json"]
    assert main([*words, "--only", *_ROWS]) in (0, 1)
    out = capsys.readouterr()
    found = json.loads(out.out)
    assert tuple(found["rows"]) == tuple(found["generator_cores"]) == _ROWS
    assert re.search("serving: throughput: round 1: .*zoo predict", out.err)
    figures = {name: {figure["what"]: figure for figure in several} for name, several in found["rows"].items()}
    assert all(0 < figure["value"] < math.inf for figure in figures["throughput"].values())
    assert found["met"] == all(figure["met"] for several in found["rows"].values() for figure in several)


def test_requests_to_nobody_have_no_answer(tmp_path: Path) -> None:
    photos = [str(path) for path in write_photos(tmp_path / "photos").iterdir()]
    found = send(Plan("http://127.0.0.1:9", "/predict", photos, 2, 30, requests=4, patience_s=5))
    assert found.begun == found.unanswered >= 4
    assert set(found.statuses) == {0}


def test_a_load_generator_that_fails_is_an_error() -> None:
    sending = Sending(Plan("http://127.0.0.1:9", "/predict", ["no/where.jpg"], 1, 1))
    with pytest.raises(LoadError, match="exit status 1"):
        sending.result()


def test_a_server_that_does_not_start_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ServerError, match=r"isn't ready; its output ends with:\n(.|\n)*model.json"), zoo_server(tmp_path):
        pass
