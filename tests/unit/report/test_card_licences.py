"""The licence in a model card: the user's statement, inherited licences, and what these forbid."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import zoo
from tests.unit.report.cards import TRAINING, faults, made, metadata_of, trained
from zoo.backbones import Licence
from zoo.errors import InputError
from zoo.report.card import card_text

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def classifier(one_thread: None, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A saved model with the training summary of a run."""
    return trained(tmp_path_factory.mktemp("card") / "pets")


LICENCES = [
    ({"licence": "Apache-2.0"}, {"license": "apache-2.0"}),
    ({"licence": "GPL-3.0-or-later"}, {"license": "gpl-3.0"}),
    ({"licence": "Ann's Terms 2", "licence_link": "https://example.org/t"},
     {"license": "other", "license_name": "ann-s-terms-2", "license_link": "https://example.org/t"}),
    ({}, {}),
]  # fmt: skip


@pytest.mark.parametrize(("stated", "expected"), LICENCES)
def test_the_licence_is_in_the_notation_of_the_hub(stated: Any, expected: dict[str, str], classifier: Path) -> None:
    text = card_text(classifier, **stated)
    assert {key: value for key, value in metadata_of(text).items() if key.startswith("license")} == expected
    assert faults(text) == []
    assert ("- Model: not stated" in text) == (not expected)


RESEARCH = Licence("inception_resnet_v1.vggface2", "research only", "https://github.com/timesler/facenet-pytorch", "a note")
APACHE = Licence("resnet18.a1_in1k", "Apache-2.0", "https://github.com/huggingface/pytorch-image-models")


def inheriting(folder: Path, licence: Licence, trained: bool) -> Path:
    """Save a model that inherits a licence."""
    model = made("classification")
    model.config = replace(model.config, weights=licence.weights, licences=(licence,))
    model.metadata |= {"training": TRAINING} if trained else {}
    return zoo.save(model, folder)


def test_weights_that_were_not_trained_keep_their_licence(tmp_path: Path) -> None:
    text = card_text(inheriting(tmp_path / "apache", APACHE, trained=False))
    assert (metadata_of(text)["license"], metadata_of(text)["base_model"]) == ("apache-2.0", ["timm/resnet18.a1_in1k"])
    assert "- Parameters: the weights `resnet18.a1_in1k`" in text
    text = card_text(inheriting(tmp_path / "research", RESEARCH, trained=False))
    assert faults(text) == []
    assert (metadata_of(text)["license"], metadata_of(text)["license_name"]) == ("other", "research-only")
    hub = Licence("hf:ann/pets@0123abc", "MIT", "https://example.org")
    text = card_text(inheriting(tmp_path / "hub", hub, trained=True))
    assert metadata_of(text)["base_model"] == ["ann/pets"]
    assert "license" not in metadata_of(text), "the owner of a trained model states its licence"
    for unknown in (Licence("/home/ann/w.pth"), Licence("x", "research only")):
        text = card_text(inheriting(tmp_path / "unknown", unknown, trained=False))
        assert "license" not in metadata_of(text)
        assert "/home/ann" not in text


def test_a_licence_that_an_inherited_one_forbids_is_refused(tmp_path: Path) -> None:
    folder = inheriting(tmp_path / "m", RESEARCH, trained=True)
    with pytest.raises(InputError, match=r"--licence MIT allows commercial use, but the model inherits inception_resnet_v1\.vggface2"):
        card_text(folder, licence="MIT")
    text = card_text(folder, licence="CC-BY-NC-4.0")
    assert metadata_of(text)["license"] == "cc-by-nc-4.0"
    assert "- Non-commercial research only, because it inherits the weights `inception_resnet_v1.vggface2`." in text
    assert "| `inception_resnet_v1.vggface2` | research only | https://github.com/timesler/facenet-pytorch | a note |" in text


@pytest.mark.parametrize(
    ("stated", "message"),
    [
        ({"licence": ""}, "--licence is ''; expected an SPDX identifier"),
        ({"licence": "unknown"}, "--licence is 'unknown'; expected an SPDX identifier"),
        ({"licence": "Mine"}, "--licence Mine is not in the Hub's list of licences (nearest: mit); for another one, pass --licence-link"),
        ({"licence": "apache2"}, "--licence apache2 is not in the Hub's list of licences (nearest: apache-2.0"),
        ({"licence": "Mine", "licence_link": "terms.txt"}, "--licence Mine is not in the Hub's list of licences"),
        ({"licence": "MIT", "licence_link": "https://example.org"}, "--licence-link is not needed for MIT"),
        ({"licence_link": "https://example.org"}, "--licence-link requires --licence"),
    ],
)
def test_wrong_licences(stated: dict[str, str], message: str, classifier: Path) -> None:
    with pytest.raises(InputError, match=re.escape(message)):
        card_text(classifier, **stated)  # type: ignore[arg-type]
