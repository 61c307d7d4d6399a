"""Prediction files: written by the zoo, or by another tool whose predictions are scored."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from zoo.data.dataset import Dataset


@dataclass(frozen=True)
class AnswerFiles:
    """Reader and writer of a task's prediction files.

    Attributes:
        suffixes: file name suffixes that `write` supports.
        read: function of the file, the relabelled data and the class names. It returns the answers by sample key, as `Answers.split`
            returns them, or None where the file states that there is no answer (an image without a face); every sample of the data is
            present. It raises InputError, naming the file and the line or entry, for an answer for an unknown sample, a sample without
            an answer, numbers that aren't finite, inverted boxes and labels that aren't among the classes.
        write: function of the file, the answers by key, the relabelled data and the class names. It replaces the whole file; `read`
            restores the answers without loss.
    """

    suffixes: tuple[str, ...]
    read: Callable[[Path, Dataset, tuple[str, ...]], Mapping[str, Any]]
    write: Callable[[Path, Mapping[str, Any], Dataset, tuple[str, ...]], None]
