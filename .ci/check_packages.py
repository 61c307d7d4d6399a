"""Check that an sdist and a wheel contain the expected files and nothing that could collide with a user's modules."""

from __future__ import annotations

import sys
import tarfile
import zipfile
from pathlib import Path

_EXPECTED = (
    "zoo/py.typed",
    "zoo/cli/main.py",
    "zoo/tasks/classification/__init__.py",
    "zoo/tasks/detection/datasets/voc.py",
    "zoo/tasks/face/__init__.py",
    "zoo/benchmarks/harness/bench.py",
    "zoo/kernels/roi_align.cpp",
    "zoo/benchmarks/suites/quick.toml",
    "zoo/serving/page/page.html",
    "zoo/serving/page/style.css",
    "zoo/serving/page/main.js",
)


def faults(sdist: Path, wheel: Path) -> list[str]:
    """Return the errors found in the two packages, one line each."""
    with tarfile.open(sdist) as archive:
        # a link would be lost on Windows, and would dangle if its folder was missing
        found = [f"{sdist.name}: {member.name} is a link" for member in archive if member.issym() or member.islnk()]
        in_sdist = {name.partition("/")[2] for name in archive.getnames()}
    in_wheel = set(zipfile.ZipFile(wheel).namelist())
    for package, names in ((sdist, in_sdist), (wheel, in_wheel)):
        found += [f"{package.name}: {name} is missing" for name in _EXPECTED if name not in names]
    top = {name.partition("/")[0] for name in in_wheel}
    found += [f"{wheel.name}: installs {name} at top level" for name in sorted(top) if name != "zoo" and not name.endswith(".dist-info")]
    return found


if __name__ == "__main__":
    sys.exit("\n".join(faults(Path(sys.argv[1]), Path(sys.argv[2]))) or 0)
