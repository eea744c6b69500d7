"""The frame around each call of the Batch API: the key, the count, and what the settings do to its answer."""

from collections.abc import Awaitable, Callable

from fastapi import Request
from starlette.requests import ClientDisconnect
from starlette.responses import Response

from practice.connection import ConnectionReset, wait_until_gone
from practice.errors import RequestRefusedError, wrong_key
from practice.responses import refusal_response
from practice.settings import BatchStep, StepFault
from practice.state import ServerState

Answering = Callable[[ServerState, Request], Awaitable[Response]]
Handler = Callable[[Request], Awaitable[Response]]
Refusing = Callable[[RequestRefusedError], Response]


def route_of(step: BatchStep | None, answering: Answering, refusing: Refusing = refusal_response) -> Handler:
    """A route that answers, counting and disturbing the calls of its step; `refusing` says no in a dialect's words.

    What was asked for is done before its answer is held back or lost: that is when clients must not do it
    again. Refusals go out at once.
    """

    async def handle(request: Request) -> Response:
        state: ServerState = request.app.state.practice
        call = None if step is None else state.count_call(step)
        try:
            if not state.settings.accepts(_authorization(request)):
                # The body first: an error sent over an unread body may reach no client.
                async for _ in request.stream():
                    pass
                raise wrong_key()
            response = await answering(state, request)
        except ClientDisconnect:
            return ConnectionReset()
        except RequestRefusedError as refusal:
            return refusing(refusal)
        try:
            if step is not None and call is not None and await _is_lost(state, request, step, call):
                return ConnectionReset()
        except RequestRefusedError as refusal:
            return refusing(refusal)
        return response

    return handle


def _authorization(request: Request) -> str | None:
    """The key of a request, in whichever header its dialect puts it."""
    key = request.headers.get("x-api-key") or request.headers.get("x-goog-api-key")
    return request.headers.get("authorization") if key is None else f"Bearer {key}"


async def _is_lost(state: ServerState, request: Request, step: BatchStep, call: int) -> bool:
    """Hold an answer back as the settings say; True where the connection is to be reset in its place.

    Raises:
        RequestRefusedError: an error goes out in its place.
    """
    settings = state.settings
    if (seconds := settings.batch_hold_seconds.get(step, 0.0)) > 0:
        await wait_until_gone(request.receive, seconds)
    fault = settings.batch_errors.get(step)
    if fault is None or call > settings.batch_error_calls:
        return False
    if fault is StepFault.CONNECTION_RESET:
        return True
    message = "The server had an error while processing your request (a practice fault)."
    raise RequestRefusedError(500, message, "server_error", "server_error")
