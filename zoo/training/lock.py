"""Lock on the folder of a run, so that only one process trains in it. The lock file also stores the torchrun job of the process."""

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
    """Lock on the folder of a run. It is released when the process ends, even if the process is killed."""

    def __init__(self, folder: Path) -> None:
        """Acquire the lock. The folder must exist.

        Raises:
            InputError: another process holds the lock.
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
            # lockf locks belong to the process, not to the open file, so loader processes that outlive a killed run don't hold the lock
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
        """Whether torchrun (`--max-restarts`) has restarted this process, and the last holder of the lock belonged to the same job."""
        return int(os.environ.get("TORCHELASTIC_RESTART_COUNT", "0")) > 0 and self._last_job == _job() != ""

    def sign(self) -> None:
        """Write the PID and torchrun job of this process to the lock file."""
        self._file.truncate(0)
        self._file.write(f"{os.getpid()} {_job()}")
        self._file.flush()

    def release(self) -> None:
        """Release the lock."""
        self._file.close()


def _job() -> str:
    """Return the identifier of this process's torchrun job, which doesn't change on restart; "" without torchrun."""
    name = os.environ.get("TORCHELASTIC_RUN_ID")
    if name is None:
        return ""
    return name if name != "none" else f"{platform.node()}-{os.getppid()}"
