"""Residual adapters: each belongs to one head, and the answers of the other heads stay the same."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

import zoo
from tests.engines import CLASSES, photos
from tests.foreign import randomise
from tests.small_training import same
from zoo.errors import InputError
from zoo.models.model import Model

pytestmark = pytest.mark.usefixtures("one_thread")


@torch.no_grad()
def answers(model: Model) -> Any:
    return model(photos())


def adapted() -> Model:
    """Return a classifier with a second head whose adapters aren't 0."""
    model = zoo.build("test_resnet", classes=CLASSES["species"])
    randomise(model)  # a fresh network ignores its residual branches
    zoo.add_task(model, "health", "classification", classes=CLASSES["health"], adapters=True)
    with torch.no_grad():
        for parameter in model.adapters.parameters():
            parameter.normal_(0, 0.05)
    return model


def test_new_adapters_change_nothing() -> None:
    torch.manual_seed(0)
    model = zoo.build("test_resnet", classes=CLASSES["species"])
    zoo.add_task(model, "plain", "classification", classes=CLASSES["health"])
    zoo.add_task(model, "adapted", "classification", classes=CLASSES["health"], adapters=True)
    model.heads["adapted"].load_state_dict(model.heads["plain"].state_dict())
    found = answers(model)
    assert torch.equal(found["adapted"], found["plain"])
    assert model.config.freeze == "trunk"


def test_adapters_belong_to_one_head(tmp_path: Path) -> None:
    model = adapted()
    assert [(way.heads, way.adapted) for way in model.passes()] == [(("classification",), False), (("health",), True)]
    found, alone = answers(model), zoo.split(model, "health")
    batch = model.passes(["health"])[0].preprocess.batch(photos())
    assert not torch.allclose(model.heads["health"](model.features(batch), batch), found["health"])
    assert torch.equal(answers(alone), found["health"])
    assert torch.equal(answers(zoo.split(model, "classification")), found["classification"])
    zoo.save(model, tmp_path / "joint")
    assert same(answers(zoo.load(tmp_path / "joint")), found)
    zoo.save(alone, tmp_path / "alone")
    assert torch.equal(answers(zoo.load(tmp_path / "alone")), found["health"])
    assert zoo.info(tmp_path / "joint")["passes"] == "2 per image: health has adapters"
    zoo.remove_task(model, "health")
    assert not model.adapters


def test_training_adapters_leaves_the_other_head() -> None:
    model = adapted()
    before = answers(model)
    optimizer = torch.optim.AdamW([each for each in model.parameters() if each.requires_grad], lr=0.1)
    loss: Any = sum(model.train()(photos(), {"health": torch.tensor([0, 1])}).values())
    loss.backward()
    assert all(each.grad is not None and bool(each.grad.any()) for each in model.adapters.parameters())
    optimizer.step()
    after = answers(model.eval())
    assert torch.equal(after["classification"], before["classification"])
    assert not torch.allclose(after["health"], before["health"])


def test_folded_adapters_compute_the_same_features() -> None:
    alone = zoo.split(adapted(), "health")
    pixels = torch.rand(2, 3, 64, 64)
    with torch.no_grad():
        wanted, plain = alone.levels(pixels), alone.backbone((pixels - alone._mean) / alone._std)
        folded = alone.adapters["classification"].folded(alone.backbone)((pixels - alone._mean) / alone._std)  # type: ignore[operator]
    for name, level in wanted.items():
        torch.testing.assert_close(folded[name], level, rtol=1e-4, atol=1e-5)
    assert not torch.allclose(plain["c5"], wanted["c5"])


def test_adapters_need_a_frozen_backbone() -> None:
    with pytest.raises(InputError, match=r"freeze is 'stages=1', but there are adapters for a frozen backbone \(classification\)"):
        zoo.build("test_resnet", num_classes=2, adapters=True, freeze="stages=1")
    with pytest.raises(InputError, match="freeze is 'none', but there are adapters"):
        zoo.unfreeze(adapted())
    with pytest.raises(InputError, match="passes is 1, but the heads need 2 passes through the backbone: health has adapters"):
        zoo.add_task(zoo.build("resnet20", num_classes=2), "health", "classification", num_classes=2, adapters=True, passes=1)
