"""Programs that run in several processes."""

from __future__ import annotations

import json
import socket
from typing import Any

from tests.forking import Done, Job, run_jobs


def start_together(count: int, program: str | None, *arguments: str) -> list[Done]:
    """Run a program, or a command of the zoo, in several processes joined by gloo, as torchrun starts them."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    shared = {"WORLD_SIZE": str(count), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "ACCELERATE_USE_CPU": "1"}
    return run_jobs([Job(arguments, program, environment={**shared, "RANK": str(rank), "LOCAL_RANK": str(rank)}) for rank in range(count)])


def in_processes(count: int, program: str, *arguments: str) -> Any:
    """Run a program in several processes, and return the JSON that the first one prints."""
    done = start_together(count, program, *arguments)
    assert [each.status for each in done] == [0] * count, done
    return json.loads(done[0].stdout)
