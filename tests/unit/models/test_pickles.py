"""Pickles of checkpoints: classes on the allow-list are read as inert stand-ins, and nothing that could run code is unpickled."""

from __future__ import annotations

import argparse
import collections
import contextlib
import datetime
import decimal
import io
import os
import pathlib
import pickle
import types
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save
from torch import nn

from zoo.errors import WeightsError
from zoo.models.weights.files import read_state

pytestmark = pytest.mark.usefixtures("one_thread")
STATE = {"conv1.weight": torch.arange(6.0).reshape(2, 3)}
HARMLESS = {
    "namespace": argparse.Namespace(lr=0.1, out=pathlib.PurePosixPath("runs/1"), device=torch.device("cpu")),
    "simple": types.SimpleNamespace(classes=["a"]),
    "scalar": np.float64(0.712),
    "array": np.ones(5, np.float32),
    "objects": np.array([{}, 1], object),
    "texts": np.array(["a", "b"]),
    "empty": np.zeros((0, 4)),
    "path": pathlib.Path("runs"),
    "windows": pathlib.PureWindowsPath("C:\\runs"),
    "time": datetime.datetime(2024, 1, 1, tzinfo=datetime.UTC),
    "day": datetime.date(2024, 1, 1),
    "ordered": collections.OrderedDict(a=1),
    "counter": collections.Counter("aab"),
    "version": torch.__version__,
    "others": [{1, 2}, 1j, b"bytes", b"", bytearray(b"x"), torch.float16, torch.Size([1]), np.random.default_rng(0).bytes(3)],
}


@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize("name", HARMLESS)
def test_harmless_objects_beside_the_weights(tmp_path: Path, name: str, zipped: bool) -> None:
    path = tmp_path / "w.pth"
    torch.save({"model": STATE, "epoch": 3, name: HARMLESS[name]}, path, _use_new_zipfile_serialization=zipped)
    state = read_state(path)
    assert set(state) <= {"model.conv1.weight", "array", "empty"}
    assert torch.equal(state["model.conv1.weight"], STATE["conv1.weight"])


ARRAYS = [
    np.arange(6.0).reshape(2, 3),
    np.asfortranarray(np.arange(6, dtype=np.int64).reshape(2, 3)),
    np.arange(3).astype(">f4"),
    np.array(3, np.int8),
    np.array([True, False]),
    np.zeros((0, 3), np.float16),
]


def test_arrays_of_numpy_are_tensors(tmp_path: Path) -> None:
    """detectron2 and mmcv convert weights of other libraries to arrays."""
    torch.save({"model": {f"a.{number}": array for number, array in enumerate(ARRAYS)}}, tmp_path / "w.pth")
    state = read_state(tmp_path / "w.pth")
    assert list(state) == [f"model.a.{number}" for number in range(len(ARRAYS))]
    for got, wanted in zip(state.values(), ARRAYS, strict=True):
        assert got.numpy().dtype == wanted.dtype.newbyteorder("=")
        np.testing.assert_array_equal(got.numpy(), wanted)


def assemble(*parts: bytes) -> bytes:
    """Return a pickle of {"model": {"a.b": None}, "args": …} whose last value is what the parts push."""
    return pickle.PROTO + b"\x02" + b"}(" + text("model") + b"}" + text("a.b") + b"Ns" + text("args") + b"".join(parts) + b"u."


def write(path: Path, content: bytes, zipped: bool = True) -> None:
    """Write a pickle as a file of `torch.save`, or as it is."""
    if not zipped:
        path.write_bytes(content)
        return
    with zipfile.ZipFile(path, "w") as parts:
        parts.writestr("archive/data.pkl", content)
        parts.writestr("archive/version", "3\n")


def text(value: str) -> bytes:
    return b"X" + len(value.encode()).to_bytes(4, "little") + value.encode()


def called(module: str, name: str, *arguments: bytes) -> bytes:
    return f"c{module}\n{name}\n".encode() + b"(" + b"".join(arguments) + b"tR"


# each pushes the result of an attack that hides behind an allowed name, and would create the folder `mark`
ATTACKS: dict[str, tuple[str, Callable[[str], bytes]]] = {
    "call in an argument": ("posix.mkdir", lambda mark: called("argparse", "Namespace", called("posix", "mkdir", text(mark)))),
    "state of a namespace": (
        "posix.mkdir",
        lambda mark: called("argparse", "Namespace") + b"}" + text("a") + called("posix", "mkdir", text(mark)) + b"sb",
    ),
    "another function of the module": ("argparse.FileType", lambda mark: called("argparse", "FileType", text("w"))),
    "module of an allowed module": ("pathlib.os.mkdir", lambda mark: called("pathlib", "os.mkdir", text(mark))),
    "dotted module": ("pathlib.os.mkdir", lambda mark: called("pathlib.os", "mkdir", text(mark))),
    "method of an allowed class": ("pathlib.PosixPath.mkdir", lambda mark: called("pathlib", "PosixPath.mkdir", text(mark))),
    "numpy's own unpickler": ("numpy.load", lambda mark: called("numpy", "load", text(mark))),
    "name of Python 2": ("builtins.eval", lambda mark: called("__builtin__", "eval", text(f"__import__('os').mkdir({mark!r})"))),
    "attribute lookup": ("builtins.getattr", lambda mark: called("builtins", "getattr", b"cargparse\nNamespace\n", text("__init__"))),
}


@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize("name", ATTACKS)
def test_attacks_behind_allowed_names_are_refused(tmp_path: Path, name: str, zipped: bool) -> None:
    path, mark = tmp_path / "w.pth", tmp_path / "mark"
    culprit, attack = ATTACKS[name]
    write(path, assemble(attack(str(mark))), zipped)
    with pytest.raises(WeightsError, match=rf"w\.pth: the file contains Python objects, .*{culprit.replace('.', r'[.]')} under the key '"):
        read_state(path)
    assert not mark.exists()


def test_what_allowed_names_are_given_is_never_used(tmp_path: Path) -> None:
    """NumPy would unpickle the bytes of some scalars, and allocate an array of any shape."""
    path, mark = tmp_path / "w.pth", tmp_path / "mark"
    hostile = called("_codecs", "encode", text(pickle.dumps(_Hostile(mark), 2).decode("latin1")), text("latin1"))
    objects = called("numpy", "dtype", text("O8"), pickle.NEWFALSE, pickle.NEWTRUE)
    scalar = called("numpy.core.multiarray", "scalar", objects, hostile)
    numbers = called("numpy", "dtype", text("f8"), pickle.NEWFALSE, pickle.NEWTRUE)
    huge = pickle.LONG1 + b"\x08" + (1 << 60).to_bytes(8, "little") + pickle.TUPLE1
    array = called("numpy.core.multiarray", "_reconstruct") + b"(" + pickle.NONE + huge + numbers + pickle.NEWFALSE + hostile + b"tb"
    write(path, assemble(b"(", scalar, array, b"t"))
    with pytest.raises(WeightsError, match="no state dict in the file"):  # read, and nothing in it is a tensor
        read_state(path)
    assert not mark.exists()


class _Hostile:
    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.mark),)


def test_the_allow_list_ends_with_the_call(tmp_path: Path) -> None:
    before = set(torch.serialization.get_safe_globals())
    torch.save({"model": STATE, "args": argparse.Namespace(a=1)}, tmp_path / "w.pth")
    read_state(tmp_path / "w.pth")
    assert set(torch.serialization.get_safe_globals()) == before
    with pytest.raises(pickle.UnpicklingError, match=r"argparse\.Namespace was not an allowed global"):
        torch.load(tmp_path / "w.pth", weights_only=True)


def test_a_class_off_the_list_is_named_with_its_key(tmp_path: Path) -> None:
    content = {"model": STATE, "model_name": "a", "args": {"act": nn.ReLU(), "names": collections.defaultdict(list)}}
    torch.save(content, tmp_path / "w.pth")
    with pytest.raises(WeightsError) as caught:
        read_state(tmp_path / "w.pth")
    message = str(caught.value)
    assert "torch.nn.modules.activation.ReLU under the key 'act'" in message
    assert "collections.defaultdict under the key" in message
    assert message.endswith("Save the weights alone: torch.save(model.state_dict(), …)")


def test_whole_models_and_torchscript_are_named(tmp_path: Path) -> None:
    torch.save(nn.Linear(2, 2), tmp_path / "w.pth")
    with pytest.raises(WeightsError, match=r"never unpickled because they can run code: torch\.nn\.modules\.linear\.Linear"):
        read_state(tmp_path / "w.pth")
    buffer = io.BytesIO()
    torch.save(STATE, buffer)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("zipfile.ZipFile.namelist", lambda archive: ["archive/data.pkl", "archive/constants.pkl"])
        (tmp_path / "w.pt").write_bytes(buffer.getvalue())
        with pytest.raises(WeightsError, match=r"w\.pt: the file is a TorchScript archive, which contains code and is never run"):
            read_state(tmp_path / "w.pt")


def test_another_pickle_protocol_is_named(tmp_path: Path) -> None:
    torch.save(STATE, tmp_path / "w.pth", pickle_protocol=4)
    with pytest.raises(
        WeightsError, match=r"\(Unsupported operand \d+\)\. It is damaged, or wasn't written by torch\.save with its default"
    ):
        read_state(tmp_path / "w.pth")


def test_dictionaries_that_contain_themselves_end(tmp_path: Path) -> None:
    content: dict[str, Any] = {"model": STATE}
    content["again"] = content
    for _ in range(60):  # 2^60 paths
        content = {"left": content, "right": content}
    torch.save(content, tmp_path / "w.pth")
    assert list(read_state(tmp_path / "w.pth")) == ["left." * 60 + "model.conv1.weight"]


def test_a_zip_that_python_can_not_list(tmp_path: Path) -> None:
    torch.save({"model": STATE}, tmp_path / "w.pth")
    content = bytearray((tmp_path / "w.pth").read_bytes())
    content[content.index(b"PK\x01\x02") + 6] = 98  # version of ZIP that is needed: 9.8
    (tmp_path / "w.pth").write_bytes(content)
    with contextlib.suppress(WeightsError):  # torch's own reader may read it
        assert list(read_state(tmp_path / "w.pth")) == ["model.conv1.weight"]


@pytest.mark.parametrize(
    ("content", "kind"),
    [
        (b"", r"empty \(0 bytes\)"),
        (b"\n<!DOCTYPE html><html>", "an HTML page \\(a failed download\\?\\)"),
        (b"version https://git-lfs.github.com/spec/v1\n", "a Git LFS pointer"),
        (save({"a.b": torch.zeros(2)}), "in the format safetensors, so give it the suffix .safetensors"),
    ],
)
def test_files_that_are_no_pickles_are_named(tmp_path: Path, content: bytes, kind: str) -> None:
    (tmp_path / "w.pth").write_bytes(content)
    with pytest.raises(WeightsError, match=rf"w\.pth: the file is {kind}.*; expected a file of torch.save"):
        read_state(tmp_path / "w.pth")


def test_a_pickle_named_safetensors(tmp_path: Path) -> None:
    torch.save({"a.b": torch.zeros(2)}, tmp_path / "w.safetensors")
    with pytest.raises(WeightsError, match=r"it was written by torch.save, so give it the suffix .pth"):
        read_state(tmp_path / "w.safetensors")


def test_lists_of_tensors_are_read(tmp_path: Path) -> None:
    mean = [torch.ones(2)]
    torch.save({"model": {"a.b": torch.zeros(2)}, "ema": {"shadow_params": mean, "again": mean}}, tmp_path / "w.pth")
    assert list(read_state(tmp_path / "w.pth")) == ["model.a.b", "ema.shadow_params.0"]


def test_names_in_pickles_of_protocol_4(tmp_path: Path) -> None:
    content = {"a.b": np.zeros(2), "c.d": np.zeros(2, "f4"), "when": argparse.Namespace(by=decimal.Decimal(1))}
    (tmp_path / "w.pth").write_bytes(pickle.dumps(content, 4))
    with pytest.raises(WeightsError, match=r"because they can run code: decimal.Decimal under the key 'by'\. Save"):
        read_state(tmp_path / "w.pth")
