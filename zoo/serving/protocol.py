"""The Open Inference Protocol, version 2, with its extension for binary tensors: what clients of KServe and Triton use.

https://kserve.github.io/website/docs/concepts/architecture/data-plane/v2-protocol and
https://github.com/triton-inference-server/server/blob/main/docs/protocol/extension_binary_data.md
"""

from __future__ import annotations

import json
import math
import struct
from collections.abc import Sequence
from typing import Any

import numpy as np
from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse, Response
from numpy.typing import NDArray

from zoo import __version__
from zoo.serving.answering import Answering, threshold_of
from zoo.serving.limits import RefusedError
from zoo.serving.pictures import Upload, decode_base64, parse_json
from zoo.serving.tensors import COUNTS, stacked
from zoo.serving.workers import Answer

INPUT = "pictures"
_JSON = "json"  # output with the JSON object of each prediction
_HEADER = "inference-header-content-length"
_DTYPES = {"UINT8": "uint8", "FP32": "float32"}
_NAMES = {"float32": "FP32", "int64": "INT64"}
_EXPECTED = f"expected one input {INPUT!r}: UINT8 or FP32 of shape [B, 3, H, W] (RGB; 0–255 or 0–1), or BYTES of shape [B], image files"


def add_protocol(app: FastAPI, answering: Answering) -> None:
    """Add the routes of the protocol."""

    @app.get("/v2", summary="Server metadata")
    async def server() -> dict[str, Any]:
        return {"name": "resnet-zoo", "version": __version__, "extensions": ["binary_tensor_data"]}

    @app.get("/v2/health/live", summary="Whether the server runs")
    async def live() -> dict[str, bool]:
        return {"live": True}

    @app.get("/v2/health/ready", summary="Whether all workers are ready")
    async def ready() -> Response:
        return JSONResponse({"ready": answering.pool.ready}, 200 if answering.pool.ready else 503)

    for prefix in ("/v2/models/{name}", "/v2/models/{name}/versions/{version}"):
        _add_model(app, answering, prefix)


def _add_model(app: FastAPI, answering: Answering, prefix: str) -> None:
    @app.get(prefix, summary="Model metadata")
    async def metadata(name: str) -> dict[str, Any]:
        model = answering.model(name)[1]
        inputs = [{"name": INPUT, "datatype": "UINT8", "shape": [-1, 3, -1, -1]}]
        return {"name": name, "versions": ["1"], "platform": "resnet-zoo", "inputs": inputs, "outputs": _described(model["outputs"])}

    @app.get(f"{prefix}/ready", summary="Whether a model is ready")
    async def ready(name: str) -> Response:
        answering.model(name)
        return JSONResponse({"name": name, "ready": answering.pool.ready}, 200 if answering.pool.ready else 503)

    @app.post(f"{prefix}/infer", summary="Inference on tensors")
    async def infer(name: str, request: Request) -> Response:
        model, about = await answering.admit(request, name)
        body = await answering.bodies.read(request.scope, request.receive)
        asked, binary = _request(body, request.headers.get(_HEADER))
        uploads = _uploads(asked, binary, answering.settings.max_pictures)
        threshold = threshold_of([str(value) for value in [_parameters(asked).get("threshold")] if value is not None])
        wanted = _wanted(asked, about["outputs"])
        answer = await answering.ask(request, model, uploads, form="tensors", threshold=threshold)
        return _response(name, asked, _tensors(answer, about["outputs"]), wanted)


def _described(outputs: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    found = []
    for output in outputs:
        found.append({"name": output["name"], "datatype": _NAMES[output["dtype"]], "shape": [-1, *output["shape"]]})
    names = dict.fromkeys(output["name"].removesuffix(output["attribute"]) + COUNTS for output in outputs if output["per_object"])
    found += [{"name": name, "datatype": "INT64", "shape": [-1]} for name in names]
    return [*found, {"name": _JSON, "datatype": "BYTES", "shape": [-1]}]


def _request(body: bytes, length: str | None) -> tuple[dict[str, Any], bytes]:
    """Return the JSON part and the binary part of a request."""
    if length is None:
        return parse_json(body), b""
    if not length.isdecimal() or int(length) > len(body):
        raise RefusedError(400, f"{_HEADER} is {length[:20]!r}; the body has {len(body)} bytes")
    return parse_json(body[: int(length)]), body[int(length) :]


def _parameters(of: dict[str, Any]) -> dict[str, Any]:
    found = of.get("parameters", {})
    if not isinstance(found, dict):
        raise RefusedError(400, "parameters: expected an object")
    return found


def _uploads(asked: dict[str, Any], binary: bytes, most: int) -> list[Upload]:
    """Return the pictures of the input tensor."""
    inputs = asked.get("inputs")
    if not isinstance(inputs, list) or len(inputs) != 1 or not isinstance(inputs[0], dict) or inputs[0].get("name") != INPUT:
        raise RefusedError(400, _EXPECTED)
    given = inputs[0]
    shape = given.get("shape")
    if not isinstance(shape, list) or not shape or not all(type(length) is int and 0 < length < 2**31 for length in shape):
        raise RefusedError(400, f"the shape is {str(shape)[:100]}; {_EXPECTED}")
    size = _parameters(given).get("binary_data_size")
    data = None
    if size is not None:
        if type(size) is not int or not 0 <= size <= len(binary):
            raise RefusedError(400, f"binary_data_size is {str(size)[:20]}; the request has {len(binary)} bytes after the JSON part")
        data = binary[:size]
    if shape[0] > most:
        raise RefusedError(413, f"the input contains {shape[0]} pictures; expected at most {most} (--max-pictures)")
    if given.get("datatype") == "BYTES":
        return _files(given, shape, data)
    return _pixels(given, shape, data)


def _files(given: dict[str, Any], shape: list[int], data: bytes | None) -> list[Upload]:
    if data is None:
        texts = given.get("data")
        if not isinstance(texts, list) or not all(isinstance(text, str) for text in texts):
            raise RefusedError(400, f"{INPUT}: expected a list of base64 strings")
        files = [decode_base64(text, f"{INPUT} {place}") for place, text in enumerate(texts)]
    else:
        files = _split(data)
    if len(shape) != 1 or len(files) != shape[0]:
        raise RefusedError(400, f"the shape is {shape}, but there are {len(files)} files; {_EXPECTED}")
    return [Upload(f"{INPUT} {place}", file) for place, file in enumerate(files)]


def _split(data: bytes) -> list[bytes]:
    """Return the elements of a binary tensor of type BYTES, each preceded by its length (4 bytes, little endian)."""
    found, start = [], 0
    while start < len(data):
        end = start + 4
        if end <= len(data):
            end += int.from_bytes(data[start:end], "little")
        if start + 4 > len(data) or end > len(data):
            raise RefusedError(400, f"{INPUT}: the binary data is cut short")
        found.append(data[start + 4 : end])
        start = end
    return found


def _pixels(given: dict[str, Any], shape: list[int], data: bytes | None) -> list[Upload]:
    dtype = _DTYPES.get(str(given.get("datatype")))
    if dtype is None or len(shape) != 4 or shape[1] != 3:
        raise RefusedError(400, f"the input is {str(given.get('datatype'))[:20]} of shape {str(shape)[:100]}; {_EXPECTED}")
    if data is None:
        data = _from_list(given.get("data"), dtype)
    size = math.prod(shape[1:]) * np.dtype(dtype).itemsize
    if len(data) != size * shape[0]:
        raise RefusedError(400, f"{INPUT} has {len(data)} bytes; {given['datatype']} of shape {shape} has {size * shape[0]}")
    several = [data[first : first + size] for first in range(0, len(data), size)]
    return [Upload(f"{INPUT} {place}", part, (dtype, tuple(shape[1:]))) for place, part in enumerate(several)]


def _from_list(values: Any, dtype: str) -> bytes:
    """Return the bytes of a tensor that is a JSON list, flat or nested."""
    try:
        array = np.asarray(values, np.float64)
    except (TypeError, ValueError, OverflowError, RecursionError):
        raise RefusedError(400, f"{INPUT}: data isn't a list of numbers") from None
    whole = dtype == "float32" or (array.size and bool((array == np.floor(array)).all()) and 0 <= array.min() <= array.max() <= 255)
    if not array.ndim or not whole:
        raise RefusedError(400, f"{INPUT}: data contains values that aren't {'numbers' if dtype == 'float32' else 'whole numbers 0–255'}")
    with np.errstate(over="ignore"):  # the worker refuses values that aren't from 0 to 1
        return array.astype(dtype).tobytes()


def _wanted(asked: dict[str, Any], outputs: Sequence[dict[str, Any]]) -> dict[str, bool]:
    """Return the names of the requested tensors, and whether each of them is wanted in binary form."""
    known = [output["name"] for output in _described(outputs)]
    binary = _parameters(asked).get("binary_data_output") is True
    requested = asked.get("outputs")
    if not requested:
        return dict.fromkeys(known, binary)
    if not isinstance(requested, list) or not all(isinstance(output, dict) for output in requested):
        raise RefusedError(400, "outputs: expected a list of objects")
    found = {}
    for output in requested:
        name = output.get("name")
        if name not in known:
            raise RefusedError(400, f"there is no output {str(name)[:100]!r}; known: {', '.join(known)}")
        found[name] = _parameters(output).get("binary_data", binary) is True
    return found


def _tensors(answer: Answer, outputs: Sequence[dict[str, Any]]) -> dict[str, NDArray[Any]]:
    """Return the tensors of all pictures by name."""
    parts, step = answer.parts, len(outputs) + 1
    pictures = []
    for place, shapes in enumerate(answer.header["shapes"]):
        own = parts[place * step : (place + 1) * step - 1]
        pictures.append(
            [np.frombuffer(part, output["dtype"]).reshape(shape) for part, output, shape in zip(own, outputs, shapes, strict=True)]
        )
    texts = np.array([part.decode() for part in parts[step - 1 :: step]], object)
    return {**stacked(outputs, pictures), _JSON: texts}


def _response(name: str, asked: dict[str, Any], tensors: dict[str, NDArray[Any]], wanted: dict[str, bool]) -> Response:
    described, binary = [], []
    for output, in_bytes in wanted.items():
        array = tensors[output]
        text = array.dtype == object
        entry: dict[str, Any] = {"name": output, "datatype": "BYTES" if text else _NAMES[array.dtype.name], "shape": list(array.shape)}
        if in_bytes:
            data = b"".join(struct.pack("<I", len(item.encode())) + item.encode() for item in array) if text else array.tobytes()
            entry["parameters"] = {"binary_data_size": len(data)}
            binary.append(data)
        else:
            entry["data"] = array.ravel().tolist()
        described.append(entry)
    about = {"model_name": name, "model_version": "1", "outputs": described}
    if isinstance(asked.get("id"), str):
        about["id"] = asked["id"]
    head = json.dumps(about).encode()
    if not binary:
        return Response(head, media_type="application/json")
    return Response(b"".join([head, *binary]), headers={_HEADER: str(len(head))}, media_type="application/octet-stream")
