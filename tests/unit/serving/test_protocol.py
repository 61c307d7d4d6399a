"""The Open Inference Protocol: metadata, tensors in JSON and in binary form, and refusals."""

from __future__ import annotations

import asyncio
import base64
import json
from typing import Any

import numpy as np
import pytest

pytest.importorskip("fastapi")
pytest.importorskip("httpx")

from tests.unit.serving.local import local, picture
from zoo.serving.tensors import stacked

URL = "/v2/models/default/infer"
RED = np.zeros((1, 3, 4, 5), np.uint8)
RED[:, 0] = 255


def tensor(**changes: Any) -> dict[str, Any]:
    return {"inputs": [{"name": "pictures", "datatype": "UINT8", "shape": [1, 3, 4, 5], "data": RED.ravel().tolist(), **changes}]}


def test_metadata_and_state() -> None:
    async def test() -> None:
        async with local() as server:
            assert (await server.client.get("/v2")).json()["extensions"] == ["binary_tensor_data"]
            for path in ("health/live", "health/ready", "models/default/ready", "models/default/versions/1/ready"):
                assert (await server.client.get(f"/v2/{path}")).status_code == 200
            found = (await server.client.get("/v2/models/colours")).json()
            assert found["inputs"] == [{"name": "pictures", "datatype": "UINT8", "shape": [-1, 3, -1, -1]}]
            assert [(output["name"], output["datatype"], output["shape"]) for output in found["outputs"]] == [
                ("probabilities", "FP32", [-1, 3]), ("label", "INT64", [-1]), ("json", "BYTES", [-1]),
            ]  # fmt: skip
            server.worker.ready = False
            assert (await server.client.get("/v2/health/ready")).status_code == 503
            assert (await server.client.get("/v2/models/default/ready")).status_code == 503

    asyncio.run(test())


def test_all_forms_of_pictures_have_the_same_answer() -> None:
    async def test() -> None:
        async with local() as server:
            files = base64.b64encode(picture(255, 0, 0)).decode()
            forms = [
                tensor(),
                tensor(data=RED.tolist()),
                tensor(datatype="FP32", data=(RED / 255).tolist()),
                tensor(datatype="BYTES", shape=[1], data=[files]),
            ]
            for body in forms:
                answer = await server.client.post(URL, json={"id": "7", **body})
                assert answer.status_code == 200, answer.text
                found = answer.json()
                assert (found["id"], found["model_name"]) == ("7", "default")
                outputs = {output["name"]: output for output in found["outputs"]}
                assert outputs["label"] == {"name": "label", "datatype": "INT64", "shape": [1], "data": [0]}
                assert outputs["probabilities"]["data"] == pytest.approx([256 / 258, 1 / 258, 1 / 258], abs=1e-3)
                assert json.loads(outputs["json"]["data"][0])["name"] == "red"

    asyncio.run(test())


def test_binary_tensors_in_and_out() -> None:
    async def test() -> None:
        async with local() as server:
            asked = tensor(shape=[2, 3, 4, 5], parameters={"binary_data_size": 2 * RED.size})
            del asked["inputs"][0]["data"]
            asked["outputs"] = [{"name": "label", "parameters": {"binary_data": True}}, {"name": "probabilities"}]
            head = json.dumps(asked).encode()
            headers = {"Inference-Header-Content-Length": str(len(head))}
            answer = await server.client.post(URL, content=head + 2 * RED.tobytes(), headers=headers)
            length = int(answer.headers["inference-header-content-length"])
            found = json.loads(answer.content[:length])
            assert found["outputs"][0]["parameters"] == {"binary_data_size": 16}
            assert np.frombuffer(answer.content[length:], np.int64).tolist() == [0, 0]
            assert found["outputs"][1]["shape"] == [2, 3]

    asyncio.run(test())


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ({}, "expected one input 'pictures'"),
        ({"inputs": [{"name": "other"}]}, "expected one input 'pictures'"),
        (tensor(shape=[1, 3, 4]), "the input is UINT8 of shape"),
        (tensor(shape=[1, 3, -4, 5]), "the shape is"),
        (tensor(shape="x"), "the shape is x"),
        (tensor(shape=[1, 4, 3, 5]), "the input is UINT8 of shape"),
        (tensor(datatype="INT8"), "the input is INT8"),
        (tensor(data=[1, 2]), "has 2 bytes; UINT8 of shape"),
        (tensor(data=["a"]), "isn't a list of numbers"),
        (tensor(data=[[1], [1, 2]]), "isn't a list of numbers"),
        (tensor(data=[0.5] * 60), "aren't whole numbers"),
        (tensor(data=[256] * 60), "aren't whole numbers"),
        (tensor(shape=[1000, 3, 4, 5]), "expected at most 64"),
        (tensor(datatype="BYTES", shape=[1], data=[1]), "expected a list of base64 strings"),
        (tensor(datatype="BYTES", shape=[2], data=["AA=="]), "there are 1 files"),
        (tensor(datatype="BYTES", shape=[1], data=["AA=="]), "pictures 0: is"),
        (tensor(datatype="FP32", data=[2.0] * 60), "float32 from 2 to 2"),
        (tensor(parameters=3), "parameters: expected an object"),
        (tensor(parameters={"binary_data_size": 60}), "binary_data_size is 60; the request has 0 bytes"),
        ({**tensor(), "outputs": 3}, "outputs: expected a list"),
        ({**tensor(), "outputs": [{"name": "boxes"}]}, "there is no output 'boxes'; known: probabilities, label, json"),
        ({**tensor(), "parameters": {"threshold": 7}}, "threshold is '7'"),
    ],
)
def test_wrong_tensors_are_refused(body: dict[str, Any], message: str) -> None:
    async def test() -> None:
        async with local() as server:
            answer = await server.client.post(URL, json=body)
            assert (answer.status_code in (400, 413, 422), message in answer.json()["error"]) == (True, True), answer.text

    asyncio.run(test())


@pytest.mark.parametrize(("length", "content"), [("x", b"{}"), ("100", b"{}"), ("2", b"{}1234")])
def test_wrong_binary_parts_are_refused(length: str, content: bytes) -> None:
    async def test() -> None:
        async with local() as server:
            answer = await server.client.post(URL, content=content, headers={"Inference-Header-Content-Length": length})
            assert answer.status_code == 400

    asyncio.run(test())


@pytest.mark.parametrize("data", [b"\x01", b"\x05\0\0\0abc"])
def test_files_that_are_cut_short_are_refused(data: bytes) -> None:
    async def test() -> None:
        async with local() as server:
            asked = tensor(datatype="BYTES", shape=[1], parameters={"binary_data_size": len(data)})
            head = json.dumps(asked).encode()
            answer = await server.client.post(URL, content=head + data, headers={"Inference-Header-Content-Length": str(len(head))})
            assert answer.status_code == 400
            assert "is cut short" in answer.json()["error"]

    asyncio.run(test())


def test_objects_are_padded_with_zeros() -> None:
    outputs = [
        {"name": "parts.boxes", "attribute": "boxes", "dtype": "float32", "per_object": True},
        {"name": "kind.label", "attribute": "label", "dtype": "int64", "per_object": False},
    ]
    pictures = [[np.ones((2, 4), np.float32), np.array(3)], [np.ones((0, 4), np.float32), np.array(4)]]
    found = stacked(outputs, pictures)
    assert found["parts.boxes"].shape == (2, 2, 4)
    assert found["parts.boxes"][1].sum() == 0
    assert found["parts.counts"].tolist() == [2, 0]
    assert found["kind.label"].tolist() == [3, 4]
