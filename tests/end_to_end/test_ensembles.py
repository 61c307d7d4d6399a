"""Ensemble of two trained CIFAR ResNets on real images."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

import zoo
from zoo.cli.main import main

pytestmark = pytest.mark.slow

PER_CLASS = 20


@pytest.fixture(scope="module")
def trained(shared_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with both models, and twenty test and twenty validation images of each class."""
    root = tmp_path_factory.mktemp("trained")
    for name, file in (("resnet20", "resnet20-12fca82f.th"), ("resnet56", "resnet56-4bfd9763.th")):
        zoo.save(zoo.build(name, weights=shared_data / "weights" / file), root / name)
    for part, split in (("data", "test"), ("val", "train")):
        for folder in sorted((shared_data / "cifar10" / split).iterdir()):
            for path in sorted(folder.iterdir())[:PER_CLASS]:
                (root / part / folder.name).mkdir(parents=True, exist_ok=True)
                shutil.copyfile(path, root / part / folder.name / path.name)
    return root


def scored(root: Path, capsys: pytest.CaptureFixture[str], *words: str) -> dict[str, Any]:
    models = [str(root / word) for word in words if word.startswith("resnet")]
    flags = [word for word in words if not word.startswith("resnet")]
    assert main(["eval", *models, "--data", str(root / "data"), "--json", "--quiet", "--replicates", "0", *flags]) == 0
    content: dict[str, Any] = json.loads(capsys.readouterr().out)
    return content


def test_real_models_vote(trained: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Where both models are right, so is every vote: the ensemble's error can't exceed the sum of the models' errors."""
    alone = [scored(trained, capsys, name) for name in ("resnet20", "resnet56")]
    for vote in (["--vote", "soft"], ["--vote", "hard"], ["--vote", "weighted", "--val", str(trained / "val")]):
        found = scored(trained, capsys, "resnet20", "resnet56", *vote)
        assert found["n"] == found["expected"] == 10 * PER_CLASS
        assert found["scores"]["top1"] > 0.7
        wrong = sum(1 - each["scores"]["top1"] for each in alone)
        assert 1 - found["scores"]["top1"] <= wrong
    assert found["details"]["ensemble"]["val"]["also_in_data"] == 0


def test_mirror_images_and_sizes_of_real_pictures(trained: Path, capsys: pytest.CaptureFixture[str]) -> None:
    plain, tta = scored(trained, capsys, "resnet20"), scored(trained, capsys, "resnet20", "--tta", "flip,scales")
    assert tta["scores"]["top1"] > 0.7
    assert tta["scores"] != plain["scores"]
    sizes = [view["size_hw"] for view in tta["details"]["ensemble"]["views"]["model"]]
    assert sizes == [[32, 32], [32, 32], [28, 28], [28, 28], [40, 40], [40, 40]]
