"""Make docs/_static/page.png: `python docs/page_picture.py [FOLDER]` (two minutes on two cores; it needs Chromium and its driver).

Trains the detector of the suite "quick", as `picture.py` does, into a folder that a second call reuses, chooses its thresholds, serves it,
and takes a screenshot of the page with a test image.
"""

from __future__ import annotations

import base64
import io
import subprocess
import sys
import tempfile
from pathlib import Path

from picture import trained
from PIL import Image

sys.path.append(str(Path(__file__).parents[1]))  # for the tests' browser

import zoo
from tests.browser import DESKTOP, browser
from tests.unit.serving.page import Page
from tests.unit.serving.process import served

_OUT = Path(__file__).parent / "_static" / "page.png"
_SCENE = 2
_MOST_BYTES = 150_000


def screenshot(folder: Path) -> Image.Image:
    """Serve the detector, and return the page with its detections for a test image."""
    model, test = trained("scenes", str(folder))
    zoo.save(model, folder / "served" / "scenes")
    tune = [sys.executable, "-m", "zoo", "tune", str(folder / "served" / "scenes"), "--data", "demo:scenes?split=train&seed=1&n=100"]
    subprocess.run([*tune, "--quiet"], check=True, stdout=sys.stderr)
    file = folder / "scene.png"
    Image.fromarray([*zoo.predict(model, zoo.open_data(f"{test}&limit=3", "detection"))][_SCENE].image).save(file)
    with served(folder / "served" / "scenes") as server, browser(Path(tempfile.mkdtemp(dir=folder))) as opened:
        page = Page(opened, f"{server.url}/").open(DESKTOP)
        page.predict(file)
        page.run("document.activeElement.blur()")
        height = page.run("return document.documentElement.scrollHeight")
        clip = {"x": 0, "y": 0, "width": DESKTOP, "height": height, "scale": 1}
        taken = opened.execute_cdp_cmd("Page.captureScreenshot", {"captureBeyondViewport": True, "clip": clip})
    return Image.open(io.BytesIO(base64.b64decode(taken["data"]))).convert("RGB")


def main() -> None:
    """Write the file."""
    with tempfile.TemporaryDirectory() as scratch:
        picture = screenshot(Path(sys.argv[1] if len(sys.argv) > 1 else scratch).resolve())
    for colours in (256, 128, 64):
        picture.quantize(colours).save(_OUT, optimize=True)
        if _OUT.stat().st_size <= _MOST_BYTES:
            break
    print(f"{_OUT}: {_OUT.stat().st_size:,} bytes", file=sys.stderr)


if __name__ == "__main__":
    main()
