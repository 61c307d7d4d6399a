"""Outlines (segmentations) of COCO's objects, which make up most of an annotation file and are read only when masks are needed."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from faster_coco_eval.core import mask as coco_mask
from numpy.typing import NDArray
from torch import Tensor

from zoo.data.dataset import Dataset
from zoo.errors import DataError, InputError
from zoo.images.headers import MAX_PIXELS
from zoo.system.memory import no_collector
from zoo.tasks.detection.data.numbers import NumberedDataset

_NONE = "copy_paste needs the objects' masks"
_REMEDY = "Use coco: data with a segmentation, or set copy_paste to 0"


@dataclass(frozen=True)
class Outlines:
    """Outlines of a dataset's objects, stored as in the annotation file and rasterised one image at a time."""

    file: Path  # annotation file, for messages
    parts: Mapping[int, Sequence[NDArray[np.float64]] | Mapping[str, Any]]  # polygons (x, y, x, y, …) or run lengths by annotation id

    @classmethod
    def of(cls, dataset: Dataset) -> Outlines:
        """Read the outlines of a dataset's objects.

        Raises:
            InputError: the dataset's format has no outlines, or no object of the dataset has one.
            DataError: an outline is invalid.
        """
        file = dataset.annotations if isinstance(dataset, NumberedDataset) else None
        if file is None:
            raise InputError(f"{_NONE}; dataset {dataset.name!r} has only boxes. {_REMEDY}")
        wanted = {int(identity) for record in dataset.records for identity in (record.target or {}).get("ids", ())}
        with no_collector():
            annotations = json.loads(file.read_text(encoding="utf-8-sig"), object_hook=_essence)["annotations"]
        parts = {}
        for number, entry in enumerate(annotations):
            identity, outline = entry.get("id", number), entry.get("segmentation")
            if identity in wanted and outline:
                parts[identity] = _checked(outline, f"{file}: annotation {identity}")
        if not parts:
            raise InputError(f"{_NONE}; no box of dataset {dataset.name!r} has a segmentation in {file.name}. {_REMEDY}")
        return cls(file, parts)

    def masks(self, target: Mapping[str, Any], size_hw: tuple[int, int]) -> Tensor:
        """Return the masks of one image's objects, [N, H, W] bool. The mask of an object without an outline is empty."""
        masks = np.zeros((len(target["boxes"]), *size_hw), np.bool_)
        for mask, identity in zip(masks, target.get("ids", ()), strict=False):
            outline = self.parts.get(int(identity))
            if outline is not None:
                mask[:] = _drawn(outline, size_hw)
        return torch.from_numpy(masks)


def _essence(entry: dict[str, Any]) -> dict[str, Any]:
    """Reduce an annotation to its id and outline. Other JSON objects, such as run lengths, are returned unchanged."""
    return {name: entry[name] for name in ("id", "segmentation") if name in entry} if "bbox" in entry else entry


def _checked(outline: Any, where: str) -> Any:
    """Validate an outline and convert its polygons to arrays.

    Raises:
        DataError: the outline is neither a list of polygons with at least three points nor run lengths.
    """
    try:
        if isinstance(outline, dict):
            height, width = outline["size"]
            if 0 < height * width <= MAX_PIXELS:
                _decoded(outline)
                return outline
        else:
            polygons = [np.asarray(polygon, np.float64) for polygon in outline]
            # at least three points, each as x, y
            if polygons and all(
                polygon.ndim == 1 and len(polygon) >= 6 and len(polygon) % 2 == 0 and np.isfinite(polygon).all() for polygon in polygons
            ):
                return polygons
    except (KeyError, TypeError, ValueError, RuntimeError):  # the decoder raises the last two
        pass
    raise DataError(
        f"{where}: the segmentation is {str(outline)[:60]}; expected polygons [[x, y, x, y, x, y, …], …] or run lengths "
        '{"counts": …, "size": [height, width]}. Fix it, or set copy_paste to 0'
    )


def _decoded(runs: Mapping[str, Any]) -> NDArray[np.uint8]:
    """Return the mask [H, W] that run lengths encode."""
    compressed = runs if isinstance(runs["counts"], str) else coco_mask.frPyObjects(dict(runs), *runs["size"])
    mask: NDArray[np.uint8] = coco_mask.decode(compressed)
    return mask


def _drawn(outline: Any, size_hw: tuple[int, int]) -> NDArray[Any]:
    """Return the mask [H, W] of one object.

    Run lengths for a different image size give an empty mask, because they belong to another image.
    """
    if isinstance(outline, Mapping):
        mask = _decoded(outline)
        return mask if mask.shape == size_hw else np.zeros(size_hw, np.bool_)
    polygons: NDArray[np.uint8] = coco_mask.decode(
        coco_mask.merge(coco_mask.frPyObjects([polygon.tolist() for polygon in outline], *size_hw))
    )
    return polygons
