"""dlib's serialised networks, written here according to the format: reading, damage, and loading into the backbone."""

from __future__ import annotations

import contextlib
import importlib.machinery
import importlib.util
import math
import os
import struct
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import zoo
from zoo.errors import WeightsError
from zoo.models.weights.dlib_file import read_dlib
from zoo.models.weights.files import is_path, read_state
from zoo.models.weights.layouts import LAYOUTS

# -- a writer ----------------------------------------------------------------------------------------------------------


def integer(value: int) -> bytes:
    content = abs(value).to_bytes(max(1, (abs(value).bit_length() + 7) // 8), "little")
    return bytes([len(content) | (0x80 if value < 0 else 0)]) + content


def integers(*values: int) -> bytes:
    return b"".join(integer(value) for value in values)


def real(value: float) -> bytes:
    mantissa, exponent = math.frexp(value)
    return integers(round(mantissa * 2**24), exponent - 24)


def text(name: str) -> bytes:
    return integer(len(name)) + name.encode()


def tensor(values: Sequence[float] = (), shape: tuple[int, int, int, int] = (0, 0, 0, 0), version: int = 2) -> bytes:
    return integers(version, *shape) + struct.pack(f"<{len(values)}f", *values)


REST = b"110" + 3 * tensor()
RATES = real(1) + real(1) + real(1) + real(0)
CONV_VALUES = [0.5, -1.5, 2.0, 3.0, -4.0, 0.25, 0.125, 1.0, 10.0, 20.0]  # 2 filters of 1×2×2, then 2 biases


def convolution(filters: int = 2, values: Sequence[float] = CONV_VALUES) -> bytes:
    own = tensor(values, (len(values), 1, 1, 1)) + integers(filters, 2, 2, 1, 1, 0, 0)
    return text("con_4") + own + integers(1, filters, 1, 2, 2) + integers(1, 1, filters, 1, 1) + RATES + REST


def affine() -> bytes:
    own = tensor([3, 4, 5, 6], (4, 1, 1, 1)) + integers(1, 1, 2, 1, 1) + integers(1, 1, 2, 1, 1) + integer(0)
    return integer(1) + text("affine_") + own + b"111" + 3 * tensor()


def linear(outputs: int = 3, inputs: int = 2) -> bytes:
    own = integers(outputs, inputs) + tensor(range(6), (2, 3, 1, 1)) + integers(1, 2, 3, 1, 1, 1, 0, 0, 0, 0, 1)
    return text("fc_2") + own + RATES + REST


def header(name: str = "input_rgb_image_sized", versions: Sequence[int] = (2, 1, 2, 3)) -> bytes:
    loss = integer(1) + text("loss_metric_2") + real(0.04) + real(0.6)
    return loss + integers(*versions) + text(name) + real(122.782) + real(117.001) + real(104.298) + integers(150, 150)


def pool(name: str) -> bytes:
    return text(name) + integers(3, 3, 2, 2, 0, 0) + REST


def plain(name: str) -> bytes:
    return text(name) + REST


def network(*layers: bytes) -> bytes:
    return header() + b"".join(layers)


WHOLE = network(convolution(), affine(), plain("relu_"), pool("max_pool_2"), plain("add_prev_"), pool("avg_pool_2"), linear())


def saved(folder: Path, content: bytes) -> Path:
    (folder / "net.dat").write_bytes(content)
    return folder / "net.dat"


# -- reading -----------------------------------------------------------------------------------------------------------


def test_every_number_is_where_it_belongs(tmp_path: Path) -> None:
    state = read_state(saved(tmp_path, WHOLE))
    assert list(state) == [
        "threshold", "mean", "size_hw", "con1.weight", "con1.bias", "affine1.weight", "affine1.bias", "fc.weight",
    ]  # fmt: skip
    assert float(state["threshold"]) == pytest.approx(0.6, abs=1e-6)
    assert state["mean"].tolist() == pytest.approx([122.782, 117.001, 104.298])
    assert state["size_hw"].tolist() == [150, 150]
    assert state["con1.weight"].tolist() == np.reshape(CONV_VALUES[:8], (2, 1, 2, 2)).tolist()
    assert state["con1.bias"].tolist() == [10, 20]
    assert (state["affine1.weight"].tolist(), state["affine1.bias"].tolist()) == ([3, 4], [5, 6])
    assert state["fc.weight"].tolist() == [[0, 3], [1, 4], [2, 5]], "dlib writes inputs by rows"
    assert all(value.is_contiguous() for value in state.values())


def test_a_file_is_known_by_its_suffix() -> None:
    assert is_path("dlib_face_recognition_resnet_model_v1.dat")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", r"the file ends where 17 more bytes are expected, before byte 0 of 0"),
        (b"PK\x03\x04" * 90, "where dlib's metric loss is expected before byte 17 of 360"),
        (header(versions=(2, 7)), "a layer of version 7"),
        (header(name="input_rgb_image_sizes"), "an input b'input_rgb_image_sizes'"),
        (network(plain("prelu_")), "a layer of type 'prelu_', which face networks don't use,"),
        (network(integer(4000)), "a layer's name of 4000 letters"),
        (network(b"\x09" + bytes(9)), "an integer of 9 bytes"),
        (network(text("con_4"), tensor(version=3)), r"a tensor of version 3 and shape \[0, 0, 0, 0\]"),
        (network(text("con_4"), integers(2, -4, 1, 1, 1)), r"a tensor of version 2 and shape \[-4, 1, 1, 1\]"),
        (network(text("con_4"), integers(2, 1 << 20, 1 << 20, 1, 1)), r"a tensor of version 2 and shape \[1048576, 1048576, 1, 1\]"),
        (network(convolution(values=[*CONV_VALUES[:9], math.nan])), r"values that are not finite in a tensor of shape \[10, 1, 1, 1\]"),
        (network(convolution(filters=3)), r"a convolution of 3 filters with 10 values in the shape \[3, 1, 2, 2\]"),
        (network(linear(outputs=4)), "a linear layer from 2 to 4 with 6 values"),
        (network(text("relu_"), b"120", 3 * tensor()), "the flags b'120' of a layer"),
        (network(convolution()[: -len(RATES + REST)], integers(1, 1 << 40)), r"a value of 1·2\^1099511627776"),
        (WHOLE + b"\0", "unexpected data after the last layer"),
        (WHOLE[:-1], "the file ends where"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_is_no_network_of_dlibs(content: bytes, message: str, tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match=rf"net\.dat: the file is not a face network of dlib, or is damaged: .*{message}"):
        read_state(saved(tmp_path, content))


@pytest.mark.parametrize("length", range(0, len(WHOLE), 7))
def test_a_file_that_ends_too_early(length: int, tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match="not a face network of dlib, or is damaged"):
        read_state(saved(tmp_path, WHOLE[:length]))


@settings(
    suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=int(os.environ.get("ZOO_MUTATIONS", "300")), deadline=None
)
@given(places=st.lists(st.tuples(st.integers(0, len(WHOLE) - 1), st.integers(0, 255)), min_size=1, max_size=5))
def test_mutated_bytes_raise_nothing_else(tmp_path: Path, places: list[tuple[int, int]]) -> None:
    content = bytearray(WHOLE)
    for place, value in places:
        content[place] = value
    with contextlib.suppress(WeightsError):
        assert all(bool(torch.isfinite(value).all()) for value in read_state(saved(tmp_path, bytes(content))).values())


# -- fitting -----------------------------------------------------------------------------------------------------------


def test_a_network_of_another_shape_is_refused_by_the_trunk(tmp_path: Path) -> None:
    with pytest.raises(
        WeightsError,
        match=r"for the backbone dlib_resnet29 do not match\. 112 keys missing: layer1.* 4 keys of another shape: conv\.weight is",
    ):
        zoo.build("dlib_resnet29", task="face", weights=saved(tmp_path, WHOLE))


def test_a_layer_more_than_the_trunk_has_is_named(tmp_path: Path) -> None:
    deep = network(*[layer for _ in range(30) for layer in (convolution(), affine())], linear())
    with pytest.raises(WeightsError, match=r"4 keys unknown: con30\.weight; con30\.bias; affine30\.weight; affine30\.bias"):
        zoo.build("dlib_resnet29", task="face", weights=saved(tmp_path, deep))


def test_dlibs_file_is_for_dlibs_trunk(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match=r"match no known layout for the backbone 'resnet20'\. Known: .*dlib's face network"):
        zoo.build("resnet20", task="face", weights=saved(tmp_path, WHOLE))


# -- finding -----------------------------------------------------------------------------------------------------------


def test_a_package_that_is_not_installed_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(WeightsError, match=r'^weights dlib_resnet29: the package .* with: pip install "resnet-zoo\[faces\]"'):
        zoo.build("dlib_resnet29", task="face", weights="default")


def test_the_package_is_found_without_being_imported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Importing it would fail because pkg_resources is missing; a damaged file in it is reported as damaged."""
    (tmp_path / "face_recognition_models" / "models").mkdir(parents=True)
    (tmp_path / "face_recognition_models" / "__init__.py").write_text("raise ImportError('no pkg_resources')")
    path = tmp_path / "face_recognition_models" / "models" / "dlib_face_recognition_resnet_model_v1.dat"
    found = importlib.machinery.PathFinder.find_spec("face_recognition_models", [str(tmp_path)])
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: found)
    with pytest.raises(WeightsError, match=r"dlib_face_recognition_resnet_model_v1\.dat: the file does not exist"):
        zoo.build("dlib_resnet29", task="face", weights="default")
    path.write_bytes(WHOLE[:300])
    with pytest.raises(WeightsError, match=r"model_v1\.dat: the file is not a face network of dlib, or is damaged"):
        zoo.build("dlib_resnet29", task="face", weights="dlib_face_recognition_resnet_model_v1")


def test_the_trunk_lists_its_weights() -> None:
    known: dict[str, Any] = zoo.info("dlib_resnet29")
    assert known["weights"]["face"] == ["dlib_face_recognition_resnet_model_v1"]
    assert zoo.info("inception_resnet_v1")["weights"]["face"] == ["vggface2", "casia-webface"]
    assert zoo.info("iresnet50")["weights"]["face"] == []


def test_a_file_that_cant_be_read(tmp_path: Path) -> None:
    for place in (tmp_path, tmp_path / "missing.dat"):
        with pytest.raises(WeightsError, match=rf"weights {place} can't be read \((Is a directory|No such file or directory)\)"):
            read_dlib(place)


def test_the_mean_is_read_as_red_green_blue(tmp_path: Path) -> None:
    state = read_state(saved(tmp_path, WHOLE))
    weights = LAYOUTS["dlib"].convert(state, "dlib_resnet29", "here")
    assert weights.preprocess is not None
    assert [255 * value for value in weights.preprocess.mean] == pytest.approx([122.782, 117.001, 104.298])
