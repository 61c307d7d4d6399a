"""`zoo pull` and `hf:`: which files are fetched, what works without a network, and what is left behind when a pull fails."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest
from huggingface_hub import snapshot_download

from tests.unit.publishing.hub import DIGITS, Hub, cached
from tests.unit.system.full_disk import files_up_to
from zoo import build, card, info, load, pull, save, tune
from zoo.artefacts.hub import reference
from zoo.errors import InputError
from zoo.system.disk import StorageError

# -- references --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text", ["hf:", "hf:digits", "hf:me/digits/model", "hf:me/../x", "hf:me/a--b", "hf:me/digits@", "hf:me/digits@a..b"]
)
def test_other_texts_name_no_repository(text: str) -> None:
    with pytest.raises(InputError, match="names no repository of the Hub; expected hf:OWNER/NAME, or hf:OWNER/NAME@REVISION"):
        load(text)


def test_without_the_package_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reference, "find_spec", lambda name: None)
    with pytest.raises(InputError, match=r"require the package huggingface-hub; install the extra: pip install 'resnet-zoo\[hub\]'"):
        load(DIGITS)


@pytest.mark.parametrize("revision", ["", "@v1", "@{commit}"])
def test_a_model_loads_from_every_kind_of_revision_and_then_offline(
    revision: str, hub: Hub, commit: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = DIGITS + revision.format(commit=commit)
    assert load(place).metadata["hub"] == {"repository": "me/digits", "commit": commit}
    hub.requests.clear()
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    assert load(Path(place)).hub == {"repository": "me/digits", "commit": commit}
    assert build("resnet20", weights=place).hub == {"repository": "me/digits", "commit": commit}
    assert info(place)["metadata"]["hub"]["commit"] == commit
    assert pull(place).folder.is_dir()
    assert not hub.requests


def test_what_another_program_has_fetched_is_loaded_offline(hub: Hub, commit: str, monkeypatch: pytest.MonkeyPatch) -> None:
    place = Path(snapshot_download("me/digits", cache_dir=os.environ["HF_HUB_CACHE"], endpoint=hub.address, allow_patterns=["model.json"]))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(InputError, match="has not been pulled"):
        load(DIGITS)
    snapshot_download("me/digits", cache_dir=os.environ["HF_HUB_CACHE"], endpoint=hub.address)
    assert place.name == commit
    assert load(DIGITS).hub == {"repository": "me/digits", "commit": commit}


def test_a_server_may_list_files_in_the_tree_only(hub: Hub, commit: str) -> None:
    hub.repositories["me/digits"].broken = "siblings"
    assert load(DIGITS).hub == {"repository": "me/digits", "commit": commit}


def test_a_cache_may_be_read_only(hub: Hub, commit: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(path: Path, text: str) -> None:
        raise OSError(refused, os.strerror(refused), str(path))

    monkeypatch.setattr("zoo.artefacts.hub.snapshot.write_text", refuse)
    refused = errno.EROFS
    assert load(DIGITS).hub is not None
    refused = errno.ENOSPC
    with pytest.raises(StorageError, match="can't be written"):
        load(DIGITS)


def test_a_commit_is_fetched_once(hub: Hub, commit: str) -> None:
    load(f"{DIGITS}@{commit}")
    hub.requests.clear()
    load(f"{DIGITS}@{commit}")
    assert not hub.requests


def test_a_branch_follows_its_commits(hub: Hub, commit: str, birds: Path) -> None:
    assert load(DIGITS).classes == ("0", "1")
    later = hub.repositories["me/digits"].commit({path.name: path.read_bytes() for path in birds.iterdir()})
    assert load(DIGITS).hub == {"repository": "me/digits", "commit": later}
    assert load(f"{DIGITS}@v1").classes == ("0", "1")


# -- files -------------------------------------------------------------------------------------------------------------


def test_pickles_and_files_of_others_are_not_fetched(hub: Hub, digits: Path, tmp_path: Path) -> None:
    files = {path.name: path.read_bytes() for path in digits.iterdir()}
    pickles = ["pytorch_model.bin", "model.pt", "optimizer.pth", "last.ckpt", "state.pkl", "graph.pt2", "b.bin"]
    others = [*pickles, "photo.jpg", "logs/a.json", ".x.json", "LICENSE.md"]
    hub.add("me/digits", {**files, "README.md": b"# Digits", **dict.fromkeys(others, b"x")})
    load(DIGITS)
    assert not hub.asked("resolve/.*(bin|pt|pth|ckpt|pkl|pt2|jpg|logs|x.json|LICENSE.md)$")
    assert cached(tmp_path) == ["README.md", "model.json", "weights.safetensors"]


@pytest.mark.parametrize(
    ("files", "reason"),
    [
        (["config.json", "pytorch_model.bin"], r"weights only as pickles \(pytorch_model.bin\), which can run code and are never fetched"),
        (["model.json", "weights.pth"], r"weights only as pickles \(weights.pth\)"),
        (["README.md"], "neither a model of the zoo .* nor weights in a safetensors file"),
        (["a.safetensors", "b.safetensors"], r"several weights files \(a.safetensors, b.safetensors\); download one of them"),
    ],
)
def test_a_repository_without_a_model_is_refused(files: list[str], reason: str, hub: Hub, tmp_path: Path) -> None:
    hub.add("me/digits", dict.fromkeys(files, b"{}"))
    with pytest.raises(InputError, match=f"^hf:me/digits contains {reason}"):
        load(DIGITS)
    assert not cached(tmp_path)


def test_weights_without_a_description_need_a_backbone(hub: Hub, digits: Path) -> None:
    hub.add("me/digits", {"resnet20.safetensors": (digits / "weights.safetensors").read_bytes()})
    with pytest.raises(InputError, match=r"not the name of their network .* --backbone NAME --weights hf:me/digits"):
        load(DIGITS)
    with pytest.raises(InputError, match="contains weights of another program, and no model of the zoo"):
        tune_folder()
    assert build("resnet20", num_classes=2, weights=DIGITS).config.weights == f"{DIGITS}@{hub.repositories['me/digits'].refs['main']}"


def tune_folder() -> None:
    from zoo.models.config import model_folder

    model_folder(DIGITS)


# -- folders -----------------------------------------------------------------------------------------------------------


def test_pull_writes_a_saved_model_which_records_the_commit(hub: Hub, commit: str, tmp_path: Path) -> None:
    found = pull(DIGITS, tmp_path / "digits")
    assert (found.to_dict(), sorted(found.files)) == ({"repository": "me/digits", "commit": commit}, ["model.json", "weights.safetensors"])
    assert load(tmp_path / "digits").hub == {"repository": "me/digits", "commit": commit}
    pull(DIGITS, tmp_path / "digits")  # replaces it
    (tmp_path / "digits" / "notes.txt").write_text("mine")
    with pytest.raises(InputError, match=r"contains notes.txt, which the zoo didn't write"):
        pull(DIGITS, tmp_path / "digits")


def test_a_full_disk_leaves_no_folder(hub: Hub, commit: str, tmp_path: Path) -> None:
    pull(DIGITS)
    with files_up_to(200_000), pytest.raises(StorageError, match="then pull again, or choose another folder with --out"):
        pull(DIGITS, tmp_path / "digits")
    assert not [path.name for path in tmp_path.iterdir() if "digits" in path.name]


def test_a_repository_is_not_changed(hub: Hub, commit: str, tmp_path: Path) -> None:
    refused = f"a repository of the Hub can't be changed; pass --out FOLDER, or the folder of zoo pull {DIGITS} --out FOLDER"
    with pytest.raises(InputError, match=refused):
        tune(DIGITS, "demo:digits?split=test&classes=0,1&limit=8", replicates=0)
    with pytest.raises(InputError, match="is a repository of the Hub, whose files aren't changed; pass --out FILE"):
        card(DIGITS, licence="mit")
    assert card(DIGITS, tmp_path / "card.md", licence="mit").is_file()
    with pytest.raises(
        InputError, match=f"is a repository of the Hub; save the model to a folder, and publish it with zoo push FOLDER {DIGITS}"
    ):
        save(load(DIGITS), DIGITS)


def test_a_damaged_description_is_reported_when_it_is_copied(hub: Hub, digits: Path, tmp_path: Path) -> None:
    hub.add("me/digits", {"model.json": b"[]", "weights.safetensors": (digits / "weights.safetensors").read_bytes()})
    with pytest.raises(InputError, match=r"model.json is not a valid model description"):
        pull(DIGITS, tmp_path / "digits")
    assert not (tmp_path / "digits").exists()
