"""Quantisation after training, by NNCF: the same for every engine whose graphs it takes."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from zoo.engines import Judge, Runner, Tensors
from zoo.errors import InputError
from zoo.quieting import errors_alone

_LOUD = ("nncf", "torch.utils.cpp_extension")


def quantise(
    graph: Any,
    samples: Sequence[Tensors],
    as_input: Callable[[Tensors], Any],
    judge: Judge | None,
    as_runner: Callable[[Any], Runner],
    spared: Sequence[str] = (),
) -> Any:
    """Return a graph with weights and activations of 8 bits, activations asymmetrically.

    Args:
        graph: of OpenVINO or ONNX.
        samples: inputs that it is calibrated on.
        as_input: brings one into the form that the graph's engine takes.
        judge: layers are left as they were until it is content; None to quantise all.
        as_runner: brings what NNCF runs a graph by into the form that the judge takes.
        spared: names of operations that are left as they are.

    Raises:
        InputError: NNCF isn't installed, or no set of layers makes the judge content.
    """
    with errors_alone(*_LOUD), contextlib.redirect_stdout(sys.stderr):  # whose progress bars would be on standard output
        try:
            import nncf
        except ImportError as error:
            raise InputError("int8 needs the package nncf, which is not installed: pip install 'resnet-zoo[openvino]'") from error
        calibration = nncf.Dataset([as_input(inputs) for inputs in samples])
        settings = {"preset": nncf.QuantizationPreset.MIXED, "subset_size": len(samples), "ignored_scope": nncf.IgnoredScope(list(spared))}
        if judge is None:
            return nncf.quantize(graph, calibration, **settings)

        def judged(compiled: Any, numbers: Iterable[int]) -> float:
            return judge.score(as_runner(compiled), list(numbers))

        validation = nncf.Dataset(list(range(judge.pictures)))
        return nncf.quantize_with_accuracy_control(graph, calibration, validation, judged, max_drop=judge.drop, **settings)
