"""HTML report of a dataset check: counts, and a contact sheet with boxes for each kind of finding."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from zoo.curation.check.examination import Examination
from zoo.curation.check.findings import KINDS, Finding
from zoo.curation.check.items import Item
from zoo.errors import ImageError
from zoo.report.pages import data_uri, page, table, text
from zoo.system.files import write_text
from zoo.system.wording import counted

_SHOWN = 24  # maximum number of findings per kind shown with images, which need about one megabyte
_LISTED = 500  # maximum number of listed findings per kind; --json lists all of them
_SIDE = 200  # pixels: longer side of a displayed image
_RED, _BLUE = (220, 30, 40), (40, 110, 230)

_STYLE = ".sheet figure{width:200px;font-size:12px}"


def write_report(examination: Examination, path: Path) -> None:
    """Write the report as a self-contained HTML page."""
    found, items = examination.findings, examination.opened.items
    verdict = "no problems" if found.ok else counted(sum(f.severity != "note" for f in found.findings), "finding")
    body = [
        f"<h1>{text(found.data)}: {verdict}</h1>",
        f"<p>{found.pictures} images, read as {text(found.scheme or 'a sequence of samples')} ({text(found.task)})</p>",
        _table("Kind", {f'<a href="#{kind}">{kind}</a> – {KINDS[kind].title}': count for kind, count in found.counts.items()}),
        _table("Split", {text(name or "(no split)"): count for name, count in found.splits.items()}),
        _table("Class", {text(name): count for name, count in found.classes.items()}),
        *(
            _table(f"Attribute {text(name)}", {text(value): count for value, count in values.items()})
            for name, values in found.attributes.items()
        ),
    ]
    known = {Path(item.key).stem: item for item in items} | {item.key: item for item in items}
    for kind in found.counts:
        body += _section(kind, found.of(kind), known)
    write_text(path, page(f"zoo data check {found.data}", body, _STYLE))


def _table(what: str, rows: Mapping[str, int]) -> str:
    cells = table((), [(name, str(count)) for name, count in rows.items()], right=[1])
    return f"<details open><summary>{what}</summary>{cells}</details>" if rows else ""


def _section(kind: str, findings: tuple[Finding, ...], known: Mapping[str, Item]) -> Iterator[str]:
    severity = findings[0].severity
    yield f'<h2 id="{kind}"><span class="{severity}">{severity}</span>: {KINDS[kind].title} ({len(findings)})</h2>'
    sheet = [figure for finding in findings[:_SHOWN] for figure in _figures(finding, known)]
    if sheet:
        yield f'<div class="sheet">{"".join(sheet)}</div>'
    listed = "".join(f"<li>{text(str(finding))}</li>" for finding in findings[:_LISTED])
    more = f"<li>… and {len(findings) - _LISTED} more; --json lists all</li>" if len(findings) > _LISTED else ""
    yield f"<details><summary>list</summary><ul>{listed}{more}</ul></details>"


def _figures(finding: Finding, known: Mapping[str, Item]) -> Iterator[str]:
    """Yield the images involved in a finding as HTML. Images that can't be read are omitted."""
    for name in dict.fromkeys((finding.key, *finding.others[:3])):
        # for a finding in an annotation file, show the image with the same stem
        item = known.get(name) or (known.get(Path(name).stem) if finding.place else None)
        picture = None if item is None else _picture(item, finding)
        if picture is not None:
            place = f", {finding.place}" if finding.place else ""
            yield f'<figure><img alt="" src="{picture}"><figcaption>{text(name + place)}</figcaption></figure>'


def _picture(item: Item, finding: Finding) -> str | None:
    """Return the image as a data URI, with its boxes in blue and the finding's box in red; None if the image can't be read."""
    try:
        image = item.record.load().image
    except ImageError:
        return None
    height, width = image.shape[:2]
    scale = _SIDE / max(height, width)
    method = cv2.INTER_AREA if scale < 1 else cv2.INTER_NEAREST
    small = cv2.resize(image, (max(1, round(width * scale)), max(1, round(height * scale))), interpolation=method).astype(np.uint8)
    if finding.box is not None or finding.kind.startswith("box"):
        for box in item.boxes.tolist() if item.boxes is not None else []:
            _draw(small, [side * scale for side in box], _BLUE, 1)
    if finding.box is not None:
        _draw(small, [side * scale for side in finding.box], _RED, 2)
    return data_uri(small)


def _draw(image: NDArray[np.uint8], box: list[float], colour: tuple[int, int, int], line: int) -> None:
    # some findings have extreme coordinates: clip boxes far outside the image
    left, top, right, bottom = (round(min(max(side, -4), 2 * _SIDE)) for side in box)
    cv2.rectangle(image, (left, top), (right, bottom), colour, line)
