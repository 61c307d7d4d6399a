"""A single client that uploads one picture after the other, with Python's `http.client`.

Locust's client takes about as long for a request as the server does besides decoding and computing, so that it would be measured as well.
"""

from __future__ import annotations

import http.client
import time
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from urllib.parse import urlsplit

from zoo.benchmarks.serving.load import OK, LoadError

_BOUNDARY = "zoo-benchmark-7f3a9c"
CONTENT_TYPE = f"multipart/form-data; boundary={_BOUNDARY}"


def multipart(field: str, file: Path) -> bytes:
    """Return the body of a request that uploads one file."""
    head = f'--{_BOUNDARY}\r\nContent-Disposition: form-data; name="{field}"; filename="{file.name}"\r\nContent-Type: image/jpeg\r\n\r\n'
    return head.encode() + file.read_bytes() + f"\r\n--{_BOUNDARY}--\r\n".encode()


def single_requests(url: str, path: str, field: str, files: Sequence[str], seconds: float) -> list[float]:
    """Upload files in turn over one connection, and return the time of each request until the end of its answer in milliseconds.

    Args:
        url: address of the server.
        path: path of the requests.
        field: name of the file's field in the form.
        files: files to upload.
        seconds: time after which no further requests are sent. The requests of the first tenth don't count.

    Raises:
        LoadError: the server doesn't answer with status 200.
    """
    bodies, found, count = [multipart(field, Path(file)) for file in files], list[float](), 0
    start = time.perf_counter()
    with closing(http.client.HTTPConnection(urlsplit(url).netloc, timeout=60)) as connection:
        while (begun := time.perf_counter()) - start < seconds:
            try:
                connection.request("POST", path, bodies[count % len(bodies)], {"Content-Type": CONTENT_TYPE})
                answer = connection.getresponse()
                answer.read()
            except (OSError, http.client.HTTPException) as error:
                raise LoadError(f"{url}{path}: no answer to request {count}: {error}") from error
            if answer.status != OK:
                raise LoadError(f"{url}{path}: request {count} was answered with status {answer.status}; expected {OK}")
            count += 1
            if begun - start >= seconds / 10:
                found.append(1000 * (time.perf_counter() - begun))
    return found
