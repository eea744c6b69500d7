"""The rows of a batch: each is answered as the same request would be live.

A fault that is an error puts its row into the error file. `connection_reset` and `hang`, which have no
meaning in a file, are a 500 there. `bad_json` and `cut_off` make a row that is billed and stands in no file. Odd answers
stand as they are in OpenAI's batches; the other dialects, whose form is another, have those that are a matter of words.
"""

import json
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from hashlib import blake2b
from pathlib import Path
from typing import Any, BinaryIO

from practice.batches.store import CHAT, Bill
from practice.connection import encoded
from practice.dice import fault_of, roll, text_key_of
from practice.errors import RequestRefusedError, error_of, malformed, quota_exhausted
from practice.odd_answers import completion_to
from practice.prefixes import PrefixMemory
from practice.question import Question, read_question
from practice.refused_fields import refuse_fields
from practice.settings import FaultKind, PracticeSettings

_AS_SERVER_ERROR = frozenset({FaultKind.CONNECTION_RESET, FaultKind.HANG})
_AS_MISSING = frozenset({FaultKind.BAD_JSON, FaultKind.CUT_OFF})

# Some 2 ms of work, between which requests of others are answered.
_ROWS_A_TURN = 16

_NOT_RUN = {
    "expired": ("batch_expired", "This request could not be executed before the completion window expired."),
    "cancelled": ("batch_cancelled", "This request was not executed because the batch was cancelled."),
}


@dataclass(frozen=True)
class BatchTask:
    """What is to be done: the first `finishing` rows, in the order of working, are answered."""

    batch_id: str
    status: str
    finishing: int
    settings: PracticeSettings
    quota_left: int | None
    """How many answers are paid for; None for any number."""
    count_attempt: Callable[[str], int]
    """By the key of a text: 1 for its first attempt."""
    is_wanted: Callable[[], bool]
    """Whether to go on."""


@dataclass
class Tally:
    """What answering came to."""

    failed: int = 0
    rows: int = 0
    rows_missing: int = 0
    input_tokens: int = 0
    cached_input_tokens: int = 0
    output_tokens: int = 0
    unseen_input_tokens: int = 0
    unseen_output_tokens: int = 0
    odd_answers: Counter[str] = field(default_factory=Counter)
    odd_answers_right: Counter[str] = field(default_factory=Counter)
    faults: Counter[FaultKind] = field(default_factory=Counter)
    texts: list[tuple[str, bool]] = field(default_factory=list)
    """The key of each text that was asked, and whether it got a sound answer."""

    def bill(self) -> Bill:
        """The part of it that is paid for."""
        return Bill(**{name: getattr(self, name) for name in Bill.model_fields})


def answer_rows(task: BatchTask, source: Path, output: Path, errors: Path) -> Tally | None:
    """Write the output and the error file of a batch, a row at a time; None if it was no longer wanted.

    It takes a while: call it from a thread.
    """
    answering = _Answering(task)
    places = _places(source, task.settings)
    with source.open("rb") as lines, output.open("wb") as answered, errors.open("wb") as failed:
        for rank, (number, start) in enumerate(places):
            lines.seek(start)
            asked = json.loads(lines.readline())
            if rank < task.finishing:
                answering.answer(asked, number, answered, failed)
            else:
                answering.leave(asked, number, failed)
            if not task.is_wanted():
                return None
            if rank % _ROWS_A_TURN == 0:
                # The event loop gets its turn: it shares one interpreter lock with this thread.
                time.sleep(0)
    return answering.tally


def _places(source: Path, settings: PracticeSettings) -> list[tuple[int, int]]:
    """Number and start of each row, in the order in which they are worked on."""
    places = []
    start = 0
    with source.open("rb") as lines:
        for number, line in enumerate(lines, 1):
            if line.strip():
                places.append((number, start))
            start += len(line)
    if settings.batch_shuffled:
        places.sort(key=lambda place: roll(settings.seed, "order", place[0]))
    return places


class _Answering:
    """One batch being worked on."""

    def __init__(self, task: BatchTask) -> None:
        self.task = task
        self.tally = Tally()
        # Its own memory of prompts: what is cached in a batch must not depend on what runs beside it.
        self.prefixes = PrefixMemory()

    def answer(self, asked: dict[str, Any], number: int, answered: BinaryIO, failed: BinaryIO) -> None:
        """Work on one row."""
        try:
            refuse_fields(asked["body"], self.task.settings)
            body = self._completion(read_question(asked["body"]), words_only=asked["url"] != CHAT)
        except RequestRefusedError as refusal:
            self.tally.failed += 1
            failed.write(self._line(asked, number, (refusal.status, refusal.body)))
            return
        if body is not None:
            answered.write(self._line(asked, number, (200, body)))

    def leave(self, asked: dict[str, Any], number: int, failed: BinaryIO) -> None:
        """A row that is not worked on any more."""
        code, message = _NOT_RUN[self.task.status]
        self.tally.failed += 1
        failed.write(self._line(asked, number, None, {"code": code, "message": message}))

    def _completion(self, question: Question, *, words_only: bool) -> dict[str, Any] | None:
        """The body of an answer, or None for one that is billed and not handed over."""
        settings, tally = self.task.settings, self.tally
        if question.stream is not None:
            raise malformed("A batch does not stream: leave 'stream' out.", "stream")
        if self.task.quota_left is not None and tally.rows >= self.task.quota_left:
            raise quota_exhausted()
        text_key = text_key_of(question.text)
        attempt = self.task.count_attempt(text_key)
        fault = fault_of(settings, text_key, attempt)
        if fault is not None:
            tally.faults[fault] += 1
            played = FaultKind.SERVER_ERROR if fault in _AS_SERVER_ERROR else fault
            if (error := error_of(played, settings, question.input_tokens)) is not None:
                tally.texts.append((text_key, False))
                raise error
        completion = completion_to(
            question,
            settings,
            text_key,
            attempt,
            fault=fault,
            cached_tokens=self.prefixes.cached_tokens_of(question),
            words_only=words_only,
        )
        is_missing = fault in _AS_MISSING or (
            attempt == 1 and roll(settings.seed, "missing", text_key) < settings.batch_missing_fraction
        )
        tally.rows += 1
        tally.rows_missing += is_missing
        tally.input_tokens += question.input_tokens
        tally.cached_input_tokens += completion.cached_input_tokens
        tally.output_tokens += completion.output_tokens
        if is_missing or not completion.is_told:
            tally.unseen_input_tokens += question.input_tokens
            tally.unseen_output_tokens += completion.output_tokens
        if completion.odd is not None:
            tally.odd_answers[completion.odd] += 1
            tally.odd_answers_right.update([completion.odd] if completion.is_right and not is_missing else [])
        tally.texts.append((text_key, completion.is_right and not is_missing))
        return None if is_missing else completion.body

    def _line(
        self,
        asked: dict[str, Any],
        number: int,
        answer: tuple[int, dict[str, Any]] | None,
        error: dict[str, Any] | None = None,
    ) -> bytes:
        name = blake2b(f"{self.task.batch_id} {number}".encode(), digest_size=16).hexdigest()
        response = None
        if answer is not None:
            response = {"status_code": answer[0], "request_id": f"req_{name}", "body": answer[1]}
        said = {
            "id": f"batch_req_{name}",
            "custom_id": asked["custom_id"],
            "response": response,
            "error": error,
        }
        return encoded(said) + b"\n"
