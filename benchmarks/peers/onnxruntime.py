"""ONNX Runtime, used as in PyTorch's tutorial: export, create a session, run."""

from __future__ import annotations

import contextlib
import io
import warnings

import torch
from torch import Tensor, nn

from zoo.benchmarks.peers.race import Work


def session(network: nn.Module, pixels: Tensor, threads: int) -> Work:
    """Return a function that runs a network on a batch.

    Args:
        network: a network in evaluation mode.
        pixels: [B, 3, H, W], normalised.
        threads: number of threads of the session.
    """
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
