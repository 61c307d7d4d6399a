"""Connections of the server: the header of a request must arrive in time and be small, and idle connections stay open."""

from __future__ import annotations

import asyncio
import io
import json
import sys
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest

pytest.importorskip("fastapi")
pytest.importorskip("httptools")

import uvicorn

from zoo.serving import logs, server
from zoo.serving.logs import Log
from zoo.serving.server import ImpatientProtocol

_HEAD = b"POST / HTTP/1.1\r\nHost: zoo.test\r\nContent-Length: 4\r\n"
Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]


async def _answer(scope: Any, receive: Any, send: Any) -> None:
    """Answer without reading the body."""
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2")]})
    await send({"type": "http.response.body", "body": b"ok"})


@asynccontextmanager
async def _connection(keep_alive_s: int = 60) -> AsyncIterator[Streams]:
    config = uvicorn.Config(_answer, ws="none", lifespan="off", log_config=None, access_log=False, timeout_keep_alive=keep_alive_s)
    config.load()
    state = uvicorn.server.ServerState()
    listener = await asyncio.get_running_loop().create_server(lambda: ImpatientProtocol(config, state, {}), "127.0.0.1", 0)
    async with listener:
        reader, writer = await asyncio.open_connection(*listener.sockets[0].getsockname())
        try:
            yield reader, writer
        finally:
            writer.close()


def _run(test: Callable[[], Awaitable[None]]) -> None:
    async def limited() -> None:
        async with asyncio.timeout(20):
            await test()

    asyncio.run(limited())


async def _request(streams: Streams, body: bytes = b"abcd") -> None:
    reader, writer = streams
    writer.write(_HEAD + b"\r\n" + body)
    assert (await reader.readuntil(b"ok")).startswith(b"HTTP/1.1 200 ")


@pytest.mark.parametrize("part", [b"", b"POST / HT", _HEAD])
def test_a_header_that_does_not_arrive_in_time_ends_the_connection(part: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "_HEADER_S", 0.2)

    async def test() -> None:
        async with _connection() as (reader, writer):
            writer.write(part)
            assert await reader.read() == b""

    _run(test)


def test_the_header_of_a_later_request_must_arrive_in_time_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "_HEADER_S", 0.2)

    async def test() -> None:
        async with _connection() as streams:
            await _request(streams)
            await asyncio.sleep(0.4)  # an idle connection stays open
            await _request(streams)
            streams[1].write(_HEAD)
            assert await streams[0].read() == b""

    _run(test)


def test_a_body_may_take_longer_than_the_header(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "_HEADER_S", 0.2)

    async def test() -> None:
        async with _connection() as streams:
            await _request(streams, b"ab")
            await asyncio.sleep(0.4)
            streams[1].write(b"cd")
            await _request(streams)

    _run(test)


def test_a_large_header_is_refused() -> None:
    async def test() -> None:
        async with _connection() as (reader, writer):
            writer.write(_HEAD)
            for _ in range(8):
                writer.write(b"X-Filler: " + b"x" * 10_000 + b"\r\n")
                await asyncio.sleep(0.01)
            assert (await reader.read()).startswith(b"HTTP/1.1 400 ")

    _run(test)


def test_a_large_body_is_no_large_header() -> None:
    async def test() -> None:
        async with _connection() as (reader, writer):
            writer.write(_HEAD.replace(b"4", b"200000") + b"\r\n" + b"x" * 200_000)
            await reader.readuntil(b"ok")
            await _request((reader, writer))

    _run(test)


def test_an_idle_connection_ends_even_if_the_last_body_arrived_after_its_answer() -> None:
    async def test() -> None:
        async with _connection(keep_alive_s=1) as streams:
            await _request(streams, b"ab")
            streams[1].write(b"cd")
            assert await streams[0].read() == b""

    _run(test)


def test_lines_of_the_log_are_written_in_order_and_counted_if_they_do_not_fit(monkeypatch: pytest.MonkeyPatch) -> None:
    class Stalled(io.StringIO):
        """A standard error whose reader has stopped."""

        goes_on, stands = threading.Event(), threading.Event()

        def write(self, text: str) -> int:
            self.stands.set()
            self.goes_on.wait(10)
            return super().write(text)

    stalled = Stalled()
    monkeypatch.setattr(sys, "stderr", stalled)
    monkeypatch.setattr(logs, "_WAITING", 3)
    log = Log()
    log({"number": 0})
    assert stalled.stands.wait(10)
    for number in range(1, 6):
        log({"number": number})
    stalled.goes_on.set()
    while log._lines.qsize():
        time.sleep(0.01)
    log({"number": 6})
    log.say("over")
    log.close()
    *events, last = stalled.getvalue().splitlines()
    assert [json.loads(event)["number"] for event in events] == [0, 1, 2, 3, 6]
    assert [json.loads(event).get("lost_lines") for event in events] == [None, None, None, None, 2]
    assert last == "over"
