"""Decoding large JPEGs at a reduced scale: where it is used, how little it changes, and that coordinates stay those of the full size."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

import zoo
from tests.pictures import write_class_folders
from zoo.cli.main import main
from zoo.data.dataset import Dataset, Record, Sample
from zoo.data.folders import picture_files
from zoo.data.formats import open_data
from zoo.data.loader import evaluation_loader, training_loader
from zoo.data.sampling import Shuffled, TrainingPlan
from zoo.errors import ImageError, InputError
from zoo.images.decoding import Decoding
from zoo.images.headers import MAX_PIXELS
from zoo.images.preprocess import Preprocess
from zoo.task.contract import get_task
from zoo.tasks.classification.options import ClassificationRecipe
from zoo.tasks.face.training.recipe import FaceRecipe

SQUASH = Preprocess(policy="squash", size_hw=(32, 32))


@pytest.fixture
def large(tmp_path: Path) -> Path:
    """A JPEG of 640 × 480 stored on its side: 480 wide and 640 high when upright."""
    y, x = np.mgrid[:480, :640]
    pixels = np.stack([x * 255 // 640, y * 255 // 480, (x + y) % 256], 2).astype(np.uint8)
    exif = Image.Exif()
    exif[274] = 6
    file = tmp_path / "large" / "one" / "side.jpg"
    file.parent.mkdir(parents=True)
    Image.fromarray(pixels).save(file, quality=95, exif=exif.tobytes())
    return file


def dataset(*files: Path) -> Dataset:
    return Dataset("files", tuple(Record(file.name, file, 0) for file in files))


def prepared(files: list[Path], preprocess: Preprocess, decoding: Decoding) -> list[Tensor]:
    batches = evaluation_loader(dataset(*files), preprocess, 1, 0, decoding=decoding)
    return [batch.images.pixels.float() for batch in batches if batch.images is not None]


def differences(files: list[Path], preprocess: Preprocess) -> list[float]:
    """Return the mean difference in grey levels of each preprocessed image from the one decoded at full size."""
    reduced = prepared(files, preprocess, Decoding(preprocess.min_size_hw))
    whole = prepared(files, preprocess, Decoding())
    return [float((one - other).abs().mean()) for one, other in zip(reduced, whole, strict=True)]


def test_a_reduced_picture_comes_with_the_size_of_the_whole(large: Path) -> None:
    image, original_hw = Decoding((50, 50)).read(large)
    assert (image.shape, original_hw) == ((320, 240, 3), (640, 480))
    image, original_hw = Decoding().read(large)
    assert (image.shape, original_hw) == ((640, 480, 3), (640, 480))


def test_the_limit_on_pixels_is_the_callers(large: Path) -> None:
    assert Decoding(max_pixels=640 * 480).read(large)[1] == (640, 480)
    with pytest.raises(ImageError, match=r"side\.jpg: is too large: 640×480 pixels, the limit is 307199"):
        Decoding(max_pixels=640 * 480 - 1).read(large)
    with pytest.raises(InputError, match="max_pixels is 0; expected a number above 0"):
        Decoding(max_pixels=0)


@pytest.mark.parametrize(
    ("preprocess", "expected"),
    [
        (Preprocess(size_hw=(224, 224), crop_pct=0.875), (256, 256)),
        (Preprocess(policy="squash", size_hw=(112, 96)), (112, 96)),
        (Preprocess(policy="fit", size_hw=(240, 320)), (240, 240)),
        (Preprocess(policy="fit", size_hw=(800, 1333), antialias=False), None),
    ],
)
def test_what_a_preprocessing_needs(preprocess: Preprocess, expected: tuple[int, int] | None) -> None:
    assert preprocess.min_size_hw == expected
    if expected is not None:
        # at the minimum size nothing is scaled up, in landscape or portrait format
        for height, width in (expected, (expected[0], 3 * expected[1]), (3 * expected[0], expected[1])):
            resized = preprocess.resized_hw(height, width)
            assert resized[0] <= height
            assert resized[1] <= width


def test_evaluation_reduces_and_keeps_the_frame_of_the_whole_picture(large: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    preprocess = Preprocess(policy="fit", size_hw=(40, 60))
    shapes: list[tuple[int, ...]] = []
    call = Preprocess.__call__

    def look(self: Preprocess, image: NDArray[np.uint8]) -> Tensor:
        shapes.append(image.shape)
        return call(self, image)

    monkeypatch.setattr(Preprocess, "__call__", look)
    (batch,) = evaluation_loader(dataset(large), preprocess, 1, 0, decoding=Decoding(preprocess.min_size_hw))
    assert batch.images is not None
    assert shapes == [(160, 120, 3)]
    assert batch.images.original_sizes_hw == ((640, 480),)
    assert batch.images.sizes_hw == (preprocess.resized_hw(640, 480),)


def test_photos_at_224_are_read_whole(shared_data: Path) -> None:
    files = [file for folder in ("photos", "coco-mini") for file in picture_files(shared_data / folder)[::8]]
    small = [file for file in files if min(Decoding().read(file)[1]) < 6 * 256]
    assert len(small) > 8
    assert max(differences(small, Preprocess())) == 0


def test_the_difference_stays_under_two_grey_levels(shared_data: Path) -> None:
    """Measured: photos scaled to 56 pixels 0.65 on average and 1.7 at most, portraits scaled to 112 pixels 0.4 and 0.8."""
    photos = differences(picture_files(shared_data / "photos")[::2], Preprocess(policy="squash", size_hw=(56, 56)))
    portraits = differences(picture_files(shared_data / "portraits"), Preprocess(policy="squash", size_hw=(112, 112)))
    assert max(portraits) > 0
    assert sum(difference > 0 for difference in photos) > len(photos) / 2, "the test is meaningless if nothing is reduced"
    assert np.mean(photos) < 2
    assert np.mean(portraits) < 2


def test_phone_photos_differ_by_less_than_two_grey_levels(shared_data: Path, tmp_path: Path) -> None:
    with Image.open(shared_data / "portraits" / "kate_siegel.jpg") as portrait:
        portrait.convert("RGB").resize((2896, 4144)).save(tmp_path / "phone.jpg", quality=90)
    (difference,) = differences([tmp_path / "phone.jpg"], Preprocess())
    assert 0 < difference < 2


def test_what_training_needs() -> None:
    classification, face = get_task("classification"), get_task("face")
    # the smallest crop of a square has 0.48 of its area, 0.6 of its width and 0.8 of its height
    assert classification.data.training_min_size_hw(ClassificationRecipe(crop_scale=0.48), SQUASH) == (54, 54)
    assert classification.data.training_min_size_hw(ClassificationRecipe(crop_scale=1), SQUASH) == (32, 32)
    assert face.data.training_min_size_hw(FaceRecipe(zoom=0.25), SQUASH) == (40, 40)
    sharp = Preprocess(antialias=False)
    assert classification.data.training_min_size_hw(ClassificationRecipe(), sharp) is None
    assert face.data.training_min_size_hw(FaceRecipe(), sharp) is None


def test_augmentation_gets_the_reduced_picture(large: Path) -> None:
    seen: list[tuple[int, ...]] = []

    def look(sample: Sample) -> Sample:
        seen.append(sample.image.shape)
        return sample

    plan = TrainingPlan(Shuffled(2, 2, 2), epochs=1, seed=0)
    list(training_loader(dataset(large, large), SQUASH, plan, 0, "raise", look, decoding=Decoding((54, 54))))
    list(training_loader(dataset(large, large), SQUASH, plan, 0, "raise", look))
    assert seen == [(320, 240, 3)] * 2 + [(640, 480, 3)] * 2


def test_train_and_evaluate_pass_the_settings_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = write_class_folders(tmp_path / "data", 1)
    used: list[Decoding] = []
    read = Decoding.read

    def look(self: Decoding, path: Path) -> tuple[NDArray[np.uint8], tuple[int, int]]:
        used.append(self)
        return read(self, path)

    monkeypatch.setattr(Decoding, "read", look)
    monkeypatch.setattr("zoo.training.train.write_training_report", lambda *given: None)  # it reads images at full size to show them
    model = zoo.build("resnet20", classes=["blue", "green", "red"])
    recipe = ClassificationRecipe(epochs=1, batch_size=3, crop_scale=0.48, workers=0)
    need = model.preprocess.min_size_hw
    assert need == (32, 32)
    zoo.train(model, f"folder:{folder}", f"folder:{folder}", recipe, tmp_path / "one", device="cpu")
    zoo.train(model, f"folder:{folder}", f"folder:{folder}", recipe, tmp_path / "two", device="cpu", exact=True, max_pixels=2000)
    zoo.evaluate(model, f"folder:{folder}", workers=0, device="cpu")
    zoo.evaluate(model, f"folder:{folder}", workers=0, device="cpu", exact=True, max_pixels=1024)
    training, validation, whole = Decoding((54, 54)), Decoding((32, 32)), Decoding(None, 2000)
    assert used[::3] == [training, validation, whole, whole, validation, Decoding(None, 1024)]
    with pytest.raises(ImageError, match=r"is too large: 32×32 pixels, the limit is 1023 .*--max-pixels"):
        zoo.evaluate(model, f"folder:{folder}", workers=0, device="cpu", max_pixels=1023)


def test_exact_in_the_dataset_string_decodes_whole_pictures_wherever_it_is_used(large: Path, tmp_path: Path) -> None:
    read: list[tuple[int, ...]] = []

    class Watching(Preprocess):
        def __call__(self, image: NDArray[np.uint8] | Tensor) -> Tensor:
            read.append(image.shape[:2])
            return super().__call__(image)

    folder = large.parents[1]
    model = zoo.build("resnet20", classes=["one"])
    model.preprocess = Watching(**vars(model.preprocess))
    schemes = get_task("classification").data.schemes

    def sizes(option: str, exact: bool = False) -> set[tuple[int, ...]]:
        """Return the sizes of the images that evaluation and prediction preprocess."""
        read.clear()
        data = f"folder:{folder}?{option}"
        zoo.evaluate(model, data, workers=0, device="cpu", exact=exact)
        list(zoo.predict(model, open_data(data, schemes, "classification"), device="cpu", exact=exact))
        return set(read)

    assert sizes("exact=false") == sizes("limit=1") == {(160, 120)}
    assert sizes("exact=true") == sizes("exact=false", exact=True) == {(640, 480)}


def test_exact_in_the_dataset_string_is_for_training_too(large: Path) -> None:
    seen: list[tuple[int, ...]] = []

    def look(sample: Sample) -> Sample:
        seen.append(sample.image.shape[:2])
        return sample

    plan = TrainingPlan(Shuffled(1, 1, 1), epochs=1, seed=0)
    schemes = get_task("classification").data.schemes
    for option in ("exact=true", "exact=false"):
        data = open_data(f"folder:{large.parents[1]}?{option}", schemes, "classification")
        list(training_loader(data, SQUASH, plan, 0, "raise", look, decoding=Decoding((54, 54))))
    assert seen == [(640, 480), (320, 240)]


@pytest.mark.parametrize("from_dataset", [False, True])
def test_predict_reduces_only_where_answers_have_no_places(large: Path, from_dataset: bool) -> None:
    source: Any = dataset(large) if from_dataset else large
    classifier = zoo.build("resnet20", classes=["a", "b"])

    def shape(model: zoo.Model, exact: bool = False) -> Any:
        (answer,) = zoo.predict(model, source, device="cpu", exact=exact)
        return answer.image.shape  # type: ignore[attr-defined]  # every prediction of the zoo's own tasks has its image

    assert shape(classifier) == (160, 120, 3)
    assert shape(classifier, exact=True) == (640, 480, 3)
    assert shape(zoo.build("resnet20", "face", classes=["a", "b"])) == (640, 480, 3)


def test_answers_hardly_change(large: Path) -> None:
    torch.manual_seed(0)
    model = zoo.build("resnet20", classes=["a", "b"])
    probabilities = [next(zoo.predict(model, large, device="cpu", exact=exact)).probabilities for exact in (False, True)]  # type: ignore[attr-defined]
    np.testing.assert_allclose(probabilities[0], probabilities[1], atol=0.02)


def test_the_command_line_has_both_settings(large: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["predict", str(large), "--backbone", "resnet20", "--classes", "a,b", "--json", "--quiet", "--device", "cpu"]
    assert main([*words, "--exact", "--max-pixels", "307200"]) == 0
    assert len(json.loads(capsys.readouterr().out)["predictions"]) == 1
    assert main([*words, "--max-pixels", "1000"]) == 2
    assert "the limit is 1000" in capsys.readouterr().err
    assert main([*words, "--max-pixels", "0"]) == 2
    assert "max_pixels is 0" in capsys.readouterr().err


def test_pictures_that_are_no_jpegs_are_never_reduced(tmp_path: Path) -> None:
    file = tmp_path / "large.png"
    assert cv2.imwrite(str(file), np.zeros((640, 480, 3), np.uint8))
    assert Decoding((10, 10), MAX_PIXELS).read(file)[0].shape == (640, 480, 3)
