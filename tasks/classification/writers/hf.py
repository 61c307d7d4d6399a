"""Write the `hf:` format: a Hugging Face dataset on disk, with the image files in its tables (extra `[hf]`)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from zoo.curation.convert.convert import encoded_picture
from zoo.data.writers import Content, Picture, Writer
from zoo.errors import InputError
from zoo.tasks.classification.writers import WRITERS


def write_hf(content: Content, out: Path) -> None:
    """Write one table per split, with the columns image, label and path."""
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


WRITERS.add("hf", Writer(write_hf))
