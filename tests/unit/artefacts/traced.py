"""Load, compile and run a model in a new process, and report every file that was written, and which of them contain its weights.

`python -m tests.unit.artefacts.traced JOB` prints a JSON object. JOB is a JSON object with the folder `place` in which everything happens,
the folder of `pictures`, the model's folder `plain`, and a list of `steps` with the path of a model, the identity for it, and pairs of an
engine and a precision.

Deleted files are kept for the search: the functions that delete files do nothing. Files that native code opens are not seen by the
interpreter, so that the search covers all files in the home folder, the folder for temporary files, the working folder and /dev/shm.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import sys
from pathlib import Path
from typing import Any

_WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC
MARK = "/no such folder/"
_SHARED = Path("/dev/shm")


def main(job: dict[str, Any]) -> dict[str, Any]:
    """Run the steps of a job, and return the written files and those that contain weights, for each step."""
    opened = list[str]()
    sys.addaudithook(lambda event, values: opened.append(str(values[0])) if event == "open" and (values[2] or 0) & _WRITING else None)
    import numpy as np
    import torch

    import zoo
    from tests.engines import CLASSES

    assert CLASSES, "the import has registered the small backbone of the model"

    torch.set_num_threads(1)
    patterns = _patterns(zoo.load(job["plain"]).state_dict())
    images, place, found = list(np.zeros((2, 32, 32, 3), np.uint8)), Path(job["place"]), []
    for name in ("unlink", "remove", "rmdir"):
        setattr(os, name, lambda *_, **__: None)
    shutil.rmtree = lambda *_, **__: None  # type: ignore[assignment]
    for step in job["steps"]:
        shared = set(_SHARED.iterdir()) if _SHARED.is_dir() else set()
        opened.clear()
        open_marker(step["name"])
        model = zoo.load(step["model"], identity=step["identity"])
        for engine, precision in step["engines"]:
            made = zoo.compile(model, engine, precision, data=job["pictures"])
            assert len(list(zoo.predict(made, images))) == 2
        open_marker("end")
        files = [path for path in place.rglob("*") if path.is_file()] + [*(set(_SHARED.iterdir()) - shared if shared else ())]
        leaks = [str(path) for path in files if _contains(path, patterns) and not path.is_relative_to(job["plain"])]
        found.append({"name": step["name"], "opened": sorted({*opened}), "leaks": leaks})
    return {"steps": found, "patterns": len(patterns)}


def open_marker(name: str) -> None:
    """Leave a mark in the trace of system calls: the attempt to open a file that doesn't exist."""
    with contextlib.suppress(OSError):
        os.close(os.open(f"{MARK}{name}", os.O_RDONLY))


def _patterns(state: dict[str, Any]) -> list[bytes]:
    """Return the first bytes of each tensor, of those that aren't constant."""
    starts = [value.detach().flatten().numpy().tobytes()[:24] for value in state.values()]
    return [start for start in starts if len(set(start)) > 12]


def _contains(path: Path, patterns: list[bytes]) -> bool:
    data = path.read_bytes()
    return any(pattern in data for pattern in patterns)


if __name__ == "__main__":
    print(json.dumps(main(json.loads(sys.argv[1]))))
