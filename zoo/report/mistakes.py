"""The worst mistakes, one card each: description, the image with its boxes, an enlarged crop, and saliency maps."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from zoo.data.dataset import Dataset, Image, Record
from zoo.errors import Box, ImageError, InputError
from zoo.images.preprocess import as_float
from zoo.models.model import Model
from zoo.report.pages import fitting_uri, text
from zoo.task.contract import Task
from zoo.task.metric import Mistake

SIDE = 336  # pixels: length of the longer side of a displayed image
_SMALL = 3  # an enlarged crop is added if all boxes together span less than 1/3 of both image sides
_CONTEXT = 1.8  # side of the enlarged crop relative to the extent of the boxes
_BOLD = 8  # maximum number of boxes drawn with thick lines
_LEAST = 24  # pixels of the original image: minimum side of an enlarged crop

Boxes = Sequence[tuple[Box, str]]  # boxes (xyxy, in pixels of the original image) with captions
Colours = Mapping[str, tuple[int, int, int]]  # by kind of box
COLOURS = ((220, 38, 38), (37, 99, 235), (217, 119, 6), (5, 150, 105), (147, 51, 234), (8, 145, 178))
_SHOWN = 48  # maximum number of mistakes shown with images
_LISTED = 500  # maximum number of further mistakes listed as text
_BOXES = 40  # maximum number of listed boxes per mistake
_LARGEST = 120_000  # maximum number of characters of an encoded image
_LEGEND = "Coloured maps show which regions influenced the prediction: red most, uncoloured not at all. Each map has its own scale."

STYLE = """
.mistakes{list-style:none;padding:0;margin:.6rem 0;gap:1rem;display:grid}
.mistakes{grid-template-columns:repeat(auto-fill,minmax(min(100%,480px),1fr))}
.mistakes>li{background:var(--panel);border:1px solid var(--rule);border-radius:8px;padding:.7rem;break-inside:avoid}
.views{display:flex;gap:.6rem;align-items:flex-start}.views figure{flex:1 1 0;min-width:0;max-width:336px}
.views img{display:block;width:100%;height:auto;border-radius:4px}
.views figcaption{font-size:12px;color:var(--soft);line-height:1.35;margin-top:.2rem}
.mistakes p{margin:0 0 .5rem;font-weight:600}.lost{border:1px dashed var(--soft);border-radius:4px;padding:.7rem;min-height:6rem}
.boxes{list-style:none;padding:0;margin:.5rem 0 0;font-size:13px;columns:160px}.boxes li{break-inside:avoid}
.boxes b{display:inline-block;min-width:1.3rem;padding:0 .3rem;margin-right:.4rem;
border-radius:3px;color:#fff;text-align:center;font-weight:600;font-size:12px}
@media(max-width:600px){.boxed .views{flex-direction:column}}
"""


@dataclass(frozen=True)
class Drawn:
    """A displayed image of a mistake, [h, w, 3] uint8 RGB, with its caption."""

    image: Image
    text: str


def as_html(image: Image | str, alt: str, most: int, below: str = "") -> str:
    """Return an image, or a text in its place, as HTML. The image is encoded in at most `most` characters; 0 omits its data."""
    if isinstance(image, str):
        return f'<figure><div class="lost">{text(image)}</div></figure>'
    height, width = image.shape[:2]
    uri = fitting_uri(image, most) if most else ""
    return f'<figure><img alt="{text(alt)}" width="{width}" height="{height}" src="{uri}">{below}</figure>'


def kind_of(caption: str) -> str:
    """Return the kind of a box, such as "true" or "missed": the first word of its caption. The kind determines the colour."""
    return caption.partition(" ")[0]


def kinds_of(captions: Sequence[str]) -> dict[str, tuple[int, int, int]]:
    """Return the colour of each kind of box, in order of first occurrence."""
    kinds = dict.fromkeys(map(kind_of, captions))
    return {kind: COLOURS[place % len(COLOURS)] for place, kind in enumerate(kinds)}


def pictures(image: Image, name: str, boxes: Boxes, colours: Colours) -> list[Drawn]:
    """Return the displayed image, captioned `name`, with its boxes and, if the boxes are small, an enlarged crop."""
    height, width = image.shape[:2]
    drawn = [Drawn(with_boxes(image, boxes, colours, numbered=True), name)]
    part = _part(boxes, height, width)
    if part is not None:
        left, top, right, bottom = part
        where = f"enlarged: {right - left} × {bottom - top} of {width} × {height} pixels"
        drawn.append(Drawn(with_boxes(image, boxes, colours, numbered=True, part=part), where))
    return drawn


def _part(boxes: Boxes, height: int, width: int) -> tuple[int, int, int, int] | None:
    """Return the crop [left, top, right, bottom] around all boxes; None if they are large enough or there are no boxes."""
    known = np.array([box for box, _ in boxes], np.float64).reshape(-1, 4)
    known = known[np.isfinite(known).all(1)]
    if not len(known):
        return None
    limits = np.array([width, height, width, height])
    known = np.clip(known, 0, limits)
    left, top = known[:, :2].min(0)
    right, bottom = known[:, 2:].max(0)
    if _SMALL * (right - left) >= width or _SMALL * (bottom - top) >= height:
        return None
    reach = max(_CONTEXT * max(right - left, bottom - top), _LEAST) / 2
    x, y = (left + right) / 2, (top + bottom) / 2
    left, top, right, bottom = np.clip([x - reach, y - reach, x + reach, y + reach], 0, limits).round().astype(int).tolist()
    return left, top, right, bottom


def with_boxes(image: Image, boxes: Boxes, colours: Colours, numbered: bool, part: tuple[int, int, int, int] | None = None) -> Image:
    """Return an image, or the crop `part` of it (xyxy), at display size with its boxes, which are `numbered` if there are several."""
    left, top, right, bottom = part or (0, 0, image.shape[1], image.shape[0])
    small, scale = scaled(image[top:bottom, left:right])
    for number, (box, caption) in enumerate(boxes, 1):
        if np.isfinite(box).all():
            sides = [(side - start) * scale for side, start in zip(box, (left, top, left, top), strict=True)]
            _draw(small, sides, colours[kind_of(caption)], number if numbered and len(boxes) > 1 else 0, bold=len(boxes) <= _BOLD)
    return small


def scaled(image: Image) -> tuple[Image, float]:
    """Return a copy whose longer side is `SIDE`, and the scale factor. Very small images are enlarged without smoothing."""
    height, width = image.shape[:2]
    scale = SIDE / max(height, width)
    method = cv2.INTER_AREA if scale < 1 else cv2.INTER_NEAREST if scale > 3 else cv2.INTER_CUBIC
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    return cv2.resize(np.ascontiguousarray(image), size, interpolation=method).astype(np.uint8), scale


def _draw(image: Image, sides: Sequence[float], colour: tuple[int, int, int], number: int, bold: bool) -> None:
    # clamp boxes far outside the image, because OpenCV only accepts 32-bit numbers
    left, top, right, bottom = (round(min(max(side, -4), 2 * SIDE)) for side in sides)
    if bold:
        cv2.rectangle(image, (left, top), (right, bottom), (255, 255, 255), 4)  # white outline, visible on dark and bright images
    cv2.rectangle(image, (left, top), (right, bottom), colour, 2 if bold else 1)
    if number:
        (wide, high), _ = cv2.getTextSize(str(number), cv2.FONT_HERSHEY_SIMPLEX, 0.45, 1)
        # a predicted box and its true box often nearly coincide, so even and odd numbers are placed at different corners
        corner = left if number % 2 else right - wide - 5
        x, y = min(max(corner, 0), image.shape[1] - wide - 6), min(max(top - high - 6, 0), image.shape[0] - high - 6)
        cv2.rectangle(image, (x, y), (x + wide + 5, y + high + 5), colour, -1)
        cv2.putText(image, str(number), (x + 3, y + high + 2), cv2.FONT_HERSHEY_SIMPLEX, 0.45, (255, 255, 255), 1, cv2.LINE_AA)


def overlaid(image: Image, heat: NDArray[np.float32]) -> Image:
    """Overlay a saliency map, [H, W] in 0–1, on an image, [H, W, 3] uint8 RGB. Pixels where the map is 0 are unchanged."""
    small, _ = scaled(image)
    large = cv2.resize(heat, (small.shape[1], small.shape[0]), interpolation=cv2.INTER_LINEAR).clip(0, 1)
    colours = cv2.applyColorMap((large * 255).round().astype(np.uint8), cv2.COLORMAP_TURBO)[..., ::-1]
    weight = 0.65 * large[..., None]
    return (small * (1 - weight) + colours * weight).round().astype(np.uint8)


Views = list[Drawn | str]  # images of a mistake; a text replaces an image that can't be shown


def cards(mistakes: Sequence[Mistake], dataset: Dataset, task: Task, model: Model | None) -> tuple[list[Views], str]:
    """Return the images of each of the worst mistakes, worst first, and a note on the saliency maps, which need the model."""
    colours = kinds_of([caption for mistake in mistakes for _, caption in mistake.boxes_xyxy])
    wanted = {key for mistake in mistakes[:_SHOWN] for key in mistake.keys}
    records = {record.key: record for record in dataset.records if record.key in wanted}
    made, looks = list[Views](), _Looks(task, model)
    for mistake in mistakes[:_SHOWN]:
        views: Views = []
        for place, key in enumerate(mistake.keys):
            image = load_picture(records.get(key), key)
            if isinstance(image, str):
                views.append(image)
            else:
                views += pictures(image, key, () if place else mistake.boxes_xyxy, colours) + looks.maps(image, mistake)
        made.append(views)
    return made, looks.note


class _Looks:
    """Saliency maps of mistakes, computed by the task if there is a model."""

    def __init__(self, task: Task, model: Model | None) -> None:
        self._task, self._model = task, model
        self.note = ""  # legend of the maps, or the reason why they can't be computed; "" if the task has no maps

    def maps(self, image: Image, mistake: Mistake) -> list[Drawn]:
        """Return the mistake's saliency maps, drawn on the image; empty for a pair of images, or if they can't be computed (see `note`)."""
        if self._model is None or len(mistake.keys) > 1:
            return []
        try:
            found = list(self._found(self._model, image, mistake))
        except InputError as error:  # the error would occur for all other mistakes as well
            self._model, self.note = None, f"Saliency maps are not shown: {error}"
            return []
        self.note = _LEGEND if found else self.note
        return found

    def _found(self, model: Model, image: Image, mistake: Mistake) -> Iterator[Drawn]:
        if model.compiled:
            raise InputError("saliency maps need the layers of the original model; pass the uncompiled model")
        was_training = model.training
        model.eval()
        try:
            batch = model.preprocess.batch([image])
            found = self._task.answers.explain(model, batch, mistake)
        finally:
            model.train(was_training)
        height, width = batch.sizes_hw[0]
        with torch.inference_mode():
            pixels = (as_float(batch.pixels[0, :, :height, :width]).clamp(0, 1) * 255).round().byte().permute(1, 2, 0).cpu().numpy()
        for caption, heat in found.items():
            yield Drawn(overlaid(np.ascontiguousarray(pixels), heat[:height, :width]), caption + ("" if heat.any() else ": nothing"))


def load_picture(record: Record | None, key: str) -> Image | str:
    """Return the image of a sample, or a text with the reason why it can't be shown. The record is None if the dataset lacks the sample."""
    if record is None:
        return f"{key}: no image, because the dataset no longer has a sample with this key"
    try:
        return record.load().image
    except ImageError as error:
        return f"{key}: no image: {error}"


def section(made: Sequence[Views], mistakes: Sequence[Mistake], note: str, room: int) -> Iterator[str]:
    """Yield the cards as HTML, followed by a list of the mistakes without images.

    All images together have at most `room` characters. With 0, they are omitted, so that the size of the remaining HTML can be measured.
    `note` explains the saliency maps.
    """
    count = sum(isinstance(view, Drawn) for views in made for view in views)
    most = min(_LARGEST, room // max(1, count))
    yield f"<p>The {len(mistakes)} worst mistakes, worst first. {text(note)}</p>"
    colours = kinds_of([caption for mistake in mistakes for _, caption in mistake.boxes_xyxy])
    yield f'<ol class="mistakes">{"".join(_card(*card, most, colours) for card in zip(mistakes, made, strict=False))}</ol>'
    others = mistakes[len(made) :]
    if others:
        listed = "".join(f"<li>{text(', '.join(other.keys))}: {text(other.text)}</li>" for other in others[:_LISTED])
        more = f"<li>… and {len(others) - _LISTED} more</li>" if len(others) > _LISTED else ""
        yield f"<details><summary>{len(others)} more, without images</summary><ul>{listed}{more}</ul></details>"


def _card(mistake: Mistake, views: Views, most: int, colours: Colours) -> str:
    shown = "".join(_view(view, mistake, most) for view in views)
    boxes = _boxes(mistake, colours) if mistake.boxes_xyxy else ""
    kind = ' class="boxed"' if boxes else ""  # stacked on narrow screens, where the images would be too small side by side
    return f'<li{kind}><p class="what">{text(mistake.text)}</p><div class="views">{shown}</div>{boxes}</li>\n'


def _view(view: Drawn | str, mistake: Mistake, most: int) -> str:
    if isinstance(view, str):
        return as_html(view, "", most)
    return as_html(view.image, f"{mistake.text}: {view.text}", most, f"<figcaption>{text(view.text)}</figcaption>")


def _boxes(mistake: Mistake, colours: Colours) -> str:
    """Return the legend of the numbered boxes."""
    alone = len(mistake.boxes_xyxy) == 1
    rows = []
    for number, (_, caption) in enumerate(mistake.boxes_xyxy[:_BOXES], 1):
        red, green, blue = colours[kind_of(caption)]
        rows.append(f'<li><b style="background:rgb({red},{green},{blue})">{"&nbsp;" if alone else number}</b>{text(caption)}</li>')
    left = len(mistake.boxes_xyxy) - _BOXES
    more = f"<li>… and {left} more boxes, shown only in the image</li>" if left > 0 else ""
    return f'<ul class="boxes">{"".join(rows)}{more}</ul>'
