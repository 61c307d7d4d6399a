"""A model is loaded, reported or refused as the caller, the command line or the user's configuration asks for, before it is parsed."""

from __future__ import annotations

import json
import logging
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

import zoo
from tests.unit.artefacts.signatures import save_model, write_keys
from zoo.artefacts import trust
from zoo.artefacts.manifest import compare
from zoo.artefacts.trust import Policy, current, policy, throughout, using
from zoo.cli.main import main
from zoo.errors import InputError, SignatureError
from zoo.models.config import read_description

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A signed model, the trusted key, and the private one."""
    made = tmp_path_factory.mktemp("trust")
    private, public = write_keys(made)
    (made / "trusted").mkdir()
    public.rename(made / "trusted" / "key.pub")
    save_model(made / "m")
    zoo.sign(made / "m", private)
    return made


@pytest.fixture
def keys(place: Path) -> Path:
    return place / "trusted"


@pytest.fixture
def model(place: Path, tmp_path: Path) -> Path:
    return shutil.copytree(place / "m", tmp_path / "m")


@pytest.fixture
def configured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The user's configuration file, which doesn't exist yet."""
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    (tmp_path / "config" / "resnet-zoo").mkdir(parents=True)
    return tmp_path / "config" / "resnet-zoo" / "config.toml"


@pytest.fixture
def unparsed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the test fail if anything in a model is parsed."""
    for name in ("zoo.models.config.json.loads", "zoo.models.weights.saved.read_state", "zoo.models.weights.loading.read_state"):
        monkeypatch.setattr(name, _fail)
    monkeypatch.setattr("zoo.artefacts.bundle.json", json_like := type("Json", (), {"loads": staticmethod(_LOADS), "dumps": json.dumps}))
    monkeypatch.setattr("zoo.artefacts.manifest.json", json_like)


_LOADS = json.loads


def _fail(*_: object, **__: object) -> None:
    raise AssertionError("a model that isn't trusted was parsed")


def change(folder: Path) -> None:
    (folder / "labels.txt").write_text("new")


def test_a_trusted_model_is_loaded(model: Path, keys: Path) -> None:
    assert zoo.load(model, trust="enforce", trusted_keys=keys).classes == ("a", "b")
    assert zoo.load(model, trust="enforce", trusted_keys=keys, not_before=1, score_threshold=None).classes == ("a", "b")


@pytest.mark.usefixtures("unparsed")
def test_other_models_are_refused_before_they_are_parsed(model: Path, keys: Path, tmp_path: Path) -> None:
    with pytest.raises(SignatureError, match=r"m is refused by --trust enforce: .*rolled back: its version is 1, but --not-before is 2"):
        zoo.load(model, trust="enforce", trusted_keys=keys, not_before=2)
    private, _ = write_keys(tmp_path, "other")
    change(model)
    with pytest.raises(SignatureError, match=r"labels\.txt was added after signing"):
        zoo.load(model, trust="enforce", trusted_keys=keys)
    zoo.sign(model, private)
    with pytest.raises(SignatureError, match=r"unknown signer: its key .* is none of: key\.pub"):
        zoo.load(model, trust="enforce", trusted_keys=keys)
    (model / "model.sig").unlink()
    with pytest.raises(SignatureError, match=r"is not signed: there is no model\.sig") as caught:
        zoo.load(model, trust="enforce", trusted_keys=keys)
    assert caught.value.exit_status == 2


def test_warn_loads_and_names_the_reason(model: Path, keys: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING, "zoo"):
        zoo.load(model, trust="warn", trusted_keys=keys)
        assert not caplog.records
        change(model)
        assert zoo.load(model, trust="warn", trusted_keys=keys).classes == ("a", "b")
    assert [record.getMessage() for record in caplog.records] == [
        f"{model} is not trusted: {model} is not what was signed: labels.txt was added after signing"
    ]


def test_off_loads_anything(model: Path) -> None:
    (model / "model.sig").write_text("{")
    assert zoo.load(model).classes == zoo.load(model, trust="off").classes == ("a", "b")


def test_policies_that_are_incomplete(model: Path, keys: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="--trust is 'maybe'; expected one of: off, warn, enforce"):
        zoo.load(model, trust="maybe")  # type: ignore[arg-type]
    with pytest.raises(InputError, match="--trust enforce requires --trusted-keys DIR"):
        zoo.load(model, trust="enforce")
    with pytest.raises(InputError, match="--trusted-keys and --not-before require --trust warn or --trust enforce"):
        zoo.load(model, trusted_keys=keys)
    with pytest.raises(InputError, match="is not a folder; expected one with public keys"):
        zoo.load(model, trust="warn", trusted_keys=tmp_path / "none")
    with pytest.raises(InputError, match="--trust warn requires --trusted-keys DIR"), using(Policy("warn")):
        read_description(model)


def test_the_configuration_of_the_user_counts(model: Path, keys: Path, configured: Path) -> None:
    assert current() == Policy()
    configured.write_text(f'trust = "enforce"\ntrusted_keys = "{keys}"\nnot_before = 1\n')
    zoo.load(model)
    change(model)
    for refused in (lambda: zoo.load(model), lambda: zoo.info(model), lambda: zoo.build("test_resnet", weights=model)):
        with pytest.raises(SignatureError, match="is refused by --trust enforce"):
            refused()
    assert zoo.load(model, trust="off").classes == ("a", "b")
    configured.write_text(f'trust = "enforce"\ntrusted_keys = "{keys}"\nnot_before = "2099-01-01"\n')
    (model / "labels.txt").unlink()
    with pytest.raises(SignatureError, match="rolled back: its date is"):
        zoo.load(model)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("trust = 1", r"config\.toml: trust is 1; expected a text"),
        ("not_before = true", r"config\.toml: not_before is True; expected a number or a text"),
        ('not_before = "soon"', r"config\.toml: --not-before is 'soon'"),
        ('trust = "perhaps"', r"config\.toml: trust is 'perhaps'; expected one of: off, warn, enforce"),
        ('truts = "warn"', r"unknown key in .*config\.toml: 'truts'\. Nearest: trust"),
        ("trust", r"config\.toml can't be read: .*; correct the file, or delete it"),
        ('trust = "enforce"', "--trust enforce requires --trusted-keys DIR"),
    ],
)
def test_a_wrong_configuration_is_named(model: Path, configured: Path, text: str, message: str) -> None:
    configured.write_text(text)
    with pytest.raises(InputError, match=message):
        zoo.load(model)


def test_the_nearest_policy_counts(keys: Path) -> None:
    outer, inner = Policy("warn", keys), Policy("enforce", keys, 3)
    with throughout(outer):
        assert current() == outer
        with using(inner):
            assert current() == inner
            assert policy(not_before=4) == Policy("enforce", keys, 4)
        assert current() == outer
        assert policy(**inner.to_dict()) == inner
    assert policy(**policy("warn", keys, "2026-11-30").to_dict()) == policy("warn", keys, "2026-11-30")
    assert current() == Policy()


def test_a_file_that_changes_while_it_is_loaded_is_refused(model: Path, keys: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    weights = model / "weights.safetensors"

    def written(path: Path) -> Any:
        state = load_file(path)
        os.utime(path)  # any access for writing changes the time stamps
        return state

    def exchanged(path: Path) -> Any:
        shutil.copyfile(path, path.with_suffix(".new"))
        path.with_suffix(".new").rename(path)
        return load_file(path)

    for reading in (written, exchanged):
        monkeypatch.setattr("zoo.models.weights.saved.read_state", reading)
        monkeypatch.setattr("zoo.models.weights.loading.read_state", reading)
        for load in (lambda: zoo.load(model, trust="enforce", trusted_keys=keys), lambda: _build(model, keys)):
            with pytest.raises(SignatureError, match=f"{weights} was exchanged or changed while the model was being loaded"):
                load()
        zoo.load(model)


def _build(weights: Path, keys: Path) -> Any:
    return zoo.build("test_resnet", classes=["a", "b"], weights=weights, trust="enforce", trusted_keys=keys, say=print)


def test_the_description_is_parsed_from_the_verified_bytes(model: Path, keys: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def then_exchange(*arguments: Any, **options: Any) -> Any:
        found = compare(*arguments, **options)
        (model / "model.json").write_text((model / "model.json").read_text().replace('"a"', '"x"'))
        return found

    monkeypatch.setattr("zoo.artefacts.trust.compare", then_exchange)
    assert zoo.load(model, trust="enforce", trusted_keys=keys).classes == ("a", "b")


def test_weights_in_a_folder_are_verified(model: Path, keys: Path) -> None:
    expected = load_file(model / "weights.safetensors")
    for weights in (model, model / "weights.safetensors"):
        found = _build(weights, keys).state_dict()
        assert all(torch.equal(found[name], value) for name, value in expected.items())
    change(model)
    for weights in (model, model / "weights.safetensors"):
        with pytest.raises(SignatureError, match=r"labels\.txt was added"):
            _build(weights, keys)


def test_weights_in_a_file_are_verified(place: Path, tmp_path: Path, keys: Path) -> None:
    alone = tmp_path / "w.safetensors"
    save_file(load_file(place / "m" / "weights.safetensors"), alone)
    with pytest.raises(SignatureError, match=r"there is no w\.safetensors\.sig"):
        _build(alone, keys)
    zoo.sign(alone, place / "key.pem")
    _build(alone, keys)
    alone.with_name("w.safetensors.sig").unlink()
    zoo.sign(tmp_path, place / "key.pem")  # that of the folder counts as well
    _build(alone, keys)
    (tmp_path / "more").write_text("x")
    with pytest.raises(SignatureError, match="more was added"):
        _build(alone, keys)
    with pytest.raises(InputError, match="the file does not exist"):
        _build(tmp_path / "none.safetensors", keys)


@pytest.fixture
def command(capsys: pytest.CaptureFixture[str]) -> Iterator[Any]:
    def run(*words: object) -> tuple[int, str]:
        status = main([*map(str, words)])
        captured = capsys.readouterr()
        return status, captured.out + captured.err

    yield run
    assert not trust._process, "a command has left its policy behind"


COMMANDS = {
    "eval": ("--data", "demo:digits?limit=4"),
    "predict": ("x.jpg",),
    "info": (),
    "export": (),
    "tune": ("--data", "demo:digits?limit=4"),
    "serve": ("--port", "0"),
    "push": ("hf:me/model", "--licence", "mit"),
    "compare": ("MODEL", "--data", "demo:digits?limit=4"),
    "card": (),
    "train": ("--backbone", "test_resnet", "--data", "demo:digits?limit=4", "--weights", "MODEL"),
}


@pytest.mark.usefixtures("unparsed")
@pytest.mark.parametrize("name", [name for name in COMMANDS if name != "serve"])
def test_every_command_refuses_a_model_before_it_is_parsed(command: Any, model: Path, keys: Path, tmp_path: Path, name: str) -> None:
    change(model)
    (model / "model.json").write_text("{")
    words = [str(model) if word == "MODEL" else word for word in COMMANDS[name]]
    first = [] if name == "train" else [model]
    out = ["--out", tmp_path / "out"] if name in ("train", "export") else []
    for flag in ("--trusted-keys", "--trusted_keys"):
        status, said = command(name, *first, *words, *out, "--trust", "enforce", flag, keys)
        assert status == 2
        assert "is refused by --trust enforce: " in said


def test_a_command_warns_once(command: Any, model: Path, keys: Path, caplog: pytest.LogCaptureFixture) -> None:
    change(model)
    with caplog.at_level(logging.WARNING, "zoo"):
        words = ("--data", "demo:digits?classes=0,1&limit=4", "--trust", "warn", "--trusted-keys", keys)
        status, said = command("eval", model, *words)
    assert status == 2
    assert "classes" in said  # other classes than those of the model, which was loaded
    assert sum("is not trusted" in record.getMessage() for record in caplog.records) == 1


def test_the_configuration_counts_for_commands(command: Any, model: Path, keys: Path, configured: Path) -> None:
    configured.write_text(f'trust = "enforce"\ntrusted_keys = "{keys}"\n')
    assert command("info", model)[0] == 0
    change(model)
    assert command("info", model)[0] == 2
    assert command("info", model, "--trust", "off")[0] == 0


def test_the_worker_of_a_server_applies_the_policy(model: Path, keys: Path, tmp_path: Path) -> None:
    from zoo.serving.loading import load_all
    from zoo.serving.settings import Settings, parse_models, worker_spec

    settings = Settings(models=parse_models([str(model)]))
    with throughout(policy("enforce", keys)):
        spec = json.loads(json.dumps(worker_spec(settings, tmp_path)))
    assert load_all(spec).sessions
    change(model)  # and SIGHUP: the models are loaded again with the same policy
    with pytest.raises(SignatureError, match="is refused by --trust enforce"):
        load_all(spec)


def test_every_command_that_loads_models_has_the_flags() -> None:
    from zoo.cli.main import COMMANDS as known
    from zoo.tasks.face.commands import COMMANDS as faces

    assert {name for name, each in known.items() if each.loads} == {*COMMANDS, "pull"}  # which takes no folder; see test_pull
    assert {name for name, each in faces.items() if not each.loads} == {"list", "forget"}


@pytest.mark.usefixtures("unparsed")
def test_faces_refuses_a_model_before_it_is_parsed(command: Any, model: Path, keys: Path, tmp_path: Path) -> None:
    change(model)
    for part in ("a.jpg", "b.jpg"):
        (tmp_path / part).write_bytes(b"")
    flags = ("--trust", "enforce", "--trusted-keys", keys)
    status, said = command("faces", "verify", tmp_path / "a.jpg", tmp_path / "b.jpg", "--model", model, *flags)
    assert status == 2
    assert "is refused by --trust enforce: " in said
    words = ("--template", "facenet", "--detector", model)  # a detector is a model, too
    status, said = command("faces", "align", tmp_path, tmp_path / "out", *words, *flags)
    assert status == 2
    assert "is refused by --trust enforce: " in said
