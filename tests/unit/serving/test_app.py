"""The routes: forms of requests and answers, and every refusal."""

from __future__ import annotations

import asyncio
import base64
import io
import json
from collections.abc import AsyncIterator

import pytest

pytest.importorskip("fastapi")
pytest.importorskip("httpx")

from PIL import Image

from tests.unit.serving.local import MODEL, Local, local, picture, run
from zoo.serving.workers import WorkerLostError


def test_pictures_as_multipart_raw_bytes_and_json_have_the_same_answers() -> None:
    async def test() -> None:
        async with local() as server:
            red, blue = picture(), picture(0, 0, 200)
            both = await server.predict(("red.png", red), ("blue.png", blue))
            assert both.status_code == 200
            assert [(one["key"], one["name"]) for one in both.json()["predictions"]] == [("red.png", "red"), ("blue.png", "blue")]
            raw = await server.client.post("/v1/models/colours/predict", content=red, headers={"content-type": "image/png"})
            entry = {"key": "red.png", "data": base64.b64encode(red).decode()}
            coded = await server.client.post(
                "/v1/models/default/predict", json={"files": [entry, "data:image/png;base64," + entry["data"]]}
            )
            first = both.json()["predictions"][0]
            assert coded.json()["predictions"][0] == first
            assert raw.json()["predictions"] == [first | {"key": "image"}]
            assert coded.json()["predictions"][1] == first | {"key": "image 1"}

    run(test())


def test_a_drawn_picture_is_returned_as_png() -> None:
    async def test() -> None:
        async with local() as server:
            answer = await server.predict(("red.png", picture()), query="?draw=png")
            assert answer.headers["content-type"] == "image/png"
            assert Image.open(io.BytesIO(answer.content)).width >= 16
            for query, files, message in (("?draw=gif", 1, "expected 'png'"), ("?draw=png", 2, "requires one picture")):
                refused = await server.predict(*[("a.png", picture())] * files, query=query)
                assert refused.status_code == 422
                assert message in refused.json()["error"]

    run(test())


def test_bodies_count_only_until_they_are_answered() -> None:
    async def test() -> None:
        async with local() as server:
            body = picture() + bytes(90_000)
            statuses = {(await server.predict(("large.png", body))).status_code for _ in range(12)}
            assert statuses == {200}

    run(test())


def test_a_body_of_unstated_length_is_refused_when_it_is_too_large() -> None:
    async def body() -> AsyncIterator[bytes]:
        for _ in range(3):
            yield bytes(40_000)

    async def test() -> None:
        async with local() as server:
            headers = {"content-type": "image/png"}
            answer = await server.client.post("/v1/models/colours/predict", content=body(), headers=headers)
            assert answer.status_code == 413
            assert "the limit is 100000 bytes" in answer.json()["error"]

    run(test())


def test_bad_pictures_are_refused_with_the_reason_or_skipped() -> None:
    async def test() -> None:
        async with local() as server:
            files = (("good.png", picture()), ("bad.png", picture()[:40]), ("large.png", picture(side=200)))
            answer = await server.predict(*files)
            assert answer.status_code == 422
            assert [fault["key"] for fault in answer.json()["faults"]] == ["bad.png", "large.png"]
            assert "is too large: 200×200 pixels" in answer.json()["error"]
            kept = await server.predict(*files, query="?skip_bad=true")
            assert [one["key"] for one in kept.json()["predictions"]] == ["good.png"]
            assert [one["kind"] for one in kept.json()["skipped"]] == ["truncated", "huge"]

    run(test())


@pytest.mark.parametrize(
    ("content", "kind", "status", "message"),
    [
        (b"", "", 415, "the content type is missing"),
        (b"x", "text/plain", 415, "the content type is text/plain"),
        (b"a=b", "application/x-www-form-urlencoded", 422, "contains no pictures"),
        (b"&a" * 1001, "application/x-www-form-urlencoded", 400, "more than 1000 fields"),
        (b"{", "application/json", 400, "isn't valid JSON"),
        (b"[" * 100_000, "application/json", 400, "isn't valid JSON"),
        (b"[]", "application/json", 422, "expected an object"),
        (b"{}", "application/json", 422, "contains no pictures"),
        (b'{"files": 3}', "application/json", 422, "expected a list of pictures"),
        (b'{"files": [3]}', "application/json", 422, "expected a base64 string"),
        (b'{"files": ["*"]}', "application/json", 422, "isn't valid base64"),
        (b'{"files": [], "name": []}', "application/json", 422, "expected text or a number"),
        (b"", "multipart/form-data", 400, "has no boundary"),
        (b"nonsense", "multipart/form-data; boundary=x", 400, "is malformed"),
        (b'--x\r\nContent-Disposition: form-data; name="files"\r\n\r\nabc', "multipart/form-data; boundary=x", 400, "is cut short"),
        (b"--x\r\n\r\n\r\n" * 1001 + b"--x--\r\n", "multipart/form-data; boundary=x", 400, "more than 1000 parts"),
        (b"--x\r\n" + b"a: b\r\n" * 1001 + b"\r\n\r\n--x--\r\n", "multipart/form-data; boundary=x", 400, "is malformed"),
        (b"x" * 100_001, "image/png", 413, "the limit is 100000 bytes"),
        (json.dumps({"files": ["AA=="] * 65}).encode(), "application/json", 413, "expected at most 64"),
    ],
)
def test_malformed_bodies_are_refused(content: bytes, kind: str, status: int, message: str) -> None:
    async def test() -> None:
        async with local() as server:
            headers = {"content-type": kind} if kind else {}
            answer = await server.client.post("/v1/models/default/predict", content=content, headers=headers)
            assert (answer.status_code, message in answer.json()["error"]) == (status, True), answer.text

    run(test())


@pytest.mark.parametrize(
    ("method", "path", "status", "message"),
    [
        ("POST", "/v1/models/colour/predict", 404, "unknown model 'colour'. Nearest: colours"),
        ("GET", "/v1/models/none", 404, "unknown model"),
        ("GET", "/nowhere", 404, "/docs lists all routes"),
        ("GET", "/v1/models/default/predict", 405, "Method Not Allowed"),
        ("POST", "/v1/models/default/predict?threshold=2", 422, "threshold is '2'; expected a number from 0 to 1"),
        ("POST", "/v1/models/default/predict?threshold=a", 422, "threshold is 'a'"),
        ("POST", "/v1/models/default/predict?skip_bad=maybe", 422, "skip_bad is 'maybe'; expected true or false"),
        ("POST", "/v1/models/default/predict?threshold=0.5", 422, "only multi-label classifiers and those with two classes have one"),
    ],
)
def test_wrong_addresses_and_parameters_are_refused(method: str, path: str, status: int, message: str) -> None:
    async def test() -> None:
        async with local() as server:
            files = {"files": picture()} if method == "POST" else None
            answer = await server.client.request(method, path, files=files)
            assert (answer.status_code, message in answer.json()["error"]) == (status, True), answer.text

    run(test())


def test_a_full_queue_refuses_requests_and_recovers() -> None:
    async def test() -> None:
        async with local(queue=2) as server:
            server.worker.delay = 0.2
            answers = await asyncio.gather(*[server.predict(("a.png", picture())) for _ in range(6)])
            assert sorted(answer.status_code for answer in answers) == [200, 200, 429, 429, 429, 429]
            full = next(answer for answer in answers if answer.status_code == 429)
            assert int(full.headers["retry-after"]) >= 1
            assert "2 pictures are already waiting" in full.json()["error"]
            assert (await server.predict(("a.png", picture()))).status_code == 200

    run(test())


def test_a_full_queue_refuses_requests_before_their_bodies_are_parsed() -> None:
    async def test() -> None:
        async with local(queue=1) as server:
            server.worker.pictures = 1
            for path in ("/v1/models/default/predict", "/v2/models/default/infer"):
                answer = await server.client.post(path, content=b"nonsense", headers={"content-type": "text/nonsense"})
                assert answer.status_code == 429
            assert (await server.client.post("/v1/models/other/predict", content=b"")).status_code == 404
            server.worker.pictures = 0
            answer = await server.client.post("/v1/models/default/predict", content=b"x", headers={"content-type": "text/nonsense"})
            assert answer.status_code == 415

    run(test())


@pytest.mark.parametrize(("batch", "workers", "limit"), [(1, 1, 16), (8, 1, 16), (16, 1, 32), (256, 1, 64), (8, 3, 48)])
def test_the_default_queue_holds_two_batches(batch: int, workers: int, limit: int) -> None:
    async def test() -> None:
        async with local(queue=None, workers=workers) as server:
            server.worker.models = {"colours": {**MODEL, "batch_size": batch}}
            assert f"zoo_queue_limit_pictures {limit}.0" in (await server.client.get("/metrics")).text

    run(test())


async def _refusal(server: Local, message: str) -> None:
    answer = await server.predict(("a.png", picture()))
    assert answer.status_code == 503
    assert message in answer.json()["error"]
    assert int(answer.headers["retry-after"]) >= 1


def test_late_and_lost_requests_are_answered_with_503() -> None:
    async def test() -> None:
        async with local(timeout=0.1) as server:
            server.worker.delay = 5
            await _refusal(server, "was not answered within 0.1 s")
        async with local() as server:
            server.worker.fails = WorkerLostError()
            await _refusal(server, "ended unexpectedly")
            server.worker.ready = False
            await _refusal(server, "no worker process is ready")
            assert (await server.client.get("/readyz")).status_code == 503
            assert (await server.client.get("/healthz")).status_code == 200
            server.worker.models = {}
            await _refusal(server, "the models are being loaded")

    run(test())


def test_state_metrics_descriptions_and_logs() -> None:
    async def test() -> None:
        async with local() as server:
            assert (await server.client.get("/readyz")).text == "ready"
            assert (await server.client.get("/v1/models")).json()["models"][0]["heads"]["classification"]["classes"][0] == "red"
            assert (await server.client.get("/v1/models/default")).json()["backbone"] == "colours"
            await server.client.post(
                "/v1/models/default/predict", files={"files": ("secret.png", picture())}, headers={"x-request-id": "a-1"}
            )
            metrics = (await server.client.get("/metrics")).text
            assert 'zoo_answers_total{route="/v1/models/{name}/predict",status="200"} 1.0' in metrics
            for name in (
                "zoo_queue_pictures 0.0",
                "zoo_ready 1.0",
                "zoo_batch_size_count",
                "zoo_stage_seconds_count",
                "zoo_resident_bytes",
            ):
                assert name in metrics
            page = (await server.client.get("/docs")).text
            assert "/v1/models/{name}/predict" in page
            assert "//cdn" not in page
            assert "/v2/models/{name}/infer" in (await server.client.get("/openapi.json")).json()["paths"]
            assert (await server.client.get("/")).status_code == 200
            event = next(event for event in server.events if event.get("model"))
            assert event["request_id"] == "a-1"
            assert "secret" not in json.dumps(server.events)

    run(test())


def test_answers_contain_the_seconds_of_each_stage() -> None:
    async def test() -> None:
        async with local() as server:
            stages = (await server.predict(("a.png", picture()))).headers["server-timing"]
            assert stages.startswith("read;dur=")
            assert ", encode;dur=" in stages
            assert "server-timing" not in (await server.client.get("/v1/models")).headers

    run(test())


def test_models_are_described_with_their_own_names_and_the_limits() -> None:
    async def test() -> None:
        async with local() as server:
            answer = (await server.client.get("/v1/models")).json()
            assert [(entry["name"], entry["model"], entry["services"]) for entry in answer["models"]] == [
                ("default", "colours", {}),
                ("colours", "colours", {}),
            ]
            assert answer["limits"] == {"body_bytes": 100_000, "pixels": server.settings.engine.max_pixels}

    run(test())
