"""The worker process of the server: decodes pictures in threads, computes them in batches, and returns the encoded results.

`python -m zoo.serving.worker FD` is started by `zoo.serving.workers`; FD is its end of a socket pair. It ends when the server ends.
"""

from __future__ import annotations

import contextlib
import os
import queue
import signal
import socket
import sys
import threading
import time
import traceback
from collections.abc import Iterator
from typing import Any

import psutil

from zoo.errors import ImageError, ZooError
from zoo.serving.batching import Batches
from zoo.serving.frames import Channel, Header
from zoo.serving.jobs import FAILED, LATE, Job, Picture, encode, read_picture, refusal
from zoo.serving.loading import Loaded, described, load_all
from zoo.system.hardware import pick_decoding_threads
from zoo.task.answers import Prediction

_LATE = "the time limit of the request has passed"


class Worker:
    """One process that answers jobs. Four kinds of threads: receiving, decoding, computing (the main thread) and encoding."""

    def __init__(self, channel: Channel, loaded: Loaded, wait_s: float) -> None:
        self._channel, self._loaded = channel, loaded
        self._outputs = {name: about["outputs"] for name, about in described(loaded).items()}
        self._batches: Batches[Picture] = Batches({name: session.batch_size for name, session in loaded.sessions.items()}, wait_s)
        self._arrived: queue.SimpleQueue[tuple[Job, int]] = queue.SimpleQueue()
        self._finished: queue.SimpleQueue[Job] = queue.SimpleQueue()
        self._settling = threading.Lock()
        self._steps: dict[int, float] = {}  # time.monotonic() at which each thread that computes has begun its step
        self._process = psutil.Process()

    def run(self) -> None:
        """Answer jobs until the server ends."""
        for target in (self._receive, self._encode, *[self._decode] * pick_decoding_threads()):
            threading.Thread(target=target, daemon=True).start()
        while (batch := self._batches.take()) is not None:
            with self._step():
                self._compute(*batch)

    @contextlib.contextmanager
    def _step(self) -> Iterator[None]:
        """Record that this thread computes, so that the server notices a step that never ends."""
        thread = threading.get_ident()
        self._steps[thread] = time.monotonic()
        try:
            yield
        finally:
            del self._steps[thread]

    def _receive(self) -> None:
        while (message := self._channel.receive()) is not None:
            header, body = message
            if header["do"] == "ping":
                now = time.monotonic()
                busy = now - min(list(self._steps.values()), default=now)
                self._channel.send({"id": header["id"], "status": 200, "busy": busy, "memory": self._process.memory_info().rss})
                continue
            self._accept(header, body)
        os._exit(0)  # the server has ended

    def _accept(self, header: Header, body: memoryview) -> None:
        pictures, start = [], 0
        for about in header["pictures"]:
            pictures.append(body[start : start + about["size"]])
            start += about["size"]
        job = Job(header, pictures)
        if not pictures:
            self._finished.put(job)
            return
        self._batches.expect(header["model"], len(pictures))
        for place in range(len(pictures)):
            self._arrived.put((job, place))

    def _decode(self) -> None:
        while True:
            job, place = self._arrived.get()
            with self._step():
                self._read(job, place)

    def _read(self, job: Job, place: int) -> None:
        model, about, begun = job.header["model"], job.header["pictures"][place], time.monotonic()
        try:
            if job.late:
                raise ImageError(about["key"], _LATE)
            frame = read_picture(self._loaded.sessions[model], about, job.pictures[place])
        except ImageError as error:
            self._settle(job, place, error)
            self._batches.withdraw(model)
        except Exception:  # a defect must not end the thread
            self._settle(job, place, self._defect(job, place))
            self._batches.withdraw(model)
        else:
            job.took("decode", time.monotonic() - begun)
            self._batches.add(model, Picture(job, place, frame))

    def _compute(self, model: str, pictures: list[Picture]) -> None:
        begun, several = time.monotonic(), []
        for picture in pictures:
            if picture.job.late:
                self._settle(picture.job, picture.place, ImageError(picture.frame.key, _LATE))
                continue
            picture.job.took("wait", begun - picture.since)
            several.append(picture)
        if not several:
            return
        try:
            found = self._loaded.sessions[model].predict([picture.frame for picture in several])
        except Exception:  # one picture must not harm the others of its batch
            found = [self._alone(model, picture) for picture in several]
        took = time.monotonic() - begun
        for picture, result in zip(several, found, strict=True):
            picture.job.took("compute", took)
            picture.job.batches.append(len(several))
            self._settle(picture.job, picture.place, result)

    def _alone(self, model: str, picture: Picture) -> Prediction | ImageError:
        try:
            return self._loaded.sessions[model].predict([picture.frame])[0]
        except Exception:
            return self._defect(picture.job, picture.place)

    def _defect(self, job: Job, place: int) -> ImageError:
        """Log the traceback of an unexpected error, without names or content of pictures, and return the error for the client."""
        frames = traceback.extract_tb(sys.exc_info()[2])
        where = " < ".join(f"{frame.filename}:{frame.lineno}" for frame in reversed(frames[-4:]))
        kind = getattr(sys.exc_info()[0], "__name__", "error")
        self._channel.send({"id": 0, "status": FAILED, "log": f"{kind} at {where}", "request": job.header.get("request", "")})
        return ImageError(job.header["pictures"][place]["key"], "an internal error occurred", "internal")

    def _settle(self, job: Job, place: int, result: Prediction | ImageError) -> None:
        with self._settling:
            job.results[place] = result
            job.left -= 1
            if job.left:
                return
        self._finished.put(job)

    def _encode(self) -> None:
        while True:
            job = self._finished.get()
            with self._step():
                self._channel.send(*self._answer(job))

    def _answer(self, job: Job) -> tuple[Header, list[bytes]]:
        if job.late:
            return refusal(job, LATE, _LATE), []
        if any(isinstance(result, ImageError) and result.kind == "internal" for result in job.results):
            return refusal(job, FAILED, "an internal error occurred; the server's log has the details"), []
        service = None
        if job.header["form"] == "service":
            service = self._loaded.services[job.header["kind"]][job.header["name"]][0]
        try:
            return encode(job, self._outputs[job.header["model"]], service)
        except Exception as error:
            where = " < ".join(f"{frame.filename}:{frame.lineno}" for frame in reversed(traceback.extract_tb(error.__traceback__)[-4:]))
            self._channel.send({"id": 0, "status": FAILED, "log": f"{type(error).__name__} at {where}", "request": ""})
            return refusal(job, FAILED, "an internal error occurred; the server's log has the details"), []


def main(descriptor: int) -> int:
    """Load the models, report that they are ready, and answer jobs. Returns the exit status."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group; the server ends its workers after draining
    with contextlib.suppress(AttributeError):
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
    channel = Channel(socket.socket(fileno=descriptor))
    message = channel.receive()
    if message is None:
        return 0
    spec: dict[str, Any] = message[0]
    try:
        loaded = load_all(spec)
        about = described(loaded)
    except ZooError as error:
        channel.send({"id": 0, "status": FAILED, "failed": str(error)})
        return 2
    except OSError as error:
        channel.send({"id": 0, "status": FAILED, "failed": f"{error}. Check the path and its permissions"})
        return 2
    channel.send({"id": 0, "status": 200, "models": about})
    Worker(channel, loaded, spec["batch_wait_ms"] / 1000).run()
    return 0


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1])))
