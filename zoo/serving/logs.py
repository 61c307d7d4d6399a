"""Structured logs: one JSON object per line on standard error, without pictures or their names."""

from __future__ import annotations

import json
import logging
import queue
import sys
import threading
import time
from datetime import UTC, datetime
from typing import Any

_WAITING = 1000  # lines
_GATHER_S = 0.02  # lines of this time are written together, because waking the thread takes longer than writing a line


class Log:
    """Writer of events. A thread writes them, so that a full pipe never stops the server; lines that don't fit in its queue are counted."""

    def __init__(self) -> None:
        self._lines: queue.SimpleQueue[str | None] = queue.SimpleQueue()
        self._lost = 0
        self._thread = threading.Thread(target=self._write, daemon=True)
        self._thread.start()

    def __call__(self, event: dict[str, Any]) -> None:
        """Write an event with the time."""
        if self._lines.qsize() >= _WAITING:
            self._lost += 1
            return
        about = {"time": datetime.now(UTC).isoformat(timespec="milliseconds"), **event}
        if self._lost:
            about["lost_lines"], self._lost = self._lost, 0
        self._lines.put(json.dumps(about, ensure_ascii=False))

    def say(self, line: str) -> None:
        """Write a line of plain text."""
        self._lines.put(line)

    def close(self) -> None:
        """Write the remaining lines, at most for a second."""
        self._lines.put(None)
        self._thread.join(1)

    def _write(self) -> None:
        ended = False
        while not ended:
            found = [self._lines.get()]
            time.sleep(_GATHER_S)
            while not self._lines.empty():
                found.append(self._lines.get())
            ended = None in found
            try:
                sys.stderr.write("".join(f"{line}\n" for line in found if line is not None))
                sys.stderr.flush()
            except OSError:  # the reader has ended
                return


class LogHandler(logging.Handler):
    """Handler that writes the warnings of Uvicorn and FastAPI as events."""

    def __init__(self, log: Log) -> None:
        super().__init__(logging.WARNING)
        self._log = log

    def emit(self, record: logging.LogRecord) -> None:
        """Write a warning or an error; of an exception, its type and place only, because its message may contain names of pictures."""
        event = {"event": "warning", "logger": record.name, "message": record.getMessage()}
        if record.exc_info is not None and record.exc_info[2] is not None:
            trace = record.exc_info[2]
            while trace.tb_next is not None:
                trace = trace.tb_next
            kind = getattr(record.exc_info[0], "__name__", "error")
            event["error"] = f"{kind} at {trace.tb_frame.f_code.co_filename}:{trace.tb_lineno}"
        self._log(event)
