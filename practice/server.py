"""The practice provider: a server that speaks as OpenAI does, is no language model, and says so.

All of it can be had in Anthropic's and in Gemini's words too.
"""

import time
from functools import partial
from pathlib import Path
from typing import Any

from fastapi import FastAPI, Request
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.responses import Response

from practice.batches.anthropic import ANTHROPIC, MESSAGES
from practice.batches.dialect import object_in
from practice.batches.gemini import GEMINI
from practice.batches.openai import OPENAI
from practice.completion import CHAT, Wire, complete
from practice.connection import ConnectionReset, authorization_of, json_response, refusal_response
from practice.errors import RequestRefusedError, malformed, unknown_model, wrong_key
from practice.live_dialects import CONTENT_WIRE, GEMINI_MODELS, MESSAGES_WIRE
from practice.settings import PracticeSettings, WrongSettingsError, settings_of
from practice.state import ServerState

NOTICE = (
    "This is Labelmill's practice provider. It is not a language model: it matches words, "
    "plays faults on request, and costs nothing."
)


_DIALECTS = (GEMINI, ANTHROPIC, OPENAI)
"""The last one speaks for every address that none before it claims."""

_WRONG_METHOD = 405

# A large batch takes a while to be worked on, and totals without it would be wrong.
_TOTALS_PATIENCE_SECONDS = 25.0


def make_app(settings: PracticeSettings, folder: Path | None = None) -> FastAPI:
    """The server as an app; `connection.serve` runs it.

    Files and batches are kept in the folder, or without one in a temporary one that `app.state.practice.store`
    removes when it is closed.
    """
    app = FastAPI(title="Labelmill practice provider", openapi_url=None)
    app.state.practice = ServerState(settings, time.monotonic(), folder)
    # Plain routes: FastAPI's own would spend more time on a request than answering it takes.
    app.add_route("/v1/chat/completions", partial(_answer, CHAT), methods=["POST"])
    app.add_route(MESSAGES, partial(_answer, MESSAGES_WIRE), methods=["POST"])
    app.add_route(
        f"{GEMINI_MODELS}/{{model}}:generateContent", partial(_answer, CONTENT_WIRE), methods=["POST"]
    )
    app.add_route(GEMINI_MODELS, _list_gemini_models, methods=["GET"])
    app.add_route("/v1/models", _list_models, methods=["GET"])
    app.add_route("/v1/models/{model:path}", _describe_model, methods=["GET"])
    for dialect in _DIALECTS:
        dialect.add_to(app)
    app.add_route("/practice", _introduce, methods=["GET"])
    app.add_route("/practice/totals", _report_totals, methods=["GET"])
    app.add_route("/practice/reset", _reset, methods=["POST"])
    app.add_route("/practice/settings", _replace_settings, methods=["POST"])
    app.add_exception_handler(HTTPException, _unknown_path)
    return app


async def _unknown_path(request: Request, error: Exception) -> Response:
    """What is not there, in the words of the dialect whose addresses begin so."""
    status = error.status_code if isinstance(error, HTTPException) else 500
    path, method = request.url.path, request.method
    said = (
        f"Not allowed to {method} on {path}." if status == _WRONG_METHOD else f"Invalid URL ({method} {path})"
    )
    dialect = next(dialect for dialect in _DIALECTS if path.startswith(dialect.prefix))
    return dialect.refusal(RequestRefusedError(status, said))


def _state(request: Request) -> ServerState:
    state: ServerState = request.app.state.practice
    return state


async def _answer(wire: Wire, request: Request) -> Response:
    state = _state(request)
    state.totals.arrive()
    status: int | None = None
    try:
        response, status = await complete(state, request, wire)
    except ClientDisconnect:
        # Gone before its request was whole: there is nobody to answer.
        response = ConnectionReset()
    except RequestRefusedError as refusal:
        response = wire.refuse(refusal)
        status = response.status_code
    finally:
        state.totals.leave(status)
    return response


async def _list_models(request: Request) -> Response:
    settings = _state(request).settings
    if not settings.accepts(authorization_of(request)):
        speaks_anthropic = "anthropic-version" in request.headers
        return (MESSAGES_WIRE if speaks_anthropic else CHAT).refuse(wrong_key())
    names = ("practice",) if settings.known_models is None else settings.known_models
    return json_response({"object": "list", "data": [_model(name) for name in names]})


async def _list_gemini_models(request: Request) -> Response:
    settings = _state(request).settings
    if not settings.accepts(authorization_of(request)):
        return CONTENT_WIRE.refuse(wrong_key())
    names = settings.known_models or ("practice",)
    return json_response({"models": [{"name": f"models/{name}"} for name in names]})


async def _describe_model(request: Request) -> Response:
    settings, name = _state(request).settings, request.path_params["model"]
    if not settings.accepts(authorization_of(request)):
        return refusal_response(wrong_key())
    if settings.known_models is not None and name not in settings.known_models:
        return refusal_response(unknown_model(name))
    return json_response(_model(name))


def _model(name: str) -> dict[str, Any]:
    return {"id": name, "object": "model", "created": 0, "owned_by": "labelmill-practice"}


async def _introduce(request: Request) -> Response:
    return json_response({"practice": True, "notice": NOTICE, "totals": await _totals(request)})


async def _report_totals(request: Request) -> Response:
    return json_response(await _totals(request))


async def _totals(request: Request) -> dict[str, Any]:
    state = _state(request)
    await state.work.bring_up([record.id for record in state.store.batches()], _TOTALS_PATIENCE_SECONDS)
    return state.report()


async def _reset(request: Request) -> Response:
    _state(request).reset(time.monotonic())
    return json_response({"practice": True})


async def _replace_settings(request: Request) -> Response:
    try:
        settings = settings_of(object_in(await request.body()))
    except WrongSettingsError as error:
        return refusal_response(malformed(f"These are no practice settings: {error}"))
    except RequestRefusedError as refusal:
        return refusal_response(refusal)
    _state(request).configure(settings, time.monotonic())
    return json_response({"practice": True})
