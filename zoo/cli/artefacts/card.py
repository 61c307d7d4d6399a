"""The `zoo card` command."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import tyro

from zoo.cli.context import print_json
from zoo.cli.flags import Json
from zoo.errors import InputError

if TYPE_CHECKING:
    from zoo.report.card_sections import Latency


@dataclass(frozen=True)
class CardFlags:
    """Write a model card: README.md with data, scores, limits and licences of a model, and metadata for the Hugging Face Hub."""

    model: Annotated[tyro.conf.Positional[Path], tyro.conf.arg(metavar="MODEL")]
    """Folder of a run, or of a saved or exported model; or hf:OWNER/NAME or an encrypted model, which need --out."""
    licence: str | None = None
    """Licence of the model: an SPDX identifier, such as Apache-2.0, or another name with --licence-link. By default, a model that wasn't
    trained has the licence of its weights, and none is stated for others."""
    licence_link: str | None = None
    """URL of a licence that isn't in the Hub's list."""
    data_licence: str | None = None
    """Licence of the training data."""
    scores: Annotated[tyro.conf.UseAppendAction[tuple[Path, ...]], tyro.conf.arg(metavar="FILE")] = ()
    """File with the output of zoo eval MODEL --json; may be repeated."""
    latency: bool = False
    """Measure the speed on this machine, in about 10 seconds, on built-in images."""
    name: str | None = None
    """Name of the model; by default that of its folder."""
    out: Path | None = None
    """Output file; by default README.md in the folder of the model. Only a card that wasn't changed since is replaced."""
    json: Json = False


def run(flags: CardFlags) -> int:
    """Run the command and return its exit status."""
    from zoo.report.card import card, card_path

    card_path(flags.model, flags.out)  # reports an unsuitable file before the speed is measured
    latency = _latency(flags.model) if flags.latency else None
    path = card(
        flags.model, flags.out, licence=flags.licence, licence_link=flags.licence_link, data_licence=flags.data_licence,
        scores=flags.scores, latency=latency, name=flags.name,
    )  # fmt: skip
    if flags.json:
        print_json({"model": str(flags.model), "card": str(path)})
    else:
        print(f"card: {path}")
    return 0


def _latency(folder: Path) -> Latency:
    """Measure the speed of a model on built-in images of the task of its first head."""
    import torch

    from zoo.benchmarks.harness.case import time_model
    from zoo.benchmarks.harness.measurement import describe_machine
    from zoo.models.archive import load
    from zoo.models.compiled import Compiled
    from zoo.report.card_sections import Latency

    model = load(folder, licence_policy="any")
    head = next(iter(model.config.heads.values()))
    sample = head.definition.data.sample_data
    if sample is None:
        raise InputError(f"--latency measures on built-in images, but the task {head.task} has none; omit it")
    data = f"{sample}?split=test&limit=64"
    latency, throughput = time_model(model, head.definition.open(data), 16)
    machine = describe_machine()
    engine, precision = (model.making.engine, model.making.precision) if isinstance(model, Compiled) else ("eager", "fp32")
    return Latency(
        machine["cpu"], machine["threads"], engine, precision, data, latency.median_ms, latency.p95_ms, latency.runs,
        throughput.batch_size, throughput.images_per_second, torch.__version__,
    )  # fmt: skip
