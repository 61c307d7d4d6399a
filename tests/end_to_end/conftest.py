"""Real images for several files."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def cifar_part(shared_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the first 200 of the 500 test images of each class of CIFAR-10."""
    root = tmp_path_factory.mktemp("cifar10")
    for folder in (shared_data / "cifar10" / "test").iterdir():
        (root / folder.name).mkdir()
        for path in sorted(folder.iterdir())[:200]:
            shutil.copyfile(path, root / folder.name / path.name)
    return root
