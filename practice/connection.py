"""HTTP on loopback: answers that say who gives them, and the two things a well-behaved server never does."""

import asyncio
import json
import socket
import struct
from collections.abc import Mapping
from typing import Any

import uvicorn
from fastapi import FastAPI, Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send
from uvicorn.protocols.http.h11_impl import H11Protocol

from practice.errors import RequestRefusedError

HOST = "127.0.0.1"
"""The only address there is: practice is for this machine."""

_BACKLOG = 2048
_LINGER_NOT = struct.pack("ii", 1, 0)


class PracticeProtocol(H11Protocol):
    """HTTP that hands the connection to the handlers, so that a fault can end it."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Put the connection where handlers find it."""
        super().connection_made(transport)
        self.app_state = self.app_state | {"transport": transport}


def transport_of(scope: Scope) -> asyncio.Transport | None:
    """The connection a request came on; None under another server than `serve`'s."""
    state: dict[str, Any] = scope.get("state", {})
    return state.get("transport")


class ConnectionReset(Response):
    """The connection is reset without an answer."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG002
        """Reset it, and wait until it is gone: an open connection would get a 500."""
        transport = transport_of(scope)
        if transport is not None:
            raw = transport.get_extra_info("socket")
            # Closing without lingering sends RST, as a crashed proxy does.
            raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _LINGER_NOT)
            transport.abort()
            await _gone(receive)


class CutOffResponse(Response):
    """An answer whose second half never comes."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Promise the whole body, send half of it, close."""
        body = bytes(self.body)
        await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
        await send({"type": "http.response.body", "body": body[: len(body) // 2], "more_body": True})
        transport = transport_of(scope)
        if transport is not None:
            transport.close()
            await _gone(receive)


async def wait_until_gone(receive: Receive, seconds: float) -> bool:
    """Wait this long, or until the client closes the connection; True if it did."""
    try:
        async with asyncio.timeout(seconds):
            await _gone(receive)
    except TimeoutError:
        return False
    return True


async def _gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


def listen(port: int) -> socket.socket:
    """A listening socket on loopback; port 0 takes a free one.

    Raises:
        OSError: the port is taken.
    """
    # The protocol is named because asyncio turns Nagle's delay (40 ms an answer) off only where it is.
    listening = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listening.bind((HOST, port))
        # Listening at once: a client that knows the port waits for the server instead of being turned away.
        listening.listen(_BACKLOG)
    except OSError:
        listening.close()
        raise
    return listening


def serve(app: FastAPI, listening: socket.socket) -> None:
    """Answer on this socket until the process is told to stop."""
    config = uvicorn.Config(
        app,
        http=PracticeProtocol,
        ws="none",
        loop="asyncio",
        lifespan="off",
        log_config=None,
        log_level="error",
        access_log=False,
        server_header=False,
        backlog=_BACKLOG,
        # Longer than clients keep idle connections, so that none is closed under a request.
        timeout_keep_alive=600,
        timeout_graceful_shutdown=1,
    )
    uvicorn.Server(config).run(sockets=[listening])


def authorization_of(request: Request) -> str | None:
    """The key of a request as an Authorization header has it, in whichever header its dialect puts it."""
    key = request.headers.get("x-api-key") or request.headers.get("x-goog-api-key")
    return request.headers.get("authorization") if key is None else f"Bearer {key}"


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
