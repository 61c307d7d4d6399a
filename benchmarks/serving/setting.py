"""What all rows share: the models, the photos, and how long to measure."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import cv2

import zoo
from zoo.benchmarks.harness.command import log
from zoo.benchmarks.peers import shared
from zoo.benchmarks.peers.shared import Precision
from zoo.benchmarks.serving.load import Load, Plan, send
from zoo.images import decoding
from zoo.system.hardware import cpu_has_bf16

_QUALITY = 90
_SMALL = 224  # shorter side of the small photos in pixels


@dataclass(frozen=True)
class Scale:
    """How long to measure.

    Attributes:
        rounds: number of times that the sides alternate.
        seconds: seconds of one measurement.
        overload_s: seconds of five times the capacity.
        kill_s: seconds of load during which a worker is killed.
        requests: number of requests in the row about memory.
        warm_requests: number of them before the first measurement of the memory.
        clients: number of clients that measure the capacity.
        several_workers: whether both servers are also measured with two workers.
    """

    rounds: int = 3
    seconds: float = 10.0
    overload_s: float = 60.0
    kill_s: float = 14.0
    requests: int = 100_000
    warm_requests: int = 5_000
    clients: int = 16
    several_workers: bool = True

    @property
    def warm_s(self) -> float:
        """Seconds at the beginning of each measurement that don't count."""
        return self.seconds / 10


QUICK = Scale(rounds=1, seconds=1.5, overload_s=2.0, kill_s=6.0, requests=200, warm_requests=20, clients=4, several_workers=False)


@dataclass
class Setting:
    """Models, photos, and the load generators' use of the processor.

    Attributes:
        model: folder of the compiled model.
        tiny: folder of a small compiled model, for rows with many requests.
        photos: folder of JPEG files.
        small: folder of small JPEG files, for the tiny model.
        precision: precision of the model.
        scale: how long to measure.
        cores: largest number of cores that a load generator has used, by row.
        loads: load average after each row.
    """

    model: Path
    tiny: Path
    photos: Path
    small: Path
    precision: Precision
    scale: Scale
    cores: dict[str, float] = field(default_factory=dict)
    loads: dict[str, float] = field(default_factory=dict)
    row: str = ""

    @property
    def files(self) -> list[str]:
        """Paths of the photos."""
        return [str(path) for path in sorted(self.photos.iterdir())]

    @property
    def small_files(self) -> list[str]:
        """Paths of the small photos."""
        return [str(path) for path in sorted(self.small.iterdir())]

    def begin(self, row: str) -> None:
        """Begin a row."""
        self.row = row
        self.say("begins")

    def say(self, text: str) -> None:
        """Print the progress of a row."""
        log(f"serving: {self.row}: {text}; load average {os.getloadavg()[0]:.1f}")

    def send(self, plan: Plan) -> Load:
        """Send all requests of a plan."""
        return self.sent(send(plan))

    def sent(self, load: Load) -> Load:
        """Note the load generator's use of the processor, and return the load."""
        self.cores[self.row] = max(self.cores.get(self.row, 0.0), load.cores)
        self.loads[self.row] = os.getloadavg()[0]
        return load


def prepare(data: Path, backbone: str, precision: Precision | None, side: int, scratch: Path, scale: Scale) -> Setting:
    """Write the photos, and compile the models with OpenVINO.

    The classifier predicts another class for every photo, so that wrong answers can be recognised.

    Args:
        data: folder that contains `photos`.
        backbone: ResNet of timm; its weights are random.
        precision: precision of the models; None for bf16 if the processor supports it, otherwise fp32.
        side: shorter side of the photos in pixels.
        scratch: empty folder.
        scale: how long to measure.
    """
    common = shared.Setting(data, os.cpu_count() or 1, cpu_has_bf16(), scratch, backbone)
    chosen = precision or common.half
    photos = _write_photos(common.files("photos"), side, scratch / "jpeg")
    small = _write_photos(common.files("photos"), _SMALL, scratch / "small")
    log(f"serving: compiling {backbone} in {chosen}, and resnet20")
    zoo.save(common.compiled_classifier(chosen), scratch / "model")
    zoo.save(zoo.compile(zoo.build("resnet20", num_classes=10), "openvino", "fp32"), scratch / "tiny")
    return Setting(scratch / "model", scratch / "tiny", photos, small, chosen, scale)


def _write_photos(files: Sequence[Path], side: int, folder: Path) -> Path:
    """Write JPEG files whose shorter side has `side` pixels, and return their folder."""
    folder.mkdir()
    for file in files:
        image = decoding.read(file)
        factor = side / min(image.shape[:2])
        size = (round(image.shape[1] * factor), round(image.shape[0] * factor))
        small = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
        cv2.imwrite(str(folder / f"{file.stem}.jpg"), cv2.cvtColor(small, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, _QUALITY])
    return folder
