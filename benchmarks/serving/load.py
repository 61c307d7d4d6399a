"""Load on a server: what to send, and what the answers were. Locust sends the requests in a separate process."""

from __future__ import annotations

import base64
import json
import subprocess
import sys
from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import asdict, dataclass, field

import numpy as np

from zoo.errors import ZooError

OK, REFUSED = 200, (429, 503)
ANSWERS = (OK, *REFUSED)  # statuses of a server that does what it promises under overload


class LoadError(ZooError):
    """The load generator has failed, or a server answered nothing."""


@dataclass(frozen=True)
class Plan:
    """Requests to send, each of which uploads one file.

    Attributes:
        url: address of the server.
        path: path of the requests.
        files: files to upload, in turn.
        clients: number of clients, each with a separate connection.
        seconds: time after which no further requests are sent.
        requests: number of requests after which no further ones are sent; None for no limit.
        rate: requests per second of all clients together, at random times (a Poisson process) whether earlier requests are answered or
            not; None to let every client send its next request as soon as the previous one is answered.
        field: name of the file's field in the form.
        keep: whether to keep the bodies of the answers.
        patience_s: time limit of a client in seconds. Requests that take longer count as not answered.
    """

    url: str
    path: str
    files: Sequence[str]
    clients: int
    seconds: float
    requests: int | None = None
    rate: float | None = None
    field: str = "files"
    keep: bool = False
    patience_s: float = 60.0


@dataclass(frozen=True)
class Sample:
    """One request: when it was sent, in seconds of `time.monotonic`, how long it took, and the status of the answer (0 for none)."""

    start: float
    seconds: float
    status: int


@dataclass(frozen=True)
class Load:
    """What a load generator has sent, and what came back.

    Attributes:
        start: time of the first request, in seconds of `time.monotonic`.
        wall_s: seconds during which requests were sent.
        cpu_s: processor time of the load generator meanwhile.
        begun: number of requests.
        samples: requests that have ended, with an answer or without.
        answers: bodies of the answers by file name, if they were kept.
    """

    start: float
    wall_s: float
    cpu_s: float
    begun: int
    samples: Sequence[Sample]
    answers: dict[str, list[bytes]] = field(default_factory=dict)

    @property
    def cores(self) -> float:
        """Number of cores that the load generator has used."""
        return self.cpu_s / self.wall_s

    @property
    def statuses(self) -> dict[int, int]:
        """Number of answers by status."""
        return dict(sorted(Counter(sample.status for sample in self.samples).items()))

    @property
    def unanswered(self) -> int:
        """Number of requests without one of the expected `ANSWERS`: without any, with another status, or that never ended."""
        return self.begun - sum(sample.status in ANSWERS for sample in self.samples)

    def rate(self, warm_s: float = 0.0) -> float:
        """Return the number of pictures per second, counted from `warm_s` seconds after the start until the last request was sent."""
        first, last = self.start + warm_s, self.start + self.wall_s
        done = sum(sample.status == OK and first <= sample.start + sample.seconds <= last for sample in self.samples)
        return done / (last - first)

    def milliseconds(self, statuses: Collection[int] = (OK,), warm_s: float = 0.0) -> list[float]:
        """Return the times of the requests with these statuses that were sent after `warm_s` seconds.

        Raises:
            LoadError: there is no such request.
        """
        first = self.start + warm_s
        found = [1000 * sample.seconds for sample in self.samples if sample.status in statuses and sample.start >= first]
        if not found:
            raise LoadError(f"no request was answered with {' or '.join(map(str, statuses))}; answers by status: {self.statuses}")
        return found


def percentile(values: Sequence[float], share: float) -> float:
    """Return the smallest value that is at least as large as `share` percent of the values: always one that was measured."""
    return float(np.percentile(values, share, method="inverted_cdf"))


class Sending:
    """A load generator that is running in a separate process."""

    def __init__(self, plan: Plan) -> None:
        """Start to send requests."""
        command = [sys.executable, "-m", "zoo.benchmarks.serving.generator"]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(asdict(plan)))
        self._process.stdin.close()
        self._process.stdin = None  # so that `communicate` doesn't close it again

    def result(self) -> Load:
        """Wait for the end of the plan, and return what was sent.

        Raises:
            LoadError: the load generator has failed.
        """
        text, _ = self._process.communicate()
        if self._process.returncode:
            raise LoadError(f"the load generator ended with exit status {self._process.returncode}; its error is printed above")
        found = json.loads(text)
        samples = [Sample(*sample) for sample in found["samples"]]
        answers = {name: [base64.b64decode(body) for body in bodies] for name, bodies in found["answers"].items()}
        return Load(found["start"], found["wall_s"], found["cpu_s"], found["begun"], samples, answers)

    def stop(self) -> None:
        """End the process."""
        self._process.kill()
        self._process.wait()
        assert self._process.stdout is not None
        self._process.stdout.close()


def send(plan: Plan) -> Load:
    """Send all requests of a plan, and return what came back."""
    sending = Sending(plan)
    try:
        return sending.result()
    finally:
        sending.stop()
