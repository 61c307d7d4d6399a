"""Write `folder:` – a folder of pictures per class, below a folder per split."""

from __future__ import annotations

from pathlib import Path, PurePosixPath

from zoo.class_order import write_order
from zoo.conversion.content import Content, Picture, Writer
from zoo.picture_folders import SPLITS, is_picture_name
from zoo.tasks.classification.writers import WRITERS


def write_folder(content: Content, out: Path) -> None:
    """Place every picture in its class's folder; one that lies in such a folder already keeps its path."""
    for picture in content.pictures:
        for split in picture.splits or ("",):
            content.put(picture, out / split / _path(picture, content.classes))
    for split in content.splits or ("",):
        used = {content.classes[picture.record.target] for picture in content.of_split(split)}
        if sorted(used) != list(content.classes):
            write_order(content.classes, (), out)
            break


def _path(picture: Picture, classes: tuple[str, ...]) -> PurePosixPath:
    name, path = classes[picture.record.target], PurePosixPath(picture.name)
    return path if len(path.parts) > 1 and path.parts[0] == name else PurePosixPath(name) / path


def _losses(content: Content) -> list[str]:
    lost = [f"the class {name!r} can't be the name of a folder" for name in content.classes if not _is_folder_name(name)]
    lost += [f"the split {name!r} is none of {', '.join(sorted(SPLITS))}" for name in content.splits if name.lower() not in SPLITS]
    lost += [f"{picture.name} has no picture's ending" for picture in content.pictures if not is_picture_name(Path(picture.name).name)]
    return lost


def _is_folder_name(name: str) -> bool:
    return "/" not in name and "\\" not in name and not name.startswith(".") and name == name.strip() and "\0" not in name


WRITERS.add("folder", Writer(write_folder, _losses))
