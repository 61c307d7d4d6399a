"""Prediction with several heads: one object per image, one pass of the backbone for all heads with the same preprocessing."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import zoo
from tests.pictures import COLOURS, write_picture, write_video
from tests.unit.joint import joint_model
from zoo.errors import Fault, InputError
from zoo.images import decoding
from zoo.models.model import Model
from zoo.prediction.joint import JointPrediction
from zoo.prediction.output import write_predictions
from zoo.prediction.predict import predict
from zoo.tasks.face.detection.faces import Found

pytestmark = pytest.mark.usefixtures("one_thread")


@dataclass(frozen=True)
class Corners:
    """Finds a face in the upper left quarter of each image, and none in a black image."""

    @property
    def settings(self) -> dict[str, Any]:
        return {"detector": "corners"}

    def __call__(self, image: Any) -> Found:
        count = int(image.any())
        box = np.array([[0, 0, image.shape[1] / 2, image.shape[0] / 2]], np.float32)
        return Found(box[:count], np.ones(count, np.float32), np.full((count, 5, 2), np.nan, np.float32))


def pictures(*sizes_hw: tuple[int, int]) -> list[Any]:
    rng = np.random.default_rng(0)
    return [rng.integers(0, 256, (*size, 3), dtype=np.uint8) for size in sizes_hw or ((60, 90), (90, 60), (64, 64), (60, 90))]


def found(model: Model, source: Any, **options: Any) -> list[Any]:
    return list(predict(model, source, **options))


def passes(model: Model) -> list[int]:
    """Count the images in each pass of the backbone."""
    sizes: list[int] = []
    model.backbone.register_forward_hook(lambda module, inputs, output: sizes.append(len(inputs[0])))
    return sizes


def check_equal(one: Any, other: Any) -> None:
    for name, value in vars(one).items():
        if isinstance(value, np.ndarray):
            np.testing.assert_allclose(getattr(other, name), value, atol=1e-6)
        else:
            assert getattr(other, name) == value


def test_heads_answer_as_if_they_were_alone() -> None:
    model = joint_model("kinds", "parts", "people")
    given = [*pictures(), np.zeros((70, 70, 3), np.uint8)]
    together = found(model, given, detector=Corners())
    for name in model.heads:
        alone = found(zoo.split(model, name), given, **({"detector": Corners()} if name == "people" else {}))
        for one, other in zip(alone, together, strict=True):
            check_equal(one, other[name])
    assert [len(each["people"]) for each in together] == [1, 1, 1, 1, 0]


def test_the_backbone_runs_once_for_all_heads_of_a_pass() -> None:
    model = joint_model()
    assert len(model.passes()) == 1
    sizes = passes(model)
    assert len(found(model, pictures((64, 64), (64, 64)), batch_size=2)) == 2
    assert sizes == [2]


def test_heads_with_adapters_have_their_own_pass() -> None:
    model = zoo.add_task(joint_model(), "more", "classification", classes=["a", "b"], adapters=True)
    sizes, images = passes(model), pictures((64, 64), (64, 64))
    together = found(model, images, batch_size=2)
    assert sizes == [2, 2]
    for one, other in zip(found(zoo.split(model, "more"), images), together, strict=True):
        check_equal(one, other["more"])


def test_crops_are_a_pass_of_their_own() -> None:
    model = joint_model("kinds", "parts", "people")
    sizes = passes(model)
    found(model, pictures((64, 64), (64, 64)), batch_size=2, detector=Corners())
    assert sizes == [2, 2]  # two images for two heads, and two crops
    sizes.clear()
    found(model, [np.zeros((64, 64, 3), np.uint8)], detector=Corners())
    assert sizes == [1]  # no face was found


def test_each_picture_is_decoded_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_picture(tmp_path / "a.png", pictures()[0])
    read: list[Any] = []
    original = decoding.Decoding.read

    def counted(self: decoding.Decoding, *arguments: Any) -> Any:
        read.append(arguments)
        return original(self, *arguments)

    monkeypatch.setattr(decoding.Decoding, "read", counted)
    assert len(found(joint_model("kinds", "parts", "people"), tmp_path / "a.png")) == 1
    assert len(read) == 1


def test_an_object_with_all_answers() -> None:
    model = joint_model()
    (one,) = found(model, pictures()[0])
    assert isinstance(one, JointPrediction)
    assert (one.key, [*one], len(one)) == ("array", ["kinds", "parts"], 2)
    assert one["kinds"].name in model.classes["kinds"]
    written = json.loads(json.dumps(one.to_dict()))
    assert [*written] == ["key", "kinds", "parts"]
    assert written["kinds"] | {"key": "array"} == one["kinds"].to_dict()


def test_one_drawing_with_all_answers() -> None:
    model = joint_model("kinds", "parts", "people")
    (one,) = found(model, pictures((60, 90))[0])
    plain, drawn = np.asarray(one["kinds"].plot()), np.asarray(one.plot())
    assert drawn.shape[:2] > (360, 540)  # enlarged six times, with the captions below
    assert drawn.shape[1] >= plain.shape[1]
    image = np.kron(one.image, np.ones((6, 6, 1), np.uint8))
    assert (drawn[:2, :540] == (64, 220, 120)).all()  # the box of the face, which is the whole image
    assert (drawn[20:340, 20:520] == image[20:340, 20:520]).mean() > 0.5


def test_a_prediction_that_has_only_a_plot_is_placed_below() -> None:
    class Plain:
        key = "a"

        def plot(self) -> Image.Image:
            return Image.new("RGB", (600, 50), "red")

        def to_dict(self) -> dict[str, Any]:
            return {"key": "a", "angle": 3}

    one = JointPrediction("a", np.zeros((480, 480, 3), np.uint8), {"turn": Plain()})
    assert one.plot().size == (600, 530)
    assert np.asarray(one.plot())[-1, -1].tolist() == [255, 0, 0]
    assert one.to_dict() == {"key": "a", "turn": {"angle": 3}}


def test_a_folder_of_answers(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    for number, image in enumerate(pictures()):
        write_picture(tmp_path / "in" / f"{number}.png", image)
    for _ in range(2):  # an older folder of predictions is replaced
        write_predictions(predict(joint_model(), tmp_path / "in"), tmp_path / "out")
    lines = [json.loads(line) for line in (tmp_path / "out" / "predictions.jsonl").read_text().splitlines()]
    assert [[*line] for line in lines] == [["key", "kinds", "parts", "drawn"]] * 4
    assert (tmp_path / "out" / lines[0]["drawn"]).is_file()


def test_frames_of_a_video(tmp_path: Path) -> None:
    path = write_video(tmp_path / "a.avi", [*COLOURS.values()])
    assert [Path(each.key).name for each in found(joint_model(), path)] == ["a.avi#0", "a.avi#1", "a.avi#2"]


def test_unreadable_pictures_are_skipped_once(tmp_path: Path) -> None:
    write_picture(tmp_path / "a.png", pictures()[0])
    (tmp_path / "b.png").write_bytes(b"no picture")
    skipped: list[Fault] = []
    assert len(found(joint_model(), tmp_path, on_error="skip", skipped=skipped)) == 1
    assert [Path(fault.key).name for fault in skipped] == ["b.png"]


def test_options_of_face_heads() -> None:
    model = joint_model()
    for option, value in (("detector", "mtcnn"), ("faces", "largest")):
        with pytest.raises(InputError, match=f"{option}: the heads kinds, parts process whole images; omit this option"):
            found(model, pictures()[0], **{option: value})
    with pytest.raises(InputError, match=r"the model has several heads \(kinds, parts\); take one out with zoo\.split"):
        found(joint_model("kinds", "people"), pictures()[0], detector=model)
