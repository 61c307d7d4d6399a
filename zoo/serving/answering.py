"""From a request's pictures to the worker's answer: admission to the queue, the deadline, and refusals."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from starlette.requests import Request

from zoo.errors import UnknownNameError
from zoo.serving.frames import Header
from zoo.serving.limits import Bodies, RefusedError, drain
from zoo.serving.metrics import Metrics
from zoo.serving.pictures import Content, Upload, parse
from zoo.serving.pool import Pool
from zoo.serving.settings import Settings
from zoo.serving.workers import Answer, WorkerLostError, WorkerProcess

_LARGE = 2**20  # bytes; parsing larger bodies in the event loop would delay other requests


@dataclass(frozen=True)
class Answering:
    """What the routes need to answer a request."""

    settings: Settings
    pool: Pool
    bodies: Bodies
    metrics: Metrics

    def model(self, name: str) -> tuple[str, dict[str, Any]]:
        """Return the model with a name, and its description.

        Raises:
            RefusedError: there is no such model, or no worker is ready.
        """
        names = self.settings.names
        if name not in names:
            raise RefusedError(404, str(UnknownNameError("model", name[:100], names)))
        models = self.pool.models
        if names[name] not in models:
            raise RefusedError(503, "the models are being loaded; try again later", {"Retry-After": "2"})
        return names[name], models[names[name]]

    async def admit(self, request: Request, name: str) -> tuple[str, dict[str, Any]]:
        """Return the model with a name and its description, like `model`, if there is room in the queue.

        A refused request costs little: its body isn't parsed, and isn't even read if it is large.

        Raises:
            RefusedError: there is no such model, no worker is ready, or the queue is full.
        """
        found = self.model(name)
        try:
            self._free_worker()
        except RefusedError:
            await drain(request.receive, request.headers)
            raise
        return found

    async def content(self, request: Request) -> Content:
        """Return the pictures and parameters of a request's body.

        Raises:
            RefusedError: the body is malformed, or too large or slow, or contains too many pictures.
        """
        kind = request.headers.get("content-type", "")
        body = await self.bodies.read(request.scope, request.receive)
        content = await asyncio.to_thread(parse, body, kind) if len(body) > _LARGE and "image/" not in kind else parse(body, kind)
        most = self.settings.max_pictures
        if len(content.uploads) > most:
            raise RefusedError(413, f"the request contains {len(content.uploads)} pictures; expected at most {most} (--max-pictures)")
        return content

    async def ask(self, request: Request, model: str, uploads: Sequence[Upload], **job: Any) -> Answer:
        """Return the answer of a worker to the pictures of a request.

        Args:
            request: the request, whose state has its deadline.
            model: name of the model.
            uploads: the pictures.
            **job: further entries of the job's header; see `jobs.Job`.

        Raises:
            RefusedError: the queue is full, no worker is ready, the deadline has passed, or a picture can't be processed.
        """
        state = request.scope["state"]
        state["model"], state["pictures"] = model, len(uploads)
        worker = self._free_worker()
        header = {"do": "answer", "model": model, "pictures": [upload.header() for upload in uploads], "deadline": state["deadline"]}
        header |= {"request": state["request_id"], **job}
        left = state["deadline"] - time.monotonic()
        try:
            answer = await worker.ask(header, [upload.data for upload in uploads], max(0.0, left))
        except WorkerLostError:
            raise RefusedError(503, "the worker process ended unexpectedly; try again later", {"Retry-After": "5"}) from None
        except TimeoutError:
            raise self._late() from None
        self._record(state, answer.header)
        return self._checked(answer)

    def _free_worker(self) -> WorkerProcess:
        worker = self.pool.pick()
        if worker is None:
            raise RefusedError(503, "no worker process is ready; try again later", {"Retry-After": "5"})
        if (waiting := self.pool.pictures) >= self.pool.limit:
            raise RefusedError(429, f"{waiting} pictures are already waiting; try again later", {"Retry-After": self._retry_after()})
        return worker

    def _record(self, state: dict[str, Any], header: Header) -> None:
        state["stages"] = {**state.get("stages", {}), **header["stages"]}
        self.metrics.took(state["stages"], header["batches"])

    def _checked(self, answer: Answer) -> Answer:
        status = answer.header["status"]
        if status == 200:
            return answer
        if status == 503:
            raise self._late()
        faults = {"faults": answer.header["faults"]} if answer.header["faults"] else {}
        raise RefusedError(status, answer.header["error"], **faults)

    def _late(self) -> RefusedError:
        return RefusedError(503, f"the request was not answered within {self.settings.timeout:g} s", {"Retry-After": self._retry_after()})

    def _retry_after(self) -> str:
        """Return a number of seconds after which the queue has probably room."""
        return str(max(1, math.ceil(self.settings.timeout * min(1.0, self.pool.pictures / self.pool.limit) / 10)))


def threshold_of(values: Sequence[str]) -> float | None:
    """Return the value of the query parameter `threshold`; None if it isn't set.

    Raises:
        RefusedError: it isn't a number from 0 to 1.
    """
    if not values:
        return None
    try:
        threshold = float(values[-1])
    except ValueError:
        threshold = math.nan
    if not 0 <= threshold <= 1:
        raise RefusedError(422, f"threshold is {values[-1][:100]!r}; expected a number from 0 to 1")
    return threshold


def flag_of(name: str, values: Sequence[str]) -> bool:
    """Return the value of a query parameter that is true or false; False if it isn't set.

    Raises:
        RefusedError: it is something else.
    """
    value = values[-1].lower() if values else "false"
    if value not in ("true", "false", "1", "0"):
        raise RefusedError(422, f"{name} is {values[-1][:100]!r}; expected true or false")
    return value in ("true", "1")
