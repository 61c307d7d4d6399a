"""Model cards: README.md of a saved model, with metadata for the Hugging Face Hub. They contain only what is recorded."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path

from zoo.artefacts.bundle import Bundle
from zoo.artefacts.encryption import refuse_encrypted
from zoo.artefacts.signing import SIGNATURE, verified_manifest
from zoo.errors import InputError, SignatureError
from zoo.models.archive import load
from zoo.models.config import model_folder
from zoo.models.readme import README, is_generated, marked
from zoo.report.card_licence import stated_terms
from zoo.report.card_metadata import check_installed, metadata_block
from zoo.report.card_results import Source, read_results
from zoo.report.card_sections import Facts, Latency, sections
from zoo.system.files import write_text

_LOG = logging.getLogger("zoo")


def card_text(
    folder: str | Path,
    *,
    licence: str | None = None,
    licence_link: str | None = None,
    data_licence: str | None = None,
    scores: Sequence[Source] = (),
    latency: Latency | None = None,
    name: str | None = None,
) -> str:
    """Return the model card of a saved or exported model. The arguments are those of `card`."""
    folder = model_folder(folder)
    check_installed()
    model = load(folder, licence_policy="any")  # the card shows the licences
    terms = stated_terms(model.config.licences, "training" in model.metadata, licence, licence_link)
    results = [result for each in scores for result in read_results(each, model)]
    named = name or _name(folder)
    facts = Facts(named, model, results, terms, data_licence, latency)
    return marked(f"---\n{metadata_block(model, named, terms, results)}\n---\n\n{sections(facts)}\n")


def card(
    folder: str | Path,
    out: str | Path | None = None,
    *,
    licence: str | None = None,
    licence_link: str | None = None,
    data_licence: str | None = None,
    scores: Sequence[Source] = (),
    latency: Latency | None = None,
    name: str | None = None,
) -> Path:
    """Write the model card of a saved or exported model, README.md with metadata for the Hugging Face Hub.

    The card contains what the model's folder and the arguments record; what isn't known is marked as such. If it is written before
    `zoo.sign`, the signature covers it, and is no longer valid after a new card.

    Args:
        folder: folder of a saved or exported model, or of a finished run.
        out: the file; by default README.md in the folder of the model. A card that was written by this function is replaced unless it was
            changed since.
        licence: licence of the model: an SPDX identifier, or another name with `licence_link`. By default, a model that wasn't trained has
            the licence of its weights, and for others none is stated.
        licence_link: URL of a licence that isn't in the Hub's list.
        data_licence: licence of the training data.
        scores: results of `zoo.evaluate` for this model, or files with the output of `zoo eval --json`, which also contains the command.
        latency: measured speed; `zoo card --latency` measures it.
        name: name of the model; by default that of the folder.

    Returns:
        The path of the file.

    Raises:
        InputError: the folder contains no saved model, `out` is another file or was changed, the licence contradicts those that the model
            inherits, a file isn't the output of `zoo eval --json` for this model, or a package of the extra `hub` isn't installed.
        SignatureError: signatures are required, and the model isn't signed with a trusted key.

    Example:
        >>> import tempfile, zoo
        >>> folder = zoo.save(zoo.build("resnet20", classes=["cat", "dog"]), tempfile.mkdtemp() + "/pets")
        >>> zoo.card(folder, licence="Apache-2.0").read_text().splitlines()[:3]
        ['---', 'license: apache-2.0', 'library_name: resnet-zoo']
    """
    if out is None:
        refuse_encrypted(folder, "by default, zoo card writes into the folder of the model; or pass another file (--out)")
    place = model_folder(folder)
    path = place / README if out is None else Path(out).expanduser()
    check_overwritable(path)
    text = card_text(
        place, licence=licence, licence_link=licence_link, data_licence=data_licence, scores=scores, latency=latency, name=name
    )
    write_text(path, text)
    if "\nlicense: " not in text.partition("\n---\n")[0]:
        _LOG.warning("%s states no licence, which zoo push requires; pass --licence, such as --licence Apache-2.0", path)
    if path.resolve() == place.resolve() / README and _is_signed(place / SIGNATURE):
        _LOG.warning("%s covers the earlier card and is no longer valid; sign the model again with zoo sign", place / SIGNATURE)
    return path


def _is_signed(signature: Path) -> bool:
    """Return whether a signature covers the model card. It is valid without, because nothing is loaded from the card."""
    try:
        return README in verified_manifest(Bundle.read(signature), signature).digests
    except SignatureError:  # not signed, or not by the zoo
        return False


def check_overwritable(path: Path) -> None:
    """Raise an `InputError` if a file exists that `zoo card` didn't write, or that was changed since."""
    if path.is_dir():
        raise InputError(f"--out {path} is a folder; expected a file, such as {path / README}")
    if (path.exists() or path.is_symlink()) and not is_generated(path):
        raise InputError(
            f"{path} exists, and zoo card didn't write it, or it was changed since; it will not be overwritten: move it away, or pass --out"
        )


def _name(folder: Path) -> str:
    """Return the name of a model: that of its folder, or of its run."""
    folder = folder.resolve()
    return folder.parent.name if folder.name == "model" else folder.name
