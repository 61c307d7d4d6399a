"""Licences: of weights by name, of files, what a model inherits, what is reported, and what a policy refuses."""

from __future__ import annotations

import json
import logging
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import timm
import torch

import zoo
from zoo import Model, add_task, build, load, remove_task, save, split
from zoo.backbones import BACKBONES, Licence
from zoo.errors import InputError, UnknownNameError
from zoo.models.config import read_description
from zoo.models.fingerprint import model_fingerprint
from zoo.models.weights import licences
from zoo.models.weights.names import all_licences, named_licence

NC = "resnet18.fb_swsl_ig1b_ft_in1k"
_TWO = {"animal": ["cat", "dog"], "indoors": ["no", "yes"]}


@pytest.fixture(autouse=True)
def fresh(monkeypatch: pytest.MonkeyPatch) -> None:
    """Forget what was reported before, and any policy of the environment."""
    monkeypatch.setattr(licences, "_SAID", set())
    monkeypatch.delenv(licences.VARIABLE, raising=False)


@pytest.fixture
def fetched(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Replace the download of resnet18's timm weights by random ones, and return the list of tags that are fetched."""
    found: list[str] = []

    def load_weights(tag: str) -> Any:
        found.append(tag)
        return timm.create_model("resnet18").state_dict(), BACKBONES["resnet18"].preprocess()

    definition = replace(BACKBONES["resnet18"], load_weights=load_weights)
    monkeypatch.setitem(BACKBONES._definitions, "resnet18", definition)
    return found


# -- names -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("backbone", "name", "licence", "source"),
    [
        ("resnet50", "a1_in1k", "Apache-2.0", "https://github.com/huggingface/pytorch-image-models"),
        ("resnet18", "fb_swsl_ig1b_ft_in1k", "CC-BY-NC-4.0", "https://github.com/facebookresearch/semi-supervised-ImageNet1K-models"),
        ("resnet50", "bamboo", "unknown", "https://github.com/ZhangYuanhan-AI/Bamboo"),
        ("res2net50d", "in1k", "unknown", "https://huggingface.co/timm/res2net50d.in1k"),
        ("resnet50", "IMAGENET1K_V1", "unknown", "https://github.com/pytorch/vision/tree/main/references/classification#resnet"),
        ("resnet50", "ResNet50_Weights.IMAGENET1K_V2", "unknown", "https://github.com/pytorch/vision/issues/3995#"),
        ("inception_resnet_v1", "vggface2", "research only", "https://github.com/timesler/facenet-pytorch"),
        ("inception_resnet_v1", "casia-webface", "unknown", "https://github.com/timesler/facenet-pytorch"),
        ("dlib_resnet29", "default", "CC0-1.0", "https://github.com/davisking/dlib-models"),
    ],
)
def test_licences_are_those_that_the_authors_state(backbone: str, name: str, licence: str, source: str) -> None:
    found = named_licence(name, backbone, "classification")
    assert found.licence == licence
    assert found.source.startswith(source)
    assert found.note or licence != "unknown", "the reason why a licence is unknown"


def test_every_known_name_has_a_licence_and_a_source() -> None:
    found = all_licences()
    names = [each.weights for each in found]
    assert len(names) == len(set(names)) > 250
    assert "resnet50.DEFAULT" not in names, "a second name of IMAGENET1K_V2"
    assert {"resnet50.COCO_V1", "resnet50.a1_in1k", "inception_resnet_v1.vggface2"} <= set(names)
    assert not [each for each in found if not each.source.startswith(("https://", "arXiv:"))]
    assert not [each for each in found if each.licence == "unknown" and not each.note]
    # an SPDX identifier in another spelling, or a new one, needs a look: is it permissive, or for research only?
    known = {"Apache-2.0", "BSD-3-Clause", "MIT", "CC-BY-NC-4.0", "CC0-1.0", "unknown", "research only"}
    assert {each.licence for each in found} == known
    assert {each.licence for each in found if each.permissive} == known - {"CC-BY-NC-4.0", "unknown", "research only"}
    assert {each.licence for each in found if each.research_only} == {"CC-BY-NC-4.0", "research only"}


def test_weights_are_described_by_their_name() -> None:
    found = zoo.info("inception_resnet_v1.vggface2")
    assert found == zoo.info("vggface2"), "a name of one backbone only"
    assert (found["weights"], found["licence"], found["permissive"]) == ("inception_resnet_v1.vggface2", "research only", False)
    assert zoo.info("COCO_V1")["tasks"] == ["detection"]
    assert zoo.info("ResNet18_Weights.IMAGENET1K_V1")["weights"] == "resnet18.IMAGENET1K_V1"
    with pytest.raises(UnknownNameError, match=r"unknown weights 'a1_in1k'\..* Pass BACKBONE\.NAME"):
        zoo.info("a1_in1k")
    with pytest.raises(UnknownNameError, match=r"unknown weights 'resnet50\.a1'\. Nearest: resnet50\..* zoo list --weights"):
        zoo.info("resnet50.a1")


# -- what a model inherits ---------------------------------------------------------------------------------------------


def stated(model: Model) -> list[tuple[str, str]]:
    return [(each.weights, each.licence) for each in model.config.licences]


def test_a_model_inherits_the_licence_of_its_weights(tmp_path: Path, fetched: list[str]) -> None:
    model = build("resnet18", num_classes=2, weights="fb_swsl_ig1b_ft_in1k")
    assert fetched == ["fb_swsl_ig1b_ft_in1k"]
    assert stated(model) == [(NC, "CC-BY-NC-4.0")]
    folder = save(model, tmp_path / "model")
    (entry,) = json.loads((folder / "model.json").read_text())["licences"]
    assert entry == {"weights": NC, "licence": "CC-BY-NC-4.0", "source": model.config.licences[0].source}
    assert load(folder).config.licences == model.config.licences
    assert zoo.info(folder)["licences"] == [entry]
    assert stated(build("resnet18", "detection", num_classes=3, weights=folder)) == stated(model)
    assert stated(build("resnet18", "face", weights=folder / "weights.safetensors")) == stated(model)


def test_changed_heads_keep_it(tmp_path: Path, fetched: list[str]) -> None:
    model = build("resnet18", task=dict.fromkeys(_TWO, "classification"), classes=_TWO, weights="fb_swsl_ig1b_ft_in1k")
    expected = [(NC, "CC-BY-NC-4.0")]
    assert stated(model) == stated(split(model, "animal")) == expected
    assert stated(add_task(model, "third", "classification", num_classes=2)) == expected
    assert stated(remove_task(model, "animal")) == expected
    assert stated(load(save(model, tmp_path / "model"))) == expected


def test_compiled_models_keep_it(tmp_path: Path) -> None:
    model = build("resnet20", num_classes=2)
    model.config = replace(model.config, licences=(Licence("a", "MIT", "https://example.org"),))
    compiled = zoo.compile(model, engine="eager")
    assert stated(compiled) == stated(load(save(compiled, tmp_path / "compiled"))) == [("a", "MIT")]


def test_random_weights_demand_nothing_and_files_are_unknown(tmp_path: Path) -> None:
    model = build("resnet20", num_classes=2)
    assert stated(model) == []
    torch.save(model.state_dict(), tmp_path / "w.pth")
    assert stated(build("resnet20", num_classes=2, weights=tmp_path / "w.pth")) == [(str(tmp_path / "w.pth"), "unknown")]


def test_files_of_published_face_networks_are_recognised(tmp_path: Path) -> None:
    said: list[str] = []
    torch.save(BACKBONES["iresnet18"].create().state_dict(), tmp_path / "backbone.pth")
    model = build("iresnet18", "face", weights=tmp_path / "backbone.pth", say=said.append)
    assert stated(model) == [(str(tmp_path / "backbone.pth"), "research only")]
    assert "InsightFace publishes weights for non-commercial research only" in said[-1]
    own = load(save(model, tmp_path / "model"))
    assert stated(own) == stated(model)
    state = {key.removeprefix("net."): value for key, value in BACKBONES["inception_resnet_v1"].create().state_dict().items()}
    for people, licence in ((8631, "research only"), (10575, "unknown")):
        torch.save({**state, "logits.weight": torch.zeros(people, 1), "logits.bias": torch.zeros(people)}, tmp_path / "net.pt")
        assert [each for _, each in stated(build("inception_resnet_v1", "face", weights=tmp_path / "net.pt"))] == [licence]


def test_the_owner_may_state_a_licence_in_model_json(tmp_path: Path) -> None:
    torch.save(build("resnet20", num_classes=2).state_dict(), tmp_path / "w.pth")
    folder = save(build("resnet20", num_classes=2, weights=tmp_path / "w.pth"), tmp_path / "model")
    with pytest.raises(InputError, match="refused weights without a permissive licence"):
        load(folder, licence_policy="permissive")
    content = json.loads((folder / "model.json").read_text())
    content["licences"] = [{"weights": "ours", "licence": "Apache-2.0", "source": "https://example.org"}]
    (folder / "model.json").write_text(json.dumps(content))
    assert stated(load(folder, licence_policy="permissive")) == [("ours", "Apache-2.0")]
    content["licences"] = [{"weights": "ours", "licence": 3}]
    (folder / "model.json").write_text(json.dumps(content))
    with pytest.raises(InputError, match=r"model\.json is not a valid model description \(TypeError: the values of a licence"):
        load(folder)


def test_descriptions_of_older_versions_are_read(tmp_path: Path) -> None:
    folder = save(build("resnet20", num_classes=2), tmp_path / "model")
    content = json.loads((folder / "model.json").read_text())
    assert content.pop("licences") == []
    for weights, expected in ((None, []), ("resnet20.th", [("resnet20.th", "unknown")])):
        (folder / "model.json").write_text(json.dumps({**content, "weights": weights}))
        assert stated(load(folder)) == expected
        assert [(each.weights, each.licence) for each in read_description(folder)[0].licences] == expected


def test_fingerprints_do_not_depend_on_it() -> None:
    model = build("resnet20", num_classes=2)
    before = model_fingerprint(model)
    model.config = replace(model.config, licences=(Licence("a"),))
    assert model_fingerprint(model) == before


# -- reports and the policy --------------------------------------------------------------------------------------------


def test_weights_for_research_only_are_reported_once(tmp_path: Path, fetched: list[str], caplog: pytest.LogCaptureFixture) -> None:
    said: list[str] = []
    for _ in range(2):
        build("resnet18", weights="fb_swsl_ig1b_ft_in1k", say=said.append)
    folder = save(build("resnet18", weights="fb_ssl_yfcc100m_ft_in1k", say=said.append), tmp_path / "model")
    build("resnet18", weights="a1_in1k", say=said.append)
    assert [each.partition(": ")[::2] for each in said] == [
        (f"weights {name}", f"for non-commercial research only. Licence: CC-BY-NC-4.0, {named_licence(tag, 'resnet18', 'face').source}")
        for name, tag in ((NC, NC.partition(".")[2]), ("resnet18.fb_ssl_yfcc100m_ft_in1k", "fb_ssl_yfcc100m_ft_in1k"))
    ]
    licences._SAID.clear()
    with caplog.at_level(logging.WARNING, "zoo"):
        load(folder)
        load(folder)
    assert [record.getMessage() for record in caplog.records] == said[1:]


@pytest.mark.parametrize("weights", ["fb_swsl_ig1b_ft_in1k", "IMAGENET1K_V1", "DEFAULT"])
def test_a_policy_refuses_before_anything_is_fetched(monkeypatch: pytest.MonkeyPatch, fetched: list[str], weights: str) -> None:
    def fetch(*args: object, **options: object) -> object:
        raise AssertionError("fetched")

    monkeypatch.setattr("torchvision.models._api.load_state_dict_from_url", fetch)
    words = (
        r"because licence_policy \(--licence-policy\) is 'permissive'\. resnet18\..*: (CC-BY-NC-4.0|unknown), https://.*zoo list --weights"
    )
    with pytest.raises(InputError, match=words):
        build("resnet18", weights=weights, licence_policy="permissive")
    assert fetched == []
    monkeypatch.setenv("ZOO_LICENCE_POLICY", "permissive")
    with pytest.raises(InputError, match="because the environment variable ZOO_LICENCE_POLICY is 'permissive'"):
        build("resnet18", weights=weights)
    build("resnet18", weights="default", num_classes=2)
    assert fetched == ["a1_in1k"], "permissive weights are loaded"


def test_a_policy_refuses_files_before_they_are_read_and_saved_models(tmp_path: Path, fetched: list[str]) -> None:
    (tmp_path / "w.pth").write_bytes(b"")
    with pytest.raises(InputError, match=r"w\.pth: unknown, a file, .* if these are your own, save the model with zoo\.save and state"):
        build("resnet18", weights=tmp_path / "w.pth", licence_policy="permissive")
    folder = save(build("resnet18", weights="fb_swsl_ig1b_ft_in1k"), tmp_path / "model")
    (folder / "weights.safetensors").write_bytes(b"")
    for attempt in (
        partial(load, folder, licence_policy="permissive"),
        partial(build, "resnet18", weights=folder, licence_policy="permissive"),
    ):
        with pytest.raises(InputError, match=f"refused weights without a permissive licence.*{NC}: CC-BY-NC-4.0"):
            attempt()


def test_policies_with_other_names(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(InputError, match=r"licence_policy \(--licence-policy\) is 'free'; expected one of any, permissive"):
        build("resnet20", num_classes=2, licence_policy="free")  # type: ignore[arg-type]
    monkeypatch.setenv("ZOO_LICENCE_POLICY", "free")
    with pytest.raises(InputError, match="the environment variable ZOO_LICENCE_POLICY is 'free'; expected one of any, permissive"):
        build("resnet20", num_classes=2)
    assert stated(build("resnet20", num_classes=2, licence_policy="any")) == []
