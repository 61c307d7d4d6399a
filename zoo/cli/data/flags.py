"""Flags of the `zoo data` commands: typed dataclasses that tyro turns into command lines."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import tyro


@dataclass(frozen=True, kw_only=True)
class _DataFlags:
    """Flags of every `zoo data` command."""

    task: str | None = None
    """Task whose dataset formats apply; by default the task that has the schemes, classification before the others."""
    quiet: bool = False
    """Show no progress."""
    json: bool = False
    """Print one JSON object, and nothing else, to standard output."""


@dataclass(frozen=True, kw_only=True)
class _WriteFlags(_DataFlags):
    """Flags of the commands that write a dataset."""

    pictures: Literal["link", "copy"] = "link"
    """Hard links to the original images, or copies; copies are also made where links aren't possible."""
    lossy: bool = False
    """Continue if the new format can't represent everything, and list the losses."""
    skip_bad: bool = False
    """Skip invalid samples of the source, and list them."""


@dataclass(frozen=True)
class DataCheckFlags(_DataFlags):
    """Read a whole dataset and report its problems; the exit status is 1 if there are any (notes don't count)."""

    data: tyro.conf.Positional[str]
    """Dataset, as scheme:path or a path; without split=, all splits are read together."""
    report: Path | None = None
    """HTML page to write, with counts and contact sheets."""
    fix: Path | None = None
    """Folder to write a cleaned copy of the annotations and changes.csv to; images are not modified."""
    near: int = 4
    """Largest number of differing bits in the 64-bit hashes of near-duplicate images."""
    workers: int | None = None
    """Number of decoding processes; by default one per core if there are many images."""


@dataclass(frozen=True)
class DataConvertFlags(_WriteFlags):
    """Convert a dataset to another format. Images stay byte-identical; data that the new format can't represent is an error."""

    source: tyro.conf.Positional[str]
    """Source dataset, as scheme:path or a path; without split=, all its splits."""
    target: tyro.conf.Positional[str]
    """Target, as scheme:FOLDER with a new or empty folder. Formats: coco, voc, yolo, csv (boxes); folder, csv, hf (classes)."""


@dataclass(frozen=True)
class DataSplitFlags(_WriteFlags):
    """Split a dataset into parts, stratified by class. Groups and people always stay together; the same seed gives the same parts."""

    data: tyro.conf.Positional[str]
    """Dataset, as scheme:path or a path; if it has splits, select one with ?split=."""
    out: tyro.conf.Positional[str]
    """Output: a new or empty folder, or scheme:FOLDER for another format."""
    parts: str = "train=0.8,val=0.2"
    """Part names with shares, or with numbers of images that sum to the total: train=900,val=100."""
    groups: str = "none"
    """Samples that stay together: none, near (near-duplicate images), folder, regex:PATTERN (keys with the same first capturing group),
    or a CSV file with the columns path and group."""
    seed: int = 0
    """Random seed of the split."""


@dataclass(frozen=True)
class DataShowFlags(_DataFlags):
    """Draw a contact sheet of samples as the model receives them, after augmentation and preprocessing, with their targets."""

    data: tyro.conf.Positional[str]
    """Dataset, as scheme:path or a path."""
    out: Path = Path("show.png")
    """File to write: .png, .jpg or .webp for an image, .html for a page."""
    n: int = 24
    """Number of samples."""
    variants: int = 1
    """Number of times each sample is shown, with a different augmentation each time."""
    plain: bool = False
    """Show samples without augmentation, as in evaluation."""
    original: bool = False
    """Also show the original image, to the left of the model input."""
    backbone: str = "resnet18"
    """Backbone whose preprocessing is shown if --model is not set."""
    model: Path | None = None
    """Folder of a run or saved model whose preprocessing is shown."""
    recipe: str = "standard"
    """Recipe whose augmentation is shown: quick, standard, thorough, or a TOML file (a run's recipe.toml)."""
    seed: int = 0
    """Random seed of the choice of samples and of their augmentation."""
    skip_bad: bool = False
    """Skip invalid samples, and list them."""
