"""The page of a benchmark in a real browser: sorting, filtering, names in the plot, desktop and phone, light and dark mode."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Literal

import pytest
from selenium.webdriver import ActionChains, Chrome
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys

from tests.benchmark_reports import FAILED, GOOD, MEASUREMENT, REPORT
from tests.browser import DESKTOP, PHONE, browser, complaints, low_contrast, requests, view
from zoo.benchmarks.harness.report import Timing
from zoo.benchmarks.reporting.page import write_pages

pytestmark = pytest.mark.slow

ROWS = "return [...document.querySelectorAll('.sortable tbody tr')].filter(row => !row.hidden).map(row => row.dataset.case)"
VISIBLE = """return [...document.querySelectorAll('.point text')]
    .filter(name => getComputedStyle(name).visibility === 'visible').map(name => name.textContent)"""
FITS = "const box = document.querySelector('.point:focus text').getBoundingClientRect(); return box.left >= 0 && box.right <= innerWidth"


@pytest.fixture(scope="module")
def opened(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Chrome]:
    with browser(tmp_path_factory.mktemp("profile")) as found:
        yield found


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("bench")
    speeds = {"fast": (9.5, 0.7), "slow": (120.0, 0.9), "beaten": (30.0, 0.6), "a_long_name_without_spaces" * 4: (10.25, 0.8)}
    cases = [
        replace(GOOD, name=name, expect={}, measurement=replace(MEASUREMENT, latency=Timing(ms, ms, 9), scores={"top1": top1}))
        for name, (ms, top1) in speeds.items()
    ]
    write_pages(replace(REPORT, cases=(FAILED, *cases)), folder)
    return folder / "report.html"


@pytest.mark.parametrize("width", [DESKTOP, PHONE])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_page_fits_and_is_legible(opened: Chrome, report: Path, width: int, scheme: Literal["light", "dark"]) -> None:
    view(opened, report, width, scheme)
    assert requests(opened) == [report.as_uri()]
    assert complaints(opened) == []
    assert opened.execute_script("return document.documentElement.scrollWidth") <= width
    assert low_contrast(opened, "h1,h2,p,td,th,dt,dd,a,small,code,button,input,select,#count") == []


def test_columns_are_sorted_by_their_buttons(opened: Chrome, report: Path) -> None:
    view(opened, report, DESKTOP)
    original = opened.execute_script(ROWS)
    assert original[0] == "faces"
    button = next(one for one in opened.find_elements(By.CSS_SELECTOR, ".sortable th button") if one.text.startswith("latency"))
    button.send_keys(Keys.ENTER)
    rising = opened.execute_script(ROWS)
    assert [rising[0], *rising[2:]] == ["fast", "beaten", "slow", "faces"], "by number, missing values last"
    button.click()
    assert opened.execute_script(ROWS) == [*reversed(rising[:4]), "faces"]
    assert opened.execute_script("return document.querySelector('th[aria-sort]').ariaSort") == "descending"


def test_rows_and_points_are_filtered(opened: Chrome, report: Path) -> None:
    view(opened, report, PHONE)
    search = opened.find_element(By.ID, "filter")
    search.send_keys("CLASSIFICATION  slow")
    assert opened.execute_script(ROWS) == ["slow"]
    assert opened.find_element(By.ID, "count").text == "1 of 5 cases"
    shown = "return [...document.querySelectorAll('.point')].filter(e => e.getClientRects().length).map(e => e.dataset.case)"
    assert opened.execute_script(shown) == ["slow", "slow"], "in the plots of latency and memory"
    search.clear()
    search.send_keys(" ")
    opened.find_element(By.CSS_SELECTOR, "#status option:nth-child(4)").click()
    assert opened.execute_script(ROWS) == ["faces"]


def test_names_appear_on_hover_and_on_focus(opened: Chrome, report: Path) -> None:
    view(opened, report, DESKTOP)
    assert opened.execute_script(VISIBLE) == []
    opened.execute_script("document.querySelector('.pareto').scrollIntoView()")
    ActionChains(opened).move_to_element(opened.find_element(By.CSS_SELECTOR, '.point[data-case="beaten"] circle')).perform()
    assert opened.execute_script(VISIBLE) == ["beaten"]
    ActionChains(opened).move_by_offset(0, -60).perform()
    opened.execute_script("document.querySelector('.point').focus()")
    assert opened.execute_script(VISIBLE) == ["fast"]
    ActionChains(opened).send_keys(Keys.TAB).perform()
    assert opened.execute_script(VISIBLE)[0].endswith("…")
    assert opened.execute_script(FITS)
    view(opened, report, PHONE)
    opened.execute_script("document.querySelectorAll('.point')[1].focus()")
    assert opened.execute_script(FITS)
    assert opened.execute_script("return document.querySelector('.pareto').querySelectorAll('.point.best').length") == 3
