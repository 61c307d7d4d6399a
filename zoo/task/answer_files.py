"""Answers in files: written by the zoo, or by a foreign tool whose answers are to be scored."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from zoo.data.dataset import Dataset


@dataclass(frozen=True)
class AnswerFiles:
    """The files that hold a task's answers.

    Attributes:
        suffixes: how the names of the files end that `write` writes.
        read: from the file, the (relabelled) data that it answers for and the names of the labels, to key of the sample and its answer
            as `Answers.split` gives it, or None where the file says that there is none (a picture without a face); every sample of the
            data is there. Raises InputError for an answer for an unknown sample, a sample without an answer, numbers that are not
            finite, boxes upside down and labels outside the classes, with the file and the line or entry.
        write: into the file, which is replaced whole, answers by key; `read` reads them back without loss. It also takes the
            (relabelled) data and the names of the labels.
    """

    suffixes: tuple[str, ...]
    read: Callable[[Path, Dataset, tuple[str, ...]], Mapping[str, Any]]
    write: Callable[[Path, Mapping[str, Any], Dataset, tuple[str, ...]], None]
