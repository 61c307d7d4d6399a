"""`zoo encrypt`, and the commands that load encrypted models: output, keys, exit statuses."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import zoo
from tests.engines import Fake, fake
from tests.pictures import write_picture
from tests.unit.artefacts.encrypted import lock, write_identity
from tests.unit.artefacts.signatures import save_model
from zoo.artefacts import identities
from zoo.cli.main import main
from zoo.errors import InputError

__all__ = ["fake"]
pytestmark = pytest.mark.usefixtures("one_thread")
TRAIN = ("train", "--weights", "m.age", "--identity", "key.txt", "--task", "more=classification", "--freeze", "trunk")
DIGITS = "demo:digits?classes=0,1&limit=4"


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model in `m`, encrypted for `key.pub` in `m.age` and with the passphrase "horse" in `locked.age`."""
    made = tmp_path_factory.mktemp("encrypted")
    (made / "key.pub").write_text(write_identity(made / "key.txt"))
    (made / "passphrase").write_text("horse\n")
    save_model(made / "m", ("0", "1"))
    zoo.encrypt(made / "m", recipients=made / "key.pub")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("pyrage.passphrase.encrypt", lock)
        zoo.encrypt(made / "m", made / "locked.age", passphrase="horse")
    return made


@pytest.fixture
def command(capsys: pytest.CaptureFixture[str]) -> Iterator[Any]:
    def run(*words: object) -> tuple[int, str, str]:
        status = main([*map(str, words)])
        captured = capsys.readouterr()
        return status, captured.out, captured.err

    yield run
    assert not identities._process, "a command has left its keys behind"


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Answers of a user at a terminal, who is asked for a passphrase."""
    answers: list[str] = []
    monkeypatch.setattr("sys.stdin.isatty", lambda: True)
    monkeypatch.setattr("getpass.getpass", lambda prompt: answers.pop(0))
    return answers


def test_a_model_is_encrypted(command: Any, place: Path, tmp_path: Path) -> None:
    status, out, err = command("encrypt", place / "m", "--to", place / "key.pub", "--out", tmp_path / "x.age")
    assert (status, err) == (0, "")
    first, second = out.splitlines()
    assert first == f"encrypted {place / 'm'}: 2 files in {tmp_path / 'x.age'}, for {place / 'key.pub'}"
    assert second.endswith("still exists, unencrypted; delete it if only the encrypted file is to remain")
    public = (place / "key.pub").read_text()
    status, out, _ = command("encrypt", place / "m", "--to", public, "--to", place / "key.pub", "--out", tmp_path / "y.age", "--json")
    assert json.loads(out)["files"] == ["model.json", "weights.safetensors"]
    assert zoo.load(tmp_path / "y.age", identity=place / "key.txt").classes == ("0", "1")


def test_passphrases_come_from_files_descriptors_and_terminals(
    command: Any, place: Path, tmp_path: Path, terminal: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pyrage.passphrase.encrypt", lock)
    descriptor = os.open(place / "passphrase", os.O_RDONLY)
    ways: list[tuple[object, ...]] = [
        ("--passphrase-file", place / "passphrase"), ("--passphrase", "--passphrase-fd", descriptor), ("--passphrase",),
    ]  # fmt: skip
    for number, way in enumerate(ways):
        terminal[:] = ["horse", "horse"]
        status, out, _ = command("encrypt", place / "m", *way, "--out", tmp_path / f"{number}.age")
        assert status == 0
        assert ", with a passphrase" in out
        assert zoo.load(tmp_path / f"{number}.age", passphrase="horse").classes == ("0", "1")
    os.close(descriptor)
    assert terminal == [], "the last way asks twice"
    terminal[:] = ["horse", "house"]
    status, _, err = command("encrypt", place / "m", "--passphrase", "--out", tmp_path / "x.age")
    assert (status, "the two passphrases differ; nothing was encrypted" in err) == (2, True)
    terminal[:] = ["", ""]
    assert command("encrypt", place / "m", "--passphrase", "--out", tmp_path / "x.age")[0] == 2
    assert not (tmp_path / "x.age").exists()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ((), "expected one way to encrypt"),
        (("--passphrase",), "--passphrase asks at a terminal, and there is none; pass --passphrase-file or --passphrase-fd"),
        (("--to", "key.pub", "--passphrase"), "--to and --passphrase can't be combined"),
        (("--to", "key.pub", "--passphrase-file", "passphrase"), "expected one way to encrypt"),
        (("--to", "key.txt"), "key.txt, line 3 is a private key"),
        (("--to", "missing.pub"), "It is neither a file nor a public key"),
        (("--passphrase-file", "none"), "--passphrase-file none can't be read"),
        (("--to", "key.pub"), "m.age exists; it will not be overwritten"),
    ],
)
def test_wrong_input_has_status_2(command: Any, place: Path, monkeypatch: pytest.MonkeyPatch, words: Any, message: str) -> None:
    monkeypatch.chdir(place)
    before = sorted(place.iterdir())
    status, out, err = command("encrypt", "m", *words)
    assert (status, out) == (2, "")
    assert message in err
    assert sorted(place.iterdir()) == before


def test_commands_take_encrypted_models(command: Any, place: Path, tmp_path: Path) -> None:
    model, key = place / "m.age", ("--identity", place / "key.txt")
    write_picture(tmp_path / "x.png", np.zeros((32, 32, 3), np.uint8))
    assert json.loads(command("info", model, *key, "--json")[1])["classes"] == ["0", "1"]
    scores = [command("eval", each, "--data", DIGITS, *flags, "--json") for each, flags in ((model, key), (place / "m", ()))]
    assert [status for status, _, _ in scores] == [0, 0]
    assert json.loads(scores[0][1])["scores"] == json.loads(scores[1][1])["scores"]
    assert command("predict", model, tmp_path / "x.png", *key)[0] == 0
    assert command("compare", model, place / "m", "--data", DIGITS, *key)[0] == 0
    assert command("data", "show", DIGITS, "--model", model, "--out", tmp_path / "sheet.png", *key)[0] == 0


def test_a_passphrase_is_read_once_from_a_descriptor(command: Any, place: Path) -> None:
    reader, writer = os.pipe()
    os.write(writer, b"horse\nrest")
    os.close(writer)
    assert command("eval", place / "locked.age", "--data", DIGITS, "--passphrase-fd", reader)[0] == 0
    os.close(reader)


def test_a_passphrase_is_asked_for_once(command: Any, place: Path, terminal: list[str]) -> None:
    terminal[:] = ["horse"]
    assert command("compare", place / "locked.age", place / "locked.age", "--data", DIGITS)[0] == 0
    terminal[:] = ["cow"]
    status, _, err = command("info", place / "locked.age")
    assert (status, "the passphrase is wrong, or the file is damaged" in err) == (2, True)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("info", "m.age"), "m.age is encrypted for recipients: pass the file of your private key with --identity"),
        (("info", "locked.age"), "locked.age is encrypted with a passphrase: pass it with --passphrase-file or --passphrase-fd"),
        (("eval", "m.age", "--data", DIGITS, "--identity", "none"), "the identity none can't be read"),
        (("eval", "m.age", "--data", DIGITS, "--identity", "key.pub"), "key.pub, line 1 is a public key"),
        (
            ("eval", "m.age", "--data", DIGITS, "--identity=key.txt", "--engine", "inductor"),
            "the engine inductor writes files, which an encrypted",
        ),
        (("export", "m.age", "--identity", "key.txt", "--out", "x"), "an encrypted model can't be saved or exported"),
        (("tune", "m.age", "--data", DIGITS), "m.age is encrypted, and zoo tune changes the model.json of a folder"),
        (("train", "--backbone", "test_resnet", "--data", DIGITS, "--weights", "m.age", "--out", "x"), "can't initialise another model"),
        ((*TRAIN, "--data", f"more={DIGITS}", "--out", "x"), "its weights can't initialise another model"),
        (("info", "m.age", "--passphrase-fd", "3", "--passphrase-file", "passphrase"), "can't be combined; pass only one of them"),
        (("serve", "locked.age", "--port", "0"), "locked.age is encrypted with a passphrase: pass it with --passphrase-file"),
    ],
)
def test_what_is_not_possible_has_status_2(command: Any, place: Path, monkeypatch: pytest.MonkeyPatch, words: Any, message: str) -> None:
    monkeypatch.chdir(place)
    before = sorted(place.iterdir())
    status, _, err = command(*words)
    assert status == 2
    assert message in err
    assert sorted(place.iterdir()) == before


def test_the_worker_of_a_server_gets_the_keys(place: Path, tmp_path: Path, fake: type[Fake]) -> None:
    from zoo.serving.loading import load_all
    from zoo.serving.settings import Engine, Settings, parse_models, worker_spec

    settings = Settings(models=parse_models([str(place / "m.age"), f"other={place / 'locked.age'}"]), engine=Engine("fake", "fp32"))
    assert [model.name for model in settings.models] == ["m", "other"]
    with identities.throughout(identities.Keys.read(place / "key.txt", "horse")):
        spec = json.loads(json.dumps(worker_spec(settings, tmp_path)))
    with pytest.raises(
        InputError, match="the engine fake writes files, which an encrypted model doesn't allow; engines that need no files"
    ):
        load_all(spec)
    fake.in_memory = True
    loaded = load_all(spec)
    assert all(session.model.encrypted for session in loaded.sessions.values())
    assert not [*tmp_path.iterdir()], "a converted network was saved for other workers"
    assert identities.current().identities == ()
