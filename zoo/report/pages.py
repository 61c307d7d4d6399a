"""Building blocks of self-contained HTML pages: page frame, tables and images.

Pages load no external resources and run no scripts but their own; their content security policy enforces this. They follow the browser's
light or dark mode. The page itself never scrolls horizontally; wide content is placed in boxes that do.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterable, Sequence
from html import escape

import cv2
import numpy as np
from numpy.typing import NDArray

_LONGEST = 500  # maximum number of characters of a text from the dataset: a key may be a long URL
_CSP = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"
_STYLE = """
:root{color-scheme:light dark;--ink:#1c2024;--soft:#565f68;--paper:#fff;--panel:#f3f5f7;--rule:#d5dae0}
:root{--red:#b3261e;--amber:#8a5a00;--link:#0b57d0}
@media(prefers-color-scheme:dark){
:root{--ink:#e6e8ea;--soft:#a8b2bc;--paper:#16181b;--panel:#202428;--rule:#3a4149;--red:#ff8a80;--amber:#f0c060;--link:#8ab4f8}}
*{box-sizing:border-box}
body{font:15px/1.5 system-ui,sans-serif;margin:0 auto;max-width:1120px;padding:1.5rem 1rem 4rem;color:var(--ink);background:var(--paper);
overflow-wrap:anywhere}
h1{font-size:1.5rem;line-height:1.25;margin:0 0 .5rem}h2{font-size:1.2rem;margin:2.6rem 0 .6rem}h3{font-size:1rem;margin:1.4rem 0 .4rem}
a{color:var(--link)}p{margin:.4rem 0 .8rem}small,.soft{color:var(--soft)}
.scroll{overflow-x:auto;margin:.4rem 0;max-width:100%}
table{border-collapse:collapse}th,td{padding:.2rem .9rem .2rem 0;text-align:left;vertical-align:top;overflow-wrap:normal}th{font-weight:600}
.pairs td{overflow-wrap:anywhere}.pairs td:first-child{min-width:7.5rem}
td.n,th.n{text-align:right;font-variant-numeric:tabular-nums;white-space:nowrap}
summary{cursor:pointer;padding:.2rem 0}
.error{color:var(--red)}.warning{color:var(--amber)}.note{color:var(--soft)}
.sheet{display:flex;flex-wrap:wrap;gap:1rem}figure{margin:0;font-size:13px}img{max-width:100%}
"""


def page(title: str, body: Iterable[str], style: str = "", script: str = "") -> str:
    """Return a complete HTML page.

    Args:
        title: title as plain text.
        body: HTML fragments.
        style: additional CSS.
        script: JavaScript at the end of the page, the only one that the content security policy allows; "" for none.
    """
    content = f"\n{script}"
    digest = base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()
    policy = f"{_CSP}; script-src 'sha256-{digest}'" if script else _CSP
    head = (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">'
        '<meta name="viewport" content="width=device-width,initial-scale=1"><link rel="icon" href="data:,">'
        f"<title>{text(title)}</title><style>{_STYLE}{style}</style></head>"
    )
    return "\n".join([head, "<body>", *body, *([f"<script>{content}</script>"] if script else []), "</body></html>\n"])


def text(words: object) -> str:
    """Convert untrusted text to HTML: escape it, truncate it to 500 characters, and replace characters that UTF-8 can't encode."""
    plain = str(words).encode("utf-8", "replace").decode("utf-8")  # file names may contain bytes that are not text
    return escape(plain if len(plain) <= _LONGEST else f"{plain[:_LONGEST]}…")


def table(header: Sequence[str], rows: Iterable[Sequence[str]], right: Iterable[int] = ()) -> str:
    """Return an HTML table in a box that scrolls horizontally if the table is too wide.

    Header and cells are HTML; the header may be empty. `right` are the indices of right-aligned columns, which contain numbers.
    """
    numbers = set(right)
    head = "".join(_cell("th", place, name, numbers) for place, name in enumerate(header))
    body = "\n".join(f"<tr>{''.join(_cell('td', place, cell, numbers) for place, cell in enumerate(row))}</tr>" for row in rows)
    whole = f"<table><thead><tr>{head}</tr></thead>" if head else '<table class="pairs">'
    return scrolling(f"{whole}<tbody>{body}</tbody></table>")


def _cell(tag: str, place: int, content: str, numbers: set[int]) -> str:
    kind = ' class="n"' if place in numbers else ""
    return f"<{tag}{kind}>{content}</{tag}>"


def scrolling(content: str) -> str:
    """Wrap HTML in a box that scrolls horizontally and can be focused with the keyboard."""
    return f'<div class="scroll" tabindex="0">{content}</div>'


def data_uri(image: NDArray[np.uint8], quality: int | None = 80) -> str:
    """Return an image, [H, W, 3] uint8 RGB or [H, W] uint8 grey, as a data URI: a JPEG, or a lossless PNG if `quality` is None."""
    kind, settings = (".png", []) if quality is None else (".jpg", [cv2.IMWRITE_JPEG_QUALITY, quality])
    stored = np.ascontiguousarray(image[..., ::-1]) if image.ndim == 3 else image  # OpenCV writes BGR
    done, data = cv2.imencode(kind, stored, settings)
    assert done, "an image in memory can always be encoded"
    return f"data:image/{'png' if quality is None else 'jpeg'};base64,{base64.b64encode(data.tobytes()).decode()}"


def fitting_uri(image: NDArray[np.uint8], most: int) -> str:
    """Return an RGB image as a JPEG data URI of at most `most` characters. If necessary, first the quality is reduced, then the size."""
    for quality in (85, 70, 50):
        uri = data_uri(image, quality)
        if len(uri) <= most:
            return uri
    if max(image.shape[:2]) <= 16:
        return uri  # about one kilobyte: can't be reduced further
    smaller = (max(1, image.shape[1] * 7 // 10), max(1, image.shape[0] * 7 // 10))  # half the area
    return fitting_uri(cv2.resize(image, smaller, interpolation=cv2.INTER_AREA).astype(np.uint8), most)
