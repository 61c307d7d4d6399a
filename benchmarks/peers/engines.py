"""ONNX Runtime and OpenVINO used directly, as in their tutorials.

For ONNX Runtime, the network is exported and run in a session. For OpenVINO, it is converted with `convert_model`, quantised by NNCF's
`quantize` with default settings (for int8), compiled with `compile_model` and called.
"""

from __future__ import annotations

import contextlib
import io
import logging
import sys
import warnings
from typing import Any

import torch
from torch import Tensor, nn

from zoo.benchmarks.peers.race import Work


def onnxruntime_session(network: nn.Module, pixels: Tensor, threads: int) -> Work:
    """Return a function that runs a network with ONNX Runtime, in evaluation mode, on normalised pixels [B, 3, H, W]."""
    import onnxruntime

    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")
        program = torch.onnx.export(network, (pixels,), dynamo=True, input_names=["pixels"], verbose=False)
    assert program is not None
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.log_severity_level = threads, 3
    runtime = onnxruntime.InferenceSession(program.model_proto.SerializeToString(), options, providers=["CPUExecutionProvider"])
    feed = {"pixels": pixels.numpy()}
    return lambda: torch.from_numpy(runtime.run(None, feed)[0])


def openvino_compiled(network: nn.Module, pixels: Tensor, threads: int, precision: str, calibration: Tensor | None = None) -> Work:
    """Return a function that runs a network with OpenVINO, compiled for the exact shape of its input.

    Args:
        network: network in evaluation mode.
        pixels: input of the network, normalised, [B, 3, H, W].
        threads: number of threads.
        precision: precision hint, "fp32" or "bf16".
        calibration: images for int8 quantisation, normalised, [N, 3, H, W]; None for no quantisation.
    """
    import openvino

    with torch.no_grad():
        model = openvino.convert_model(torch.export.export(network, (pixels,)))
    if calibration is not None:
        model = _quantised(model, calibration, len(pixels))
    hints = {
        "PERFORMANCE_HINT": "LATENCY",
        "INFERENCE_PRECISION_HINT": {"fp32": "f32", "bf16": "bf16"}[precision],
        "INFERENCE_NUM_THREADS": threads,
    }
    ready = openvino.Core().compile_model(model, "CPU", hints)
    array = pixels.numpy()
    return lambda: torch.from_numpy(ready(array)[0])


def _quantised(model: Any, calibration: Tensor, batch: int) -> Any:
    import nncf

    logger = logging.getLogger("nncf")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with contextlib.redirect_stdout(sys.stderr):  # NNCF prints progress bars
            batches = [calibration[first : first + batch].numpy() for first in range(0, len(calibration) - batch + 1, batch)]
            return nncf.quantize(model, nncf.Dataset(batches))
    finally:
        logger.setLevel(level)
