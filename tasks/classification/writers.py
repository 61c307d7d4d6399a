"""Formats in which classification datasets can be written: folders, a table, or a Hugging Face dataset."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from zoo.curation.convert import encoded_picture
from zoo.data.classes import write_order
from zoo.data.tables import as_csv
from zoo.data.writers import Content, Picture, Writer, folder_losses, place_in_folders, table_losses
from zoo.errors import InputError
from zoo.registry import Registry
from zoo.system.files import write_text
from zoo.tasks.classification.datasets.csv import sorted_labels
from zoo.tasks.classification.labels import renamed_labels, several_labels

WRITERS: Registry[Writer] = Registry("classification format")
_TABLE = "labels.csv"


def write_csv(content: Content, out: Path) -> None:
    """Write the images, and a table with one row per image. It has a column split only if the dataset has splits."""
    for picture in content.pictures:
        content.put(picture, out / picture.name)
    rows = ([picture.name, content.classes[picture.record.target], *picture.splits] for picture in content.pictures)
    write_text(out / _TABLE, as_csv(["path", "label", *(["split"] if content.splits else [])], rows))
    labels = {content.classes[picture.record.target] for picture in content.pictures}
    altered = several_labels(labels) or renamed_labels(labels)[0]  # unless a list of classes contains them
    write_order(content.classes, [] if altered else sorted_labels(labels), out)


def write_folder(content: Content, out: Path) -> None:
    """Write every image to the folder of its class, in one folder per split, and the class order unless it is alphabetical."""
    place_in_folders(content, out)
    for split in content.splits or ("",):
        used = {content.classes[picture.record.target] for picture in content.of_split(split)}
        write_order(content.classes, sorted(used), out)


def write_hf(content: Content, out: Path) -> None:
    """Write one table per split, with the columns image (the bytes of the file), label and path."""
    try:
        from datasets import ClassLabel, Dataset, DatasetDict, Features, Image, Value, disable_progress_bars
    except ImportError:
        raise InputError("hf: needs the library datasets. Install it with: pip install 'resnet-zoo[hf]'") from None
    disable_progress_bars()
    features = Features({"image": Image(decode=False), "label": ClassLabel(names=list(content.classes)), "path": Value("string")})
    tables = {split: Dataset.from_list(list(_rows(content.of_split(split))), features=features) for split in content.splits or ("",)}
    saved = DatasetDict(tables) if content.splits else tables[""]
    saved.save_to_disk(str(out))


def _rows(pictures: Sequence[Picture]) -> Iterator[dict[str, Any]]:
    for picture in pictures:
        data = encoded_picture(picture.record)
        yield {"image": {"bytes": data, "path": Path(picture.name).name}, "label": picture.record.target, "path": picture.name}


WRITERS.add("csv", Writer(write_csv, table_losses, path=_TABLE))
WRITERS.add("folder", Writer(write_folder, folder_losses))
WRITERS.add("hf", Writer(write_hf))
