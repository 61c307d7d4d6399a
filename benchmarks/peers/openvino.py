"""OpenVINO, used directly as in its tutorials: `convert_model`, NNCF's `quantize` with its defaults, `compile_model`, call."""

from __future__ import annotations

import contextlib
import logging
import sys
from typing import Any

import torch
from torch import Tensor, nn

from zoo.benchmarks.peers.race import Work


def compiled(network: nn.Module, pixels: Tensor, threads: int, precision: str, calibration: Tensor | None = None) -> Work:
    """Return a function that runs a network on a batch, compiled for its exact shape.

    Args:
        network: a network in evaluation mode.
        pixels: [B, 3, H, W], normalised.
        threads: number of threads.
        precision: precision hint, "fp32" or "bf16".
        calibration: images [N, 3, H, W] for int8 quantisation, normalised; None to not quantise.
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
