"""What people see when something is wrong, and the exit status that goes with it."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass


class ZooError(Exception):
    """Base of every error the zoo raises on purpose.

    The command line prints the message alone, without a traceback, and exits with `exit_status`.
    """

    exit_status = 1


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
        key: the sample or file it is in.
        reason: what is wrong, where in the file, and what was expected.
        whole: whether it costs the whole sample; otherwise only a part of the annotations (a box).
    """

    key: str
    reason: str
    whole: bool = False

    def __str__(self) -> str:
        """Return the fault as one line."""
        return f"{self.key}: {self.reason}"

    def to_dict(self) -> dict[str, str]:
        """Return the fault as it stands in JSON."""
        return {"key": self.key, "reason": self.reason}


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

    def __init__(self, key: str, reason: str) -> None:
        """Name the picture and what is wrong with it."""
        self.key, self.reason = key, reason
        super().__init__(f"{key}: {reason}")
        self.faults = (Fault(key, reason, whole=True),)

    def __reduce__(self) -> tuple[type[ImageError], tuple[str, str]]:
        """Survive the way back from a loader's worker process."""
        return type(self), (self.key, self.reason)


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
