"""Pooling of padded images as an ONNX graph, for exports with one graph."""

from __future__ import annotations

from typing import Any

import numpy as np

from zoo.system.onnx_graph import OnnxGraph


def pooling_graph() -> Any:
    """Return the graph from `tensor0`, the deepest level [B, C, H, W], `padded_hw` and `frame` to its mean inside the images, [B, C].

    It computes what `PooledHead.pool` computes for images of one size.
    """
    from onnx import TensorProto

    deepest, sizes = "deepest", []
    graph = OnnxGraph(
        {
            deepest: (TensorProto.FLOAT, ["B", None, None, None]),
            "padded_hw": (TensorProto.INT64, [2]),
            "frame": (TensorProto.FLOAT, [4]),
        }
    )
    for axis in (0, 1):
        inside = graph("Cast", graph("Gather", "frame", np.array([axis])), to=TensorProto.INT64)
        whole = graph("Gather", "padded_hw", np.array([axis]))
        cells = graph("Mul", inside, graph.size(deepest, axis + 2))
        sizes.append(graph("Div", graph("Sub", graph("Add", cells, whole), np.array([1])), whole))  # rounded up
    used = graph("Slice", deepest, np.array([0, 0]), graph("Concat", *sizes, axis=0), np.array([2, 3]))
    return graph.model({"pooled": (graph("ReduceMean", used, np.array([2, 3]), keepdims=0), TensorProto.FLOAT, 2)})
