"""The frame around each call of the Batch API: the key, the count, and what the settings do to its answer."""

from collections.abc import Awaitable, Callable

from fastapi import Request
from starlette.requests import ClientDisconnect
from starlette.responses import Response

from labelmill.practice.batches.kinds import BatchStep, StepFault
from labelmill.practice.connection import ConnectionReset, wait_until_gone
from labelmill.practice.desk import Desk
from labelmill.practice.errors import RequestRefusedError, wrong_key
from labelmill.practice.responses import refusal_response

Answering = Callable[[Desk, Request], Awaitable[Response]]
Handler = Callable[[Request], Awaitable[Response]]


def route_of(step: BatchStep | None, answering: Answering) -> Handler:
    """A route that answers, counting and disturbing the calls of its step.

    What was asked for is done before its answer is held back or lost: that is when clients must not do it
    again. Refusals go out at once.
    """

    async def handle(request: Request) -> Response:
        desk: Desk = request.app.state.desk
        call = None if step is None else desk.count_call(step)
        try:
            if not desk.settings.accepts(request.headers.get("authorization")):
                # The body first: an error sent over an unread body may reach no client.
                async for _ in request.stream():
                    pass
                raise wrong_key()
            response = await answering(desk, request)
        except ClientDisconnect:
            return ConnectionReset()
        except RequestRefusedError as refusal:
            return refusal_response(refusal)
        return (
            response
            if step is None or call is None
            else await _disturbed(desk, request, step, call, response)
        )

    return handle


async def _disturbed(
    desk: Desk, request: Request, step: BatchStep, call: int, response: Response
) -> Response:
    settings = desk.settings
    if (seconds := settings.batch_hold_seconds.get(step, 0.0)) > 0:
        await wait_until_gone(request.receive, seconds)
    fault = settings.batch_errors.get(step)
    if fault is None or call > settings.batch_error_calls:
        return response
    if fault is StepFault.CONNECTION_RESET:
        return ConnectionReset()
    message = "The server had an error while processing your request (a practice fault)."
    return refusal_response(RequestRefusedError(500, message, "server_error", "server_error"))
