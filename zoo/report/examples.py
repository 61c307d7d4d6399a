"""Example images with the model's prediction and the ground truth."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import torch

from zoo.data.dataset import Dataset, Record
from zoo.data.loader import evaluation_loader
from zoo.models.inference import answers
from zoo.models.model import Model
from zoo.report.mistakes import Colours, as_html, kinds_of, load_picture, with_boxes
from zoo.report.pages import text
from zoo.task.answers import Example
from zoo.task.contract import Task

SHOWN = 12
_LARGEST = 60_000  # maximum number of characters of an encoded image
_BATCH = 8
_VERDICTS = {True: ("right", "✓ correct"), False: ("wrong", "✗ incorrect"), None: ("open", "")}

STYLE = """
.examples{list-style:none;padding:0;margin:.8rem 0;display:grid;gap:1rem}
.examples{grid-template-columns:repeat(auto-fill,minmax(min(45%,200px),1fr))}
.examples.large{grid-template-columns:repeat(auto-fill,minmax(min(100%,320px),1fr))}
.examples>li{background:var(--panel);border:1px solid var(--rule);border-top:4px solid var(--rule);border-radius:8px;padding:.6rem;
break-inside:avoid}
.examples .right{border-top-color:#008060}.examples .wrong{border-top-color:#c2570c}
.examples .views{align-items:flex-start}.examples img{display:block;width:100%;height:auto;border-radius:4px}
.examples dl{font-size:13.5px;margin:.5rem 0 0;display:grid;grid-template-columns:auto 1fr;gap:.1rem .6rem}.examples dt{color:var(--soft)}
.examples dd{margin:0;font-weight:600;min-width:0}.examples small{display:block;margin-top:.3rem}
.key{list-style:none;padding:0;margin:.4rem 0;display:flex;gap:1.2rem;flex-wrap:wrap}
.key b{display:inline-block;width:.9rem;height:.9rem;border-radius:3px;vertical-align:-2px;margin-right:.4rem}
"""


def answered(model: Model, task: Task, dataset: Dataset) -> list[Example]:
    """Run a model on some samples of a dataset and return examples. Unreadable samples are skipped.

    The model must be in evaluation mode and on its device. The dataset must be relabelled unless the task is open-set.
    """
    part = Dataset(dataset.name, tuple(task.answers.example_records(dataset, SHOWN)), dataset.classes, exact=dataset.exact)
    found, targets, keys = list[object](), list[object](), list[str]()
    for batch in evaluation_loader(part, model.preprocess, _BATCH, 0, "skip"):
        if batch.images is not None:
            with torch.inference_mode():
                found += answers(model, batch.images)
            targets += batch.targets
            keys += batch.keys
    return task.answers.examples(found, targets, keys, model.classes, SHOWN) if keys else []


def section(examples: Sequence[Example], dataset: Dataset, said: str) -> Iterator[str]:
    """Yield examples as HTML, preceded by the text `said`, which describes the data. Images are read from the dataset."""
    colours = kinds_of([caption for example in examples for _, caption in example.boxes_xyxy])
    yield f"<p>{text(said)}</p>"
    if colours:
        marks = "".join(f'<li><b style="background:rgb{colour}"></b>{text(kind)}</li>' for kind, colour in colours.items())
        yield f'<ul class="key">{marks}</ul>'
    wanted = {key for example in examples for key in example.keys}
    records = {record.key: record for record in dataset.records if record.key in wanted}
    # a pair of images, or an image with boxes, needs more room
    size = " large" if any(len(example.keys) > 1 or example.boxes_xyxy for example in examples) else ""
    yield f'<ol class="examples{size}">{"".join(_card(example, records, colours) for example in examples)}</ol>'


def _card(example: Example, records: Mapping[str, Record], colours: Colours) -> str:
    kind, verdict = _VERDICTS[example.right]
    views = "".join(_view(example, place, records, colours) for place in range(len(example.keys)))
    rows = {"prediction": example.answer, "ground truth": example.truth or "unknown", "": verdict}
    entries = "".join(f"<dt>{name}</dt><dd>{text(words)}</dd>" for name, words in rows.items() if words)
    keys = f"<small>{text(', '.join(example.keys))}</small>"
    return f'<li class="{kind}"><div class="views">{views}</div><dl>{entries}</dl>{keys}</li>\n'


def _view(example: Example, place: int, records: Mapping[str, Record], colours: Colours) -> str:
    key = example.keys[place]
    image = load_picture(records.get(key), key)
    if not isinstance(image, str):
        image = with_boxes(image, () if place else example.boxes_xyxy, colours, numbered=False)
    return as_html(image, f"{key}: {'most similar image' if place else example.answer}", _LARGEST)
