"""Outlines of COCO's objects, read only when masks are needed: they make up most of a file, so opening a dataset skips them."""

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
    """Outlines of a dataset's boxes, stored as in the file and rasterised one image at a time."""

    file: Path  # instances file, for messages
    parts: Mapping[int, Sequence[NDArray[np.float64]] | Mapping[str, Any]]  # by annotation id: polygons (x, y, x, y, …) or run lengths

    @classmethod
    def of(cls, dataset: Dataset) -> Outlines:
        """Read the outlines of a dataset's boxes; an error if the format has none, or no box of the dataset."""
        file = dataset.annotations if isinstance(dataset, NumberedDataset) else None
        if file is None:
            raise InputError(f"{_NONE}; data {dataset.name!r} has only boxes. {_REMEDY}")
        wanted = {int(identity) for record in dataset.records for identity in (record.target or {}).get("ids", ())}
        with no_collector():
            annotations = json.loads(file.read_text(encoding="utf-8-sig"), object_hook=_essence)["annotations"]
        parts = {}
        for number, entry in enumerate(annotations):
            identity, outline = entry.get("id", number), entry.get("segmentation")
            if identity in wanted and outline:
                parts[identity] = _checked(outline, f"{file}: annotation {identity}")
        if not parts:
            raise InputError(f"{_NONE}; no box of data {dataset.name!r} has a segmentation in {file.name}. {_REMEDY}")
        return cls(file, parts)

    def masks(self, target: Mapping[str, Any], size_hw: tuple[int, int]) -> Tensor:
        """Return the masks of one image, [N, H, W] bool; empty for a box without an outline."""
        masks = np.zeros((len(target["boxes"]), *size_hw), np.bool_)
        for mask, identity in zip(masks, target.get("ids", ()), strict=False):
            outline = self.parts.get(int(identity))
            if outline is not None:
                mask[:] = _drawn(outline, size_hw)
        return torch.from_numpy(masks)


def _essence(entry: dict[str, Any]) -> dict[str, Any]:
    """Reduce an annotation to its id and outline; other objects, such as run lengths, are returned unchanged."""
    return {name: entry[name] for name in ("id", "segmentation") if name in entry} if "bbox" in entry else entry


def _checked(outline: Any, where: str) -> Any:
    """Return an outline with its numbers packed; a `DataError` if it is neither polygons of three points or more, nor run lengths."""
    try:
        if isinstance(outline, dict):
            height, width = outline["size"]
            if 0 < height * width <= MAX_PIXELS:
                _decoded(outline)
                return outline
        else:
            polygons = [np.asarray(polygon, np.float64) for polygon in outline]
            # x, y of three points or more
            if polygons and all(
                polygon.ndim == 1 and len(polygon) >= 6 and len(polygon) % 2 == 0 and np.isfinite(polygon).all() for polygon in polygons
            ):
                return polygons
    except (KeyError, TypeError, ValueError, RuntimeError):  # the last two come from the decoder
        pass
    raise DataError(
        f"{where}: the segmentation is {str(outline)[:60]}; expected polygons [[x, y, x, y, x, y, …], …] or run lengths "
        '{"counts": …, "size": [height, width]}. Fix it, or set copy_paste to 0'
    )


def _decoded(runs: Mapping[str, Any]) -> NDArray[np.uint8]:
    """Return the mask [H, W] of run lengths."""
    compressed = runs if isinstance(runs["counts"], str) else coco_mask.frPyObjects(dict(runs), *runs["size"])
    mask: NDArray[np.uint8] = coco_mask.decode(compressed)
    return mask


def _drawn(outline: Any, size_hw: tuple[int, int]) -> NDArray[Any]:
    """Return the mask [H, W] of one object; empty for run lengths of another image size, which belong to another image."""
    if isinstance(outline, Mapping):
        mask = _decoded(outline)
        return mask if mask.shape == size_hw else np.zeros(size_hw, np.bool_)
    polygons: NDArray[np.uint8] = coco_mask.decode(
        coco_mask.merge(coco_mask.frPyObjects([polygon.tolist() for polygon in outline], *size_hw))
    )
    return polygons
