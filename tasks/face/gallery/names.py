"""Names of people: what they may hold. They are values, never parts of a path or of a command, so `'; DROP TABLE` is a name."""

from __future__ import annotations

import unicodedata

from zoo.errors import InputError

LONGEST = 200  # characters
# invisible ones that turn the direction of writing, by which one name can be made to look like another (CVE-2021-42574)
_TURNING = frozenset("\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")
_REFUSED = {
    "Cc": "control characters",
    "Cs": "half of a character (a surrogate)",
    "Zl": "line breaks",
    "Zp": "line breaks",
    "Cf": "signs that can't be seen",
}
# Unicode's Default_Ignorable_Code_Point outside of Cf, and a blank: grapheme joiner, fillers of Hangul, Khmer's inherent vowels
_UNSEEN = frozenset("\u034f\u115f\u1160\u17b4\u17b5\u2800\u3164\uffa0")
_JOINERS = "\u200c\u200d"  # zero width: needed in Persian, in Indian scripts and in emoji, and nothing between letters that don't join
_UNJOINED = ("LATIN", "GREEK", "CYRILLIC")


def check_name(name: str) -> str:
    """Return a name as it is kept: in Unicode's composed form (NFC) and with plain single spaces, so that é and é are one person's.

    Args:
        name: in any script, with spaces and signs.

    Raises:
        InputError: it is empty or too long, or holds what can't be seen or printed on one line.
    """
    if not isinstance(name, str):
        raise InputError(f"a person's name is {name!r}; expected text")
    spaced = "".join(" " if unicodedata.category(sign) == "Zs" else sign for sign in name)
    kept = " ".join(part for part in unicodedata.normalize("NFC", spaced).split(" ") if part)
    for place, sign in enumerate(kept):
        reason = _reason(sign, kept[place - 1 : place], kept[place + 1 : place + 2])
        if reason is not None:
            raise InputError(f"the name {name!r} holds {reason} (U+{ord(sign):04X}); write it without them")
    if not kept:
        raise InputError(f"the name {name!r} is empty; say who it is")
    if len(kept) > LONGEST:
        raise InputError(f"the name {name[:20]!r}… has {len(kept)} characters; expected at most {LONGEST}")
    return kept


def _reason(sign: str, before: str, after: str) -> str | None:
    """Return why a sign, between its neighbours, can't be part of a name; None where it can."""
    if sign in _TURNING:
        return "signs that turn the direction of writing"
    if sign in _JOINERS:
        return None if _may_join(before) and _may_join(after) else _REFUSED["Cf"]
    if "\ufe00" <= sign <= "\ufe0f" or "\U000e0100" <= sign <= "\U000e01ef":  # another form of the sign before
        return None if _may_join(before) else _REFUSED["Cf"]
    if sign in _UNSEEN or "\u180b" <= sign <= "\u180f" or "\U000e0000" <= sign <= "\U000e0fff":
        return _REFUSED["Cf"]
    return _REFUSED.get(unicodedata.category(sign))


def _may_join(sign: str) -> bool:
    return sign.strip() != "" and not sign.isascii() and not unicodedata.name(sign, "").startswith(_UNJOINED)
