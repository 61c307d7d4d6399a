"""Debian's Chromium, headless, for tests of HTML pages."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import pytest
from selenium.webdriver import Chrome, ChromeOptions
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.remote.command import Command
from selenium.webdriver.support.wait import WebDriverWait

PHONE, DESKTOP = 390, 1280  # CSS pixels wide
_FLAGS = (
    "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync", "--disable-dev-shm-usage", "--hide-scrollbars",
)  # fmt: skip


# part of a page: elements whose text has a contrast below 4.5 to its background, as [tag, class, text, contrast]
_LOW_CONTRAST = """
    const part = value => (value /= 255) <= 0.04045 ? value / 12.92 : ((value + 0.055) / 1.055) ** 2.4
    const light = colour => 0.2126 * part(colour[0]) + 0.7152 * part(colour[1]) + 0.0722 * part(colour[2])
    const parse = text => text.match(/[\\d.]+/g).map(Number)
    const behind = one => {
        const layers = []
        for (; one; one = one.parentElement) layers.unshift(parse(getComputedStyle(one).backgroundColor))
        return layers.reduce((under, over) => {
            const alpha = over.length > 3 ? over[3] : 1
            return [0, 1, 2].map(at => over[at] * alpha + under[at] * (1 - alpha))
        }, [255, 255, 255])
    }
    const low = []
    for (const one of document.querySelectorAll(arguments[0])) {
        if (!one.textContent.trim() || !one.getClientRects().length) continue
        const style = getComputedStyle(one)
        const pair = [light(parse(one.tagName === 'text' ? style.fill : style.color)), light(behind(one))].sort((a, b) => b - a)
        const contrast = (pair[0] + 0.05) / (pair[1] + 0.05)
        if (contrast < 4.5) low.push([one.tagName, one.className, one.textContent.slice(0, 20), contrast])
    }
    return low"""


@contextmanager
def browser(profile: Path, *more: str) -> Iterator[Chrome]:
    """Start the browser, and quit it afterwards; skip the test if it isn't installed.

    Args:
        profile: new folder for the browser's profile.
        *more: further options of the browser.
    """
    chromium, driver = shutil.which("chromium"), shutil.which("chromedriver")
    if chromium is None or driver is None:
        pytest.skip("needs Debian's packages chromium and chromium-driver, which are not installed")
    options = ChromeOptions()
    options.binary_location = chromium
    for flag in (*_FLAGS, *more, f"--user-data-dir={profile}"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    # with both paths specified, Selenium neither searches for a browser or driver nor downloads one
    opened = Chrome(options=options, service=Service(driver))
    try:
        opened.get("about:blank")
        requests(opened)  # discard the requests of the new tab
        yield opened
    finally:
        opened.quit()


def view(opened: Chrome, page: Path, width: int, scheme: Literal["light", "dark"] = "light") -> None:
    """Load a page from its file, on a screen of the given width (CSS pixels), in light or dark mode."""
    emulate(opened, width, scheme)
    opened.get(page.as_uri())
    WebDriverWait(opened, 60).until(lambda driver: driver.execute_script("return document.readyState") == "complete")


def emulate(opened: Chrome, width: int, scheme: Literal["light", "dark"] = "light") -> None:
    """Show further pages on a screen of the given width (CSS pixels), in light or dark mode."""
    phone = width < 600
    screen = {"width": width, "height": 844, "deviceScaleFactor": 2 if phone else 1, "mobile": phone}
    opened.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", screen)
    opened.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [{"name": "prefers-color-scheme", "value": scheme}]})


def low_contrast(opened: Chrome, selector: str) -> list[Any]:
    """Return the elements whose text stands out too little: a contrast below 4.5 to 1 (WCAG 2.2, success criterion 1.4.3)."""
    found: list[Any] = opened.execute_script(_LOW_CONTRAST, selector)
    return found


def requests(opened: Chrome) -> list[str]:
    """Return the URLs requested since the last call, without data URIs."""
    events: list[dict[str, Any]] = [json.loads(entry["message"])["message"] for entry in _log(opened, "performance")]
    asked = [event["params"]["request"]["url"] for event in events if event["method"] == "Network.requestWillBeSent"]
    return [url for url in asked if not url.startswith("data:")]


def complaints(opened: Chrome) -> list[str]:
    """Return the console messages since the last call."""
    return [entry["message"] for entry in _log(opened, "browser")]


def _log(opened: Chrome, kind: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = opened.execute(Command.GET_LOG, {"type": kind})["value"]
    return found
