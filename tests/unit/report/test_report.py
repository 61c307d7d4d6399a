"""The evaluation report: its content and size, and that it is complete and harmless."""

from __future__ import annotations

import base64
import re
import sys
from dataclasses import replace
from html import escape, unescape
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from numpy.typing import NDArray

import zoo
from tests.pictures import COLOURS, write_class_folders
from zoo.cli.main import main
from zoo.data.dataset import Dataset, Record
from zoo.errors import Fault, InputError
from zoo.report.document import html
from zoo.task.contract import get_task
from zoo.task.metric import Curve, Mistake, Scores, Table

pytestmark = pytest.mark.usefixtures("one_thread")


def dataset(**pictures: NDArray[np.uint8]) -> Dataset:
    return Dataset("pictures", tuple(Record(key, image, None) for key, image in pictures.items()))


def scores(**values: object) -> Scores:
    whole = Scores({"top1": 0.75, "top5": None}, 3, 4, intervals={"top1": (0.5, 0.875)}, data="folder:there")
    return replace(whole, **values)  # type: ignore[arg-type]


def noise(height: int, width: int, seed: int = 0) -> NDArray[np.uint8]:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)


def shown(page: str) -> list[NDArray[np.uint8]]:
    """Return the images of a page, RGB."""
    found = re.findall(r'<img[^>]* src="data:image/(?:jpeg|png);base64,([^"]+)"', page)
    assert len(found) == page.count("<img"), "every image is embedded in the page"
    decoded = [cv2.imdecode(np.frombuffer(base64.b64decode(data), np.uint8), cv2.IMREAD_COLOR) for data in found]
    return [np.asarray(image)[..., ::-1].astype(np.uint8) for image in decoded if image is not None]


@pytest.fixture
def trained(tmp_path: Path) -> tuple[str, Path]:
    """Return a folder of images and an untrained classifier, so that there are mistakes."""
    write_class_folders(tmp_path / "data", per_class=4)
    torch.manual_seed(0)
    zoo.save(zoo.build("resnet20", classes=sorted(COLOURS), image_size=32), tmp_path / "model")
    return f"folder:{tmp_path / 'data'}", tmp_path / "model"


def test_the_command_writes_the_report_of_a_model(trained: tuple[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data, model = trained
    file = tmp_path / "new" / "report.html"
    assert main(["eval", str(model), "--data", data, "--report", str(file), "--replicates", "50"]) == 0
    printed = capsys.readouterr()
    assert f"report: {file}" in printed.err.replace("\n", "")
    page = file.read_text(encoding="utf-8")
    result = zoo.evaluate(zoo.load(model), data, replicates=0)
    assert f'<div class="big">{result["top1"]:.4f}</div>' in page
    for title in ("Scores", "Confusion matrix", "Curves", "Worst mistakes", "Per class", "Provenance"):
        assert f"<h2>{title}</h2>" in page
    assert "<h3>Calibration</h3>" in page
    assert len(shown(page)) == 3 * len(result.mistakes) > 0, "the image, and a map for either class"
    assert page.count("Grad-CAM for the true class") == 2 * len(result.mistakes), "in the caption and in the alternative text"
    assert result.fingerprints["model"] in page


def test_the_command_writes_the_report_of_predictions(
    trained: tuple[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data, model = trained
    answers, file = tmp_path / "answers.csv", tmp_path / "report.html"
    assert main(["eval", str(model), "--data", data, "--save-predictions", str(answers), "--json", "--quiet"]) == 0
    words = ["eval", "--data", data, "--predictions", str(answers), "--report", str(file), "--json", "--quiet"]
    assert main(words) == 0
    page = file.read_text(encoding="utf-8")
    assert len(shown(page)) == page.count('<p class="what">') > 0
    assert "Grad-CAM" not in page
    assert main([*words[:-3], str(tmp_path / "report.txt")]) == 2
    assert "report.txt; expected a file name that ends in .html" in capsys.readouterr().err
    assert main(["eval", str(model), "--data", data, "--attack", "fgsm", "--report", str(file)]) == 2
    assert "--report covers only the scores on clean images; it can't be combined with --corruptions or --attack" in capsys.readouterr().err


def test_without_captum_the_report_says_how_to_get_it(trained: tuple[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data, folder = trained
    model = zoo.load(folder)
    result = zoo.evaluate(model, data, replicates=0)
    for name in ("captum", "captum.attr"):
        monkeypatch.setitem(sys.modules, name, None)
    zoo.write_report(result, data, tmp_path / "report.html", model=model)
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert "Saliency maps are not shown: Grad-CAM needs captum" in page
    assert "pip install 'resnet-zoo[robustness]'" in unescape(page)
    assert len(shown(page)) == len(result.mistakes)


def test_neither_model_nor_task() -> None:
    with pytest.raises(InputError, match="needs a model or a task: pass model=, or task="):
        zoo.write_report(scores(), dataset(a=noise(8, 8)), "report.html")


def test_a_report_that_cant_be_written_leaves_the_old_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "report.html"
    file.write_text("old")

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("zoo.system.files.os.fsync", full)
    with pytest.raises(OSError, match="No space"):
        zoo.write_report(scores(), dataset(a=noise(8, 8)), file, task="classification")
    assert file.read_text() == "old"
    assert [path.name for path in tmp_path.iterdir()] == ["report.html"]


def test_names_from_the_data_stay_words() -> None:
    bad = "<script>alert('x')</script>\"><img src=x onerror=alert(1)>\udcff"
    mistake = Mistake((bad,), bad, 1.0, (((1.0, 1.0, 6.0, 6.0), bad),))
    matrix = {"classes": [bad, "b"], "rows_true_columns_answered": [[1, 2], [0, 3]]}
    result = scores(
        data=bad,
        per_class={bad: {bad: 0.5}},
        details={"confusion_matrix": matrix, bad: [bad], "list": [{bad: bad}]},
        skipped=(Fault(bad, bad, True),),
        mistakes=(mistake, Mistake((f"{bad}2",), bad, 0.5)),
        curves=(Curve(bad, bad, bad, {bad: ([0, 1], [0, 1]), "b": ([0, 1], [1, 0])}),),
        tables=(Table(bad, (bad,), ((bad,),), bad),),
        fingerprints={bad: bad},
        versions={bad: bad},
        preprocess={bad: bad},
        precision=bad,
    )
    page = html(result, dataset(**{bad: noise(8, 8)}), get_task("detection"))
    page.encode("utf-8")
    assert "<script" not in page
    assert page.count("onerror=alert(1)") == page.count("&quot;&gt;&lt;img src=x onerror=alert(1)&gt;"), "escaped exactly once, everywhere"
    assert page.count("<img") == 1
    assert "&lt;script&gt;" in page


def test_it_loads_nothing_and_runs_nothing(trained: tuple[str, Path]) -> None:
    data, folder = trained
    model = zoo.load(folder)
    zoo.write_report(zoo.evaluate(model, data, replicates=0), data, folder / "r.html", model=model)
    page = (folder / "r.html").read_text(encoding="utf-8")
    assert "default-src 'none'; img-src data:; style-src 'unsafe-inline'" in page
    assert not re.search(r'(src|href)="(?!data:|#)', page)
    assert not re.search(r"https?://|@import|url\(|<script|<link(?! rel=\"icon\" href=\"data:,\")", page)


def test_the_file_stays_small_whatever_the_data() -> None:
    """Noise can't be compressed: 24 large images with two views each, a thousand classes, and everything long."""
    pictures = {f"{index:02d}.png": noise(900, 1200, index) for index in range(24)}
    names = [f"class number {index} with a name that is long" for index in range(1_000)]
    rng = np.random.default_rng(0)
    matrix = {"classes": names, "rows_true_columns_answered": rng.integers(0, 50, (1_000, 1_000)).tolist()}
    line = (np.linspace(0, 1, 5_000).tolist(), rng.random(5_000).tolist())
    result = scores(
        per_class={name: {"precision": 0.123, "recall": 0.456, "f1": 0.789, "n": 50} for name in names},
        details={"confusion_matrix": matrix},
        curves=tuple(Curve("c", "x", "y", {str(number): line for number in range(12)}) for _ in range(3)),
        mistakes=tuple(
            Mistake((key,), "missed", 1.0, tuple(((500.0, 500.0, 560.0 + at, 550.0), f"true {at}") for at in range(40))) for key in pictures
        ),
        skipped=tuple(Fault(f"{index}.png", "is cut short " * 20, True) for index in range(5_000)),
    )
    page = html(result, dataset(**pictures), get_task("detection"))
    assert len(page.encode()) < 5_000_000
    assert len(shown(page)) == 2 * 24 + 1
    assert min(max(image.shape) for image in shown(page)) >= 300, "the images are still large enough to be useful"
    assert page.count("<tr><td>class number") == 1_000 + 40
    assert "all 1,000 classes" in page
    assert "the 40 most frequent of " in page
    assert "… and 4,800 more; --json lists all" in page


def test_many_pictures_share_the_room_that_the_rest_leaves() -> None:
    """48 pairs of noise images would take 10 MB at full quality."""
    pictures = {str(index): noise(336, 336, index) for index in range(96)}
    pairs = tuple(Mistake((str(2 * index), str(2 * index + 1)), "two people, taken for one", 1.0) for index in range(48))
    rows = tuple((f"{index} {'x' * 400}", 0.5) for index in range(2_000))
    taken = []
    for tables in ((), (Table("Long", ("a", "b"), rows),) * 6):
        page = html(scores(mistakes=pairs, tables=tables), dataset(**pictures), get_task("face"))
        assert len(page.encode()) < 5_000_000
        assert len(shown(page)) == 96
        taken.append(sum(map(len, re.findall(r"base64,([^\"]+)", page))))
    assert taken[0] > 4_000_000, "the images use the available room"
    assert taken[1] < 2_500_000


def test_a_table_that_would_fill_the_file_is_cut_and_says_so() -> None:
    rows = tuple((f"{index} {'x' * 400}", 0.5) for index in range(5_000))
    page = html(scores(tables=(Table("Long", ("a", "b"), rows),)), dataset(a=noise(8, 8)), get_task("detection"))
    assert re.search(r"the first \d{3} of 5,000 rows; --json lists all", page)
    assert len(page.encode()) < 600_000


def test_pictures_that_are_not_there_are_said_and_none_is_dropped(tmp_path: Path) -> None:
    write_class_folders(tmp_path / "data", per_class=1)
    gone = next((tmp_path / "data" / "red").iterdir())
    data = Dataset("d", (Record("red/0.png", gone, 0), Record("blue/0.png", next((tmp_path / "data" / "blue").iterdir()), 0)))
    gone.unlink()
    pair = Mistake(("red/0.png", "blue/0.png"), "two people, taken for one", 1.0)
    page = html(scores(mistakes=(pair, Mistake(("never.png",), "unknown", 0.5))), data, get_task("face"))
    assert page.count('<p class="what">') == 2
    assert len(shown(page)) == 1
    assert re.search(rf'<div class="lost">red/0.png: no image: {re.escape(escape(str(gone)))}: does not exist\. Check the path', page)
    assert "never.png: no image, because the dataset no longer has a sample with this key" in page


def test_a_pair_stands_side_by_side_in_one_card() -> None:
    data = dataset(a=np.full((40, 30, 3), (200, 0, 0), np.uint8), b=np.full((40, 30, 3), (0, 0, 200), np.uint8))
    page = html(scores(mistakes=(Mistake(("a", "b"), "one person, taken for two", 1.0),)), data, get_task("face"))
    card = page[page.index('<ol class="mistakes">') : page.index("</ol>")]
    assert card.count("<li") == 1
    assert card.count("<figure") == 2
    first, second = shown(page)
    assert first[100, 100].tolist() == pytest.approx([200, 0, 0], abs=6)
    assert second[100, 100].tolist() == pytest.approx([0, 0, 200], abs=6)


def test_mistakes_beyond_those_with_pictures_are_listed() -> None:
    data = dataset(**{str(index): noise(8, 8) for index in range(60)})
    page = html(scores(mistakes=tuple(Mistake((str(index),), f"mistake {index}", 1.0) for index in range(60))), data, get_task("detection"))
    assert len(shown(page)) == 48
    assert "The 60 worst mistakes" in page
    assert "12 more, without images" in page
    assert "<li>59: mistake 59</li>" in page


def test_what_was_left_out_stands_at_the_top() -> None:
    page = html(scores(skipped=(Fault("a.png", "is cut short", True),)), dataset(a=noise(8, 8)), get_task("classification"))
    assert "<dd>3 of 4</dd>" in page
    assert '1 of 4 samples were skipped and are not included in the scores. Errors: <a href="#left-out">1</a>' in page
    assert "<li>a.png: is cut short</li>" in page
    assert "not scored" not in html(scores(expected=3), dataset(a=noise(8, 8)), get_task("classification"))


def test_a_score_that_the_data_does_not_support_is_no_number() -> None:
    page = html(scores(scores={"top1": None, "top5": float("nan")}, intervals={}), dataset(a=noise(8, 8)), get_task("classification"))
    assert '<div class="big">–</div>' in page
    assert ">nan<" not in page
    assert page.count('<td class="n">–</td><td class="n"><small>not available</small></td>') == 2


def test_the_weakest_class_comes_first_and_counts_dont_count() -> None:
    each: dict[str, dict[str, float | None]] = {"a": {"AP": 0.9, "n": 1}, "b": {"AP": None, "n": 0}, "c": {"AP": 0.2, "n": 900}}
    page = html(scores(per_class=each), dataset(a=noise(8, 8)), get_task("detection"))
    assert re.findall(r"<tr><td>([abc])</td>", page) == ["c", "a", "b"]
