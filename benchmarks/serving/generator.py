"""Program that sends requests to a server with Locust: `python -m zoo.benchmarks.serving.generator`, started by `load.py`.

It reads a JSON object, a `load.Plan`, from standard input, and writes one JSON object to standard output: every request with its time, and
the processor time that this process has used. It is a separate process because Locust replaces Python's sockets and
`time.sleep` by those of gevent.
"""

from __future__ import annotations

import base64
import itertools
import json
import logging
import os
import random
import sys
import time
from pathlib import Path
from typing import Any

from locust import FastHttpUser, task
from locust.env import Environment

from zoo.benchmarks.serving.client import CONTENT_TYPE, multipart


class Sending:
    """What all simulated users share: the requests to send, and what was sent."""

    def __init__(self, plan: dict[str, Any]) -> None:
        self.plan = plan
        # Locust takes bytes as well, but its types don't mention it
        self.bodies: list[tuple[str, Any]] = [(Path(file).name, multipart(plan["field"], Path(file))) for file in plan["files"]]
        self.turn = itertools.count()
        self.begun = 0
        self.samples: list[tuple[float, float, int]] = []
        self.answers: dict[str, list[str]] = {}
        self.random = random.Random(0)
        self.start = time.monotonic()

    @property
    def over(self) -> bool:
        """Whether no further request may be sent."""
        most = self.plan["requests"]
        return time.monotonic() - self.start >= self.plan["seconds"] or (most is not None and self.begun >= most)


def user_class(sending: Sending) -> type[FastHttpUser]:
    """Return the class of simulated users."""
    plan, headers = sending.plan, {"Content-Type": CONTENT_TYPE}

    class Client(FastHttpUser):
        host = plan["url"]
        connection_timeout = network_timeout = plan["patience_s"]

        def on_start(self) -> None:
            self.due = sending.start
            if plan["rate"] is not None:
                time.sleep(self.wait_time())

        def wait_time(self) -> float:
            """Return 0 without a rate. With one, the requests of all users together are a Poisson process."""
            if plan["rate"] is None:
                return 0.0
            self.due += sending.random.expovariate(plan["rate"] / plan["clients"])
            return max(0.0, self.due - time.monotonic())

        @task
        def send(self) -> None:
            if sending.over:
                time.sleep(0.05)
                return
            name, body = sending.bodies[next(sending.turn) % len(sending.bodies)]
            sending.begun += 1
            begun = time.monotonic()
            answer = self.client.post(plan["path"], data=body, headers=headers)
            sending.samples.append((begun, time.monotonic() - begun, answer.status_code))
            if plan["keep"] and answer.status_code == 200:
                sending.answers.setdefault(name, []).append(base64.b64encode(answer.content).decode())

    return Client


def main() -> int:
    """Send the requests of the plan, print the result, and return the exit status."""
    logging.disable(logging.CRITICAL)  # Locust warns of many users, and of answers such as 429
    sending = Sending(json.load(sys.stdin))
    environment = Environment(user_classes=[user_class(sending)], stop_timeout=sending.plan["patience_s"])
    runner = environment.create_local_runner()
    before, sending.start = os.times(), time.monotonic()
    runner.start(sending.plan["clients"], spawn_rate=1000)
    while not sending.over:
        time.sleep(0.02)
    wall, after = time.monotonic() - sending.start, os.times()
    runner.quit()  # waits for the answers to requests that were sent
    used = after.user + after.system - before.user - before.system
    json.dump(
        {
            "start": sending.start,
            "begun": sending.begun,
            "samples": sending.samples,
            "answers": sending.answers,
            "wall_s": wall,
            "cpu_s": used,
        },
        sys.stdout,
    )
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
