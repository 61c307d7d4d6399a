"""The `coco:` format: which categories of COCO's annotations occur in each image."""

from __future__ import annotations

from typing import Any

import numpy as np

from zoo.data.coco.file import CocoFile
from zoo.data.coco.layout import recognise, recognise_file
from zoo.data.dataset import Dataset, OnError, Record
from zoo.data.formats import DataRef, Scheme, finish
from zoo.errors import Flaw
from zoo.tasks.classification.multilabel.datasets import SCHEMES
from zoo.tasks.classification.multilabel.detection import check_as
from zoo.tasks.classification.multilabel.targets import Target, keep_classes


def open_coco(ref: DataRef, on_error: OnError) -> Dataset:
    """Open detection data in COCO's format as labels of whole images: the categories that have an annotation in the image.

    A crowd (`iscrowd`) counts as an occurrence. All categories without an annotation in an image are known not to occur in it, as COCO
    annotates all its categories in every image. Boxes and outlines aren't checked. The layout of the folders is that of the detection
    format. `as=labels` may be written for clarity.
    """
    check_as(ref)
    reader = CocoFile.open(ref)
    images = {image["id"]: (key, file) for key, file, image in reader.images()}
    targets: dict[Any, Target] = {image_id: np.zeros(len(reader.classes), np.float32) for image_id in images}
    for _, image_id, place, annotation in reader.annotations():
        try:
            label = reader.label_of(annotation)
        except Flaw as flaw:
            reader.faults.append(flaw.at(reader.listed[image_id], place, before=f"{reader.name}: {place}: "))
        else:
            if image_id in targets:  # not of an image that was dropped
                targets[image_id][label] = 1
    records = [Record(key, file, targets[image_id]) for image_id, (key, file) in images.items()]
    notes = [*reader.notes, *reader.image_ids.notes, *reader.category_ids.notes]
    return finish(ref, records, reader.classes, reader.faults, on_error, keep_classes, notes)


SCHEMES.add("coco", Scheme("coco", open_coco, recognise, options=("json", "images", "as"), recognise_file=recognise_file))
