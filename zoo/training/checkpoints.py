"""Folder of a training run: lock, recipe, metrics, checkpoints and final model."""

from __future__ import annotations

import errno
import json
import logging
import os
import pickle
import platform
import sys
import time
import tomllib
import zipfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import IO, Any

import torch

from zoo.errors import InputError
from zoo.system.disk import ELSEWHERE, check_room, storing, tensor_bytes
from zoo.system.files import remove_drafts, write_atomic, write_text
from zoo.system.wording import counted
from zoo.task.recipe import RunRecipe, to_toml

CHECKPOINTS = Path("checkpoints")
CHECKPOINT = CHECKPOINTS / "last.pt"
BEST = CHECKPOINTS / "best.pt"
METRICS = "metrics.jsonl"
MODEL = "model"
RUN, RECIPE, LOCK = "run.json", "recipe.toml", ".lock"
_PLACES = {"data": "manifest", "val": "val_manifest"}  # entries of run.json that may differ if the fingerprint of the samples is equal
_NOTES = ("versions", "threads")  # entries of run.json that may differ when a run is resumed


class RunFolder:
    """Folder of a training run, locked by the process that trains in it.

    It contains `recipe.toml` (settings), `run.json` (model, dataset, versions), `metrics.jsonl` (one line per epoch), `checkpoints/` and,
    after training, `model/`. Whenever a run is killed, it can be resumed from the last checkpoint. Resuming rewrites the other files as if
    the run had not been interrupted.
    """

    def __init__(self, path: Path, writes: bool = True, minutes: float = 10.0) -> None:
        """Store the settings. The disk isn't accessed before `open` is called.

        Only the first process of a run `writes`. `minutes` is the time between two checkpoints within an epoch.
        """
        if minutes < 0:
            raise InputError(f"checkpoint_minutes is {minutes}; expected 0 (after every step) or more")
        self.path, self._writes, self.minutes = path, writes, minutes
        self._lock: RunLock | None = None
        self._saved = time.monotonic()

    def __enter__(self) -> RunFolder:
        """Return the folder."""
        return self

    def __exit__(self, *error: object) -> None:
        """Release the lock."""
        if self._lock is not None:
            self._lock.release()

    def open(
        self,
        description: Mapping[str, Any],
        recipe: RunRecipe,
        resume: bool,
        checkpoint: int,
        say: Callable[[str], None] = lambda text: None,
    ) -> None:
        """Create the folder of a new run, or open that of a run to resume. Has no effect in processes that don't write.

        An existing run can only be resumed with an equal recipe and an equal `description`, the content of run.json. The location of the
        data may differ if the samples are the same; this is reported to `say`. If torchrun has restarted the process, it resumes the run
        of its job even if `resume` is False.

        Raises:
            InputError: the folder contains other files; it contains an existing run, but `resume` is False; description or recipe differ
                from those of the existing run; files of the existing run are damaged; or another process is training in the folder.
            StorageError: the folder isn't writable, or there isn't enough space for two checkpoints of `checkpoint` bytes.
        """
        if not self._writes:
            return
        own = (self.path / RUN).is_file()
        if not own and self.path.exists() and (not self.path.is_dir() or self._foreign()):
            raise InputError(f"{self.path} exists and is not a training run; choose another folder with --out")
        with storing(self.path, remedy=ELSEWHERE):
            self.path.mkdir(parents=True, exist_ok=True)
            self._lock = RunLock(self.path)
        # a run that failed before its first checkpoint can't be resumed and is replaced by a new run
        started = own and any((self.path / name).exists() for name in (CHECKPOINT, BEST, METRICS, MODEL))
        if started and not (resume or self._lock.restarted):
            raise InputError(f"{self.path} already contains a run; continue it with --resume, or choose another folder with --out")
        moved = _check_same(self.path, description, recipe) if started else {}
        with storing(self.path, remedy=ELSEWHERE):
            self._lock.sign()
            (self.path / CHECKPOINTS).mkdir(exist_ok=True)
            for folder in (self.path, self.path / CHECKPOINTS):
                remove_drafts(folder)
            check_room(self.path, checkpoint * (1 if (self.path / CHECKPOINT).is_file() else 2))
            write_text(self.path / RECIPE, to_toml(recipe))
            for name, (old, new) in moved.items():
                say(f"{name}: {old} in the run is {new} now; the samples are the same, so training continues")
            if not started or moved:
                content = (
                    {**_read(self.path / RUN, json.loads), **{name: new for name, (_, new) in moved.items()}} if started else description
                )
                write_text(self.path / RUN, json.dumps(content, indent=2) + "\n")  # last, because this file marks the folder as a run

    def threads(self) -> int | None:
        """Return the number of threads with which the run was started, so that a resumed run rounds alike; None if it isn't known."""
        path = self.path / RUN
        count = _read(path, json.loads).get("threads") if path.is_file() else None
        return count if isinstance(count, int) and count > 0 else None

    def _foreign(self) -> bool:
        """Return whether the folder contains files other than those of a run that was killed during its start."""
        names = {path.name for path in self.path.iterdir() if not path.name.startswith((f".{RECIPE}-", f".{RUN}-"))}
        return bool(names) and not LOCK in names <= {LOCK, RECIPE, CHECKPOINTS.name}

    def due(self) -> bool:
        """Return whether the checkpoint interval has elapsed."""
        return self._writes and time.monotonic() - self._saved >= 60 * self.minutes

    def save(self, state: Mapping[str, Any], history: list[dict[str, Any]]) -> None:
        """Write the checkpoint and then the metrics. If there is no space left, the previous checkpoint stays intact."""
        self._write(CHECKPOINT, state)
        self.write_metrics(history)
        self._saved = time.monotonic()

    def save_best(self, weights: Mapping[str, Any]) -> None:
        """Write the weights of the best epoch so far."""
        self._write(BEST, weights)

    def _write(self, name: Path, content: Mapping[str, Any]) -> None:
        if self._writes:
            with storing(self.path / name, tensor_bytes(content)):
                write_atomic(self.path / name, lambda file: torch.save(dict(content), file))

    def write_metrics(self, history: list[dict[str, Any]]) -> None:
        """Rewrite `metrics.jsonl`, with one object per finished epoch."""
        if self._writes:
            with storing(self.path / METRICS):
                write_text(self.path / METRICS, "".join(json.dumps(entry) + "\n" for entry in history))

    def load(self, name: Path = CHECKPOINT) -> dict[str, Any] | None:
        """Load a checkpoint; None if it doesn't exist. Raise an `InputError` if it is damaged."""
        path = self.path / name
        if not path.is_file():
            return None
        try:
            with zipfile.ZipFile(path) as parts:
                damaged = parts.testzip()  # torch.load doesn't verify the checksums
            if damaged is not None:
                raise ValueError(f"the checksum of {damaged} is wrong")
            content: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
        except (pickle.UnpicklingError, EOFError, RuntimeError, ValueError, zipfile.BadZipFile) as error:
            reason = (str(error).splitlines() or [type(error).__name__])[0]
            raise InputError(f"{path}: the checkpoint can't be read ({reason}); start the run again") from error
        return content


def _check_same(folder: Path, description: Mapping[str, Any], recipe: RunRecipe) -> dict[str, tuple[str, str]]:
    """Return the old and new locations of data that has the same samples as in the folder's run, but another dataset string.

    Raises:
        InputError: description or recipe differ from those in the folder; the message lists all differences. Or a file is damaged.
    """
    before = {"recipe": _read(folder / RECIPE, tomllib.loads), **_read(folder / RUN, json.loads)}
    now = {"recipe": tomllib.loads(to_toml(recipe)), **json.loads(json.dumps(description))}
    places = {name: (before.get(name), now.get(name)) for name, manifest in _PLACES.items() if before.get(manifest) == now.get(manifest)}
    weights = [content.get("model", {}).get("weights") for content in (before, now)]
    if all(weights) and Path(weights[0]).name == Path(weights[1]).name:  # the checkpoint replaces the weights anyway
        before["model"]["weights"] = weights[1]
    ignored = {*_NOTES, *places}
    found = [line for name in {**before, **now} if name not in ignored for line in _differences(name, before.get(name), now.get(name))]
    if found:
        raise InputError(
            f"{folder}: this run can't be resumed with different settings or data: {'; '.join(found)}. Use the original settings and "
            f"data (see {RECIPE} and {RUN} in this folder), or choose another folder with --out{_longer(folder, before, now)}"
        )
    return {name: (str(old), str(new)) for name, (old, new) in places.items() if old != new}


def _longer(folder: Path, before: Mapping[str, Any], now: Mapping[str, Any]) -> str:
    """Return how to train for more epochs than the run in the folder has; "" if that isn't requested."""
    old, new = before["recipe"].get("epochs"), now["recipe"].get("epochs")
    if not (isinstance(old, int) and isinstance(new, int) and new > old):
        return ""
    finished = (folder / MODEL / "model.json").is_file()
    first = f"This run is finished after {counted(old, 'epoch')}" if finished else f"Let this run finish its {counted(old, 'epoch')} first"
    return (
        f". {first}, for which its learning rates were planned. To train longer, start a new run from its model: "
        f"--weights {folder / MODEL} --epochs {new - old} and another --out, without --resume"
    )


def _read(path: Path, parse: Any) -> dict[str, Any]:
    try:
        content = parse(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:  # ValueError: invalid UTF-8, JSON or TOML
        raise InputError(f"{path} is damaged ({error}); start the run again in another folder (--out)") from error
    if not isinstance(content, dict):
        raise InputError(f"{path} is damaged (it contains a {type(content).__name__}); start the run again in another folder (--out)")
    return content


def _differences(name: str, before: Any, now: Any) -> Iterator[str]:
    """Yield differences such as "recipe: lr was 0.001, is 0.01", prefixed with the keys of nested dicts."""
    if isinstance(before, dict) and isinstance(now, dict):
        for part in {**before, **now}:
            for line in _differences(part, before.get(part), now.get(part)):
                yield f"{name}: {line}"
    elif before != now:
        old, new = ("not set" if value is None else value for value in (before, now))
        yield f"{name} was {old}, is {new}"


class RunLock:
    """Lock on the folder of a run, which is released even if its process is killed. The file also stores the process's torchrun job."""

    def __init__(self, folder: Path) -> None:
        """Acquire the lock of an existing folder. Raise an `InputError` if another process holds it."""
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
