"""Memory is reused when nothing refers to it any more, and never before."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from zoo.system.memory import reused

SHAPE = (512, 1024)  # 2 MiB of float32


def place(of: NDArray[Any]) -> int:
    return int(of.ctypes.data)


def test_memory_comes_again() -> None:
    first = reused("here", SHAPE, np.float32)
    first[:] = 1
    was = place(first)
    del first
    again = reused("here", (1024, 512), np.uint32)
    assert place(again) == was
    assert again.shape == (1024, 512)
    assert again.dtype == np.uint32
    del again
    smaller = reused("here", (1024, 300), np.float32)
    assert place(smaller) == was


HELD: dict[str, Callable[[NDArray[Any], Tensor], Any]] = {
    "array": lambda array, tensor: array,
    "view": lambda array, tensor: array[3:, ::2],
    "tensor": lambda array, tensor: tensor,
    "view of a tensor": lambda array, tensor: tensor.permute(1, 0)[5:],
    "array of a tensor": lambda array, tensor: tensor.numpy()[:, 1],
}


@pytest.mark.parametrize("held", HELD)
def test_what_somebody_has_stays_as_it_is(held: str) -> None:
    array = reused("there", SHAPE, np.float32)
    array[:] = 7
    tensor = torch.from_numpy(array)
    kept = HELD[held](array, tensor)
    del array, tensor
    for _ in range(3):
        reused("there", SHAPE, np.float32)[:] = 9
    assert bool((kept == 7).all())


def test_an_engine_that_has_its_last_input_gets_two_in_turn() -> None:
    places = []
    for _ in range(6):
        last = reused("engine", SHAPE, np.float32)  # the previous array is released after this
        places.append(place(last))
    assert len(set(places)) == 2


def test_much_larger_memory_is_not_given_for_little() -> None:
    large = reused("much", (9 * 512, 1024), np.float32)
    was = place(large)
    del large
    little = reused("much", SHAPE, np.float32)
    assert place(little) != was
    assert little.base is not None
    assert little.base.nbytes == little.nbytes
    assert place(reused("much", (3 * 512, 1024), np.float32)) == was


def test_purposes_and_threads_have_their_own() -> None:
    one, other = reused("one", SHAPE, np.float32), reused("other", SHAPE, np.float32)
    assert not np.shares_memory(one, other)
    was = place(one)
    del one
    with ThreadPoolExecutor(1) as pool:
        theirs = pool.submit(reused, "one", SHAPE, np.float32).result()
        assert place(theirs) != was
    assert place(reused("one", SHAPE, np.float32)) == was


def test_a_tensor_made_in_inference_mode_leaves_memory_that_others_can_write_to() -> None:
    with torch.inference_mode():
        torch.from_numpy(reused("mode", SHAPE, np.float32)).fill_(1)
    again = torch.from_numpy(reused("mode", SHAPE, np.float32))
    again.fill_(2)
    assert float(again.sum()) == 2 * 512 * 1024


@pytest.mark.parametrize("shape", [(3,), (2**26 + 1,), (0, 4)])
def test_small_and_huge_arrays_are_not_kept(shape: tuple[int, ...]) -> None:
    array = reused("sized", shape, np.float32)
    assert array.base is None
    assert array.shape == shape
