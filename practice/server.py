"""The practice provider: an OpenAI-compatible server that is no language model, and says so.

Its batches can be had in Anthropic's and in Gemini's words too.
"""

import json
import time
from pathlib import Path
from typing import Any

from fastapi import FastAPI, Request
from pydantic import ValidationError
from starlette.requests import ClientDisconnect
from starlette.responses import Response

from practice.batches.gemini_routes import add_gemini_routes
from practice.batches.message_routes import add_message_routes
from practice.batches.routes import add_batch_routes
from practice.completion import complete
from practice.connection import ConnectionReset
from practice.errors import RequestRefusedError, malformed, wrong_key
from practice.responses import json_response, refusal_response
from practice.settings import PracticeSettings
from practice.state import ServerState

NOTICE = (
    "This is Labelmill's practice provider. It is not a language model: it matches words, "
    "plays faults on request, and costs nothing."
)


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
    app.add_route("/v1/chat/completions", _create_completion, methods=["POST"])
    app.add_route("/v1/models", _list_models, methods=["GET"])
    add_batch_routes(app)
    add_message_routes(app)
    add_gemini_routes(app)
    app.add_route("/practice", _introduce, methods=["GET"])
    app.add_route("/practice/totals", _report_totals, methods=["GET"])
    app.add_route("/practice/reset", _reset, methods=["POST"])
    app.add_route("/practice/settings", _replace_settings, methods=["POST"])
    return app


def _state(request: Request) -> ServerState:
    state: ServerState = request.app.state.practice
    return state


async def _create_completion(request: Request) -> Response:
    state = _state(request)
    state.totals.arrive()
    status: int | None = None
    try:
        response, status = await complete(state, request)
    except ClientDisconnect:
        # Gone before its request was whole: there is nobody to answer.
        response = ConnectionReset()
    except RequestRefusedError as refusal:
        status = refusal.status
        response = refusal_response(refusal)
    finally:
        state.totals.leave(status)
    return response


async def _list_models(request: Request) -> Response:
    settings = _state(request).settings
    if not settings.accepts(request.headers.get("authorization")):
        return refusal_response(wrong_key())
    names = ("practice",) if settings.known_models is None else settings.known_models
    models = [
        {"id": name, "object": "model", "created": 0, "owned_by": "labelmill-practice"} for name in names
    ]
    return json_response({"object": "list", "data": models})


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
        settings = PracticeSettings.model_validate_json(await request.body())
    except ValidationError as error:
        wrong: list[dict[str, Any]] = json.loads(error.json(include_url=False, include_context=False))
        said = "; ".join(f"{'.'.join(map(str, one['loc'])) or 'settings'}: {one['msg']}" for one in wrong)
        return refusal_response(malformed(f"These are no practice settings: {said}"))
    _state(request).configure(settings, time.monotonic())
    return json_response({"practice": True})
