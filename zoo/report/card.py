"""Model cards: README.md of a saved model, with metadata for the Hugging Face Hub. They contain only what is recorded."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path

from zoo.artefacts.encryption import is_encrypted
from zoo.artefacts.hub.reference import Reference, is_reference
from zoo.artefacts.signing import SIGNATURE
from zoo.errors import InputError
from zoo.models.archive import load
from zoo.models.config import model_folder
from zoo.models.readme import README, is_generated, marked
from zoo.report.card_licence import model_terms
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
    scores: Source | Sequence[Source] = (),
    latency: Latency | None = None,
    name: str | None = None,
) -> str:
    """Return the model card of a saved or exported model. The arguments are those of `card`."""
    check_installed()
    model = load(folder, licence_policy="any")  # the card shows the licences
    terms = model_terms(model, licence, licence_link)
    sources = [scores] if isinstance(scores, str | Path | Mapping) else scores
    results = [result for each in sources for result in read_results(each, model)]
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
    scores: Source | Sequence[Source] = (),
    latency: Latency | None = None,
    name: str | None = None,
) -> Path:
    """Write the model card of a saved or exported model, README.md with metadata for the Hugging Face Hub.

    The card contains what the model's folder and the arguments record; what isn't known is marked as such. If it is written before
    `zoo.sign`, the signature covers it, and is no longer valid after a new card.

    Args:
        folder: folder of a saved or exported model, or of a finished run; or a repository of the Hub, hf:OWNER/NAME, or an
            encrypted model, which need `out`.
        out: the file; by default README.md in the folder of the model. A card that was written by this function is replaced unless it was
            changed since.
        licence: licence of the model: an SPDX identifier, or another name with `licence_link`. By default, a model that wasn't trained has
            the licence of its weights or its repository, and for others none is stated.
        licence_link: URL of a licence that isn't in the Hub's list.
        data_licence: licence of the training data.
        scores: results of `zoo.evaluate` for this model, or files with the output of `zoo eval --json`, which also contains the command:
            one or several.
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
        ['---', 'library_name: resnet-zoo', 'license: apache-2.0']
    """
    path = card_path(folder, out)
    text = card_text(
        folder, licence=licence, licence_link=licence_link, data_licence=data_licence, scores=scores, latency=latency, name=name
    )
    write_text(path, text)
    if "\nlicense: " not in text.partition("\n---\n")[0]:
        _LOG.warning("%s states no licence, which zoo push requires; pass --licence, such as --licence Apache-2.0", path)
    if path.name == README and (signature := path.with_name(SIGNATURE)).is_file():
        _LOG.warning("%s doesn't cover the new card and is no longer valid; sign the model again with zoo sign", signature)
    return path


def card_path(folder: str | Path, out: str | Path | None) -> Path:
    """Return the file for a card; the arguments are those of `card`.

    Raises:
        InputError: the file exists, and `zoo card` didn't write it, or it was changed since; or `folder` is a repository of the Hub or an
            encrypted model, and `out` is None.
    """
    if out is None and is_reference(folder):
        raise InputError(f"{folder} is a repository of the Hub, whose files aren't changed; pass --out FILE, or pull it to a folder first")
    if out is None and is_encrypted(folder):
        raise InputError(
            f"{folder} is encrypted, and a model card shows its classes and data unencrypted; if that is all right, pass --out"
        )
    path = model_folder(folder) / README if out is None else Path(out).expanduser()
    if path.is_dir():
        raise InputError(f"--out {path} is a folder; expected a file, such as {path / README}")
    if (path.exists() or path.is_symlink()) and not is_generated(path):
        raise InputError(
            f"{path} exists, and zoo card didn't write it, or it was changed since; it will not be overwritten: move it away, or pass --out"
        )
    return path


def _name(place: str | Path) -> str:
    """Return the name of a model: that of its repository, of its folder, or of its run."""
    if is_reference(place):
        return Reference.parse(place).name
    if is_encrypted(place):
        return Path(place).stem
    folder = model_folder(place).resolve()
    return folder.parent.name if folder.name == "model" else folder.name
