"""Compare verifying a signed model, and loading it encrypted, with loading it: `python -m zoo.benchmarks.artefacts`.

The model is loaded without verification, verified, loaded with trust="enforce", and loaded from an encrypted file, in turn. The files are
in the file system's cache.
A ratio is the median of the ratios of neighbouring calls, because the speed of a shared machine changes.
"""

from __future__ import annotations

import math
import statistics
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat
from pyrage import x25519

import zoo
from zoo.benchmarks.harness.command import Flags, benchmark, count_flag, flag, log, make_table, report, threads_flag, timed, torch_threads

_MIB = 2**20
_VERIFY = 0.10  # maximum ratio of the time of verification to that of loading
_ENCRYPTED = 1.5  # maximum ratio of the time to load an encrypted model to that to load the model


@dataclass(frozen=True)
class Row:
    """Time of an operation beside that of loading the model, in milliseconds."""

    operation: str
    time_ms: float
    load_ms: float
    ratio: float
    interval: tuple[float, float]  # 95 % confidence interval of the ratio
    bound: float | None  # maximum ratio; None for a figure without one

    @property
    def met(self) -> bool:
        """Whether the ratio is within the bound."""
        return self.bound is None or self.ratio <= self.bound


def write_keys(folder: Path) -> tuple[Path, Path]:
    """Write a private key, and the public key in another folder."""
    key, private, public = ec.generate_private_key(ec.SECP256R1()), folder / "key.pem", folder / "trusted" / "key.pub"
    public.parent.mkdir()
    private.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    public.write_bytes(key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))
    return private, public


def write_identity(path: Path) -> str:
    """Write a private key for encrypted models, and return the public key."""
    identity = x25519.Identity.generate()
    path.write_text(f"{identity}\n", encoding="utf-8")
    return str(identity.to_public())


def rows_of(load: Callable[[], object], operations: Mapping[str, tuple[Callable[[], object], float | None]], rounds: int) -> list[Row]:
    """Time loading and other operations in turn. `operations` are calls by name, with their maximum ratios to the time of loading."""
    found: dict[str, list[tuple[float, float]]] = {name: [] for name in operations}
    for number in range(-1, rounds):  # the first round is a warm-up
        for name, (call, _) in operations.items():
            order = (load, call) if number % 2 else (call, load)
            times = {each: 1000 * timed(each)[1] for each in order}
            found[name] += [(times[call], times[load])] if number >= 0 else []
    rows = []
    for name, pairs in found.items():
        ours, theirs = (statistics.median(column) for column in zip(*pairs, strict=True))
        ratios = [one / other for one, other in pairs]
        rows.append(Row(name, ours, theirs, statistics.median(ratios), interval_of_median(ratios), operations[name][1]))
    return rows


def interval_of_median(values: Sequence[float]) -> tuple[float, float]:
    """Return the 95 % confidence interval of a median, from the ranks that the binomial distribution gives (normal approximation)."""
    ordered = sorted(values)
    rank = max(0, math.floor(len(ordered) / 2 - 0.98 * math.sqrt(len(ordered))) - 1)
    return ordered[rank], ordered[-1 - rank]


@benchmark(
    flag("--backbone", default="resnet50", help="backbone of the model"),
    count_flag("--rounds", 31, 1, 1000, "number of calls of each operation that are timed"),
    threads_flag(),
)
def main(flags: Flags) -> int:
    """Run the benchmark and return the exit status: 0 if all ratios are within their bounds, 1 if not."""
    with tempfile.TemporaryDirectory() as scratch, torch_threads(flags.threads):
        private, public = write_keys(Path(scratch))
        folder = zoo.save(zoo.build(flags.backbone), Path(scratch) / "model")
        zoo.sign(folder, private)
        file = zoo.encrypt(folder, recipients=write_identity(Path(scratch) / "key.txt")).path
        identity = Path(scratch) / "key.txt"
        size = sum(path.stat().st_size for path in folder.iterdir()) / _MIB
        operations: dict[str, tuple[Callable[[], object], float | None]] = {
            "zoo.verify": (lambda: zoo.verify(folder, public), _VERIFY),
            'zoo.load(trust="enforce")': (lambda: zoo.load(folder, trust="enforce", trusted_keys=public.parent), None),
            "zoo.load(identity=…)": (lambda: zoo.load(file, identity=identity, trust="off"), _ENCRYPTED),
        }
        rows = rows_of(lambda: zoo.load(folder, trust="off"), operations, flags.rounds)
    title = f"{flags.backbone}, {size:.0f} MiB, {torch.get_num_threads()} threads"
    table = make_table(title, ("operation", "time, ms", "zoo.load, ms", "ratio", "95 %", "at most", ""))
    for row in rows:
        bound = ("", "") if row.bound is None else (f"{row.bound:g}", "met" if row.met else "missed")
        figures = (f"{row.time_ms:.1f}", f"{row.load_ms:.1f}", f"{row.ratio:.3f}", "–".join(f"{end:.3f}" for end in row.interval), *bound)
        table.add_row(row.operation, *figures)
        log(f"{row.operation}: {row.ratio:.3f}")
    met = all(row.met for row in rows)
    content = {"backbone": flags.backbone, "size_mib": size, "rows": [{**asdict(row), "met": row.met} for row in rows], "met": met}
    return report(flags.json, content, table, met=met, width=120)


if __name__ == "__main__":
    raise SystemExit(main())
