"""Jobs of a worker process: the pictures of one request, from their bytes to the encoded result."""

from __future__ import annotations

import io
import json
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from zoo.errors import Fault, ImageError, InputError
from zoo.prediction.groups import thresholded
from zoo.prediction.session import Session
from zoo.prediction.sources import Frame
from zoo.serving.frames import Header
from zoo.serving.services import Service
from zoo.serving.tensors import arrays_of
from zoo.task.answers import Prediction

OK, UNREADABLE, FAILED, LATE = 200, 422, 500, 503


@dataclass(eq=False)
class Job:
    """The pictures of one request, and what has become of them.

    Attributes:
        header: the request: "id", "model", "form" ("json", "png", "tensors" or "service"), "pictures" and "deadline".
        pictures: content of each picture.
        results: prediction or error of each picture, None until it is known.
        left: number of pictures without a result.
        stages: seconds spent on decoding, waiting and computing; the largest value of the pictures.
        batches: size of the batch in which each picture was computed.
    """

    header: Header
    pictures: list[memoryview]
    results: list[Prediction | ImageError | None] = field(default_factory=list)
    left: int = 0
    stages: dict[str, float] = field(default_factory=dict)
    batches: list[int] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.results, self.left = [None] * len(self.pictures), len(self.pictures)

    @property
    def late(self) -> bool:
        """Whether the deadline of the request has passed, so that the result is no longer needed."""
        return time.monotonic() > float(self.header["deadline"])

    def took(self, stage: str, seconds: float) -> None:
        """Record the time that a picture has spent in a stage."""
        self.stages[stage] = max(seconds, self.stages.get(stage, 0.0))


@dataclass(eq=False)
class Picture:
    """One picture of a job, decoded and ready to be computed."""

    job: Job
    place: int
    frame: Frame
    since: float = field(default_factory=time.monotonic)


def read_picture(session: Session, about: dict[str, Any], data: memoryview) -> Frame:
    """Decode an image file, or convert pixels, and preprocess them.

    Raises:
        ImageError: the file can't be read, or the pixels aren't those of an image.
    """
    key = about["key"]
    if about["kind"] == "file":
        return session.read(bytes(data), key)
    import torch

    pixels = torch.from_numpy(np.frombuffer(data, about["dtype"]).reshape(about["shape"]).copy())  # [3, H, W]
    try:
        return session.frame(pixels, key)
    except ImageError:
        raise
    except InputError as error:
        raise ImageError(key, str(error).removeprefix(key).lstrip(": ")) from error


def encode(job: Job, outputs: list[dict[str, Any]], service: Service | None) -> tuple[Header, list[bytes]]:
    """Return the answer to a job whose pictures all have results: a header with the status, and its bytes."""
    faults = [result.faults[0] for result in job.results if isinstance(result, ImageError)]
    answers = [result for result in job.results if result is not None and not isinstance(result, ImageError)]
    if faults and not job.header.get("skip_bad"):
        return refusal(job, UNREADABLE, "; ".join(map(str, faults)), faults), []
    begun = time.monotonic()
    try:
        parts, more = _FORMS[job.header["form"]](job, answers, outputs, service)
    except InputError as error:
        return refusal(job, UNREADABLE, str(error)), []
    job.took("encode", time.monotonic() - begun)
    about = {"id": job.header["id"], "status": OK, "parts": [len(part) for part in parts], "stages": job.stages, "batches": job.batches}
    return {**about, "skipped": [fault.to_dict() for fault in faults], **more}, parts


def refusal(job: Job, status: int, message: str, faults: list[Fault] | None = None) -> Header:
    """Return the header of a job that has no result."""
    about = {"id": job.header["id"], "status": status, "error": message, "stages": job.stages, "batches": job.batches}
    return {**about, "faults": [fault.to_dict() for fault in faults or ()]}


_Encoded = tuple[list[bytes], Header]


def _json(job: Job, answers: list[Prediction], outputs: list[dict[str, Any]], service: Service | None) -> _Encoded:
    return [json.dumps(answer.to_dict(), allow_nan=False).encode() for answer in thresholded(answers, job.header.get("threshold"))], {}


def _png(job: Job, answers: list[Prediction], outputs: list[dict[str, Any]], service: Service | None) -> _Encoded:
    drawn = []
    for answer in thresholded(answers, job.header.get("threshold")):
        file = io.BytesIO()
        answer.plot().convert("RGB").save(file, "PNG", compress_level=1)
        drawn.append(file.getvalue())
    return drawn, {}


def _tensors(job: Job, answers: list[Prediction], outputs: list[dict[str, Any]], service: Service | None) -> _Encoded:
    parts, shapes = [], []
    for answer in thresholded(answers, job.header.get("threshold")):
        arrays = arrays_of(answer, outputs)
        shapes.append([array.shape for array in arrays])
        parts += [array.tobytes() for array in arrays]
        parts.append(json.dumps(answer.to_dict(), allow_nan=False).encode())
    return parts, {"shapes": shapes}


def _service(job: Job, answers: list[Prediction], outputs: list[dict[str, Any]], service: Service | None) -> _Encoded:
    assert service is not None
    result = service.run(job.header["action"], answers, job.header["values"])
    return [json.dumps(result, allow_nan=False).encode()], {}


_FORMS: dict[str, Callable[[Job, list[Prediction], list[dict[str, Any]], Service | None], _Encoded]] = {
    "json": _json,
    "png": _png,
    "tensors": _tensors,
    "service": _service,
}
