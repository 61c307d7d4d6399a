"""Prefetching: results in order, never more jobs than the window, errors at their position, and no thread left running."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator

import pytest
import torch

from zoo.system.prefetch import Job, Window, in_order


def threads() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name.startswith("zoo-ahead")]


@pytest.fixture(autouse=True)
def _none_is_left() -> Iterator[None]:
    yield
    assert threads() == []


class Source:
    """Jobs for 0, 1, 2, …; counts how many were requested and how many were run."""

    def __init__(self, number: int, run: Callable[[int], int] = lambda index: index, early: bool = True) -> None:
        self.number, self.run, self.early = number, run, early
        self.asked = self.ran = 0
        self.closed = False
        self._lock = threading.Lock()

    def __iter__(self) -> Iterator[Job[int]]:
        try:
            for index in range(self.number):
                self.asked += 1
                yield Job(lambda index=index: self._run(index), self.early)  # type: ignore[misc]
        finally:
            self.closed = True

    def _run(self, index: int) -> int:
        with self._lock:
            self.ran += 1
        return self.run(index)


def settle(condition: Callable[[], bool]) -> None:
    for _ in range(2000):
        if condition():
            return
        time.sleep(0.005)
    raise AssertionError("the condition was never met")


@pytest.mark.parametrize(("size", "number"), [(0, 1), (1, 1), (4, 2), (100, 3)])
def test_results_come_in_order(size: int, number: int) -> None:
    def run(index: int) -> int:
        time.sleep(0.002 * (index % 3))
        return index

    source = Source(20, run)
    assert list(in_order(source, size, number)) == list(range(20))
    assert source.closed


def test_nothing_to_do() -> None:
    assert list(in_order([], 3, 1)) == []


def test_never_more_is_asked_for_than_the_window() -> None:
    source = Source(50)
    for done, _ in enumerate(in_order(source, 5, 2), start=1):
        assert source.asked <= done + 5
        if done < 40:
            settle(lambda done=done: source.ran == done + 5)  # type: ignore[misc]
    assert source.asked == source.ran == 50


@pytest.mark.parametrize(("size", "early"), [(0, True), (5, False)])
def test_nothing_is_done_before_its_turn_where_it_may_not_be(size: int, early: bool) -> None:
    names = []

    def run(index: int) -> int:
        names.append(threading.current_thread())
        return index

    source = Source(9, run, early)
    for done, _ in enumerate(in_order(source, size, 2), start=1):
        assert source.asked == source.ran == done
        assert threads() == []
    assert set(names) == {threading.current_thread()}


def test_nothing_is_asked_for_beyond_what_waits_for_its_turn() -> None:
    asked = []

    def jobs() -> Iterator[Job[str]]:
        for name in ("a", "b", "camera", "c", "d"):
            asked.append(name)
            yield Job(lambda name=name: name, name != "camera")  # type: ignore[misc]

    results = in_order(jobs(), 9, 1)
    assert next(results) == "a"
    assert asked == ["a", "b", "camera"]
    assert [next(results), next(results)] == ["b", "camera"]
    assert asked == ["a", "b", "camera"]
    assert list(results) == ["c", "d"]


@pytest.mark.parametrize("size", [0, 3])
def test_what_a_job_raises_comes_at_its_place(size: int) -> None:
    def run(index: int) -> int:
        if index == 4:
            raise ValueError("the fifth")
        return index

    found: list[int] = []
    source = Source(9, run)
    with pytest.raises(ValueError, match="the fifth"):
        found.extend(in_order(source, size, 1))
    assert found == [0, 1, 2, 3]
    assert source.closed


@pytest.mark.parametrize("size", [0, 3])
def test_what_the_source_raises_comes_at_its_place(size: int) -> None:
    def jobs() -> Iterator[Job[int]]:
        yield from Source(4)
        raise ValueError("no fifth")

    found: list[int] = []
    with pytest.raises(ValueError, match="no fifth"):
        found.extend(in_order(jobs(), size, 1))
    assert found == [0, 1, 2, 3]


def test_closing_drops_what_waits_and_then_closes_the_source() -> None:
    go = threading.Event()

    def run(index: int) -> int:
        if index == 1:
            go.wait(10)
            assert not source.closed  # the source isn't closed while a job reads from it
        return index

    source = Source(50, run)
    results = in_order(source, 20, 1)
    assert next(results) == 0
    settle(lambda: source.ran == 2)
    assert len(threads()) == 1
    timer = threading.Timer(0.1, go.set)
    timer.start()
    results.close()
    timer.join()
    assert (source.ran, source.closed) == (2, True)


@pytest.mark.parametrize("error", [KeyboardInterrupt, RuntimeError])
def test_no_thread_outlives_an_exception_in_the_loop(error: type[BaseException]) -> None:
    results = in_order(Source(50), 5, 2)
    assert [next(results) for _ in range(3)] == [0, 1, 2]
    assert threads() != []
    with pytest.raises(error):
        results.throw(error)
    assert threads() == []


def test_an_interrupt_while_jobs_are_asked_for_is_not_put_off() -> None:
    def jobs() -> Iterator[Job[int]]:
        yield from Source(2)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        next(in_order(jobs(), 5, 1))


def test_torch_computes_on_one_thread_there_and_on_as_many_as_before_elsewhere() -> None:
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    try:
        with Window[int](2) as window:
            both = threading.Barrier(2)
            for _ in range(2):
                window.put(lambda: 0 * both.wait(10) + torch.get_num_threads())
            assert [window.take(), window.take()] == [1, 1]
            assert torch.get_num_threads() == 3
            others: list[int] = []
            thread = threading.Thread(target=lambda: others.append(torch.get_num_threads()))
            thread.start()
            thread.join()
            assert others == [3]
    finally:
        torch.set_num_threads(before)
