"""Inventories of exports: what they list, and that they are valid CycloneDX files."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest

import zoo
from zoo.backbones import Licence
from zoo.cli.main import main
from zoo.compilation import sbom
from zoo.compilation.sbom import Weights, write_sbom
from zoo.errors import InputError

pytestmark = pytest.mark.usefixtures("one_thread")
LICENCES = (
    Licence("resnet18.fb_swsl_ig1b_ft_in1k", "CC-BY-NC-4.0", "https://example.org/weights", "a note"),
    Licence("/home/me/w.pth"),
    Licence("backbone.pth", "research only"),
)


def small(*licences: Licence) -> zoo.Model:
    model = zoo.build("resnet20", classes=["cat", "dog"], image_size=32)
    model.config = replace(model.config, licences=licences)
    return model


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def read(path: Path) -> dict[str, Any]:
    """Return an inventory that the library's own validator accepts."""
    # imported late, because jsonschema compiles grammars for seconds, which every process that collects this module would repeat
    from cyclonedx.schema import SchemaVersion
    from cyclonedx.validation.json import JsonStrictValidator

    text = path.read_text(encoding="utf-8")
    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(text) is None
    content: dict[str, Any] = json.loads(text)
    return content


def digests(components: list[dict[str, Any]], kind: str) -> dict[str, str]:
    return {each["name"]: each["hashes"][0]["content"] for each in components if each["type"] == kind}


def test_an_export_lists_files_weights_and_packages(tmp_path: Path) -> None:
    model = small(*LICENCES)
    exported = zoo.export(model, tmp_path / "mine", "torch", precision="fp32", sbom=True)
    content = read(tmp_path / "mine" / "sbom.cdx.json")
    assert (content["bomFormat"], content["specVersion"]) == ("CycloneDX", "1.6")
    root = content["metadata"]["component"]
    assert exported.fingerprints is not None
    assert (root["name"], root["version"]) == ("mine", exported.fingerprints["model"])
    files = {path.name: sha256(path) for path in (tmp_path / "mine").iterdir() if path.name != "sbom.cdx.json"}
    assert {"model.json", "labels.txt"} < set(files)
    assert digests(content["components"], "file") == files
    saved = zoo.save(model, tmp_path / "saved")
    weights = {"weights.safetensors": sha256(saved / "weights.safetensors")}
    assert digests(content["components"], "machine-learning-model") == weights
    assert [each.weights for each in zoo.load(tmp_path / "mine").config.licences] == [each.weights for each in LICENCES]
    zoo.export(model, tmp_path / "mine", "torch", precision="fp32")
    assert not (tmp_path / "mine" / "sbom.cdx.json").exists(), "it would describe other files"


def test_weights_have_the_licences_that_they_inherit(tmp_path: Path) -> None:
    content = read(write_sbom(tmp_path, "mine", "onnxruntime", Weights.of(small(*LICENCES))))
    (weights,) = (each for each in content["components"] if each["bom-ref"] == "weights")
    stated = [{"license": {"id": "CC-BY-NC-4.0"}}, {"license": {"name": "unknown"}}, {"license": {"name": "research only"}}]
    assert sorted(weights["licenses"], key=str) == sorted(stated, key=str)
    ancestors = {each["name"]: each for each in weights["pedigree"]["ancestors"]}
    assert {name: each["licenses"] for name, each in ancestors.items()} == {
        licence.weights: [each] for licence, each in zip(LICENCES, stated, strict=True)
    }
    known = ancestors["resnet18.fb_swsl_ig1b_ft_in1k"]
    assert known["externalReferences"] == [{"type": "distribution", "url": "https://example.org/weights"}]
    assert known["description"] == "a note"


def test_random_weights_have_no_ancestors(tmp_path: Path) -> None:
    content = read(write_sbom(tmp_path, "mine", "onnxruntime", Weights.of(small())))
    (weights,) = (each for each in content["components"] if each["bom-ref"] == "weights")
    assert not {"licenses", "pedigree"} & set(weights)


def test_packages_are_those_that_run_the_graph_with_all_that_they_require(tmp_path: Path) -> None:
    content = read(write_sbom(tmp_path, "mine", "onnxruntime", Weights("f", "0" * 64, ())))
    packages = {each["name"]: each for each in content["components"] if each["type"] == "library"}
    assert {"onnxruntime", "numpy", "protobuf"} <= set(packages)
    assert not {"torch", "sympy", "openvino"} & set(packages), "neither other engines nor extras"
    assert {name: each["version"] for name, each in packages.items()} == {name: metadata.version(name) for name in packages}
    assert packages["numpy"]["purl"] == f"pkg:pypi/numpy@{metadata.version('numpy')}"
    assert packages["onnxruntime"]["licenses"] == [{"license": {"name": "MIT License"}}]
    needs = {each["ref"]: set(each.get("dependsOn", ())) for each in content["dependencies"]}
    assert {"package:onnxruntime", "package:numpy", "weights"} <= needs["model"]
    assert "package:protobuf" in needs["package:onnxruntime"]
    assert "package:protobuf" not in needs["model"]


def test_exports_of_torch_need_the_zoo_itself(tmp_path: Path) -> None:
    content = read(write_sbom(tmp_path, "mine", "eager", Weights("f", "0" * 64, ())))
    assert {"resnet-zoo", "torch", "timm", "numpy"} <= {each["name"] for each in content["components"]}


def test_the_command_writes_an_inventory(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    saved = zoo.save(small(), tmp_path / "saved")
    words = ["export", str(saved), "--format", "torch", "--precision", "fp32", "--out", str(tmp_path / "out"), "--sbom", "--json"]
    assert main(words) == 0
    assert "sbom.cdx.json" in json.loads(capsys.readouterr().out)["files"]
    names = {each["name"] for each in read(tmp_path / "out" / "sbom.cdx.json")["components"]}
    assert "weights.safetensors" in names


def test_a_missing_extra_is_named_before_anything_is_compiled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sbom, "find_spec", lambda name: None)
    with pytest.raises(InputError, match=r"requires cyclonedx, packaging; install the extra: pip install 'resnet-zoo\[sbom\]'"):
        zoo.export(small(), tmp_path / "out", "torch", sbom=True)
    assert not (tmp_path / "out").exists()


def test_requested_extras_count_and_packages_that_are_not_installed_do_not(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    required = {"aa": ["bb[x]", "absent>=2"], "bb": ["cc; extra == 'x'", "dd; extra == 'y'"], "cc": ["aa"], "dd": []}
    for name, texts in required.items():
        folder = tmp_path / f"zootest_{name}-1.0.dist-info"
        folder.mkdir()
        lines = [f"Requires-Dist: zootest-{text}" for text in texts]
        (folder / "METADATA").write_text("\n".join(["Metadata-Version: 2.4", f"Name: zootest-{name}", "Version: 1.0", *lines]) + "\n")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setitem(sbom._NEEDED, "eager", ("zootest-aa",))
    (tmp_path / "out").mkdir()
    content = read(write_sbom(tmp_path / "out", "mine", "eager", Weights("f", "0" * 64, ())))
    assert {each["name"] for each in content["components"]} == {"weights.safetensors", "zootest-aa", "zootest-bb", "zootest-cc"}
