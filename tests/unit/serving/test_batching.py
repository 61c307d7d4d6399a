"""Dynamic batching: which pictures are computed together, and how long they wait."""

from __future__ import annotations

import threading
import time

from zoo.serving.batching import Batches


def taken(batches: Batches[int]) -> tuple[str, list[int]] | None:
    """Return the next batch; fail if that takes more than seconds."""
    found = list[tuple[str, list[int]] | None]()
    thread = threading.Thread(target=lambda: found.append(batches.take()), daemon=True)
    thread.start()
    thread.join(20)
    assert found, "no batch was returned"
    return found[0]


def filled(count: int, size: int = 4, wait_s: float = 0.0) -> Batches[int]:
    batches: Batches[int] = Batches({"a": size, "b": 2}, wait_s)
    batches.expect("a", count)
    for number in range(count):
        batches.add("a", number)
    return batches


def test_ready_pictures_are_taken_in_order_up_to_the_largest_batch() -> None:
    batches = filled(6)
    assert batches.take() == ("a", [0, 1, 2, 3])
    assert batches.take() == ("a", [4, 5])


def test_the_model_whose_picture_waits_longest_is_next() -> None:
    batches = filled(1)
    batches.expect("b", 3)
    for number in range(3):
        batches.add("b", number)
    batches.expect("a", 1)
    batches.add("a", 1)
    assert [batches.take() for _ in range(3)] == [("a", [0, 1]), ("b", [0, 1]), ("b", [2])]


def test_a_lone_picture_does_not_wait() -> None:
    assert taken(filled(1, wait_s=600)) == ("a", [0])


def test_a_picture_that_cannot_be_read_is_no_longer_waited_for() -> None:
    batches = filled(1, wait_s=600)
    batches.expect("a", 1)
    batches.withdraw("a")
    assert taken(batches) == ("a", [0])


def test_a_picture_waits_for_those_that_are_being_decoded() -> None:
    batches = filled(1, wait_s=60)
    batches.expect("a", 2)
    threading.Timer(0.05, lambda: batches.add("a", 1)).start()
    threading.Timer(0.1, lambda: batches.withdraw("a")).start()
    assert batches.take() == ("a", [0, 1])


def test_a_picture_waits_no_longer_than_the_budget() -> None:
    batches = filled(1, wait_s=0.05)
    batches.expect("a", 1)
    begun = time.monotonic()
    assert batches.take() == ("a", [0])
    assert 0.04 < time.monotonic() - begun < 30


def test_a_closed_queue_is_emptied_first() -> None:
    batches = filled(1)
    batches.close()
    assert batches.take() == ("a", [0])
    assert batches.take() is None
