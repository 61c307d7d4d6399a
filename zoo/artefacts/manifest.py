"""The list of files that a signature covers, with their hashes, in the form of OpenSSF Model Signing v1.0.

The statement is that of in-toto (https://in-toto.io/Statement/v1), with the predicate https://model_signing/signature/v1.0. The zoo adds
the entry "zoo" to the predicate, with a version, a date, and a second hash of each file. Other programs ignore it, and compare the first
hashes, which are SHA-256, because the upstream command verifies no others. The second ones are BLAKE3, which takes a third of the time on
one core and uses all cores.
"""

from __future__ import annotations

import hashlib
import json
import os
import stat
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from zoo.errors import InputError

_TYPE = "https://in-toto.io/Statement/v1"
_PREDICATE = "https://model_signing/signature/v1.0"
_GIT = (".git", ".gitattributes", ".github", ".gitignore")  # ignored by the upstream command; the zoo reads none of them
SINGLE = "."  # name of the only entry if a file is signed, and not a folder
Digest = tuple[str, str]  # algorithm, hexadecimal digits
Identity = tuple[int, ...]
# bytes that are read at once: enough for all cores, and few enough to stay in the processor's cache, which is faster than mapping the file
_CHUNK = 2 * 2**20


@dataclass(frozen=True)
class Manifest:
    """Signed description of an artefact.

    Attributes:
        name: name of the folder or file when it was signed.
        digests: hash of each file by its path relative to the folder, with slashes; a single file has the path ".".
        fast: BLAKE3 hash of each file; empty for signatures of other programs.
        ignored: paths that the signature doesn't cover.
        links: whether links to files were followed.
        version: number that the signer has given; None if there is none.
        date: when it was signed, according to the signer; None if it isn't known.
    """

    name: str
    digests: Mapping[str, Digest]
    fast: Mapping[str, str] = field(default_factory=dict)
    ignored: tuple[str, ...] = ()
    links: bool = False
    version: int | None = None
    date: datetime | None = None

    def to_statement(self) -> bytes:
        """Return the bytes to be signed."""
        root = hashlib.sha256(b"".join(bytes.fromhex(digest) for _, digest in self.digests.values())).hexdigest()
        serialization = {"method": "files", "hash_type": "sha256", "allow_symlinks": self.links, "ignore_paths": list(self.ignored)}
        resources = [{"name": name, "algorithm": algorithm, "digest": digest} for name, (algorithm, digest) in self.digests.items()]
        predicate: dict[str, Any] = {"serialization": serialization, "resources": resources}
        if self.date is not None:
            predicate["zoo"] = {"version": self.version, "date": self.date.isoformat(), "blake3": dict(self.fast)}
        subject = [{"name": self.name, "digest": {"sha256": root}}]
        return json.dumps({"_type": _TYPE, "subject": subject, "predicateType": _PREDICATE, "predicate": predicate}).encode()

    @classmethod
    def from_statement(cls, data: bytes) -> Manifest:
        """Read signed bytes. Raise a `ValueError` if they have another form."""
        content = _plain(json.loads(data))
        if content["_type"] != _TYPE or content["predicateType"] != _PREDICATE or len(content["subject"]) != 1:
            raise ValueError(f"expected a statement with the predicate {_PREDICATE}; other tools of Sigstore sign other content")
        subject, predicate = content["subject"][0], content["predicate"]
        way = predicate["serialization"]
        if way["method"] != "files":
            raise ValueError(f"the method {way['method']!r} isn't supported; expected hashes of whole files")
        digests = {each["name"]: (each["algorithm"], each["digest"].lower()) for each in predicate["resources"]}
        if len(digests) < len(predicate["resources"]):
            raise ValueError("a file is listed twice")
        root = hashlib.sha256(b"".join(bytes.fromhex(digest) for _, digest in digests.values())).hexdigest()
        if root != subject["digest"]["sha256"]:
            raise ValueError("the hash over all files disagrees with their hashes")
        own = predicate.get("zoo") or {}
        version, date, fast = own.get("version"), own.get("date"), own.get("blake3") or {}
        if fast and set(fast) != set(digests):
            raise ValueError("the two lists of hashes name different files")
        return cls(
            subject["name"],
            digests,
            fast,
            tuple(way.get("ignore_paths", ())),
            way.get("allow_symlinks", False) is True,
            None if version is None else int(version),
            None if date is None else _with_zone(datetime.fromisoformat(date)),
        )

    def covers(self, name: str) -> bool:
        """Return whether a file must be among those that are hashed: all, except those of git if the signature excludes them."""
        return not any(name == each or name.startswith(f"{each}/") for each in _GIT if each in self.ignored)


def _with_zone(when: datetime) -> datetime:
    return when if when.tzinfo is not None else when.replace(tzinfo=UTC)


def _plain(value: Any) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise ValueError("expected a JSON object")
    return value


@dataclass(frozen=True)
class Found:
    """The state of an artefact on disk, compared with a manifest.

    Attributes:
        findings: differences, one sentence each; empty if there are none.
        contents: content of the files that were to be kept in memory, by path.
        identities: what `identity` returned for each file before it was hashed, by path.
    """

    findings: tuple[str, ...]
    contents: Mapping[str, bytes] = field(default_factory=dict)
    identities: Mapping[str, Identity] = field(default_factory=dict)


def make(path: Path, signature: Path, version: int | None, date: datetime) -> Manifest:
    """Hash an artefact for signing.

    Args:
        path: folder or file.
        signature: file that the signature will be written to, which isn't hashed.
        version: version of the artefact.
        date: present time.

    Raises:
        InputError: there is nothing to sign, or something that can't be signed, such as a link.
    """
    digests, fast = dict[str, Digest](), dict[str, str]()
    for name, file in sorted(files(path, signature)):
        if problem := obstacle(file, links=False) or unwritable(name):
            raise InputError(f"{file} can't be signed: {problem}; remove it, or replace it with a copy of the file")
        digests[name], fast[name] = ("sha256", _digest(file, "sha256")[0]), _digest(file, "blake3")[0]
    if not digests:
        raise InputError(f"{path} contains no files; there is nothing to sign")
    inside = [signature.relative_to(path).as_posix()] if path.is_dir() and signature.is_relative_to(path) else []
    return Manifest(path.name, digests, fast, tuple(inside), version=version, date=date)


def compare(path: Path, signature: Path, manifest: Manifest, keep: tuple[str, ...] = (), whole: bool = True) -> Found:
    """Compare an artefact with its manifest.

    Args:
        path: folder or file.
        signature: file of the signature, which the manifest doesn't cover.
        manifest: signed list of files.
        keep: paths of files that are read into memory, and hashed there.
        whole: whether to hash all files; otherwise only those to keep.
    """
    findings: list[str] = []
    contents, identities = dict[str, bytes](), dict[str, Identity]()
    present = {name: file for name, file in files(path, signature) if manifest.covers(name) or name in manifest.digests}
    if not path.is_dir() and manifest.name != path.name:
        findings.append(f"{path.name} was signed under the name {manifest.name}")
    for name, file in sorted(present.items()):
        if name not in manifest.digests:
            ignored = any(name == each or name.startswith(f"{each}/") for each in manifest.ignored)
            findings.append(f"{name} is excluded from the signature" if ignored else f"{name} was added after signing")
        elif problem := obstacle(file, manifest.links):
            findings.append(f"{name}: {problem}")
        elif whole or name in keep:
            algorithm, expected = ("blake3", manifest.fast[name]) if manifest.fast else manifest.digests[name]
            try:
                if name in keep:
                    identities[name] = identity(file)
                    contents[name] = file.read_bytes()
                    found = _hashed(contents[name], algorithm)
                else:
                    found, identities[name] = _digest(file, algorithm)
            except (OSError, ValueError) as error:
                findings.append(f"{name} can't be hashed ({error})")
                continue
            if found != expected:
                findings.append(f"{name} was changed after signing")
    findings += [f"{name} is missing" for name in sorted(set(manifest.digests) - set(present))]
    return Found(tuple(findings), contents if not findings else {}, identities)


def compare_contents(contents: Mapping[str, bytes | memoryview], signature: str, manifest: Manifest) -> tuple[str, ...]:
    """Compare files in memory with a manifest, and return the differences, one sentence each; `signature` is the name of the signature."""
    findings = []
    present = {name: data for name, data in contents.items() if name != signature and (manifest.covers(name) or name in manifest.digests)}
    for name, data in sorted(present.items()):
        if name not in manifest.digests:
            findings.append(f"{name} was added after signing")
            continue
        algorithm, expected = ("blake3", manifest.fast[name]) if manifest.fast else manifest.digests[name]
        try:
            changed = _hashed(data, algorithm) != expected
        except ValueError as error:
            findings.append(f"{name} can't be hashed ({error})")
            continue
        findings += [f"{name} was changed after signing"] if changed else []
    return (*findings, *(f"{name} is missing" for name in sorted(set(manifest.digests) - set(present))))


def files(path: Path, signature: Path | None = None) -> Iterator[tuple[str, Path]]:
    """Yield the name and the path of everything in a folder but the signature and folders, also links and hidden files."""
    if not path.is_dir():
        yield SINGLE, path
        return
    pending = [path]
    while pending:
        with os.scandir(pending.pop()) as entries:
            for entry in entries:
                file = Path(entry.path)
                if entry.is_dir(follow_symlinks=False):
                    pending.append(file)
                elif file != signature:
                    yield file.relative_to(path).as_posix(), file


def identity(path: Path | int) -> Identity:
    """Return numbers that change if a file is exchanged, or written to by any user but the administrator."""
    about = os.stat(path)
    return about.st_dev, about.st_ino, about.st_size, about.st_mtime_ns, about.st_ctime_ns


def obstacle(path: Path, links: bool) -> str:
    """Return why a path isn't accepted as a file; "" if it is."""
    mode = path.lstat().st_mode
    if stat.S_ISLNK(mode):
        if not links and not _is_cached(path):
            return "it is a link"
        if not path.is_file():
            return "it is a link, but not to a file"
        return ""
    return "" if stat.S_ISREG(mode) else "it is neither a file nor a folder"


def _is_cached(path: Path) -> bool:
    """Return whether a link is one of huggingface-hub's cache, whose snapshots consist of links to files in a folder beside them."""
    snapshots = path.parent.parent
    return snapshots.name == "snapshots" and (path.parent / path.readlink()).parent.resolve() == snapshots.parent.resolve() / "blobs"


def unwritable(name: str) -> str:
    """Return why a file can't be listed under its name; "" if it can."""
    try:
        name.encode()
    except UnicodeEncodeError:
        return "its name is not valid UTF-8"
    return ""


def _digest(path: Path, algorithm: str) -> tuple[str, Identity]:
    """Return the hash of a file, and its identity before it was hashed. A thread reads the next chunk while one is hashed."""
    update, digest = _hasher(algorithm)
    with path.open("rb", buffering=0) as file, ThreadPoolExecutor(1) as reader:
        before = identity(file.fileno())
        current, following = (bytearray(min(_CHUNK, before[2])) for _ in range(2))
        coming = reader.submit(file.readinto, following)
        while count := coming.result():
            current, following = following, current
            coming = reader.submit(file.readinto, following)
            update(memoryview(current)[:count])
    return digest(), before


def _hashed(data: bytes | memoryview, algorithm: str) -> str:
    update, digest = _hasher(algorithm)
    update(data)
    return digest()


def _hasher(algorithm: str) -> tuple[Callable[[bytes | memoryview], object], Callable[[], str]]:
    """Return the functions that add data to a hash, and that return it in hexadecimal digits."""
    if algorithm == "blake3":
        from blake3 import blake3

        fast = blake3(max_threads=blake3.AUTO)
        return fast.update, fast.hexdigest
    if algorithm not in ("sha256", "blake2", "blake2b"):
        raise ValueError(f"the hash algorithm {algorithm!r} isn't known; expected blake3, sha256 or blake2b")
    slow = hashlib.sha256() if algorithm == "sha256" else hashlib.blake2b()
    return slow.update, slow.hexdigest
