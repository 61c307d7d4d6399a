"""Prediction files, written by this package or by another tool whose predictions are scored."""

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
        suffixes: file name suffixes supported by `write`.
        read: function of the file, the relabelled dataset and the class names. It returns one prediction for each sample key, in the
            format of `Answers.split`, or None if the file states that there is no prediction (an image without a face). It raises
            InputError, which names the file and the line or entry, for unknown samples, samples without a prediction, numbers that
            aren't finite, inverted boxes, and labels that aren't among the classes.
        write: function of the file, the predictions by key, the relabelled dataset and the class names. It overwrites the file. `read`
            restores the predictions without loss.
    """

    suffixes: tuple[str, ...]
    read: Callable[[Path, Dataset, tuple[str, ...]], Mapping[str, Any]]
    write: Callable[[Path, Mapping[str, Any], Dataset, tuple[str, ...]], None]
