"""`zoo pull` and `hf:`: which files are fetched, what works without a network, and what is left behind when a pull fails."""

from __future__ import annotations

import errno
import json
import logging
import os
import resource
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from huggingface_hub import snapshot_download
from huggingface_hub.errors import XetDownloadError

from tests.unit.artefacts.signatures import write_keys
from tests.unit.publishing.hub import Hub
from zoo import build, card, info, load, pull, save, sign, tune, verify
from zoo.artefacts.hub import reference
from zoo.artefacts.hub.errors import explained
from zoo.artefacts.hub.reference import Reference
from zoo.artefacts.hub.snapshot import stated_licence
from zoo.cli.main import main
from zoo.errors import InputError, SignatureError
from zoo.system.disk import StorageError

DIGITS = "hf:me/digits"


@pytest.fixture
def commit(hub: Hub, digits: Path) -> str:
    """Create a repository with a saved model, a branch `v1` with the same commit, and return the hash of the commit."""
    found = hub.add_folder("me/digits", digits)
    hub.repositories["me/digits"].refs["v1"] = found
    return found


def cached(tmp_path: Path) -> list[str]:
    """Return the names of all complete files in the snapshots of the cache, and of all unfinished ones."""
    return sorted(
        path.name for path in (tmp_path / "cache").rglob("*") if path.name.endswith(".incomplete") or "snapshots" in path.parts[:-2]
    )


@contextmanager
def small_files(size: int) -> Iterator[None]:
    """Let writing of larger files fail, as it does on a full disk."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


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


# -- errors ------------------------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("commit")
def test_an_unknown_revision_names_the_known_ones() -> None:
    with pytest.raises(InputError, match=r"has no revision 'v2'. Expected one of its branches and tags \(v1\), or a commit"):
        load(f"{DIGITS}@v2")


def test_an_unknown_repository_may_be_private(hub: Hub) -> None:
    with pytest.raises(
        InputError, match=r"no such repository, or it is private. Check the name, or log in with hf auth login, or set HF_TOKEN"
    ):
        load(DIGITS)


def test_a_gated_repository_says_so(hub: Hub) -> None:
    hub.add("me/digits", {}, gated=True)
    with pytest.raises(InputError, match=f"access must be requested. Accept the terms at {hub.address}/me/digits, and log in"):
        load(DIGITS)


def test_a_wrong_token_is_reported(hub: Hub, commit: str, monkeypatch: pytest.MonkeyPatch) -> None:
    hub.token = "secret"
    with pytest.raises(InputError, match="log in with hf auth login, or set HF_TOKEN"):
        load(DIGITS)
    monkeypatch.setenv("HF_TOKEN", "secret")
    assert load(DIGITS).hub is not None


def test_without_a_network_the_error_says_what_works(hub: Hub, commit: str, monkeypatch: pytest.MonkeyPatch) -> None:
    load(DIGITS)
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(
        InputError, match=r"http://127.0.0.1:9 can't be reached .*Check the network. With HF_HUB_OFFLINE=1, a model that was"
    ):
        load(DIGITS)
    assert load(f"{DIGITS}@{commit}").hub is not None


def test_offline_a_model_that_was_not_pulled_is_an_error(hub: Hub, commit: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(InputError, match="hf:me/digits has not been pulled to this machine, and HF_HUB_OFFLINE forbids requests"):
        load(DIGITS)
    assert not hub.requests


@pytest.mark.parametrize(
    ("broken", "reason"),
    [
        ("status", r"answered with an error .*500.*; try again later"),
        ("headers", r"doesn't answer as the Hub does .*X-Repo-Commit.*\. Check HF_ENDPOINT and the network"),
        ("text", r"doesn't answer as the Hub does .*JSON.*\. Check HF_ENDPOINT and the network"),
    ],
)
def test_a_broken_server_is_reported(broken: str, reason: str, hub: Hub, commit: str, tmp_path: Path) -> None:
    hub.repositories["me/digits"].broken = broken
    with pytest.raises(InputError, match=reason):
        load(DIGITS)
    assert not cached(tmp_path)


def test_a_full_disk_leaves_no_incomplete_file(hub: Hub, commit: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with small_files(200_000), pytest.raises(StorageError, match=r"no incomplete file was kept. HF_HUB_CACHE sets another folder"):
        load(DIGITS)
    assert cached(tmp_path) == ["model.json"]
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(InputError, match="has not been pulled"):
        load(DIGITS)
    monkeypatch.delenv("HF_HUB_OFFLINE")
    assert load(DIGITS).classes == ("0", "1")


def test_a_full_disk_leaves_an_earlier_commit_usable(hub: Hub, commit: str, birds: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    load(DIGITS)
    hub.repositories["me/digits"].commit({path.name: path.read_bytes() for path in birds.iterdir()})
    with small_files(200_000), pytest.raises(StorageError, match="no incomplete file was kept"):
        load(DIGITS)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    assert load(DIGITS).hub == {"repository": "me/digits", "commit": commit}


@pytest.mark.parametrize("kind", [OSError, XetDownloadError])
def test_a_download_with_missing_bytes_is_an_error_of_the_network(kind: type[Exception], hub: Hub) -> None:
    with pytest.raises(InputError, match=r"can't be reached .*Consistency check.*\. Check the network"), explained(Reference("me/x")):
        raise kind("Consistency check failed")


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
    with small_files(200_000), pytest.raises(StorageError, match="then pull again, or choose another folder with --out"):
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


# -- signatures and licences ---------------------------------------------------------------------------------------------


def test_signatures_are_verified_before_a_pulled_model_is_parsed(hub: Hub, digits: Path, tmp_path: Path) -> None:
    private, public = write_keys(tmp_path / "keys")
    private = private.rename(tmp_path / "key.pem")
    model = save(load(digits), tmp_path / "model")
    (model / "README.md").write_text("---\nlicense: mit\n---\n")
    sign(model, private)
    hub.add_folder("me/digits", model)
    trusted: dict[str, Any] = {"trust": "enforce", "trusted_keys": public.parent}
    assert load(DIGITS, **trusted).hub is not None
    assert build("resnet20", weights=DIGITS, **trusted).hub is not None
    pull(DIGITS, tmp_path / "copy")
    assert verify(tmp_path / "copy", public).version == 1
    assert main(["verify", DIGITS, "--key", str(public)]) == 0
    files = hub.repositories["me/digits"].files
    hub.repositories["me/digits"].commit({**files, "model.json": files["model.json"].replace(b'"0"', b'"O"')})
    with pytest.raises(SignatureError, match=r"model\.json was changed after signing"):
        load(DIGITS, **trusted)
    words = ["--trust", "enforce", "--trusted-keys", str(public.parent)]
    assert main(["pull", DIGITS, "--out", str(tmp_path / "changed"), *words]) == 2
    assert not (tmp_path / "changed").exists()
    hub.repositories["me/digits"].commit({name: data for name, data in files.items() if name != "model.sig"})
    with pytest.raises(SignatureError, match="is not signed"):
        load(DIGITS, **trusted)


@pytest.mark.parametrize(("card", "stated"), [("---\nlicense: cc-by-nc-4.0\n---\n", "cc-by-nc-4.0"), ("# Digits", "unknown")])
def test_the_licence_is_checked_before_weights_are_fetched(card: str, stated: str, hub: Hub, digits: Path) -> None:
    hub.add("me/digits", {**{path.name: path.read_bytes() for path in digits.iterdir()}, "README.md": card.encode()})
    refused = f"refused weights without a permissive licence.*hf:me/digits@[0-9a-f]{{40}}: {stated}"
    with pytest.raises(InputError, match=refused):
        load(DIGITS, licence_policy="permissive")
    with pytest.raises(InputError, match=refused):
        build("resnet20", weights=DIGITS, licence_policy="permissive")
    assert not hub.asked("safetensors")


def test_weights_for_research_only_are_reported(hub: Hub, digits: Path, caplog: pytest.LogCaptureFixture) -> None:
    hub.add("me/research", {**{path.name: path.read_bytes() for path in digits.iterdir()}, "README.md": b"---\nlicense: cc-by-nc-4.0\n---"})
    with caplog.at_level(logging.WARNING, "zoo"):
        model = load("hf:me/research")
    assert "for non-commercial research only. Licence: cc-by-nc-4.0" in caplog.text
    assert [each.licence for each in model.config.licences] == ["cc-by-nc-4.0"]


@pytest.mark.parametrize(
    ("card", "licence"),
    [
        ("---\nlicense: apache-2.0\ntags: [a]\n---\ntext", "apache-2.0"),
        ("\ufeff---\r\nlicense: mit\r\n---\r\n", "mit"),
        ("---\nlicense: other\nlicense_name: mine\n---", "mine"),
        ("---\nlicense: other\n---", None),
        ("---\nlicense: [mit, apache-2.0]\n---", "mit AND apache-2.0"),
        ("---\ntags: [a]\n---", None),
        ("---\n- a\n---", None),
        ("---\nlicense: : :\n---", None),
        ("---\nlicense: mit", None),
        ("license: mit", None),
        ("", None),
    ],
)
def test_the_licence_of_a_model_card(card: str, licence: str | None) -> None:
    assert stated_licence(card) == licence


def test_the_licence_of_an_earlier_commit_is_replaced(hub: Hub, digits: Path, tmp_path: Path) -> None:
    hub.add_folder("me/digits", digits)
    model = load(DIGITS)
    save(model, tmp_path / "model")
    description = json.loads((tmp_path / "model" / "model.json").read_text())
    assert [each["weights"] for each in description["licences"]] == [f"{DIGITS}@{model.metadata['hub']['commit']}"]
    later = hub.repositories["me/digits"].commit({path.name: path.read_bytes() for path in (tmp_path / "model").iterdir()})
    assert [each.weights for each in load(DIGITS).config.licences] == [f"{DIGITS}@{later}"]
