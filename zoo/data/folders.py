"""Files of a dataset: which files are images, walks through folders that follow links, and resolution of names in annotations."""

from __future__ import annotations

import contextlib
import errno
import os
import re
import stat
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from zoo.data.links import Links, is_within
from zoo.data.names import Disk, nfc
from zoo.errors import DataError, Fault, Flaw
from zoo.images import decoding, headers

# folders that operating systems, file servers and tools write, and files that are neither images nor videos
_SYSTEM = re.compile(
    r"\..*|@.*|__macosx|__pycache__|#recycle|#snapshot|\$recycle\.bin|lost\+found|system volume information", re.IGNORECASE
)
_OTHERS = re.compile(
    r"\..*|thumbs\.db|ehthumbs\.db|desktop\.ini|icon\r|readme|licen[cs]e|makefile"
    r"|.*\.(txt|xml|jsonl?|csv|tsv|ya?ml|toml|ini|cfg|md|rst|html?|pdf|docx?|xlsx?|log|py|ipynb|sh|names|labels|data|db|sqlite|npy|npz|mat|pkl|pickle"
    r"|h5|hdf5|parquet|arrow|lst|list|idx|rec|bin|pth?|ckpt|safetensors|onnx|zip|tar|gz|tgz|bz2|xz|7z|rar|cache|lock|part|tmp|bak|url|lnk)",
    re.IGNORECASE,
)
# raw files of cameras, which have the structure of TIFFs or other containers, and a small preview as their first image
_RAW = re.compile(r".*\.(cr[23w]|nef|nrw|arw|sr[2fw]|dng|orf|rw[2l]|raf|pef|3fr|iiq|x3f|dcr|kdc|mrw|erf|mef|mos)", re.IGNORECASE)
_START = 64  # bytes that show the format of an image


def is_picture(path: Path | str) -> bool:
    """Return whether a file is an image: by its suffix, or by its content if the suffix is unknown or missing."""
    name = os.path.basename(path)
    if name.lower().endswith(decoding.SUFFIXES) and not name.startswith("."):
        return True
    if is_other_name(name) or _RAW.fullmatch(name):
        return False
    try:
        with open(path, "rb") as file:
            return headers.is_image(file.read(_START))
    except OSError:
        return False


def is_other_name(name: str) -> bool:
    """Return whether a file of this name isn't an image, whatever its content: a hidden file, a text, a table, an archive."""
    return _OTHERS.fullmatch(name) is not None


def is_system_folder(name: str) -> bool:
    """Return whether a folder is hidden, or written by an operating system, a file server or a tool, as `__MACOSX` and `@eaDir` are."""
    return _SYSTEM.fullmatch(name) is not None


@dataclass
class Folders:
    """Lists the folders and images of a dataset, follows links as `rule` allows (see `Links`), and records what is ignored.

    Attributes:
        root: dataset folder, which the keys of faults are relative to.
        rule: one of `links.RULES`.
        annotations: suffix of annotation files; links to them that can't be followed are faults, too.
        faults: links that lead nowhere or are refused, and folders that can't be read.
        passed: paths of the files and folders that were ignored, by reason.
    """

    root: Path
    rule: str = "own"
    annotations: str = ""
    faults: list[Fault] = field(default_factory=list)
    passed: dict[str, dict[str, None]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._links = Links(self.root, self.rule)

    def subfolders(self, folder: Path) -> list[Path]:
        """Return the folders directly inside a folder, sorted by name."""
        return sorted(Path(entry.path) for entry in self._entries(os.fspath(folder), os.path.realpath(folder)) if entry.is_dir())

    def pictures(self, folder: Path, *, deep: bool = True, also: Callable[[Path], bool] = lambda path: False) -> list[Path]:
        """Return the images, and the other files for which `also` is true, in a folder and, if `deep`, its subfolders, sorted by path."""
        found = []
        for path in self.files(folder, deep=deep):
            if also(Path(path)) or is_picture(path):
                found.append(Path(path))
            elif not is_other_name(os.path.basename(path)):
                self._pass("files that aren't images in a supported format, ignored", path)
        return sorted(found)

    def files(self, folder: Path, *, deep: bool = True) -> Iterator[str]:
        """Yield the files in a folder and, if `deep`, its subfolders. Each folder is listed once, even if several links lead to it."""
        if reason := self._links.refusal(os.path.relpath(folder, self.root)):
            self._fault(os.fspath(folder), reason)
            return
        top, seen = os.path.realpath(folder), set[tuple[int, int]]()
        plain, linked = deque([os.fspath(folder)]), deque[str]()  # folders behind links come last, so that the others keep their own paths
        while plain or linked:
            place = (plain or linked).popleft()
            with contextlib.suppress(OSError):  # `_entries` reports it
                status = os.stat(place)
                if (status.st_dev, status.st_ino) in seen:
                    self._pass("links to folders that are listed under another path, ignored", place)
                    continue
                seen.add((status.st_dev, status.st_ino))
            for entry in self._entries(place, top):
                if not entry.is_dir():
                    yield entry.path
                elif deep:
                    (linked if entry.is_symlink() else plain).append(entry.path)

    @property
    def notes(self) -> list[str]:
        """Files and folders that were ignored, one line for each reason."""
        return [f"{reason}: {listed(list(paths))}" for reason, paths in self.passed.items()]

    def _entries(self, place: str, top: str) -> Iterator[os.DirEntry[str]]:
        """Yield the folders and regular files in a folder that count; `top` is the real path of the folder that is searched."""
        try:
            with os.scandir(place) as entries:
                found = sorted(entries, key=lambda entry: entry.name)
        except OSError as error:
            self._fault(place, f"the folder can't be read: {error.strerror}")
            return
        for entry in found:
            if entry.is_symlink() and not self._follows(entry, top):
                continue
            if not entry.is_dir():
                if entry.is_file():
                    yield entry
            elif not is_system_folder(entry.name):
                yield entry
            elif not entry.name.startswith("."):
                self._pass("system folders, ignored", entry.path)

    def _follows(self, entry: os.DirEntry[str], top: str) -> bool:
        if entry.name.startswith("."):
            return False
        try:
            os.stat(entry.path)
            reason = self._links.refusal_of(entry.path)
        except OSError as error:
            why = "leads in a circle" if error.errno == errno.ELOOP else f"can't be followed: {error.strerror}"
            reason = f"is a link to {os.readlink(entry.path)}, which {why}"
        if reason:
            if not is_other_name(entry.name) or entry.name.lower().endswith(self.annotations or "/"):
                self._fault(entry.path, reason)
            return False
        real = os.path.realpath(entry.path) if entry.is_dir() else ""
        if real and is_within(top, real):
            self._pass("links to a folder that contains them, ignored", entry.path)
            return False
        return True

    def _fault(self, path: str, reason: str) -> None:
        fault = Fault(self._key(path), reason, whole=True, kind="link")
        if fault not in self.faults:  # a folder may be listed more than once
            self.faults.append(fault)

    def _pass(self, reason: str, path: str) -> None:
        self.passed.setdefault(reason, {})[self._key(path)] = None

    def _key(self, path: str) -> str:
        return os.path.relpath(path, self.root).replace(os.sep, "/")


def picture_files(folder: Path) -> list[Path]:
    """Return the images in a folder and its subfolders, sorted by path; raise a `DataError` if links or folders can't be followed."""
    folders = Folders(folder)
    files = folders.pictures(folder)
    if folders.faults:
        raise DataError(f"{folder} can't be read as a whole:", folders.faults, "Fix the links, or remove them.")
    return files


def listed(names: list[str]) -> str:
    """Return the number of names, and the first three of them."""
    return f"{len(names)}, {'such as ' if len(names) > 3 else ''}{', '.join(names[:3])}"


class PictureRoot:
    """Resolver for file names in annotations, which only accepts files within the dataset folder, or behind a link that may leave it.

    Without this restriction, a malicious or careless annotation file could refer to any file on the machine through `../` or an absolute
    path. See `Links` for the links that are followed.
    """

    def __init__(self, folder: Path, rule: str = "own") -> None:
        self.folder = folder
        self.disk = Disk()
        self._real = os.path.realpath(folder)
        self._links = Links(folder, rule)
        self._refused: dict[str, str] = {}  # by folder, for `file`
        self._parents: dict[str, tuple[str, str | None]] = {}  # real path, and path relative to `folder` as in `_inside`

    def find(self, text: str, base: Path | None = None, *, annotation: bool = False) -> tuple[str, Path]:
        """Resolve a path in the annotations, which is relative to `base`, by default the dataset folder.

        Absolute paths within the dataset folder are valid too. Names that differ only in their Unicode normal form are equal. A link to an
        `annotation` file must not leave the folder, because error messages quote annotations.

        Returns:
            The key, which is the path relative to the dataset folder with `/` as separator, and the path of the file.

        Raises:
            Flaw: the path is empty, leads outside the folder, or isn't a file.
        """
        parent, name = os.path.split(self.disk.find(os.path.join(base or self.folder, text)))
        if not text or "\0" in text or name in ("", ".", ".."):
            raise Flaw(f"{text!r} isn't a file path")
        if parent not in self._parents:
            self._parents[parent] = os.path.realpath(parent), self._inside(parent)
        real_parent, inside = self._parents[parent]
        inside = None if inside is None else os.path.normpath(os.path.join(inside, name))
        place = os.path.join(real_parent, name)
        try:
            found = os.lstat(place)
            real = os.path.realpath(place) if stat.S_ISLNK(found.st_mode) else place
            self._check(text, inside, real, annotation)
            mode = os.stat(real).st_mode
        except OSError as error:
            self._check(text, inside, place, annotation)  # the message must not reveal whether a file outside the folder exists
            why = (
                f"is a link to {os.readlink(place)}, which can't be followed"
                if os.path.islink(place)
                else f"can't be found in {self.folder}"
            )
            raise Flaw(f"{text!r} {why}: {error.strerror}", "no-picture") from None
        if not stat.S_ISREG(mode):
            raise Flaw(f"{text!r} isn't a file", "no-picture")
        key = inside or os.path.relpath(place if self._links.holds(place) else real, self._real)
        return nfc(key.replace(os.sep, "/")), self.folder / key

    def file(self, path: Path) -> Path | None:
        """Return the file at a path, as its name is spelt on disk; None if there is none.

        Raises:
            Flaw: the path is a link that leads nowhere, or contains one that isn't followed.
        """
        place = self.disk.find(path)
        parent = os.path.dirname(place)
        try:
            mode = os.lstat(place).st_mode
            if parent not in self._refused:
                self._refused[parent] = self._links.refusal(os.path.relpath(parent, self.folder))
            reason = self._refused[parent] or (self._links.refusal_of(place) if stat.S_ISLNK(mode) else "")
        except (OSError, ValueError):  # the name may be too long, or contain a null character
            return None
        if not reason and stat.S_ISLNK(mode) and not os.path.exists(place):
            reason = f"is a link to {os.readlink(place)}, which can't be followed"
        if reason:
            raise Flaw(f"{os.path.relpath(place, self.folder)!r} {reason}", "link")
        if not (stat.S_ISREG(mode) or os.path.isfile(place)):
            return None
        return path if place == os.fspath(path) else Path(place)

    def holds(self, path: Path) -> bool:
        """Return whether a path is the dataset folder or within it, or is reached through a link that is followed."""
        reached = self._inside(os.fspath(path)) is not None and not self.refused_link(path)
        return reached or self._links.holds(os.path.realpath(path))

    def refused_link(self, path: Path) -> str:
        """Return why a link of the dataset on a path isn't followed; "" if there is none."""
        inside = self._inside(os.fspath(path))
        return "" if inside is None else self._links.refusal(inside)

    def spelt(self, path: Path) -> Path:
        """Return a path that the folder holds, as it is spelt if that stays within the folder, otherwise with links resolved."""
        inside = self._inside(os.fspath(path))
        return self.folder / (inside or os.path.relpath(os.path.realpath(path), self._real))

    def _inside(self, path: str) -> str | None:
        """Return a path relative to the dataset folder, as it is spelt; None if it is spelt as a path outside the folder."""
        plain = os.path.normpath(path)
        try:
            relative = os.path.relpath(plain, self.folder)
        except ValueError:  # they are on different drives
            return None
        leaves = relative.split(os.sep, 1)[0] == ".." or (".." in path and os.path.realpath(path) != os.path.realpath(plain))
        return None if leaves else relative

    def _check(self, text: str, inside: str | None, real: str, annotation: bool) -> None:
        if self._links.holds(real):
            return
        reason = f"is outside the dataset folder {self.folder}; images and annotations must be inside it"
        if inside is not None:
            reason = self._links.refusal(inside, annotation=annotation)
        if reason:
            raise Flaw(f"{text!r} {reason}")
