"""One chat request from arrival to answer."""

import asyncio
import json
import time
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from fastapi import Request
from starlette.responses import Response, StreamingResponse

from practice.connection import (
    PRACTICE_HEADERS,
    ConnectionReset,
    CutOffResponse,
    authorization_of,
    encoded,
    refusal_response,
    transport_of,
    wait_until_gone,
)
from practice.dice import fault_of, latency_of, text_key_of
from practice.errors import (
    RequestRefusedError,
    error_of,
    malformed,
    quota_exhausted,
    unknown_model,
    wrong_key,
)
from practice.odd_answers import Completion, completion_to
from practice.question import Question, read_question
from practice.refused_fields import refuse_fields
from practice.settings import FaultKind
from practice.state import ServerState
from practice.streaming import events_of

Outcome = tuple[Response, int | None]
"""What goes out, and its HTTP status; None where nothing reaches the client."""

# A real provider turns these away at the door; every other request takes its time.
_AT_ONCE = frozenset({FaultKind.RATE_LIMITED, FaultKind.RATE_LIMITED_BARE})

# A real provider bills these, but their usage never reaches the client.
_UNSEEN = frozenset({FaultKind.BAD_JSON, FaultKind.CUT_OFF})


@dataclass(frozen=True)
class Asked:
    """A request, read. `marked` is the beginning of its prompt that is to be cached, where the client says which."""

    question: Question
    marked: str | None = None


def _read_chat(_: Request, raw: bytes) -> Asked:
    return Asked(read_question(json_in(raw)))


@dataclass(frozen=True)
class Wire:
    """How a live request and its answer stand on the wire: OpenAI's way unless something else is said.

    Attributes:
        read: takes a request apart; it raises RequestRefusedError where it is none.
        write: puts a chat completion into the dialect's words.
        refuse: puts a no into them.
        headers: puts OpenAI's headers on limits into them.
        has_marks: whether what is cached is what clients mark, and nothing else.
        words_only: whether odd answers are a matter of words alone.
    """

    read: Callable[[Request, bytes], Asked] = _read_chat
    write: Callable[[Mapping[str, Any]], Mapping[str, Any]] = field(default=lambda body: body)
    refuse: Callable[[RequestRefusedError], Response] = refusal_response
    headers: Callable[[Mapping[str, str]], dict[str, str]] = dict
    has_marks: bool = False
    words_only: bool = False


CHAT = Wire()


@dataclass(frozen=True)
class Fate:
    """What the dice and the limits say about a request that was let in."""

    fault: FaultKind | None
    latency_seconds: float
    text_key: str
    attempt: int
    headers: dict[str, str]


async def complete(state: ServerState, request: Request, wire: Wire = CHAT) -> Outcome:
    """Answer a request, or fail as the settings tell.

    Requests turned away at the door (key, body, model, quota, limits) count as no attempt: faults must not
    depend on the order of arrival.

    Raises:
        RequestRefusedError: the request gets an error.
    """
    settings = state.settings
    # The body first: an error sent over an unread body may reach no client.
    raw = await request.body()
    if not settings.accepts(authorization_of(request)):
        raise wrong_key()
    asked = wire.read(request, raw)
    if settings.refused_fields:
        refuse_fields(json_in(raw), settings)
    question = asked.question
    if settings.known_models is not None and question.model not in settings.known_models:
        raise unknown_model(question.model)
    fate = _admitted(state, question)
    await _take_time(request, fate, settings.hang_seconds)
    if fate.fault is FaultKind.CONNECTION_RESET:
        return ConnectionReset(), None
    if (
        fate.fault is not None
        and (error := error_of(fate.fault, settings, question.input_tokens)) is not None
    ):
        error.headers.update(fate.headers)
        raise error
    # Again: others were answered while this one waited.
    if state.quota_is_spent():
        raise quota_exhausted()
    return _answered(state, request, asked, fate, wire)


def _admitted(state: ServerState, question: Question) -> Fate:
    if state.quota_is_spent():
        raise quota_exhausted()
    state.limits.admit(question.input_tokens, time.monotonic())
    text_key = text_key_of(question.text)
    attempt = state.count_attempt(text_key)
    fault = fault_of(state.settings, text_key, attempt)
    if fault is not None:
        state.totals.play(fault)
    latency_seconds = latency_of(state.settings, text_key, attempt)
    return Fate(fault, latency_seconds, text_key, attempt, state.limits.headers())


def json_in(raw: bytes) -> Any:
    """The JSON of a request's body.

    Raises:
        RequestRefusedError: it is none.
    """
    try:
        return json.loads(raw)
    except (ValueError, RecursionError):
        raise malformed("The body is not JSON.") from None


async def _take_time(request: Request, fate: Fate, hang_seconds: float) -> None:
    if fate.fault is FaultKind.HANG:
        await wait_until_gone(request.receive, fate.latency_seconds + hang_seconds)
    elif fate.fault not in _AT_ONCE and fate.latency_seconds > 0:
        await asyncio.sleep(fate.latency_seconds)


def _answered(state: ServerState, request: Request, asked: Asked, fate: Fate, wire: Wire) -> Outcome:
    question, written_tokens = asked.question, 0
    if wire.has_marks:
        cached_tokens, written_tokens = state.prefixes.marked_tokens(question.model, asked.marked)
    else:
        cached_tokens = state.prefixes.cached_tokens_of(question)
    completion = completion_to(
        question,
        state.settings,
        fate.text_key,
        fate.attempt,
        fault=fate.fault,
        cached_tokens=cached_tokens,
        # The other oddities are of a body that comes whole.
        words_only=wire.words_only or question.stream is not None,
    )
    if written_tokens:
        completion.body["usage"]["prompt_tokens_details"]["cache_write_tokens"] = written_tokens
    transport = transport_of(request.scope)
    is_gone = transport is not None and transport.is_closing()
    seen = not is_gone and fate.fault not in _UNSEEN
    _bill(state, question, completion, written_tokens, seen=seen)
    if completion.is_right and not is_gone:
        state.paid.add_live(fate.text_key)
    headers, status = PRACTICE_HEADERS | wire.headers(fate.headers), None if is_gone else 200
    if question.stream is None:
        pieces, kind = [encoded(wire.write(completion.body))], "application/json"
    else:
        pieces = list(events_of(completion.body, includes_usage=question.stream.includes_usage))
        kind = "text/event-stream"
    if fate.fault is FaultKind.CUT_OFF:
        return CutOffResponse(b"".join(pieces), 200, headers, kind), status
    if fate.fault is FaultKind.BAD_JSON:
        body = b"".join(pieces)
        pieces = [body[: len(body) // 2]]
    if len(pieces) > 1:
        return StreamingResponse(_in_turn(pieces), 200, headers, kind), status
    return Response(pieces[0], 200, headers, kind), status


async def _in_turn(pieces: list[bytes]) -> AsyncIterator[bytes]:
    for piece in pieces:
        yield piece


def _bill(
    state: ServerState, question: Question, completion: Completion, written_tokens: int, *, seen: bool
) -> None:
    """Count an answer and its tokens; `seen` if it goes out to the client."""
    output_tokens = completion.output_tokens
    state.limits.settle(output_tokens)
    state.totals.give(completion.odd, is_right=completion.is_right)
    state.totals.bill(
        question.input_tokens,
        completion.cached_input_tokens,
        output_tokens,
        written_tokens,
        seen=seen and completion.is_told and (question.stream is None or question.stream.includes_usage),
    )
