"""LitServe with a model that `zoo.compile` has prepared: `python -m zoo.benchmarks.serving.litserver MODEL PORT BATCH PRECISION WORKERS`.

It is written as in LitServe's documentation: pictures are decoded by Pillow and prepared by torchvision's transforms, then OpenVINO runs
the same graph as in `zoo serve`, with the same hints.
"""

# without `from __future__ import annotations`, because LitServe reads the types of `decode_request` and `encode_response`
import sys
from pathlib import Path
from typing import Any

import litserve
import numpy as np
import openvino
import torch
from fastapi import Request
from numpy.typing import NDArray
from PIL import Image
from torchvision.transforms import v2

import zoo
from zoo.system.threads import usable_cores

_WAIT_S = 0.005  # that of `zoo serve`


class Classifier(litserve.LitAPI):  # type: ignore[misc, unused-ignore]
    """A classifier behind LitServe, which decodes the pictures of a batch in its worker, computes them, and encodes the answers."""

    def __init__(self, model: Path, batch: int, precision: str, threads: int) -> None:
        super().__init__(max_batch_size=batch, batch_timeout=_WAIT_S)
        self.folder, self.precision, self.threads = model, precision, threads

    def setup(self, device: str) -> None:
        """Load the model in the worker."""
        about = zoo.load(self.folder)
        size, crop = about.preprocess.size_hw, about.preprocess.crop_pct
        self.classes = about.classes
        self.transform = v2.Compose(
            [v2.ToImage(), v2.Resize(int(min(size) / crop), interpolation=v2.InterpolationMode.BICUBIC), v2.CenterCrop(size)]
        )
        core = openvino.Core()
        graph = core.read_model(next(self.folder.glob("*.xml")))
        steps = openvino.preprocess.PrePostProcessor(graph)
        steps.input().tensor().set_element_type(openvino.Type.u8)
        steps.input().preprocess().convert_element_type(openvino.Type.f32).scale(255.0)
        self.compiled = core.compile_model(
            steps.build(), "CPU", {"PERFORMANCE_HINT": "LATENCY", "INFERENCE_PRECISION_HINT": self.precision}
        )

    def decode_request(self, request: Request) -> torch.Tensor:
        """Decode and prepare one picture, [3, H, W]. LitServe passes the fields of the form."""
        form: Any = request
        picture: torch.Tensor = self.transform(Image.open(form["image"].file).convert("RGB"))
        return picture

    def batch(self, inputs: list[torch.Tensor]) -> torch.Tensor:
        """Stack the pictures, [B, 3, H, W]."""
        return torch.stack(inputs)

    def predict(self, x: torch.Tensor) -> NDArray[np.float32]:
        """Return the logits, [B, K]."""
        found: NDArray[np.float32] = self.compiled(x.numpy())[0]
        return found

    def unbatch(self, output: NDArray[np.float32]) -> list[NDArray[np.float32]]:
        """Return the logits of each picture."""
        return list(output)

    def encode_response(self, output: NDArray[np.float32]) -> dict[str, Any]:
        """Return the same content as `zoo serve`: the best classes with their probabilities."""
        best = torch.softmax(torch.from_numpy(output), 0).topk(5)
        top = [{"name": self.classes[label], "probability": value} for value, label in zip(best[0].tolist(), best[1].tolist(), strict=True)]
        return {"label": int(best[1][0]), **top[0], "top": top}


if __name__ == "__main__":
    folder, port, batch, precision, workers = sys.argv[1:]
    api = Classifier(Path(folder), int(batch), precision, max(1, usable_cores() // int(workers)))
    litserve.LitServer(api, accelerator="cpu", workers_per_device=int(workers), timeout=60).run(
        host="127.0.0.1", port=int(port), log_level="warning", generate_client_file=False
    )
