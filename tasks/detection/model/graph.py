"""The steps of Faster R-CNN between and after its networks as ONNX graphs, for exports that answer with boxes.

They compute what `ProposalNetwork.propose`, `PyramidRoIAlign` and `select_detections` compute, for all images of a batch together. All
images of a batch have the same size.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from torchvision.models.detection.roi_heads import RoIHeads

from zoo.system.onnx_graph import OnnxGraph
from zoo.tasks.detection.model.postprocessing import LEAST_SIDE
from zoo.tasks.detection.model.proposals import ProposalNetwork

_ABSENT = np.float32(-1)  # score of boxes that were suppressed; all others have one from 0 to 1
_ALL = -0.5  # threshold that every score passes, but not `_ABSENT`


def propose(rpn: ProposalNetwork, heads: RoIHeads) -> Any:
    """Return the graph from the outputs of the first network to the pooled features of the proposals.

    Inputs are the feature maps, objectness logits and deltas of all levels, `padded_hw` (int64 [2], height and width of the padded images)
    and `frame` (float [4], see `zoo.compilation.whole`). Outputs are the features of R proposals of all images together, [R, C, 7, 7]; for
    each of them the positions of its image and of the proposal, `rows` int64 [R, 2], and the proposal itself, `around` [R, 4] xyxy; and
    all proposals, [B, P, 4] xyxy.
    """
    from onnx import TensorProto

    rpn.anchor_generator.set_cell_anchors(rpn.head.cls_logits.weight.dtype, rpn.head.cls_logits.weight.device)
    anchors = [each.cpu().numpy() for each in rpn.anchor_generator.cell_anchors]
    kinds = ("map", "objectness", "deltas")
    inputs: dict[str, Any] = {
        f"{kind}{level}": (TensorProto.FLOAT, ["B", None, None, None]) for kind in kinds for level in range(len(anchors))
    }
    graph = OnnxGraph({**inputs, "padded_hw": (TensorProto.INT64, [2]), "frame": (TensorProto.FLOAT, [4])})
    boxes, scores = (
        graph("Concat", *each, axis=1) for each in zip(*(_best(graph, rpn, level, each) for level, each in enumerate(anchors)), strict=True)
    )
    count = graph("Min", graph.size(boxes, 1), np.array([rpn.post_nms_top_n()]))
    best, places = graph("TopK", scores, count, outputs=2, axis=1)
    proposals = _rows(graph, boxes, places)
    rows = graph("Transpose", graph("NonZero", graph("Greater", best, np.float32(_ALL))), perm=[1, 0])
    pooled, rows, around = _pool(graph, heads.box_roi_pool, proposals, rows)
    outputs = {
        "pooled": (pooled, TensorProto.FLOAT, 4),
        "rows": (rows, TensorProto.INT64, 2),
        "around": (around, TensorProto.FLOAT, 2),
        "proposals": (proposals, TensorProto.FLOAT, 3),
    }
    return graph.model(outputs)


def _best(graph: OnnxGraph, rpn: ProposalNetwork, level: int, anchors: Any) -> tuple[str, str]:
    """Return the K boxes of one level with the highest objectness, [B, K, 4], and their scores, [B, K]; suppressed ones are absent."""
    logits, deltas, shapes = f"objectness{level}", f"deltas{level}", len(anchors)
    flat = graph("Reshape", graph("Transpose", logits, perm=[0, 2, 3, 1]), np.array([0, -1]))
    best, places = graph("TopK", flat, graph("Min", graph.size(flat, 1), np.array([rpn.pre_nms_top_n()])), outputs=2, axis=1)
    sizes = [graph.size(logits, axis) for axis in (2, 3)]
    split = graph("Concat", np.array([0, shapes, 4]), *sizes, axis=0)
    moves = graph("Transpose", graph("Reshape", deltas, split), perm=[0, 3, 4, 1, 2])
    moves = _rows(graph, graph("Reshape", moves, np.array([0, -1, 4])), places)
    cells = graph("Div", places, np.int64(shapes))
    steps = [graph("Div", graph("Gather", "padded_hw", np.array([axis])), size) for axis, size in enumerate(sizes)]
    x = graph("Mul", graph("Mod", cells, sizes[1]), steps[1])
    y = graph("Mul", graph("Div", cells, sizes[1]), steps[0])
    corner = graph("Concat", *(graph("Unsqueeze", each, np.array([2])) for each in (x, y, x, y)), axis=2)
    around = graph("Add", graph("Cast", corner, to=1), graph("Gather", anchors, graph("Mod", places, np.int64(shapes))))
    boxes = _clipped(graph, _decoded(graph, rpn.box_coder, moves, around))
    scores = graph("Where", _large(graph, boxes, rpn.min_size), graph("Sigmoid", best), _ABSENT)
    return boxes, _suppressed(graph, boxes, graph("Unsqueeze", scores, np.array([1])), rpn.nms_thresh, _ALL)


def _pool(graph: OnnxGraph, pool: Any, proposals: str, rows: str) -> tuple[str, str, str]:
    """Pool the features of proposals [R, 2], given by image and position. Return them by level, and `rows` and boxes in the same order."""
    scales = [2.0 ** round(math.log2(each)) for each in pool.scales]
    mapper = pool.map_levels
    boxes = graph("GatherND", proposals, rows)
    left, top, right, bottom = (graph("Gather", boxes, np.int64(side), axis=1) for side in range(4))
    side = graph("Sqrt", graph("Mul", graph("Sub", right, left), graph("Sub", bottom, top)))
    octave = graph("Div", graph("Log", graph("Div", side, np.float32(mapper.s0))), np.float32(math.log(2)))
    found = graph("Floor", graph("Add", octave, np.float32(mapper.lvl0 + mapper.eps)))
    found = graph("Sub", graph("Clip", found, np.float32(mapper.k_min), np.float32(mapper.k_max)), np.float32(mapper.k_min))
    images = graph("Gather", rows, np.int64(0), axis=1)
    pooled, order, around = [], [], []
    for level, scale in enumerate(scales):
        some = graph("Reshape", graph("NonZero", graph("Equal", found, np.float32(level))), np.array([-1]))
        settings = {"mode": "avg", "sampling_ratio": pool.sampling_ratio, "spatial_scale": scale}
        settings |= {"output_height": pool.output_size[0], "output_width": pool.output_size[1]}
        of = [graph("Gather", each, some) for each in (boxes, images)]
        pooled.append(graph("RoiAlign", f"map{level}", *of, coordinate_transformation_mode="output_half_pixel", **settings))
        order.append(some)
        around.append(of[0])  # passed on, because OpenVINO rounds what only the pooling uses to bf16
    return graph("Concat", *pooled, axis=0), graph("Gather", rows, graph("Concat", *order, axis=0)), graph("Concat", *around, axis=0)


def select(heads: RoIHeads, attributes: Mapping[str, int]) -> Any:
    """Return the graph from the outputs of the second network to the detections.

    Inputs are the class logits [R, K + 1], deltas [R, 4 (K + 1)] and attribute logits of R proposals, and `rows`, `around`, `proposals` and
    `frame` as in `propose`. Outputs are `boxes` [B, N, 4] xyxy in pixels of the images as given, `scores` [B, N] in descending order,
    `labels` [B, N] from 0, `counts` [B] and the probabilities of each attribute's values, [B, N, values]. Images with fewer than N
    detections are padded with 0.
    """
    from onnx import TensorProto

    names = [f"attribute{place}" for place in range(len(attributes))]
    inputs: dict[str, Any] = {name: (TensorProto.FLOAT, ["R", None]) for name in ("logits", "deltas", *names)}
    inputs |= {"rows": (TensorProto.INT64, ["R", 2]), "around": (TensorProto.FLOAT, ["R", 4])}
    inputs |= {"proposals": (TensorProto.FLOAT, ["B", "P", 4]), "frame": (TensorProto.FLOAT, [4])}
    graph = OnnxGraph(inputs)
    scores = graph("Softmax", "logits", axis=1)
    moves = graph("Reshape", "deltas", np.array([0, -1, 4]))
    boxes = _clipped(graph, _decoded(graph, heads.box_coder, moves, graph("Unsqueeze", "around", np.array([1]))))
    scores, boxes = (graph("Slice", each, np.array([1]), np.array([2**31]), np.array([1])) for each in (scores, boxes))
    scores = graph("Where", _large(graph, boxes, LEAST_SIDE), scores, _ABSENT)
    images, most, classes = graph.size("proposals", 0), graph.size("proposals", 1), graph.size(scores, 1)

    def dense(values: str, absent: Any, *sizes: Any) -> str:
        """Place the rows [R, …] of all images into one tensor, [B, P, …]."""
        shape = graph("Concat", images, most, *sizes, axis=0)
        return str(graph("ScatterND", graph("Expand", absent, shape), "rows", values))

    scores, boxes = dense(scores, _ABSENT, classes), dense(boxes, np.float32(0), classes, np.array([4]))
    # a group for each image and class: [B, K, P] and [B, K, P, 4]
    apart = graph("Reshape", graph("Transpose", scores, perm=[0, 2, 1]), graph("Concat", np.array([-1, 1]), most, axis=0))
    around = graph("Reshape", graph("Transpose", boxes, perm=[0, 2, 1, 3]), graph("Concat", np.array([-1]), most, np.array([4]), axis=0))
    apart = _suppressed(graph, around, apart, heads.nms_thresh, heads.score_thresh)
    apart = graph("Transpose", graph("Reshape", apart, graph("Concat", images, classes, most, axis=0)), perm=[0, 2, 1])
    flat = graph("Reshape", apart, np.array([0, -1]))
    count = graph("Min", graph.size(flat, 1), np.array([heads.detections_per_img]))
    best, places = graph("TopK", flat, count, outputs=2, axis=1)
    there = graph("Greater", best, np.float32(_ALL))
    boxes = _rows(graph, graph("Reshape", boxes, np.array([0, -1, 4])), places)
    back = graph("Gather", "frame", np.array([3, 2, 3, 2]))
    zero, wide = np.float32(0), graph("Unsqueeze", there, np.array([2]))
    outputs = {
        "boxes": (graph("Where", wide, graph("Mul", boxes, back), zero), TensorProto.FLOAT, 3),
        "scores": (graph("Where", there, best, zero), TensorProto.FLOAT, 2),
        "labels": (graph("Where", there, graph("Mod", places, classes), np.int64(0)), TensorProto.INT64, 2),
        "counts": (graph("ReduceSum", graph("Cast", there, to=TensorProto.INT64), np.array([1]), keepdims=0), TensorProto.INT64, 1),
    }
    proposal = graph("Div", places, classes)
    for (name, size), given in zip(attributes.items(), names, strict=True):
        values = _rows(graph, dense(graph("Softmax", given, axis=1), zero, np.array([size])), proposal)
        outputs[f"attribute_{name}"] = (graph("Where", wide, values, zero), TensorProto.FLOAT, 3)
    return graph.model(outputs)


def _rows(graph: OnnxGraph, values: str, places: str) -> str:
    """Return the rows of [B, N, …] at places [B, K]."""
    return str(graph("GatherND", values, graph("Unsqueeze", places, np.array([2])), batch_dims=1))


def _decoded(graph: OnnxGraph, coder: Any, moves: str, around: str) -> str:
    """Return boxes from deltas and the boxes that these refer to, as `BoxCoder.decode_single` does; […, 4] each."""
    left, top, right, bottom = graph("Split", around, outputs=4, axis=-1, num_outputs=4)
    move = graph("Split", graph("Div", moves, np.array(coder.weights, np.float32)), outputs=4, axis=-1, num_outputs=4)
    half = np.float32(0.5)
    low, high = [], []
    for place, (start, end) in enumerate(((left, right), (top, bottom))):
        side = graph("Sub", end, start)
        centre = graph("Add", graph("Mul", move[place], side), graph("Add", start, graph("Mul", half, side)))
        growth = graph("Exp", graph("Min", move[place + 2], np.float32(coder.bbox_xform_clip)))
        reach = graph("Mul", half, graph("Mul", growth, side))
        low.append(graph("Sub", centre, reach))
        high.append(graph("Add", centre, reach))
    return str(graph("Concat", *low, *high, axis=-1))


def _clipped(graph: OnnxGraph, boxes: str) -> str:
    """Clip boxes to the image, whose height and width are the first two numbers of `frame`."""
    return str(graph("Max", graph("Min", boxes, graph("Gather", "frame", np.array([1, 0, 1, 0]))), np.float32(0)))


def _large(graph: OnnxGraph, boxes: str, least: float) -> str:
    """Return whether both sides of boxes [.., 4] are at least `least` pixels long."""
    corners = graph("Split", boxes, outputs=2, axis=-1, num_outputs=2)
    short = graph("ReduceMin", graph("Sub", corners[1], corners[0]), np.array([-1]), keepdims=0)
    return str(graph("GreaterOrEqual", short, np.float32(least)))


def _suppressed(graph: OnnxGraph, boxes: str, scores: str, iou: float, threshold: float) -> str:
    """Make the scores of boxes that overlap a better one of their group, or have a score of at most `threshold`, absent.

    Boxes are [G, N, 4] and scores [G, 1, N]; the result is [G, N].
    """
    chosen = graph("NonMaxSuppression", boxes, scores, graph.size(boxes, 1), np.array([iou], np.float32), np.array([threshold], np.float32))
    places = graph("Gather", chosen, np.array([0, 2]), axis=1)
    flat = graph("Squeeze", scores, np.array([1]))
    return str(graph("ScatterND", graph("Expand", _ABSENT, graph("Shape", flat)), places, graph("GatherND", flat, places)))
