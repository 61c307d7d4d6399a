"""The `zoo compare` command."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import tyro

from zoo.artefacts.encryption import is_encrypted
from zoo.cli.context import print_json, progress_of
from zoo.cli.flags import BatchSize, EvaluationData, RunFlags, Workers
from zoo.cli.heads import check_data, head_values
from zoo.errors import InputError
from zoo.evaluation.intervals import REPLICATES

if TYPE_CHECKING:
    from zoo.data.dataset import Dataset
    from zoo.evaluation.comparison import Comparison
    from zoo.system.progress import Progress
    from zoo.task.metric import Scores


@dataclass(frozen=True)
class CompareFlags:
    """Flags of `zoo compare`."""

    a: Annotated[tyro.conf.Positional[str], tyro.conf.arg(metavar="A")]
    """First side of the comparison: the folder of a run or model, hf:OWNER/NAME, or a prediction file. Several comma-separated paths are
    treated as repeated runs, and their scores are averaged."""
    b: Annotated[tyro.conf.Positional[str], tyro.conf.arg(metavar="B")]
    """Second side of the comparison, in the same form as A."""
    data: EvaluationData
    task: str | None = None
    """Task; required for prediction files, otherwise taken from the models."""
    multi_label: bool = False
    """Classification only: the prediction files are those of multi-label models."""
    replicates: int = REPLICATES
    """Number of bootstrap replicates for the 95 % confidence intervals."""
    batch_size: BatchSize = None
    workers: Workers = None


@dataclass(frozen=True)
class Flags:
    """Evaluate two models or prediction files on the same samples, and print the difference B − A with its 95 % confidence interval."""

    main: Annotated[tyro.conf.OmitArgPrefixes[CompareFlags], tyro.conf.arg(name="compare", help="")]
    run: Annotated[tyro.conf.OmitArgPrefixes[RunFlags], tyro.conf.arg(name="general")]


def run(flags: Flags) -> int:
    """Run the command and return its exit status."""
    from zoo.cli.tables import print_comparison
    from zoo.models.heads import head_data

    main = flags.main
    check_data(main.data)
    with progress_of(flags.run.quiet) as progress:
        a, b = ([Compared.of(path, main) for path in _named(side)] for side in (main.a, main.b))
        joint = next((each for each in (*a, *b) if len(each.heads) > 1), None)
        heads = [*(joint or a[0]).heads]
        data = head_values("--data", main.data, heads)
        found = {name: _compare(name, a, b, own, flags, progress) for name, own in head_data(heads, data).items()}
    if flags.run.json:
        content = {name: comparison.to_dict() for name, comparison in found.items()}
        print_json(content if isinstance(data, dict) else content[heads[0]])
        return 0
    for name, comparison in found.items():
        if isinstance(data, dict):
            print(f"{name}:")
        print_comparison(comparison, main.a, main.b)
    return 0


@dataclass(frozen=True)
class Compared:
    """A model or prediction file: its path, and the task of each head with the options that select the variant of the task."""

    path: Path
    heads: Mapping[str, tuple[str, Mapping[str, Any]]]

    @classmethod
    def of(cls, path: Path, main: CompareFlags) -> Compared:
        """Read the description of a saved model. The task of a prediction file is that of --task."""
        from zoo.artefacts.hub.reference import is_reference
        from zoo.models.config import model_folder, read_description

        if path.is_dir() or is_reference(path) or is_encrypted(path):
            config = read_description(model_folder(path, weights=False))[0]
            return cls(path, {name: (head.task, head.options) for name, head in config.heads.items()})
        if main.task is None:
            raise InputError(f"{path} is a prediction file; pass its task with --task")
        return cls(path, {main.task: (main.task, {"multi_label": True} if main.multi_label else {})})

    def head(self, name: str) -> str:
        """Return the name of the head that is compared as `name`, which may be the only one under another name."""
        if name in self.heads or len(self.heads) == 1:
            return name if name in self.heads else next(iter(self.heads))
        raise InputError(f"{self.path} has no head {name!r} (it has {', '.join(self.heads)}); compare heads of the same name")


def _compare(name: str, a: Sequence[Compared], b: Sequence[Compared], text: str, flags: Flags, progress: Progress) -> Comparison:
    """Score a head of both sides on a dataset, and compare the scores."""
    from zoo.evaluation.comparison import compare
    from zoo.task.contract import get_task

    kinds = [each.heads[each.head(name)] for each in (*a, *b)]
    tasks = {task for task, _ in kinds}
    if len(tasks) > 1:
        raise InputError(f"the two sides have different tasks ({', '.join(sorted(tasks))}); only the same task can be compared")
    task, *others = (get_task(*kind) for kind in kinds)
    if any(other is not task for other in others):
        raise InputError(
            f"the two sides have different variants of the task {task.name}; only the same variant can be compared. "
            "Prediction files of multi-label models need --multi-label"
        )
    pictures = any(not each.path.is_file() or is_encrypted(each.path) for each in (*a, *b))  # prediction files are scored without them
    data = task.open(text, flags.run.on_error, progress.say, pictures)
    return compare(*([_scores(each, name, kinds[0], data, flags, progress) for each in side] for side in (a, b)))


def _named(side: str) -> list[Path]:
    paths = [Path(part.strip()).expanduser() for part in side.split(",") if part.strip()]
    if not paths:
        raise InputError(
            f"a side of the comparison is {side!r}; expected the folder of a run or model, hf:OWNER/NAME, or a prediction file"
        )
    from zoo.artefacts.hub.reference import is_reference

    for path in paths:
        if not path.exists() and not is_reference(path):
            raise InputError(f"{path} does not exist; expected the folder of a run or model, hf:OWNER/NAME, or a prediction file")
    return paths


def _scores(side: Compared, name: str, kind: tuple[str, Mapping[str, Any]], data: Dataset, flags: Flags, progress: Progress) -> Scores:
    from zoo.evaluation.evaluate import evaluate, evaluate_predictions
    from zoo.models.archive import load

    main, run = flags.main, flags.run
    if side.path.is_file() and not is_encrypted(side.path):
        return evaluate_predictions(
            side.path, kind[0], data, options=kind[1], on_error=run.on_error, replicates=main.replicates, progress=progress
        )
    sizes: dict[str, Any] = {"batch_size": main.batch_size, "workers": main.workers, "replicates": main.replicates}
    return evaluate(load(side.path).view(side.head(name)), data, **sizes, **run.reading, progress=progress)
