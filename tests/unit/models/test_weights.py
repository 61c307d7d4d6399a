"""Weights files: known layouts, wrappers, damage, and heads of another size."""

from __future__ import annotations

import contextlib
import os
import pickle
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file
from torch import Tensor

from tests.foreign import randomise
from zoo.errors import InputError, WeightsError
from zoo.models.archive import save
from zoo.models.builder import build
from zoo.models.classes import imagenet_classes, imagenet_synsets
from zoo.models.model import Model
from zoo.models.weights.files import is_path, read_state
from zoo.models.weights.names import known_weights

pytestmark = pytest.mark.usefixtures("one_thread")

IMAGES = torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))


@pytest.fixture(scope="module")
def donor() -> Model:
    torch.manual_seed(0)
    model = build("resnet20", num_classes=10)
    randomise(model)
    return model


def cifar_keys(model: Model, prefix: str = "") -> dict[str, Tensor]:
    state = {f"{prefix}{key}": value for key, value in model.backbone.state_dict().items()}
    return {**state, **{f"{prefix}linear.{key}": value for key, value in model.head.fc.state_dict().items()}}  # type: ignore[union-attr]


@pytest.mark.parametrize(("wrapper", "suffix"), [(None, ".th"), ("state_dict", ".pth"), ("model", ".pt"), ("state_dict_ema", ".ckpt")])
@pytest.mark.parametrize("prefix", ["", "module."])
def test_the_cifar_layout_in_its_wrappers(tmp_path: Path, donor: Model, wrapper: str | None, prefix: str, suffix: str) -> None:
    state: dict[str, Any] = cifar_keys(donor, prefix)
    path = tmp_path / f"w{suffix}"
    torch.save(state if wrapper is None else {wrapper: state, "epoch": 3, "best_prec1": 91.7}, path)
    model = build("resnet20", weights=path)
    assert model.classes == tuple("0123456789")
    assert torch.equal(model(IMAGES), donor(IMAGES))


def test_averaged_weights_go_before_others(tmp_path: Path, donor: Model) -> None:
    path = tmp_path / "w.pth"
    torch.save({"state_dict": cifar_keys(build("resnet20", num_classes=10)), "state_dict_ema": cifar_keys(donor)}, path)
    assert torch.equal(build("resnet20", weights=path)(IMAGES), donor(IMAGES))


@pytest.mark.parametrize("name", ["resnet20", "resnet56"])
def test_the_published_cifar_weights(shared_data: Path, name: str) -> None:
    path = next((shared_data / "weights").glob(f"{name}-*.th"))
    model = build(name, weights=path)
    published = torch.load(path, map_location="cpu", weights_only=True)["state_dict"]
    assert len(model.classes) == 10
    assert torch.equal(model.state_dict()["backbone.conv1.weight"], published["module.conv1.weight"])
    assert torch.equal(model.state_dict()["heads.classification.fc.weight"], published["module.linear.weight"])


def test_safetensors_and_weights_without_counters(tmp_path: Path, donor: Model) -> None:
    state = {key: value for key, value in cifar_keys(donor).items() if not key.endswith("num_batches_tracked")}
    save_file(state, tmp_path / "w.safetensors")
    assert torch.equal(build("resnet20", weights=tmp_path / "w.safetensors")(IMAGES), donor(IMAGES))


def test_weights_of_another_trunk_name_the_keys(tmp_path: Path, donor: Model) -> None:
    path = tmp_path / "w.th"
    torch.save(cifar_keys(donor), path)
    with pytest.raises(WeightsError, match=r"w\.th for the backbone resnet32 do not match\. \d+ keys missing: layer1\.3") as caught:
        build("resnet32", weights=path)
    assert "Are these weights for a different backbone?" in str(caught.value)
    torch.save(cifar_keys(build("resnet32", num_classes=10)), path)
    with pytest.raises(WeightsError, match=r"keys unknown: layer1\.3\.\S+; .* and \d+ more"):
        build("resnet20", weights=path)


def test_a_tensor_of_another_shape_is_named(tmp_path: Path, donor: Model) -> None:
    path = tmp_path / "w.th"
    torch.save({**cifar_keys(donor), "conv1.weight": torch.zeros(8, 3, 3, 3)}, path)
    with pytest.raises(
        WeightsError, match=r"1 keys of another shape: conv1\.weight is \[8, 3, 3, 3\], expected \[16, 3, 3, 3\]\. Are these"
    ):
        build("resnet20", weights=path)


def test_keys_of_no_known_layout(tmp_path: Path) -> None:
    torch.save({"encoder.weight": torch.zeros(2), "encoder.bias": torch.zeros(2)}, tmp_path / "w.pt")
    with pytest.raises(WeightsError, match=r"keys \(encoder\.weight, encoder\.bias, …\) match no known layout for the backbone 'resnet20'"):
        build("resnet20", weights=tmp_path / "w.pt")


def test_a_classifier_that_is_no_linear_layer(tmp_path: Path, donor: Model) -> None:
    torch.save({**cifar_keys(donor), "linear.0.weight": torch.zeros(2)}, tmp_path / "w.pt")
    with pytest.raises(
        WeightsError, match=r"the classifier has the keys weight, bias, 0\.weight; expected one linear layer .* Remove these"
    ):
        build("resnet20", weights=tmp_path / "w.pt")


def test_a_head_of_another_class_count_is_left_fresh_and_said(tmp_path: Path, donor: Model) -> None:
    torch.save(cifar_keys(donor), tmp_path / "w.pt")
    said: list[str] = []
    model = build("resnet20", classes=["a", "b"], weights=tmp_path / "w.pt", say=said.append)
    assert len(said) == 1
    assert f"weights {tmp_path / 'w.pt'}: made for 10 classes, but the model has 2; newly initialised: " in said[0]
    assert {"fc.weight", "fc.bias"} == set(said[0].partition("newly initialised: ")[2].split(", "))
    assert torch.equal(model.state_dict()["backbone.conv1.weight"], donor.state_dict()["backbone.conv1.weight"])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("zoo.models.weights.loading._LOG.warning", said.append)
        build("resnet20", "face", num_classes=2, weights=tmp_path / "w.pt")
    assert said[1] == f"weights {tmp_path / 'w.pt'}: loaded into the backbone; the face head is newly initialised"


def test_a_trunk_alone_loads_with_a_fresh_head(tmp_path: Path, donor: Model) -> None:
    save_file(donor.backbone.state_dict(), tmp_path / "w.safetensors")
    said: list[str] = []
    model = build("resnet20", num_classes=4, weights=tmp_path / "w.safetensors", say=said.append)
    assert len(model.classes) == 4
    assert "the classification head is newly initialised" in said[0]


# -- files that can't be read ------------------------------------------------------------------------------------------


class Hostile:
    """An object that creates the folder `mark` when it is unpickled."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.mark),)


@pytest.mark.parametrize("zipped", [True, False])
def test_pickled_objects_are_refused_without_running(tmp_path: Path, zipped: bool) -> None:
    path, mark = tmp_path / "w.pth", tmp_path / "mark"
    if zipped:
        torch.save({"state_dict": Hostile(mark)}, path)
    else:
        path.write_bytes(pickle.dumps({"state_dict": Hostile(mark)}))
    with pytest.raises(
        WeightsError, match=r"w\.pth: the file contains Python objects, which are never .*: posix\.mkdir under the key 'state_d"
    ):
        read_state(path)
    assert not mark.exists()


def test_files_that_are_missing_or_of_another_kind(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match=r"weights .*gone\.pth: the file does not exist\. Check the path$"):
        read_state(tmp_path / "gone.pth")
    with pytest.raises(WeightsError, match=r"weights gone\.pth: the file does not exist\. Check the path; it is relative to /"):
        read_state(Path("gone.pth"))
    (tmp_path / "w.h5").write_bytes(b"x")
    with pytest.raises(WeightsError, match=r"unknown file type '\.h5'; expected one of \.safetensors, \.bin"):
        read_state(tmp_path / "w.h5")
    with pytest.raises(InputError, match="contains no saved model"):
        build("resnet20", weights=tmp_path, num_classes=2)


@pytest.mark.parametrize("content", [[1, 2], {}, {"epoch": 3}, {"state_dict": {"lr": 0.1}}, torch.zeros(3)])
def test_pickles_without_a_state_dict(tmp_path: Path, content: object) -> None:
    torch.save(content, tmp_path / "w.pt")
    with pytest.raises(WeightsError, match=r"w\.pt: no state dict in the file; expected a dict of names to tensors, or one under a key"):
        read_state(tmp_path / "w.pt")


@pytest.mark.parametrize("keep", [0.0, 0.001, 0.5, 0.99])
@pytest.mark.parametrize("suffix", [".safetensors", ".pth"])
def test_truncated_files(tmp_path: Path, donor: Model, suffix: str, keep: float) -> None:
    path = tmp_path / f"w{suffix}"
    if suffix == ".pth":
        torch.save(cifar_keys(donor), path)
    else:
        save_file(cifar_keys(donor), path)
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * keep)])
    with pytest.raises(
        WeightsError,
        match=rf"weights .*w\{suffix}: the file (is empty|is not a readable|can't be read)",
    ):
        read_state(path)


_PLACES = st.lists(st.tuples(st.floats(0, 1), st.integers(0, 255)), max_size=8)


@settings(
    suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=int(os.environ.get("ZOO_MUTATIONS", "150")), deadline=None
)
@given(
    suffix=st.sampled_from([".safetensors", ".pth", ".old.pth"]),
    places=st.lists(st.tuples(st.floats(0, 1), st.integers(0, 255)), max_size=8),
)
def test_mutated_bytes_raise_nothing_else(tmp_path: Path, suffix: str, places: list[tuple[float, int]]) -> None:
    path = tmp_path / f"w{suffix}"
    state = {"conv1.weight": torch.ones(2, 3), "fc.bias": torch.zeros(2)}
    if suffix == ".safetensors":
        save_file(state, path)
    else:
        torch.save(state, path, _use_new_zipfile_serialization=suffix == ".pth")
    data = bytearray(path.read_bytes())
    for place, value in places:
        data[int(place * (len(data) - 1))] = value
    path.write_bytes(data)
    with contextlib.suppress(WeightsError):
        assert all(isinstance(value, Tensor) for value in read_state(path).values())


# -- names -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("weights", "path"),
    [("a1_in1k", False), ("default", False), ("IMAGENET1K_V2", False), ("a/b", True), ("w.th", True), (Path("w"), True), ("x\\y", True)],
)
def test_a_name_or_a_path(weights: str | Path, path: bool) -> None:
    assert is_path(weights) is path


def test_known_names_start_with_the_default() -> None:
    classification, detection = known_weights("resnet50", "classification"), known_weights("resnet50", "detection")
    assert classification[0] == "a1_in1k"
    assert {"IMAGENET1K_V1", "IMAGENET1K_V2"} <= set(classification)
    assert "COCO_V1" not in classification
    assert detection[0] == "COCO_V1"
    assert known_weights("resnet20", "classification") == ()


def test_a_trunk_without_known_weights() -> None:
    with pytest.raises(WeightsError, match="no weights are known for the backbone 'resnet20'; pass a file"):
        build("resnet20", num_classes=2, weights="default")


def test_weights_that_can_not_be_fetched(monkeypatch: pytest.MonkeyPatch) -> None:
    def offline(*args: object, **kwargs: object) -> object:
        raise ConnectionError("no route\nsecond line")

    monkeypatch.setattr("torchvision.models._api.load_state_dict_from_url", offline)
    with pytest.raises(WeightsError, match=r"IMAGENET1K_V1: could not be fetched \(no route\)\. Check the network, or download the file"):
        build("resnet18", weights="IMAGENET1K_V1")


def test_imagenets_names_are_different_and_in_order() -> None:
    assert len(set(imagenet_classes())) == len(set(imagenet_synsets())) == 1000
    assert (imagenet_synsets()[0], imagenet_classes()[0]) == ("n01440764", "tench")


def test_classes_with_other_names_than_in_the_weights_are_reported(tmp_path: Path) -> None:
    folder = save(build("resnet20", classes=["a", "b", "c"]), tmp_path / "model")
    said: list[str] = []
    for classes in (["a", "b", "c"], None):
        build("resnet20", classes=classes, weights=folder, say=said.append)
    assert said == []
    build("resnet20", classes=["a", "c", "b"], weights=folder, say=said.append)
    (message,) = said
    assert message.endswith("2 of 3 classes have other names than in the weights: the output for 'b' is now called 'c'")
