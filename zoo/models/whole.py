"""Exported models with one graph per pass, from images to answers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor

from zoo.engines import Tensors
from zoo.images.preprocess import ImageBatch, as_float
from zoo.models.compiled import Compiled, Making, Supply
from zoo.models.config import ModelConfig
from zoo.models.networks import PICTURES, first_networks
from zoo.system.files import write_text

SCRIPT = "infer.py"
InputType = Literal["float32", "uint8"]


class WholeModel(Compiled):
    """Compiled model whose graphs return answers, such as boxes, instead of the tensors of heads.

    A graph takes images of one size, without padding, so that the images of a batch are computed in groups of equal size.
    """

    def __init__(
        self,
        config: ModelConfig,
        metadata: Mapping[str, Any],
        fingerprints: dict[str, Any],
        supply: Supply,
        making: Making,
        input_type: InputType,
    ) -> None:
        """Assemble a model. User code should call `zoo.export` or `zoo.load` instead."""
        super().__init__(config, metadata, fingerprints, supply, making)
        self._input_type = input_type
        self._output_names = {name: [self._names(head) for head in way.heads] for name, way in first_networks(config).items()}

    def _names(self, head: str) -> list[str]:
        return [f"{head}.{name}" if self.is_joint else name for name in self._head(head).answer_names]

    def _answers(self, heads: Sequence[str], batch: ImageBatch) -> dict[str, Any]:
        groups: dict[tuple[int, int], list[int]] = {}
        for place, size in enumerate(batch.sizes_hw):
            groups.setdefault(size, []).append(place)
        found: dict[str, list[Any]] = {head: [None] * len(batch) for head in heads}
        tensors = dict.fromkeys(heads, False)
        with self._alone, torch.no_grad():
            for (height, width), places in groups.items():
                sizes, originals = (tuple(all_of[place] for place in places) for all_of in (batch.sizes_hw, batch.original_sizes_hw))
                part = ImageBatch(batch.pixels[places, :, :height, :width], sizes, originals)
                for head, outputs in self._outputs(self._pass_of[heads[0]], part.pixels).items():
                    if head in heads:
                        answer = self._head(head).from_outputs(outputs, part)
                        tensors[head] = isinstance(answer, Tensor)
                        for place, row in zip(places, answer, strict=True):
                            found[head][place] = row
        return {head: torch.stack(rows) if tensors[head] else rows for head, rows in found.items()}

    def _tensors(self, name: str, pixels: Tensor) -> Tensors:
        with self._alone, torch.no_grad():
            return self._outputs(self._pass_of[name], pixels)[name]

    def _outputs(self, name: str, pixels: Tensor) -> dict[str, Tensors]:
        """Return the outputs of a graph by head, as copies, since an engine's outputs are valid only until its next call."""
        given = as_float(pixels).float()
        if self._input_type == "uint8":
            given = pixels if pixels.dtype == torch.uint8 else (given * 255).round().clamp(0, 255).to(torch.uint8)
        outputs = iter([each.clone() for each in self._compute(name, None, given)])
        heads = first_networks(self.config)[name].heads
        return {head: tuple(next(outputs) for _ in names) for head, names in zip(heads, self._output_names[name], strict=True)}

    def write(self, folder: Path) -> dict[str, Any]:
        """Write the graphs, the class names and a script that runs the first graph. Return the entry for model.json."""
        content = super().write(folder)
        heads = {name: f"{name}." if self.is_joint else "" for name in first_networks(self.config)[PICTURES].heads}
        outputs = [each for names in self._output_names[PICTURES] for each in names]
        file = content["compiled"]["networks"][0]["file"]
        write_text(folder / SCRIPT, script(file, self._input_type, self.making.precision, outputs, heads))
        content["compiled"]["whole"] = {"input": self._input_type, "outputs": self._output_names}
        return content


def script(file: str, input_type: InputType, precision: str, outputs: Sequence[str], heads: Mapping[str, str]) -> str:
    """Return a script that runs a graph with NumPy and the runtime alone. `heads` are names and the beginnings of their outputs' names."""
    onnx = file.endswith(".onnx")
    values = {
        "file": file,
        "outputs": list(outputs),
        "heads": dict(heads),
        "runtime": "onnxruntime" if onnx else "openvino",
        "hint": "bf16" if precision == "bf16" else "f32",
        "scaled": "" if input_type == "uint8" else ".astype(np.float32) / 255",
    }
    return _SCRIPT.format(**{key: (_ONNX if onnx else _OPENVINO)[key].format(**values) for key in ("load", "run")}, **values)


_ONNX = {
    "load": 'session = onnxruntime.InferenceSession(FOLDER / "{file}", providers=["CPUExecutionProvider"])',
    "run": 'return dict(zip(OUTPUTS, session.run(OUTPUTS, {{"pictures": pictures}})))',
}
_OPENVINO = {
    "load": 'session = openvino.compile_model(FOLDER / "{file}", "CPU", {{"INFERENCE_PRECISION_HINT": "{hint}"}})',
    "run": "found = session(pictures)\n    return {{name: found[name] for name in OUTPUTS}}",
}
_SCRIPT = '''\
"""Run {file} on pictures: python infer.py PICTURE.npy …, with NumPy and {runtime} alone.

A picture is an array [H, W, 3] of type uint8, RGB, saved by numpy.save. Other files are opened by Pillow, if it is installed.
How pictures are scaled before is described in model.json ("preprocess"; the policy "given" means not at all).
"""

import json
import sys
from pathlib import Path

import numpy as np
import {runtime}

FOLDER = Path(__file__).resolve().parent
MODEL = json.loads((FOLDER / "model.json").read_text(encoding="utf-8"))
OUTPUTS = {outputs}
HEADS = {heads}  # the names of a head's outputs begin with the value
{load}


def infer(pictures):
    """Return the outputs of the graph by name for pictures of one size, uint8 [B, H, W, 3] RGB. Boxes are xyxy in pixels."""
    pictures = np.ascontiguousarray(np.asarray(pictures).transpose(0, 3, 1, 2)){scaled}
    {run}


def answer(picture):
    """Return the outputs for one picture; of a detector, the boxes that reach the thresholds of their classes (zoo tune)."""
    found = {{name: values[0] for name, values in infer(picture[None]).items()}}
    for head, start in HEADS.items():
        if start + "counts" in found:
            count, metadata = int(found.pop(start + "counts")), MODEL["metadata"]["heads"][head] if start else MODEL["metadata"]
            classes, thresholds = MODEL.get("heads", {{head: MODEL}})[head]["classes"], metadata.get("thresholds") or {{}}
            least = np.array([thresholds.get(name, 0.0) for name in classes])
            kept = np.flatnonzero(found[start + "scores"][:count] >= least[found[start + "labels"][:count]])
            found |= {{name: values[kept] for name, values in found.items() if name.startswith(start)}}
    return found


def read(path):
    """Return a picture as an array [H, W, 3]."""
    if path.endswith(".npy"):
        return np.load(path, allow_pickle=False)
    from PIL import Image, ImageOps

    return np.asarray(ImageOps.exif_transpose(Image.open(path)).convert("RGB"))


if __name__ == "__main__":
    for path in sys.argv[1:]:
        print(json.dumps({{"picture": path, **{{name: values.tolist() for name, values in answer(read(path)).items()}}}}))
'''
