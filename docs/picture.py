"""Make docs/_static/results.png: `python docs/picture.py [FOLDER]` (five minutes on two cores).

Trains the three models of the suite "quick" on built-in data, into a folder that a second call reuses, and draws what they predict for
test images, which none of them was trained on. Training is reproducible on one machine; another processor gives slightly different boxes
and numbers.
"""

from __future__ import annotations

import sys
import tempfile
import tomllib
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw, ImageFont

import zoo
import zoo.benchmarks

_OUT = Path(__file__).parent / "_static" / "results.png"
_SUITE = Path(zoo.benchmarks.__file__).parent / "suites" / "quick.toml"
_WIDTH, _GAP, _TITLE, _FONT = 1080, 12, 34, 19
_CELL = 94  # side of a small picture
_MOST_BYTES = 150_000


def trained(name: str, folder: str) -> tuple[zoo.Model, str]:
    """Train the model of a case of the suite; return it with the dataset string of its test images."""
    case: dict[str, Any] = next(case for case in tomllib.loads(_SUITE.read_text())["case"] if case["name"] == name)
    if Path(folder, name, "model").is_dir():
        return zoo.load(f"{folder}/{name}"), case["test"]
    classes = zoo.open_data(case["train"], case["task"]).classes
    model = zoo.build(case["backbone"], case["task"], classes=classes, **case["options"])
    print(f"training {name} …", file=sys.stderr)
    zoo.train(model, case["train"], recipe=zoo.recipe(case["task"], **case["recipe"]), out=f"{folder}/{name}")
    return model, case["test"]


def scenes(folder: str) -> Image.Image:
    """Return three scenes with the detections drawn on them."""
    model, test = trained("scenes", folder)
    width = (_WIDTH - 4 * _GAP) // 3
    confident = [detections.plot() for detections in _confident(model, test)]
    return row([picture.resize((width, round(width * picture.height / picture.width))) for picture in confident])


def _confident(model: zoo.Model, test: str) -> list[Any]:
    """Return three detections, without the boxes of low scores."""
    found = []
    for detections in zoo.predict(model, zoo.open_data(f"{test}&limit=3", "detection")):
        keep = detections.scores >= 0.5
        arrays = (array[keep].copy() for array in (detections.boxes, detections.scores, detections.labels))
        found.append(type(detections)(detections.key, detections.image, *arrays, detections.class_names))
    return found


def digits(folder: str) -> Image.Image:
    """Return ten digits with the two most probable classes of each."""
    model, test = trained("digits", folder)
    cells = []
    for prediction in zoo.predict(model, zoo.open_data(f"{test}&limit=10", "classification")):
        lines = [f"{name}: {probability:.1%}" for name, probability in prediction.top(2)]
        cells.append(captioned(prediction.image, lines))
    return row(cells)


def faces(folder: str) -> Image.Image:
    """Return the faces of five people, each next to the nearest of all other test images, with their cosine similarity."""
    model, test = trained("faces", folder)
    found = list(zoo.predict(model, zoo.open_data(test, "face")))
    embeddings = np.concatenate([face.embeddings for face in found])
    people = [face.key.partition("/")[0][-2:] for face in found]
    cells = []
    for probe in range(0, len(found), len(found) // 5):
        similar = embeddings @ embeddings[probe]
        similar[probe] = -1
        nearest = int(similar.argmax())
        cells.append(captioned(found[probe].image, [f"person {people[probe]}"]))
        cells.append(captioned(found[nearest].image, [f"person {people[nearest]}", f"({similar[nearest]:.2f})"]))
    return row(cells)


def captioned(image: np.ndarray[Any, Any], lines: list[str]) -> Image.Image:
    """Return a small picture with lines of text below it."""
    cell = Image.new("RGB", (_CELL, _CELL + 2 * _FONT + 6), "white")
    cell.paste(Image.fromarray(image).resize((_CELL, _CELL)))
    draw = ImageDraw.Draw(cell)
    for number, line in enumerate(lines):
        draw.text((0, _CELL + 3 + number * _FONT), line, "black", ImageFont.load_default(_FONT - 3))
    return cell


def row(pictures: list[Image.Image]) -> Image.Image:
    """Return pictures next to each other."""
    strip = Image.new("RGB", (_WIDTH, max(picture.height for picture in pictures)), "white")
    left = _GAP
    for picture in pictures:
        strip.paste(picture, (left, 0))
        left += picture.width + _GAP
    return strip


def main() -> None:
    """Train, draw and write the file."""
    with tempfile.TemporaryDirectory() as scratch:
        folder = sys.argv[1] if len(sys.argv) > 1 else scratch
        parts = {
            "detection: boxes with a score of 0.5 and more": scenes(folder),
            "classification: the two most probable classes": digits(folder),
            "face embedding: five faces, and the nearest of 199 others to each": faces(folder),
        }
    height = sum(part.height + _TITLE + _GAP for part in parts.values()) + _GAP
    sheet, top = Image.new("RGB", (_WIDTH, height), "white"), _GAP
    draw = ImageDraw.Draw(sheet)
    for title, part in parts.items():
        draw.text((_GAP, top), title, "black", ImageFont.load_default(_FONT))
        sheet.paste(part, (0, top + _TITLE))
        top += _TITLE + part.height + _GAP
    for colours in (256, 128, 64, 32):  # a palette: the pictures have few colours
        sheet.quantize(colours).save(_OUT, optimize=True)
        if _OUT.stat().st_size <= _MOST_BYTES:
            break
    print(f"{_OUT}: {_OUT.stat().st_size:,} bytes", file=sys.stderr)


if __name__ == "__main__":
    main()
