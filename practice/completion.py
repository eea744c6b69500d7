"""One chat request from arrival to answer."""

import asyncio
import json
import time
from dataclasses import dataclass

from fastapi import Request
from starlette.responses import Response

from practice.connection import ConnectionReset, CutOffResponse, transport_of, wait_until_gone
from practice.dice import fault_of, latency_of, text_key_of
from practice.errors import malformed, quota_exhausted, unknown_model, wrong_key
from practice.fault_errors import error_of
from practice.odd_answers import Completion, completion_to
from practice.prompt_reading import Question, read_question
from practice.responses import PRACTICE_HEADERS, encoded
from practice.settings import FaultKind
from practice.state import ServerState

Outcome = tuple[Response, int | None]
"""What goes out, and its HTTP status; None where nothing reaches the client."""

# A real provider turns these away at the door; every other request takes its time.
_AT_ONCE = frozenset({FaultKind.RATE_LIMITED, FaultKind.RATE_LIMITED_BARE})

# A real provider bills these, but their usage never reaches the client.
_UNSEEN = frozenset({FaultKind.BAD_JSON, FaultKind.CUT_OFF})


@dataclass(frozen=True)
class Fate:
    """What the dice and the limits say about a request that was let in."""

    fault: FaultKind | None
    latency_seconds: float
    text_key: str
    attempt: int
    headers: dict[str, str]


async def complete(state: ServerState, request: Request) -> Outcome:
    """Answer a chat request, or fail as the settings tell.

    Requests turned away at the door (key, body, model, quota, limits) count as no attempt: faults must not
    depend on the order of arrival.

    Raises:
        RequestRefusedError: the request gets an error.
    """
    settings = state.settings
    # The body first: an error sent over an unread body may reach no client.
    raw = await request.body()
    if not settings.accepts(request.headers.get("authorization")):
        raise wrong_key()
    question = _question(raw)
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
    return _answered(state, request, question, fate)


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


def _question(raw: bytes) -> Question:
    try:
        body = json.loads(raw)
    except (ValueError, RecursionError):
        raise malformed("The body is not JSON.") from None
    return read_question(body)


async def _take_time(request: Request, fate: Fate, hang_seconds: float) -> None:
    if fate.fault is FaultKind.HANG:
        await wait_until_gone(request.receive, fate.latency_seconds + hang_seconds)
    elif fate.fault not in _AT_ONCE and fate.latency_seconds > 0:
        await asyncio.sleep(fate.latency_seconds)


def _answered(state: ServerState, request: Request, question: Question, fate: Fate) -> Outcome:
    cached_tokens = state.prefixes.cached_tokens_of(question)
    completion = completion_to(
        question,
        state.settings,
        fate.text_key,
        fate.attempt,
        fault=fate.fault,
        cached_tokens=cached_tokens,
    )
    transport = transport_of(request.scope)
    is_gone = transport is not None and transport.is_closing()
    _bill(state, question, completion, seen=not is_gone and fate.fault not in _UNSEEN)
    if completion.is_right and not is_gone:
        state.paid.add_live(fate.text_key)
    body = encoded(completion.body)
    if fate.fault is FaultKind.BAD_JSON:
        body = body[: len(body) // 2]
    kind = CutOffResponse if fate.fault is FaultKind.CUT_OFF else Response
    headers = PRACTICE_HEADERS | fate.headers
    return kind(body, 200, headers, "application/json"), None if is_gone else 200


def _bill(state: ServerState, question: Question, completion: Completion, *, seen: bool) -> None:
    """Count an answer and its tokens; `seen` if it goes out to the client."""
    output_tokens = completion.output_tokens
    state.limits.settle(output_tokens)
    state.totals.give(completion.odd, is_right=completion.is_right)
    state.totals.bill(
        question.input_tokens,
        completion.cached_input_tokens,
        output_tokens,
        seen=seen and completion.is_told,
    )
