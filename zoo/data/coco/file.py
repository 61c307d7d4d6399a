"""The images, categories and annotations of one COCO annotation file, with the errors found in them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

from zoo.data.coco.ids import Ids
from zoo.data.coco.layout import find_file, find_folders, find_root
from zoo.data.coco.parsing import annotation_of, read_lists
from zoo.data.folders import PictureRoot
from zoo.data.formats import DataRef
from zoo.data.moved import MovedFiles, tails
from zoo.data.names import nfc
from zoo.errors import DataError, Fault, Flaw
from zoo.system.wording import counted


@dataclass
class CocoFile:
    """An annotation file whose lists were read.

    Attributes:
        ref: parsed dataset string.
        root: folder of the dataset.
        file: the annotation file.
        folders: folders in which images are searched for.
        source: the dataset folder, which decides which links are followed.
        content: lists of the file by name.
        faults: errors found so far.
        notes: what was assumed so far.
        listed: key of each image in the file by image id, complete after `images` was iterated.
        label: class index by category id.
        classes: names of the categories, in the order of their ids.
    """

    ref: DataRef
    root: Path
    file: Path
    folders: list[Path]
    source: PictureRoot
    content: Mapping[str, list[Any]]
    faults: list[Fault] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    @classmethod
    def open(cls, ref: DataRef) -> Self:
        """Find and read the annotation file of a dataset string, and find the folders of its images."""
        root = find_root(ref)
        file = find_file(ref, root)
        content = read_lists(ref.text, file)
        first = str(content["images"][0]["file_name"]) if content["images"] else ""
        source = PictureRoot(root, ref.links)
        folders = find_folders(ref, root, file, lambda folder: bool(first) and _holds(folder, first, source))
        return cls(ref, root, file, folders, source, content)

    def __post_init__(self) -> None:
        """Read the categories; raise a `DataError` if several have the same id or name."""
        self.name = self.file.relative_to(self.root).as_posix() if self.file.is_relative_to(self.root) else str(self.file)
        self.listed: dict[Any, str] = {}
        categories = sorted(self._categories(), key=lambda category: (isinstance(category["id"], str), category["id"]))
        self.label = {category["id"]: index for index, category in enumerate(categories)}
        self.classes = tuple(nfc(str(category["name"])) for category in categories)
        self.category_ids = Ids("category_id", self.label, "categories")
        for kind, values in (("ids", [category["id"] for category in categories]), ("names", self.classes)):
            repeated = [str(value) for value, count in Counter(values).items() if count > 1]
            if repeated:
                raise DataError(f"{self.file}: several categories share the {kind} {', '.join(repeated)}; expected unique ones")

    def _categories(self) -> list[Mapping[str, Any]]:
        """Return the categories without a parent of all others that no annotation uses."""
        categories: list[Mapping[str, Any]] = self.content["categories"]
        for parent in categories:
            others = [category for category in categories if category is not parent]
            if others and all(other.get("supercategory") == parent["name"] for other in others):
                used = Ids("category_id", [parent["id"]], "categories")
                if all(used.match(annotation_of(entry)["category_id"]) is None for entry in self.content["annotations"]):
                    text = (
                        f"the category {parent['name']!r} (id {parent['id']}) is only the parent of the others, and no annotation uses it"
                    )
                    self.notes.append(f"{text}: it was dropped")
                    return others
        return categories

    def images(self) -> Iterator[tuple[str, Path, Mapping[str, Any]]]:
        """Yield the key, the file and the entry of each valid image."""
        keys: set[str] = set()
        moved = MovedFiles(self.folders, self.source)
        ends: dict[str, str] = {}  # keys by file name, of those that are a trailing part of it
        cases: dict[str, str] = {}  # and of those that are one in another case
        for image in self.content["images"]:
            name = nfc(str(image["file_name"]))
            repeated, key, found = image["id"] in self.listed, name, None
            try:
                key, found = (name, None) if repeated else self._locate(name, moved)
            except Flaw as flaw:
                self.lost(name, flaw)
            self.listed.setdefault(image["id"], key)
            if repeated or key in keys:
                twice = Flaw("the id or the file name occurs twice; expected unique ones", "repeated-id")
                self.lost(key, twice, f"image id {image['id']}")
                continue
            keys.add(key)
            if key != name:
                (ends if key in tails(name) else cases)[name] = key
            if found is not None:
                yield key, found, image
        for found_as, keys_by_name in (("by the end of the path in", ends), ("in another case than", cases)):
            if keys_by_name:
                name, key = next(iter(keys_by_name.items()))
                shown = f"{counted(len(keys_by_name), 'image')} found {found_as} file_name, such as {name!r} as {key!r}"
                self.notes.append(shown)
        self.image_ids = Ids("image_id", self.listed, "images")

    def _locate(self, name: str, moved: MovedFiles) -> tuple[str, Path | None]:
        """Return the key and the file of an image; None, and an error, if there is no such file. A link may raise a `Flaw`."""
        safe = safe_name(name)
        for folder in self.folders if safe else ():
            if (exact := self.source.file(folder / name)) is not None:
                return name, exact
        if (found := moved.find(name)) is not None:
            return found
        if safe and not self.ref.pictures:
            return name, self.root / name
        looked = ", ".join(folder.relative_to(self.root).as_posix() for folder in self.folders if folder.is_relative_to(self.root))
        reason = "the image is missing" if safe else "the file name is outside the dataset folder, and no end of it is a file inside"
        self.lost(name, Flaw(f"{reason}; searched in {looked or self.folders[0]}", "no-picture"))
        return name, None

    def annotations(self) -> Iterator[tuple[int, Any, str, Mapping[str, Any]]]:
        """Yield each annotation of an image in the file, once only: its number, the id of its image, its place in the file, its entry."""
        annotations = self.content["annotations"]
        for number, entry in enumerate(annotations):
            annotations[number] = None  # frees the memory of each entry as soon as it is read
            annotation = annotation_of(entry)
            given = annotation["image_id"]
            image_id = given if given in self.listed else self.image_ids.find(given)
            place = f"annotation id {annotation['id']}" if "id" in annotation else f"annotations[{number}]"
            if image_id is None:
                stray = Flaw(f" is for image_id {given!r}, which is not in images{self.image_ids.unknown(given)}", "no-picture")
                self.faults.append(stray.at(self.name, place, before=place))
            else:
                yield number, image_id, place, annotation

    def label_of(self, annotation: Mapping[str, Any]) -> int:
        """Return the class index of an annotation, or raise a `Flaw` if its category is unknown."""
        given = annotation["category_id"]
        category = given if given in self.label else self.category_ids.find(given)
        if category is None:
            raise Flaw(f"category_id is {given!r}; there is no such category{self.category_ids.unknown(given)}", "unknown-label")
        return self.label[category]

    def lost(self, key: str, flaw: Flaw, place: str = "") -> None:
        """Record an error that causes the whole image to be dropped."""
        before = f"{self.name}: {place}: " if place else f"{self.name}: "
        self.faults.append(flaw.at(key, place, before=before, whole=True))


def _holds(folder: Path, name: str, source: PictureRoot) -> bool:
    try:
        return MovedFiles([folder], source).find(name) is not None
    except Flaw:  # a link that isn't followed, which the reader reports
        return True


def safe_name(name: str) -> bool:
    """Return whether a file name in an annotation refers to a path inside the dataset's folder."""
    parts = name.replace("\\", "/").split("/")
    return bool(name) and "\0" not in name and parts[0] != "" and ".." not in parts and not parts[0].endswith(":")
