"""The page of `zoo serve` in a browser: opening it, passing it pictures, and reading what it shows."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

from selenium.webdriver import Chrome
from selenium.webdriver.remote.webelement import WebElement
from selenium.webdriver.support.wait import WebDriverWait

from tests.browser import DESKTOP, complaints, emulate, requests

# keep downloads and requests in the page, where tests read them
_WATCH = """
    window.kept = []
    const create = URL.createObjectURL
    URL.createObjectURL = blob => { if (!(blob instanceof File)) window.kept.push(blob); return create.call(URL, blob) }
    HTMLAnchorElement.prototype.click = function () { window.saved = this.download }
"""


class Page:
    """The page in a browser."""

    def __init__(self, opened: Chrome, url: str) -> None:
        self.browser, self.url = opened, url

    def open(self, width: int = DESKTOP, scheme: Literal["light", "dark"] = "light", model: str = "") -> Page:
        """Load the page, and choose a model."""
        emulate(self.browser, width, scheme)
        self.browser.get(self.url)
        self.run("sessionStorage.clear()")
        complaints(self.browser), requests(self.browser)
        self.browser.refresh()
        self.run(_WATCH)
        self.until(
            lambda: self.run("return document.querySelectorAll('#model option').length || !document.getElementById('access').hidden")
        )
        if model:
            self.choose(model)
        return self

    def choose(self, model: str) -> None:
        """Choose a model."""
        self.run("const s = document.getElementById('model'); s.value = arguments[0]; s.dispatchEvent(new Event('change'))", model)

    def run(self, script: str, *values: Any) -> Any:
        """Run JavaScript."""
        return self.browser.execute_script(script, *values)

    def until(self, true: Callable[[], Any], seconds: float = 15) -> Any:
        """Wait for a condition, and return its value."""
        return WebDriverWait(self.browser, seconds, 0.02).until(lambda _: true())

    def __getitem__(self, name: str) -> WebElement:
        """Return the element with an id."""
        return self.browser.find_element("id", name)

    def text(self, name: str) -> str:
        """Return the text of the element with an id, whether it is visible or not."""
        return str(self.run("return document.getElementById(arguments[0]).textContent", name))

    def choose_files(self, *files: Path) -> None:
        """Choose files, without waiting for predictions."""
        self["files"].send_keys("\n".join(map(str, files)))

    def predict(self, *files: Path) -> str:
        """Choose files, and return the status once the first has predictions or an error."""
        self.choose_files(*files)
        return self.settled(files[0].name)

    def settled(self, name: str) -> str:
        """Wait until the picture with a name has predictions or an error, and return the status."""
        self.until(lambda: self.text("status").startswith(f"{name}: ") and not self.run("return document.querySelector('.busy')"))
        return self.text("status")

    def slide(self, threshold: float) -> None:
        """Move the slider."""
        self.run(
            "const s = document.getElementById('threshold'); s.value = arguments[0]; s.dispatchEvent(new Event('input'))", str(threshold)
        )

    def rows(self) -> list[list[str]]:
        """Return the cells of the table of objects."""
        found: list[list[str]] = self.run(
            "return [...document.querySelectorAll('tbody tr')].map(row => [...row.children].map(cell => cell.textContent))"
        )
        return found

    def saved(self, button: str) -> tuple[str, str]:
        """Press a download button, and return the file's name and its content in Latin-1."""
        self.run("window.saved = null; window.kept.length = 0; document.getElementById(arguments[0]).click()", button)
        self.until(lambda: self.run("return window.saved && window.kept.length"))
        script = (
            "const done = arguments[arguments.length - 1]; window.kept.at(-1).arrayBuffer().then(each => done([...new Uint8Array(each)]))"
        )
        return str(self.run("return window.saved")), bytes(self.browser.execute_async_script(script)).decode("latin-1")

    def pixel(self, x: float, y: float, width: int) -> tuple[int, int, int]:
        """Return the colour of the canvas at a point of a picture with a width."""
        script = """
            const canvas = document.getElementById('canvas'), scale = canvas.width / arguments[2]
            return [...canvas.getContext('2d').getImageData(arguments[0] * scale, arguments[1] * scale, 1, 1).data].slice(0, 3)"""
        red, green, blue = self.run(script, x, y, width)
        return red, green, blue

    def stub(self, script: str) -> None:
        """Replace `fetch` by a function whose body is given; `real` is the original."""
        self.run(f"const real = window.real ??= window.fetch; window.fetch = async (url, options) => {{ {script} }}")
