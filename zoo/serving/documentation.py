"""Descriptions of the routes for OpenAPI, and the page `/docs`, which loads nothing from other servers."""

from __future__ import annotations

from html import escape
from typing import Any

_FILE = {"type": "string", "format": "binary"}
_ENTRY = {"type": "object", "required": ["data"], "properties": {"key": {"type": "string"}, "data": {"type": "string", "format": "byte"}}}
BODY: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {
            "multipart/form-data": {
                "schema": {"type": "object", "required": ["files"], "properties": {"files": {"type": "array", "items": _FILE}}}
            },
            "application/octet-stream": {"schema": _FILE},
            "application/json": {
                "schema": {"type": "object", "required": ["files"], "properties": {"files": {"type": "array", "items": _ENTRY}}}
            },
        },
    }
}
PREDICTIONS: dict[int | str, dict[str, Any]] = {
    200: {"description": "One prediction per picture, or the drawn picture", "content": {"application/json": {}, "image/png": {}}},
    400: {"description": "The body is malformed"},
    404: {"description": "Unknown model"},
    413: {"description": "The body, or the number of pictures, is too large"},
    415: {"description": "Unknown content type"},
    422: {"description": "A picture can't be read, or a parameter is invalid; `error` has the reason, `faults` one entry per picture"},
    429: {"description": "The queue is full; `Retry-After` has the seconds to wait"},
    503: {"description": "No worker is ready, or the time limit has passed"},
}


def parameters(**described: str) -> dict[str, Any]:
    """Return the description of query parameters: their names with explanations."""
    found = [{"name": name, "in": "query", "schema": {"type": "string"}, "description": text} for name, text in described.items()]
    return {"parameters": found} if found else {}


def docs_page(description: dict[str, Any]) -> str:
    """Return an HTML page that lists all routes of an OpenAPI description."""
    rows = []
    for path, methods in description["paths"].items():
        for method, about in methods.items():
            names = [parameter["name"] for parameter in about.get("parameters", ()) if parameter["in"] == "query"]
            kinds = about.get("requestBody", {}).get("content", {})
            more = [f"query: {', '.join(names)}"] if names else []
            more += [f"body: {', '.join(kinds)}"] if kinds else []
            text = [about.get("description", ""), *more]
            rows.append(
                f"<tr><td><code>{method.upper()}</code></td><td><code>{escape(path)}</code></td><td>{escape(about.get('summary', ''))}"
                f"<br><small>{'<br>'.join(escape(line) for line in text if line)}</small></td></tr>"
            )
    style = (
        ":root{color-scheme:light dark}body{font:16px/1.5 system-ui,sans-serif;max-width:70rem;margin:2rem auto;padding:0 1rem}"
        "td,th{text-align:left;vertical-align:top;padding:.4rem .8rem .4rem 0;border-bottom:1px solid #8884}"
    )
    return (
        f'<!doctype html><html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width">'
        f"<title>{escape(description['info']['title'])}: routes</title><style>{style}</style>"
        f"<h1>{escape(description['info']['title'])} {escape(description['info']['version'])}</h1>"
        f'<p>{escape(description["info"]["description"])} The same as <a href="openapi.json">OpenAPI</a>.</p>'
        f"<table><tr><th>Method<th>Path<th>Description</tr>{''.join(rows)}</table></html>"
    )
