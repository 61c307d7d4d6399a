"""Parity of face networks with the libraries that their weights files come from."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import zoo
from tests.foreign import randomise
from zoo.errors import InputError, WeightsError

pytestmark = pytest.mark.usefixtures("one_thread")

BLOCKS = {18: (2, 2, 2, 2), 34: (3, 4, 6, 3), 50: (3, 4, 14, 3), 100: (3, 13, 30, 3)}


def pictures(size: int) -> Tensor:
    return torch.randint(0, 256, (2, 3, size, size), dtype=torch.uint8, generator=torch.Generator().manual_seed(3))


def embedded(model: zoo.Model, images: Tensor) -> Tensor:
    with torch.inference_mode():
        answer = model(images)
    assert isinstance(answer, Tensor)
    return answer


# -- dlib --------------------------------------------------------------------------------------------------------------


def test_dlibs_own_descriptors(dlib_model: zoo.Model, shared_data: Path) -> None:
    golden = np.load(shared_data / "dlib-golden.npz")
    ours = embedded(dlib_model, torch.from_numpy(golden["chips"]).permute(0, 3, 1, 2)).numpy()
    assert np.abs(ours - golden["descriptors"]).max() < 1e-5
    assert np.abs(np.linalg.norm(ours, axis=1) - 1).min() > 0.05, "dlib's vectors are not normalised"


def test_what_is_known_of_dlibs_vectors_stays_with_them(dlib_model: zoo.Model, tmp_path: Path) -> None:
    loaded = zoo.load(zoo.save(dlib_model, tmp_path / "m"))
    built = zoo.build("dlib_resnet29", task="face", weights=tmp_path / "m")
    for model in (dlib_model, loaded, built):
        assert model.metadata == {"distance": "euclidean", "unit_length": False, "threshold": 0.6}
        assert (model.preprocess.size_hw, model.preprocess.alignment, model.preprocess.policy) == ((150, 150), "dlib", "squash")
        assert model.preprocess.mean == pytest.approx((122.782 / 255, 117.001 / 255, 104.298 / 255))
        assert model.preprocess.std == (256 / 255,) * 3
        assert all(torch.equal(tensor, dlib_model.state_dict()[name]) for name, tensor in model.state_dict().items())
    # not of the fixture's model: another test may have put it into the channels-last format, whose last bits differ
    assert torch.equal(embedded(built, pictures(150)), embedded(loaded, pictures(150)))


def test_a_model_that_compares_dlibs_vectors_by_angle_has_no_threshold(dlib_model: zoo.Model, tmp_path: Path) -> None:
    unit = {"distance": "cosine", "unit_length": True, "threshold": None}
    built = zoo.build("dlib_resnet29", task="face", weights="default", distance="cosine", num_classes=3, say=lambda line: None)
    loaded = zoo.load(zoo.save(dlib_model, tmp_path / "m"), distance="cosine")
    for model in (built, loaded):
        assert model.metadata == unit
        expected = F.normalize(embedded(dlib_model, pictures(150)), dim=1)
        torch.testing.assert_close(embedded(model, pictures(150)), expected)


def test_another_size_keeps_dlibs_distance(dlib_model: zoo.Model) -> None:
    model = zoo.build("dlib_resnet29", task="face", weights="default", image_size=120)
    assert model.preprocess.size_hw == (120, 120)
    assert model.metadata == dlib_model.metadata


def test_raw_vectors_are_not_trained_by_angles() -> None:
    with pytest.raises(InputError, match=r"the loss arcface requires unit-length .* is euclidean\. .*distance='cosine'"):
        zoo.build("resnet20", task="face", distance="euclidean", num_classes=3)


# -- InsightFace -------------------------------------------------------------------------------------------------------


class Restated:
    """arcface_torch's network in functional form, computed from a state dict in its key names."""

    def __init__(self, state: dict[str, Tensor], depth: int) -> None:
        self.state, self.blocks = state, BLOCKS[depth]

    def norm(self, x: Tensor, name: str) -> Tensor:
        mean, var, weight, bias = (self.state[f"{name}.{part}"] for part in ("running_mean", "running_var", "weight", "bias"))
        return F.batch_norm(x, mean, var, weight, bias, eps=1e-5)

    def unit(self, x: Tensor, name: str, stride: int) -> Tensor:
        out = F.conv2d(self.norm(x, f"{name}.bn1"), self.state[f"{name}.conv1.weight"], padding=1)
        out = F.prelu(self.norm(out, f"{name}.bn2"), self.state[f"{name}.prelu.weight"])
        out = self.norm(F.conv2d(out, self.state[f"{name}.conv2.weight"], stride=stride, padding=1), f"{name}.bn3")
        if stride == 1:
            return out + x
        return out + self.norm(F.conv2d(x, self.state[f"{name}.downsample.0.weight"], stride=stride), f"{name}.downsample.1")

    def __call__(self, images: Tensor) -> Tensor:
        x = (images.float() / 255 - 0.5) / 0.5
        x = F.prelu(self.norm(F.conv2d(x, self.state["conv1.weight"], padding=1), "bn1"), self.state["prelu.weight"])
        for stage, blocks in enumerate(self.blocks, start=1):
            for block in range(blocks):
                x = self.unit(x, f"layer{stage}.{block}", 1 if block else 2)
        x = F.linear(self.norm(x, "bn2").flatten(1), self.state["fc.weight"], self.state["fc.bias"])
        return F.normalize(self.norm(x, "features"), dim=1)


def published(depth: int, size: int = 512, side: int = 7) -> dict[str, Tensor]:
    """Return a random state dict with the names and shapes of a published backbone.pth, counters of batch-norms included."""
    generator = torch.Generator().manual_seed(depth)
    state: dict[str, Tensor] = {}

    def random(name: str, *shape: int) -> None:
        state[name] = torch.randn(*shape, generator=generator) * (2 / max(1, int(np.prod(shape[1:])))) ** 0.5

    def norm(name: str, channels: int) -> None:
        for part, low, high in (("weight", 0.6, 1.2), ("bias", -0.1, 0.1), ("running_mean", -0.1, 0.1), ("running_var", 0.5, 1.5)):
            state[f"{name}.{part}"] = torch.empty(channels).uniform_(low, high, generator=generator)
        state[f"{name}.num_batches_tracked"] = torch.tensor(7)

    random("conv1.weight", 64, 3, 3, 3)
    norm("bn1", 64)
    state["prelu.weight"] = torch.full((64,), 0.2)
    before = 64
    for stage, (width, blocks) in enumerate(zip((64, 128, 256, 512), BLOCKS[depth], strict=True), start=1):
        for block in range(blocks):
            name = f"layer{stage}.{block}"
            norm(f"{name}.bn1", before)
            random(f"{name}.conv1.weight", width, before, 3, 3)
            norm(f"{name}.bn2", width)
            state[f"{name}.prelu.weight"] = torch.empty(width).uniform_(0.1, 0.4, generator=generator)
            random(f"{name}.conv2.weight", width, width, 3, 3)
            norm(f"{name}.bn3", width)
            if block == 0:
                random(f"{name}.downsample.0.weight", width, before, 1, 1)
                norm(f"{name}.downsample.1", width)
            before = width
    norm("bn2", 512)
    random("fc.weight", size, 512 * side * side)
    random("fc.bias", size)
    norm("features", size)
    state["features.weight"].fill_(1)
    return state


@pytest.mark.parametrize("depth", [18, 34, 50, 100])
def test_published_iresnets(depth: int, tmp_path: Path) -> None:
    state = published(depth)
    torch.save(state, tmp_path / "backbone.pth")
    model = zoo.build(f"iresnet{depth}", task="face", weights=tmp_path / "backbone.pth")
    images = pictures(112)
    torch.testing.assert_close(embedded(model, images), Restated(state, depth)(images), rtol=1e-5, atol=1e-5)
    assert model.metadata == {"distance": "cosine", "unit_length": True, "threshold": None}
    assert (model.preprocess.size_hw, model.preprocess.alignment) == ((112, 112), "arcface")
    assert model.preprocess.mean == model.preprocess.std == (0.5, 0.5, 0.5)
    assert not model.head.norm.weight.requires_grad  # type: ignore[union-attr]
    assert model.classes == ()


def test_an_iresnet_for_other_pictures_and_sizes_says_so_itself(tmp_path: Path) -> None:
    torch.save(published(18, size=256, side=4), tmp_path / "backbone.pth")
    model = zoo.build("iresnet18", task="face", weights=tmp_path / "backbone.pth")
    assert (model.config.options["embedding_size"], model.preprocess.size_hw) == (256, (64, 64))
    assert embedded(model, pictures(64)).shape == (2, 256)
    with pytest.raises(InputError, match=r"the image size is 112×112 pixels, but this model, whose neck is 'flat', only accepts 64×64"):
        embedded(model, pictures(112))


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        (
            {"embedding_size": 128},
            r"face: embedding_size is 128, but the weights .*backbone\.pth were trained with 256; omit it",
        ),
        ({"image_size": 112}, "image_size is 112, but the weights .* were trained with 64"),
        ({"neck": "mean"}, "neck is 'mean', but the weights .* were trained with 'flat'"),
        ({"alignment": "dlib"}, "alignment is 'dlib', but the weights .* were trained with 'arcface'"),
        ({"alignment": "none"}, "alignment is 'none', but the weights"),
    ],
)
def test_options_that_contradict_the_weights(asked: dict[str, Any], message: str, tmp_path: Path) -> None:
    torch.save(published(18, size=256, side=4), tmp_path / "backbone.pth")
    with pytest.raises(InputError, match=message):
        zoo.build("iresnet18", task="face", weights=tmp_path / "backbone.pth", **asked)


def test_a_published_iresnet_is_a_trunk_for_other_tasks(tmp_path: Path) -> None:
    state = published(18, side=4)
    torch.save({"state_dict": {f"module.{key}": value for key, value in state.items()}}, tmp_path / "backbone.pth")
    said: list[str] = []
    model = zoo.build("iresnet18", num_classes=3, weights=tmp_path / "backbone.pth", say=said.append)
    assert torch.equal(model.state_dict()["backbone.layer4.1.conv2.weight"], state["layer4.1.conv2.weight"])
    assert model.preprocess.alignment is None
    loaded, licence = said
    assert "for non-commercial research only" in licence
    assert loaded == f"weights {tmp_path / 'backbone.pth'}: loaded into the backbone; the classification head is newly initialised"
    torch.save({key: value for key, value in state.items() if not key.startswith(("bn2", "fc", "features"))}, tmp_path / "trunk.pth")
    assert len(zoo.build("iresnet18", "face", num_classes=2, weights=tmp_path / "trunk.pth", say=said.append).classes) == 2
    assert "the face head is newly initialised" in said[2]


def test_half_an_iresnets_end(tmp_path: Path) -> None:
    state = published(18, side=4)
    torch.save({key: value for key, value in state.items() if not key.startswith("features")}, tmp_path / "backbone.pth")
    with pytest.raises(WeightsError, match=r"only some of the final layers bn2, fc and features of an IResNet are present: bn\.weight"):
        zoo.build("iresnet18", task="face", weights=tmp_path / "backbone.pth")


# -- facenet-pytorch ---------------------------------------------------------------------------------------------------


def facenet(people: int | None = None) -> nn.Module:
    from facenet_pytorch import InceptionResnetV1

    torch.manual_seed(1)
    model: nn.Module = randomise(InceptionResnetV1(classify=people is not None, num_classes=people))
    norm = model.last_bn
    assert isinstance(norm, nn.BatchNorm1d)
    assert norm.running_mean is not None
    assert norm.running_var is not None
    norm.running_mean.normal_(0, 0.1)
    norm.running_var.uniform_(0.5, 1.5)
    return model


def test_facenets_own_files(tmp_path: Path) -> None:
    theirs, images, said = facenet(), pictures(160), list[str]()
    torch.save(theirs.state_dict(), tmp_path / "f.pt")
    model = zoo.build("inception_resnet_v1", task="face", weights=tmp_path / "f.pt", say=said.append)
    with torch.inference_mode():
        torch.testing.assert_close(embedded(model, images), theirs((images.float() - 127.5) / 128), rtol=1e-5, atol=1e-5)
    assert (model.preprocess.size_hw, model.preprocess.alignment) == ((160, 160), "facenet")
    assert model.config.options["dropout"] == 0.6
    assert said == []


@pytest.mark.parametrize(("name", "file", "people"), [
    ("vggface2", "20180402-114759-vggface2.pt", 8631), ("casia-webface", "20180408-102900-casia-webface.pt", 10575),
])  # fmt: skip
def test_weights_by_name_come_through_facenets_loader(
    name: str, file: str, people: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    theirs, images, said = facenet(people), pictures(160), list[str]()
    (tmp_path / "checkpoints").mkdir()
    torch.save(theirs.state_dict(), tmp_path / "checkpoints" / file)
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    model = zoo.build("inception_resnet_v1", task="face", weights=name, say=said.append)
    theirs.classify = False  # type: ignore[assignment]
    with torch.inference_mode():
        torch.testing.assert_close(embedded(model, images), theirs((images.float() - 127.5) / 128), rtol=1e-5, atol=1e-5)
    assert said[0] == f"weights inception_resnet_v1.{name}: skipped the classifier of the {people:,} people in the training data (logits)"
    assert any("research only" in each for each in said) == (name == "vggface2")


def test_facenets_trunk_alone(tmp_path: Path) -> None:
    state = {key: value for key, value in facenet().state_dict().items() if not key.startswith("last")}
    torch.save(state, tmp_path / "f.pt")
    said: list[str] = []
    model = zoo.build("inception_resnet_v1", task="face", num_classes=2, embedding_size=64, weights=tmp_path / "f.pt", say=said.append)
    assert model.config.options["embedding_size"] == 64
    assert "the face head is newly initialised" in said[0]


def test_facenets_weights_without_a_network(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def offline(*args: object) -> None:
        raise OSError("no route to host")

    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setattr("facenet_pytorch.models.inception_resnet_v1.download_url_to_file", offline)
    with pytest.raises(WeightsError, match=r"inception_resnet_v1\.vggface2: could not be fetched \(no route to host\)\. Check the network"):
        zoo.build("inception_resnet_v1", task="face", weights="default")
