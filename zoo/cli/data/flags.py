"""The flags of `zoo data`: typed dataclasses that tyro turns into a command line."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import tyro


@dataclass(frozen=True)
class DataCheckFlags:
    """Read a data set whole and report what is wrong with it; exit status 1 where something is (notes don't count)."""

    data: tyro.conf.Positional[str]
    """scheme:path, or a path; without split= all splits are read together."""
    task: str | None = None
    """Whose formats are meant; by default the task that has the scheme, classification before the others."""
    report: Path | None = None
    """Write an HTML page with counts and contact sheets."""
    fix: Path | None = None
    """Write a cleaned copy of the annotations, and changes.csv, into this folder; pictures are not touched."""
    near: int = 4
    """Pictures whose 64-bit hashes differ in so many bits may be nearly the same."""
    workers: int | None = None
    """Processes that decode; by default one per core where there are many pictures."""
    quiet: bool = False
    """Show no progress."""
    json: bool = False
    """Print one JSON object on standard output, and nothing else there."""


@dataclass(frozen=True)
class DataConvertFlags:
    """Write a data set in another format. Pictures stay the same byte for byte; what the new format can't hold is an error."""

    source: tyro.conf.Positional[str]
    """The old data: scheme:path, or a path; without split= all its splits."""
    target: tyro.conf.Positional[str]
    """The new: scheme:FOLDER, new or empty. Formats: coco, voc, yolo, csv (boxes); folder, csv, hf (classes)."""
    task: str | None = None
    """Whose formats are meant; by default the task that has both schemes."""
    pictures: Literal["link", "copy"] = "link"
    """Hard links to the old pictures, or copies; where links can't be made, copies."""
    lossy: bool = False
    """Go on where the new format can't hold everything, and say what was lost."""
    skip_bad: bool = False
    """Leave out what is faulty in the old data, and say what."""
    quiet: bool = False
    """Show no progress."""
    json: bool = False
    """Print one JSON object on standard output, and nothing else there."""


@dataclass(frozen=True)
class DataSplitFlags:
    """Divide a data set into parts, every class alike. Groups, and people, are never parted; the same seed gives the same parts."""

    data: tyro.conf.Positional[str]
    """scheme:path, or a path; of data with splits say which, with ?split=."""
    out: tyro.conf.Positional[str]
    """The new data: a folder, new or empty, or scheme:FOLDER for another format."""
    parts: str = "train=0.8,val=0.2"
    """Names and shares, or numbers of pictures that sum to all of them: train=900,val=100."""
    groups: str = "none"
    """What stays together: none, near (nearly the same pictures), folder, regex:PATTERN (keys whose first group agrees), or a CSV file
    with the columns path and group."""
    seed: int = 0
    """Another seed, another split."""
    task: str | None = None
    """Whose data it is; by default the task that has the scheme, classification before the others."""
    pictures: Literal["link", "copy"] = "link"
    """Hard links to the old pictures, or copies; where links can't be made, copies."""
    lossy: bool = False
    """Go on where the format can't hold everything."""
    skip_bad: bool = False
    """Leave out what is faulty, and say what."""
    quiet: bool = False
    """Show no progress."""
    json: bool = False
    """Print one JSON object on standard output, and nothing else there."""


@dataclass(frozen=True)
class DataShowFlags:
    """Draw a contact sheet of samples as the model will see them, after augmentation and preprocessing, with their targets."""

    data: tyro.conf.Positional[str]
    """scheme:path, or a path."""
    out: Path = Path("show.png")
    """The sheet to write: .png, .jpg or .webp, or .html for a page."""
    n: int = 24
    """How many samples."""
    variants: int = 1
    """How often each is shown, augmented anew."""
    plain: bool = False
    """Without augmentation: as evaluation sees them."""
    original: bool = False
    """Show the picture as it lies in the data, too, left of what the model sees."""
    task: str | None = None
    """Whose data it is; by default the task that has the scheme, classification before the others."""
    backbone: str = "resnet18"
    """Whose preprocessing is shown, where no model is given."""
    model: Path | None = None
    """A run's or saved model's folder: its preprocessing is shown."""
    recipe: str = "standard"
    """Whose augmentation: quick, standard, thorough, or a TOML file (a run's recipe.toml)."""
    seed: int = 0
    """Which samples, and how they are augmented."""
    skip_bad: bool = False
    """Leave out what is faulty, and say what."""
    quiet: bool = False
    """Show no progress."""
    json: bool = False
    """Print one JSON object on standard output, and nothing else there."""
