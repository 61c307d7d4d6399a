"""Signatures and licences of models from the Hub: both are checked before a model is parsed."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

import pytest

from tests.unit.artefacts.signatures import write_keys
from tests.unit.publishing.hub import DIGITS, Hub
from zoo import build, load, pull, save, sign, verify
from zoo.artefacts.hub.snapshot import stated_licence
from zoo.cli.main import main
from zoo.errors import InputError, SignatureError


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
