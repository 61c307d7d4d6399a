"""Lock on a run's folder, so that only one process trains in it; records the torchrun job of its last holder."""

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
    """Lock that is released when the process that holds it ends, however it ends."""

    def __init__(self, folder: Path) -> None:
        """Acquire the lock of a run's existing folder.

        Raises:
            InputError: another process holds it.
            OSError: the folder isn't writable.
        """
        self._file: IO[str] = (folder / LOCK).open("a+", encoding="utf-8")
        try:
            self._take(folder)
            self._file.seek(0)
            _, _, self._last_job = self._file.read().strip().partition(" ")
        except BaseException:
            self._file.close()
            raise

    def _take(self, folder: Path) -> None:
        if sys.platform == "win32":
            return  # two runs in one folder are not detected on Windows
        import fcntl

        try:
            # a lock of the process, not of the open file: loader processes that outlive a killed run don't hold it
            fcntl.lockf(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno not in (errno.EACCES, errno.EAGAIN):
                logging.getLogger("zoo").warning(
                    "%s: this file system doesn't support locks (%s); make sure that only one run uses the folder", folder, error
                )
                return
            self._file.seek(0)
            holder = self._file.read().split(" ")[0] or "unknown"
            raise InputError(
                f"{folder}: another process (PID {holder}) is training there; wait for it or stop it, or choose another folder with --out"
            ) from error

    @property
    def restarted(self) -> bool:
        """Whether torchrun (`--max-restarts`) has restarted this process after one of the same job that held the lock last."""
        return int(os.environ.get("TORCHELASTIC_RESTART_COUNT", "0")) > 0 and self._last_job == _job() != ""

    def sign(self) -> None:
        """Write the PID and the torchrun job of this process into the lock file."""
        self._file.truncate(0)
        self._file.write(f"{os.getpid()} {_job()}")
        self._file.flush()

    def release(self) -> None:
        """Release the lock."""
        self._file.close()


def _job() -> str:
    """Return an identifier of the torchrun job of this process, which is the same after restarts; "" without torchrun."""
    name = os.environ.get("TORCHELASTIC_RUN_ID")
    if name is None:
        return ""
    return name if name != "none" else f"{platform.node()}-{os.getppid()}"
