"""A small server that speaks the protocol of the Hub: repositories, commits, branches, large files and downloads.

Uploaded files are stored apart from the repositories, and appear in them only with a commit.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

DIGITS = "hf:me/digits"  # the model of most tests of pulling

Files = dict[str, bytes]
_LARGE = (".safetensors", ".onnx", ".bin", ".pt", ".pth")  # stored as large files
_REPOSITORY = r"([\w.-]+/[\w.-]+)"


@dataclass
class Repository:
    """Commits by hash, in order, and the commit of each branch and tag."""

    commits: dict[str, Files] = field(default_factory=dict)
    refs: dict[str, str] = field(default_factory=dict)
    private: bool = False
    gated: bool = False
    broken: str = ""  # what is wrong: "status" (500), "text" (no JSON), "headers" (no commits), "siblings" (no names of files)

    def commit(self, files: Files, branch: str = "main") -> str:
        """Add a commit with these files and no others, and return its hash."""
        content = [len(self.commits), branch, sorted((name, hashlib.sha1(data).hexdigest()) for name, data in files.items())]
        name = hashlib.sha1(json.dumps(content).encode()).hexdigest()
        self.commits[name], self.refs[branch] = dict(files), name
        return name

    def resolve(self, revision: str) -> str | None:
        found = self.refs.get(revision, revision)
        return found if found in self.commits else None

    @property
    def files(self) -> Files:
        """The files of the main branch."""
        return self.commits[self.refs["main"]]


@dataclass
class Hub:
    """The server's state, and what tests observe and change."""

    address: str
    repositories: dict[str, Repository] = field(default_factory=dict)
    objects: Files = field(default_factory=dict)  # uploaded large files by hash, in a commit or not
    requests: list[str] = field(default_factory=list)  # "GET /path"
    stalled: threading.Event = field(default_factory=threading.Event)  # set when an upload or a download has stalled
    stall: str = ""  # method of the requests for large files that never end: "PUT" or "GET"
    token: str | None = None  # which requests must contain; None for none
    forbidden: bool = False  # refuse commits

    def add(self, repository: str, files: Files, *, private: bool = False, gated: bool = False) -> str:
        """Create a repository with one commit, and return its hash."""
        self.repositories[repository] = Repository(private=private, gated=gated)
        return self.repositories[repository].commit(files)

    def add_folder(self, repository: str, folder: Path) -> str:
        """Create a repository with the files of a folder in one commit, and return its hash."""
        return self.add(repository, {path.name: path.read_bytes() for path in folder.iterdir()})

    def asked(self, pattern: str) -> list[str]:
        """Return the requests that match a regular expression."""
        return [each for each in self.requests if re.search(pattern, each)]


@contextmanager
def serving() -> Iterator[Hub]:
    """Run a server in a thread."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
    server.daemon_threads = True
    hub = Hub(f"http://127.0.0.1:{server.server_address[1]}")
    server.hub = hub  # type: ignore[attr-defined]
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield hub
    finally:
        hub.stall = ""
        server.shutdown()
        thread.join()
        server.server_close()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *args: Any) -> None:
        """Print nothing."""

    @property
    def hub(self) -> Hub:
        hub: Hub = self.server.hub  # type: ignore[attr-defined]
        return hub

    def _body(self) -> bytes:
        return self.rfile.read(int(self.headers.get("Content-Length") or 0))

    def _answer(self, content: Any = b"", status: int = 200, headers: Mapping[str, str] = {}) -> None:
        data = content if isinstance(content, bytes) else json.dumps(content).encode()
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        if "Content-Length" not in headers:
            self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)

    def _refuse(self, status: int, code: str, message: str = "refused") -> None:
        self._answer({"error": message}, status, {"X-Error-Code": code, "X-Error-Message": message})

    def _serve(self) -> None:
        path = unquote(urlsplit(self.path).path)
        self.hub.requests.append(f"{self.command} {path}")
        if self.hub.token is not None and self.headers.get("authorization") != f"Bearer {self.hub.token}":
            self._body()
            return self._refuse(401, "", "Invalid credentials")
        for method, pattern, act in _ROUTES:
            if self.command == method and (match := re.fullmatch(pattern, path)):
                return act(self, *match.groups())
        self._body()
        self._refuse(404, "EntryNotFound", "no such page")
        return None

    do_GET = do_POST = do_PUT = do_HEAD = _serve

    # -- repositories ------------------------------------------------------------------------------------------------------

    def repository(self, name: str) -> Repository | None:
        found = self.hub.repositories.get(name)
        if found is None:
            self._refuse(404, "RepoNotFound", "Repository not found")
        elif found.gated:
            self._refuse(403, "GatedRepo", "Access to this repository is restricted")
            return None
        elif found.broken == "status":
            self._refuse(500, "", "Internal error")
            return None
        elif found.broken == "text":
            self._answer(b"<html>Please log in to the network</html>")
            return None
        return found

    def info(self, name: str, revision: str | None = None) -> None:
        repository = self.repository(name)
        if repository is None:
            return
        commit = repository.resolve(revision or "main")
        if commit is None:
            return self._refuse(404, "RevisionNotFound", f"Invalid rev id: {revision}")
        siblings = [{"rfilename": each} for each in repository.commits[commit]]
        about = {"id": name, "modelId": name, "sha": commit, "private": repository.private, "tags": []}
        self._answer(about if repository.broken == "siblings" else {**about, "siblings": siblings})

    def tree(self, name: str, revision: str) -> None:
        repository = self.repository(name)
        if repository is not None:
            files = repository.commits[revision]
            self._answer([{"type": "file", "path": each, "oid": "0" * 40, "size": len(files[each])} for each in files])

    def refs(self, name: str) -> None:
        repository = self.repository(name)
        if repository is not None:
            branches = [{"name": each, "ref": f"refs/heads/{each}", "targetCommit": commit} for each, commit in repository.refs.items()]
            self._answer({"branches": branches, "tags": [], "converts": []})

    def create(self) -> None:
        asked = json.loads(self._body())
        name = f"{asked['organization']}/{asked['name']}" if asked.get("organization") else asked["name"]
        if name in self.hub.repositories:
            return self._answer({"url": f"{self.hub.address}/{name}"}, 409)
        self.hub.add(
            name,
            {".gitattributes": b"*.safetensors filter=lfs\n"},
            private=bool(asked.get("private")) or asked.get("visibility") == "private",
        )
        self._answer({"url": f"{self.hub.address}/{name}", "id": name})

    def branch(self, name: str, branch: str) -> None:
        self._body()
        repository = self.repository(name)
        if repository is None:
            return
        if branch in repository.refs:
            return self._refuse(409, "", "Reference already exists")
        repository.refs[branch] = repository.refs["main"]
        self._answer({})

    # -- uploads -----------------------------------------------------------------------------------------------------------

    def yaml(self) -> None:
        content = json.loads(self._body())["content"]
        wrong = [] if "license: nonsense" not in content else [{"message": '"license" must be one of a list'}]
        self._answer({"errors": wrong, "warnings": []}, 400 if wrong else 200)

    def preupload(self, name: str, revision: str) -> None:
        files = json.loads(self._body())["files"]
        repository = self.repository(name)
        if repository is not None:
            modes = {True: "lfs", False: "regular"}
            found = [
                {"path": each["path"], "uploadMode": modes[each["path"].endswith(_LARGE)], "shouldIgnore": False, "oid": None}
                for each in files
            ]
            self._answer({"files": found})

    def batch(self, name: str) -> None:
        asked, address = json.loads(self._body()), self.hub.address
        objects = []
        for each in asked["objects"]:
            actions = {"upload": {"href": f"{address}/objects/{each['oid']}"}, "verify": {"href": f"{address}/verify"}}
            objects.append({**each, **({} if each["oid"] in self.hub.objects else {"actions": actions})})
        self._answer({"transfer": "basic", "objects": objects})

    def upload(self, oid: str) -> None:
        if self.hub.stall == "PUT":
            self.rfile.read(1000)
            return self._stall()
        data = self._body()
        assert hashlib.sha256(data).hexdigest() == oid
        self.hub.objects[oid] = data
        self._answer()

    def verify(self) -> None:
        asked = json.loads(self._body())
        self._answer({}, 200 if asked["oid"] in self.hub.objects else 404)

    def commit(self, name: str, branch: str) -> None:
        if self.hub.forbidden:
            self._body()
            return self._refuse(403, "", "Forbidden: you don't have write access")
        lines = [json.loads(line) for line in self._body().splitlines()]
        repository = self.repository(name)
        if repository is None:
            return
        files, header = dict(repository.commits[repository.refs[branch]]), lines[0]["value"]
        if header.get("parentCommit", repository.refs[branch]) != repository.refs[branch]:
            return self._refuse(412, "", "A commit has happened since")
        for line in lines[1:]:
            value, path = line["value"], line["value"]["path"]
            if line["key"] == "file":
                files[path] = base64.b64decode(value["content"])
            elif line["key"] == "lfsFile":
                files[path] = self.hub.objects[value["oid"]]
            else:
                del files[path]
        made = repository.commit(files, branch)
        self._answer({"commitUrl": f"{self.hub.address}/{name}/commit/{made}", "commitOid": made})

    # -- downloads ---------------------------------------------------------------------------------------------------------

    def download(self, name: str, revision: str, file: str) -> None:
        repository = self.repository(name)
        if repository is None:
            return
        commit = repository.resolve(revision)
        if commit is None:
            return self._refuse(404, "RevisionNotFound", "Invalid rev id")
        data = repository.commits[commit].get(file)
        if data is None:
            return self._answer({"error": "Entry not found"}, 404, {"X-Error-Code": "EntryNotFound", "X-Repo-Commit": commit})
        about = {} if repository.broken == "headers" else {"X-Repo-Commit": commit}
        about |= {"ETag": f'"{hashlib.sha256(data).hexdigest()}"', "Content-Length": str(len(data))}
        if self.command == "GET" and self.hub.stall == "GET" and file.endswith(_LARGE):
            self._answer(data[:1000], headers=about)
            self.wfile.flush()
            return self._stall()
        self._answer(data, headers=about)

    def _stall(self) -> None:
        """Keep the connection open without an answer until the client ends it, or the test is over."""
        self.hub.stalled.set()
        while self.hub.stall:
            threading.Event().wait(0.02)
        self.close_connection = True


_ROUTES: list[tuple[str, str, Callable[..., None]]] = [
    ("GET", f"/api/models/{_REPOSITORY}", _Handler.info),
    ("GET", f"/api/models/{_REPOSITORY}/revision/(.+)", _Handler.info),
    ("GET", f"/api/models/{_REPOSITORY}/tree/(.+)", _Handler.tree),
    ("GET", f"/api/models/{_REPOSITORY}/refs", _Handler.refs),
    ("POST", "/api/repos/create", _Handler.create),
    ("POST", f"/api/models/{_REPOSITORY}/branch/(.+)", _Handler.branch),
    ("POST", "/api/validate-yaml", _Handler.yaml),
    ("POST", f"/api/models/{_REPOSITORY}/preupload/(.+)", _Handler.preupload),
    ("POST", rf"/{_REPOSITORY}\.git/info/lfs/objects/batch", _Handler.batch),
    ("PUT", "/objects/(.+)", _Handler.upload),
    ("POST", "/verify", _Handler.verify),
    ("POST", f"/api/models/{_REPOSITORY}/commit/(.+)", _Handler.commit),
    ("HEAD", f"/{_REPOSITORY}/resolve/([^/]+)/(.+)", _Handler.download),
    ("GET", f"/{_REPOSITORY}/resolve/([^/]+)/(.+)", _Handler.download),
]


def cached(tmp_path: Path) -> list[str]:
    """Return the names of all complete files in the snapshots of the cache, and of all unfinished ones."""
    return sorted(
        path.name for path in (tmp_path / "cache").rglob("*") if path.name.endswith(".incomplete") or "snapshots" in path.parts[:-2]
    )
