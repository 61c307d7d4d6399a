"""Findings of a dataset check: their kinds, and the classes for results."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from zoo.errors import Box, Fault

# error: a sample is lost or scores may be wrong; warning: probably a mistake; note: valid, but worth knowing
Severity = Literal["error", "warning", "note"]
_ORDER: dict[Severity, int] = {"error": 0, "warning": 1, "note": 2}
# default maximum Hamming distance of near duplicates. Measured distance from the original: at most 2 after resaving with JPEG quality 40
# or halving, and 4 (median) after cropping by 2 %
NEAR = 4


@dataclass(frozen=True)
class Kind:
    """A kind of finding."""

    severity: Severity
    title: str


KINDS: Mapping[str, Kind] = {
    # images
    "unreadable": Kind("error", "images that can't be read"),
    "truncated": Kind("error", "truncated images"),
    "missing-file": Kind("error", "missing images"),
    "link": Kind("error", "links that lead nowhere or are refused, and folders that can't be read"),
    "huge": Kind("error", "images above the pixel limit"),
    "wrong-extension": Kind("warning", "file extensions that don't match the content"),
    "tiny": Kind("warning", "tiny images"),
    "odd-mode": Kind("warning", "images in an unusual colour mode"),
    "blank": Kind("warning", "images of a single colour"),
    # duplicates
    "leak": Kind("error", "the same image in several splits"),
    "near-leak": Kind("error", "near-duplicate images in several splits"),
    "two-labels": Kind("error", "the same image with several labels"),
    "two-names": Kind("error", "the same image assigned to several people"),
    "duplicate": Kind("warning", "duplicate images"),
    "near-duplicate": Kind("note", "near-duplicate images"),
    # labels, people, pairs
    "unknown-label": Kind("error", "labels that match no class"),
    "attribute-value": Kind("error", "values of attributes that aren't declared"),
    "attribute": Kind("warning", "values of attributes that differ only in spelling, or are missing from the training split or the data"),
    "empty-class": Kind("error", "classes without samples"),
    "unbalanced": Kind("warning", "badly unbalanced classes"),
    "single-picture": Kind("warning", "people with a single image"),
    "person-in-splits": Kind("error", "people in several splits"),
    "bad-pair": Kind("error", "pairs that name missing files, or the same image twice"),
    # boxes
    "box-no-area": Kind("error", "boxes without area"),
    "box-outside": Kind("error", "boxes outside the image"),
    "box-swapped": Kind("error", "boxes with swapped corners"),
    "box-duplicate": Kind("warning", "duplicate boxes"),
    "box-whole-picture": Kind("warning", "boxes that cover the whole image"),
    "box-normalised": Kind("warning", "boxes in fractions of the image instead of pixels, or vice versa"),
    "box-xywh": Kind("warning", "boxes with corners and sizes probably mixed up"),
    # annotations as a whole
    "repeated-id": Kind("error", "duplicate ids"),
    "no-annotation": Kind("warning", "images without annotations"),
    "no-objects": Kind("note", "images annotated as empty"),
    "no-picture": Kind("error", "annotations without an image"),
    "wrong-size": Kind("error", "annotations for another image size"),
    "annotation": Kind("error", "other annotation errors"),
    "split": Kind("error", "splits that can't be opened"),
    "passed-over": Kind("warning", "files that aren't images in a supported format"),
    "assumed": Kind("note", "what the reader assumed, converted or ignored"),
}


@dataclass(frozen=True)
class Finding:
    """A problem found in a dataset."""

    kind: str  # key in `KINDS`
    key: str  # image or file; paths inside the dataset folder are relative to it
    text: str
    place: str = ""  # position in the file, such as "box 3" or "line 12"
    others: tuple[str, ...] = ()  # keys of the other images involved, such as duplicates
    box: Box | None = None  # xyxy in pixels, if the finding concerns a single box that can be drawn
    level: Severity | None = None  # overrides the severity of the kind

    @property
    def severity(self) -> Severity:
        """Severity: `level` if set, otherwise the severity of the kind."""
        return self.level or KINDS[self.kind].severity

    def __str__(self) -> str:
        """Return the finding as one line."""
        return f"{self.key}{f', {self.place}' if self.place else ''}: {self.text}"

    def to_dict(self) -> dict[str, Any]:
        """Return the finding as a JSON-serialisable dict."""
        content: dict[str, Any] = {"kind": self.kind, "severity": self.severity, "key": self.key, "place": self.place, "text": self.text}
        return content | {"others": list(self.others), "box": list(self.box) if self.box else None}


@dataclass(frozen=True)
class Findings:
    """Result of a dataset check."""

    data: str  # the dataset string
    scheme: str  # format of the dataset; "" for a sequence of samples
    task: str
    pictures: int  # number of samples, including unreadable ones
    splits: Mapping[str, int]  # number of samples by split; the key "" stands for samples that are in no split
    classes: Mapping[str, int]  # number of samples (or boxes) by class, over all splits
    findings: tuple[Finding, ...]  # ordered by severity (errors first), kind and key
    attributes: Mapping[str, Mapping[str, int]] = field(default_factory=dict)  # number of boxes by attribute and value

    @property
    def ok(self) -> bool:
        """Whether there are no errors or warnings."""
        return all(finding.severity == "note" for finding in self.findings)

    @property
    def counts(self) -> dict[str, int]:
        """Number of findings by kind, in the order of `findings`."""
        return dict(Counter(finding.kind for finding in self.findings))

    def of(self, kind: str) -> tuple[Finding, ...]:
        """Return the findings of one kind."""
        return tuple(finding for finding in self.findings if finding.kind == kind)

    def to_dict(self) -> dict[str, Any]:
        """Return the result as a JSON-serialisable dict."""
        about = {"data": self.data, "scheme": self.scheme, "task": self.task, "ok": self.ok, "pictures": self.pictures}
        counts: dict[str, Any] = {"splits": dict(self.splits), "classes": dict(self.classes), "counts": self.counts}
        counts |= {"attributes": {name: dict(values) for name, values in self.attributes.items()}} if self.attributes else {}
        return {**about, **counts, "findings": [finding.to_dict() for finding in self.findings]}


def of_faults(faults: Iterable[Fault], root: Path | None) -> Iterator[Finding]:
    """Convert annotation errors to findings, with paths relative to the dataset folder `root`; unknown kinds become "annotation"."""
    for fault in faults:
        key = fault.key.removesuffix(f" {fault.place}") if fault.place else fault.key  # the key of an error in a table ends with the line
        if root is not None:
            key = key.removeprefix(f"{root}/")
        yield Finding(fault.kind if fault.kind in KINDS else "annotation", key, fault.reason, fault.place, box=fault.box)


def in_order(findings: Iterable[Finding]) -> tuple[Finding, ...]:
    """Remove duplicate findings and sort the others by severity (errors first), then in the order of `KINDS`, then by key."""
    kinds = list(KINDS)
    return tuple(sorted(dict.fromkeys(findings), key=lambda it: (_ORDER[it.severity], kinds.index(it.kind), it.key, it.place, it.text)))
