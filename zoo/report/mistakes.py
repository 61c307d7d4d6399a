"""The worst mistakes: a card for each, with a description, the images with their boxes, and where the model looked."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from zoo.data.dataset import Dataset, Image, Record
from zoo.errors import ImageError
from zoo.models.model import Model
from zoo.report.figures import Drawn, kind_of, kinds_of, pictures
from zoo.report.looks import Looks
from zoo.report.pages import fitting_uri, text
from zoo.task.metric import Mistake

_SHOWN = 48  # mistakes shown with images
_LISTED = 500  # other mistakes listed as text
_BOXES = 40  # boxes listed per mistake
_LARGEST = 120_000  # characters of one encoded image

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
class Card:
    """A mistake with its images.

    Attributes:
        mistake: mistake from the metric.
        views: its images; one that can't be shown is replaced by a text with the reason.
    """

    mistake: Mistake
    views: tuple[Drawn | str, ...]


def cards(mistakes: Sequence[Mistake], dataset: Dataset, task: str, model: Model | None) -> tuple[list[Card], str]:
    """Return the worst mistakes with their images, and the note on the maps of where the model looked.

    Args:
        mistakes: mistakes, worst first.
        dataset: source of their images.
        task: name of the task.
        model: model that made them; None if only its predictions are available.
    """
    colours = kinds_of([caption for mistake in mistakes for _, caption in mistake.boxes_xyxy])
    wanted = {key for mistake in mistakes[:_SHOWN] for key in mistake.keys}
    records = {record.key: record for record in dataset.records if record.key in wanted}
    made, looks = list[Card](), Looks(task, model)
    for mistake in mistakes[:_SHOWN]:
        views: list[Drawn | str] = []
        for place, key in enumerate(mistake.keys):
            image = load_picture(records.get(key), key)
            if isinstance(image, str):
                views.append(image)
            else:
                views += pictures(image, key, () if place else mistake.boxes_xyxy, colours) + looks.maps(image, mistake)
        made.append(Card(mistake, tuple(views)))
    return made, looks.note


def load_picture(record: Record | None, key: str) -> Image | str:
    """Return the full image of a sample, or the reason why it can't be shown.

    Args:
        record: the sample; None if the data no longer contains it.
        key: key of the sample.
    """
    if record is None:
        return f"{key}: no image, the data no longer has a sample with this key"
    try:
        return record.load().image
    except ImageError as error:
        return f"{key}: no image, {error}"


def section(made: Sequence[Card], mistakes: Sequence[Mistake], note: str, room: int) -> Iterator[str]:
    """Yield the cards as HTML.

    Args:
        made: cards from `cards`.
        mistakes: all mistakes; those without a card are listed.
        note: note on the maps.
        room: characters available to all images together; 0 to omit the images, which gives the size of the rest.
    """
    count = sum(isinstance(view, Drawn) for card in made for view in card.views)
    most = min(_LARGEST, room // max(1, count))
    yield f"<p>The {len(mistakes)} worst mistakes, worst first. {text(note)}</p>"
    colours = kinds_of([caption for mistake in mistakes for _, caption in mistake.boxes_xyxy])
    yield f'<ol class="mistakes">{"".join(_card(card, most, colours) for card in made)}</ol>'
    others = mistakes[len(made) :]
    if others:
        listed = "".join(f"<li>{text(', '.join(other.keys))}: {text(other.text)}</li>" for other in others[:_LISTED])
        more = f"<li>… and {len(others) - _LISTED} more</li>" if len(others) > _LISTED else ""
        yield f"<details><summary>{len(others)} more, without images</summary><ul>{listed}{more}</ul></details>"


def _card(card: Card, most: int, colours: Mapping[str, tuple[int, int, int]]) -> str:
    views = "".join(_view(view, card.mistake, most) for view in card.views)
    boxes = _boxes(card.mistake, colours) if card.mistake.boxes_xyxy else ""
    kind = ' class="boxed"' if boxes else ""  # stacked on a phone, where boxes would be too small side by side
    return f'<li{kind}><p class="what">{text(card.mistake.text)}</p><div class="views">{views}</div>{boxes}</li>\n'


def _view(view: Drawn | str, mistake: Mistake, most: int) -> str:
    if isinstance(view, str):
        return f'<figure><div class="lost">{text(view)}</div></figure>'
    height, width = view.image.shape[:2]
    alt = f"{mistake.text}: {view.text}"
    picture = f'<img alt="{text(alt)}" width="{width}" height="{height}" src="{fitting_uri(view.image, most) if most else ""}">'
    return f"<figure>{picture}<figcaption>{text(view.text)}</figcaption></figure>"


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
