"""Validation of people's names. Names are never used in paths or SQL commands, so `'; DROP TABLE` is a valid name."""

from __future__ import annotations

import unicodedata

from zoo.errors import InputError

LONGEST = 200  # maximum length in characters
# invisible characters that change the writing direction, so that different names may look alike (CVE-2021-42574)
_TURNING = frozenset("\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")
_REFUSED = {
    "Cc": "control characters",
    "Cs": "unpaired surrogates",
    "Zl": "line breaks",
    "Zp": "line breaks",
    "Cf": "invisible characters",
}
# characters with Unicode's property Default_Ignorable_Code_Point that aren't in Cf, and the Braille blank
_UNSEEN = frozenset("\u034f\u115f\u1160\u17b4\u17b5\u2800\u3164\uffa0")
_JOINERS = "\u200c\u200d"  # zero-width joiners: needed in Persian, Indic scripts and emoji, but invisible in other scripts
_UNJOINED = ("LATIN", "GREEK", "CYRILLIC")


def check_name(name: str) -> str:
    """Validate a name and return its stored form: Unicode NFC with single plain spaces, so that é and é are the same name."""
    if not isinstance(name, str):
        raise InputError(f"the name is {name!r}; expected text")
    spaced = "".join(" " if unicodedata.category(sign) == "Zs" else sign for sign in name)
    kept = " ".join(part for part in unicodedata.normalize("NFC", spaced).split(" ") if part)
    for place, sign in enumerate(kept):
        reason = _reason(sign, kept[place - 1 : place], kept[place + 1 : place + 2])
        if reason is not None:
            raise InputError(f"the name {name!r} contains {reason} (U+{ord(sign):04X}); remove them")
    if not kept:
        raise InputError(f"the name {name!r} is empty; expected one or more visible characters")
    if len(kept) > LONGEST:
        raise InputError(f"the name {name[:20]!r}… has {len(kept)} characters; expected at most {LONGEST}")
    return kept


def _reason(sign: str, before: str, after: str) -> str | None:
    """Return why a character is not allowed between its two neighbours, or None if it is allowed."""
    if sign in _TURNING:
        return "characters that change the writing direction"
    if sign in _JOINERS:
        return None if _may_join(before) and _may_join(after) else _REFUSED["Cf"]
    if "\ufe00" <= sign <= "\ufe0f" or "\U000e0100" <= sign <= "\U000e01ef":  # variation selectors, which modify the preceding character
        return None if _may_join(before) else _REFUSED["Cf"]
    if sign in _UNSEEN or "\u180b" <= sign <= "\u180f" or "\U000e0000" <= sign <= "\U000e0fff":
        return _REFUSED["Cf"]
    return _REFUSED.get(unicodedata.category(sign))


def _may_join(sign: str) -> bool:
    return sign.strip() != "" and not sign.isascii() and not unicodedata.name(sign, "").startswith(_UNJOINED)
