"""Mutated requests: none ends in an internal error or without an answer, and the server works afterwards."""

from __future__ import annotations

import asyncio
import base64
import json
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

pytest.importorskip("fastapi")
pytest.importorskip("httpx")

from tests.unit.serving.local import local, picture

RED = picture()
JSON = json.dumps({"files": [{"key": "a.png", "data": base64.b64encode(RED).decode()}, base64.b64encode(RED).decode()]}).encode()
TENSOR = json.dumps({"inputs": [{"name": "pictures", "datatype": "UINT8", "shape": [1, 3, 2, 2], "data": [0] * 12}]}).encode()
MULTIPART = (
    b'--x\r\nContent-Disposition: form-data; name="files"; filename="a.png"\r\nContent-Type: image/png\r\n\r\n' + RED + b"\r\n--x--\r\n"
)
VALID = [
    ("/v1/models/default/predict", "application/json", JSON),
    ("/v1/models/default/predict", "multipart/form-data; boundary=x", MULTIPART),
    ("/v1/models/default/predict", "image/png", RED),
    ("/v2/models/default/infer", "application/json", TENSOR),
]
anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=10), inner, max_size=4),
    max_leaves=8,
)


@st.composite
def mutated(draw: st.DrawFn) -> tuple[str, dict[str, str], bytes]:
    """Draw a valid request with bytes changed, removed or repeated, and possibly other headers and parameters."""
    path, kind, body = draw(st.sampled_from(VALID))
    for _ in range(draw(st.integers(0, 3))):
        start = draw(st.integers(0, len(body)))
        end = draw(st.integers(start, min(len(body), start + 40)))
        body = body[:start] + draw(st.binary(max_size=8) | st.just(body[start:end] * 2)) + body[end:]
    headers = {
        "content-type": draw(
            st.sampled_from([kind, kind.upper(), kind + "; boundary=", "", "image/png", "multipart/form-data; boundary=xy"])
        )
    }
    if draw(st.booleans()):
        headers["inference-header-content-length"] = str(draw(st.integers(-2, len(body) + 2)))
    query = draw(st.dictionaries(st.sampled_from(["draw", "threshold", "skip_bad"]), st.text(st.characters(codec="utf-8"), max_size=6)))
    return path, {"path": path, **headers, "query": json.dumps(query)}, body


@st.composite
def structured(draw: st.DrawFn) -> tuple[str, dict[str, str], bytes]:
    """Draw a JSON request with values of any kind in place of the expected ones."""
    tensor: dict[str, Any] = {"name": "pictures", "datatype": "UINT8", "shape": [1, 3, 2, 2], "data": [0] * 12, "parameters": {}}
    tensor |= draw(st.dictionaries(st.sampled_from(["name", "datatype", "shape", "data", "parameters"]), anything, max_size=2))
    bodies = [
        ("/v2/models/default/infer", {"inputs": [tensor], "outputs": draw(anything)}),
        ("/v1/models/default/predict", {"files": draw(anything)}),
    ]
    path, body = draw(st.sampled_from(bodies))
    return path, {"content-type": "application/json", "query": "{}"}, json.dumps(draw(st.just(body) | anything)).encode()


@pytest.mark.slow
@settings(max_examples=150)
@given(mutated() | structured())
@example(("/v2/models/default/infer", {"content-type": "application/json", "query": "{}"}, b'{"inputs": ' * 10_000))
@example(("/v2/models/default/infer", {"content-type": "application/json", "query": "{}"}, TENSOR.replace(b"[1, 3, 2, 2]", b"[]")))
def test_mutated_requests_are_answered(request_: tuple[str, dict[str, str], bytes]) -> None:
    path, about, body = request_
    headers = {name.encode(): value.encode("utf-8", "replace") for name, value in about.items() if name not in ("query", "path")}

    async def test() -> None:
        async with local() as server, asyncio.timeout(30):
            answer = await server.client.post(path, content=body, headers=[*headers.items()], params=json.loads(about["query"]))
            assert answer.status_code in (200, 400, 413, 415, 422), answer.text
            if answer.status_code != 200:
                assert answer.json()["error"]
            assert (await server.predict(("a.png", RED))).status_code == 200
            assert server.worker.pictures == 0

    asyncio.run(test())
