"""Sharded weights of Hugging Face's libraries, folders of other libraries, archives, and architectures named as what they are."""

from __future__ import annotations

import gzip
import io
import json
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import torchvision
from safetensors.torch import save_file

from zoo.errors import InputError, WeightsError
from zoo.models.builder import build
from zoo.models.weights.files import is_path, read_state

pytestmark = pytest.mark.usefixtures("one_thread")

SAVE: dict[str, tuple[str, Callable[[Any, Path], object]]] = {"safetensors": ("model", save_file), "bin": ("pytorch_model", torch.save)}


@pytest.fixture(params=SAVE)
def index(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """Return the index of weights in two files, the first of which contains the backbone's first layer."""
    name, save = SAVE[request.param]
    state = {f"module.{key}": value for key, value in build("resnet20").backbone.state_dict().items()}
    files = [f"{name}-0000{part}-of-00002.{request.param}" for part in (1, 2)]
    places = {key: files[number > len(state) // 2] for number, key in enumerate(state)}
    for file in files:
        save({key: value for key, value in state.items() if places[key] == file}, tmp_path / file)
    path = tmp_path / f"{name}.{request.param}.index.json"
    path.write_text(json.dumps({"metadata": {"total_size": 1}, "weight_map": places}))
    return path


def test_sharded_weights_are_read_by_their_index(index: Path) -> None:
    assert is_path(index.name)
    state = read_state(index)
    backbone = build("resnet20", weights=index).backbone.state_dict()
    assert all(torch.equal(value, backbone[key.removeprefix("module.")]) for key, value in state.items())
    first = next(file for file in index.parent.iterdir() if "00001-of" in file.name)
    with pytest.raises(WeightsError, match=rf"{first.name}: the file is part 1 of 2 of sharded weights; pass their index, {index.name}"):
        build("resnet20", weights=first)
    with pytest.raises(InputError, match=rf"contains no saved model .* pass their file: .*{index.name}"):
        build("resnet20", weights=index.parent)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("[]", "expected an index of sharded weights"),
        ("{", "the index can't be read"),
        ("[" * 100_000, "the index can't be read"),
        ('{"weight_map": {}}', "expected an index"),
        ('{"weight_map": {"a.b": 1}}', "expected an index"),
        ('{"weight_map": {"a.b": "../w.bin"}}', r"weight_map names '\.\./w\.bin'; expected a weights file beside the index"),
        ('{"weight_map": {"a.b": ".."}}', "expected a weights file beside"),
        ('{"weight_map": {"a.b": "w.index.json"}}', "expected a weights file beside"),
        ('{"weight_map": {"a.b": "missing.bin"}}', r"missing\.bin: the file does not exist"),
        ('{"weight_map": {"a.b": "w.bin", "a.c": "w.bin"}}', r"w\.bin lacks a\.c, which weight_map lists \(1 missing\)"),
    ],
)
def test_an_index_that_is_none(tmp_path: Path, content: str, message: str) -> None:
    torch.save({"a.b": torch.zeros(1)}, tmp_path / "w.bin")
    (tmp_path / "w.index.json").write_text(content)
    with pytest.raises(WeightsError, match=message):
        read_state(tmp_path / "w.index.json")


@pytest.mark.parametrize("kind", ["tar", "gzip", "bzip2", "xz", "zip"])
def test_archives_are_never_unpacked(tmp_path: Path, kind: str) -> None:
    torch.save({"a.b": torch.zeros(1)}, tmp_path / "w.bin")
    path = tmp_path / "w.pth.tar"
    if kind == "zip":
        with zipfile.ZipFile(path, "w") as archive:
            archive.write(tmp_path / "w.bin", "w.bin")
    else:
        mode: Any = {"tar": "w", "gzip": "w:gz", "bzip2": "w:bz2", "xz": "w:xz"}[kind]
        with tarfile.open(path, mode) as archive_of_tar:
            archive_of_tar.add(tmp_path / "w.bin", "w.bin")
    with pytest.raises(WeightsError, match=rf"w\.pth\.tar: the file is a {kind} archive; unpack it, and pass the weights file in it$"):
        read_state(path)


def test_a_compressed_pickle_is_an_archive(tmp_path: Path) -> None:
    buffer = io.BytesIO()
    torch.save({"a.b": torch.zeros(1)}, buffer)
    (tmp_path / "w.pth").write_bytes(gzip.compress(buffer.getvalue()))
    with pytest.raises(WeightsError, match="the file is a gzip archive"):
        read_state(tmp_path / "w.pth")


@pytest.mark.parametrize(
    ("name", "what"),
    [
        ("mobilenet_v3_small", "a MobileNet or EfficientNet"),
        ("efficientnet_b0", "a MobileNet or EfficientNet"),
        ("convnext_tiny", "a ConvNeXt"),
        ("swin_t", "a Swin transformer"),
        ("vit_b_32", "a vision transformer"),
        ("squeezenet1_1", "a SqueezeNet"),
        ("alexnet", "a VGG or AlexNet"),
        ("densenet121", "a DenseNet"),
        ("shufflenet_v2_x0_5", "a ShuffleNet"),
        ("regnet_y_400mf", "a RegNet"),
        ("mnasnet0_5", "an MNASNet"),
        ("inception_v3", "an Inception v3"),
        ("googlenet", "a GoogLeNet"),
        ("lraspp_mobilenet_v3_large", "an LR-ASPP model of torchvision"),
    ],
)
def test_other_architectures_of_torchvision_are_named(tmp_path: Path, name: str, what: str) -> None:
    with torch.device("cpu" if name.startswith("regnet") else "meta"):  # that of RegNet computes with tensors
        options = (
            {"weights_backbone": None}
            if name.startswith("lraspp")
            else {"init_weights": False}
            if name in ("googlenet", "inception_v3")
            else {}
        )
        keys = torchvision.models.get_model(name, weights=None, **options).state_dict()
    torch.save({"model": {key: torch.zeros(1) for key in keys}}, tmp_path / "w.pth")
    with pytest.raises(WeightsError, match=rf"The file contains {what} \(model\."):
        build("resnet50", weights=tmp_path / "w.pth")


def test_a_damaged_archive_is_an_error_of_the_weights(tmp_path: Path) -> None:
    torch.save({"conv1.weight": torch.ones(2, 3)}, tmp_path / "w.pth")
    data = bytearray((tmp_path / "w.pth").read_bytes())
    end = data.rfind(b"PK\x06\x07")  # the locator of the zip64 end record
    assert end > 0
    data[0], data[end + 16] = 134, 9  # its number of disks
    for name in ("w.pth", "w.safetensors"):
        (tmp_path / name).write_bytes(data)
        with pytest.raises(WeightsError, match=r"the file (can't be read|is not a readable)"):
            read_state(tmp_path / name)
