"""FGSM, PGD and AutoAttack: bounded, deterministic, independent of batches, and successful against real weights."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

import zoo
from tests.closeness import assert_close
from tests.pictures import cut_short, write_class_folders
from zoo.errors import DataError, ImageError, InputError, UnknownNameError
from zoo.evaluation.robustness.attacked import attack_evaluate
from zoo.evaluation.robustness.attacks import Loss, autoattack, fgsm, pgd
from zoo.task.contract import get_task

pytest.importorskip("captum", reason="needs captum, the extra robustness")
pytest.importorskip("pyautoattack", reason="needs pyautoattack, the extra robustness")
pytestmark = pytest.mark.usefixtures("one_thread")
EPS = 8 / 255


@pytest.fixture(scope="module")
def cifar(shared_data: Path) -> Any:
    task = get_task("classification")
    model = zoo.build("resnet20", weights=shared_data / "weights" / "resnet20-12fca82f.th")
    return model, task.open(f"folder:{shared_data / 'cifar10' / 'test'}")


@pytest.fixture
def model() -> zoo.Model:
    torch.manual_seed(0)
    return zoo.build("resnet20", classes=["blue", "green", "red"])


def tensors() -> tuple[Tensor, Tensor, list[str]]:
    generator = torch.Generator().manual_seed(0)
    return torch.rand(6, 3, 32, 32, generator=generator), torch.tensor([0, 1, 2, 0, 1, 2]), list("abcdef")


def away_from(targets: Tensor) -> Loss:
    return lambda logits: torch.nn.functional.cross_entropy(logits, targets, reduction="none")


@pytest.mark.parametrize("eps", [0.0, 2 / 255, 0.5])
def test_attacked_pictures_stay_within_eps_and_0_to_1(model: zoo.Model, eps: float) -> None:
    pixels, targets, keys = tensors()
    for attacked in (fgsm(model, pixels, away_from(targets), eps), pgd(model, pixels, away_from(targets), eps, 5, keys)):
        assert (attacked - pixels).abs().max() <= eps + 1e-6
        assert 0 <= attacked.min() <= attacked.max() <= 1
        assert torch.equal(attacked, pixels) == (eps == 0)


def test_fgsm_is_a_step_along_the_sign_of_the_gradient(model: zoo.Model) -> None:
    pixels, targets, _ = tensors()
    leaf = pixels.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(torch.nn.functional.cross_entropy(model(leaf), targets, reduction="sum"), leaf)
    assert torch.allclose(fgsm(model, pixels, away_from(targets), EPS), (pixels + EPS * gradient.sign()).clamp(0, 1), atol=1e-6)


def test_a_picture_is_attacked_alike_in_every_batch(model: zoo.Model) -> None:
    pixels, targets, keys = tensors()
    together = pgd(model, pixels, away_from(targets), EPS, 1, keys)
    alone = [pgd(model, pixels[n : n + 1], away_from(targets[n : n + 1]), EPS, 1, keys[n : n + 1]) for n in range(6)]
    assert ((together - torch.cat(alone)).abs() > 1e-5).float().mean() < 0.001  # rounding may flip the sign of a gradient near 0
    assert not torch.allclose(together, pgd(model, pixels, away_from(targets), EPS, 1, keys, seed=1))


@pytest.fixture
def linear() -> torch.nn.Module:
    """Return a classifier with known margins: an attack succeeds where eps · |difference of weights|₁ exceeds an image's margin."""
    torch.manual_seed(0)
    return torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(3 * 6 * 6, 5))


def linear_pictures(linear: torch.nn.Module) -> tuple[Tensor, Tensor, Tensor]:
    """Return images far from 0 and 1, the model's answers, and the smallest change that flips each answer: margin / |difference|₁."""
    pixels = 0.4 + 0.2 * torch.rand(24, 3, 6, 6, generator=torch.Generator().manual_seed(1))
    weight = linear[1].weight.detach()  # type: ignore[index]
    logits = linear(pixels).detach()
    targets = logits.argmax(1)
    margins = logits.gather(1, targets[:, None]) - logits
    lengths = (weight[targets][:, None] - weight[None]).abs().sum(2)
    ratios = torch.where(lengths > 0, margins / lengths.clamp(min=1e-9), torch.inf)
    return pixels, targets, ratios.min(1).values


@pytest.mark.slow
def test_autoattack_turns_exactly_what_can_be_turned(linear: torch.nn.Module) -> None:
    pixels, targets, smallest = linear_pictures(linear)
    eps = float(smallest.median())
    attacked = autoattack(linear, pixels, targets, eps)
    assert (attacked - pixels).abs().max() <= eps + 1e-6
    right = linear(attacked).argmax(1) == targets
    sure = (smallest / eps - 1).abs() > 0.02
    assert torch.equal(right[sure], (smallest > eps)[sure])
    assert torch.equal(attacked[right], pixels[right])  # images that withstand are returned unchanged


def test_autoattack_repeats_itself_and_leaves_the_generator_alone(linear: torch.nn.Module) -> None:
    pixels, targets, smallest = linear_pictures(linear)
    torch.manual_seed(5)
    before = torch.random.get_rng_state()
    # all images fall to the first part, because every image that withstands costs 5,000 queries of the last one
    first, second = (autoattack(linear, pixels, targets, 1.2 * float(smallest.max()), seed=3) for _ in range(2))
    assert torch.equal(first, second)
    assert torch.equal(torch.random.get_rng_state(), before)
    trace = sys.gettrace()
    assert torch.equal(autoattack(linear, pixels, targets, 0.0), pixels)
    assert sys.gettrace() is trace


def test_autoattack_needs_four_classes(model: zoo.Model) -> None:
    with pytest.raises(InputError, match=r"the model has 3 classes; its targeted loss \(DLR\) needs 4 or more. Use pgd"):
        autoattack(model, *tensors()[:2], EPS)


@pytest.mark.slow
def test_autoattack_leaves_nothing_that_pgd_takes(cifar: Any) -> None:
    model, data = cifar
    weak, strong = (attack_evaluate(model, data[::250], attack, workers=0, replicates=0) for attack in ("pgd", "autoattack"))
    assert strong["clean"]["n"] == 20
    assert strong["clean"]["scores"]["top1"] == weak["clean"]["scores"]["top1"] > 0.7
    assert strong["robust"]["scores"]["top1"] <= min(weak["robust"]["scores"]["top1"], 0.02)
    assert strong["parts"] == ["apgd-ce", "apgd-t", "fab-t", "square"]


@pytest.mark.slow
def test_pgd_brings_cifar_accuracy_to_nought(cifar: Any) -> None:
    model, data = cifar
    found = attack_evaluate(model, data[::80], steps=20, workers=0, replicates=50)
    assert found["clean"]["n"] == found["robust"]["n"] == 63
    assert found["clean"]["scores"]["top1"] == zoo.evaluate(model, data[::80], workers=0, replicates=0)["top1"]
    assert found["robust"]["scores"]["top1"] <= 0.02


@pytest.mark.slow
def test_stronger_attacks_leave_less(cifar: Any) -> None:
    model, data = cifar

    def robust(**options: Any) -> float:
        found = attack_evaluate(model, data[::100], workers=0, replicates=0, **options)["robust"]["scores"]["top1"]
        assert isinstance(found, float)
        return found

    none, slight, fast = robust(eps=0.0), robust(eps=1 / 255, steps=5), robust(attack="fgsm", eps=4 / 255)
    short, long = robust(eps=4 / 255, steps=3), robust(eps=4 / 255, steps=10)
    assert none == zoo.evaluate(model, data[::100], workers=0, replicates=0)["top1"]
    assert none > slight > short
    assert fast > long  # if a single step beat many, gradients would be masked
    assert long <= short + 0.02


def test_the_model_keeps_its_mode_and_its_numbers(model: zoo.Model, tmp_path: Path) -> None:
    before = {name: value.clone() for name, value in model.state_dict().items()}
    model.train()
    found = attack_evaluate(model, f"folder:{write_class_folders(tmp_path)}", steps=2, workers=0, replicates=10, batch_size=5)
    assert model.training
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert (found["attack"], found["eps"], found["steps"], found["seed"], found["score"]) == ("pgd", EPS, 2, 0, "top1")
    assert found["norm"] == "max"
    assert all(parameter.grad is None for parameter in model.parameters())


@pytest.mark.parametrize("attack", ["fgsm", "pgd"])
def test_scores_depend_on_neither_batches_nor_workers(model: zoo.Model, tmp_path: Path, attack: Any) -> None:
    data = f"folder:{write_class_folders(tmp_path)}"
    first, second = (
        attack_evaluate(model, data, attack, steps=3, replicates=20, batch_size=size, workers=workers)["robust"]
        for size, workers in ((12, 0), (5, 2))
    )
    for kind in ("scores", "intervals", "per_class"):
        assert_close(first[kind], second[kind], kind)


def test_damaged_pictures_are_told_or_counted(model: zoo.Model, tmp_path: Path) -> None:
    data = f"folder:{write_class_folders(tmp_path, per_class=1)}"
    cut_short(tmp_path / "red" / "0.png")
    with pytest.raises(ImageError, match=r"red.0\.png"):
        attack_evaluate(model, data, steps=1, workers=0)
    found = attack_evaluate(model, data, steps=1, workers=0, on_error="skip", replicates=0)
    assert (found["robust"]["n"], len(found["robust"]["skipped"])) == (2, 1)
    for name in ("blue", "green"):
        cut_short(tmp_path / name / "0.png")
    with pytest.raises(DataError, match="none of its 3 images can be read"):
        attack_evaluate(model, data, steps=1, workers=0, on_error="skip")


@pytest.mark.parametrize(
    ("options", "error", "reason"),
    [
        ({"attack": "pdg"}, UnknownNameError, "pgd"),
        ({"eps": -0.1}, InputError, "eps is -0.1; expected a fraction of the value range"),
        ({"eps": 8.0}, InputError, "from 0 to 1, such as 8/255"),
        ({"eps": float("nan")}, InputError, "eps is nan"),
        ({"steps": 0}, InputError, "steps is 0; expected 1 or more"),
        ({"pairs": 0}, InputError, "pairs is 0; expected 1 or more"),
    ],
)
def test_invalid_settings(model: zoo.Model, options: dict[str, Any], error: type[Exception], reason: str) -> None:
    with pytest.raises(error, match=reason):
        attack_evaluate(model, "folder:nowhere", **options)


def test_autoattack_takes_no_other_batch(model: zoo.Model) -> None:
    with pytest.raises(InputError, match="batch_size is 8; expected 32, because its random draws depend on the batch size"):
        attack_evaluate(model, "folder:nowhere", "autoattack", batch_size=8)


def test_other_tasks_are_told_who_has_attacks() -> None:
    with pytest.raises(
        InputError, match=r"task detection doesn't support attacks; supported are classification \(fgsm, pgd, autoattack\) and face \(pgd\)"
    ):
        attack_evaluate(zoo.build("resnet18", task="detection", classes=["a"]), "folder:nowhere")
    with pytest.raises(InputError, match="the task detection doesn't support attacks"):
        get_task("detection").attack_protocol(get_task("detection").open("demo:scenes?limit=1"), (), 1, 0)
    with pytest.raises(UnknownNameError, match=r"unknown attack of the task face: 'autoattack'\. Known: pgd"):
        attack_evaluate(zoo.build("resnet20", task="face"), "folder:nowhere", "autoattack")


@pytest.mark.parametrize(("package", "attack"), [("captum.robust", fgsm), ("pyautoattack", autoattack)])
def test_packages_are_asked_for_by_name(linear: torch.nn.Module, monkeypatch: pytest.MonkeyPatch, package: str, attack: Any) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    pixels, targets, _ = linear_pictures(linear)
    with pytest.raises(InputError, match=rf"needs {package.split('.')[0]}, .* pip install 'resnet-zoo\[robustness\]'"):
        attack(linear, pixels, targets, EPS)
