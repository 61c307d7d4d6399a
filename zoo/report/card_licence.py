"""The licence of a model in its card: that which the user states, in the Hub's notation, and those that the model inherits."""

from __future__ import annotations

import difflib
import re
from dataclasses import dataclass

from zoo.backbones import RESEARCH, UNKNOWN, Licence
from zoo.errors import InputError
from zoo.models.model import Model

# https://huggingface.co/docs/hub/repositories-licenses, without licences of single models, for which "other" is allowed as well
_HUB = {
    "afl-3.0", "agpl-3.0", "apache-2.0", "artistic-2.0", "bsd", "bsd-2-clause", "bsd-3-clause", "bsd-3-clause-clear", "bsl-1.0", "c-uda",
    "cc", "cc-by-2.0", "cc-by-2.5", "cc-by-3.0", "cc-by-4.0", "cc-by-nc-2.0", "cc-by-nc-3.0", "cc-by-nc-4.0", "cc-by-nc-nd-3.0",
    "cc-by-nc-nd-4.0", "cc-by-nc-sa-2.0", "cc-by-nc-sa-3.0", "cc-by-nc-sa-4.0", "cc-by-nd-4.0", "cc-by-sa-3.0", "cc-by-sa-4.0", "cc0-1.0",
    "cdla-permissive-1.0", "cdla-permissive-2.0", "cdla-sharing-1.0", "ecl-2.0", "epl-1.0", "epl-2.0", "etalab-2.0", "eupl-1.1", "gfdl",
    "gpl", "gpl-2.0", "gpl-3.0", "isc", "lgpl", "lgpl-2.1", "lgpl-3.0", "lppl-1.3c", "mit", "mpl-2.0", "ms-pl", "ncsa", "odbl", "odc-by",
    "ofl-1.1", "openrail", "osl-3.0", "pddl", "postgresql", "unlicense", "wtfpl", "zlib",
}  # fmt: skip
_LINK = re.compile(r"https?://\S+")


@dataclass(frozen=True)
class Terms:
    """Licence of a model in the Hub's notation.

    Attributes:
        identifier: identifier in the Hub's list, or "other".
        name: name of a licence that isn't in the list; None for one that is.
        link: URL of such a licence; None if there is none.
    """

    identifier: str
    name: str | None = None
    link: str | None = None


def model_terms(model: Model, licence: str | None, link: str | None) -> Terms | None:
    """Return the licence of a model, or None if it isn't known.

    Args:
        model: the model, which inherits licences from its weights.
        licence: SPDX identifier or another name; None if the user states none.
        link: URL of a licence that isn't in the Hub's list.

    Raises:
        InputError: the licence is empty or needs a link, or allows commercial use, which an inherited licence excludes.
    """
    if licence is None:
        if link is not None:
            raise InputError("--licence-link requires --licence, which is not set")
        own = _own_licences(model)
        names = {each.licence for each in own}
        source = next((each.source for each in own if _LINK.fullmatch(each.source)), None)
        return None if len(names) != 1 or UNKNOWN in names else _inherited(names.pop(), source)
    if not licence.strip() or licence.lower() in (UNKNOWN, "other"):
        raise InputError(f"--licence is {licence!r}; expected an SPDX identifier, such as Apache-2.0, or another name with --licence-link")
    terms = _terms(licence, link)
    limited = [each for each in model.config.licences if each.research_only]
    if limited and terms.identifier != "other" and not Licence("", terms.identifier).research_only:
        origin = limited[0]
        raise InputError(
            f"--licence {licence} allows commercial use, but the model inherits {origin.weights}, for non-commercial research only "
            f"({origin.source or 'source unknown'}); state a licence that excludes it, such as CC-BY-NC-4.0"
        )
    return terms


def _own_licences(model: Model) -> tuple[Licence, ...]:
    """Return the licences of the present parameters: of their repository on the Hub, or of weights that weren't trained since."""
    licences, hub = model.config.licences, model.metadata.get("hub")
    if hub is not None:
        return tuple(each for each in licences if each.weights.startswith(f"hf:{hub['repository']}@"))
    return () if "training" in model.metadata else licences


def _inherited(licence: str, source: str | None) -> Terms | None:
    if licence == RESEARCH or _identifier(licence) is None:
        return None if source is None else Terms("other", _slug(licence), source)
    return Terms(_identifier(licence) or "other")


def _terms(licence: str, link: str | None) -> Terms:
    identifier = _identifier(licence)
    if identifier is not None:
        if link is not None:
            raise InputError(f"--licence-link is not needed for {licence}, which is in the Hub's list; omit it")
        return Terms(identifier)
    if link is None or not _LINK.fullmatch(link):
        near = difflib.get_close_matches(licence.lower(), sorted(_HUB), n=3, cutoff=0.5)
        nearest = f" (nearest: {', '.join(near)})" if near else ""
        raise InputError(
            f"--licence {licence} is not in the Hub's list of licences{nearest}; for another one, pass --licence-link https://…"
        )
    return Terms("other", _slug(licence), link)


def _identifier(licence: str) -> str | None:
    """Return the Hub's identifier of a licence; None if it isn't in the list."""
    lower = licence.strip().lower()
    short = re.sub(r"-(only|or-later)$", "", lower)  # of SPDX for the GNU licences
    return next((each for each in (lower, short) if each in _HUB), None)


def _slug(name: str) -> str:
    """Return a name in the form that the Hub requires: small letters, digits, dots and hyphens."""
    return re.sub(r"[^a-z0-9.-]+", "-", name.strip().lower()).strip("-") or "custom"
