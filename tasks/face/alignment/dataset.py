"""Align a dataset: find the main face of each image, align it and cache it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from zoo.data.dataset import Dataset
from zoo.errors import DataError, Fault, ImageError, InputError
from zoo.system.cache import LIMIT_BYTES, cache_folder, shrink
from zoo.task.alignment import Aligned, Aligning
from zoo.task.model import TaskModel
from zoo.tasks.face.alignment.aligner import Looking, looking
from zoo.tasks.face.alignment.cache import NO_FACE, FaceMaker, KeptFace

MAIN = "central"  # which face is taken as the subject of an image


def align_data(dataset: Dataset, models: Sequence[TaskModel], aligning: Aligning) -> Aligned:
    """Align a dataset for one or several models.

    Raises:
        InputError: the models need different alignments, or the detector doesn't suit them.
        ImageError: an image can't be read or its face can't be aligned, and `aligning.skip` is false.
        DataError: no face was found in any image.
    """
    ways = {(model.preprocess.alignment, model.preprocess.size_hw) for model in models}
    if len(ways) > 1:
        listed = " and ".join(sorted(f"{template or 'none'} at {height}×{width}" for template, (height, width) in ways))
        raise InputError(f"align: the models need different alignments ({listed}); evaluate them one at a time")
    aligned = AlignedData(looking(models[0], aligning.detector, MAIN), aligning).of(dataset)
    if not aligned.dataset.records:
        raise DataError(f"data {dataset.name!r}: no face was found in any of its {len(dataset)} images:", aligned.left_out)
    return aligned


@dataclass(frozen=True)
class AlignedData:
    """Aligns the images of a dataset.

    Attributes:
        looking: finder, template and crop size; of an image with several faces the main one is kept.
        aligning: settings of this run: decoding, skipping, progress and the share of this process.
    """

    looking: Looking
    aligning: Aligning

    def of(self, dataset: Dataset) -> Aligned:
        """Return the aligned dataset, with a fault for each image without a face and for each that can't be read.

        Raises:
            ImageError: an image can't be read or its face can't be aligned, and `aligning.skip` is false.
        """
        records, not_found, unreadable = {}, {}, {}
        count, asked = len(dataset), self.aligning
        maker = FaceMaker(self.looking, asked.decoding)
        first = asked.rank * count // asked.processes
        for step in asked.progress.track(range(count), "finding faces", count):
            place = (first + step) % count
            record = dataset.records[place]
            try:
                face = maker.of(record)
            except ImageError as error:
                if not asked.skip:
                    raise
                unreadable[place] = Fault(record.key, error.reason, whole=True, kind=error.kind)
                continue
            if face is None:
                not_found[place] = Fault(record.key, NO_FACE, whole=True, kind="no-face")
                continue
            records[place] = replace(record, source=face, size_hw=self.looking.size_hw)
            if isinstance(face, KeptFace):
                asked.kept.add(face.place)
        if asked.kept:
            shrink(cache_folder("aligned"), LIMIT_BYTES, keep=asked.kept)
        faults = tuple(not_found[place] for place in sorted(not_found))
        details = {**maker.settings, "found": len(records), "not_found": [fault.key for fault in faults]}
        kept = replace(dataset, records=tuple(records[place] for place in sorted(records)))
        return Aligned(kept, faults, tuple(unreadable[place] for place in sorted(unreadable)), details)
