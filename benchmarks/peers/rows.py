"""Rows of the table: tasks, compared libraries and targets."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

import zoo
from zoo.benchmarks.face_pipeline import PIXEL, Answer, Theirs, difference, ours
from zoo.benchmarks.peers import rivals
from zoo.benchmarks.peers.race import Contest, Difference, Rival, Tolerance, Work
from zoo.benchmarks.peers.shared import Precision, Setting, compiled, with_weights
from zoo.images import decoding
from zoo.images.preprocess import as_float

_BATCH = 16
_DIRECTLY = 1.0  # target ratio for OpenVINO used directly
# tolerances of logits; for comparison, 10 % more contrast causes an error of 0.2, and swapping red and blue 0.8 and different classes
_NUMBERS = {"fp32": Tolerance(1e-3, 1.0), "bf16": Tolerance(0.05, 1.0), "int8": Tolerance(0.2, 0.9)}
# tolerances of boxes; networks with random weights are so sensitive that a slightly brighter photo gives different boxes
_BOXES = {"fp32": Tolerance(0.0, 0.95), "bf16": Tolerance(0.0, 0.5), "int8": Tolerance(0.0, 0.2)}
_FACES = {"fp32": Tolerance(1e-3, 1.0), "bf16": Tolerance(0.1, 1.0)}
_LABELS = Tolerance(0.0, 0.95)  # the libraries decode and resize images differently


@dataclass(frozen=True)
class Row:
    """Definition of a row of the table."""

    key: str  # key of the row in `--rows`
    title: str  # title of the row in the table
    int8: bool  # whether the zoo uses int8; otherwise it uses bf16, or fp32 on processors without bf16
    prepare: Callable[[Setting, Precision], Contest]  # function that builds and compiles the models of all libraries

    def precision(self, setting: Setting) -> Precision:
        """Return the precision in which the zoo runs this row."""
        return "int8" if self.int8 else setting.half


def compare_logits(theirs: Tensor, ours: Tensor) -> Difference:
    """Return the relative error of the logits and the fraction of equal top-1 classes."""
    return Difference(float((theirs - ours).norm() / theirs.norm()), float((theirs.argmax(1) == ours.argmax(1)).float().mean()))


def compare_classes(theirs: list[int], ours: list[int]) -> Difference:
    """Return the fraction of images for which both libraries predict the same class."""
    return Difference(None, sum(a == b for a, b in zip(theirs, ours, strict=True)) / len(theirs))


def compare_faces(theirs: Sequence[Answer], ours: Sequence[Answer]) -> Difference:
    """Return the largest distance between embeddings, and the fraction of photos whose boxes differ by at most one pixel."""
    found = [difference(a, b) for a, b in zip(theirs, ours, strict=True)]
    errors = [embeddings for boxes, embeddings in found if boxes <= PIXEL]
    return Difference(max(errors, default=0.0), len(errors) / len(theirs))


def operations(work: Work) -> float:
    """Call a function that runs eager PyTorch; return the number of operations in its matrix multiplications and convolutions."""
    with FlopCounterMode(display=False) as counter:
        work()
    return float(counter.get_total_flops())


def _classifier(setting: Setting, precision: Precision, batch: int, *others: Rival) -> Contest:
    model, images = setting.compiled_classifier(precision), setting.batch(batch)
    return Contest(lambda: model(images), others, compare_logits, _NUMBERS[precision], batch, operations(others[0].work))


def classifier_16(setting: Setting, precision: Precision) -> Contest:
    """Classify a batch; compare with all libraries in float32, and with OpenVINO used directly in the zoo's precision."""
    network, pixels = setting.classifier[0], setting.pixels(_BATCH)
    eager = Rival("timm, eager float32", rivals.eager(network, pixels), 8.0)
    channels_last = Rival("timm, channels last", rivals.channels_last(network, pixels), 6.0)
    runtime = Rival("ONNX Runtime", rivals.onnxruntime_session(network, pixels, setting.threads), 4.0)
    work = rivals.openvino_compiled(network, pixels, setting.threads, setting.half)
    return _classifier(setting, precision, _BATCH, eager, channels_last, runtime, Rival(f"OpenVINO directly, {precision}", work, _DIRECTLY))


def classifier_1(setting: Setting, precision: Precision) -> Contest:
    """Classify a single image; compare with timm."""
    work = rivals.eager(setting.classifier[0], setting.pixels(1))
    return _classifier(setting, precision, 1, Rival("timm, eager float32", work, 6.0))


def classifier_int8(setting: Setting, precision: Precision) -> Contest:
    """Classify a batch in int8; compare with timm, and with OpenVINO used directly and calibrated on the same images."""
    network, pixels = setting.classifier[0], setting.pixels(_BATCH)
    eager = Rival("timm, eager float32", rivals.eager(network, pixels), 18.0)
    calibration = setting.pixels(max(_BATCH, len(setting.photos)))
    work = rivals.openvino_compiled(network, pixels, setting.threads, setting.half, calibration)
    return _classifier(setting, precision, _BATCH, eager, Rival("OpenVINO directly, int8", work, _DIRECTLY))


def detector(setting: Setting, precision: Precision) -> Contest:
    """Detect objects in a photo; compare with torchvision. Resizing and padding are included for both."""
    network, _, photo = setting.detector
    theirs = rivals.detect(network, as_float(torch.from_numpy(photo).permute(2, 0, 1)))
    rival = Rival("torchvision, eager", theirs, 8.0 if precision == "int8" else 6.0)
    model = setting.compiled_detector(precision)
    return Contest(lambda: model([photo])[0], (rival,), rivals.compare_boxes, _BOXES[precision], 1, operations(theirs))


def folder(setting: Setting, precision: Precision) -> Contest:
    """Decode and classify a folder of photos; compare with a typical torchvision script."""
    network, _ = setting.classifier
    files = setting.files("photos")
    links = setting.links("folder/photos", files)
    script = rivals.classify_folder(network, links.parent, setting.preprocess, _BATCH)
    model = setting.compiled_classifier(precision)

    def work() -> list[int]:
        answers: Any = zoo.predict(model, links, batch_size=_BATCH, device="cpu")
        return [int(answer.probabilities.argmax()) for answer in answers]

    count = operations(rivals.eager(network, setting.pixels(1))) * len(files)
    return Contest(work, (Rival("a torchvision script", script, 6.0),), compare_classes, _LABELS, len(files), count)


def faces(setting: Setting, precision: Precision) -> Contest:
    """Detect and embed the faces in the portraits; compare with facenet-pytorch."""
    photos = [decoding.read(path) for path in setting.files("portraits")]
    theirs = Theirs()
    mine = ours(compiled(with_weights("inception_resnet_v1", "face", theirs.network), precision, None))
    rival = Rival("facenet-pytorch", lambda: [theirs(photo) for photo in photos], 3.0)
    return Contest(lambda: [mine(photo) for photo in photos], (rival,), compare_faces, _FACES[precision], len(photos), None)


ROWS = {
    row.key: row
    for row in (
        Row("classifier-16", "ResNet-50 224, batch 16", False, classifier_16),
        Row("classifier-1", "ResNet-50 224, batch 1", False, classifier_1),
        Row("classifier-int8", "ResNet-50 224, batch 16", True, classifier_int8),
        Row("detector", "Faster R-CNN R50-FPN 800×1066", False, detector),
        Row("detector-int8", "Faster R-CNN R50-FPN 800×1066", True, detector),
        Row("folder", "classes of a folder of photos, ResNet-50", False, folder),
        Row("faces", "faces of the portraits, MTCNN + InceptionResnetV1", False, faces),
    )
}
