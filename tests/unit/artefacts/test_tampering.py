"""Signed models that were tampered with at random are refused before anything in them is parsed."""

from __future__ import annotations

import os
import random
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import zoo
from tests.unit.artefacts.signatures import save_model, write_keys
from zoo.errors import InputError

_COUNT = int(os.environ.get("ZOO_MUTATIONS", "120"))  # before a release: ZOO_MUTATIONS=1000
_FILES = ("model.json", "weights.safetensors", "notes.txt")


class Signed:
    """A model that was signed twice, another one with the same key, and their folders."""

    def __init__(self, place: Path) -> None:
        self.private, public = write_keys(place)
        (place / "trusted").mkdir()
        self.keys = place / "trusted"
        public.rename(self.keys / "key.pub")
        self.model, self.old, self.other, self.copy = (place / name for name in ("model", "old", "other", "copy"))
        save_model(self.model)
        (self.model / "notes.txt").write_text("trained in autumn")
        zoo.sign(self.model, self.private)
        shutil.copytree(self.model, self.old)
        self._change(self.model / "model.json")
        zoo.sign(self.model, self.private)
        save_model(self.other, ("c", "d"))
        zoo.sign(self.other, self.private)

    @staticmethod
    def _change(path: Path) -> None:
        path.write_text(path.read_text().replace('"a"', '"e"'))

    def load(self) -> Any:
        return zoo.load(self.copy, trust="enforce", trusted_keys=self.keys, not_before=2)

    def restore(self) -> Path:
        shutil.rmtree(self.copy, ignore_errors=True)
        return shutil.copytree(self.model, self.copy)


def flip(signed: Signed, folder: Path, random: random.Random) -> None:
    path = folder / random.choice((*_FILES, "model.sig"))
    data = bytearray(path.read_bytes())
    data[random.randrange(len(data))] ^= 1 << random.randrange(8)
    path.write_bytes(data)


def flip_signed_content(signed: Signed, folder: Path, random: random.Random) -> None:
    """Change a character of the statement or the signature, so that the file remains a bundle."""
    text = (folder / "model.sig").read_text()
    start = text.index('"payload": "' if random.random() < 0.7 else '"sig": "') + 12
    place = random.randrange(start, start + 90)
    other = random.choice([each for each in "ABCDabcd0123" if each != text[place]])
    (folder / "model.sig").write_text(text[:place] + other + text[place + 1 :])


def truncate(signed: Signed, folder: Path, random: random.Random) -> None:
    path = folder / random.choice((*_FILES, "model.sig"))
    os.truncate(path, random.randrange(path.stat().st_size))


def append(signed: Signed, folder: Path, random: random.Random) -> None:
    with (folder / random.choice(_FILES)).open("ab") as file:
        file.write(random.randbytes(random.randrange(1, 100)))


def add(signed: Signed, folder: Path, random: random.Random) -> None:
    names = (
        "labels.txt",
        ".hidden",
        ".git",
        ".gitignore",
        "model.sig.bak",
        "deep/model.json",
        "deep/model.sig",
        "weights.bin",
        "Model.json",
    )
    path = folder / random.choice(names)
    path.parent.mkdir(exist_ok=True)
    if random.random() < 0.2:
        path.symlink_to(random.choice(("model.json", "/dev/null", "nowhere")))
    else:
        path.write_bytes(random.randbytes(random.randrange(50)))


def remove(signed: Signed, folder: Path, random: random.Random) -> None:
    (folder / random.choice((*_FILES, "model.sig"))).unlink()


def rename(signed: Signed, folder: Path, random: random.Random) -> None:
    path = folder / random.choice((*_FILES, "model.sig"))
    path.rename(path.with_name(random.choice((f"{path.name}.old", f".{path.name}", path.name.upper()))))


def exchange(signed: Signed, folder: Path, random: random.Random) -> None:
    one, other = random.sample((*_FILES, "model.sig"), 2)
    (folder / one).rename(folder / "x")
    (folder / other).rename(folder / one)
    (folder / "x").rename(folder / other)


def link(signed: Signed, folder: Path, random: random.Random) -> None:
    path = folder / random.choice(_FILES)
    path.unlink()
    path.symlink_to(signed.model / path.name)  # even with the same content


def other_file(signed: Signed, folder: Path, random: random.Random) -> None:
    """Take one of the files, often model.json, from another signed model or an older version."""
    source = random.choice((signed.old, signed.other))
    name = "model.json" if source == signed.old or random.random() < 0.5 else "model.sig"
    shutil.copyfile(source / name, folder / name)


def older_signature(signed: Signed, folder: Path, random: random.Random) -> None:
    shutil.copyfile(signed.old / "model.sig", folder / "model.sig")


def older_model(signed: Signed, folder: Path, random: random.Random) -> None:
    shutil.rmtree(folder)
    shutil.copytree(signed.old, folder)


TAMPERINGS: tuple[Callable[[Signed, Path, random.Random], None], ...] = (
    flip, flip, flip_signed_content, truncate, append, add, remove, rename, exchange, link, other_file, older_signature, older_model,
)  # fmt: skip


def test_models_that_were_tampered_with_are_refused_unparsed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    signed = Signed(tmp_path)
    signed.restore()
    assert signed.load().classes == ("e", "b")

    def parsed(*_: object, **__: object) -> None:
        raise AssertionError("parsed")

    for reader in ("read_description", "saved_state", "load_compiled", "components"):
        monkeypatch.setattr(f"zoo.models.archive.{reader}", parsed)
    with pytest.raises(AssertionError, match="parsed"):  # the readers would be called
        signed.load()
    accepted = []
    for seed in range(_COUNT):
        chance = random.Random(seed)
        tamper = TAMPERINGS[seed % len(TAMPERINGS)]
        tamper(signed, signed.restore(), chance)
        try:
            signed.load()
        except InputError:  # a SignatureError, or model.json is missing
            continue
        except AssertionError as error:
            accepted.append(f"{seed}: {tamper.__name__}: {error}")
    assert not accepted, "\n".join(accepted)
