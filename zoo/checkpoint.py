"""A training run's folder: recipe, metrics, checkpoints, the final model."""

from __future__ import annotations

import json
import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from zoo.errors import InputError
from zoo.files import write_atomic, write_text
from zoo.recipe import Recipe, to_toml

CHECKPOINT = Path("checkpoints") / "last.pt"
BEST = Path("checkpoints") / "best.pt"


class RunFolder:
    """Where a run keeps what it has.

    `recipe.toml` (settings), `run.json` (model, data, versions), `metrics.jsonl` (one line an epoch), `checkpoints/` and,
    when it has finished, `model/`.
    """

    def __init__(self, path: Path, description: Mapping[str, Any], recipe: Recipe, resume: bool, writes: bool = True) -> None:
        """Open a new run's folder, or the folder of the same run to continue it.

        Args:
            path: the folder.
            description: what makes this run this run; must be the same when it is continued.
            recipe: the settings; likewise.
            resume: continue what is there.
            writes: whether this process writes (of several, only the first does).

        Raises:
            InputError: there is a run already and `resume` is false; or it is another run, or none that could be continued.
        """
        self.path, self._writes = path, writes
        if not writes:  # the first process looks for all, and may have begun to write
            return
        started = (path / "run.json").is_file()
        if not started and path.exists() and (not path.is_dir() or any(path.iterdir())):
            raise InputError(f"{path} exists and is not a run of the zoo; choose another place with --out")
        if started and not resume:
            raise InputError(f"{path} holds a run already; continue it with --resume, or choose another place with --out")
        if started:
            self._check_same(description, recipe)
        else:
            write_text(path / "recipe.toml", to_toml(recipe))
            write_text(path / "run.json", json.dumps(description, indent=2) + "\n")

    def _check_same(self, description: Mapping[str, Any], recipe: Recipe) -> None:
        try:
            before = dict(json.loads((self.path / "run.json").read_text(encoding="utf-8")))
        except ValueError as error:
            raise InputError(f"{self.path / 'run.json'} is damaged ({error}); start the run anew") from error
        now = json.loads(json.dumps(description))
        differing = [name for name in now if name != "versions" and before.get(name) != now[name]]
        if (self.path / "recipe.toml").read_text(encoding="utf-8") != to_toml(recipe):
            differing.append("recipe")
        if differing:
            raise InputError(
                f"{self.path}: can't be continued, it was started with another {', '.join(differing)}; see run.json and recipe.toml there"
            )

    def save(self, state: Mapping[str, Any], history: list[dict[str, Any]]) -> None:
        """Write the checkpoint, then the metrics it has reached."""
        if self._writes:
            write_atomic(self.path / CHECKPOINT, lambda file: torch.save(dict(state), file))
        self.write_metrics(history)

    def save_best(self, weights: Mapping[str, Any]) -> None:
        """Keep the weights of the best epoch so far."""
        if self._writes:
            write_atomic(self.path / BEST, lambda file: torch.save(dict(weights), file))

    def write_metrics(self, history: list[dict[str, Any]]) -> None:
        """Write `metrics.jsonl` anew: one object per finished epoch."""
        if self._writes:
            write_text(self.path / "metrics.jsonl", "".join(json.dumps(entry) + "\n" for entry in history))

    def load(self, name: Path = CHECKPOINT) -> dict[str, Any] | None:
        """Return a checkpoint, or None where the run has none yet.

        Raises:
            InputError: it is damaged.
        """
        path = self.path / name
        if not path.is_file():
            return None
        try:
            content: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
        except (pickle.UnpicklingError, EOFError, RuntimeError, ValueError) as error:
            reason = (str(error).splitlines() or [type(error).__name__])[0]
            raise InputError(f"{path}: the checkpoint can't be read ({reason}); start the run anew") from error
        return content
