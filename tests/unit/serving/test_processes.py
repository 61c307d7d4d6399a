"""A real server with worker processes: answers equal those of `zoo.predict`, and workers are watched, replaced, drained and reloaded."""

from __future__ import annotations

import json
import shutil
import signal
import socket
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest

pytest.importorskip("fastapi")
pytest.importorskip("httpx")

import httpx
import psutil
import torch

import zoo
from tests.pictures import write_picture
from tests.unit.artefacts.encrypted import write_identity
from tests.unit.serving.process import ServerProcess, served
from zoo.cli.main import main
from zoo.tasks.detection.prediction.detections import Detections

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Save a classifier, a detector, a face model and a model with two heads, all with random weights."""
    folder = tmp_path_factory.mktemp("models")
    torch.manual_seed(0)
    zoo.save(zoo.build("resnet20", classes=["a", "b", "c"]), folder / "classes")
    torch.manual_seed(0)
    boxes = zoo.build("resnet18", "detection", classes=["x", "y"], score_threshold=0.0, max_detections=5, image_size=256)
    zoo.save(boxes, folder / "boxes")
    face = zoo.build("resnet20", "face", embedding_size=16)
    face.metadata["threshold"] = 1e-4
    zoo.save(face, folder / "people")
    tasks, classes = {"kind": "classification", "parts": "detection"}, {"kind": ["a"], "parts": ["x"]}
    zoo.save(zoo.build("resnet18", tasks, classes=classes, image_size=128), folder / "both")
    return folder


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Write pictures of different sizes."""
    folder, rng = tmp_path_factory.mktemp("photos"), np.random.default_rng(0)
    sizes = [(64, 64), (80, 120), (120, 80), (64, 64), (200, 90), (64, 64)]
    files = [folder / f"{place}.png" for place in range(len(sizes))]
    for file, size in zip(files, sizes, strict=True):
        write_picture(file, rng.integers(0, 256, (*size, 3), np.uint8))
    return files


@pytest.fixture(scope="module")
def server(models: Path) -> Iterator[ServerProcess]:
    """Run a server with all models."""
    words = [f"{name}={models / name}" for name in ("classes", "boxes", "people", "both")]
    gallery, key = models / "people.gallery", models / "key.txt"
    sealed = zoo.encrypt(models / "classes", models / "sealed.age", recipients=write_identity(key)).path
    with served(*words, sealed, "--identity", key, "--gallery", f"friends@people={gallery}", "--queue", "100") as running:
        key.rename(key.with_suffix(".gone"))  # workers that replace others get the key from the server's memory
        yield running


@pytest.fixture(scope="module")
def changing(models: Path) -> Path:
    """Copy the classifier to a folder that tests may change."""
    return Path(shutil.copytree(models / "classes", models / "changing"))


@pytest.fixture(scope="module")
def small_server(changing: Path, models: Path) -> Iterator[ServerProcess]:
    """Run a server with low limits, which the last test ends."""
    with served(changing, f"boxes={models / 'boxes'}", "--max-body-mb", "0.5") as running:
        yield running


def post(server: ServerProcess, model: str, *photos: Path, query: str = "") -> Any:
    files = [("files", (str(photo), photo.read_bytes())) for photo in photos]
    return server.client.post(f"/v1/models/{model}/predict{query}", files=files)


def closeness(a: Any, b: Any) -> float:
    """Return the largest difference between the numbers of two JSON values, which must otherwise be equal."""
    if isinstance(a, dict):
        assert a.keys() == b.keys()
        return max((closeness(a[key], b[key]) for key in a), default=0.0)
    if isinstance(a, list):
        assert len(a) == len(b)
        return max((closeness(*pair) for pair in zip(a, b, strict=True)), default=0.0)
    if isinstance(a, float):
        return abs(a - float(b))
    assert a == b
    return 0.0


@pytest.mark.parametrize("model", ["classes", "boxes", "people", "both"])
def test_answers_equal_those_of_predict_whatever_the_batch(server: ServerProcess, models: Path, photos: list[Path], model: str) -> None:
    expected = [one.to_dict() for one in zoo.predict(zoo.load(models / model), photos)]
    answer = post(server, model, *photos)
    assert answer.status_code == 200, "\n".join([answer.text, *server.lines])
    together = answer.json()["predictions"]
    with ThreadPoolExecutor(6) as pool:
        alone = [answer.json()["predictions"][0] for answer in pool.map(lambda photo: post(server, model, photo), photos * 3)]
    tolerance = 1e-5 if model in ("classes", "people") else 1e-3  # boxes are in pixels
    assert closeness(together, expected) < tolerance
    assert closeness(alone, expected * 3) < tolerance


def test_an_encrypted_model_answers_and_its_key_is_in_no_argument(server: ServerProcess, models: Path, photos: list[Path]) -> None:
    assert post(server, "sealed", *photos).json()["predictions"] == post(server, "classes", *photos).json()["predictions"]
    secret = (models / "key.gone").read_text().split()[-1]
    assert secret.startswith("AGE-SECRET-KEY-1")
    for process in (psutil.Process(server.process.pid), *server.workers()):
        assert secret not in " ".join([*process.cmdline(), *process.environ().values()])


def test_detections_above_a_threshold(server: ServerProcess, photos: list[Path]) -> None:
    every = post(server, "boxes", photos[0]).json()["predictions"][0]["scores"]
    middle = sorted(every)[len(every) // 2]
    assert any('"event": "note", "model": "both"' in line for line in server.lines), "it has no operating point"
    assert post(server, "boxes", photos[0], query=f"?threshold={middle}").json()["predictions"][0]["scores"] == [
        x for x in every if x > middle
    ]


def test_people_are_enrolled_identified_and_forgotten(server: ServerProcess, photos: list[Path]) -> None:
    def act(action: str, *files: Path, **values: str) -> Any:
        several = [("files", (file.name, file.read_bytes())) for file in files]
        return server.client.post(f"/v1/galleries/friends/{action}", files=several or None, data=values)

    assert server.client.get("/v1/galleries").json() == {"galleries": [{"name": "friends", "model": "people"}]}
    assert act("identify", photos[0]).status_code == 422
    assert server.client.get("/v1/galleries/friends/people").json() == {"people": []}
    assert act("enrol", photos[0], name="Ann").json() == {"name": "Ann", "enrolled": 1, "faces": 1}
    assert act("identify", photos[0]).json()["pictures"][0]["faces"][0]["name"] == "Ann"
    assert [person["name"] for person in server.client.get("/v1/galleries/friends/people").json()["people"]] == ["Ann"]
    assert act("enrol", photos[1], name="Ann").status_code == 422, "she is already enrolled"
    assert act("forget", name="Ann").json() == {"name": "Ann", "forgotten": 1, "faces": 0}
    assert act("forget", name="Ann").status_code == 422
    assert "unknown parameter" in act("forget", naem="Ann").json()["error"]
    assert server.client.post("/v1/galleries/none/forget").status_code == 404


def test_clients_of_triton(server: ServerProcess, models: Path, photos: list[Path]) -> None:
    http = pytest.importorskip("tritonclient.http")
    client = http.InferenceServerClient(f"127.0.0.1:{server.port}")
    assert client.is_server_live()
    assert client.is_server_ready()
    assert client.is_model_ready("boxes")
    assert client.get_model_metadata("boxes")["inputs"][0]["name"] == "pictures"
    image = zoo.read_image(photos[1])
    pixels = np.ascontiguousarray(image.transpose(2, 0, 1)[None].repeat(2, 0))
    expected = cast(Detections, next(iter(zoo.predict(zoo.load(models / "boxes"), image))))
    for dtype, values in (("UINT8", pixels), ("FP32", (pixels / 255).astype(np.float32))):
        for binary in (True, False):
            given = http.InferInput("pictures", list(values.shape), dtype)
            given.set_data_from_numpy(values, binary_data=binary)
            wanted = [http.InferRequestedOutput(name, binary_data=binary) for name in ("boxes", "scores", "labels", "counts", "json")]
            found = client.infer("boxes", [given], outputs=wanted)
            assert found.as_numpy("counts").tolist() == [len(expected)] * 2
            np.testing.assert_allclose(found.as_numpy("boxes")[1], expected.boxes, atol=1e-3)
            assert json.loads(found.as_numpy("json")[0])["labels"] == expected.labels.tolist()
    files = http.InferInput("pictures", [1], "BYTES")
    files.set_data_from_numpy(np.array([photos[0].read_bytes()], object))
    assert client.infer("classes", [files]).as_numpy("probabilities").shape == (1, 3)
    with pytest.raises(Exception, match="there is no output"):
        client.infer("classes", [files], outputs=[http.InferRequestedOutput("boxes")])
    client.close()


def test_a_killed_worker_is_replaced_and_every_request_is_answered(server: ServerProcess, photos: list[Path]) -> None:
    statuses: list[int] = []
    stop = threading.Event()

    def load() -> None:
        with httpx.Client(base_url=server.url, timeout=30) as client:
            while not stop.is_set():
                answer = client.post("/v1/models/classes/predict", files={"files": photos[0].read_bytes()})
                statuses.append(answer.status_code)
                time.sleep(0.02 if answer.status_code != 200 else 0)

    threads = [threading.Thread(target=load) for _ in range(4)]
    for thread in threads:
        thread.start()
    time.sleep(0.5)
    server.workers()[0].kill()
    assert server.wait(False, 1) < 1
    assert server.wait(True) < 60, "10 s on a quiet machine"
    time.sleep(0.3)
    stop.set()
    for thread in threads:
        thread.join()
    assert set(statuses) == {200, 503}
    assert statuses[-1] == 200
    assert post(server, "sealed", photos[0]).status_code == 200


def test_a_worker_that_hangs_is_replaced(server: ServerProcess, photos: list[Path]) -> None:
    server.workers()[0].suspend()
    answer = post(server, "classes", photos[0])
    assert answer.status_code == 503
    assert server.wait(True) < 60
    assert post(server, "classes", photos[0]).status_code == 200
    assert "zoo_worker_restarts 2.0" in server.client.get("/metrics").text


def test_slow_and_endless_requests_are_ended(small_server: ServerProcess, photos: list[Path]) -> None:
    body = b"POST /v1/models/changing/predict HTTP/1.1\r\nHost: localhost\r\nContent-Type: image/png\r\n"
    with socket.create_connection(("127.0.0.1", small_server.port)) as unfinished:
        unfinished.sendall(b"GET /healthz HTTP/1.1\r\nHo")
        unfinished.settimeout(60)
        assert unfinished.recv(100) == b"", "the header must arrive within 10 s"
    with socket.create_connection(("127.0.0.1", small_server.port)) as slow:
        slow.sendall(body + b"Content-Length: 1000\r\n\r\n1")
        slow.settimeout(20)
        assert b" 408 " in slow.recv(1000)
    with socket.create_connection(("127.0.0.1", small_server.port)) as endless:
        endless.sendall(body + b"Transfer-Encoding: chunked\r\n\r\n")
        endless.settimeout(20)
        answer = b""
        try:
            while b"413" not in answer:
                endless.sendall(b"10000\r\n" + b"x" * 0x10000 + b"\r\n")
                endless.setblocking(False)
                try:
                    answer += endless.recv(1000)
                except BlockingIOError:
                    pass
                finally:
                    endless.setblocking(True)
        except (BrokenPipeError, ConnectionResetError):
            answer += endless.recv(1000)
        assert b" 413 " in answer
    assert post(small_server, "changing", photos[0]).status_code == 200


def test_models_are_reloaded_at_once_or_not_at_all(small_server: ServerProcess, changing: Path, photos: list[Path]) -> None:
    server = small_server
    (changing / "weights.safetensors").write_bytes(b"damaged")
    server.process.send_signal(signal.SIGHUP)
    assert "weights.safetensors" in server.line("reload failed")
    assert server.ready()
    assert post(server, "changing", photos[0]).status_code == 200
    shutil.rmtree(changing)
    zoo.save(zoo.build("resnet20", classes=["new"]), changing)
    server.process.send_signal(signal.SIGHUP)
    server.line('"event": "reloaded"')
    assert post(server, "changing", photos[0]).json()["predictions"][0]["name"] == "new"
    server.wait(True)


def test_sigterm_answers_requests_first(small_server: ServerProcess, photos: list[Path]) -> None:
    with ThreadPoolExecutor(8) as pool:
        answers = [pool.submit(post, small_server, "boxes", *photos[:3]) for _ in range(4)]
        time.sleep(0.2)
        assert small_server.stop() == 0
        assert [answer.result().status_code for answer in answers] == [200] * 4


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["nowhere"], "nowhere"),
        (["MODELS/classes", "MODELS/./classes"], "two models have the name 'classes'"),
        (["MODELS/classes", "--port", "USED"], "Choose another port"),
        (["MODELS/classes", "--host", "0.0.0.0"], "pass --token-file FILE"),
        (["MODELS/classes", "--token-file", "missing"], "can't be read: No such file"),
        (["MODELS/classes", "--gallery", "x.gallery"], "0 face heads"),
        (["a=MODELS/classes", "a=MODELS/boxes"], "two models have the name 'a'"),
    ],
)
def test_wrong_arguments_end_with_status_2(models: Path, words: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as used:
        port = str(used.getsockname()[1])
        given = [word.replace("MODELS", str(models)).replace("USED", port) for word in words]
        assert main(["serve", *given]) == 2
    assert message in capsys.readouterr().err
