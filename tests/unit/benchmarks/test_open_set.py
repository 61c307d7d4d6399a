"""The benchmark of identifying strangers: what it counts, and its output."""

from __future__ import annotations

import json

import numpy as np
import pytest

from tests.gallery_rows import MODEL
from zoo.benchmarks import open_set
from zoo.benchmarks.open_set import Rates, main, measure
from zoo.errors import DataError

# the first images of Ann and Bob are 0.5 apart, Bob's second is nearer to Ann, Cem is 0.6 from Ann's first, Dan is far away
PEOPLE = {
    "Ann": np.array([[3, 0], [3, 0.1]], np.float32),
    "Bob": np.array([[3.5, 0], [3.1, 0]], np.float32),
    "Cem": np.array([[3, -0.6], [3, -0.7]], np.float32),
    "Dan": np.array([[9, 9], [9, 9]], np.float32),
}


def test_strangers_and_people_enrolled_are_counted() -> None:
    rates = measure(PEOPLE, MODEL, 1)
    # Ann's and Bob's images are identified as the other; Cem's first is undecided (0.6), the others are unknown
    assert rates == Rates(1, 8, 4 / 8, 1 / 8, 4, 3 / 4, 1 / 4)
    with pytest.raises(DataError, match="Ann has 2 faces; expected more than the 2 to be enrolled"):
        measure(PEOPLE, MODEL, 2)


def test_the_output_of_the_command(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(open_set, "embedded", lambda data: (PEOPLE, MODEL))
    assert main(["--data", "identities:x", "--photos", "1"]) == 0
    assert capsys.readouterr().out == (
        "3 people enrolled with 1 each: of 8 images of strangers 50.0% are identified and 12.5% undecided; "
        "of 4 images of enrolled people 75.0% are identified correctly and 25.0% as another person\n"
    )
    assert main(["--data", "identities:x", "--photos", "1", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["rates"][0]["named"] == 0.5
    assert main(["--data", "identities:x", "--photos", "2"]) == 2
    assert "open_set: Ann has 2 faces" in capsys.readouterr().err


def test_orl_s_people(shared_data: object, dlib_model: object) -> None:
    people, model = open_set.embedded(f"identities:{shared_data}/orl?split=test&limit=12")
    assert model.name == "dlib_resnet29"
    assert sum(map(len, people.values())) == 12
    assert {rows.shape[1] for rows in people.values()} == {128}
