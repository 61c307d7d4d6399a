"""Programs that run in several processes."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from typing import Any


def in_processes(count: int, program: str, *arguments: str) -> Any:
    """Run a program in several processes joined by gloo, as torchrun starts them, and return the JSON that the first one prints."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    started = []
    for rank in range(count):
        several = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": count, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
        environment = {**os.environ, "ACCELERATE_USE_CPU": "1", "OMP_NUM_THREADS": "1"}
        environment |= {name: str(value) for name, value in several.items()}
        command = [sys.executable, "-c", program, *arguments]
        started.append(subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True))
    try:
        outputs = [process.communicate(timeout=240) for process in started]
    finally:
        for process in started:
            process.kill()
            process.wait()
    assert [process.returncode for process in started] == [0] * count, outputs
    return json.loads(outputs[0][0])
