"""The worst mistakes, one card each: description, images with boxes, and saliency maps."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import torch

from zoo.data.dataset import Dataset, Image, Record
from zoo.errors import ImageError, InputError
from zoo.images.preprocess import as_float
from zoo.models.model import Model
from zoo.report.figures import Drawn, as_html, kind_of, kinds_of, overlaid, pictures
from zoo.report.pages import text
from zoo.task.contract import get_task
from zoo.task.metric import Mistake

Views = list[Drawn | str]  # images of a mistake; a text replaces an image that can't be shown
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


def cards(mistakes: Sequence[Mistake], dataset: Dataset, task: str, model: Model | None) -> tuple[list[Views], str]:
    """Return the images of each of the worst mistakes, worst first, and a note on the saliency maps.

    Images are read from the dataset. The model is None if only its predictions are available; there are no saliency maps then.
    """
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
    """Saliency maps of mistakes, computed by the task if there is a model.

    Attributes:
        note: legend of the maps, or the reason why they can't be computed; "" if the task has no maps.
    """

    def __init__(self, task: str, model: Model | None) -> None:
        self._task, self._model = get_task(task), model
        self.note = ""

    def maps(self, image: Image, mistake: Mistake) -> list[Drawn]:
        """Return the maps of a mistake. Empty for a pair of images, or if the maps can't be computed; `note` contains the reason."""
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
    """Return the image of a sample, or a text with the reason why it can't be shown.

    `record` is None if the dataset no longer contains the sample.
    """
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


def _card(mistake: Mistake, views: Views, most: int, colours: Mapping[str, tuple[int, int, int]]) -> str:
    shown = "".join(_view(view, mistake, most) for view in views)
    boxes = _boxes(mistake, colours) if mistake.boxes_xyxy else ""
    kind = ' class="boxed"' if boxes else ""  # stacked on narrow screens, where the images would be too small side by side
    return f'<li{kind}><p class="what">{text(mistake.text)}</p><div class="views">{shown}</div>{boxes}</li>\n'


def _view(view: Drawn | str, mistake: Mistake, most: int) -> str:
    if isinstance(view, str):
        return as_html(view, "", most)
    return as_html(view.image, f"{mistake.text}: {view.text}", most, f"<figcaption>{text(view.text)}</figcaption>")


def _boxes(mistake: Mistake, colours: Mapping[str, tuple[int, int, int]]) -> str:
    """Return the legend of the numbered boxes."""
    alone = len(mistake.boxes_xyxy) == 1
    rows = []
    for number, (_, caption) in enumerate(mistake.boxes_xyxy[:_BOXES], 1):
        red, green, blue = colours[kind_of(caption)]
        rows.append(f'<li><b style="background:rgb({red},{green},{blue})">{"&nbsp;" if alone else number}</b>{text(caption)}</li>')
    left = len(mistake.boxes_xyxy) - _BOXES
    more = f"<li>… and {left} more boxes, shown only in the image</li>" if left > 0 else ""
    return f'<ul class="boxes">{"".join(rows)}{more}</ul>'
