"""`zoo push`: what is published loads unchanged, in one commit, with a licence, and in timm if timm has the network."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from huggingface_hub import constants

from tests.unit.artefacts.signatures import write_keys
from tests.unit.publishing.hub import Hub
from zoo import Model, build, card, load, pull, push, save, sign, verify
from zoo.artefacts.hub.snapshot import stated_licence
from zoo.backbones import Licence
from zoo.errors import InputError
from zoo.models.fingerprint import model_fingerprint

BIRDS = "hf:me/birds"
pytestmark = pytest.mark.filterwarnings("ignore:Use 'content=<...>' to upload:DeprecationWarning")  # huggingface-hub's use of its client


def without_hub(model: Model) -> tuple[Any, ...]:
    """Return everything that must be the same after publication."""
    config = {name: value for name, value in model.config.to_dict().items() if name != "licences"}
    return model_fingerprint(model), config, {name: value for name, value in model.metadata.items() if name != "hub"}


def test_a_published_model_is_loaded_unchanged_and_states_its_commit(hub: Hub, tmp_path: Path) -> None:  # tests/contract has all tasks
    heads = {"animal": ["cat", "dog"], "indoors": ["no", "yes"]}
    model = build("resnet20", dict.fromkeys(heads, "classification"), classes=heads)
    model.metadata["training"] = {"epochs": 3}
    pushed = push(save(model, tmp_path / "model"), BIRDS, licence="mit")
    again = load(BIRDS)
    assert without_hub(again) == without_hub(model)
    assert again.metadata["hub"] == {"repository": "me/birds", "commit": pushed.commit}
    assert again.config.licences == (Licence(f"{BIRDS}@{pushed.commit}", "mit", f"{hub.address}/me/birds"),)
    assert not pushed.timm
    assert set(hub.repositories["me/birds"].files) == {".gitattributes", "README.md", "model.json", "weights.safetensors"}


def test_a_classifier_is_stored_once_for_the_zoo_and_for_timm(hub: Hub, birds: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = load(birds)
    pushed = push(birds, BIRDS, licence="mit")
    assert pushed.timm
    assert set(hub.repositories["me/birds"].files) == {".gitattributes", "README.md", "config.json", "model.json", "model.safetensors"}
    again = load(BIRDS)
    assert without_hub(again) == without_hub(model)
    images = torch.rand(2, 3, 64, 64)
    assert torch.equal(again(images), model(images))
    network = in_timm("me/birds", hub, monkeypatch)
    way = model.preprocess
    mean, std = (torch.tensor(values).view(1, 3, 1, 1) for values in (way.mean, way.std))
    with torch.inference_mode():
        torch.testing.assert_close(network((images - mean) / std), model(images), atol=1e-6, rtol=0)
    settings = timm.data.resolve_model_data_config(network)
    assert (tuple(settings["input_size"]), settings["crop_pct"], settings["interpolation"]) == (
        (3, 64, 64),
        way.crop_pct,
        way.interpolation,
    )
    assert (tuple(settings["mean"]), tuple(settings["std"])) == (way.mean, way.std)
    assert network.pretrained_cfg["label_names"] == ["robin", "wren"]


def in_timm(repository: str, hub: Hub, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Return timm's network from a repository; huggingface-hub has read the environment before."""
    monkeypatch.setattr(constants, "ENDPOINT", hub.address)
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", hub.address + "/{repo_id}/resolve/{revision}/{filename}")
    monkeypatch.setattr(constants, "HF_HUB_CACHE", os.environ["HF_HUB_CACHE"])
    return timm.create_model(f"hf-hub:{repository}", pretrained=True).eval()


def test_a_push_is_one_commit_which_replaces_the_files_of_an_earlier_model(hub: Hub, birds: Path, digits: Path) -> None:
    push(digits, BIRDS, licence="mit")
    repository = hub.repositories["me/birds"]
    assert len(repository.commits) == 2  # that of the new repository, and that of the push
    repository.commit({**repository.files, "LICENSE.md": b"terms", "labels.txt": b"of an export"})
    push(birds, BIRDS, licence="mit", message="Birds in place of digits")
    assert len(repository.commits) == 4
    assert "LICENSE.md" in repository.files
    assert "labels.txt" not in repository.files
    assert "weights.safetensors" not in repository.files
    assert load(BIRDS).classes == ("robin", "wren")


def test_a_push_to_a_branch_leaves_the_main_branch_unchanged(hub: Hub, birds: Path, digits: Path) -> None:
    push(digits, BIRDS, licence="mit")
    push(birds, f"{BIRDS}@next", licence="mit")
    assert (load(BIRDS).classes, load(f"{BIRDS}@next").classes) == (("0", "1"), ("robin", "wren"))


@pytest.mark.slow  # starts the command line
def test_a_killed_push_shows_nothing(hub: Hub, digits: Path) -> None:
    hub.stall = "PUT"
    command = [sys.executable, "-m", "zoo", "push", str(digits), BIRDS, "--licence", "mit"]
    with subprocess.Popen(command) as process:
        assert hub.stalled.wait(60)
        process.send_signal(signal.SIGKILL)
    hub.stall = ""
    assert set(hub.repositories["me/birds"].files) == {".gitattributes"}
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    assert load(BIRDS).classes == ("0", "1")


# -- licences ----------------------------------------------------------------------------------------------------------


def test_a_model_without_a_licence_is_not_published(hub: Hub, birds: Path) -> None:
    with pytest.raises(InputError, match="licence of the model isn't known; pass one with --licence"):
        push(birds, BIRDS)
    assert not hub.requests


def _with_licences(folder: Path, *found: tuple[str, str]) -> Path:
    """Set the licences that a saved model inherits: the names of weights, and their licences."""
    path = folder / "model.json"
    content = json.loads(path.read_text())
    content["licences"] = [Licence(name, licence).to_dict() for name, licence in found]
    path.write_text(json.dumps(content))
    return folder


def _copied(folder: Path, to: Path) -> Path:
    return Path(shutil.copytree(folder, to))


@pytest.mark.parametrize(
    ("inherited", "text", "asked", "stated"),
    [
        ([("a", "Apache-2.0"), ("b", "Apache-2.0")], None, None, "apache-2.0"),
        ([("a", "Apache-2.0")], None, "mit", "mit"),
        ([], "---\nlicense: bsd-3-clause\n---\n# Mine", None, "bsd-3-clause"),
        ([], "---\ntags: [birds]\n---\n# Mine", "mit", "mit"),
        ([], "# Mine", "mit", "mit"),
        ([], None, "MIT", "mit"),
        ([], "---\r\ntags: [birds]\r\n---\r\n# Mine", "mit", "mit"),
        ([("a", "CC-BY-NC-4.0")], None, None, "cc-by-nc-4.0"),
    ],
)
def test_the_licence_is_stated_in_the_model_card(
    inherited: list[tuple[str, str]], text: str | None, asked: str | None, stated: str, hub: Hub, digits: Path, tmp_path: Path
) -> None:
    folder = _with_licences(_copied(digits, tmp_path / "model"), *inherited)
    if text is not None:
        (folder / "README.md").write_bytes(text.encode())
    assert push(folder, BIRDS, licence=asked).licence.lower() == stated
    found = hub.repositories["me/birds"].files["README.md"].decode()
    assert stated_licence(found) == stated
    assert ("# Mine" in found) == (text is not None)


@pytest.mark.parametrize("inherited", [[("a", "Apache-2.0"), ("b", "MIT")], [("a", "Apache-2.0"), ("b", "unknown")], [("a", "unknown")]])
def test_different_or_unknown_licences_of_weights_need_a_decision(
    inherited: list[tuple[str, str]], hub: Hub, digits: Path, tmp_path: Path
) -> None:
    folder = _with_licences(_copied(digits, tmp_path / "model"), *inherited)
    with pytest.raises(InputError, match=r"licence of the model isn't known \(its weights: a: .*\); pass one with --licence"):
        push(folder, BIRDS)


def test_a_licence_that_contradicts_the_card_is_refused(hub: Hub, digits: Path, tmp_path: Path) -> None:
    folder = _copied(digits, tmp_path / "model")
    (folder / "README.md").write_text("---\nlicense: gpl-3.0\n---\n")
    with pytest.raises(InputError, match=r"README\.md states the licence 'gpl-3.0', but --licence is 'mit'; correct one of them"):
        push(folder, BIRDS, licence="mit")
    (folder / "README.md").write_bytes(b"\xff")
    with pytest.raises(InputError, match=r"README\.md is not valid UTF-8 .*; save it as UTF-8"):
        push(folder, BIRDS, licence="mit")
    assert not hub.requests


def test_a_licence_that_the_hub_refuses_publishes_nothing(hub: Hub, digits: Path, tmp_path: Path) -> None:
    folder = _copied(digits, tmp_path / "model")
    (folder / "README.md").write_text("---\nlicense: nonsense\n---\n")
    with pytest.raises(InputError, match=r"the push failed, and nothing was published .*Invalid metadata"):
        push(folder, BIRDS)
    assert set(hub.repositories["me/birds"].files) == {".gitattributes"}


def test_a_card_without_a_licence_is_completed_and_other_licences_have_a_link(hub: Hub, digits: Path, tmp_path: Path) -> None:
    folder = _copied(digits, tmp_path / "model")
    card(folder)
    terms: dict[str, Any] = {"licence": "My terms", "licence_link": "https://example.org/terms"}
    assert push(folder, BIRDS, **terms).licence == "my-terms"
    (folder / "README.md").write_text("# Mine")
    assert push(folder, BIRDS, **terms).licence == "my-terms"
    assert "license_link: https://example.org/terms" in hub.repositories["me/birds"].files["README.md"].decode()


# -- what is refused ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("present", [{"pytorch_model.bin": b"x"}, {"config.json": b"{}", "README.md": b""}])
def test_files_of_other_programs_are_not_replaced(present: dict[str, bytes], hub: Hub, digits: Path) -> None:
    hub.add("me/birds", present)
    with pytest.raises(InputError, match=r"contains files of another program .*, which won't be replaced; choose another name"):
        push(digits, BIRDS, licence="mit")
    assert hub.repositories["me/birds"].files == present


def test_a_commit_is_no_branch(hub: Hub, digits: Path) -> None:
    with pytest.raises(InputError, match="a commit can't be changed; expected hf:OWNER/NAME, or hf:OWNER/NAME@BRANCH"):
        push(digits, f"{BIRDS}@{'0' * 40}", licence="mit")


def test_offline_nothing_is_pushed(hub: Hub, digits: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(InputError, match="HF_HUB_OFFLINE forbids requests; unset it to push"):
        push(digits, BIRDS, licence="mit")


def test_a_push_without_write_access_is_refused(hub: Hub, digits: Path) -> None:
    hub.token = "secret"
    with pytest.raises(InputError, match="log in with hf auth login, or set HF_TOKEN"):
        push(digits, BIRDS, licence="mit")


def test_a_token_without_write_access_is_reported(hub: Hub, digits: Path) -> None:
    hub.forbidden = True
    with pytest.raises(InputError, match="a token with write access is required; log in with hf auth login, or set HF_TOKEN"):
        push(digits, BIRDS, licence="mit")
    assert set(hub.repositories["me/birds"].files) == {".gitattributes"}


def test_a_repository_that_was_changed_meanwhile_is_left_as_it_is(hub: Hub, digits: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    push(digits, BIRDS, licence="mit")
    first = next(iter(hub.repositories["me/birds"].commits))
    monkeypatch.setattr("zoo.publishing.push.listed", lambda reference: (first, [".gitattributes"]))
    with pytest.raises(InputError, match="changed during the push, which was not carried out; push again"):
        push(digits, BIRDS, licence="apache-2.0")
    assert len(hub.repositories["me/birds"].commits) == 2


def test_graphs_with_pickles_are_refused(hub: Hub, digits: Path, tmp_path: Path) -> None:
    folder = _copied(digits, tmp_path / "model")
    (folder / "pictures.pt2").write_bytes(b"")
    with pytest.raises(
        InputError, match=r"pictures\.pt2 contains pickles, which aren't published; export the model with --format openvino"
    ):
        push(folder, BIRDS, licence="mit")


def test_a_signed_model_is_published_as_it_is(hub: Hub, birds: Path, tmp_path: Path) -> None:
    private, public = write_keys(tmp_path / "keys")
    private = private.rename(tmp_path / "key.pem")
    folder = _copied(birds, tmp_path / "model")
    (folder / "notes.rst").write_text("mine")
    card(folder, licence="mit")
    sign(folder, private)
    with pytest.raises(
        InputError, match=r"the signature covers notes\.rst, which isn't published; remove the file, and sign the model again"
    ):
        push(folder, BIRDS, licence="mit")
    (folder / "notes.rst").unlink()
    sign(folder, private)
    (folder / "README.md").write_text("# Mine")
    sign(folder, private)
    with pytest.raises(
        InputError, match=r"the signature covers README\.md, which states no licence; write the card with its licence first"
    ):
        push(folder, BIRDS, licence="mit")
    (folder / "README.md").unlink()
    sign(folder, private)
    with pytest.raises(InputError, match=r"doesn't cover a model card, README\.md; write .* \(zoo card .*\), then sign the model again"):
        push(folder, BIRDS, licence="mit")
    card(folder, licence="mit")
    sign(folder, private)
    assert push(folder, BIRDS).timm
    assert {"config.json", "model.safetensors", "model.sig", "weights.safetensors"} < set(hub.repositories["me/birds"].files)
    pull(BIRDS, tmp_path / "copy")
    assert verify(tmp_path / "copy", public).files == ("README.md", "model.json", "weights.safetensors")
    assert load(BIRDS, trust="enforce", trusted_keys=public.parent).classes == ("robin", "wren")
    assert not hub.asked("GET .*model.safetensors")
