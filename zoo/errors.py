"""What people see when something is wrong, and the exit status that goes with it."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

Box = tuple[float, float, float, float]


class ZooError(Exception):
    """Base of every error the zoo raises on purpose.

    The command line prints the message alone, without a traceback, and exits with `exit_status`.

    Attributes:
        said: whether another process of the same job prints it.
    """

    exit_status = 1
    said = False


class InputError(ZooError, ValueError):
    """The user's input is wrong: an option, a path, a name, a value."""

    exit_status = 2


class UnknownNameError(InputError):
    """A name that is not registered; the message lists the nearest ones that are."""

    def __init__(self, kind: str, name: str, known: Iterable[str], remedy: str = "") -> None:
        """Build the message.

        Args:
            kind: what was looked up, in words ("backbone", "task", "option of detection").
            name: the name that was given.
            known: every name that would have been right.
            remedy: what to do to see them all; by default short lists are printed whole.
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
            message += " None is known."
        super().__init__(message)


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing wrong with the data.

    Attributes:
        key: the sample or file it is in; of a table or list the file and the place.
        reason: what is wrong, where in the file, and what was expected.
        whole: whether it costs the whole sample; otherwise only a part of the annotations (a box).
        kind: what it is, as a name that stays the same: one of `zoo.curation.check.KINDS`; "" where the reader doesn't say.
        place: where in the file ("line 7", "object 3", "annotation id 5"), or "".
        box: [x1, y1, x2, y2] in pixels, where the fault is of one box whose numbers are finite.
    """

    key: str
    reason: str
    whole: bool = False
    kind: str = ""
    place: str = ""
    box: Box | None = None

    def __str__(self) -> str:
        """Return the fault as one line."""
        return f"{self.key}: {self.reason}"

    def to_dict(self) -> dict[str, str]:
        """Return the fault as it stands in JSON."""
        return {"key": self.key, "reason": self.reason, "kind": self.kind or "annotation"}


class Flaw(ValueError):
    """What is wrong with one entry, before it is known in which file and at which place: a `Fault` without its key.

    What checks single values raises it; readers catch it, and go on with the next entry.
    """

    def __init__(self, reason: str, kind: str = "annotation", box: Box | None = None) -> None:
        """Say what is wrong; reason, kind and box are as in `Fault`."""
        self.reason, self.kind, self.box = reason, kind, box
        super().__init__(reason)

    def at(self, key: str, place: str = "", *, before: str = "", whole: bool = False) -> Fault:
        """Return the fault.

        Args:
            key: as in `Fault`.
            place: as in `Fault`.
            before: what the reason begins with, so that a reader of the message finds the place.
            whole: as in `Fault`.
        """
        return Fault(key, f"{before}{self.reason}", whole, self.kind, place, self.box)


class DataError(InputError):
    """The data is wrong; the message names every fault with its file and key."""

    def __init__(self, what: str, faults: Sequence[Fault] = (), remedy: str = "") -> None:
        """Build one message from all faults.

        Args:
            what: the data set or file, and what was being done.
            faults: everything found wrong; at most 20 are printed, the count always.
            remedy: what to do about it.
        """
        self.faults = tuple(faults)
        lines = [what]
        lines += [f"  {fault}" for fault in self.faults[:20]]
        if len(self.faults) > 20:
            lines.append(f"  … and {len(self.faults) - 20} more")
        if remedy:
            lines.append(remedy)
        super().__init__("\n".join(lines))


class ImageError(DataError):
    """A picture can't be read: missing, damaged, cut short, too large or of an unknown format."""

    def __init__(self, key: str, reason: str, kind: str = "unreadable") -> None:
        """Name the picture, what is wrong with it, and of which kind that is, as in `Fault`."""
        self.key, self.reason, self.kind = key, reason, kind
        super().__init__(f"{key}: {reason}")
        self.faults = (Fault(key, reason, whole=True, kind=kind),)

    def __reduce__(self) -> tuple[type[ImageError], tuple[str, str, str]]:
        """Survive the way back from a loader's worker process."""
        return type(self), (self.key, self.reason, self.kind)


class WeightsError(InputError):
    """Weights can't be found, read or fitted; the message names the file and the keys."""


def check_positive(kind: str, **values: float) -> None:
    """Refuse numbers that are not above 0.

    Raises:
        InputError: naming the option and its value.
    """
    for name, value in values.items():
        if not value > 0:
            raise InputError(f"{kind}: {name} is {value}; expected a number above 0")
