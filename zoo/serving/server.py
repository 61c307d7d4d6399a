"""Run the server: the listening socket, the worker processes, Uvicorn and signals."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import signal
import socket
import ssl
from collections.abc import Iterator
from typing import Any

import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from zoo.errors import InputError
from zoo.serving.answering import Answering
from zoo.serving.app import create_app
from zoo.serving.limits import Bodies
from zoo.serving.logs import Log, LogHandler
from zoo.serving.metrics import Metrics
from zoo.serving.pool import Pool
from zoo.serving.settings import Settings

_HEADER_S, _HEADER_BYTES = 10.0, 2**16  # limits on the header of a request
_KEEP_ALIVE_S = 65  # longer than the usual 60 s of reverse proxies, which would otherwise meet closed connections
_CONNECTIONS = 1000


class ImpatientProtocol(HttpToolsProtocol):
    """Uvicorn's protocol, with limits on the size of a request's header, the time in which it must arrive, and the number of connections.

    The parser is that of httptools, which takes a third of the processor time of Uvicorn's other one, h11, but has no limits.
    """

    _header_timer: asyncio.TimerHandle | None = None
    _header_size = 0
    _in_header = False

    def connection_made(self, transport: Any) -> None:
        """Start the clock of the first request."""
        super().connection_made(transport)
        if len(self.connections) > _CONNECTIONS:
            transport.abort()
        self._start_clock()

    def on_message_begin(self) -> None:
        """Start the clock of a request: its first byte has arrived."""
        super().on_message_begin()
        self._in_header = True
        self._start_clock()

    def on_headers_complete(self) -> None:
        """Stop the clock."""
        self._in_header, self._header_size = False, 0
        self._stop_clock()
        super().on_headers_complete()

    def data_received(self, data: bytes) -> None:
        """Take data, and refuse a header that is too large."""
        super().data_received(data)
        if self.transport.is_closing():
            return
        if self._in_header:
            self._header_size += len(data)
            if self._header_size > _HEADER_BYTES:
                self.send_400_response(f"The header is larger than {_HEADER_BYTES} bytes.")
        elif self.cycle is not None and self.cycle.response_complete and self.timeout_keep_alive_task is None:
            # the rest of a body that is no longer needed has ended Uvicorn's clock of idle connections
            self.timeout_keep_alive_task = self.loop.call_later(self.timeout_keep_alive, self.timeout_keep_alive_handler)

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop the clock."""
        self._stop_clock()
        super().connection_lost(exc)

    def _start_clock(self) -> None:
        if self._header_timer is None and not self.transport.is_closing():
            self._header_timer = self.loop.call_later(_HEADER_S, self.transport.close)

    def _stop_clock(self) -> None:
        if self._header_timer is not None:
            self._header_timer.cancel()
            self._header_timer = None


class _Server(uvicorn.Server):
    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave the signals to `serve`."""
        yield


def serve(settings: Settings) -> int:
    """Serve until SIGTERM or Ctrl-C, and return the exit status.

    SIGTERM and Ctrl-C stop the server after it has answered all requests; a second one stops it at once.
    SIGHUP reloads the models and the TLS certificate.

    Raises:
        InputError: the address is in use, a certificate can't be read, or a model can't be loaded.
    """
    context = None if settings.tls is None else settings.tls.context()
    with _bind(settings.host, settings.port) as listener:
        return asyncio.run(_serve(settings, listener, context))


def _bind(host: str, port: int) -> socket.socket:
    """Return a listening socket.

    Raises:
        InputError: the address can't be used.
    """
    name = host.strip("[]")
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(name, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
        # with the protocol, asyncio sets TCP_NODELAY; without it, the body of an answer waits 40 ms for the acknowledgement of its header
        listener = socket.socket(family, kind, protocol)
    except OSError as error:
        raise InputError(f"--host {host} can't be used: {error}") from error
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        listener.listen(2048)
    except OSError as error:
        listener.close()
        reason = error.strerror or str(error)
        raise InputError(
            f"can't listen on {host} port {port}: {reason}. Choose another port with --port, or end the program that uses it"
        ) from error
    return listener


async def _serve(settings: Settings, listener: socket.socket, context: ssl.SSLContext | None) -> int:
    log = Log()
    pool = Pool(settings, log)
    stopping = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopping.set)
    server = _server(settings, pool, log, context)  # first, because its imports would interrupt the watching of workers
    try:
        loading = asyncio.ensure_future(pool.start())
        stopped = asyncio.ensure_future(stopping.wait())
        await asyncio.wait({loading, stopped}, return_when=asyncio.FIRST_COMPLETED)
        if not loading.done():
            loading.cancel()
            await asyncio.gather(loading, return_exceptions=True)
            return 0
        stopped.cancel()
        loading.result()
        _handle_signals(loop, server, pool, context)
        serving = asyncio.ensure_future(server.serve([listener]))
        while not (server.started or serving.done()):
            await asyncio.sleep(0.005)
        if server.started:
            log.say(_ready_line(settings, pool, listener))
            for name, about in pool.models.items():
                for note in about["notes"]:
                    log({"event": "note", "model": name, "note": note})
        if stopping.is_set():
            server.should_exit = True
        await serving
        return 0
    finally:
        await pool.close()
        log.close()


def _server(settings: Settings, pool: Pool, log: Log, context: ssl.SSLContext | None) -> _Server:
    metrics = Metrics(pool)
    app = create_app(Answering(settings, pool, Bodies(settings), metrics), metrics, log)
    for name in ("uvicorn", "uvicorn.error", "fastapi"):
        logger = logging.getLogger(name)
        logger.handlers, logger.propagate = [LogHandler(log)] if name != "uvicorn.error" else [], name == "uvicorn.error"
    config = uvicorn.Config(
        app,
        http=ImpatientProtocol,
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        timeout_keep_alive=_KEEP_ALIVE_S,
        timeout_graceful_shutdown=int(settings.timeout) + 1,
    )
    config.load()
    config.ssl = context
    return _Server(config)


def _handle_signals(loop: asyncio.AbstractEventLoop, server: _Server, pool: Pool, context: ssl.SSLContext | None) -> None:
    tasks = set[asyncio.Task[Any]]()

    def stop() -> None:
        server.force_exit = server.should_exit
        server.should_exit = True

    def reload() -> None:
        if context is not None and pool.settings.tls is not None:
            try:
                pool.settings.tls.renew(context)
            except InputError as error:
                pool.log({"event": "reload failed", "error": str(error)})
        task = loop.create_task(pool.reload())
        tasks.add(task)
        task.add_done_callback(tasks.discard)

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop)
    loop.add_signal_handler(signal.SIGHUP, reload)


def _ready_line(settings: Settings, pool: Pool, listener: socket.socket) -> str:
    host, port = listener.getsockname()[:2]
    scheme = "http" if settings.tls is None else "https"
    address = f"[{host}]" if ":" in host else host
    return f"zoo: ready: serving {', '.join(settings.names)} at {scheme}://{address}:{port}{settings.root_path}"
