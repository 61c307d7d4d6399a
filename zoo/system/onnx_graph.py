"""Small ONNX graphs written operation by operation, and the joining of several ONNX graphs into one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

OPSET = 20  # version of the operators, that of torch.onnx
_IR = 10


@dataclass
class OnnxGraph:
    """An ONNX graph under construction. Values are names; arrays and numbers become constants.

    Attributes:
        inputs: names of the inputs with their element type and shape; a text in a shape is a size that is known at run time only.
    """

    inputs: dict[str, tuple[Any, Sequence[int | str | None]]]
    _nodes: list[Any] = field(default_factory=list)
    _constants: list[Any] = field(default_factory=list)

    def __call__(self, operator: str, *operands: str | ArrayLike | None, outputs: int = 1, **attributes: Any) -> Any:
        """Add an operation, and return the name of its output, or a list of names if it has several. None skips an optional operand."""
        from onnx import helper

        place = len(self._nodes)
        names = [f"{operator}{place}" if outputs == 1 else f"{operator}{place}.{number}" for number in range(outputs)]
        self._nodes.append(helper.make_node(operator, [self._named(each) for each in operands], names, **attributes))
        return names[0] if outputs == 1 else names

    def _named(self, operand: str | ArrayLike | None) -> str:
        from onnx import numpy_helper

        if operand is None or isinstance(operand, str):
            return operand or ""
        self._constants.append(numpy_helper.from_array(np.asarray(operand), f"constant{len(self._constants)}"))
        return str(self._constants[-1].name)

    def size(self, value: str, axis: int) -> str:
        """Return the size of a value along an axis, an int64 tensor of shape [1]."""
        return str(self("Shape", value, start=axis, end=axis + 1 or None))

    def model(self, outputs: Mapping[str, tuple[str, Any, int]]) -> Any:
        """Return the finished graph. `outputs` maps the name of each output to its value, its element type and its number of dimensions."""
        from onnx import helper

        nodes = [*self._nodes, *(helper.make_node("Identity", [value], [name]) for name, (value, _, _) in outputs.items())]
        given = [helper.make_tensor_value_info(name, kind, shape) for name, (kind, shape) in self.inputs.items()]
        made = [helper.make_tensor_value_info(name, kind, [None] * rank) for name, (_, kind, rank) in outputs.items()]
        graph = helper.make_graph(nodes, "glue", given, made, self._constants)
        return helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=_IR)


@dataclass(frozen=True)
class Part:
    """A graph, and the names that its inputs and outputs have in the joined graph, in order."""

    graph: Any
    inputs: list[str]
    outputs: list[str]


def join(parts: Sequence[Part], inputs: Sequence[str], outputs: Sequence[str]) -> Any:
    """Join ONNX graphs, in order, into one with some of their inputs and outputs."""
    import onnx
    from onnx import compose, helper

    nodes, constants, ports = [], [], dict[str, Any]()
    for number, part in enumerate(parts):
        model = compose.add_prefix(part.graph, f"{number}/")
        known = {port.name: name for port, name in zip(model.graph.input, part.inputs, strict=True)}
        known |= {port.name: name for port, name in zip(model.graph.output, part.outputs, strict=True)}
        for node in model.graph.node:
            for names in (node.input, node.output):
                names[:] = [known.get(name, name) for name in names]
        for port in (*model.graph.input, *model.graph.output):
            port.name = known[port.name]
            ports.setdefault(port.name, port)
        nodes += model.graph.node
        constants += model.graph.initializer
    graph = helper.make_graph(nodes, "model", [ports[name] for name in inputs], [ports[name] for name in outputs], constants)
    functions = {(each.domain, each.name): each for part in parts for each in part.graph.functions}
    versions = {each.domain: each.version for part in parts for each in part.graph.opset_import}
    made = helper.make_model(
        graph, opset_imports=[helper.make_opsetid(*each) for each in versions.items()], functions=[*functions.values()], ir_version=_IR
    )
    onnx.checker.check_model(made)
    return made
