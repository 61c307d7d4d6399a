"""Flags of the `zoo data` commands: typed dataclasses that tyro turns into command lines."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro

from zoo.cli.flags import Json, Quiet, SkipBad


@dataclass(frozen=True, kw_only=True)
class _DataFlags:
    """Flags of every `zoo data` command."""

    task: str | None = None
    """Task of the dataset; by default inferred from the scheme; classification if several tasks support it."""
    multi_label: bool = False
    """Classification only: read labels for multi-label models. For coco: and voc:, these are the classes that occur in each image."""
    quiet: Quiet = False
    json: Json = False

    @property
    def options(self) -> dict[str, Any]:
        """Options of the models that the data is for, which select the variant of the task."""
        return {"multi_label": True} if self.multi_label else {}

    @property
    def task_name(self) -> str | None:
        """The task that the flags name; None if it is inferred from the data."""
        return self.task or ("classification" if self.multi_label else None)


@dataclass(frozen=True, kw_only=True)
class _WriteFlags(_DataFlags):
    """Flags of the commands that write a dataset."""

    pictures: Literal["link", "copy"] = "link"
    """How to place images in the output: hard links (copied where linking fails) or copies."""
    lossy: bool = False
    """Continue if the new format can't represent all data, and list what is lost."""
    skip_bad: SkipBad = False


@dataclass(frozen=True)
class DataCheckFlags(_DataFlags):
    """Read a whole dataset and report its problems. The exit status is 1 if there are any errors or warnings."""

    data: Annotated[tyro.conf.Positional[str], tyro.conf.arg(metavar="DATA")]
    """Dataset, as scheme:path or a path. Without split=, all splits are checked together."""
    attributes: Mapping[str, Sequence[str]] | None = None
    """Detection only: attributes that models will predict, with their values. Other values in the annotations are errors. By default, all
    values are accepted and counted."""
    report: Path | None = None
    """Output file for an HTML report with counts and contact sheets; by default, no report is written."""
    fix: Path | None = None
    """Output folder for the cleaned annotations and a list of changes (changes.csv). Images are not modified. By default, no files are
    written."""
    near: int = 4
    """Maximum Hamming distance between 64-bit image hashes for two images to count as near-duplicates."""
    workers: int | None = None
    """Number of decoding processes; by default one per core if there are many images, otherwise none."""

    @property
    def options(self) -> dict[str, Any]:
        """Options of the models that the data is for, including the attributes."""
        return super().options | ({} if self.attributes is None else {"attributes": self.attributes})

    @property
    def task_name(self) -> str | None:
        """The task that the flags name; detection if attributes are declared."""
        return super().task_name or (None if self.attributes is None else "detection")


@dataclass(frozen=True)
class DataConvertFlags(_WriteFlags):
    """Convert a dataset to another format. Image files stay byte-identical. Data that the new format can't represent raises an error."""

    source: Annotated[tyro.conf.Positional[str], tyro.conf.arg(metavar="SOURCE")]
    """Dataset to convert, as scheme:path or a path. Without split=, all splits are converted."""
    target: Annotated[tyro.conf.Positional[str], tyro.conf.arg(metavar="TARGET")]
    """Output, as scheme:FOLDER with a new or empty folder. Schemes for detection: coco, voc, yolo, csv; for classification: folder, csv,
    hf; with --multi-label: csv."""


@dataclass(frozen=True)
class DataSplitFlags(_WriteFlags):
    """Split a dataset, stratified by class, keeping each group and person in one part. The same seed gives the same split."""

    data: Annotated[tyro.conf.Positional[str], tyro.conf.arg(metavar="DATA")]
    """Dataset to split, as scheme:path or a path. If it already has splits, select one with ?split=."""
    out: Annotated[tyro.conf.Positional[str], tyro.conf.arg(metavar="OUT")]
    """Output: a new or empty folder, or scheme:FOLDER to convert to another format."""
    parts: str = "train=0.8,val=0.2"
    """Names of the parts with their fractions, or with numbers of images that sum to the total, such as train=900,val=100."""
    groups: str = "none"
    """How to group samples that must stay in the same part: none, near (near-duplicate images), folder (images in the same folder),
    regex:PATTERN (keys with the same first capturing group), or a CSV file with the columns path and group."""
    seed: int = 0
    """Random seed of the split."""


@dataclass(frozen=True)
class DataShowFlags(_DataFlags):
    """Draw a contact sheet of samples as the model receives them, after augmentation and preprocessing, with their annotations."""

    data: Annotated[tyro.conf.Positional[str], tyro.conf.arg(metavar="DATA")]
    """Dataset, as scheme:path or a path."""
    out: Path = Path("show.png")
    """Output file: an image (.png, .jpg or .webp) or an HTML page (.html)."""
    n: int = 24
    """Number of samples."""
    variants: int = 1
    """How many times to show each sample, each time with different random augmentation."""
    plain: bool = False
    """Show samples without augmentation, as in evaluation."""
    original: bool = False
    """Also show the original image, to the left of the model input."""
    backbone: str = "resnet18"
    """Backbone whose preprocessing is used if --model is not set."""
    model: Path | None = None
    """Folder of a run or saved model whose preprocessing is used; by default, the preprocessing of --backbone is used."""
    recipe: str = "standard"
    """Recipe whose augmentation is used: quick, standard, thorough, or a TOML file, such as a run's recipe.toml."""
    seed: int = 0
    """Random seed for the choice of samples and their augmentation."""
    skip_bad: SkipBad = False
