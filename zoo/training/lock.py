"""One process at a time works in a run's folder; which job it belonged to is known afterwards."""

from __future__ import annotations

import errno
import logging
import os
import platform
import sys
from pathlib import Path
from typing import IO

from zoo.errors import InputError

LOCK = ".lock"


class RunLock:
    """A lock that ends with the process that holds it, however that ends."""

    def __init__(self, folder: Path) -> None:
        """Take the lock.

        Args:
            folder: the run's; it exists.

        Raises:
            InputError: another process holds it.
            OSError: the folder can't be written to.
        """
        self._file: IO[str] = (folder / LOCK).open("a+", encoding="utf-8")
        try:
            self._take(folder)
            self._file.seek(0)
            _, _, self.last_job = self._file.read().strip().partition(" ")
        except BaseException:
            self._file.close()
            raise

    def _take(self, folder: Path) -> None:
        if sys.platform == "win32":
            return  # two runs in one folder are not noticed there
        import fcntl

        try:
            # of the process, not of the open file: loader processes that outlive a killed run don't hold it
            fcntl.lockf(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno not in (errno.EACCES, errno.EAGAIN):
                logging.getLogger("zoo").warning(
                    "%s: this file system has no locks (%s); see that one run alone works there", folder, error
                )
                return
            self._file.seek(0)
            holder = self._file.read().split(" ")[0] or "unknown"
            raise InputError(
                f"{folder}: another process (number {holder}) is training there; wait for it or stop it, or choose another place with --out"
            ) from error

    def sign(self) -> None:
        """Write down who works here."""
        self._file.truncate(0)
        self._file.write(f"{os.getpid()} {job()}")
        self._file.flush()

    def release(self) -> None:
        """Let others work here."""
        self._file.close()


def job() -> str:
    """Return which job of torchrun this process belongs to, the same after it was restarted; "" where there is none."""
    name = os.environ.get("TORCHELASTIC_RUN_ID")
    if name is None:
        return ""
    return name if name != "none" else f"{platform.node()}-{os.getppid()}"


def restarted(last_job: str) -> bool:
    """Tell whether torchrun has started this process again, after the one that worked here last (`--max-restarts`).

    Args:
        last_job: of the process that worked in the run's folder last.
    """
    return int(os.environ.get("TORCHELASTIC_RESTART_COUNT", "0")) > 0 and last_job == job() != ""
