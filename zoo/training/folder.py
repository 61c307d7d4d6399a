"""A training run's folder: recipe, metrics, checkpoints, the final model."""

from __future__ import annotations

import json
import pickle
import time
import zipfile
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

import torch

from zoo.errors import InputError
from zoo.system.disk import ELSEWHERE, check_room, storing, tensor_bytes
from zoo.system.files import remove_drafts, write_atomic, write_text
from zoo.task.recipe import Recipe, to_toml
from zoo.training.identity import RECIPE, RUN, check_same
from zoo.training.lock import LOCK, RunLock, restarted

CHECKPOINTS = Path("checkpoints")
CHECKPOINT = CHECKPOINTS / "last.pt"
BEST = CHECKPOINTS / "best.pt"
METRICS = "metrics.jsonl"
MODEL = "model"


class RunFolder:
    """Where a run keeps what it has, while one process works there.

    `recipe.toml` (settings), `run.json` (model, data, versions), `metrics.jsonl` (one line an epoch), `checkpoints/` and,
    when it has finished, `model/`. A checkpoint holds everything that the files beside it are made from: wherever a run is killed,
    going on from the last checkpoint writes them again as they would have been.
    """

    def __init__(self, path: Path, writes: bool = True, minutes: float = 10.0) -> None:
        """Look at nothing yet.

        Args:
            path: the folder.
            writes: whether this process writes (of several, only the first does).
            minutes: between two checkpoints within an epoch.

        Raises:
            InputError: the minutes are below 0.
        """
        if minutes < 0:
            raise InputError(f"checkpoint_minutes is {minutes}; expected 0 (after every step) or more")
        self.path, self._writes, self._seconds = path, writes, 60 * minutes
        self._lock: RunLock | None = None
        self._saved = time.monotonic()

    def __enter__(self) -> RunFolder:
        """Begin."""
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        """Let others work in the folder."""
        if self._lock is not None:
            self._lock.release()

    def open(self, description: Mapping[str, Any], recipe: Recipe, resume: bool, checkpoint: int = 0) -> None:
        """Open a new run's folder, or the folder of the same run to continue it; in the process that writes.

        A process that torchrun has started again continues the run that it had begun, whatever `resume` says.

        Args:
            description: what makes this run this run; must be the same when it is continued.
            recipe: the settings; likewise.
            resume: continue what is there.
            checkpoint: about what a checkpoint takes, in bytes.

        Raises:
            InputError: there is a run with a checkpoint already and `resume` is false; it is another run, or none that could be
                continued; or another process works there.
            StorageError: the folder can't be written to, or there is no room for two checkpoints.
        """
        if not self._writes:
            return
        own = (self.path / RUN).is_file()
        if not own and self.path.exists() and (not self.path.is_dir() or self._foreign()):
            raise InputError(f"{self.path} exists and is not a run of the zoo; choose another place with --out")
        with storing(self.path, remedy=ELSEWHERE):
            self.path.mkdir(parents=True, exist_ok=True)
            self._lock = RunLock(self.path)
        # a run that failed before its first checkpoint has left nothing to continue: the next one begins anew in its place
        started = own and any((self.path / name).exists() for name in (CHECKPOINT, BEST, METRICS, MODEL))
        if started and not (resume or restarted(self._lock.last_job)):
            raise InputError(f"{self.path} holds a run already; continue it with --resume, or choose another place with --out")
        if started:
            check_same(self.path, description, recipe)
        with storing(self.path, remedy=ELSEWHERE):
            self._lock.sign()
            (self.path / CHECKPOINTS).mkdir(exist_ok=True)
            for folder in (self.path, self.path / CHECKPOINTS):
                remove_drafts(folder)
            check_room(self.path, checkpoint * (1 if (self.path / CHECKPOINT).is_file() else 2))
            write_text(self.path / RECIPE, to_toml(recipe))
            if not started:
                write_text(self.path / RUN, json.dumps(description, indent=2) + "\n")  # last: from now on this is a run

    def _foreign(self) -> bool:
        """Tell whether the folder holds what no run leaves that was killed when it began."""
        names = {path.name for path in self.path.iterdir() if not path.name.startswith((f".{RECIPE}-", f".{RUN}-"))}
        return bool(names) and not LOCK in names <= {LOCK, RECIPE, CHECKPOINTS.name}

    def due(self) -> bool:
        """Tell whether it is time for a checkpoint."""
        return self._writes and time.monotonic() - self._saved >= self._seconds

    def save(self, state: Mapping[str, Any], history: list[dict[str, Any]]) -> None:
        """Write the checkpoint, then the metrics it has reached.

        Raises:
            StorageError: no room, or no permission any more; the checkpoint before this one is intact.
        """
        self._write(CHECKPOINT, state)
        self.write_metrics(history)
        self._saved = time.monotonic()

    def save_best(self, weights: Mapping[str, Any]) -> None:
        """Keep the weights of the best epoch so far.

        Raises:
            StorageError: likewise.
        """
        self._write(BEST, weights)

    def _write(self, name: Path, content: Mapping[str, Any]) -> None:
        if self._writes:
            with storing(self.path / name, tensor_bytes(content)):
                write_atomic(self.path / name, lambda file: torch.save(dict(content), file))

    def write_metrics(self, history: list[dict[str, Any]]) -> None:
        """Write `metrics.jsonl` anew: one object per finished epoch.

        Raises:
            StorageError: no room, or no permission any more.
        """
        if self._writes:
            with storing(self.path / METRICS):
                write_text(self.path / METRICS, "".join(json.dumps(entry) + "\n" for entry in history))

    def load(self, name: Path = CHECKPOINT) -> dict[str, Any] | None:
        """Return a checkpoint, or None where the run has none yet.

        Raises:
            InputError: it is damaged.
        """
        path = self.path / name
        if not path.is_file():
            return None
        try:
            with zipfile.ZipFile(path) as parts:
                damaged = parts.testzip()  # torch itself doesn't look at the checksums
            if damaged is not None:
                raise ValueError(f"the checksum of {damaged} is wrong")
            content: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
        except (pickle.UnpicklingError, EOFError, RuntimeError, ValueError, zipfile.BadZipFile) as error:
            reason = (str(error).splitlines() or [type(error).__name__])[0]
            raise InputError(f"{path}: the checkpoint can't be read ({reason}); start the run anew") from error
        return content
