"""The page of `zoo serve` in a real browser, with a real server: predictions, the operating point, downloads, programs, and galleries."""

from __future__ import annotations

import base64
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("fastapi")
pytest.importorskip("httpx")

import torch
from PIL import Image
from selenium.webdriver import Chrome
from selenium.webdriver.common.keys import Keys

import zoo
from tests.browser import browser, complaints, requests
from tests.unit.serving.page import Page
from tests.unit.serving.process import ServerProcess, served

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    """Serve a detector with an operating point, a model with three heads, and a face model with a gallery, all with random weights."""
    folder = tmp_path_factory.mktemp("models")
    torch.manual_seed(0)
    small: dict[str, Any] = {"image_size": 96, "max_image_size": 128, "score_threshold": 0.0}
    boxes = zoo.build("resnet18", "detection", classes=["x", "y"], max_detections=12, **small)
    zoo.save(boxes, folder / "boxes")
    heads = {"kind": "classification", "tags": "classification", "parts": "detection"}
    classes = {"kind": ["cat", "dog"], "tags": ["wet", "old", "red"], "parts": ["ear", "tail"]}
    options: dict[str, Any] = {"attributes": {"parts": {"hue": ["red", "blue"]}}, "multi_label": {"kind": False, "tags": True}}
    zoo.save(zoo.build("resnet18", heads, classes=classes, max_detections=4, **small, **options), folder / "heads")
    face = zoo.build("resnet20", "face", embedding_size=16)
    face.metadata["threshold"] = 1e-4
    zoo.save(face, folder / "people")
    words = [f"{name}={folder / name}" for name in ("boxes", "heads", "people")]
    with served(*words, "--gallery", f"friends@people={folder / 'people.gallery'}", "--max-body-mb", "1") as running:
        yield running


@pytest.fixture(scope="module")
def opened(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Chrome]:
    flags = ("--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream")
    with browser(tmp_path_factory.mktemp("profile"), *flags) as found:
        yield found


@pytest.fixture
def page(opened: Chrome, server: ServerProcess) -> Page:
    return Page(opened, f"{server.url}/")


@pytest.fixture(scope="module")
def photo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Write a grey picture of 320 × 200 pixels with a dark square."""
    pixels = np.full((200, 320, 3), 200, np.uint8)
    pixels[60:120, 100:180] = 90
    file = tmp_path_factory.mktemp("photos") / "it's one; photo.png"
    Image.fromarray(pixels).save(file)
    return file


def answer(server: ServerProcess, model: str, photo: Path, query: str = "") -> dict[str, Any]:
    """Return the server's prediction for a picture."""
    found = server.client.post(f"/v1/models/{model}/predict{query}", files={"files": (photo.name, photo.read_bytes())})
    prediction: dict[str, Any] = found.json()["predictions"][0]
    return prediction


def is_colour_of(pixel: tuple[int, int, int], label: int) -> bool:
    wanted = [(86, 180, 233), (230, 159, 0)][label]
    return max(abs(a - b) for a, b in zip(pixel, wanted, strict=True)) < 40


def check_boxes(page: Page, found: dict[str, Any], width: int, height: int) -> None:
    """Check that the lower left corners of boxes are drawn where the server found them."""
    shown = 0
    for (left, _, _, bottom), label in zip(found["boxes"], found["labels"], strict=True):
        if 2 < left < width - 2 and bottom < height - 2:
            around = [page.pixel(left + a, bottom + b, width) for a in (-1, 0, 1) for b in (-1, 0, 1)]
            shown += any(is_colour_of(pixel, label) for pixel in around)
    assert shown >= len(found["boxes"]) / 2, "others may be covered"


def test_boxes_are_drawn_listed_and_filtered(page: Page, server: ServerProcess, photo: Path) -> None:
    page.open()
    status = page.predict(photo)
    every = answer(server, "boxes", photo, "?threshold=0")
    assert len(every["boxes"]) == 12
    middle = round(float(np.mean(every["scores"])), 2)
    requests(page.browser)
    page.slide(0.0)
    assert len(page.rows()) == 12
    check_boxes(page, every, 320, 200)
    left, _, _, bottom = every["boxes"][0]
    drawn = page.pixel(left, bottom, 320)
    for threshold in (middle, 1.0):
        wanted = answer(server, "boxes", photo, f"?threshold={threshold}")
        page.slide(threshold)
        assert [row[:2] for row in page.rows()] == [[n, f"{s:.2f}"] for n, s in zip(wanted["names"], wanted["scores"], strict=True)]
        name, content = page.saved("save-json")
        assert name == "it's one; photo.json"
        assert json.loads(content) == {"predictions": [wanted]}, "as the server answers at this threshold"
    assert page.pixel(left, bottom, 320) != drawn, "no box is drawn any more"
    assert requests(page.browser) == [], "the slider filters without requests"
    assert "no operating point" in page.text("point-note")
    assert " × " in status or status.endswith("no objects.")
    assert [line for line in complaints(page.browser) if "getImageData" not in line] == []


def test_an_object_is_highlighted_and_a_class_hidden(page: Page, server: ServerProcess, photo: Path) -> None:
    page.open().predict(photo)
    page.slide(0.0)
    page.run("document.querySelector('.pick').click()")
    assert page.run("return document.querySelectorAll('[data-picked]').length") == 1
    assert page.run("return document.querySelector('.pick').getAttribute('aria-pressed')") == "true"
    names = {row[0] for row in page.rows()}
    page.run("document.querySelector('.chips button').click()")
    assert {row[0] for row in page.rows()} < names
    every = answer(server, "boxes", photo, "?threshold=0")
    page.run("document.querySelector('.chips button').click()")
    left, top, right, bottom = every["boxes"][0]
    click = """
        const canvas = document.getElementById('canvas'), box = canvas.getBoundingClientRect(), scale = canvas.clientWidth / 320
        canvas.dispatchEvent(new MouseEvent('click',
            {clientX: box.left + arguments[0] * scale, clientY: box.top + arguments[1] * scale}))"""
    page.run(click, (left + right) / 2, (top + bottom) / 2)
    assert page.run("return document.querySelectorAll('[data-picked]').length") == 1


def test_pictures_are_downloaded_as_drawn(page: Page, photo: Path, tmp_path: Path) -> None:
    page.open().predict(photo)
    page.slide(0.0)
    name, content = page.saved("save-picture")
    (tmp_path / name).write_bytes(content.encode("latin-1"))
    with Image.open(tmp_path / name) as drawn:
        assert (name, drawn.size) == ("it's one; photo-drawn.png", (640, 400))
        assert len(drawn.convert("RGB").getcolors(640 * 400) or ()) > 5, "boxes are drawn"


@pytest.mark.parametrize(("kind", "orientation"), [("JPEG", 6), ("PNG", 6), ("WEBP", 6), ("WEBP", 5), ("WEBP", 7), ("WEBP", 8)])
def test_exif_orientation(page: Page, server: ServerProcess, photo: Path, tmp_path: Path, kind: str, orientation: int) -> None:
    """The server applies it, and so does the browser: boxes are those of the upright picture."""
    file = tmp_path / f"turned.{kind.lower()}"
    with Image.open(photo) as image:
        exif = Image.Exif()
        exif[274] = orientation  # to be turned by 90°, and mirrored if it is odd: 200 × 320
        image.save(file, kind, exif=exif)
    found = answer(server, "boxes", file, "?threshold=0")
    page.open().predict(file)
    page.slide(0.0)
    assert page.run("const c = document.getElementById('canvas'); return c.height / c.width") == pytest.approx(1.6, abs=0.02)
    check_boxes(page, found, 200, 320)
    page.slide(1.0)
    upright = zoo.read_image(file)
    for x, y in ((110, 140), (90, 140), (30, 140), (150, 140), (110, 110), (110, 170), (110, 210)):
        assert page.pixel(x, y, 200) == pytest.approx(upright[y, x].tolist(), abs=12), "the dark square is where the server sees it"


def test_formats_that_browsers_cannot_show_are_drawn_by_the_server(page: Page, photo: Path, tmp_path: Path) -> None:
    file = tmp_path / "scan.tif"
    Image.open(photo).save(file)
    page.open().predict(file)
    assert page["drawn"].is_displayed()
    page.until(lambda: page.run("return document.getElementById('drawn').naturalWidth") >= 320)
    assert not page["canvas"].is_displayed()
    assert page["drawn-note"].is_displayed()
    assert not page["save-picture"].is_displayed()


def test_all_heads_of_a_model(page: Page, server: ServerProcess, photo: Path) -> None:
    status = page.open(model="heads").predict(photo)
    for head in ("kind: ", "tags: ", "parts: "):
        assert head in status
    titles = "return [...document.querySelectorAll('#heads h3')].map(one => one.textContent)"
    assert page.run(titles) == ["kind", "tags", "parts"]
    for threshold in (0.0, 0.3, 0.5, 0.9):
        page.slide(threshold)
        assert json.loads(page.saved("save-json")[1]) == {"predictions": [answer(server, "heads", photo, f"?threshold={threshold}")]}
    page["own"].click()
    assert json.loads(page.saved("save-json")[1]) == {"predictions": [answer(server, "heads", photo)]}
    assert "hue: " in page.rows()[0][0]
    marked = "return [...document.querySelectorAll('.on')].map(one => one.firstChild.textContent)"
    own = answer(server, "heads", photo)
    assert page.run(marked) == [own["kind"]["name"], *own["tags"]["names"]]
    height = page.run("const c = document.getElementById('canvas'); return c.height / c.width")
    assert height > 200 / 320 + 0.05, "the classes are written below the picture"


def test_programs_send_the_same_request(page: Page, server: ServerProcess, photo: Path) -> None:
    page.open().predict(photo)
    page.slide(0.4)
    wanted = answer(server, "boxes", photo, "?threshold=0.4")
    command = page.text("snippet")
    made = subprocess.run(["sh", "-c", f"{command} --silent"], cwd=photo.parent, capture_output=True, check=True, timeout=60)
    assert json.loads(made.stdout)["predictions"] == [wanted]
    page.run("document.getElementById('tab-0').focus()")
    page.browser.switch_to.active_element.send_keys(Keys.ARROW_RIGHT)
    program = page.text("snippet")
    pytest.importorskip("requests")
    made = subprocess.run([sys.executable, "-c", program], cwd=photo.parent, capture_output=True, check=True, timeout=60)
    assert made.stdout.decode().strip() == str(wanted)
    page.browser.switch_to.active_element.send_keys(Keys.ARROW_RIGHT)
    script = page.text("snippet").replace("console.log", "done")
    start = """
        const done = arguments[arguments.length - 1]
        const file = new File([Uint8Array.from(atob(arguments[0]), sign => sign.charCodeAt(0))], arguments[1])"""
    values = base64.b64encode(photo.read_bytes()).decode(), photo.name
    made = page.browser.execute_async_script(f"{start}; (async () => {{ {script} }})().catch(done)", *values)
    assert made["predictions"] == [wanted]


def test_people_are_enrolled_named_and_forgotten(page: Page, server: ServerProcess, photo: Path, tmp_path: Path) -> None:
    page.open(model="people")
    assert page.predict(photo) == f"{photo.name}: 1 face."
    page["person"].send_keys("Ann Lee", Keys.ENTER)
    page.until(lambda: page.text("gallery-status") == "Ann Lee is enrolled with 1 face.")
    page.until(lambda: page.text("status") == f"{photo.name}: 1 face: Ann Lee × 1.")
    assert "distance 0.000" in page.rows()[0][0]
    page["person"].send_keys("Ann Lee", Keys.ENTER)
    page.until(lambda: "is already enrolled" in page.text("fault"))
    other = tmp_path / "other.png"
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)).save(other)
    page.predict(other)
    distance = float(page.rows()[0][0].rpartition(" ")[2])
    for share in (0.7, 0.99, 1.4):
        page.run("document.getElementById('threshold').max = 10")
        page.slide(share * distance)
        threshold = json.loads(page.saved("save-json")[1])["people"][0]["threshold"]
        url = f"/v1/galleries/friends/identify?threshold={threshold}"
        wanted = server.client.post(url, files={"files": other.read_bytes()}).json()["pictures"][0]["faces"][0]
        found = json.loads(page.saved("save-json")[1])["people"][0]
        assert found.pop("band") == pytest.approx(wanted.pop("band"))
        assert found.pop("matches")[0]["distance"] == pytest.approx(wanted.pop("matches")[0]["distance"], abs=1e-5)
        assert found == wanted, "the slider decides as the server does"
        assert f"identify?threshold={threshold}" in page.text("snippet")
        assert found["decision"] == {0.7: "unknown", 0.99: "undecided", 1.4: "known"}[share]
    page["clear"].click()
    page.predict(photo)
    for answer_keys in ((Keys.ENTER,), (Keys.SHIFT + Keys.TAB + Keys.NULL, Keys.ENTER)):  # first Cancel, then Forget
        page.run("document.querySelector('#people button').focus()")
        page.browser.switch_to.active_element.send_keys(Keys.ENTER)
        page.until(lambda: page["ask"].is_displayed())
        for keys in answer_keys:
            page.browser.switch_to.active_element.send_keys(keys)
        page.until(lambda: not page["ask"].is_displayed())
    page.until(lambda: page.text("people") == "Nobody is enrolled.")
    page.until(lambda: page.text("status") == f"{photo.name}: 1 face.")
