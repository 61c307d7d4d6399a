"""No weights of an encrypted model reach the disk: every file that a process writes is traced, and searched for them."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import zoo
from tests.engines import small_model
from tests.pictures import write_picture
from tests.unit.artefacts.encrypted import write_identity
from tests.unit.artefacts.traced import MARK

pytestmark = pytest.mark.slow
for _name in ("openvino", "onnxruntime", "nncf"):
    pytest.importorskip(_name)
_ENGINES = ("openvino", "onnxruntime")
# What libraries write by themselves: identifiers and statistics of Intel's and Microsoft's, semaphores, and captured messages.
_OTHERS = re.compile(r"/intel/|/\.cache/Microsoft/|/\.ses$|^deviceid\.tmp|^/dev/(null|shm/sem\.)|^memfd:stderr$")


@pytest.fixture(scope="module")
def traced(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, Any], dict[str, list[str]]]:
    """Run an encrypted and then the unencrypted model in a process with its own folders.

    Returns:
        What the process reports, and the files that were opened for writing according to a trace of system calls, by step. The latter is
        empty if there is no program for such a trace.
    """
    place = tmp_path_factory.mktemp("traced")
    for name in ("home", "tmp", "work", "pictures", "keys"):
        (place / name).mkdir()
    for number in range(4):
        write_picture(place / "pictures" / f"{number}.png", np.random.default_rng(number).integers(0, 256, (32, 32, 3), np.uint8))
    zoo.save(small_model("classification"), place / "plain")
    zoo.encrypt(place / "plain", place / "m.age", recipients=write_identity(place / "keys" / "key.txt"))
    key = str(place / "keys" / "key.txt")
    steps = [
        {"name": "encrypted", "model": str(place / "m.age"), "identity": key, "engines": [(name, "int8") for name in _ENGINES]},
        {"name": "plain", "model": str(place / "plain"), "identity": None, "engines": [("openvino", "fp32")]},
    ]
    job = {"place": str(place), "plain": str(place / "plain"), "pictures": str(place / "pictures"), "steps": steps}
    trace = place.parent / "trace"
    command = [*_tracer(trace), sys.executable, "-m", "tests.unit.artefacts.traced", json.dumps(job)]
    own = {"HOME": str(place / "home"), "TMPDIR": str(place / "tmp"), "PYTHONPATH": os.getcwd(), "PYTHONDONTWRITEBYTECODE": "1"}
    done = subprocess.run(command, env={"PATH": os.environ["PATH"], **own}, cwd=place / "work", capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1]), _written(trace)


def _tracer(trace: Path) -> list[str]:
    """Return the beginning of a command that traces the opening of files; empty if that isn't possible here."""
    words = ["strace", "-f", "--seccomp-bpf", "-qq", "-e", "trace=open,openat,openat2,creat,memfd_create", "-o", str(trace)]
    if shutil.which("strace") is None or subprocess.run([*words, "true"], capture_output=True, check=False).returncode:
        return []
    return words


def _written(trace: Path) -> dict[str, list[str]]:
    """Return the files that were opened for writing by step, according to a trace."""
    found: dict[str, list[str]] = {}
    step = ""
    for line in trace.read_text(errors="replace").splitlines() if trace.exists() else ():
        path = re.search(r'"(.*?)"', line)
        if path is None:
            continue
        if path[1].startswith(MARK):
            step = path[1].removeprefix(MARK)
        elif "memfd_create" in line:
            found.setdefault(step, []).append(f"memfd:{path[1]}")
        elif re.search(r"O_WRONLY|O_RDWR|O_CREAT|\bcreat\(", line):
            found.setdefault(step, []).append(path[1])
    return found


def test_an_unencrypted_model_is_found_in_the_cache(traced: tuple[dict[str, Any], Any]) -> None:
    """The search finds weights where they are, also in temporary files that were deleted."""
    _, plain = traced[0]["steps"]
    assert traced[0]["patterns"] > 10
    for folder in ("/networks/", "/tmp/"):
        assert any(folder in path and path.endswith(".bin") for path in plain["leaks"])
    assert any("/networks/" in path for path in plain["opened"])


def test_an_encrypted_model_is_found_nowhere(traced: tuple[dict[str, Any], Any]) -> None:
    encrypted, _ = traced[0]["steps"]
    assert encrypted["leaks"] == []


def test_nothing_is_written_for_an_encrypted_model(traced: tuple[dict[str, Any], dict[str, list[str]]]) -> None:
    """This includes 8-bit and otherwise converted weights, for which the search can't look."""
    encrypted, _ = traced[0]["steps"]
    assert [path for path in encrypted["opened"] if not path.isdecimal() and not _OTHERS.search(path)] == []
    if not traced[1]:
        pytest.skip("the files that native code opens are traced with strace, which isn't installed or may not be used")
    assert [path for path in traced[1].get("encrypted", ()) if not _OTHERS.search(path)] == []
    assert any(path.endswith(".bin") for path in traced[1]["plain"])
