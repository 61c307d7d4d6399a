"""The result type of finders, the choice of faces, and MTCNN on images without a face."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from zoo.errors import InputError, UnknownNameError
from zoo.tasks.face.detection.faces import Found, Wanted
from zoo.tasks.face.detection.mtcnn import MTCNN

pytestmark = pytest.mark.usefixtures("one_thread")


def found(*boxes: tuple[float, float, float, float], scores: list[float] | None = None) -> Found:
    given = scores or list(np.linspace(0.99, 0.9, len(boxes)))
    return Found(np.array(boxes, np.float32).reshape(-1, 4), np.array(given, np.float32), np.zeros((len(boxes), 5, 2), np.float32))


def test_found_is_checked_and_read_only() -> None:
    two = found((0, 0, 9, 9), (5, 5, 9, 9))
    assert len(two) == 2
    assert len(found()) == 0
    with pytest.raises(ValueError, match="read-only"):
        two.boxes[0, 0] = 1
    with pytest.raises(ValueError, match=r"landmarks has the shape \(2, 4, 2\); expected \(2, 5, 2\)"):
        Found(two.boxes, two.scores, np.zeros((2, 4, 2), np.float32))
    with pytest.raises(ValueError, match="not in descending order"):
        found((0, 0, 9, 9), (5, 5, 9, 9), scores=[0.5, 0.6])
    with pytest.raises(ValueError, match="not finite"):
        found((0, 0, np.nan, 9))


def test_central_takes_twice_the_squared_distance_off() -> None:
    # the right face is 40 pixels off centre and 2000 square pixels larger: more than the squared distance, less than twice it
    two = found((90, 90, 110, 110), (116, 76, 164, 126))
    assert Wanted("central").of(two, (200, 200)).boxes.tolist() == [[90, 90, 110, 110]]


def test_the_wanted_faces() -> None:
    # a large face at the edge, a speck in the centre, and the subject in between
    three = found((0, 0, 40, 40), (98, 98, 102, 102), (75, 80, 108, 113))
    assert Wanted().of(three, (200, 200)).boxes.tolist() == three.boxes.tolist()
    assert Wanted("largest").of(three, (200, 200)).boxes.tolist() == [[0, 0, 40, 40]]
    assert Wanted("central").of(three, (200, 200)).boxes.tolist() == [[75, 80, 108, 113]]
    assert len(Wanted("largest").of(found(), (200, 200))) == 0


def test_what_lies_outside() -> None:
    several = found((0, 0, 40, 40), (0, 0, 50, 19), (60, 0, 99, 99), (-50, 0, 0.5, 40), (100, 0, 140, 40))
    # the fourth covers half a pixel of the image, the fifth none
    assert len(Wanted().of(several, (100, 100))) == 3
    with pytest.raises(UnknownNameError, match=r"choice of faces 'bigest'.*Nearest: largest"):
        Wanted("bigest")  # type: ignore[arg-type]


@pytest.mark.parametrize("shape", [(1, 1), (1, 300), (300, 1), (11, 12), (40, 500), (200, 200)])
@pytest.mark.parametrize("level", [0, 127, 255])
def test_pictures_without_a_face(shape: tuple[int, int], level: int) -> None:
    """facenet-pytorch fails on most of these with `torch.cat` of an empty list."""
    assert len(MTCNN()(np.full((*shape, 3), level, np.uint8))) == 0
    assert len(MTCNN(enlarge=1, border=0)(np.full((*shape, 3), level, np.uint8))) == 0


def test_noise_and_stripes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("zoo.tasks.face.detection.mtcnn._CANDIDATE_SCORES", (0.1, 0.1))
    rng = np.random.default_rng(0)
    noise = rng.integers(0, 256, (170, 190, 3)).astype(np.uint8)
    stripes = np.tile(np.repeat(np.array([0, 255], np.uint8), 8), 20)[None, :, None].repeat(200, 0).repeat(3, 2)
    for image in (noise, np.ascontiguousarray(stripes)):
        result = MTCNN(threshold=0.999)(image)  # many candidates, but no face in the end
        assert result.boxes.shape == (len(result), 4)


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        *[({"min_size": size}, f"mtcnn: min_size is {size}; expected 5 to 10000 pixels") for size in (0, 0.1, float("inf"), float("nan"))],
        ({"threshold": 1}, "mtcnn: threshold is 1; expected a score between 0 and 1"),
        ({"threshold": float("nan")}, "mtcnn: threshold is nan; expected a score between 0 and 1"),
        ({"factor": 1.0}, "mtcnn: factor is 1.0; expected 0.1 to 0.95"),
        ({"enlarge": 0}, "mtcnn: enlarge is 0; expected 1 to 16"),
        ({"border": -1}, "mtcnn: border is -1; expected 0 to 1000"),
    ],
)
def test_settings_that_cant_be_meant(setting: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        MTCNN(**setting)


def test_settings_know_everything() -> None:
    assert MTCNN().settings != MTCNN(border=3).settings
    assert MTCNN().settings["detector"] == "mtcnn"
