"""HTTP answers that say who gives them."""

import json
from collections.abc import Mapping
from typing import Any

from starlette.responses import Response

from practice.errors import RequestRefusedError

PRACTICE_HEADERS = {"x-labelmill-practice": "not a language model"}


def json_response(
    body: Mapping[str, Any], status: int = 200, headers: Mapping[str, str] | None = None
) -> Response:
    """A JSON answer with the header that tells practice from a real provider."""
    return Response(encoded(body), status, PRACTICE_HEADERS | dict(headers or {}), "application/json")


def refusal_response(refusal: RequestRefusedError) -> Response:
    """An error as OpenAI sends it."""
    return json_response(refusal.body, refusal.status, refusal.headers)


def encoded(body: Mapping[str, Any]) -> bytes:
    """A body as JSON: in ASCII, since a label may hold half a surrogate pair, which UTF-8 cannot."""
    return json.dumps(body, separators=(",", ":")).encode("ascii")
