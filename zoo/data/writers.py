"""Write datasets: their format-independent content, the interface of writers, and helpers shared by several formats."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from zoo.data.dataset import Record
from zoo.data.folders import is_other_name, is_system_folder
from zoo.data.splits import split_kind


@dataclass(frozen=True)
class Picture:
    """An image to be written.

    Attributes:
        name: path within the dataset, with `/` as separator, without folders that only the original format requires.
        record: source and target of the image. Labels are indices into `Content.classes`.
        splits: names of the splits that contain the image; empty if the dataset has no splits.
    """

    name: str
    record: Record
    splits: tuple[str, ...] = ()


def _nowhere(picture: Picture, path: Path) -> None:
    raise AssertionError("`put` must be set before content is written")


@dataclass(frozen=True)
class Content:
    """Content of a dataset, independent of its format.

    Attributes:
        classes: class names, in order.
        splits: split names, in the order of the data; empty if the dataset has no splits.
        pictures: images, in the order of the data.
        put: function that copies the file of an image unchanged to a path.
    """

    classes: tuple[str, ...]
    splits: tuple[str, ...]
    pictures: tuple[Picture, ...]
    put: Callable[[Picture, Path], None] = _nowhere

    def of_split(self, split: str) -> tuple[Picture, ...]:
        """Return the images of a split; all images if `split` is empty."""
        return tuple(picture for picture in self.pictures if not split or split in picture.splits)


@dataclass(frozen=True)
class Writer:
    """Writer of a dataset format.

    Attributes:
        write: function that writes the content of a dataset into an empty folder.
        losses: function that returns descriptions of the information that would be lost because the format can't represent it.
        path: path to use in the dataset string of the written dataset, relative to the folder; "" for the folder itself.
    """

    write: Callable[[Content, Path], None]
    losses: Callable[[Content], Sequence[str]] = lambda content: ()
    path: str = ""


def same_stem(pictures: Sequence[Picture]) -> list[tuple[str, str]]:
    """Return the pairs of image names that differ only in the suffix.

    Formats with one annotation file per image can't distinguish such images.
    """
    seen: dict[PurePosixPath, Picture] = {}
    firsts = ((seen.setdefault(PurePosixPath(picture.name).with_suffix(""), picture), picture) for picture in pictures)
    return [(first.name, picture.name) for first, picture in firsts if first is not picture]


def place_in_folders(content: Content, out: Path) -> None:
    """Copy every image to a folder named after its class. An image that is already in such a folder keeps its path."""
    for picture in content.pictures:
        name, path = content.classes[picture.record.target], PurePosixPath(picture.name)
        for split in picture.splits or ("",):
            inner = PurePosixPath(*path.parts[1:]) if path.parent.parts[:1] == (split,) else path
            content.put(picture, out / split / (inner if inner.parent.parts[:1] == (name,) else name / inner))


def folder_losses(content: Content) -> list[str]:
    """Return descriptions of the information in a dataset that class folders can't represent."""
    lost = [f"class {name!r} is not a valid folder name" for name in content.classes if not _is_folder_name(name)]
    lost += [f"split {name!r} is not recognised, as train, val and test are" for name in content.splits if not split_kind(name)]
    lost += [f"{picture.name} is not the name of an image" for picture in content.pictures if is_other_name(Path(picture.name).name)]
    return lost


def _is_folder_name(name: str) -> bool:
    return "/" not in name and "\\" not in name and not is_system_folder(name) and name == name.strip() and "\0" not in name


def table_losses(content: Content) -> list[str]:
    """Return descriptions of the information in a dataset that a table can't represent."""
    several = [picture for picture in content.pictures if len(picture.splits) > 1]
    lost = [f"{picture.name} is in several splits: {', '.join(picture.splits)}" for picture in several]
    strange = [name for name in (*content.classes, *(picture.name for picture in content.pictures)) if name != name.strip()]
    return lost + [f"names with leading or trailing spaces: {', '.join(map(repr, strange[:5]))}" for _ in strange[:1]]
