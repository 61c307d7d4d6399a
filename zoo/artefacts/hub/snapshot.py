"""Copies of commits on this machine: which files of a repository the zoo fetches, and when a copy is complete.

Files are stored in the cache of huggingface-hub, which other programs share. A commit is used only if all of its files that the zoo reads
have been fetched: their names are written to `zoo/COMMIT.json` in the folder of the repository after the last of them.
"""

from __future__ import annotations

import errno
import json
import re
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import yaml

from zoo.artefacts import trust
from zoo.artefacts.hub.errors import explained
from zoo.artefacts.hub.reference import Reference, cache, endpoint, is_offline, require_package
from zoo.errors import InputError
from zoo.system.disk import storing
from zoo.system.files import write_text

MODEL = "model.json"
CARD = "README.md"
TIMM_CONFIG, TIMM_WEIGHTS = "config.json", "model.safetensors"
WEIGHTS = "weights.safetensors"
_LARGE = {".safetensors", ".onnx", ".data", ".xml", ".bin"}  # .bin belongs to OpenVINO's .xml, or is a pickle
_SMALL = re.compile(r"model\.json|config\.json|README\.md|model\.sig|infer\.py|sbom\.cdx\.json|labels(-[\w-]+)?\.txt")
_READ_ONLY = (errno.EACCES, errno.EPERM, errno.EROFS)
_PICKLES = {".bin", ".pt", ".pt2", ".pth", ".th", ".ckpt", ".tar", ".pkl", ".pickle"}


@dataclass(frozen=True)
class Snapshot:
    """A commit of a repository on this machine.

    Attributes:
        reference: the repository and the revision that was asked for.
        commit: hash of the commit.
        files: names of the files that the zoo reads.
    """

    reference: Reference
    commit: str
    files: tuple[str, ...]

    def __str__(self) -> str:
        return str(self.reference.at(self.commit))

    @property
    def folder(self) -> Path:
        """The folder with the files."""
        return self.reference.storage / "snapshots" / self.commit

    @property
    def is_model(self) -> bool:
        """Whether the repository contains a saved or exported model of the zoo, and not only weights."""
        return MODEL in self.files

    @property
    def weights(self) -> Path:
        """The file of the weights in a repository without a model of the zoo."""
        return next(self.folder / name for name in self.files if name.endswith(".safetensors"))

    def to_dict(self) -> dict[str, str]:
        """Return the repository and the commit, for the metadata of models and for results."""
        return {"repository": self.reference.repository, "commit": self.commit}

    @property
    def licence(self) -> str | None:
        """The licence in the model card, README.md; None if it states none."""
        card = self.folder / CARD
        return stated_licence(card.read_text(encoding="utf-8", errors="replace")) if card.is_file() else None


def fetch(place: str | Path, *, weights: bool = True) -> Snapshot:
    """Fetch the files of a revision that the zoo reads, unless they are on this machine. Pickles are never fetched.

    Args:
        place: reference, such as hf:me/birds@v1.
        weights: whether to fetch large files too. With a policy of trust, they are always fetched, because they are to be verified.

    Returns:
        The commit. With `weights`, its files are complete.

    Raises:
        InputError: the reference has another form, the package huggingface-hub is missing, there is no such repository or revision, it
            contains neither a model nor weights that can be read, or the Hub can't be reached.
        StorageError: the disk is full, or the cache can't be written. No incomplete file is kept.
    """
    reference = Reference.parse(place)
    require_package()
    if (found := _complete(reference)) is not None and (reference.is_commit or is_offline()):
        return found
    if is_offline():
        if (found := _of_other_program(reference)) is not None:
            return found
        raise InputError(
            f"{reference} has not been pulled to this machine, and HF_HUB_OFFLINE forbids requests; unset it, or run zoo pull {reference} "
            "where there is a network"
        )
    with _storing(reference):
        commit, files = listed(reference)
        found = Snapshot(reference, commit, readable(files, reference))
        _download(found, [name for name in found.files if PurePosixPath(name).suffix not in _LARGE])
    return complete(found) if weights or trust.current().mode != "off" else found


def complete(found: Snapshot) -> Snapshot:
    """Fetch the large files of a commit that aren't on this machine, and return it. The errors are those of `fetch`."""
    if _complete(found.reference) != found:
        with _storing(found.reference):
            _download(found, found.files)
            _note(found)
    return found


@contextmanager
def _storing(reference: Reference) -> Iterator[None]:
    """Explain errors of the Hub, the network and the disk in the body."""
    with storing(cache(), remedy="then try again: no incomplete file was kept. HF_HUB_CACHE sets another folder"), explained(reference):
        yield


def listed(reference: Reference) -> tuple[str, list[str]]:
    """Return the commit of a revision, and the names of all files in it."""
    from huggingface_hub import HfApi

    api = HfApi(endpoint=endpoint())
    about = api.model_info(reference.repository, revision=reference.revision)
    names = [each.rfilename for each in about.siblings or ()]
    return str(about.sha), names or list(api.list_repo_files(reference.repository, revision=about.sha))


def readable(files: Sequence[str], reference: Reference) -> tuple[str, ...]:
    """Return the names of the files that the zoo reads, small ones first.

    A repository contains either a model of the zoo, or weights in one safetensors file, such as those of timm.

    Raises:
        InputError: it contains neither.
    """
    kept = model_files(files)
    if MODEL in kept and WEIGHTS in kept:
        kept = [name for name in kept if name not in (TIMM_CONFIG, TIMM_WEIGHTS)]  # the same weights for timm
    if MODEL not in kept:
        tensors = [name for name in kept if name.endswith(".safetensors")]
        if len(tensors) > 1 and TIMM_WEIGHTS not in tensors:
            raise InputError(
                f"{reference} contains several weights files ({', '.join(tensors[:4])}); download one of them, and pass its path"
            )
        chosen = TIMM_WEIGHTS if TIMM_WEIGHTS in tensors else next(iter(tensors), "")
        kept = [name for name in (TIMM_CONFIG, CARD, chosen) if name in kept]
    if not any(PurePosixPath(name).suffix in _LARGE for name in kept):
        raise InputError(f"{reference} {_nothing(files)}")
    return tuple(sorted(kept, key=lambda name: (PurePosixPath(name).suffix in _LARGE, name)))


def model_files(files: Sequence[str]) -> list[str]:
    """Return the names of the files at the top level that belong to a model of the zoo or to weights, and are no pickles."""
    names = [name for name in files if "/" not in name and not name.startswith(".")]
    graphs = {PurePosixPath(name).stem for name in names if name.endswith(".xml")} if MODEL in names else set[str]()
    large = {name for name in names if (suffix := PurePosixPath(name).suffix) in _LARGE and suffix != ".bin"}
    large |= {name for name in names if name.endswith(".bin") and PurePosixPath(name).stem in graphs}
    return [name for name in names if name in large or _SMALL.fullmatch(name)]


def _nothing(files: Sequence[str]) -> str:
    """Return why a repository can't be loaded."""
    pickles = [name for name in files if PurePosixPath(name).suffix in _PICKLES]
    if pickles:
        return (
            f"contains weights only as pickles ({', '.join(pickles[:4])}), which can run code and are never fetched. Ask its owner for a "
            "safetensors file; or, if you trust its owner, download the file and pass its path"
        )
    return "contains neither a model of the zoo (model.json) nor weights in a safetensors file at its top level"


def _download(found: Snapshot, names: Sequence[str]) -> None:
    """Fetch files, unless they are in the cache."""
    from huggingface_hub import hf_hub_download

    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Not enough free disk space")  # an error follows
        for name in names:
            hf_hub_download(found.reference.repository, name, revision=found.commit, cache_dir=cache(), endpoint=endpoint())


def _note(found: Snapshot) -> None:
    """Store that all files of a commit have been fetched, and that it is the commit of the revision."""
    storage = found.reference.storage
    entries = {storage / "zoo" / f"{found.commit}.json": json.dumps([*found.files])}
    if not found.reference.is_commit:
        entries[storage / "refs" / found.reference.branch] = found.commit
    for path, text in entries.items():
        if not path.is_file() or path.read_text(encoding="utf-8") != text:
            try:
                write_text(path, text)
            except OSError as error:
                if error.errno not in _READ_ONLY:  # a shared cache, from which models can be loaded all the same
                    raise


def _complete(reference: Reference) -> Snapshot | None:
    """Return the commit of a revision that was fetched before, with all of its files; None if there is none."""
    try:
        commit = _last_commit(reference)
        names: Any = json.loads((reference.storage / "zoo" / f"{commit}.json").read_text(encoding="utf-8"))
        found = Snapshot(reference, commit, tuple(map(str, names)))
    except (OSError, ValueError, TypeError):
        return None
    return found if all((found.folder / name).is_file() for name in found.files) else None


def _of_other_program(reference: Reference) -> Snapshot | None:
    """Return the commit that another program, such as `hf download`, has fetched; None if there is none with a model or weights."""
    try:
        commit = _last_commit(reference)
        present = [path.name for path in (reference.storage / "snapshots" / commit).iterdir()]
        return Snapshot(reference, commit, readable(present, reference))
    except (OSError, InputError):
        return None


def _last_commit(reference: Reference) -> str:
    """Return the commit of a revision when it was fetched last. Raise an `OSError` if it never was."""
    return reference.branch if reference.is_commit else (reference.storage / "refs" / reference.branch).read_text("utf-8").strip()


def stated_licence(card: str) -> str | None:
    r"""Return the licence in the metadata of a model card, which are YAML between two lines of dashes; None if there is none.

    Example:
        >>> stated_licence("---\nlicense: mit\n---\n# Birds"), stated_licence("# Birds")
        ('mit', None)
    """
    lines = card.removeprefix("\ufeff").splitlines()
    if not lines or lines[0].strip() != "---" or "---" not in (rest := [line.rstrip() for line in lines[1:]]):
        return None
    try:
        values = yaml.safe_load("\n".join(rest[: rest.index("---")]))
    except yaml.YAMLError:
        return None
    stated = values.get("license") if isinstance(values, dict) else None
    if stated == "other":
        stated = values.get("license_name")
    if isinstance(stated, list):
        stated = " AND ".join(map(str, stated))
    return str(stated).strip() or None if stated is not None else None
