"""`zoo.predict` on photos with face detection, alignment and embedding; and the choice of the detector."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import zoo
from tests.finders import BrightFinder, bright_quarter
from tests.pictures import write_picture
from tests.unit.tasks.face.training.test_training import fresh
from zoo.errors import ImageError, InputError, UnknownNameError
from zoo.tasks.face.alignment.aligner import align
from zoo.tasks.face.detection.faces import Found
from zoo.tasks.face.detection.finders import ModelFinder, find_finder
from zoo.tasks.face.detection.mtcnn import MTCNN
from zoo.tasks.face.prediction.faces import Faces

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def model() -> zoo.Model:
    return fresh(alignment="arcface")


@pytest.fixture(scope="module")
def detection_model() -> zoo.Model:
    torch.manual_seed(0)
    # with random weights, every box has some score for a face
    return zoo.build("test_resnet", "detection", classes=["face"], fpn_channels=16, score_threshold=0.0, image_size=64, max_image_size=64)


def found(model: zoo.Model, source: Any, **options: Any) -> list[Faces]:
    answers = list(zoo.predict(model, source, **options))
    assert all(isinstance(one, Faces) for one in answers)
    return answers  # type: ignore[return-value]


def test_every_face_with_the_embedding_of_its_own_crop(model: zoo.Model) -> None:
    images = [bright_quarter(2, 0), bright_quarter(), bright_quarter(1, 2, 3)]
    answers = found(model, images, detector=BrightFinder())
    assert [len(one) for one in answers] == [2, 0, 3]
    assert answers[1].embeddings.shape == (0, 8)
    assert answers[0].boxes.tolist() == [[0, 32, 32, 64], [0, 0, 32, 32]]
    for image, answer in zip(images, answers, strict=True):
        assert answer.image is image
        for box, points, embedding in zip(answer.boxes, answer.landmarks, answer.embeddings, strict=True):
            crop = align(image, points, box, "arcface", (32, 32))
            with torch.inference_mode():
                np.testing.assert_allclose(embedding, model([crop])[0].numpy(), rtol=1e-4, atol=1e-5)
    for answer in answers:
        assert len(answer.to_dict()["faces"]) == len(answer)
        answer.plot()


@pytest.mark.parametrize("batch_size", [1, 2, 7])
def test_batches_have_no_part_in_it(model: zoo.Model, batch_size: int) -> None:
    images = [bright_quarter(2, 0), bright_quarter(), bright_quarter(0, 1, 2, 3)] * 2
    expected = found(model, images, detector=BrightFinder(), batch_size=3)
    for one, other in zip(found(model, images, detector=BrightFinder(), batch_size=batch_size), expected, strict=True):
        np.testing.assert_allclose(one.embeddings, other.embeddings, rtol=1e-4, atol=1e-5)
        np.testing.assert_array_equal(one.boxes, other.boxes)


def test_the_main_face_alone(model: zoo.Model) -> None:
    (answer,) = found(model, bright_quarter(3, 1, 0), detector=BrightFinder(), faces="largest")
    assert answer.boxes.tolist() == [[32, 32, 64, 64]]
    with pytest.raises(UnknownNameError, match="choice of faces 'one'"):
        found(model, bright_quarter(3), detector=BrightFinder(), faces="one")


def test_models_with_a_template_look_for_faces_by_themselves(model: zoo.Model) -> None:
    black = np.zeros((50, 60, 3), np.uint8)
    assert len(found(model, black)[0]) == 0
    (whole,) = found(model, black, detector="none")
    assert whole.boxes.tolist() == [[0, 0, 60, 50]]
    plain = fresh()
    assert found(plain, black)[0].boxes.tolist() == [[0, 0, 60, 50]]  # without a template, the whole image is the face
    assert len(found(plain, black, detector="mtcnn")[0]) == 0


def test_a_model_without_a_template_gets_the_box_and_a_margin() -> None:
    plain, image = fresh(), bright_quarter(1, size=90)
    (answer,) = found(plain, image, detector=BrightFinder())
    crop = align(image, answer.landmarks[0], answer.boxes[0], "facenet", (32, 32))
    with torch.inference_mode():
        np.testing.assert_allclose(answer.embeddings[0], plain([crop])[0].numpy(), rtol=1e-4, atol=1e-5)


def test_a_detection_model_in_mtcnn_s_place(detection_model: zoo.Model, model: zoo.Model, tmp_path: Path) -> None:
    folder = zoo.save(detection_model, tmp_path / "detector")
    image = bright_quarter(0, 3, size=96)
    by_box = fresh(alignment="facenet")
    (expected,) = zoo.predict(detection_model, image)
    scores: np.ndarray = expected.scores  # type: ignore[attr-defined]
    middle = float(np.median(scores))
    assert (scores >= middle).sum() < len(scores)
    for detector, least in (
        *((detector, 0.5) for detector in (detection_model, folder, str(folder))),
        (ModelFinder(detection_model, 1e-6), 0),
        (f"{folder}?threshold={middle}", middle),
    ):
        (answer,) = found(by_box, image, detector=detector)
        assert len(answer) == (scores >= least).sum() > 0
        assert np.isnan(answer.landmarks).all()
        assert {tuple(box) for box in answer.boxes.tolist()} <= {tuple(box) for box in expected.boxes.tolist()}  # type: ignore[attr-defined]
    with pytest.raises(InputError, match="template arcface aligns faces by five landmarks, but a detection model returns only boxes"):
        found(model, image, detector=detection_model)
    assert find_finder(detection_model).settings["fingerprint"]
    assert find_finder(f"{folder}?threshold=0.3").settings["threshold"] == 0.3
    folder.rename(tmp_path / "what?threshold=0.9")
    assert find_finder(tmp_path / "what?threshold=0.9").settings["threshold"] == 0.5, "the question mark is part of the folder's name"


def test_only_the_class_face_counts() -> None:
    torch.manual_seed(0)
    several = zoo.build(
        "test_resnet", "detection", classes=["dog", "face"], fpn_channels=16, score_threshold=0.0, image_size=64, max_image_size=64
    )
    image = bright_quarter(0, 3, size=96)
    (everything,) = zoo.predict(several, image)
    names = everything.names  # type: ignore[attr-defined]
    assert len(ModelFinder(several, 1e-6)(image)) == list(names).count("face") < len(names)


def test_settings_of_a_detection_model_that_cant_be_meant(detection_model: zoo.Model, tmp_path: Path) -> None:
    folder = zoo.save(detection_model, tmp_path / "detector")
    for threshold in ("0", "1", "nan"):
        with pytest.raises(InputError, match=r"detector: threshold is \S+; expected a score between 0 and 1"):
            find_finder(f"{folder}?threshold={threshold}")
    with pytest.raises(UnknownNameError, match=r"unknown setting of a detection model: 'min_size'\. Known: threshold"):
        find_finder(f"{folder}?min_size=20")
    with pytest.raises(InputError, match=r"detector is 'nowhere\?threshold=0\.5'; expected mtcnn, or the folder"):
        find_finder("nowhere?threshold=0.5")


def test_a_finder_whose_boxes_are_none_is_named_with_the_picture(model: zoo.Model) -> None:
    class Lost(BrightFinder):
        def __call__(self, image: Any) -> Found:
            return Found(np.full((1, 4), np.nan, np.float32), np.ones(1, np.float32), np.zeros((1, 5, 2), np.float32))

    with pytest.raises(ImageError, match="array: detected faces: boxes or scores have values that are not finite"):
        found(model, bright_quarter(0), detector=Lost())


def test_a_choice_of_faces_is_checked_where_none_is_looked_for(model: zoo.Model) -> None:
    image = bright_quarter(0)
    for one, options in ((fresh(), {}), (model, {"detector": "none"}), (model, {"detector": BrightFinder()})):
        with pytest.raises(UnknownNameError, match="choice of faces 'nonsense'"):
            found(one, image, faces="nonsense", **options)
    classifier = zoo.build("resnet20", classes=["a"])
    for faces in ("nonsense", "largest"):
        with pytest.raises(InputError, match="faces: not supported by the task classification"):
            list(zoo.predict(classifier, image, faces=faces))


def test_detectors_that_are_none(model: zoo.Model, tmp_path: Path) -> None:
    assert find_finder("mtcnn") == MTCNN()
    assert find_finder("mtcnn?min_size=40&threshold=0.8&enlarge=2&border=5") == MTCNN(min_size=40, threshold=0.8, enlarge=2, border=5)
    with pytest.raises(UnknownNameError, match=r"unknown setting of mtcnn: 'min_siz'\. Nearest: min_size"):
        find_finder("mtcnn?min_siz=40")
    with pytest.raises(InputError, match=r"threshold is 'high'; expected a number, as in mtcnn"):
        find_finder("mtcnn?threshold=high")
    with pytest.raises(InputError, match=r"enlarge is '1\.5'; expected a whole number, as in mtcnn"):
        find_finder("mtcnn?enlarge=1.5")
    with pytest.raises(InputError, match=r"mtcnn: threshold is 8\.0; expected a score between 0 and 1"):
        find_finder("mtcnn?threshold=8")
    with pytest.raises(InputError, match="detector is 'mtcn'; expected mtcnn, or the folder"):
        find_finder("mtcn")
    with pytest.raises(InputError, match="detector is a float; expected mtcnn"):
        find_finder(0.5)
    with pytest.raises(InputError, match="this is a face model; expected a detection model with a 'face' class"):
        find_finder(model)
    with pytest.raises(InputError, match="contains no saved model"):
        find_finder(tmp_path)
    with pytest.raises(InputError, match="the model has no 'face' class, but 2 others: dog, cat"):
        ModelFinder(zoo.build("test_resnet", "detection", classes=["dog", "cat"], fpn_channels=16))
    with pytest.raises(InputError, match="detector: not supported by the task classification"):
        found(zoo.build("resnet20", classes=["a"]), bright_quarter(0), detector="mtcnn")


def test_grey_transparent_and_16_bit_pictures(model: zoo.Model, tmp_path: Path) -> None:
    import cv2

    image = bright_quarter(2)
    write_picture(tmp_path / "rgb.png", image)
    cv2.imwrite(str(tmp_path / "grey.png"), image[:, :, 0])
    cv2.imwrite(str(tmp_path / "deep.png"), image.astype(np.uint16) * 257)
    cv2.imwrite(str(tmp_path / "alpha.png"), np.dstack([image, np.full((64, 64), 255, np.uint8)]))
    answers = found(model, tmp_path, detector=BrightFinder())
    assert [one.boxes.tolist() for one in answers] == [[[0, 32, 32, 64]]] * 4


def test_dots_are_no_larger_than_the_face() -> None:
    image = np.zeros((900, 900, 3), np.uint8)
    points = np.array([[[10, 10], [20, 10], [15, 15], [10, 20], [20, 20]]], np.float32)
    small = Faces("a", image, np.array([[5, 5, 25, 25]], np.float32), np.ones(1, np.float32), points, np.ones((1, 3), np.float32))
    drawn = np.asarray(small.plot())[:900]
    dots = (drawn == (255, 96, 64)).all(2)
    assert 5 <= dots.sum() < 60
