"""The contact sheet shows the model input: its colours, boxes on their objects, and the augmentation of the loader."""

from __future__ import annotations

import base64
import io
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.pictures import COLOURS, write_class_folders
from zoo.cli.main import main
from zoo.curation.show import originals, seen, value_range
from zoo.data.dataset import Dataset, Record
from zoo.images.preprocess import Preprocess
from zoo.report.sheet import Seen, page, sheet
from zoo.task.contract import get_task

CLASSIFICATION, DETECTION = get_task("classification"), get_task("detection")


def squares(count: int = 6) -> Dataset:
    """Return white squares on black, left of the centre, with their boxes."""
    records = []
    for index in range(count):
        image = np.zeros((100, 160, 3), np.uint8)
        left, top = 10 + 3 * index, 20 + 5 * index
        image[top : top + 30, left : left + 40] = 255
        target = {"boxes": np.array([[left, top, left + 40, top + 30]], np.float32), "labels": np.array([0])}
        records.append(Record(f"{index}", image, target))
    return Dataset("squares", tuple(records), ("square",))


def test_boxes_stay_on_their_objects_through_augmentation_and_scaling() -> None:
    preprocess = Preprocess("fit", (60, 100), interpolation="bilinear")
    rows, lost = seen(squares(), DETECTION, preprocess, DETECTION.data.recipe(), n=6, variants=4)
    assert not lost
    mirrored = set()
    for one in (one for variants in rows for one in variants):
        assert one.image.shape[:2] == (60, 96)
        assert one.boxes_xyxy is not None
        left, top, right, bottom = one.boxes_xyxy[0]
        ys, xs = np.nonzero(one.image.max(2) > 100)
        assert (xs.min(), ys.min(), xs.max() + 1, ys.max() + 1) == pytest.approx((left, top, right, bottom), abs=1.01)
        mirrored.add(left > 48)
    assert mirrored == {True, False}  # augmentation has an effect


def test_evaluation_is_not_augmented_and_colours_are_those_of_the_file(tmp_path: Path) -> None:
    from zoo.data.formats import open_data

    write_class_folders(tmp_path, per_class=2)
    data = open_data(f"folder:{tmp_path}", CLASSIFICATION.data.schemes, "classification")
    rows, _ = seen(data, CLASSIFICATION, Preprocess("squash", (16, 16)), None, n=100)
    assert [row[0].key for row in rows] == list(data.keys)
    for (one,) in rows:
        (name,) = one.labels
        assert one.image.reshape(-1, 3).mean(0) == pytest.approx(COLOURS[name], abs=25)


def test_the_same_seed_shows_the_same_in_whatever_order() -> None:
    data = squares()
    backwards = Dataset(data.name, data.records[::-1], data.classes)
    preprocess = Preprocess("squash", (32, 32))
    first = {row[0].key for row in seen(data, DETECTION, preprocess, None, n=3)[0]}
    assert first == {row[0].key for row in seen(backwards, DETECTION, preprocess, None, n=3)[0]}
    assert len(first) == 3
    assert any(first != {row[0].key for row in seen(data, DETECTION, preprocess, None, n=3, seed=seed)[0]} for seed in range(1, 5))


def test_a_box_is_drawn_round_its_object() -> None:
    image = np.full((50, 100, 3), 90, np.uint8)
    page = np.asarray(sheet([[Seen("a", image, ("x",), np.array([[20, 10, 60, 40]], np.float32))]], "title", ("x",)))
    red = (page == (214, 39, 40)).all(2)
    red[39 + 224 :] = False  # the text below the image has the colour of the box
    ys, xs = np.nonzero(red)
    # in its cell the image is 224 wide, scaled by 2.24 and centred vertically, 56 below the top
    assert (xs.min(), ys.min(), xs.max(), ys.max()) == pytest.approx((10 + 44.8, 39 + 56 + 22.4, 10 + 134.4, 39 + 56 + 89.6), abs=2)


def test_originals_are_whole_upright_and_have_their_own_boxes() -> None:
    data = squares()
    large = np.zeros((1000, 2000, 3), np.uint8)
    large[200:600, 400:1200] = 255
    target = {"boxes": np.array([[400, 200, 1200, 600]], np.float32), "labels": np.array([0])}
    data = Dataset("squares", (*data.records, Record("large", large, target)), ("square",))
    found = originals(data, ["2", "large"], DETECTION)
    assert found.keys() == {"2", "large"}
    assert found["2"].boxes_xyxy == pytest.approx(data.records[2].target["boxes"])
    np.testing.assert_array_equal(found["2"].image, data.records[2].source)
    boxes = found["large"].boxes_xyxy
    assert boxes is not None
    ys, xs = np.nonzero(found["large"].image.max(2) > 127)
    assert found["large"].image.shape == (224, 448, 3)
    assert (xs.min(), ys.min(), xs.max() + 1, ys.max() + 1) == pytest.approx(boxes[0], abs=1.01)


def test_solid_red_stays_red_to_one_level_and_its_normalised_values_are_told() -> None:
    red = np.full((40, 40, 3), (200, 10, 30), np.uint8)
    preprocess = Preprocess("squash", (32, 32), mean=(0.5, 0.5, 0.5), std=(0.25, 0.5, 0.5))
    rows, _ = seen(Dataset("red", (Record("r", red, 0),), ("red",)), CLASSIFICATION, preprocess, None, n=1)
    assert np.abs(rows[0][0].image.astype(int) - (200, 10, 30)).max() <= 1
    assert value_range(rows, preprocess) == pytest.approx(((10 / 255 - 0.5) / 0.5, (200 / 255 - 0.5) / 0.25), abs=0.02)


def test_the_page_loads_nothing_and_names_are_escaped() -> None:
    image = np.full((50, 100, 3), 90, np.uint8)
    box = np.array([[20, 10, 60, 40]], np.float32)
    text = page([[Seen("<a>.png", image, ("<x>",), box)] * 2, [Seen("b", image, ())]], "5 < 6", ("<x>",))
    assert text.count('src="data:image/png;base64,') == 3
    assert "://" not in text
    for words in ("1 &lt;x&gt;", "&lt;a&gt;.png", "5 &lt; 6", "no label"):
        assert words in text
    first = base64.b64decode(text.split("base64,")[1].split('"')[0])
    with Image.open(io.BytesIO(first)) as cell:
        assert cell.getpixel((45, 78)) == (214, 39, 40)  # corner of the box: the image is 224 wide, 56 below the top


@pytest.mark.parametrize("scheme", ["folder:cifar10/test", "voc:bccd?split=test", "identities:orl?split=test"])
@pytest.mark.parametrize("suffix", ["jpg", "html"])
def test_real_data(scheme: str, suffix: str, shared_data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    name, path = scheme.split(":")
    out = tmp_path / f"show.{suffix}"
    assert (
        main(
            ["data", "show", f"{name}:{shared_data / path}", "--n", "4", "--original", "--skip-bad", "--quiet", "--out", str(out), "--json"]
        )
        == 0
    )
    result = json.loads(capsys.readouterr().out)
    assert len(result["keys"]) == 4
    low, high = result["range"]
    assert -2.2 < low < 0 < high < 2.7  # black and white with ImageNet's mean and standard deviation
    if suffix == "html":
        assert out.read_text().count("<img") == 8
    else:
        with Image.open(out) as sheet_:
            assert sheet_.format == "JPEG"


def test_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_class_folders(tmp_path / "data", per_class=2)
    words = ["data", "show", f"folder:{tmp_path / 'data'}", "--backbone", "resnet20", "--out", str(tmp_path / "sheets" / "show.png")]
    assert main([*words, "--json", "--quiet"]) == 0
    result = json.loads(capsys.readouterr().out)
    assert len(result["keys"]) == 6
    assert result["preprocess"]["size_hw"] == [32, 32]
    with Image.open(result["file"]) as page:
        assert page.width > 1000
    assert main([*words, "--variants", "2"]) == 0
    assert "crop to 32×32, bilinear; the model normalises its input itself (mean 0.485 0.456 0.406" in capsys.readouterr().out


def test_a_saved_models_preprocessing_is_shown(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    import zoo

    write_class_folders(tmp_path / "data", per_class=1)
    zoo.save(zoo.build("resnet20", classes=sorted(COLOURS), image_size=24), tmp_path / "model")
    words = [
        "data",
        "show",
        f"folder:{tmp_path / 'data'}",
        "--model",
        str(tmp_path / "model"),
        "--out",
        str(tmp_path / "show.png"),
        "--plain",
    ]
    assert main(words) == 0
    assert "crop to 24×24" in capsys.readouterr().out


def test_mistakes_and_bad_pictures_are_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_class_folders(tmp_path / "data", per_class=2)
    data = ["data", "show", f"folder:{tmp_path / 'data'}", "--out", str(tmp_path / "show.png"), "--backbone", "resnet20"]
    for words, message in {
        ("--n", "0"): "expected 1 or more",
        ("--out", "show.txt"): "expected a file name that ends in .png, .jpg, .webp or .html",
        ("--plain", "--variants", "2"): "--variants shows augmentation",
    }.items():
        assert main([*data, *words]) == 2
        assert message in capsys.readouterr().err
    bad = next((tmp_path / "data").rglob("*red*/*"), None) or next((tmp_path / "data" / "red").iterdir())
    bad.write_bytes(b"no picture")
    assert main(data) == 2
    assert bad.name in capsys.readouterr().err
    assert main([*data, "--skip-bad"]) == 0
    assert f"skipped: red/{bad.name}" in capsys.readouterr().out
    for file in (tmp_path / "data").rglob("*.*"):
        file.write_bytes(b"no picture")
    assert main([*data, "--skip-bad"]) == 2
    assert "none of the 24 samples can be read" in capsys.readouterr().err
