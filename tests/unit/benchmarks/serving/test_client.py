"""The single client of the serving benchmark, against a small HTTP server."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from zoo.benchmarks.serving.client import single_requests
from zoo.benchmarks.serving.load import LoadError


@contextmanager
def answering(status: int, received: list[bytes]) -> Iterator[str]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            received.append(self.rfile.read(int(self.headers["Content-Length"])))
            self.send_response(status)
            self.send_header("Content-Length", "2")
            self.end_headers()
            self.wfile.write(b"{}")

        def log_message(self, *words: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}).start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()


def photos(folder: Path) -> list[str]:
    files = [folder / "a.jpg", folder / "b.jpg"]
    for file in files:
        file.write_bytes(f"pixels of {file.name}".encode())
    return list(map(str, files))


def test_files_are_uploaded_in_turn_and_timed(tmp_path: Path) -> None:
    received: list[bytes] = []
    with answering(200, received) as url:
        found = single_requests(url, "/predict", "files", photos(tmp_path), 0.2)
    assert 0 < len(found) < len(received), "the requests of the first tenth count"
    assert all(0 < each < 200 for each in found)
    for place, body in enumerate(received):
        name = b"ab"[place % 2 : place % 2 + 1] + b".jpg"
        assert b'name="files"; filename="' + name + b'"' in body
        assert b"pixels of " + name in body


def test_other_answers_are_errors(tmp_path: Path) -> None:
    with answering(503, []) as url, pytest.raises(LoadError, match="request 0 was answered with status 503; expected 200"):
        single_requests(url, "/predict", "files", photos(tmp_path), 1)
    with pytest.raises(LoadError, match="no answer to request 0"):
        single_requests("http://127.0.0.1:9", "/predict", "files", photos(tmp_path), 1)
