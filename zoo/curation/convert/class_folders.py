"""One folder of images per class or person, within one folder per split: code shared by two formats."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path, PurePosixPath

from zoo.data.folders import SPLITS, is_picture_name
from zoo.data.writers import Content, Picture


def place_in_folders(content: Content, out: Path) -> None:
    """Place every image in the folder of its class; an image that is already in such a folder keeps its path."""
    for picture in content.pictures:
        for split in picture.splits or ("",):
            content.put(picture, out / split / _path(picture, content.classes))


def _path(picture: Picture, classes: Sequence[str]) -> PurePosixPath:
    name, path = classes[picture.record.target], PurePosixPath(picture.name)
    return path if len(path.parts) > 1 and path.parts[0] == name else PurePosixPath(name) / path


def folder_losses(content: Content) -> list[str]:
    """Return what class folders can't represent of a dataset."""
    lost = [f"class {name!r} is not a valid folder name" for name in content.classes if not _is_folder_name(name)]
    lost += [f"split {name!r} is not one of {', '.join(sorted(SPLITS))}" for name in content.splits if name.lower() not in SPLITS]
    lost += [f"{picture.name} has no image extension" for picture in content.pictures if not is_picture_name(Path(picture.name).name)]
    return lost


def _is_folder_name(name: str) -> bool:
    return "/" not in name and "\\" not in name and not name.startswith(".") and name == name.strip() and "\0" not in name
