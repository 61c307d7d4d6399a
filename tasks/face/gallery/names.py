"""Names of people: what they may hold. They are values, never parts of a path or of a command, so `'; DROP TABLE` is a name."""

from __future__ import annotations

import unicodedata

from zoo.errors import InputError

LONGEST = 200  # characters
# invisible ones that turn the direction of writing, by which one name can be made to look like another (CVE-2021-42574)
_TURNING = frozenset("\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")
_REFUSED = {"Cc": "control characters", "Cs": "half of a character (a surrogate)", "Zl": "line breaks", "Zp": "line breaks"}


def check_name(name: str) -> str:
    """Return a name as it is kept: in Unicode's composed form (NFC), so that one way of writing é is not another person.

    Args:
        name: in any script, with spaces and signs.

    Raises:
        InputError: it is empty or too long, or holds what can't be seen or printed on one line.
    """
    if not isinstance(name, str):
        raise InputError(f"a person's name is {name!r}; expected text")
    kept = unicodedata.normalize("NFC", name).strip(" ")
    for sign in kept:
        reason = "signs that turn the direction of writing" if sign in _TURNING else _REFUSED.get(unicodedata.category(sign))
        if reason is not None:
            raise InputError(f"the name {name!r} holds {reason} (U+{ord(sign):04X}); write it without them")
    if not kept:
        raise InputError(f"the name {name!r} is empty; say who it is")
    if len(kept) > LONGEST:
        raise InputError(f"the name {name[:20]!r}… has {len(kept)} characters; expected at most {LONGEST}")
    return kept
