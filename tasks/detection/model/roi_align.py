"""RoI align for CPUs: torchvision's CPU kernel is single-threaded and recomputes every interpolation weight.

Measured on one thread of an EPYC with AVX2, with 1,024 proposals and a map of 256 channels at stride 4 of a 480 × 640 image: the forward
pass takes 0.09 s instead of 0.72 s, the backward pass 0.32 s instead of 1.50 s. If a C++ compiler is available, C++ kernels read the
feature maps in place and accumulate their gradients.
"""

from __future__ import annotations

import ctypes
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
import torchvision
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional as F
from torchvision.ops import MultiScaleRoIAlign

from zoo.kernels.library import address, is_watched, library, sizes, threads
from zoo.system.memory import reused


class PyramidRoIAlign(MultiScaleRoIAlign):  # type: ignore[misc]  # torchvision is untyped
    """torchvision's RoI pooling from a pyramid (He et al. 2017, arXiv 1703.06870, section 3), faster on CPUs.

    The feature maps are laid out as a table with one row per pixel, [pixels, C]. Each output cell is a weighted sum of 16 rows. This is an
    embedding bag with per-sample weights, for which torch has vectorised, multi-threaded forward and backward kernels. On other devices,
    and while a graph is exported, torchvision's operator is used.
    """

    def forward(self, x: Mapping[str, Tensor], boxes: list[Tensor], image_shapes: list[tuple[int, int]]) -> Tensor:
        """Return the pooled features of each box, [total boxes, C, 7, 7], given the feature maps by name; see `pool`."""
        levels = [x[name] for name in self.featmap_names]
        if levels[0].device.type != "cpu" or torch.compiler.is_compiling() or torchvision._is_tracing():
            return super().forward(x, boxes, image_shapes)  # type: ignore[no-any-return]  # torchvision is untyped
        assert self.scales is not None
        assert self.map_levels is not None
        return pool(levels, boxes, self.scales, self.map_levels(boxes), self.output_size[0], self.sampling_ratio)


def pool(levels: Sequence[Tensor], boxes: Sequence[Tensor], scales: Sequence[float], level_of: Tensor, cells: int, ratio: int) -> Tensor:
    """Return the mean of the bilinear samples in each output cell of each box, [total boxes, C, cells, cells].

    Args:
        levels: feature map of each level, [B, C, H, W], all of the same dtype.
        boxes: boxes of each image, [N, 4] xyxy in pixels of the preprocessed image.
        scales: scale of each level relative to the image, 1 / stride.
        level_of: index of the level from which each box is pooled, [total boxes] int64.
        cells: number of output cells along each axis.
        ratio: number of samples per output cell along each axis.
    """
    maps = torch.tensor([level.shape[2:] for level in levels])[level_of]  # [N, 2]: height and width of each box's map
    picture = torch.repeat_interleave(torch.arange(len(boxes)), torch.tensor([len(each) for each in boxes]))
    left, top, right, bottom = (torch.cat(list(boxes)) * torch.tensor(scales)[level_of][:, None]).unbind(1)
    down, across = _samples(top, bottom, maps[:, 0], cells, ratio), _samples(left, right, maps[:, 1], cells, ratio)
    if library("roi_align") is not None and all(level.dtype == torch.float32 for level in levels) and not is_watched():
        pooled: Tensor = _Pooled.apply(level_of, picture, *down, *across, *levels)
        return pooled
    channels = levels[0].shape[1]
    table = _table([level.permute(0, 2, 3, 1).reshape(-1, channels) for level in levels])
    pixels = torch.tensor([0, *(level.shape[0] * level.shape[2] * level.shape[3] for level in levels[:-1])]).cumsum(0)
    first = pixels[level_of] + picture * maps.prod(1)  # table row of the first pixel of each box's map
    (rows, row_weights), (columns, column_weights) = down, across
    # [N, cell row, cell column, sample row, sample column]
    lines = first[:, None, None] + rows * maps[:, 1, None, None]
    place = lines[:, :, None, :, None] + columns[:, None, :, None]
    weight = row_weights[:, :, None, :, None] * column_weights[:, None, :, None]
    terms = (2 * ratio) ** 2
    bags = F.embedding_bag(place.reshape(-1, terms), table, mode="sum", per_sample_weights=weight.reshape(-1, terms).to(table.dtype))
    return bags.view(-1, cells, cells, channels).permute(0, 3, 1, 2)


class _Pooled(torch.autograd.Function):
    """RoI align computed by C++ kernels, with gradients for the feature maps but not for the boxes."""

    @staticmethod
    def forward(
        ctx: Any,
        level_of: Tensor,
        picture: Tensor,
        rows: Tensor,
        row_weights: Tensor,
        columns: Tensor,
        column_weights: Tensor,
        *levels: Tensor,
    ) -> Tensor:
        maps = [level.contiguous(memory_format=torch.channels_last) for level in levels]
        samples = [rows.contiguous(), row_weights.float().contiguous(), columns.contiguous(), column_weights.float().contiguous()]
        ctx.save_for_backward(level_of, picture, *samples)
        ctx.shapes = [level.shape for level in levels]
        (count, cells, terms), channels = rows.shape, maps[0].shape[1]
        answer = torch.from_numpy(reused("pooled", (count, cells, cells, channels), np.float32))
        _kernels().zoo_roi_align(*_given(maps, level_of, picture, samples), *sizes(count, cells, terms), address(answer), threads())
        return answer.permute(0, 3, 1, 2)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        level_of, picture, *samples = ctx.saved_tensors
        maps = [
            torch.zeros(count, high, wide, channels, dtype=torch.float32, device="cpu").permute(0, 3, 1, 2)
            for count, channels, high, wide in ctx.shapes
        ]
        gradient = gradient.float().contiguous(memory_format=torch.channels_last)
        given = address(gradient), *_given(maps, level_of, picture, samples), *sizes(*samples[0].shape)
        _kernels().zoo_roi_align_backward(*given, threads())
        return *[None] * 6, *maps


def _kernels() -> ctypes.CDLL:
    found = library("roi_align")
    assert found is not None
    return found


def _given(maps: Sequence[Tensor], level_of: Tensor, picture: Tensor, samples: Sequence[Tensor]) -> list[Any]:
    """Return the arguments of both kernels: address and width of each box's map, number of channels, positions and weights of samples."""
    bytes_each = torch.tensor([level[0].numel() * level.element_size() for level in maps])
    begins = torch.tensor([level.data_ptr() for level in maps])[level_of] + picture * bytes_each[level_of]
    widths = torch.tensor([level.shape[3] for level in maps])[level_of]
    return [address(begins), address(widths), *sizes(maps[0].shape[1]), *map(address, samples)]


def _table(parts: Sequence[Tensor]) -> Tensor:
    """Concatenate the pixels of all feature maps to a table [pixels, C]. It has 70 MB for a photo of 800×1066 pixels."""
    if parts[0].dtype != torch.float32 or (torch.is_grad_enabled() and any(part.requires_grad for part in parts)):
        return torch.cat(list(parts))
    table = torch.from_numpy(reused("table", (sum(len(part) for part in parts), parts[0].shape[1]), np.float32))
    return torch.cat([part.detach() for part in parts], out=table)


def _samples(low: Tensor, high: Tensor, extent: Tensor, cells: int, ratio: int) -> tuple[Tensor, Tensor]:
    """Return the map positions to read along one axis, [N, cells, 2 × ratio] int64, and their interpolation weights, of the same shape.

    Each sample is interpolated between two neighbouring map positions. The weights of an output cell sum to 1, or to less if the cell lies
    partly outside the map. The order of operations is that of torchvision's `roi_align_common.h`, so that rounding is identical.

    `low` and `high` are start and end of each box in map coordinates, [N], and `extent` is the size of its map along the axis, [N]. An
    output cell has `ratio` samples.
    """
    cell = ((high - low).clamp(min=1) / cells)[:, None, None]
    steps = torch.arange(ratio, dtype=low.dtype) + 0.5
    at = low[:, None, None] + torch.arange(cells, dtype=low.dtype)[:, None] * cell + steps * cell / ratio  # [N, cells, ratio]
    last = (extent - 1)[:, None, None]
    inside = (at >= -1) & (at <= last + 1)
    at = at.clamp(min=0)
    before = torch.minimum(at.long(), last).clamp(min=0)  # in bounds even for NaN boxes, whose result is NaN
    part = at - before
    # at or beyond the last position both neighbours are that position, so that the split of the weight doesn't matter
    positions = torch.stack((before, torch.minimum(before + 1, last)), 3).flatten(2)
    weights = (torch.stack((1 - part, part), 3) * inside[..., None] / ratio).flatten(2)
    return positions, weights
