"""Limits on requests: who may send them, how large they are, and how long they take. They apply before a picture is decoded."""

from __future__ import annotations

import asyncio
import hmac
import re
import secrets
import time
from collections.abc import Callable, MutableMapping
from contextlib import suppress
from typing import Any

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import JSONResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from zoo.serving.metrics import Metrics
from zoo.serving.settings import Settings, is_loopback

_GRACE_S, _LEAST_RATE = 5.0, 10_000  # a body must arrive with this many bytes per second, after the first seconds
_BODIES = 8  # bodies of the largest size that may be in memory at the same time
_DRAIN_S = 0.5
_PORT = re.compile(r":\d*$")
_REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")
OPEN_PATHS = frozenset({"/", "/healthz", "/readyz", "/v2/health/live", "/v2/health/ready"})


class RefusedError(Exception):
    """A request is refused: status, message, further headers and entries of the answer."""

    def __init__(self, status: int, message: str, headers: dict[str, str] | None = None, **more: Any) -> None:
        super().__init__(message)
        self.status, self.message, self.headers, self.more = status, message, headers or {}, more

    def response(self) -> Response:
        """Return the answer, in which `error` is the message. This is also the form of the Open Inference Protocol."""
        return JSONResponse({"error": self.message, **self.more}, self.status, self.headers)


class Bodies:
    """Reads the bodies of requests into memory, within limits."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._held = 0  # bytes of all requests that aren't answered yet

    async def read(self, scope: Scope, receive: Receive) -> bytes:
        """Return the body of a request.

        Raises:
            RefusedError: the body is too large or arrives too slowly, or too many bodies are in memory.
        """
        limit, state = self._settings.max_body, scope["state"]
        length = Headers(scope=scope).get("content-length", "0")
        if length.isdecimal() and int(length) > limit:
            raise self._too_large()
        parts, size, begun = list[bytes](), 0, time.monotonic()
        while True:
            message = await self._next(receive, begun, size)
            if message["type"] == "http.disconnect":
                raise RefusedError(400, "the connection was closed before the end of the request")
            part = message.get("body", b"")
            size += len(part)
            if size > limit:
                raise self._too_large()
            self._held += len(part)
            state["held"] = state.get("held", 0) + len(part)
            if self._held > _BODIES * limit:
                raise RefusedError(503, "the server holds too many large requests; try again later", {"Retry-After": "2"})
            parts.append(part)
            if not message.get("more_body", False):
                state["stages"] = {"read": time.monotonic() - begun}
                return b"".join(parts)

    def release(self, scope: Scope) -> None:
        """Count the body of a request as no longer in memory."""
        self._held -= scope["state"].pop("held", 0)

    async def _next(self, receive: Receive, begun: float, size: int) -> Message:
        allowed = min(self._settings.timeout, _GRACE_S + size / _LEAST_RATE) - (time.monotonic() - begun)
        try:
            async with asyncio.timeout(max(0.0, allowed)):
                return await receive()
        except TimeoutError:
            raise RefusedError(408, f"the request arrives too slowly: {size} bytes after {time.monotonic() - begun:.0f} s") from None

    def _too_large(self) -> RefusedError:
        return RefusedError(413, f"the request is too large; the limit is {self._settings.max_body} bytes (--max-body-mb)")


class Gate:
    """ASGI middleware around the application: request ids, the token, origins and hosts, logs and metrics."""

    def __init__(self, app: ASGIApp, settings: Settings, bodies: Bodies, metrics: Metrics, log: Callable[[dict[str, Any]], None]) -> None:
        self._app, self._settings, self._bodies, self._metrics, self._log = app, settings, bodies, metrics, log

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        if scope["type"] != "http":
            await send({"type": "websocket.close", "code": 1008})
            return
        headers, begun, root = Headers(scope=scope), time.monotonic(), self._settings.root_path
        if scope["path"].startswith(f"{root}/"):  # a reverse proxy may remove this part or keep it
            scope["path"] = scope["path"].removeprefix(root)
        given = headers.get("x-request-id", "")
        state: MutableMapping[str, Any] = scope.setdefault("state", {})
        state["request_id"] = given if _REQUEST_ID.fullmatch(given) else secrets.token_hex(8)
        state["deadline"] = begun + self._settings.timeout
        status = 500

        async def marked(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                self._mark(MutableHeaders(scope=message), headers, state)
            await send(message)

        try:
            refusal = self._refusal(scope, headers)
            if refusal is not None:
                await drain(receive, headers)
                await refusal(scope, receive, marked)
            else:
                await self._app(scope, receive, marked)
        finally:
            self._bodies.release(scope)
            self._record(scope, status, time.monotonic() - begun)

    def _refusal(self, scope: Scope, headers: Headers) -> Response | None:
        """Return the answer to a request that doesn't reach the application; None to let it pass."""
        if not self._reached_by(name := headers.get("host", "")):
            message = f"the server isn't known as {name[:100]!r}; to serve it under this name, pass --allow-host (behind a proxy, too)"
            return RefusedError(421, message).response()
        if scope["path"] == self._settings.root_path != "":  # relative addresses in the page need the slash
            return RedirectResponse(f"{self._settings.root_path}/", 308)
        origin = headers.get("origin")
        if origin is not None and not self._own(origin, headers) and not self._allowed(origin):
            return RefusedError(403, f"requests from pages of {origin[:100]!r} are not allowed (--cors-origin)").response()
        if scope["method"] == "OPTIONS" and "access-control-request-method" in headers:
            return Response(status_code=204)
        if scope["path"] in OPEN_PATHS or self._settings.token is None:
            return None
        scheme, _, secret = headers.get("authorization", "").partition(" ")
        # compare_digest takes the same time for every wrong token
        right = hmac.compare_digest(secret.strip().encode("utf-8", "replace"), self._settings.token.encode())
        if scheme.lower() == "bearer" and right:
            return None
        message = "the token is missing or wrong; pass the header Authorization: Bearer TOKEN"
        return RefusedError(401, message, {"WWW-Authenticate": "Bearer"}).response()

    def _reached_by(self, host: str) -> bool:
        """Return whether requests with this header `Host` are answered."""
        known = self._settings.hosts
        if known is None or not host:  # browsers always send it
            return True
        name = _PORT.sub("", host.lower()).strip("[]")
        return name in known or is_loopback(name)

    def _allowed(self, origin: str) -> bool:
        return origin in self._settings.cors_origins or "*" in self._settings.cors_origins

    @staticmethod
    def _own(origin: str, headers: Headers) -> bool:
        """Return whether a request comes from a page of this server."""
        return bool(origin.partition("://")[2] == headers.get("host", ""))

    def _mark(self, answer: MutableHeaders, headers: Headers, state: MutableMapping[str, Any]) -> None:
        answer["X-Request-ID"] = state["request_id"]
        answer["X-Content-Type-Options"] = "nosniff"
        if stages := state.get("stages"):
            answer["Server-Timing"] = ", ".join(f"{stage};dur={seconds * 1000:.2f}" for stage, seconds in stages.items())
        answer.setdefault("Cache-Control", "no-store")
        origin = headers.get("origin")
        if origin is not None and self._allowed(origin):
            answer["Access-Control-Allow-Origin"] = origin
            answer["Access-Control-Allow-Methods"] = "GET, POST, OPTIONS"
            answer["Access-Control-Allow-Headers"] = "authorization, content-type, x-request-id, inference-header-content-length"
            answer["Access-Control-Expose-Headers"] = "x-request-id, retry-after, server-timing, inference-header-content-length"
            answer.add_vary_header("Origin")

    def _record(self, scope: Scope, status: int, seconds: float) -> None:
        state = scope["state"]
        route = getattr(scope.get("route"), "path", "other")
        self._metrics.answered(route, status, seconds)
        if scope["path"] in OPEN_PATHS and status == 200:
            return  # probes of the state would fill the log
        event = {"event": "request", "request_id": state["request_id"], "method": scope["method"], "route": route, "status": status}
        event |= {"ms": round(seconds * 1000, 2)} | {key: state[key] for key in ("model", "pictures") if key in state}
        self._log(event)


async def drain(receive: Receive, headers: Headers) -> None:
    """Read a small body of a refused request, because closing the connection before that may lose the answer."""
    length = headers.get("content-length", "0")
    if "expect" in headers or not length.isdecimal() or int(length) > 2**20:
        return
    with suppress(TimeoutError):
        async with asyncio.timeout(_DRAIN_S):
            while (await receive()).get("more_body", False):
                pass
