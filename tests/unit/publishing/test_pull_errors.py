"""Errors of `zoo pull` and `hf:`: one message with the remedy, and no incomplete file."""

from __future__ import annotations

from pathlib import Path

import pytest
from huggingface_hub.errors import XetDownloadError

from tests.unit.publishing.hub import DIGITS, Hub, cached
from tests.unit.system.full_disk import files_up_to
from zoo import load
from zoo.artefacts.hub.errors import explained
from zoo.artefacts.hub.reference import Reference
from zoo.errors import InputError
from zoo.system.disk import StorageError


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
    with files_up_to(200_000), pytest.raises(StorageError, match=r"no incomplete file was kept. HF_HUB_CACHE sets another folder"):
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
    with files_up_to(200_000), pytest.raises(StorageError, match="no incomplete file was kept"):
        load(DIGITS)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    assert load(DIGITS).hub == {"repository": "me/digits", "commit": commit}


@pytest.mark.parametrize("kind", [OSError, XetDownloadError])
def test_a_download_with_missing_bytes_is_an_error_of_the_network(kind: type[Exception], hub: Hub) -> None:
    with pytest.raises(InputError, match=r"can't be reached .*Consistency check.*\. Check the network"), explained(Reference("me/x")):
        raise kind("Consistency check failed")
