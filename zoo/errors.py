"""Error classes of the zoo and their exit statuses."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

Box = tuple[float, float, float, float]


class ZooError(Exception):
    """Base class of all errors that the zoo raises deliberately.

    The command line prints only the message, without a traceback, and exits with `exit_status`.

    Attributes:
        said: whether another process of the same job prints the message, so that this process must not print it again.
    """

    exit_status = 1
    said = False


class InputError(ZooError, ValueError):
    """Error for invalid user input: an option, a path, a name or a value."""

    exit_status = 2


class UnknownNameError(InputError):
    """Error for an unknown name. The message lists the closest known names."""

    def __init__(self, kind: str, name: str, known: Iterable[str], remedy: str = "") -> None:
        """Build the message.

        Args:
            kind: kind of name, in words ("backbone", "task", "option of detection").
            name: the unknown name.
            known: all valid names.
            remedy: sentence that explains how to list all valid names. If it is empty, the message lists the valid names, unless there are
                more than 30.
        """
        names = sorted(known)
        near = difflib.get_close_matches(name, names, n=5, cutoff=0.5)
        message = f"unknown {kind} {name!r}."
        if near:
            message += f" Nearest: {', '.join(near)}."
        if remedy:
            message += f" {remedy}"
        elif names and len(names) <= 30:
            message += f" Known: {', '.join(names)}."
        elif not names:
            message += " No names are known."
        super().__init__(message)


@dataclass(frozen=True, slots=True)
class Fault:
    """A single problem found in a dataset.

    Attributes:
        key: key of the sample, or path of the file that contains the problem. In tables and lists, it is the path and the position.
        reason: description of the problem: its place in the file, the invalid value and what was expected.
        whole: whether the whole sample is unusable; False if only some of its annotations (such as one box) are unusable.
        kind: stable identifier of the kind of problem, one of `zoo.curation.check.KINDS`; "" if the reader doesn't classify it.
        place: position in the file ("line 7", "object 3", "annotation id 5"), or "".
        box: [x1, y1, x2, y2] in pixels, if the problem concerns a single box with finite coordinates.
    """

    key: str
    reason: str
    whole: bool = False
    kind: str = ""
    place: str = ""
    box: Box | None = None

    def __str__(self) -> str:
        return f"{self.key}: {self.reason}"

    def to_dict(self) -> dict[str, str]:
        """Return the fault as a JSON-compatible dict."""
        return {"key": self.key, "reason": self.reason, "kind": self.kind or "annotation"}


class Flaw(ValueError):
    """A problem with a single entry whose file and position are not known yet. The arguments have the same meaning as in `Fault`.

    Functions that validate single values raise it. Readers catch it, convert it to a `Fault` with a key, and continue with the next entry.
    """

    def __init__(self, reason: str, kind: str = "annotation", box: Box | None = None) -> None:
        self.reason, self.kind, self.box = reason, kind, box
        super().__init__(reason)

    def at(self, key: str, place: str = "", *, before: str = "", whole: bool = False) -> Fault:
        """Return the problem as a `Fault`; `before` is a prefix for the reason that helps the user find the entry."""
        return Fault(key, f"{before}{self.reason}", whole, self.kind, place, self.box)


class DataError(InputError):
    """Error for invalid data. The message lists the faults with their files and keys."""

    def __init__(self, what: str, faults: Sequence[Fault] = (), remedy: str = "") -> None:
        """Build one message from all faults.

        Args:
            what: first line of the message, which names the dataset or file and the operation.
            faults: all faults. The message lists the first 20 and the number of further ones.
            remedy: advice on how to fix the problem.
        """
        self.faults = tuple(faults)
        lines = [what, *(f"  {fault}" for fault in self.faults[:20])]
        if len(self.faults) > 20:
            lines.append(f"  … and {len(self.faults) - 20} more")
        if remedy:
            lines.append(remedy)
        super().__init__("\n".join(lines))


class UnrecognisedError(InputError):
    """Error for a dataset without a scheme that no format of the task matches."""

    def __init__(self, message: str, path: Path) -> None:
        self.path = path
        super().__init__(message)


class MixedSplitsError(InputError):
    """Error for a dataset in which some folders are splits and others aren't."""


class ImageError(DataError):
    """Error for an image that can't be read, because it is missing, damaged, truncated, too large or in an unsupported format."""

    def __init__(self, key: str, reason: str, kind: str = "unreadable") -> None:
        self.key, self.reason, self.kind = key, reason, kind
        super().__init__(f"{key}: {reason}")
        self.faults = (Fault(key, reason, whole=True, kind=kind),)

    def __reduce__(self) -> tuple[type[ImageError], tuple[str, str, str]]:
        """Support pickling, so that the error can be sent back from a loader's worker process."""
        return type(self), (self.key, self.reason, self.kind)


class WeightsError(InputError):
    """Error for weights that can't be found, read or loaded into the model. The message names the file and the keys."""


class SignatureError(InputError):
    """Error for an artefact that isn't signed, or whose files or signer aren't those that were expected.

    Attributes:
        reason: the message without the path of the artefact.
        findings: what is wrong, one sentence for each file; empty if the signature itself is the problem.
    """

    def __init__(self, reason: str, path: Path, findings: Sequence[str] = ()) -> None:
        self.reason, self.findings = reason, tuple(findings)
        super().__init__(reason if str(path) in reason else f"{path}: {reason}")


def check_positive(kind: str, **values: float) -> None:
    """Raise an `InputError` that names the option and its value, unless all values are above 0."""
    for name, value in values.items():
        if not value > 0:
            raise InputError(f"{kind}: {name} is {value}; expected a number above 0")
