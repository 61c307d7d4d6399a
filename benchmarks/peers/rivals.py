"""The other libraries, used as in their examples.

timm's ResNet and torchvision's Faster R-CNN run in eager float32. timm's ResNet also runs with ONNX Runtime and OpenVINO, used directly as
in their tutorials. A typical torchvision script classifies a folder of images.
"""

from __future__ import annotations

import contextlib
import copy
import io
import sys
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader
from torchvision import transforms
from torchvision.datasets import ImageFolder
from torchvision.models.detection import fasterrcnn_resnet50_fpn
from torchvision.ops import box_iou

from zoo.benchmarks.peers.race import Difference, Work
from zoo.images.preprocess import Preprocess
from zoo.system.logs import errors_alone

_NORM_PICTURES = 32  # maximum number of images for the statistics of batch normalisation
_BRANCH = 0.25  # scale of each residual branch; with 1, a random network would amplify the rounding of int8 until its output is noise
_RIDGE = 0.1  # strength of the ridge regression, relative to the variance of the features
CLASSES = 90
_SAME = 0.8  # minimum IoU of equal boxes
# standard deviation of the class logits, and offset of the background: a few dozen boxes per photo exceed the threshold of 0.05
_SPREAD, _BACKGROUND = 0.5, 2.0
_WORKERS = 2

Boxes = Mapping[str, Tensor]


def random_network(name: str, pixels: Tensor) -> nn.Module:
    """Create a timm ResNet with random weights that predicts class k for image k of normalised pixels [B, 3, H, W].

    A newly initialised network predicts nearly the same for every image, so that errors in its computation could go unnoticed. Therefore,
    batch normalisation gets the statistics of the images, and the last layer is fitted to their features by ridge regression. An incorrect
    computation then changes the predicted class.
    """
    import timm

    torch.manual_seed(0)
    network: nn.Module = timm.create_model(name, pretrained=False, num_classes=1000, zero_init_last=False)
    settle_norms(network, pixels[:_NORM_PICTURES])
    with torch.no_grad():
        features: Tensor = network.forward_head(network.forward_features(pixels), pre_logits=True)  # type: ignore[operator]
        mean = features.mean(0)
        gram = (features - mean) @ (features - mean).T
        ridge = _RIDGE * gram.diagonal().mean() * torch.eye(len(gram))
        weight = torch.linalg.solve(gram + ridge, 10 * torch.eye(len(gram))) @ (features - mean)
        layer = network.get_submodule("fc")
        assert isinstance(layer, nn.Linear)
        layer.weight.zero_()[: len(gram)] = weight
        layer.bias.zero_()[: len(gram)] = -weight @ mean
    return network


def settle_norms(network: nn.Module, pixels: Tensor) -> None:
    """Set the batch normalisation of a new ResNet to the statistics of normalised pixels [B, 3, H, W]; switch to evaluation mode."""
    for module in network.modules():
        if hasattr(module, "downsample"):
            last = module.bn3 if hasattr(module, "bn3") else module.bn2
            nn.init.constant_(last.weight, _BRANCH)  # type: ignore[union-attr, arg-type]
        if isinstance(module, nn.BatchNorm2d):
            module.reset_running_stats()
            module.momentum = None  # use the statistics of the only batch, not a moving average
    network.train()
    with torch.no_grad():
        network(pixels)
    network.eval().requires_grad_(False)


def eager(network: nn.Module, pixels: Tensor) -> Work:
    """Return a function that runs the network in eager mode, in its current memory format."""
    return torch.inference_mode()(lambda: network(pixels))


def channels_last(network: nn.Module, pixels: Tensor) -> Work:
    """Return a function that runs a copy of the network in eager mode, in channels-last memory format."""
    moved = copy.deepcopy(network).to(memory_format=torch.channels_last)
    return eager(moved, pixels.contiguous(memory_format=torch.channels_last))


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
    """Return a function that runs a network with OpenVINO on normalised pixels, in int8 (NNCF's default) if `calibration` is given."""
    import openvino

    with torch.no_grad():
        model = openvino.convert_model(torch.export.export(network, (pixels,)))
    if calibration is not None:
        import nncf

        batch = len(pixels)
        batches = [calibration[first : first + batch].numpy() for first in range(0, len(calibration) - batch + 1, batch)]
        with errors_alone("nncf"), contextlib.redirect_stdout(sys.stderr):  # NNCF prints progress bars
            model = nncf.quantize(model, nncf.Dataset(batches))
    hint = {"fp32": "f32", "bf16": "bf16"}[precision]
    hints = {"PERFORMANCE_HINT": "LATENCY", "INFERENCE_PRECISION_HINT": hint, "INFERENCE_NUM_THREADS": threads}
    ready = openvino.Core().compile_model(model, "CPU", hints)
    array = pixels.numpy()
    return lambda: torch.from_numpy(ready(array)[0])


def random_detector(photo: Tensor) -> nn.Module:
    """Create a detector whose random weights are scaled so that it detects a few dozen boxes in a photo, [3, H, W] float32, 0–1."""
    torch.manual_seed(0)
    detector: Any = fasterrcnn_resnet50_fpn(weights=None, weights_backbone=None, num_classes=CLASSES + 1)
    batch, _ = detector.transform([photo])
    settle_norms(detector.backbone.body, batch.tensors)
    detector.eval().requires_grad_(False)
    pooled: list[Tensor] = []
    hook = detector.roi_heads.box_head.register_forward_hook(lambda module, inputs, rows: pooled.append(rows))
    with torch.no_grad():
        objectness = detector.rpn.head(list(detector.backbone(batch.tensors).values()))[0]
        detector.rpn.head.cls_logits.weight /= torch.cat([each.flatten() for each in objectness]).std()
        detector([photo])
        layer, rows = detector.roi_heads.box_predictor.cls_score, pooled[0]
        layer.weight *= _SPREAD / layer(rows).std(0).mean()
        layer.bias.copy_(-layer.weight @ rows.mean(0))
        layer.bias[0] += _BACKGROUND
    hook.remove()
    return detector  # type: ignore[no-any-return]


def detect(detector: nn.Module, photo: Tensor) -> Work:
    """Return a function that detects objects in a photo, [3, H, W] float32, 0–1. Class labels start at 0."""

    def work() -> Boxes:
        with torch.inference_mode():
            (found,) = detector([photo])
        return {**found, "labels": found["labels"] - 1}

    return work


def compare_boxes(theirs: Boxes, ours: Boxes) -> Difference:
    """Return the fraction of all boxes, of both libraries, for which the other library has an equal box."""
    counts = [len(theirs["boxes"]), len(ours["boxes"])]
    if 0 in counts:
        return Difference(None, 1.0 if counts == [0, 0] else 0.0)
    same = (box_iou(theirs["boxes"], ours["boxes"]) >= _SAME) & (theirs["labels"][:, None] == ours["labels"][None])
    return Difference(None, int(same.any(1).sum() + same.any(0).sum()) / sum(counts))


def classify_folder(network: nn.Module, root: Path, preprocess: Preprocess, batch: int) -> Work:
    """Return a function that classifies a folder of class folders with a typical script and the zoo's preprocessing."""
    resize = transforms.Resize(min(preprocess.resized_hw(1000, 1000)), transforms.InterpolationMode(preprocess.interpolation))
    normalize = transforms.Normalize(preprocess.mean, preprocess.std)
    transform = transforms.Compose([resize, transforms.CenterCrop(preprocess.size_hw), transforms.ToTensor(), normalize])

    def work() -> list[int]:
        loader = DataLoader(ImageFolder(str(root), transform), batch_size=batch, num_workers=_WORKERS)
        classes: list[int] = []
        with torch.inference_mode():
            for pixels, _ in loader:
                classes += network(pixels).argmax(1).tolist()
        return classes

    return work
