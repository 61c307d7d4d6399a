"""Parity of the selection of detections with torchvision, bit for bit."""

from __future__ import annotations

import pytest
import torch
from torchvision.models.detection.roi_heads import RoIHeads

from tests.unit.tasks.detection.test_head import small_model
from zoo.tasks.detection.model.postprocessing import select_detections

SIZES = [(300, 400), (500, 320), (64, 64)]


@pytest.mark.parametrize("threshold", [0.0, 0.05, 0.9])
@pytest.mark.parametrize("classes", [1, 3, 90])
@pytest.mark.parametrize("seed", range(3))
def test_detections_are_torchvisions(classes: int, threshold: float, seed: int) -> None:
    """With many ties between scores, boxes without an area, and images without proposals."""
    generator = torch.Generator().manual_seed(seed)
    heads = small_model().head.roi_heads
    assert isinstance(heads, RoIHeads)
    heads.score_thresh, heads.detections_per_img = threshold, 50
    counts = [300, 7, 0]
    corners = [torch.rand(count, 2, 2, generator=generator) * 300 for count in counts]
    proposals = [torch.cat([pair.amin(1), pair.amax(1)], 1) for pair in corners]
    proposals[1][0, 2:] = proposals[1][0, :2]
    logits = 4 * torch.randn(sum(counts), classes + 1, generator=generator).round()
    deltas = torch.randn(sum(counts), 4 * (classes + 1), generator=generator)
    wanted = heads.postprocess_detections(logits, deltas, [boxes.clone() for boxes in proposals], SIZES)
    found = select_detections(heads, logits, deltas, proposals, SIZES)
    scores, decoded = logits.softmax(1), heads.box_coder.decode(deltas, proposals)
    start = 0
    for (boxes, score, labels, rows), *theirs, size_hw, count in zip(found, *wanted, SIZES, counts, strict=True):
        for ours, other in zip((boxes, score, labels), theirs, strict=True):
            assert ours.dtype == other.dtype
            assert torch.equal(ours, other)
        assert bool(((rows >= start) & (rows < start + count)).all())
        assert torch.equal(scores[rows, labels], score)
        inside = torch.stack([decoded[rows, labels][:, side].clamp(0, size_hw[(side + 1) % 2]) for side in range(4)], 1)
        assert torch.equal(inside, boxes)
        start += count
    assert sum(len(boxes) for boxes, *_ in found) > 0
