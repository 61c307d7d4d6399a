"""The routes of the server, as a FastAPI application."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from fastapi import FastAPI, Request
from fastapi.responses import HTMLResponse, JSONResponse, PlainTextResponse, Response
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp

from zoo import __version__
from zoo.serving.answering import Answering, flag_of, threshold_of
from zoo.serving.documentation import BODY, PREDICTIONS, docs_page, parameters
from zoo.serving.limits import Gate, RefusedError
from zoo.serving.metrics import Metrics
from zoo.serving.page import load_page
from zoo.serving.protocol import add_protocol
from zoo.serving.services import Action, service_class


def create_app(answering: Answering, metrics: Metrics, log: Callable[[dict[str, Any]], None]) -> ASGIApp:
    """Return the application with all routes, behind the `Gate`."""
    app = FastAPI(
        title="resnet-zoo",
        version=__version__,
        description="Predictions of saved models.",
        docs_url=None,  # FastAPI's pages load scripts from other servers
        redoc_url=None,
        servers=[{"url": answering.settings.root_path or "/"}],
    )
    app.add_exception_handler(RefusedError, _refused)
    app.add_exception_handler(HTTPException, _http_error)
    app.add_exception_handler(Exception, _defect)
    _add_predictions(app, answering)
    _add_services(app, answering)
    add_protocol(app, answering)
    _add_state(app, answering, metrics)
    return Gate(app, answering.settings, answering.bodies, metrics, log)


async def _refused(request: Request, error: Exception) -> Response:
    assert isinstance(error, RefusedError)
    return error.response()


async def _http_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    return RefusedError(error.status_code, str(error.detail), dict(error.headers or {})).response()


async def _defect(request: Request, error: Exception) -> Response:
    return RefusedError(500, "an internal error occurred; the server's log has the details").response()


def _add_predictions(app: FastAPI, answering: Answering) -> None:
    @app.get("/v1/models", summary="Models and their heads")
    async def models() -> dict[str, Any]:
        """List the models with their backbones, heads, tasks, classes, thresholds and services, and the limits on requests."""
        known = answering.pool.models
        entries = [
            {"name": name, "model": model, "services": _services_of(answering, model), **known[model]}
            for name, model in answering.settings.names.items()
            if model in known
        ]
        return {"models": entries, "limits": {"body_bytes": answering.settings.max_body, "pixels": answering.settings.engine.max_pixels}}

    @app.get("/v1/models/{name}", summary="One model")
    async def model(name: str) -> dict[str, Any]:
        """Describe a model: its backbone, heads, tasks, classes, thresholds and services."""
        model, about = answering.model(name)
        return {"name": name, "model": model, "services": _services_of(answering, model), **about}

    described = parameters(
        draw='"png": return the drawn picture instead of JSON',
        threshold="minimum score of detections, or threshold of multi-label classes, from 0 to 1",
        skip_bad="true: list unreadable pictures as `skipped` instead of refusing the request",
    )

    @app.post("/v1/models/{name}/predict", summary="Predict on pictures", openapi_extra={**BODY, **described}, responses=PREDICTIONS)
    async def predict(name: str, request: Request) -> Response:
        """Return the predictions for one or several pictures: the JSON object of `zoo predict --json`."""
        model, about = await answering.admit(request, name)
        query = request.query_params
        drawn = query.get("draw")
        if drawn not in (None, "png"):
            raise RefusedError(422, f"draw is {drawn[:100]!r}; expected 'png'")
        job = {"threshold": threshold_of(query.getlist("threshold")), "skip_bad": flag_of("skip_bad", query.getlist("skip_bad"))}
        uploads = (await answering.content(request)).uploads
        if not uploads:
            raise RefusedError(422, "the request contains no pictures; expected a field 'files' with one or several")
        if drawn:
            if len(uploads) != 1:
                raise RefusedError(422, f"draw=png requires one picture; the request contains {len(uploads)}")
            answer = await answering.ask(request, model, uploads, form="png", threshold=job["threshold"])
            return Response(answer.parts[0], media_type="image/png")
        answer = await answering.ask(request, model, uploads, form="json", **job)
        # the predictions are already encoded
        skipped = b', "skipped": ' + json.dumps(answer.header["skipped"]).encode() if job["skip_bad"] else b""
        origin = b', "hub": ' + json.dumps(about["hub"]).encode() if "hub" in about else b""
        body = b'{"predictions": [' + b", ".join(answer.parts) + b"]" + skipped + origin + b"}"
        return Response(body, media_type="application/json")


def _services_of(answering: Answering, model: str) -> dict[str, list[str]]:
    """Return the names of the services that use a model, by kind: {"galleries": ["friends"]}."""
    named = {kind: [entry.name for entry in entries if entry.model == model] for kind, entries in answering.settings.services.items()}
    return {kind: names for kind, names in named.items() if names}


def _add_services(app: FastAPI, answering: Answering) -> None:
    for kind, entries in answering.settings.services.items():
        known = {entry.name: entry.model for entry in entries}
        actions = service_class(answering.settings.service_classes[kind]).actions
        _add_names(app, kind, known)
        for action, about in actions.items():
            _add_action(app, answering, kind, known, action, about)


def _add_names(app: FastAPI, kind: str, known: dict[str, str]) -> None:
    @app.get(f"/v1/{kind}", summary=f"Names of all {kind}")
    async def names() -> dict[str, Any]:
        return {kind: [{"name": name, "model": model} for name, model in known.items()]}


def _add_action(app: FastAPI, answering: Answering, kind: str, known: dict[str, str], action: str, about: Action) -> None:
    extra = {**(BODY if about.pictures else {}), **parameters(**about.parameters)}

    async def act(name: str, request: Request) -> Response:
        if name not in known:
            raise RefusedError(404, f"there is nothing named {name[:100]!r} among the {kind}; known: {', '.join(known)}")
        await answering.admit(request, known[name])
        values, uploads = dict(request.query_params), []
        if about.pictures or (about.method == "POST" and request.headers.get("content-type")):
            content = await answering.content(request)
            values, uploads = {**values, **content.values}, content.uploads
        if unknown := sorted(set(values) - set(about.parameters)):
            raise RefusedError(422, f"unknown parameter {unknown[0][:100]!r}; expected {', '.join(about.parameters) or 'none'}")
        if about.pictures != bool(uploads):
            raise RefusedError(
                422, "the request contains no pictures" if about.pictures else "the request contains pictures; expected none"
            )
        job = {"form": "service", "kind": kind, "name": name, "action": action, "values": values}
        answer = await answering.ask(request, known[name], uploads, **job)
        return Response(answer.parts[0], media_type="application/json")

    path, name = f"/v1/{kind}/{{name}}/{action}", f"{kind}_{action}"
    app.add_api_route(path, act, methods=[about.method], summary=about.summary, openapi_extra=extra, operation_id=name)


def _add_state(app: FastAPI, answering: Answering, metrics: Metrics) -> None:
    @app.get("/healthz", summary="Whether the server runs", response_class=PlainTextResponse)
    async def healthz() -> str:
        """Return 200 as long as the server process answers."""
        return "ok"

    @app.get("/readyz", summary="Whether all workers are ready", response_class=PlainTextResponse)
    async def readyz() -> Response:
        """Return 200 if all worker processes are ready, otherwise 503."""
        return PlainTextResponse("ready") if answering.pool.ready else PlainTextResponse("not ready", 503)

    @app.get("/metrics", summary="Metrics for Prometheus", response_class=PlainTextResponse)
    async def metrics_text() -> Response:
        """Return counters, histograms and the present state in Prometheus' text format."""
        return PlainTextResponse(metrics.text(), media_type="text/plain; version=0.0.4; charset=utf-8")

    @app.get("/docs", include_in_schema=False)
    async def docs() -> Response:
        return HTMLResponse(docs_page(app.openapi()))

    page = load_page(answering.settings.root_path)

    @app.get("/", include_in_schema=False)
    async def root(request: Request) -> Response:
        if page.headers["ETag"] in request.headers.get("if-none-match", ""):
            return Response(status_code=304, headers=page.headers)
        return HTMLResponse(page.content, headers=page.headers)

    @app.exception_handler(404)
    async def missing(request: Request, error: Exception) -> Response:
        detail = getattr(error, "detail", "Not Found")
        return JSONResponse({"error": "there is no such route; /docs lists all routes" if detail == "Not Found" else detail}, 404)
