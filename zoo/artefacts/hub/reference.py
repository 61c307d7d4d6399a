"""References to repositories, and where the Hub and its local cache are."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass, replace
from importlib.util import find_spec
from pathlib import Path

from zoo.errors import InputError

PREFIX = "hf:"
COMMIT = re.compile("[0-9a-f]{40}")
_NAME = r"[A-Za-z0-9](?:[\w.-]{0,94}[\w])?"
_REFERENCE = re.compile(rf"hf:({_NAME}/{_NAME})(?:@([^\s@]+))?", re.ASCII)
_TRUE = {"1", "ON", "YES", "TRUE"}
_MAIN = "main"  # the branch that every repository has


@dataclass(frozen=True)
class Reference:
    """A repository of the Hub, and one of its revisions.

    Attributes:
        repository: owner and name, such as "me/birds".
        revision: branch, tag or commit; None for the main branch.
    """

    repository: str
    revision: str | None = None

    @classmethod
    def parse(cls, place: str | Path) -> Reference:
        """Return the reference that a text such as hf:me/birds@v1 describes.

        Raises:
            InputError: the text has another form.
        """
        text = place.as_posix() if isinstance(place, Path) else place
        match = _REFERENCE.fullmatch(text)
        if match is None or "--" in match[1] or ".." in text:
            raise InputError(f"{text!r} names no repository of the Hub; expected hf:OWNER/NAME, or hf:OWNER/NAME@REVISION")
        return cls(match[1], match[2])

    def __str__(self) -> str:
        return f"{PREFIX}{self.repository}" + (f"@{self.revision}" if self.revision else "")

    @property
    def name(self) -> str:
        """The name of the repository without its owner."""
        return self.repository.partition("/")[2]

    @property
    def branch(self) -> str:
        """The revision, or the name of the main branch."""
        return self.revision or _MAIN

    @property
    def is_commit(self) -> bool:
        """Whether the revision is the full hash of a commit, which never changes."""
        return COMMIT.fullmatch(self.branch) is not None

    @property
    def storage(self) -> Path:
        """The folder of the repository in the local cache; it may not exist yet."""
        return cache() / f"models--{self.repository.replace('/', '--')}"

    @property
    def url(self) -> str:
        """The address of the repository."""
        return f"{endpoint()}/{self.repository}"

    def at(self, commit: str) -> Reference:
        """Return the reference to a commit of the same repository."""
        return replace(self, revision=commit)


def is_reference(place: object) -> bool:
    """Return whether a path or text names a repository of the Hub."""
    return isinstance(place, str | Path) and str(place).startswith(PREFIX)


def require_package() -> None:
    """Raise an `InputError` that names the extra unless the package huggingface-hub is installed."""
    if find_spec("huggingface_hub") is None:
        raise InputError("models of the Hub (hf:…) require the package huggingface-hub; install the extra: pip install 'resnet-zoo[hub]'")


def endpoint() -> str:
    """Return the address of the Hub, which the environment variable HF_ENDPOINT sets."""
    from huggingface_hub import constants

    return (os.environ.get("HF_ENDPOINT") or constants.ENDPOINT).rstrip("/")


def cache() -> Path:
    """Return the cache folder of huggingface-hub, which the environment variables HF_HUB_CACHE and HF_HOME set."""
    from huggingface_hub import constants

    if os.environ.get("HF_HUB_CACHE"):
        return Path(os.environ["HF_HUB_CACHE"]).expanduser()
    return Path(os.environ["HF_HOME"]).expanduser() / "hub" if os.environ.get("HF_HOME") else Path(constants.HF_HUB_CACHE)


def is_offline() -> bool:
    """Return whether the environment variable HF_HUB_OFFLINE forbids requests."""
    from huggingface_hub import constants

    return bool(constants.HF_HUB_OFFLINE) or os.environ.get("HF_HUB_OFFLINE", "").upper() in _TRUE
