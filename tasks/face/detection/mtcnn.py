"""MTCNN face detector (Zhang et al. 2016, arXiv 1604.02878): facenet-pytorch's three trained networks in a reimplemented cascade.

The boxes differ from those of facenet-pytorch's `MTCNN.detect` by at most a small fraction of a pixel, and the detection is several times
as fast on a CPU. The original spends most of its time on pooling the whole image for every scale, and on moving tens of megabytes of
activations through memory for each layer. This implementation pools with an integral image (`integral`), and the first network processes
the image in bands that fit into the cache. Two errors of the original can't occur: `torch.cat` of an empty list for an image without a face
(facenet-pytorch#176), and ragged arrays (#224). Images are processed one at a time, and every stage accepts zero candidates.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any

import cv2
import numpy as np
import torch
from torch import Tensor, nn
from torchvision.ops import nms

from zoo.errors import InputError
from zoo.images.decoding import Image
from zoo.tasks.face.detection.faces import Found, check_score
from zoo.tasks.face.detection.integral import AreaSums
from zoo.tasks.face.detection.networks import networks

_CELL, _STEP = 12, 2  # receptive field and stride of the first network, in pixels
_CANDIDATE_SCORES = (0.6, 0.7)  # minimum scores of a box after the first and the second network, as in facenet-pytorch
_FIRST_IOU, _IOU = 0.5, 0.7  # overlaps above which two boxes count as the same face: within a scale, and across scales
_BAND = 32_768  # number of outputs of the first network that each thread computes at once
_SMALL, _ENLARGE, _BORDER = 160, 3, 30  # images with a shorter side below 160 pixels are enlarged by 3 and padded by 30 pixels
# minimum, maximum and unit of the settings; halving min_size makes detection four times as slow
_RANGES = {"min_size": (5, 10_000, " pixels"), "factor": (0.1, 0.95, ""), "enlarge": (1, 16, " times"), "border": (0, 1000, " pixels")}


@dataclass(frozen=True)
class MTCNN:
    """MTCNN face detector with five landmarks.

    Attributes:
        min_size: size of the smallest faces to detect, in pixels of the original image.
        threshold: minimum score of a face in the last network. facenet-pytorch's 0.7 accepts two false detections on a sleeve in one of
            its own portraits (scores 0.85 and 0.80). The lowest score of a real face is 0.998 in those portraits and 0.987 in ORL.
        factor: ratio between successive scales of the image pyramid.
        enlarge: factor by which the image is enlarged (bicubic) before detection. By default, 3 if the shorter side of the image is below
            160 pixels, otherwise 1. The networks need some context around a face: without `enlarge` and `border`, a face that fills a
            small image is not detected.
        border: width in pixels of the edge padding that is added on each side after enlarging. By default, 30 if the shorter side of the
            original image is below 160 pixels, otherwise 0.
    """

    min_size: float = 20.0
    threshold: float = 0.9
    factor: float = 0.709
    enlarge: int | None = None
    border: int | None = None

    def __post_init__(self) -> None:
        check_score("mtcnn", self.threshold)
        for name, (least, most, unit) in _RANGES.items():
            value = getattr(self, name)
            if value is not None and not least <= value <= most:
                raise InputError(f"mtcnn: {name} is {value}; expected {least} to {most}{unit}")

    @property
    def settings(self) -> dict[str, Any]:
        """All settings that the results depend on, as a JSON-ready dict."""
        return {"detector": "mtcnn", **asdict(self)}

    def __call__(self, image: Image) -> Found:
        """Detect the faces of an RGB image [H, W, 3]; coordinates are in pixels of that image."""
        small = min(image.shape[:2]) < _SMALL
        enlarge = self.enlarge or (_ENLARGE if small else 1)
        border = self.border if self.border is not None else _BORDER if small else 0
        with torch.inference_mode():
            boxes, points = self._found(AreaSums.of(_prepared(image, enlarge, border)), self.min_size * enlarge)
        scores = boxes[:, 4]
        # enlarging by 3 moves a box edge from x to 3 x, but a landmark, which refers to a pixel centre, from x to 3 x + 1
        boxes, points = (boxes[:, :4] - border) / enlarge, (points - border + 0.5) / enlarge - 0.5
        return Found(boxes.numpy(), scores.numpy(), points.numpy())

    def _found(self, sums: AreaSums, min_size: float) -> tuple[Tensor, Tensor]:
        """Return boxes with scores [N, 5] and landmarks [N, 5, 2] in pixels of the prepared image, in descending order of score."""
        boxes = self._proposed(sums, min_size)
        boxes, moves, _ = _refined(sums, boxes, networks().second, 24, _CANDIDATE_SCORES[1])
        kept = nms(boxes[:, :4], boxes[:, 4], _IOU)
        boxes = _squared(_moved(boxes[kept], moves[kept], 1))
        boxes, moves, points = _refined(sums, boxes, networks().third, 48, self.threshold)
        sides = boxes[:, None, 2:4] - boxes[:, None, :2] + 1
        points = points.view(-1, 2, 5).transpose(1, 2) * sides + boxes[:, None, :2] - 1
        boxes = _moved(boxes, moves, 1)
        kept = _distinct(boxes)
        return boxes[kept], points[kept]

    def _proposed(self, sums: AreaSums, min_size: float) -> Tensor:
        """Return the candidates of the first network: square boxes with scores [N, 5]."""
        found = [torch.empty(0, 9)]
        # each scale resizes faces of one size to a cell, from the smallest face to the largest that fits into the image
        scale = _CELL / min_size
        side = min(sums.size_hw) * scale
        while side >= _CELL:
            size_hw = (int(sums.size_hw[0] * scale + 1), int(sums.size_hw[1] * scale + 1))
            boxes = _cells(sums, size_hw, scale, _CANDIDATE_SCORES[0])
            found.append(boxes[nms(boxes[:, :4], boxes[:, 4], _FIRST_IOU)])
            scale, side = scale * self.factor, side * self.factor
        boxes = torch.cat(found)
        boxes = boxes[nms(boxes[:, :4], boxes[:, 4], _IOU)]
        return _squared(_moved(boxes[:, :5], boxes[:, 5:], 0))


def _prepared(image: Image, enlarge: int, border: int) -> Image:
    """Enlarge and pad an image."""
    if enlarge > 1:
        image = np.asarray(cv2.resize(image, None, fx=enlarge, fy=enlarge, interpolation=cv2.INTER_CUBIC), np.uint8)
    if border:
        image = np.asarray(cv2.copyMakeBorder(image, border, border, border, border, cv2.BORDER_REPLICATE), np.uint8)
    return image


def _cells(sums: AreaSums, size_hw: tuple[int, int], scale: float, threshold: float) -> Tensor:
    """Return the cells that the first network classifies as a face at one scale, [N, 9]: box, score and box regression.

    The output is computed in bands of rows. Output row r depends on the 12 input rows from 2 r on. The pooling in the network treats a last
    odd row separately, so only the last band extends to the end of the image.
    """
    height, width = (math.ceil((side - 2) / 2) - 4 for side in size_hw)
    if min(height, width) < 1:
        return torch.empty(0, 9)
    rows = max(8, _BAND * torch.get_num_threads() // width)
    starts = range(0, height, rows)
    bands = [(first * _STEP, size_hw[0] if first + rows >= height else (first + rows) * _STEP + 10) for first in starts]
    limit, found = math.log(threshold / (1 - threshold)), []
    for first, band in zip(starts, sums.shrunk(size_hw, bands), strict=True):
        odds, features = networks().first(torch.from_numpy(band)[None])
        row, column = torch.nonzero(odds >= limit, as_tuple=True)
        place = torch.stack([column, row + first], 1).float() * _STEP
        corners = torch.cat([(place + 1) / scale, (place + _CELL) / scale], 1).floor()
        found.append(torch.cat([corners, odds[row, column].sigmoid()[:, None], networks().first.move(features[row, column])], 1))
    return torch.cat(found)


def _refined(sums: AreaSums, boxes: Tensor, network: nn.Module, side: int, threshold: float) -> tuple[Tensor, Tensor, Tensor]:
    """Classify candidate boxes [N, 5] with the second or the third network.

    Returns the boxes classified as faces with their new scores [M, 5], their box regression [M, 4], and their landmarks [M, 10], which are
    0 for the second network.
    """
    height, width = sums.size_hw
    whole = boxes[:, :4].trunc().long()
    whole[:, :2] = whole[:, :2].clamp(min=1) - 1
    whole[:, 2:] = torch.minimum(whole[:, 2:], torch.tensor([width, height]))
    inside = (whole[:, 2:] > whole[:, :2]).all(1)  # box regression may have moved boxes out of the image
    boxes, kept = boxes[inside], [(torch.empty(0, 5), torch.empty(0, 4), torch.empty(0, 10))]
    corners = whole[inside].numpy()
    for first in range(0, len(boxes), networks().at_once):
        several = boxes[first : first + networks().at_once]
        moves, *points, chances = network(torch.from_numpy(sums.crops(corners[first : first + len(several)], side)))
        scores = chances[:, 1]
        faces = scores > threshold
        marks = points[0] if points else torch.zeros(len(scores), 10)
        kept.append((torch.cat([several[faces, :4], scores[faces, None]], 1), moves[faces], marks[faces]))
    boxes, moves, marks = (torch.cat(parts) for parts in zip(*kept, strict=True))
    return boxes, moves, marks


def _moved(boxes: Tensor, moves: Tensor, more: int) -> Tensor:
    """Apply box regression `moves` [N, 4] to boxes xyxy with scores [N, 5].

    Each edge is shifted by a fraction of the box's width or height plus `more` pixels.
    """
    sides = boxes[:, 2:4] - boxes[:, :2] + more
    return torch.cat([boxes[:, :4] + moves * sides.repeat(1, 2), boxes[:, 4:]], 1)


def _squared(boxes: Tensor) -> Tensor:
    """Return the boxes [N, 5] extended to squares: same centres, and the longer side as the side of the square."""
    sides = boxes[:, 2:4] - boxes[:, :2]
    longer = sides.max(1, keepdim=True).values
    corner = boxes[:, :2] + sides * 0.5 - longer * 0.5
    return torch.cat([corner, corner + longer, boxes[:, 4:]], 1)


def _distinct(boxes: Tensor) -> Tensor:
    """Return the indices of the boxes [N, 5] that remain after non-maximum suppression, in descending order of score.

    The overlap of two boxes is their intersection divided by the smaller of their areas, so that a box inside or around a better one is
    removed. As in the original implementation, widths and heights are one pixel larger than the differences of the edges.
    """
    order = boxes[:, 4].argsort(descending=True, stable=True)
    corners = boxes[order, :4]
    low, high = torch.maximum(corners[:, None, :2], corners[None, :, :2]), torch.minimum(corners[:, None, 2:], corners[None, :, 2:])
    areas = (corners[:, 2:] - corners[:, :2] + 1).prod(1)
    shared = (high - low + 1).clamp(min=0).prod(2) / torch.minimum(areas[:, None], areas[None])
    kept: list[int] = []
    for place in range(len(order)):
        if not kept or bool((shared[place, kept] <= _IOU).all()):
            kept.append(place)
    return order[kept]
