"""A server without processes and networks: the real routes, jobs and decoder, and a model that answers with mean colours."""

from __future__ import annotations

import asyncio
import io
from collections.abc import AsyncIterator, Coroutine, Sequence
from contextlib import asynccontextmanager
from typing import Any, cast

import httpx
import numpy as np
from PIL import Image

from zoo.errors import ImageError
from zoo.images.decoding import Decoding
from zoo.prediction import memory
from zoo.prediction.session import Session
from zoo.prediction.sources import Frame
from zoo.serving.answering import Answering
from zoo.serving.app import create_app
from zoo.serving.frames import Header
from zoo.serving.jobs import Job, encode, read_picture
from zoo.serving.limits import Bodies
from zoo.serving.metrics import Metrics
from zoo.serving.pool import Pool
from zoo.serving.settings import ServedModel, Settings
from zoo.serving.workers import Answer
from zoo.tasks.classification.predictions import Classification

CLASSES = ("red", "green", "blue")
MODEL = {
    "backbone": "colours",
    "batch_size": 8,
    "engine": None,
    "notes": [],
    "heads": {"classification": {"task": "classification", "classes": list(CLASSES), "options": {}, "thresholds": None}},
    "outputs": [
        {
            "name": "probabilities",
            "head": "classification",
            "attribute": "probabilities",
            "dtype": "float32",
            "shape": [3],
            "per_object": False,
        },
        {"name": "label", "head": "classification", "attribute": "label", "dtype": "int64", "shape": [], "per_object": False},
    ],
}


class Colours:
    """Stands for a `Session`: the classes are the colours of the channels, with their share of the picture's brightness."""

    batch_size = 8

    def __init__(self, max_pixels: int = 10_000) -> None:
        self.decoding = Decoding(max_pixels=max_pixels)

    def read(self, data: bytes, key: str) -> Frame:
        return Frame(self.decoding.decode(data, key)[0], key, {})

    def frame(self, pixels: Any, key: str) -> Frame:
        return Frame(memory.images(pixels, key, self.decoding)[0][0], key, {})

    def predict(self, frames: Sequence[Frame]) -> list[Any]:
        found: list[Any] = []
        for frame in frames:
            means = frame.image.reshape(-1, 3).mean(0) + 1
            found.append(Classification(frame.key, frame.image, (means / means.sum()).astype(np.float32), CLASSES))
        return found


class LocalWorker:
    """Stands for a `WorkerProcess`: answers jobs in this process, after `delay` seconds."""

    def __init__(self) -> None:
        self.session = cast(Session, Colours())
        self.models: dict[str, Any] = {"colours": MODEL}
        self.ready, self.pictures, self.memory, self.delay, self.pid = True, 0, 0, 0.0, 1
        self.service: Any = None
        self.fails: Exception | None = None

    async def ask(self, header: Header, pictures: Sequence[bytes], timeout: float | None = None) -> Answer:
        self.pictures += len(pictures)
        try:
            async with asyncio.timeout(timeout):
                await asyncio.sleep(self.delay)
        finally:
            self.pictures -= len(pictures)
        if self.fails is not None:
            raise self.fails
        job = Job({**header, "id": 1}, [memoryview(data) for data in pictures])
        for place, data in enumerate(job.pictures):
            try:
                job.results[place] = self.session.predict([read_picture(self.session, header["pictures"][place], data)])[0]
            except ImageError as error:
                job.results[place] = error
        about, parts = encode(job, cast(list[dict[str, Any]], MODEL["outputs"]), self.service)
        return Answer(about, b"".join(parts))


class Local:
    """A server in this process: `client` sends requests, `worker` can be made slow or fail, `events` is the log."""

    def __init__(self, client: httpx.AsyncClient, worker: LocalWorker, events: list[dict[str, Any]], settings: Settings) -> None:
        self.client, self.worker, self.events, self.settings = client, worker, events, settings

    async def predict(self, *files: tuple[str, bytes], query: str = "") -> httpx.Response:
        several = [("files", file) for file in files]
        return await self.client.post(f"/v1/models/default/predict{query}", files=several)


@asynccontextmanager
async def local(**changes: Any) -> AsyncIterator[Local]:
    """Run a server with other settings than the defaults."""
    given: dict[str, Any] = {"models": [ServedModel("colours", "nowhere")], "timeout": 5.0, "max_body": 100_000, "queue": 4}
    settings = Settings(**given | changes)
    events: list[dict[str, Any]] = []
    worker = LocalWorker()
    pool = Pool(settings, events.append, cast(Any, [worker]))
    metrics = Metrics(pool)
    app = create_app(Answering(settings, pool, Bodies(settings), metrics), metrics, events.append)
    transport = httpx.ASGITransport(app=app, raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://localhost:8000", timeout=20) as client:
        yield Local(client, worker, events, settings)


def picture(red: int = 200, green: int = 50, blue: int = 10, side: int = 16, kind: str = "PNG") -> bytes:
    """Return the file of a picture of one colour."""
    file = io.BytesIO()
    Image.new("RGB", (side, side), (red, green, blue)).save(file, kind)
    return file.getvalue()


def run(test: Coroutine[Any, Any, None]) -> None:
    """Run a test's coroutine."""
    asyncio.run(test)
