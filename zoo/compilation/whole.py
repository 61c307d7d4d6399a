"""One graph for a pass of a model: images of any size in, answers such as boxes out.

The graph consists of the steps before the networks (scaling and padding), the networks as an engine converted and quantised them, and the
steps of each head between and after its networks. Those steps are ONNX graphs, which other engines convert.

`frame` is a float tensor [4]: height and width of the images within the padded ones, and the factors from these pixels to those of the
images as given, for y and x.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from zoo.compilation.agreement import SAME, SAME_INT8, DisagreementError, check
from zoo.compilation.conversion import Conversion
from zoo.compilation.source import Source
from zoo.engines import GraphEngine, Runner
from zoo.images.preprocess import STEP, Preprocess
from zoo.models.compiled import Agreement, Compiled, SizeHW
from zoo.models.config import ModelConfig
from zoo.models.networks import PICTURES, further_networks
from zoo.models.whole import InputType, WholeModel
from zoo.system.onnx_graph import OnnxGraph, Part
from zoo.task.head import Head

INPUT = "pictures"


def whole_graph(conversion: Conversion, name: str, input_type: InputType = "float32", resize: bool = False) -> Any:
    """Return the graph of a pass, in the form of its engine.

    Args:
        conversion: the networks of the model.
        name: name of the pass's network, as in `first_networks`.
        input_type: type of the input `pictures`, [B, 3, H, W] RGB: "float32" in 0–1 or "uint8".
        resize: whether the graph scales (and crops) the images as the model's preprocessing does.
    """
    model, way, engine = conversion.model, conversion.passes[name], conversion.engine
    assert isinstance(engine, GraphEngine), "zoo.export chooses the engine by the format"
    prepared = prepare(way.preprocess, input_type, resize)
    parts = [Part(engine.from_onnx(prepared), [INPUT], ["pixels", "padded_hw", "frame"])]
    further = {(each.head, each.name): unique for unique, each in further_networks(model).items()}
    positions = {head: conversion.outputs(name).get(head) for head in way.heads}
    fixed = next((module.fixed_hw for module in model.heads.values() if isinstance(module, Head) and module.fixed_hw), None)
    first, outputs = conversion.converted(name, fixed), list[str]()
    tensors = [f"tensor{place}" for place in range(engine.count_outputs(first))]
    parts.append(Part(first, ["pixels"], [*tensors]))
    for head in way.heads:
        module = model.heads[head]
        assert isinstance(module, Head)
        label = f"{head}." if model.is_joint else ""
        places = positions[head]
        given = tensors if places is None else [tensors[place] for place in places]
        known = {
            "pixels": "pixels",
            "padded_hw": "padded_hw",
            "frame": "frame",
            **{f"tensor{place}": each for place, each in enumerate(given)},
        }
        steps = module.steps()
        if not steps:
            (answer,) = module.answer_names
            parts[1].outputs[tensors.index(given[0])] = known[answer] = f"{label}{answer}"
        for step in steps:
            graph = conversion.converted(further[head, step.network], None) if step.network else engine.from_onnx(step.graph)
            known |= {output: f"{label}{output}" for output in step.outputs}
            parts.append(Part(graph, [known[each] for each in step.inputs], [known[each] for each in step.outputs]))
        outputs += [known[each] for each in module.answer_names]
    return engine.join(parts, [INPUT], outputs)


@dataclass(frozen=True)
class Joined:
    """Graphs of all passes of a model, joined from its converted networks. It is the source of an export's graphs."""

    conversion: Conversion
    input_type: InputType
    resize: bool
    graphs: dict[str, Any] = field(default_factory=dict)  # joined graphs by the name of the pass, made at first use

    def made_for(self, name: str, size_hw: SizeHW) -> None:
        """Return None: a graph takes images of any size."""

    def outputs(self, name: str) -> Mapping[str, Sequence[int]]:
        """Return nothing: the model knows the outputs of its heads."""
        return {}

    def runner(self, name: str, size_hw: SizeHW | None) -> Runner:
        """Return the runner of a pass."""
        return self.conversion.engine.start(self._graph(name), self.conversion.precision, self.conversion.threads)

    def write(self, folder: Path) -> list[dict[str, Any]]:
        """Write the graphs, and return their entries for model.json."""
        written = []
        for name in self.conversion.passes:
            file = f"{name.replace(PICTURES, 'model')}{self.conversion.engine.suffix}"
            self.conversion.engine.write(self._graph(name), folder / file)
            written.append({"name": name, "file": file, "size_hw": None})
        return written

    def _graph(self, name: str) -> Any:
        if name not in self.graphs:
            self.graphs[name] = whole_graph(self.conversion, name, self.input_type, self.resize)
        return self.graphs[name]


def joined(source: Source, compiled: Compiled, input_type: InputType, resize: bool) -> WholeModel:
    """Return a model that was compiled from a source with joined graphs.

    Raises:
        InputError: the engine can't run one of the networks, so that it has no graph.
        DisagreementError: the answers differ from those of the compiled model, which agree with those of the original.
    """
    conversion = compiled.supply
    assert isinstance(conversion, Conversion)
    assert compiled.fingerprints is not None
    for error in conversion.refused.values():
        raise error
    config = given(compiled.config) if resize else compiled.config
    made = Joined(conversion, input_type, resize)
    whole = WholeModel(config, compiled.metadata, compiled.fingerprints, made, compiled.making, input_type)
    agreements: dict[str, Agreement] = compiled.making.agreement if compiled.is_joint else {compiled.config.task: compiled.making.agreement}
    for name, head in source.heads.items():
        one, other = compiled.view(name), whole.view(name)
        own = head.task.answers.for_model(one.classes, one.metadata)
        same = answers = 0.0
        for image in head.few():
            with torch.no_grad():
                (want,), (found,) = own.split(one([image])), own.split(other([image]))
            part, of = own.agreement(want, found)
            same, answers = same + part, answers + of
        least = SAME_INT8 if conversion.precision == "int8" else SAME
        if same < least * answers:
            raise DisagreementError(
                f"the graph for {name!r} answers {100 * same / answers:.2f} % of the predictions as the model's networks do (at least "
                f"{100 * least:g} %); export it without resize (--with-resize), or with another format"
            )
        if conversion.precision == "int8" and head.has_truth:
            check(replace(agreements[name], compiled=head.score(other)), compiled.making, head.task, name if compiled.is_joint else None)
    return whole


def given(config: ModelConfig) -> ModelConfig:
    """Return a configuration whose images are passed as they are."""
    heads = {name: replace(head, preprocess=replace(head.preprocess, policy="given")) for name, head in config.heads.items()}
    return replace(config, heads=heads)


def prepare(preprocess: Preprocess, input_type: InputType, resize: bool) -> Any:
    """Return the ONNX graph from images as given to the input of the first network, [B, 3, H, W] float in 0–1."""
    from onnx import TensorProto

    kind = TensorProto.UINT8 if input_type == "uint8" else TensorProto.FLOAT
    graph = OnnxGraph({INPUT: (kind, ["B", 3, "H", "W"])})
    given = [graph.size(INPUT, axis) for axis in (2, 3)]
    pixels = graph("Cast", INPUT, to=TensorProto.FLOAT) if input_type == "uint8" else INPUT
    sizes = given
    if resize:
        bytes_stay = input_type == "uint8" and not preprocess.pads
        pixels, sizes = _resized(graph, preprocess, pixels, given)
        pixels = graph("Clip", graph("Round", pixels), np.float32(0), np.float32(255)) if bytes_stay else pixels
    pixels = graph("Div", pixels, np.float32(255)) if input_type == "uint8" else pixels
    if resize and preprocess.policy == "crop":
        pixels, sizes = _cropped(graph, preprocess, pixels, sizes)
    padded = sizes
    if preprocess.pads:
        padded = [
            graph("Mul", graph("Div", graph("Add", size, np.array([STEP - 1])), np.array([STEP])), np.array([STEP])) for size in sizes
        ]
        mean = np.array(preprocess.mean, np.float32).reshape(1, 3, 1, 1)
        for axis in (3, 2):
            lines = graph("Sub", padded[axis - 2], sizes[axis - 2])
            other = graph.size(pixels, 5 - axis)
            shape = graph("Concat", graph.size(pixels, 0), np.array([3]), *((other, lines) if axis == 3 else (lines, other)), axis=0)
            pixels = graph("Concat", pixels, graph("Expand", mean, shape), axis=axis)
    inside = graph("Cast", graph("Concat", *sizes, axis=0), to=TensorProto.FLOAT)
    outside = graph("Cast", graph("Concat", *given, axis=0), to=TensorProto.FLOAT)
    frame = graph("Concat", inside, graph("Div", outside, inside), axis=0)
    outputs = {"pixels": (pixels, TensorProto.FLOAT, 4), "padded_hw": (graph("Concat", *padded, axis=0), TensorProto.INT64, 1)}
    return graph.model({**outputs, "frame": (frame, TensorProto.FLOAT, 1)})


def _resized(graph: OnnxGraph, preprocess: Preprocess, pixels: str, sizes: Sequence[str]) -> tuple[str, list[str]]:
    """Scale images as `Preprocess.resized_hw` says. Sizes are int64 tensors [1] for height and width."""
    wide = [graph("Cast", size, to=11) for size in sizes]  # float64, as in Python
    if preprocess.policy == "squash":
        target = [np.array([side]) for side in preprocess.size_hw]
        named: list[Any] = target
    else:
        short, long = graph("Min", *wide), graph("Max", *wide)
        if preprocess.policy == "fit":
            scale = graph(
                "Min", *(graph("Div", np.array([float(side)]), size) for side, size in zip(preprocess.size_hw, (short, long), strict=True))
            )
            exact = [graph("Mul", size, scale) for size in wide]
        else:
            side = np.array([float(preprocess.short_side)])
            exact = [graph("Div", graph("Mul", side, size), short) for size in wide]
        named = [graph("Cast", graph("Max", graph("Floor", each), np.array([1.0])), to=7) for each in exact]
    targets = [graph("Identity", each) for each in named]
    cubic = preprocess.interpolation == "bicubic"
    if preprocess.antialias:
        down, across = (_filter(graph, size, target, cubic) for size, target in zip(sizes, targets, strict=True))
        return graph("MatMul", down, graph("MatMul", pixels, graph("Transpose", across, perm=[1, 0]))), targets
    shape = graph("Concat", graph.size(pixels, 0), np.array([3]), *targets, axis=0)
    settings = {"mode": "cubic", "cubic_coeff_a": -0.75} if cubic else {"mode": "linear"}
    return graph("Resize", pixels, None, None, shape, coordinate_transformation_mode="half_pixel", **settings), targets


def _filter(graph: OnnxGraph, size: str, target: str, cubic: bool) -> str:
    """Return the weights of antialiased scaling along one axis, [target, size], as in PIL and torch.

    The operator Resize isn't used, because its antialiasing differs between runtimes.
    """
    from onnx import TensorProto

    one, zero = np.float32(1), np.float32(0)

    def centres(count: str) -> str:
        places = graph("Range", np.int64(0), graph("Squeeze", count), np.int64(1))
        return str(graph("Add", graph("Cast", places, to=TensorProto.FLOAT), np.float32(0.5)))

    scale = graph("Div", *(graph("Cast", each, to=TensorProto.FLOAT) for each in (size, target)))
    middle = graph("Unsqueeze", graph("Mul", centres(target), scale), np.array([1]))
    apart = graph("Abs", graph("Div", graph("Sub", centres(size), middle), graph("Max", scale, one)))
    if cubic:  # Keys 1981 with a = -0.5
        square = graph("Mul", apart, apart)
        near = graph("Add", graph("Mul", square, graph("Sub", graph("Mul", apart, np.float32(1.5)), np.float32(2.5))), one)
        far = graph("Mul", square, graph("Sub", np.float32(2.5), graph("Mul", apart, np.float32(0.5))))
        far = graph("Add", graph("Sub", far, graph("Mul", apart, np.float32(4))), np.float32(2))
        outer = graph("Where", graph("Less", apart, np.float32(2)), far, zero)
        weights = graph("Where", graph("Less", apart, one), near, outer)
    else:
        weights = graph("Max", graph("Sub", one, apart), zero)
    return str(graph("Div", weights, graph("ReduceSum", weights, np.array([1]))))


def _cropped(graph: OnnxGraph, preprocess: Preprocess, pixels: str, sizes: Sequence[str]) -> tuple[str, list[str]]:
    """Return the centre of images, as torchvision's `center_crop` chooses it; smaller images are padded with 0."""
    sides, size = np.array(preprocess.size_hw), graph("Concat", *sizes, axis=0)
    lacking = graph("Max", graph("Sub", sides, size), np.int64(0))
    before = graph("Div", lacking, np.int64(2))
    pads = graph("Concat", before, graph("Sub", lacking, before), axis=0)
    pixels = graph("Pad", pixels, pads, np.float32(0), np.array([2, 3]))
    spare = graph("Cast", graph("Sub", graph("Add", size, lacking), sides), to=11)
    start = graph("Cast", graph("Round", graph("Div", spare, np.array([2.0]))), to=7)
    cropped = graph("Slice", pixels, start, graph("Add", start, sides), np.array([2, 3]))
    return cropped, [graph("Identity", np.array([side])) for side in preprocess.size_hw]
