"""Weights in checkpoints: containers, prefixes of wrappers, averaged weights, classifiers beside the backbone, and trunk-only files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

from tests.foreign import randomise
from zoo.errors import WeightsError
from zoo.models.builder import build
from zoo.models.model import Model
from zoo.models.weights.layouts import convert

pytestmark = pytest.mark.usefixtures("one_thread")
State = dict[str, Tensor]
NAME = "test_resnet"  # timm's smallest


@pytest.fixture(scope="module")
def theirs() -> nn.Module:
    torch.manual_seed(1)
    return randomise(timm.create_model(NAME, num_classes=5))


@pytest.fixture(scope="module")
def truth(theirs: nn.Module) -> State:
    return dict(theirs.state_dict())


@pytest.fixture(scope="module")
def other() -> State:
    torch.manual_seed(2)
    return dict(randomise(timm.create_model(NAME, num_classes=5), seed=1).state_dict())


def pre(prefix: str, state: State) -> State:
    return {f"{prefix}{key}": value for key, value in state.items()}


def trunk(state: State) -> State:
    return {key: value for key, value in state.items() if not key.startswith("fc.")}


def head(prefix: str, state: State) -> State:
    return pre(prefix, {key: value for key, value in state.items() if key.startswith("fc.")})


def loaded(path: Path, content: Any, task: str = "classification") -> tuple[Model, list[str]]:
    """Save the content, build a model from it, and return the messages without the path."""
    if path.suffix == ".safetensors":
        save_file({key: value.clone() for key, value in content.items()}, path)
    else:
        torch.save(content, path)
    said: list[str] = []
    return build(NAME, task, weights=path, say=said.append), [message.removeprefix(f"weights {path}: ") for message in said]


def same(model: Model, state: State, with_head: bool = True) -> bool:
    own = {key.removeprefix("net."): value for key, value in model.backbone.state_dict().items()}
    equal = all(torch.equal(value, state[key]) for key, value in own.items())
    return equal and (not with_head or all(torch.equal(model.head.state_dict()[key], state[key]) for key in ("fc.weight", "fc.bias")))


FRESH = "loaded into the backbone; the classification head is newly initialised"


@pytest.mark.parametrize("suffix", [".pth", ".pth.tar", ".tar", ".ckpt", ".bin", ".pt", ".th", ".PTH"])
def test_suffixes(tmp_path: Path, truth: State, suffix: str) -> None:
    model, said = loaded(tmp_path / f"model_best{suffix}", {"epoch": 3, "arch": NAME, "state_dict": truth, "best_acc1": torch.tensor(71.2)})
    assert same(model, truth)
    assert said == []


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
@pytest.mark.parametrize(
    "prefix",
    [
        "",
        "module.",
        "_orig_mod.",
        "module._orig_mod.",
        "_orig_mod.module.",
        "model.",
        "net.",
        "model.model.",
        "encoder.",
        "backbone.",
        "my.resnet.",
    ],
)
def test_prefixes_in_any_order(tmp_path: Path, truth: State, prefix: str, suffix: str) -> None:
    model, said = loaded(tmp_path / f"w{suffix}", pre(prefix, truth))
    assert same(model, truth)
    assert said == []


@pytest.mark.parametrize(
    "container",
    [
        "state_dict",
        "model_state_dict",
        "model",
        "net",
        "network",
        "module",
        "params",
        "weights",
        "teacher",
        "student",
        "model_ema",
        "mine.too",
    ],
)
def test_containers(tmp_path: Path, truth: State, container: str) -> None:
    content: Any = pre("module.", truth)
    for name in reversed(container.split(".")):
        content = {name: content}
    momentum = {0: {"momentum_buffer": torch.zeros(8, 3, 3, 3)}}
    content |= {"optimizer": {"state": momentum, "param_groups": [{"lr": 0.1}]}, "scaler": {"scale": torch.tensor(1.0)}, "epoch": 3}
    model, said = loaded(tmp_path / "w.pth", content)
    assert same(model, truth)
    assert said == []


@pytest.mark.parametrize(
    ("averaged", "raw"),
    [
        ("ema_state_dict.", "state_dict."),
        ("state_dict_ema.", "state_dict."),
        ("model_ema.module.", "model."),
        ("params_ema.", "params."),
        ("teacher.backbone.", "student.module.backbone."),
        ("callbacks.EMA.state_dict.", "state_dict.model."),
        ("ema_model.", "model."),
        ("swa_state_dict.", "net."),
    ],
)
@pytest.mark.parametrize("averaged_first", [True, False])
def test_averaged_weights_win(tmp_path: Path, truth: State, other: State, averaged: str, raw: str, averaged_first: bool) -> None:
    parts = [pre(averaged, truth), pre(raw, other)]
    content = {**parts[0], **parts[1]} if averaged_first else {**parts[1], **parts[0]}
    model, said = loaded(tmp_path / "w.pth", content)
    assert same(model, truth)
    assert said == [f"used the averaged weights under {averaged[:-1]!r}, not those under {raw[:-1]!r}"]


def test_an_averaged_model_of_torch(tmp_path: Path, theirs: nn.Module, truth: State, other: State) -> None:
    model, said = loaded(tmp_path / "w.pth", {"model": other, "model_ema": AveragedModel(theirs).state_dict()})
    assert same(model, truth)
    assert said == ["used the averaged weights under 'model_ema.module', not those under 'model'"]


@pytest.mark.parametrize("lacking", ["num_batches_tracked", ("running_mean", "running_var", "num_batches_tracked")])
def test_averages_of_parameters_take_the_statistics_of_the_others(tmp_path: Path, truth: State, other: State, lacking: Any) -> None:
    averaged = {key: value for key, value in truth.items() if not key.endswith(lacking)}
    model, said = loaded(tmp_path / "w.pth", {"model": other, "ema": averaged})
    assert same(model, {**other, **averaged})
    assert said == ["used the averaged weights under 'ema', and those under 'model' for what they lack"]


def test_averages_that_do_not_fit_are_passed_over_and_said(tmp_path: Path, truth: State) -> None:
    part = {key: value for key, value in truth.items() if not key.startswith("layer4.0.conv1")}
    model, said = loaded(tmp_path / "w.pth", {"model": truth, "ema": part})
    assert same(model, truth)
    assert said == ["used the weights under 'model', because the averaged ones under 'ema' are incomplete"]


def test_two_sets_of_weights(tmp_path: Path, truth: State, other: State) -> None:
    model, said = loaded(tmp_path / "w.pth", {"best": other, "state_dict": truth})
    assert same(model, truth)
    assert said == ["used the weights under 'state_dict', not those under 'best'"]
    with pytest.raises(WeightsError, match=r"several sets of weights match equally well, under 'one', 'two'\. Save the one to use alone"):
        loaded(tmp_path / "w.pth", {"one": truth, "two": other})
    model, _ = loaded(tmp_path / "w.pth", {"one": truth, "two": {key: value.clone() for key, value in truth.items()}})
    assert same(model, truth)


def test_a_teacher_of_another_architecture_is_not_meant(tmp_path: Path, truth: State) -> None:
    teacher = timm.create_model("resnet26", num_classes=5).state_dict()  # has every key of the student, with other shapes
    model, said = loaded(tmp_path / "w.pth", {"student": truth, "teacher": teacher})
    assert same(model, truth)
    assert len(said) == 1
    assert "used the weights under 'student', because the averaged ones under 'teacher' are incomplete" in said[0]


@pytest.mark.parametrize("prefix", ["backbone.", "module.backbone.", "encoder.", "model.encoder."])
@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_trunk_only_files_leave_the_head_fresh(tmp_path: Path, truth: State, prefix: str, suffix: str) -> None:
    model, said = loaded(tmp_path / f"w{suffix}", pre(prefix, trunk(truth)))
    assert same(model, truth, with_head=False)
    assert len(model.classes) == 1000
    assert said == [FRESH]


@pytest.mark.parametrize("name", ["head.fc", "head", "fc", "classifier", "module.head"])
def test_classifiers_beside_the_backbone(tmp_path: Path, truth: State, name: str) -> None:
    wrapper = "module." if name.startswith("module.") else ""
    beside = {f"{name}.weight": truth["fc.weight"], f"{name}.bias": truth["fc.bias"]}
    model, said = loaded(tmp_path / "w.pth", {"meta": {}, "state_dict": {**pre(f"{wrapper}backbone.", trunk(truth)), **beside}})
    assert same(model, truth)
    assert said == [f"used 'state_dict.{name}' as the classifier"]


MOCO = {"module.queue": torch.zeros(8, 4)}


def test_moco_has_no_classifier(tmp_path: Path, truth: State, other: State) -> None:
    """The last layer of its encoder is a projection; the momentum encoder is ignored."""
    for key_encoder in ({}, pre("module.encoder_k.", trunk(other))):
        model, said = loaded(tmp_path / "w.pth", {"state_dict": {**pre("module.encoder_q.", truth), **key_encoder, **MOCO}})
        assert same(model, truth, with_head=False)
        assert said[-1] == FRESH
        assert "skipped what doesn't belong to the model: 3 entries (state_dict.module.encoder_q.fc.weight, " in said[0]
        assert ("not those under 'state_dict.module.encoder_k'" in said[0]) is bool(key_encoder)


def test_projections_of_other_encoders_are_skipped(tmp_path: Path, truth: State) -> None:
    projection = {"fc.0.weight": torch.zeros(8, 8), "fc.2.weight": torch.zeros(4, 8)}
    model, said = loaded(tmp_path / "w.pth", pre("backbone.", {**trunk(truth), **projection}))
    assert same(model, truth, with_head=False)
    assert said == ["skipped what doesn't belong to the model: 2 entries (backbone.fc.0.weight, backbone.fc.2.weight)", FRESH]
    swav = {"projection_head.0.weight": torch.zeros(8, 8), "prototypes.weight": torch.zeros(4, 8)}
    model, said = loaded(tmp_path / "w.pth", pre("module.", {**trunk(truth), **swav}))
    assert same(model, truth, with_head=False)
    assert "skipped what doesn't belong to the model: 2 entries (module.projection_head.0.weight, module.prototypes.weight)" in said
    with pytest.raises(WeightsError, match=r"the classifier has the keys 0\.weight, 2\.weight; expected one linear layer"):
        loaded(tmp_path / "w.pth", pre("module.", {**trunk(truth), **projection}))


def test_a_linear_layer_after_dropout_or_without_bias(tmp_path: Path, truth: State) -> None:
    model, _ = loaded(tmp_path / "w.pth", {**trunk(truth), "fc.1.weight": truth["fc.weight"], "fc.1.bias": truth["fc.bias"]})
    assert same(model, truth)
    model, _ = loaded(tmp_path / "w.pth", {**trunk(truth), "fc.weight": truth["fc.weight"]})
    assert same(model, {**truth, "fc.bias": torch.zeros(5)})


def test_a_deeper_network_under_a_prefix_is_not_cut(tmp_path: Path) -> None:
    torch.save(pre("module.backbone.", trunk(timm.create_model("resnet34").state_dict())), tmp_path / "w.pth")
    with pytest.raises(WeightsError, match=r"for the backbone resnet18 do not match\. \d+ keys unknown: net\.layer1\.2\."):
        build("resnet18", weights=tmp_path / "w.pth")


def test_models_of_the_zoo_in_wrappers(tmp_path: Path) -> None:
    torch.manual_seed(0)
    donor = build("resnet20", classes=["a", "b"])
    torch.save({"model": pre("module.", donor.state_dict())}, tmp_path / "w.pth")
    model = build("resnet20", classes=["a", "b"], weights=tmp_path / "w.pth")
    assert all(torch.equal(value, donor.state_dict()[key]) for key, value in model.state_dict().items())
    for prefix in ("backbone.", "module.", ""):  # the trunk alone, as the zoo or the CIFAR ResNets name it
        save_file(pre(prefix, donor.backbone.state_dict()), tmp_path / "w.safetensors")
        trunk_only = build("resnet20", num_classes=2, weights=tmp_path / "w.safetensors")
        assert all(torch.equal(value, donor.state_dict()[f"backbone.{key}"]) for key, value in trunk_only.backbone.state_dict().items())


@pytest.mark.parametrize("name", ["iresnet18", "inception_resnet_v1"])
def test_face_networks_in_wrappers(name: str) -> None:
    own = {key.removeprefix("net."): value for key, value in build(name, "face").backbone.state_dict().items()}
    weights = convert({**pre("state_dict_backbone.module.", own), "state_dict_softmax_fc.weight": torch.zeros(3, 4)}, name, "here")
    assert {key.removeprefix("net.") for key in weights.backbone} == set(own)
    assert weights.note == "skipped what doesn't belong to the model: 1 entry (state_dict_softmax_fc.weight)"


@pytest.mark.parametrize(
    ("keys", "what"),
    [
        (["conv0.weight", "features.denseblock1.denselayer1.conv1.weight"], r"a DenseNet \(features\.denseblock1\."),
        (["features.0.0.weight"], "a MobileNet or EfficientNet"),
        (["cls_token"], "a vision transformer"),
        (["model.0.conv.weight"], "a YOLO model of Ultralytics"),
        (["resnet.embedder.embedder.convolution.weight"], "a ResNet with the key names of Hugging Face transformers"),
    ],
)
def test_other_architectures_are_named(keys: list[str], what: str) -> None:
    with pytest.raises(WeightsError, match=rf"match no known layout for the backbone 'resnet18'\. The file contains {what}"):
        convert(dict.fromkeys(keys, torch.zeros(2)), "resnet18", "w.pth")


def test_a_file_is_no_saved_model(tmp_path: Path, truth: State) -> None:
    from zoo.models.config import model_folder

    torch.save(truth, tmp_path / "w.pth.tar")
    with pytest.raises(Exception, match=r"w\.pth\.tar is a file, and contains no saved model.* pass a backbone as well: --backbone NAME"):
        model_folder(tmp_path / "w.pth.tar")
