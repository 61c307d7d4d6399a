"""Messages between the server and its worker processes: a JSON header and bytes, over a socket pair.

A frame is the length of the header (4 bytes) and of the bytes (8 bytes), both in network byte order, the header in UTF-8, and the bytes.
"""

from __future__ import annotations

import asyncio
import json
import socket
import struct
import threading
from typing import Any

_LENGTHS = struct.Struct("!IQ")
Header = dict[str, Any]


def encode(header: Header, size: int) -> bytes:
    """Return the beginning of a frame: everything but its `size` bytes."""
    text = json.dumps(header, allow_nan=False, separators=(",", ":")).encode()
    return _LENGTHS.pack(len(text), size) + text


async def receive(reader: asyncio.StreamReader) -> tuple[Header, bytes]:
    """Return the next frame.

    Raises:
        asyncio.IncompleteReadError: the other process has ended.
    """
    head, body = _LENGTHS.unpack(await reader.readexactly(_LENGTHS.size))
    header: Header = json.loads(await reader.readexactly(head))
    return header, await reader.readexactly(body) if body else b""


class Channel:
    """The worker's end of the socket pair. Frames may be sent from several threads; one thread receives."""

    def __init__(self, end: socket.socket) -> None:
        self._socket = end
        self._sending = threading.Lock()

    def send(self, header: Header, parts: list[bytes] | None = None) -> None:
        """Send a frame whose bytes are those of `parts`."""
        body = b"".join(parts or ())
        with self._sending:
            self._socket.sendall(encode(header, len(body)))
            if body:
                self._socket.sendall(body)

    def receive(self) -> tuple[Header, memoryview] | None:
        """Return the next frame; None if the server has ended."""
        lengths = self._exactly(_LENGTHS.size)
        if lengths is None:
            return None
        head, size = _LENGTHS.unpack(lengths)
        text = self._exactly(head)
        body = self._exactly(size)
        return None if text is None or body is None else (json.loads(bytes(text)), body)

    def _exactly(self, size: int) -> memoryview | None:
        data = memoryview(bytearray(size))
        done = 0
        while done < size:
            count = self._socket.recv_into(data[done:])
            if not count:
                return None
            done += count
        return data
