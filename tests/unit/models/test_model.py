"""Building, calling, freezing, saving and loading."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import zoo
from tests.foreign import randomise
from tests.pictures import picture
from zoo.errors import InputError, UnknownNameError, WeightsError
from zoo.models.archive import load, save
from zoo.models.builder import build
from zoo.models.config import model_folder
from zoo.models.model import Model

pytestmark = pytest.mark.usefixtures("one_thread")


def small(**options: Any) -> Model:
    torch.manual_seed(0)
    return build("test_resnet", **{"num_classes": 3, **options})


def images(count: int = 2, size: int = 64) -> Tensor:
    return torch.rand(count, 3, size, size, generator=torch.Generator().manual_seed(1))


# -- building ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"backbone": "resnet5O"}, r"unknown backbone 'resnet5O'\. Nearest: .*resnet50"),
        ({"task": "detektion"}, r"unknown task 'detektion'\. Nearest: detection"),
        ({"drop_out": 0.1}, r"unknown option of the task classification: 'drop_out'\. Nearest: dropout\. Known: .*freeze"),
        ({"weights": "defaults"}, r"unknown weights for resnet20 \(classification\): 'defaults'"),
        ({"freeze": "half"}, "freeze is 'half'; expected 'none', 'trunk', 'stages=N' with N up to 3, 'norm', or two"),
        ({"freeze": "stages=4"}, "freeze is 'stages=4'"),
        ({"image_size": 0}, "classification: image_size is 0; expected a number above 0"),
    ],
)
def test_what_can_not_be_built(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        build(**{"backbone": "resnet20", "num_classes": 2, **arguments})


def test_classes() -> None:
    assert build("resnet20", classes=["cat", "dog"]).classes == ("cat", "dog")
    assert build("resnet20", num_classes=3).classes == ("0", "1", "2")
    assert build("resnet20", classes=["a", "b"], num_classes=2).classes == ("a", "b")
    thousand = build("resnet20").classes
    assert len(set(thousand)) == 1000
    assert thousand[0] == "tench"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"classes": "cat"}, "classes is 'cat'; expected a list of unique names"),
        ({"classes": ["cat", "cat"]}, r"classes is \['cat', 'cat'\]; expected a list of unique names"),
        ({"classes": []}, "expected a list of unique names"),
        ({"classes": ["cat"], "num_classes": 2}, "num_classes is 2 but classes has 1 names"),
        ({"num_classes": 0}, "num_classes is 0; expected 1 or more"),
        ({"num_classes": -1}, "num_classes is -1"),
    ],
)
def test_classes_that_contradict(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        build("resnet20", **arguments)


def test_timms_way_of_saying_it(tmp_path: Path) -> None:
    folder = save(small(), tmp_path / "m")
    model = zoo.create_model("test_resnet", num_classes=3, checkpoint_path=folder / "weights.safetensors")
    assert torch.equal(model(images()), small()(images()))
    with pytest.raises(InputError, match=r"weights, checkpoint_path and pretrained .*; pass only one"):
        zoo.create_model("test_resnet", pretrained=True, checkpoint_path=folder)


def test_a_model_says_what_it_is() -> None:
    model = small(classes=["x", "y"], num_classes=None)
    assert (model.task, model.backbone_name, model.classes) == ("classification", "test_resnet", ("x", "y"))
    assert not model.training
    assert model.config.backbone == "test_resnet"


# -- calling -----------------------------------------------------------------------------------------------------------


def test_bytes_and_floats_are_the_same_pictures() -> None:
    model = small()
    bytes_ = (images() * 255).to(torch.uint8)
    torch.testing.assert_close(model(bytes_), model(bytes_ / 255))


def test_pictures_of_any_size_are_prepared() -> None:
    model = small()
    several = [picture((200, 0, 0), 0, (40, 90)), picture((0, 200, 0), 1, (300, 200))]
    alone = torch.cat([model([one]) for one in several])
    torch.testing.assert_close(model(several), alone)
    prepared = torch.stack([model.preprocess(one) for one in several])
    torch.testing.assert_close(model(prepared), alone)


def test_the_loss_is_the_same_in_both_modes_of_a_head_without_randomness() -> None:
    model = small(freeze="trunk")
    targets = torch.tensor([0, 2])
    in_evaluation = model(images(), targets)
    assert list(in_evaluation) == ["loss_classifier"]
    expected = nn.functional.cross_entropy(model(images()), targets)
    torch.testing.assert_close(in_evaluation["loss_classifier"], expected)
    torch.testing.assert_close(model.train()(images(), targets)["loss_classifier"], expected)


# -- freezing ----------------------------------------------------------------------------------------------------------


def statistics(model: nn.Module) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in model.state_dict().items() if "running_" in name}


def moved_after_a_step(model: Model) -> tuple[set[str], set[str]]:
    """Run one training step; return the batch-norms whose statistics have changed, and the parameters that have a gradient."""
    before = statistics(model)
    model.train()
    model(images(4), torch.tensor([0, 1, 2, 0]))["loss_classifier"].backward()
    after = statistics(model)
    return {name for name in before if not torch.equal(before[name], after[name])}, {
        name for name, parameter in model.named_parameters() if parameter.grad is not None
    }


def test_a_frozen_trunk_does_not_move() -> None:
    moved, learned = moved_after_a_step(small(freeze="trunk"))
    assert moved == set()
    assert learned == {"heads.classification.fc.weight", "heads.classification.fc.bias"}


def test_nothing_frozen_moves_everything() -> None:
    model = small()
    moved, learned = moved_after_a_step(model)
    assert moved == set(statistics(model))
    assert learned == {name for name, _ in model.named_parameters()}


@pytest.mark.parametrize(("count", "frozen"), [(0, "conv1 bn1"), (1, "conv1 bn1 layer1"), (2, "conv1 bn1 layer1 layer2")])
def test_frozen_stages_do_not_move(count: int, frozen: str) -> None:
    model = build("resnet20", num_classes=3, freeze=f"stages={count}")
    still = {f"backbone.{name}" for name in frozen.split()}
    moved, learned = moved_after_a_step(model)

    def is_still(name: str) -> bool:
        return ".".join(name.split(".")[:2]) in still

    assert moved == {name for name in statistics(model) if not is_still(name)}
    assert learned == {name for name, _ in model.named_parameters() if not is_still(name)}


# -- saving and loading ------------------------------------------------------------------------------------------------


def states_equal(first: Mapping[str, Tensor], second: Mapping[str, Tensor]) -> bool:
    return first.keys() == second.keys() and all(torch.equal(first[key], second[key]) for key in first)


def test_what_is_loaded_is_what_was_saved_after_training_too(tmp_path: Path) -> None:
    model = small(classes=["a", "b", "ü"], num_classes=None, image_size=48, dropout=0.2, freeze="stages=1")
    randomise(model)
    moved_after_a_step(model)
    for parameter in model.parameters():
        if parameter.grad is not None:
            parameter.data -= 0.01 * parameter.grad
    model.metadata["note"] = {"score": 0.5}
    model.eval()
    loaded = load(save(model, tmp_path / "m"))
    assert states_equal(loaded.state_dict(), model.state_dict())
    assert loaded.config == model.config
    assert loaded.metadata == model.metadata
    assert torch.equal(loaded(images()), model(images()))
    assert [parameter.requires_grad for parameter in loaded.parameters()] == [parameter.requires_grad for parameter in model.parameters()]
    assert not loaded.training


def test_channels_last_models_are_saved(tmp_path: Path) -> None:
    model = small()
    expected = small().state_dict()
    model.to(memory_format=torch.channels_last)
    assert states_equal(load(save(model, tmp_path / "m")).state_dict(), expected)


def test_a_saved_model_is_a_folder_of_two_files_without_pickles(tmp_path: Path) -> None:
    folder = save(small(), tmp_path / "deep" / "m")
    assert sorted(os.listdir(folder)) == ["model.json", "weights.safetensors"]
    content = json.loads((folder / "model.json").read_text())
    assert content["contract"] == 1
    assert (content["backbone"], content["task"], content["classes"]) == ("test_resnet", "classification", ["0", "1", "2"])


def test_saving_again_replaces_and_saving_over_something_else_does_not(tmp_path: Path) -> None:
    save(small(), tmp_path / "m")
    save(small(num_classes=5), tmp_path / "m")
    assert len(load(tmp_path / "m").classes) == 5
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "one.jpg").write_text("precious")
    with pytest.raises(InputError, match=r"photos exists and contains no model\.json"):
        save(small(), tmp_path / "photos")
    assert os.listdir(tmp_path / "photos") == ["one.jpg"]
    assert sorted(os.listdir(tmp_path)) == ["m", "photos"]


def test_a_run_is_loaded_by_its_model(tmp_path: Path) -> None:
    save(small(), tmp_path / "run" / "model")
    assert model_folder(tmp_path / "run") == tmp_path / "run" / "model"
    assert load(tmp_path / "run").classes == ("0", "1", "2")


def test_folders_without_a_model(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"nowhere contains no saved model \(no model\.json there or in its subfolder model/\)\.$"):
        load(tmp_path / "nowhere")
    (tmp_path / "recipe.toml").write_text("")
    with pytest.raises(InputError, match="The run has not finished: continue it with --resume"):
        load(tmp_path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda text: text[:40], r"model\.json is not a valid model description \(JSONDecodeError"),
        (lambda text: "[]", "not a valid model description"),
        (lambda text: "{}", r"not a valid model description \(KeyError: 'contract'\)"),
        (lambda text: text.replace('"contract": 1', '"contract": 99'), r"contract version 99; this version .* read 1"),
        (lambda text: text.replace('"classes"', '"klasses"'), "not a valid model description"),
        (lambda text: text.replace('"freeze"', '"frieze"'), "not a valid model description"),
        (lambda text: text.replace("test_resnet", "best_resnet"), "unknown backbone 'best_resnet'"),
        (lambda text: text.replace('"policy": "crop"', '"policy": "cut"'), "policy is 'cut'"),
    ],
)
def test_a_damaged_description(tmp_path: Path, change: Any, message: str) -> None:
    path = save(small(), tmp_path / "m") / "model.json"
    path.write_text(change(path.read_text()))
    with pytest.raises(InputError, match=message):
        load(tmp_path / "m")


def test_weights_of_another_model(tmp_path: Path) -> None:
    save(small(), tmp_path / "m")
    save(small(num_classes=4), tmp_path / "other")
    os.replace(tmp_path / "other" / "weights.safetensors", tmp_path / "m" / "weights.safetensors")
    with pytest.raises(WeightsError, match=r"weights\.safetensors does not match model\.json: (.|\n)*fc\.weight"):
        load(tmp_path / "m")
    os.unlink(tmp_path / "m" / "weights.safetensors")
    with pytest.raises(WeightsError, match=r"weights\.safetensors: the file does not exist"):
        load(tmp_path / "m")


def test_a_saved_models_folder_as_weights_brings_its_classes_and_preprocessing(tmp_path: Path) -> None:
    model = small(classes=["a", "b"], num_classes=None, image_size=48)
    folder = save(model, tmp_path / "m")
    for weights in (folder, str(folder / "weights.safetensors")):
        again = build("test_resnet", weights=weights)
        assert again.classes == ("a", "b")
        assert again.preprocess == model.preprocess
        assert torch.equal(again(images()), model(images()))
    said: list[str] = []
    transferred = build("test_resnet", "face", weights=str(folder), num_classes=4, say=said.append)
    assert states_equal(transferred.backbone.state_dict(), model.backbone.state_dict())
    assert said == [f"weights {folder / 'weights.safetensors'}: loaded into the backbone; the face head is newly initialised"]
    with pytest.raises(InputError, match="contains no saved model"):
        build("test_resnet", weights=tmp_path)


def test_the_model_of_an_unknown_name() -> None:
    with pytest.raises(UnknownNameError, match=r"unknown backbone, task or saved model 'resnet5O'\. Nearest: .*resnet50"):
        zoo.info("resnet5O")


def test_a_saved_model_takes_other_options_of_answering(tmp_path: Path) -> None:
    model = zoo.build("resnet20", task="detection", classes=["a"], image_size=64)
    zoo.save(model, tmp_path / "model")
    other = zoo.load(tmp_path / "model", score_threshold=0.4, image_size=96)
    assert other.config.options["score_threshold"] == 0.4
    assert other.preprocess.size_hw[0] == 96
    with pytest.raises(UnknownNameError, match=r"'score_treshold'.*Nearest: score_threshold"):
        zoo.load(tmp_path / "model", score_treshold=0.4)
    with pytest.raises(InputError, match="fpn_channels is 32, but the model was saved with 128; omit it"):
        zoo.load(tmp_path / "model", fpn_channels=32)
