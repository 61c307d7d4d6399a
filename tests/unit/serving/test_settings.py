"""Arguments of `zoo serve`: names of models and galleries, the token, and values out of range."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from zoo.cli import serve
from zoo.errors import InputError
from zoo.serving.settings import ServedModel, ServiceEntry, Settings, is_loopback, parse_entries, parse_models, read_token


def test_a_model_is_named_after_its_folder() -> None:
    assert parse_models(["runs/mine"]) == (ServedModel("mine", "runs/mine"),)
    assert parse_models(["runs/mine/model", "other=runs/x"]) == (ServedModel("mine", "runs/mine/model"), ServedModel("other", "runs/x"))
    assert parse_models(["runs/mein Modell"]) == (ServedModel("default", "runs/mein Modell"),)


def test_an_existing_path_with_an_equals_sign_is_a_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "lr=1").mkdir()
    assert parse_models(["name=lr=1"]) == (ServedModel("name", "lr=1"),)
    with pytest.raises(InputError, match="has the name 'lr=1'; pass NAME="):
        parse_models(["lr=1", "x=y"])


def test_a_single_model_is_also_the_default() -> None:
    assert Settings([ServedModel("a", "x")]).names == {"default": "a", "a": "a"}
    assert Settings([ServedModel("a", "x"), ServedModel("b", "y")]).names == {"a": "a", "b": "b"}


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "no model given"),
        (["a=x", "a=y"], "two models have the name 'a': x and y"),
        (["a b=x"], "has the name 'a b'"),
        (["=x"], "has the name ''"),
    ],
)
def test_wrong_models(words: list[str], message: str) -> None:
    with pytest.raises(InputError, match=message):
        parse_models(words)


def test_galleries_belong_to_models() -> None:
    one, two = parse_models(["m=x"]), parse_models(["m=x", "n=y"])
    assert parse_entries(["a.gallery"], one, "--gallery") == (ServiceEntry("default", "a.gallery", "m"),)
    assert parse_entries(["friends@n=postgresql://u@h/d"], two, "--gallery") == (ServiceEntry("friends", "postgresql://u@h/d", "n"),)
    for words, models, message in (
        (["a=b"], two, "pass NAME@MODEL=PLACE with one of m, n"),
        (["a@x=b"], two, "there is no model 'x'"),
        (["a=b", "a=c"], one, "the name 'a' occurs twice"),
        (["a b=c"], one, "the name is 'a b'"),
    ):
        with pytest.raises(InputError, match=message):
            parse_entries(words, models, "--gallery")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"workers": 0}, "workers is 0"),
        ({"queue": 0}, "queue is 0"),
        ({"max_batch": 0}, "max_batch is 0"),
        ({"batch_wait_ms": -1.0}, "batch_wait_ms is -1.0"),
        ({"port": 70000}, "port is 70000"),
        ({"root_path": "zoo"}, "root_path is 'zoo'"),
        ({"root_path": "/zoo/"}, "root_path is '/zoo/'"),
    ],
)
def test_values_out_of_range(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        Settings([ServedModel("a", "x")], **changes)


def test_a_public_address_needs_a_token(tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_text("0123456789abcdef\n")
    assert read_token(file, "0.0.0.0", False) == "0123456789abcdef"
    assert read_token(None, "127.0.0.1", False) is None
    assert read_token(None, "0.0.0.0", True) is None
    with pytest.raises(InputError, match="pass --token-file FILE"):
        read_token(None, "0.0.0.0", False)
    for content in (b"short", b"two words that are long", b"\xff" * 20):
        file.write_bytes(content)
        with pytest.raises(InputError, match=r"--token-file .*(expected one line|can't be read)"):
            read_token(file, "127.0.0.1", False)
    with pytest.raises(InputError, match="can't be read: No such file or directory"):
        read_token(tmp_path / "missing", "127.0.0.1", False)


def test_loopback_addresses() -> None:
    assert all(map(is_loopback, ("localhost", "127.0.0.1", "127.8.0.1", "::1", "[::1]")))
    assert not any(map(is_loopback, ("0.0.0.0", "::", "example.org", "192.168.0.1")))


def test_missing_packages_are_named_with_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(serve, "_PACKAGES", ("fastapi_is_missing",))
    with pytest.raises(InputError, match=r"requires fastapi_is_missing; install the extra: pip install 'resnet-zoo\[serve\]'"):
        serve.run(serve.ServeFlags(("x",)))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"tls_key": Path("key")}, "--tls-key requires --tls-certificate"),
        ({"tls_client_ca": Path("ca")}, "--tls-client-ca requires --tls-certificate"),
        ({"host": "0.0.0.0"}, "pass --token-file"),
    ],
)
def test_flags_that_need_others(changes: dict[str, Any], message: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(serve, "_PACKAGES", ())
    with pytest.raises(InputError, match=message):
        serve.run(serve.ServeFlags(("x",), **changes))
