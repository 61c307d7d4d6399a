"""Programs and commands of the zoo in forked processes, which start with torch and the zoo imported.

A fork takes milliseconds, the imports seconds.

The process that runs tests has threads, so it can't fork itself: a server does, one per process. The server reads one JSON object per
line from standard input (`jobs`, `seconds`) and answers with the list of exit statuses.
"""

from __future__ import annotations

import importlib
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

_ROOT = Path(__file__).resolve().parents[1]
_SERVER = {"COLUMNS": "80", "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "PYTHONUNBUFFERED": "1"}
_HEAVY = (
    "sklearn.datasets",
    "torchmetrics",
    "zoo.compilation.compile",
    "zoo.evaluation.evaluate",
    "zoo.prediction.predict",
    "zoo.tasks.classification.task",
    "zoo.tasks.detection.task",
    "zoo.tasks.face.task",
    "zoo.training.train",
)


@dataclass(frozen=True)
class Job:
    """A process to start.

    Attributes:
        words: command-line arguments.
        program: Python source; without it, the arguments are those of the command `zoo`.
        folder: current folder.
        environment: environment variables to set.
        together: whether standard error goes into standard output.
    """

    words: Sequence[str]
    program: str | None = None
    folder: str = str(_ROOT)
    environment: Mapping[str, str] = field(default_factory=dict)
    together: bool = False


@dataclass(frozen=True)
class Done:
    """Exit status (negative: the signal that killed the process) and output of a job that has ended."""

    status: int
    stdout: str
    stderr: str


@cache
def _server() -> subprocess.Popen[str]:
    path = os.pathsep.join([str(_ROOT), os.environ.get("PYTHONPATH", "")])
    command = [sys.executable, "-m", "tests.forking"]
    environment = {**os.environ, **_SERVER, "PYTHONPATH": path}
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment, cwd=_ROOT)


def run_jobs(jobs: Sequence[Job], seconds: float = 240) -> list[Done]:
    """Run jobs at the same time, and wait for all of them.

    Args:
        jobs: processes to start; they inherit the caller's environment variables.
        seconds: time after which those that are still running are killed.
    """
    server = _server()
    assert server.stdin is not None
    assert server.stdout is not None
    with tempfile.TemporaryDirectory() as outputs:
        requests = []
        for number, job in enumerate(jobs):
            stdout = f"{outputs}/{number}.stdout"
            stderr = stdout if job.together else f"{outputs}/{number}.stderr"
            environment = {**os.environ, **_SERVER, **job.environment}
            requests.append({**asdict(job), "environment": environment, "stdout": stdout, "stderr": stderr})
        server.stdin.write(json.dumps({"jobs": requests, "seconds": seconds}) + "\n")
        server.stdin.flush()
        answer = server.stdout.readline()
        assert answer, "the server of processes has ended; its error stands above"
        read = [[Path(request[name]).read_text(encoding="utf-8") for name in ("stdout", "stderr")] for request in requests]
    return [Done(status, *streams) for status, streams in zip(json.loads(answer), read, strict=True)]


def run_job(job: Job, seconds: float = 240) -> Done:
    """Run one job; see `run_jobs`."""
    return run_jobs([job], seconds)[0]


def start_job(job: Job, seconds: float = 240) -> Future[Done]:
    """Run one job in the background. The next job starts when it has ended."""
    pool = ThreadPoolExecutor(1)
    started = pool.submit(run_job, job, seconds)
    pool.shutdown(wait=False)
    return started


def _start(request: Mapping[str, object]) -> int:
    """Fork a process for a job, and return its PID."""
    child = os.fork()
    if child:
        return child
    status = 1
    try:
        _become(request)
        words, program = request["words"], request["program"]
        assert isinstance(words, list)
        if program is None:
            from zoo.cli.main import main

            sys.argv = ["zoo", *words]
            status = main()
        else:
            assert isinstance(program, str)
            sys.argv = ["-c", *words]
            exec(compile(program, "<program>", "exec"), {"__name__": "__main__"})
            status = 0
    except SystemExit as end:  # also --help and mistakes in flags
        status = end.code if isinstance(end.code, int) else 0 if end.code is None else 1
    except BaseException:
        sys.excepthook(*sys.exc_info())
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)


def _become(request: Mapping[str, object]) -> None:
    """Take over the folder, environment and streams of a job."""
    folder, environment = str(request["folder"]), request["environment"]
    assert isinstance(environment, dict)
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    sys.path[:0] = [folder, *filter(None, environment.get("PYTHONPATH", "").split(os.pathsep))]
    importlib.invalidate_caches()
    for number, name in ((1, "stdout"), (2, "stderr")):
        os.dup2(os.open(str(request[name]), os.O_WRONLY | os.O_CREAT | os.O_APPEND), number)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)


def _wait(children: Sequence[int], seconds: float) -> list[int]:
    """Wait for processes, and kill those that take too long; return their exit statuses."""
    deadline, statuses = time.monotonic() + seconds, dict.fromkeys(children, 0)
    left = set(children)
    while left:
        for child in list(left):
            ended, status = os.waitpid(child, os.WNOHANG)
            if ended:
                statuses[child] = os.waitstatus_to_exitcode(status)
                left.discard(child)
            elif time.monotonic() > deadline:
                os.kill(child, signal.SIGKILL)
        time.sleep(0.005)
    return list(statuses.values())


def _serve() -> None:
    for module in _HEAVY:
        importlib.import_module(module)
    answers = os.fdopen(os.dup(1), "w")
    for line in sys.stdin:
        request = json.loads(line)
        children = [_start(job) for job in request["jobs"]]
        answers.write(json.dumps(_wait(children, request["seconds"])) + "\n")
        answers.flush()


if __name__ == "__main__":
    _serve()


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
