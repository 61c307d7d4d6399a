"""The page of `zoo serve` in a real browser: errors, tokens, proxies, keyboard, screen readers, dark mode and phones."""

from __future__ import annotations

import base64
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

import pytest

pytest.importorskip("fastapi")
pytest.importorskip("httpx")

import httpx
import uvicorn
from selenium.webdriver import Chrome
from selenium.webdriver.common.keys import Keys

from tests.browser import DESKTOP, PHONE, browser, complaints, low_contrast, requests
from tests.unit.serving.local import LocalWorker, picture
from tests.unit.serving.page import Page
from zoo.serving.answering import Answering
from zoo.serving.app import create_app
from zoo.serving.limits import Bodies
from zoo.serving.metrics import Metrics
from zoo.serving.pool import Pool
from zoo.serving.settings import ServedModel, Settings

pytestmark = pytest.mark.slow
SECRET = "0123456789abcdef"


@contextmanager
def running(worker: LocalWorker, **changes: Any) -> Iterator[str]:
    """Serve a model without worker processes, in a thread; yield the address."""
    settings = Settings([ServedModel("colours", "nowhere")], **changes)
    pool = Pool(settings, lambda event: None, cast(Any, [worker]))
    metrics = Metrics(pool)
    app = create_app(Answering(settings, pool, Bodies(settings), metrics), metrics, lambda event: None)
    server = uvicorn.Server(uvicorn.Config(app, port=0, log_level="error", lifespan="off", ws="none"))
    thread = threading.Thread(target=server.run)
    thread.start()
    while not server.started:
        thread.join(0.01)
    try:
        yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}{settings.root_path}/"
    finally:
        server.should_exit = True
        thread.join()


@pytest.fixture(scope="module")
def opened(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Chrome]:
    flags = ("--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream")
    with browser(tmp_path_factory.mktemp("profile"), *flags) as found:
        yield found


@pytest.fixture(scope="module")
def worker() -> LocalWorker:
    return LocalWorker()


@pytest.fixture(scope="module")
def address(worker: LocalWorker) -> Iterator[str]:
    with running(worker, max_body=200_000, queue=1) as url:
        yield url


@pytest.fixture
def page(opened: Chrome, address: str) -> Page:
    return Page(opened, address)


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Write a red and a blue picture, one that is cut short, and one that is too large."""
    folder = tmp_path_factory.mktemp("photos")
    contents = {"red": picture(), "blue": picture(0, 0, 200), "cut": picture()[:60], "large": picture() + bytes(250_000)}
    for name, content in contents.items():
        (folder / f"{name}.png").write_bytes(content)
    return [folder / f"{name}.png" for name in contents]


def test_several_pictures_and_their_errors(page: Page, photos: list[Path]) -> None:
    page.open()
    assert page.predict(*photos).startswith("red.png: red 76")
    marks = "return [...document.querySelectorAll('#strip button')].map(one => one.dataset.state)"
    page.until(lambda: page.run(marks) == ["✓", "✓", "!", "!"])
    page.run("document.querySelectorAll('#strip button')[2].click()")
    page.until(lambda: "1 picture can't be used" in page.text("fault"))
    assert "cut.png: is cut short" in page.text("fault")
    assert page.text("status") == "cut.png: no predictions."
    page.run("document.querySelectorAll('#strip button')[1].click()")
    assert page.settled("blue.png").startswith("blue.png: blue")
    assert not page["fault"].is_displayed()
    page["clear"].click()
    assert page.text("status") == "No picture yet."


def test_a_large_picture_is_refused_in_words(page: Page, photos: list[Path]) -> None:
    page.open().choose_files(photos[3])
    page.until(lambda: "large.png has 0.2 MB; the server takes at most 0.2 MB." in page.text("fault"))
    assert page.text("status") == "large.png: no predictions."
    assert page.run("return document.getElementById('fault').getAttribute('role')") == "alert"


@pytest.mark.parametrize(
    ("status", "headers", "error", "words"),
    [
        (
            503,
            {"Retry-After": "120"},
            "no worker process is ready",
            "The server isn't readyno worker process is ready. It asks to wait 120",
        ),
        (403, {}, "requests from pages are not allowed", "The server refuses requests of this page"),
        (421, {}, "pass --allow-host", "The server isn't known by this name"),
        (500, {}, "an internal error occurred", "The server answered with status 500"),
        (502, {}, None, "The server answered with status 502"),
    ],
)
def test_refusals_are_shown_in_words(
    page: Page, photos: list[Path], status: int, headers: dict[str, str], error: str | None, words: str
) -> None:
    page.open()
    content = "<html>" if error is None else f'{{"error": "{error}"}}'
    page.stub(f"return new Response({content!r}, {{status: {status}, headers: {headers}}})")
    page.predict(photos[0])
    assert words in page.text("fault")
    page.run("window.fetch = window.real")
    page.run("document.querySelector('#fault button').click()")
    assert page.settled("red.png").startswith("red.png: red")
    assert not page["fault"].is_displayed()


def test_a_busy_server_is_asked_again(page: Page, worker: LocalWorker, photos: list[Path]) -> None:
    page.open()
    worker.pictures = 1  # as many as the queue takes
    page.choose_files(photos[0])
    page.until(lambda: page.text("status").startswith("The server is busy. Trying again in "))
    worker.pictures = 0
    assert page.settled("red.png").startswith("red.png: red")


def test_a_lost_connection(page: Page, photos: list[Path]) -> None:
    page.open()
    page.stub("throw new TypeError('Failed to fetch')")
    page.predict(photos[0])
    assert "can't be reached" in page.text("fault")


def test_the_token_stays_in_the_tab(opened: Chrome, worker: LocalWorker, photos: list[Path]) -> None:
    with running(worker, token=SECRET) as url:
        page = Page(opened, url).open()
        page.until(lambda: page["access"].is_displayed())
        for token in ("wrong", SECRET):
            page["token"].send_keys(token, Keys.ENTER)
            page.until(lambda: "The token is wrong" in page.text("fault") or not page["access"].is_displayed())
            page.run("document.getElementById('token').value = ''")
        assert page.predict(photos[0]).startswith("red.png: red")
        assert page.run("return [localStorage.length, document.cookie, sessionStorage.length]") == [0, "", 1]
        for name in ("curl", "Python", "JavaScript"):
            page.run("[...document.querySelectorAll('[role=tab]')].find(tab => tab.textContent === arguments[0]).click()", name)
            assert SECRET not in page.text("snippet")
            assert "Bearer" in page.text("snippet")
        assert SECRET not in page.run("return location.href + document.documentElement.outerHTML")


def test_behind_a_reverse_proxy(opened: Chrome, worker: LocalWorker, photos: list[Path]) -> None:
    with running(worker, root_path="/zoo") as url:
        # the last one is what the browser has if a proxy removes the path and doesn't redirect
        for start in (url, url.rstrip("/"), url.removesuffix("zoo/")):
            page = Page(opened, start).open()
            assert page.predict(photos[0]).startswith("red.png: red")
            assert f"{url}v1/models/colours/predict" in page.text("snippet")
            assert page["docs"].get_attribute("href") == f"{url}docs"


def test_pictures_are_dropped_pasted_and_taken(page: Page, photos: list[Path]) -> None:
    page.open()
    event = """
        const data = new DataTransfer()
        data.items.add(new File([Uint8Array.from(atob(arguments[0]), sign => sign.charCodeAt(0))], arguments[1], {type: 'image/png'}))
        document.body.dispatchEvent(arguments[2] === 'paste' ? new ClipboardEvent('paste', {clipboardData: data, bubbles: true})
            : new DragEvent('drop', {dataTransfer: data, bubbles: true, cancelable: true}))"""
    for kind in ("drop", "paste"):
        page.run(event, base64.b64encode(photos[1].read_bytes()).decode(), f"{kind}.png", kind)
        assert page.settled(f"{kind}.png").startswith(f"{kind}.png: blue")
    page["camera"].click()
    page.until(lambda: page.run("return document.getElementById('video').videoWidth"))
    page.run("window.tracks = document.getElementById('video').srcObject.getTracks()")
    page["capture"].click()
    assert page.settled("camera-3.jpg")
    assert page.run("return document.getElementById('video').srcObject") is None
    assert page.run("return window.tracks.map(track => track.readyState)") == ["ended"], "the camera is off"


def test_only_the_server_is_asked_and_the_policy_allows_nothing_else(page: Page, address: str, photos: list[Path]) -> None:
    page.open().predict(photos[0])
    asked = requests(page.browser)
    assert {url for url in asked if not url.startswith("blob:")} == {address, f"{address}v1/models", f"{address}v1/models/colours/predict"}
    assert complaints(page.browser) == []
    answer = httpx.get(address)
    assert len(answer.content) < 60_000
    assert "'unsafe" not in answer.headers["content-security-policy"]
    assert answer.headers["cache-control"] == "no-cache"
    assert httpx.get(address, headers={"if-none-match": answer.headers["etag"]}).status_code == 304
    script = "const one = document.createElement('script'); try { one.text = 'window.intruder = 1' } catch {}; document.body.append(one)"
    page.run(script)
    page.run("try { document.body.setAttribute('onclick', 'window.intruder = 1') } catch {}; document.body.click()")
    page.run("const s = document.createElement('style'); s.textContent = 'body { display: none }'; document.body.append(s)")
    assert page.run("return [window.intruder ?? null, getComputedStyle(document.body).display]") == [None, "block"]
    assert complaints(page.browser)


def test_everything_is_reached_with_the_keyboard(page: Page, photos: list[Path]) -> None:
    page.open().predict(*photos[:2])
    page.run("document.activeElement.blur(); scrollTo(0, 0)")
    visible = """return [...document.querySelectorAll('button,select,input,a,[tabindex="0"]')].filter(one =>
        one.tabIndex >= 0 && !one.disabled && one.offsetParent !== null && !one.hidden).length"""
    reached = set()
    for _ in range(page.run(visible)):
        page.browser.switch_to.active_element.send_keys(Keys.TAB)
        name, style = page.run("""
            const one = document.activeElement, style = getComputedStyle(one)
            return [one.id || one.textContent || one.getAttribute('aria-label'), style.outlineStyle + style.outlineWidth]""")
        assert style == "solid3px", f"{name} shows that it has the focus"
        reached.add(name)
    assert {
        "Skip to the predictions",
        "model",
        "docs",
        "choose",
        "camera",
        "clear",
        "save-json",
        "save-picture",
        "copy",
        "snippet",
    } <= reached
    assert len(reached) == page.run(visible)
    page.run("document.querySelector('.skip').focus()")
    page.browser.switch_to.active_element.send_keys(Keys.ENTER)
    assert page.run("return document.activeElement.id") == "answers"


def unnamed(opened: Chrome) -> list[str]:
    """Return the roles of controls without a name in the accessibility tree, and of levels of headings that are left out."""
    tree = opened.execute_cdp_cmd("Accessibility.getFullAXTree", {})["nodes"]
    roles = ("button", "link", "textbox", "slider", "checkbox", "combobox", "tab", "tabpanel", "image", "region", "list", "dialog", "form")
    shown = [node for node in tree if not node.get("ignored") and node["role"]["value"] in roles]
    assert len(shown) >= 6
    skip = ("list",)  # the legend of the timings
    return [node["role"]["value"] for node in shown if not node.get("name", {}).get("value") and node["role"]["value"] not in skip]


@pytest.mark.parametrize("width", [DESKTOP, PHONE])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_page_fits_is_readable_and_named(page: Page, photos: list[Path], width: int, scheme: str) -> None:
    page.open(width, "dark" if scheme == "dark" else "light")
    text = "h1,h2,h3,p,td,th,dt,dd,a,li,small,label,legend,button,select,output,pre,b,input"
    for several in ([], photos[:3]):
        if several:
            page.predict(*several)
            page.run("const f = document.getElementById('access'); f.hidden = document.getElementById('gallery').hidden = false")
        assert page.run("return document.documentElement.scrollWidth") == width
        assert low_contrast(page.browser, text) == []
        assert unnamed(page.browser) == []
    bright = page.run("return getComputedStyle(document.body).backgroundColor.match(/\\d+/g).map(Number)[0]")
    assert (bright > 128) == (scheme == "light")
    small = (
        """return [...document.querySelectorAll('button,select,a.skip')].filter(one => one.offsetParent && one.offsetHeight < 24).length"""
    )
    assert page.run(small) == 0, "WCAG 2.2, success criterion 2.5.8: targets of at least 24 pixels"


def test_nothing_moves_if_motion_is_to_be_reduced(page: Page) -> None:
    page.open()
    page.run("document.getElementById('status').classList.add('busy')")
    for value, name in (("no-preference", "turn"), ("reduce", "none")):
        page.browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [{"name": "prefers-reduced-motion", "value": value}]})
        assert page.run("return getComputedStyle(document.getElementById('status'), '::before').animationName") == name
