"""HTML pages in a real browser: desktop and phone, light and dark mode."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from selenium.webdriver import Chrome

import zoo
from tests.browser import DESKTOP, PHONE, browser, complaints, low_contrast, requests, view
from tests.pictures import write_class_folders
from zoo.cli.main import main
from zoo.data.dataset import Dataset, Record
from zoo.errors import Fault
from zoo.task.metric import Curve, Mistake, Scores, Table

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def opened(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Chrome]:
    with browser(tmp_path_factory.mktemp("profile")) as found:
        yield found


def everything() -> tuple[Scores, Dataset]:
    """Return a result with every section, names that don't wrap, and images of many shapes."""
    rng = np.random.default_rng(0)
    keys = [f"{'a_long_name_without_a_space' * 6}/{index}.png" for index in range(6)]
    shapes = [(40, 900), (900, 40), (32, 32), (600, 800), (300, 200), (1, 1)]
    records = tuple(Record(key, rng.integers(0, 256, (*shape, 3), np.uint8), None) for key, shape in zip(keys, shapes, strict=True))
    names = [f"a_class_with_a_long_name_{index}" for index in range(28)]
    box = ((4.0, 4.0, 20.0, 20.0), "answered " + "unbroken" * 20 + " 0.93")
    line = (np.linspace(1e-4, 1, 300).tolist(), rng.random(300).tolist())
    found = Scores(
        {"AP": 0.5, "AP50": None, "a_score_with_a_very_long_name_that_goes_on": 0.25}, 5, 6, (Fault(keys[0], "is cut short", True),),
        per_class={name: {"AP": 0.5, "AP50": 0.4, "AP75": None, "AR1": 0.2, "AR10": 0.3, "AR100": 0.4, "n": 5} for name in names},
        intervals={"AP": (0.25, 0.75)},
        details={"confusion_matrix": {"classes": names, "rows_true_columns_answered": rng.integers(0, 900, (28, 28)).tolist()}, "x": keys},
        data=f"folder:/{'folder_' * 30}", preprocess={"size_hw": (32, 32)}, fingerprints={"data": "0" * 64}, versions={"zoo": "1"},
        mistakes=(*(Mistake((key,), "missed", 1.0, (box, box)) for key in keys), Mistake((keys[0], keys[1]), "a pair", 0.5),
                  Mistake(("gone",), "a missing image", 0.1)),
        curves=tuple(Curve("Curve", "x", "y", dict.fromkeys(names[:12], line), diagonal=log, log_x=log) for log in (False, True)),
        tables=(Table("Errors", tuple(names[:9]), (tuple(range(9)),), "What they cost."),),
    )  # fmt: skip
    return found, Dataset("d", records)


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Return one page of each kind, by name."""
    folder = tmp_path_factory.mktemp("pages")
    data = f"folder:{write_class_folders(folder / 'data', per_class=3)}"
    found, dataset = everything()
    zoo.write_report(found, dataset, folder / "everything.html", task="detection")
    model = zoo.build("resnet20", classes=["blue", "green", "red"], image_size=32)
    zoo.write_report(zoo.evaluate(model, data, replicates=20), data, folder / "model.html", model=model)
    assert main(["data", "check", data, "--report", str(folder / "check.html"), "--quiet"]) in (0, 1)
    assert main(["data", "show", data, "--variants", "3", "--out", str(folder / "show.html"), "--quiet", "--backbone", "resnet20"]) == 0
    words = ["--backbone", "resnet20", "--epochs", "2", "--batch-size", "4", "--out", str(folder / "run"), "--quiet"]
    assert main(["train", "--data", data, "--val", data, *words]) == 0
    (folder / "run" / "report.html").rename(folder / "training.html")
    return {name: folder / f"{name}.html" for name in ("everything", "model", "check", "show", "training")}


@pytest.mark.parametrize("name", ["everything", "model", "check", "show", "training"])
@pytest.mark.parametrize("width", [DESKTOP, PHONE])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_page_is_whole_and_fits(opened: Chrome, pages: dict[str, Path], name: str, width: int, scheme: str) -> None:
    view(opened, pages[name], width, "dark" if scheme == "dark" else "light")
    assert requests(opened) == [pages[name].as_uri()], "only the file itself is requested"
    assert complaints(opened) == []
    assert opened.execute_script("return innerWidth") == width
    wide = opened.execute_script("return document.documentElement.scrollWidth")
    assert wide <= width, f"the page scrolls sideways: {wide} of {width} pixels"
    broken = (
        "return [...document.images].filter(image => !image.complete || !image.naturalWidth).map(image => image.outerHTML.slice(0, 90))"
    )
    assert opened.execute_script(broken) == []
    bright = "return getComputedStyle(document.body).backgroundColor.match(/\\d+/g).map(Number)[0]"
    assert (opened.execute_script(bright) > 128) == (scheme == "light")
    assert opened.execute_script("return document.querySelectorAll('h1').length") == 1


@pytest.mark.parametrize("width", [DESKTOP, PHONE])
def test_the_report_is_laid_out_for_its_reader(opened: Chrome, pages: dict[str, Path], width: int) -> None:
    view(opened, pages["everything"], width)
    headings = opened.execute_script("return [...document.querySelectorAll('h2')].map(one => one.textContent)")
    known = ["Scores", "Confusion matrix", "Analysis", "Curves", "Worst mistakes", "Per class", "Skipped", "Details", "Provenance"]
    assert headings == known
    assert opened.execute_script("return document.querySelector('.big').getBoundingClientRect().bottom < 420"), (
        "the score is visible without scrolling"
    )
    assert opened.execute_script("return [...document.images].every(image => image.alt)")
    # images keep their aspect ratio, and nothing extends beyond its card
    shapes = "return [...document.querySelectorAll('.views img')].map(i => i.width / i.height / (i.naturalWidth / i.naturalHeight))"
    assert opened.execute_script(shapes) == pytest.approx([1.0] * 11, rel=0.35), "up to one pixel, which matters for images few pixels high"
    out = """return [...document.querySelectorAll('.mistakes > li')].filter(card =>
        [...card.querySelectorAll('*')].some(one => one.getBoundingClientRect().right > card.getBoundingClientRect().right + 1)).length"""
    assert opened.execute_script(out) == 0
    pair = """const [a, b] = [...document.querySelectorAll('.mistakes > li')].find(card => card.textContent.includes('a pair'))
        .querySelectorAll('img'); return a.getBoundingClientRect().right <= b.getBoundingClientRect().left"""
    assert opened.execute_script(pair), "pairs are side by side, on a phone too"
    small = """return [...document.querySelectorAll('svg.chart')].map(one => {
        const scale = one.getBoundingClientRect().width / 360; return 11 * scale })"""
    assert min(opened.execute_script(small)) >= 9.5, "the text of charts is readable"
    opened.execute_script("document.querySelector('a[href=\"#mistakes\"]').click()")
    assert abs(opened.execute_script("return document.querySelector('#mistakes').getBoundingClientRect().top")) < 5


@pytest.mark.parametrize("name", ["everything", "training"])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_stands_out_from_what_is_behind_it(opened: Chrome, pages: dict[str, Path], name: str, scheme: str) -> None:
    """WCAG 2.2, success criterion 1.4.3: a contrast of at least 4.5 to 1."""
    view(opened, pages[name], DESKTOP, "dark" if scheme == "dark" else "light")
    text = "h1,h2,h3,p,td,th,dt,dd,a,li,small,figcaption,summary,b,text"
    assert low_contrast(opened, text) == []
