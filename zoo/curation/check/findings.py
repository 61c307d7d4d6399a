"""What the doctor can find: the kinds, and one finding."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

Severity = Literal["error", "warning", "note"]
_ORDER: dict[Severity, int] = {"error": 0, "warning": 1, "note": 2}


@dataclass(frozen=True)
class Kind:
    """One kind of finding.

    Attributes:
        severity: `error` – a sample is lost or a score can be wrong; `warning` – most likely a mistake; `note` – fine by the format,
            but worth knowing.
        title: what it is, in a few words.
    """

    severity: Severity
    title: str


KINDS: Mapping[str, Kind] = {
    # pictures
    "unreadable": Kind("error", "pictures that can't be read"),
    "truncated": Kind("error", "pictures cut short"),
    "missing-file": Kind("error", "pictures that are not there"),
    "huge": Kind("error", "pictures above the limit on pixels"),
    "wrong-extension": Kind("warning", "names that don't fit the content"),
    "tiny": Kind("warning", "tiny pictures"),
    "odd-mode": Kind("warning", "pictures in an odd mode"),
    "blank": Kind("warning", "pictures of one colour"),
    # the same picture more than once
    "leak": Kind("error", "the same picture in several splits"),
    "near-leak": Kind("error", "nearly the same picture in several splits"),
    "two-labels": Kind("error", "the same picture under several labels"),
    "two-names": Kind("error", "the same picture under several people"),
    "duplicate": Kind("warning", "the same picture more than once"),
    "near-duplicate": Kind("note", "nearly the same picture more than once"),
    # labels, people, pairs
    "unknown-label": Kind("error", "labels that are no class"),
    "empty-class": Kind("error", "classes without samples"),
    "unbalanced": Kind("warning", "badly unbalanced classes"),
    "single-picture": Kind("warning", "people with one picture"),
    "person-in-splits": Kind("error", "people in several splits"),
    "bad-pair": Kind("error", "pairs that name missing files, or one picture twice"),
    # boxes
    "box-no-area": Kind("error", "boxes without area"),
    "box-outside": Kind("error", "boxes outside the picture"),
    "box-swapped": Kind("error", "boxes with swapped corners"),
    "box-duplicate": Kind("warning", "boxes given twice"),
    "box-whole-picture": Kind("warning", "boxes around the whole picture"),
    "box-normalised": Kind("warning", "boxes in parts of the picture where pixels are meant, or the other way round"),
    "box-xywh": Kind("warning", "boxes whose corners look mistaken for sizes"),
    # annotations as a whole
    "repeated-id": Kind("error", "ids given twice"),
    "no-annotation": Kind("warning", "pictures without annotations"),
    "no-objects": Kind("note", "pictures annotated as empty"),
    "no-picture": Kind("error", "annotations without a picture"),
    "annotation": Kind("error", "other faults in the annotations"),
    "split": Kind("error", "splits that can't be opened"),
}


@dataclass(frozen=True)
class Finding:
    """One thing found.

    Attributes:
        kind: a name of `KINDS`.
        key: the picture or file, relative to the data's folder where it lies there.
        text: what was found, and what was expected.
        place: where in the file ("box 3", "line 12"), or "".
        others: keys of the other pictures that belong to the finding (the duplicates).
        box: [x1, y1, x2, y2] in pixels, where the finding is about one box whose numbers can be drawn.
        level: a severity other than the kind's own.
    """

    kind: str
    key: str
    text: str
    place: str = ""
    others: tuple[str, ...] = ()
    box: tuple[float, float, float, float] | None = None
    level: Severity | None = None

    @property
    def severity(self) -> Severity:
        """The finding's own severity, else its kind's."""
        return self.level or KINDS[self.kind].severity

    def __str__(self) -> str:
        """Return one line."""
        return f"{self.key}{f', {self.place}' if self.place else ''}: {self.text}"

    def to_dict(self) -> dict[str, Any]:
        """Return the finding, JSON-ready."""
        content: dict[str, Any] = {"kind": self.kind, "severity": self.severity, "key": self.key, "place": self.place, "text": self.text}
        return content | {"others": list(self.others), "box": list(self.box) if self.box else None}


@dataclass(frozen=True)
class Findings:
    """The doctor's answer.

    Attributes:
        data: what was checked, as given.
        scheme: the format it was read as.
        task: the task whose format that is.
        pictures: how many samples there are, those that can't be read among them.
        splits: the samples of each split; the name "" stands for those in none.
        classes: the samples (or boxes) of each class, over all splits.
        findings: everything found, errors first, ordered by kind and key.
    """

    data: str
    scheme: str
    task: str
    pictures: int
    splits: Mapping[str, int]
    classes: Mapping[str, int]
    findings: tuple[Finding, ...] = field(default=())

    @property
    def ok(self) -> bool:
        """Whether nothing but notes was found."""
        return all(finding.severity == "note" for finding in self.findings)

    @property
    def counts(self) -> dict[str, int]:
        """How many findings of each kind there are, in the order of `findings`."""
        return dict(Counter(finding.kind for finding in self.findings))

    def of(self, kind: str) -> tuple[Finding, ...]:
        """Return the findings of one kind."""
        return tuple(finding for finding in self.findings if finding.kind == kind)

    def to_dict(self) -> dict[str, Any]:
        """Return everything, JSON-ready."""
        return {
            "data": self.data,
            "scheme": self.scheme,
            "task": self.task,
            "ok": self.ok,
            "pictures": self.pictures,
            "splits": dict(self.splits),
            "classes": dict(self.classes),
            "counts": self.counts,
            "findings": [finding.to_dict() for finding in self.findings],
        }


def in_order(findings: Iterable[Finding]) -> tuple[Finding, ...]:
    """Return each finding once: errors before warnings before notes, then in the order of `KINDS`, then by key."""
    kinds = list(KINDS)
    return tuple(sorted(dict.fromkeys(findings), key=lambda it: (_ORDER[it.severity], kinds.index(it.kind), it.key, it.place, it.text)))


# bits of 64. Measured: the same photo resaved at JPEG quality 40, or halved, moves by 2 at most; cropped by 2 % by 4 in the median
NEAR = 4
