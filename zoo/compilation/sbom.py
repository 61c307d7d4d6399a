"""The inventory of an exported model (software bill of materials): files, weights and packages, as a CycloneDX file."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from safetensors.torch import save as as_safetensors

import zoo
from zoo.backbones import Licence
from zoo.errors import InputError
from zoo.models.archive import SBOM
from zoo.models.fingerprint import model_fingerprint
from zoo.models.model import Model
from zoo.system.files import write_text

if TYPE_CHECKING:
    from cyclonedx.model.component import Component

# The packages that run the graphs of an engine; those of torch.export are reassembled by zoo.load.
_NEEDED = {"openvino": ("openvino", "numpy"), "onnxruntime": ("onnxruntime", "numpy"), "eager": ("resnet-zoo",)}
_MODULES = ("cyclonedx", "packaging")


@dataclass(frozen=True)
class Weights:
    """What an inventory contains about the weights of the model that was exported.

    Attributes:
        fingerprint: fingerprint of the model.
        sha256: SHA-256 of the file `weights.safetensors` that `zoo.save` writes for the model.
        licences: licences that the model inherits.
    """

    fingerprint: str
    sha256: str
    licences: tuple[Licence, ...]

    @classmethod
    def of(cls, model: Model) -> Weights:
        """Describe the weights of a trainable model."""
        state = {key: value.detach().cpu().contiguous() for key, value in model.state_dict().items()}
        return cls(model_fingerprint(model), hashlib.sha256(as_safetensors(state)).hexdigest(), model.config.licences)


def check_installed() -> None:
    """Raise an `InputError` if a package of the extra `sbom` isn't installed."""
    if missing := [name for name in _MODULES if find_spec(name) is None]:
        raise InputError(f"an inventory requires {', '.join(missing)}; install the extra: pip install 'resnet-zoo[sbom]'")


def write_sbom(folder: Path, name: str, engine: str, weights: Weights) -> Path:
    """Write the inventory of an exported model, whose other files are complete, to its folder.

    Args:
        folder: folder with the files of the export.
        name: name of the exported model.
        engine: name of the engine that runs the graphs.
        weights: weights of the model that was exported.

    Returns:
        The path of the file.
    """
    from cyclonedx.model import HashAlgorithm, HashType
    from cyclonedx.model.bom import Bom
    from cyclonedx.model.component import Component, ComponentType, Pedigree
    from cyclonedx.output.json import JsonV1Dot6

    def hashed(digest: str) -> list[HashType]:
        return [HashType(alg=HashAlgorithm.SHA_256, content=digest)]

    model_type = ComponentType.MACHINE_LEARNING_MODEL
    root = Component(name=name, version=weights.fingerprint, type=model_type, bom_ref="model")
    files = [
        Component(name=path.name, type=ComponentType.FILE, bom_ref=f"file:{path.name}", hashes=hashed(_sha256(path)))
        for path in sorted(folder.iterdir())
        if path.name != SBOM
    ]
    trained = Component(
        name="weights.safetensors",
        type=model_type,
        bom_ref="weights",
        description="The weights of the model that was exported, as zoo.save writes them",
        hashes=hashed(weights.sha256),
        licenses=[_licence(text) for text in dict.fromkeys(each.licence for each in weights.licences)],
        pedigree=Pedigree(ancestors=map(_ancestor, weights.licences)) if weights.licences else None,
    )
    packages, needs = _packages(_NEEDED[engine])
    bom = Bom(components=[*files, trained, *packages.values()])
    bom.metadata.component = root
    bom.metadata.tools.components.add(Component(name="resnet-zoo", version=zoo.__version__, type=ComponentType.APPLICATION))
    bom.register_dependency(root, [*files, trained, *(packages[each] for each in _NEEDED[engine] if each in packages)])
    for package, own in needs.items():
        bom.register_dependency(packages[package], [packages[each] for each in own])
    write_text(folder / SBOM, JsonV1Dot6(bom).output_as_string(indent=2) + "\n")
    return folder / SBOM


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _licence(text: str) -> Any:
    """Return a licence: an identifier or expression of SPDX, or any other text as its name."""
    from cyclonedx.contrib.license.factories import LicenseFactory

    return LicenseFactory().make_from_string(text)


def _ancestor(licence: Licence) -> Component:
    """Return the weights that a model was trained from."""
    from cyclonedx.model import ExternalReference, ExternalReferenceType, XsUri
    from cyclonedx.model.component import Component, ComponentType

    links = [ExternalReference(type=ExternalReferenceType.DISTRIBUTION, url=XsUri(licence.source))] if licence.source else []
    return Component(
        name=licence.weights,
        type=ComponentType.MACHINE_LEARNING_MODEL,
        bom_ref=f"weights:{licence.weights}",
        description=licence.note or None,
        licenses=[_licence(licence.licence)],
        external_references=links,
    )


def _packages(roots: Iterable[str]) -> tuple[dict[str, Component], Mapping[str, list[str]]]:
    """Return the installed packages that others require, directly or through others, by name, and which packages each of them requires."""
    from packaging.requirements import Requirement
    from packaging.utils import canonicalize_name

    found: dict[str, Component] = {}
    needs: dict[str, list[str]] = {}
    waiting = [(root, frozenset[str]()) for root in roots]
    seen = set[tuple[str, frozenset[str]]]()
    while waiting:
        name, extras = place = waiting.pop()
        if place in seen:
            continue
        seen.add(place)
        try:
            package = metadata.distribution(name)
        except metadata.PackageNotFoundError:  # such as CUDA's libraries beside a build for CPUs
            continue
        found[name] = _package(name, package)
        for text in package.requires or ():
            wanted = Requirement(text)
            if wanted.marker is None or any(wanted.marker.evaluate({"extra": extra}) for extra in ("", *extras)):
                other = str(canonicalize_name(wanted.name))
                needs.setdefault(name, []).append(other)
                waiting.append((other, frozenset(wanted.extras)))
    return found, {name: sorted({each for each in own if each in found}) for name, own in needs.items()}


def _package(name: str, package: metadata.Distribution) -> Component:
    from cyclonedx.model.component import Component, ComponentType
    from packageurl import PackageURL

    about: Any = package.metadata  # a message, whose type lacks `get`
    classified = [text.rpartition(" :: ")[2] for text in about.get_all("Classifier") or () if text.startswith("License ::")]
    short = about.get("License") if re.fullmatch(r".{1,60}", about.get("License") or "") else None
    licence = about.get("License-Expression") or short or next(iter(classified), None)
    return Component(
        name=name,
        version=package.version,
        type=ComponentType.LIBRARY,
        bom_ref=f"package:{name}",
        purl=PackageURL("pypi", None, name, package.version),
        licenses=[_licence(licence)] if licence else [],
    )
