"""The `voc:` format: which classes of PASCAL VOC's annotations occur in each image."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from zoo.data.classes import in_order
from zoo.data.dataset import Dataset, OnError, Record
from zoo.data.folders import listed
from zoo.data.formats import DataRef, Scheme, finish
from zoo.data.names import nfc
from zoo.data.voc.folder import Annotation, VocFolder, recognise, text
from zoo.data.voc.splits import choose, split_names
from zoo.errors import DataError, Flaw
from zoo.tasks.classification.multilabel.datasets import SCHEMES
from zoo.tasks.classification.multilabel.detection import check_as
from zoo.tasks.classification.multilabel.targets import Target, keep_classes


def open_voc(ref: DataRef, on_error: OnError) -> Dataset:
    """Open detection data in the layout of PASCAL VOC as labels of whole images: the classes with an object in the image.

    A class that occurs only in objects marked as difficult is unknown, as in VOC's classification task (Everingham et al. 2010, section
    4.1), where such images count neither as positive nor as negative. All other classes don't occur. Boxes aren't checked. The classes and
    the layout of the folders are those of the detection format. `as=labels` may be written for clarity.
    """
    check_as(ref)
    folder = VocFolder(ref.folder(), ref.links)
    if not folder.annotations:
        expected = "expected VOC's folder Annotations, or XML files beside the images"
        raise DataError(f"data {ref.text!r}: {folder.root} has no folder Annotations, and contains no XML files; {expected}")
    split = choose(ref, folder)
    faults = [each.flaw.at(each.key, whole=True) for each in folder.annotations if each.tree is None and each.flaw is not None]
    faults += split.faults
    names = (text(entry, "name") for each in folder.annotations if each.tree is not None for entry in each.tree.iter("object"))
    classes = in_order(sorted({name for name in names if name}), folder.root)
    number = {name: index for index, name in enumerate(classes)}
    records = []
    for annotation in split.annotations:
        if annotation.tree is None:
            continue
        if annotation.picture is None:
            assert annotation.flaw is not None
            faults.append(annotation.flaw.at(annotation.key, whole=True))
            continue
        target, unnamed = _target(annotation, number)
        faults += [Flaw("the object has no name", "unknown-label").at(annotation.key, place, before=f"{place}: ") for place in unnamed]
        records.append(Record(annotation.picture.relative_to(folder.root).as_posix(), annotation.picture, target))
    notes = [*folder.notes, *folder.walk.notes]
    if not split.listed and (left := folder.without_annotation(split.annotations)):
        notes.append(f"images without an annotation file, which aren't samples: {listed(left)}")
    return finish(ref, records, classes, [*faults, *folder.walk.faults], on_error, keep_classes, notes)


def _target(annotation: Annotation, number: Mapping[str, int]) -> tuple[Target, list[str]]:
    """Return the target of an image, and the places of objects without a name."""
    target, unnamed = np.zeros(len(number), np.float32), []
    assert annotation.tree is not None
    for place, entry in enumerate(annotation.tree.iter("object"), start=1):
        name = text(entry, "name")
        if not name:
            unnamed.append(f"object {place}")
        elif text(entry, "difficult") != "1":
            target[number[nfc(name)]] = 1
        elif target[number[nfc(name)]] == 0:
            target[number[nfc(name)]] = np.nan
    return target, unnamed


SCHEMES.add("voc", Scheme("voc", open_voc, recognise, options=("as",), splits=split_names))
