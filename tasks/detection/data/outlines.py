"""Outlines (segmentations) of objects in COCO's annotation files: enclosing boxes, and masks for copy-paste."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from faster_coco_eval.core import mask as coco_mask
from numpy.typing import NDArray
from torch import Tensor

from zoo.data.dataset import Dataset
from zoo.errors import DataError, Flaw, InputError
from zoo.images import decoding
from zoo.images.headers import MAX_PIXELS
from zoo.system.memory import no_collector
from zoo.tasks.detection.data.coco import NumberedDataset

_NONE = "copy_paste needs the objects' masks"
_REMEDY = "Use coco: data with a segmentation, or set copy_paste to 0"


@dataclass(frozen=True)
class Outlines:
    """Outlines (segmentations) of a dataset's objects, stored as in the annotation file and rasterised one image at a time."""

    parts: Mapping[int, Sequence[NDArray[np.float64]] | Mapping[str, Any]]  # polygons (x, y, x, y, …) or run lengths by annotation id
    turned: Mapping[int, int]  # EXIF orientation by annotation id of outlines that are to be turned upright

    @classmethod
    def of(cls, dataset: Dataset) -> Outlines:
        """Read the outlines of a dataset's objects.

        Raises:
            InputError: the dataset's format has no outlines, or no object of the dataset has one.
            DataError: an outline is invalid.
        """
        if not isinstance(dataset, NumberedDataset):
            raise InputError(f"{_NONE}; dataset {dataset.name!r} has only boxes. {_REMEDY}")
        file = dataset.annotations
        key = {int(identity): record.key for record in dataset.records for identity in (record.target or {}).get("ids", ())}
        with no_collector():
            annotations = json.loads(file.read_text(encoding="utf-8-sig"), object_hook=_essence)["annotations"]
        parts = {}
        for number, entry in enumerate(annotations):
            identity, outline = entry.get("id", number), entry.get("segmentation")
            if identity in key and outline:
                parts[identity] = _checked(outline, f"{file}: annotation {identity}")
        if not parts:
            raise InputError(f"{_NONE}; no box of dataset {dataset.name!r} has a segmentation in {file.name}. {_REMEDY}")
        return cls(parts, {identity: dataset.turned[key[identity]] for identity in parts if key[identity] in dataset.turned})

    def masks(self, target: Mapping[str, Any], size_hw: tuple[int, int]) -> Tensor:
        """Return the masks of one image's objects, [N, H, W] bool. The mask of an object without an outline is empty."""
        masks = np.zeros((len(target["boxes"]), *size_hw), np.bool_)
        for mask, identity in zip(masks, target.get("ids", ()), strict=False):
            outline = self.parts.get(int(identity))
            if outline is not None:
                orientation = self.turned.get(int(identity), 1)
                mask[:] = decoding.upright(_drawn(outline, size_hw if orientation < 5 else (size_hw[1], size_hw[0])), orientation)
        return torch.from_numpy(masks)


def _essence(entry: dict[str, Any]) -> dict[str, Any]:
    """Reduce an annotation to its id and outline. Other JSON objects, such as run lengths, are returned unchanged."""
    return {name: entry[name] for name in ("id", "segmentation") if name in entry} if "image_id" in entry else entry


def box_of(outline: Any) -> list[float]:
    """Return the enclosing box (x, y, width, height) of an outline; raise a `Flaw` if the outline is invalid or empty."""
    try:
        checked = _checked(outline, "bbox is missing")
    except DataError as error:
        raise Flaw(str(error).partition(". Fix it")[0]) from None
    if isinstance(checked, Mapping):
        return [float(side) for side in coco_mask.toBbox(_compressed(checked))]
    points = np.concatenate(checked).reshape(-1, 2)
    left, top = points.min(0)
    right, bottom = points.max(0)
    return [float(side) for side in (left, top, right - left, bottom - top)]


def _checked(outline: Any, where: str) -> Any:
    """Return an outline with its polygons as arrays; raise a `DataError` unless it has run lengths or polygons of at least three points."""
    try:
        if isinstance(outline, dict):
            height, width = outline["size"]
            if 0 < height * width <= MAX_PIXELS:
                _decoded(outline)
                return outline
        else:
            polygons = [np.asarray(polygon, np.float64) for polygon in outline]
            shaped = all(polygon.ndim == 1 and len(polygon) >= 6 and len(polygon) % 2 == 0 for polygon in polygons)
            if polygons and shaped and all(np.isfinite(polygon).all() for polygon in polygons):
                return polygons
    except (KeyError, TypeError, ValueError, RuntimeError):  # the decoder raises the last two
        pass
    raise DataError(
        f"{where}: the segmentation is {str(outline)[:60]}; expected polygons [[x, y, x, y, x, y, …], …] or run lengths "
        '{"counts": …, "size": [height, width]}. Fix it, or set copy_paste to 0'
    )


def _decoded(runs: Mapping[str, Any]) -> NDArray[np.uint8]:
    """Return the mask [H, W] that run lengths encode."""
    return coco_mask.decode(_compressed(runs))  # type: ignore[no-any-return]


def _compressed(runs: Mapping[str, Any]) -> Any:
    return runs if isinstance(runs["counts"], str) else coco_mask.frPyObjects(dict(runs), *runs["size"])


def _drawn(outline: Any, size_hw: tuple[int, int]) -> NDArray[Any]:
    """Return the mask [H, W] of one object. It is empty if run lengths are for a different image size, i.e. for another image."""
    if isinstance(outline, Mapping):
        mask = _decoded(outline)
        return mask if mask.shape == size_hw else np.zeros(size_hw, np.bool_)
    runs = coco_mask.frPyObjects([polygon.tolist() for polygon in outline], *size_hw)
    return coco_mask.decode(coco_mask.merge(runs))  # type: ignore[no-any-return]
