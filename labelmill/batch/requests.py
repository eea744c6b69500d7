"""The file of requests: a group's texts as the lines that a Batch API takes, as many as one batch may hold."""

import hashlib
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Literal

import polars as pl

from labelmill.batch.groups import RequestGroup
from labelmill.batch.record import REQUESTS_SCHEMA
from labelmill.job.model import LabelJob
from labelmill.live.pace import FIRST_TOKENS_PER_BYTE
from labelmill.money.prices import Price, cost_of
from labelmill.providers.dialect import Dialect
from labelmill.providers.table import provider_of
from labelmill.question.form import AnswerForm, worst_case_of
from labelmill.question.prompt import correction_of, prompt_of
from labelmill.store.files import written_whole

_TEXTS_AT_ONCE = 5_000

Bound = Literal["requests", "bytes", "tokens", "budget"]


@dataclass(frozen=True)
class Room:
    """What the next batch may hold at most; None where there is no limit. `usd` is of its worst case."""

    requests: int
    bytes: int
    tokens: int | None = None
    usd: Decimal | None = None

    def bound_of(self, size: "Size") -> Bound | None:
        """Which limit a batch of that size would pass; None where it fits."""
        if size.requests > self.requests:
            return "requests"
        if size.bytes > self.bytes:
            return "bytes"
        if self.tokens is not None and size.tokens > self.tokens:
            return "tokens"
        if self.usd is not None and (size.worst_case_usd or 0) > self.usd:
            return "budget"
        return None


@dataclass(frozen=True)
class Size:
    """How large a batch is. `tokens` are estimated, `worst_case_usd` is None where the price is unknown."""

    requests: int = 0
    bytes: int = 0
    tokens: int = 0
    worst_case_usd: Decimal | None = Decimal(0)

    def __add__(self, other: "Size") -> "Size":
        costs = (self.worst_case_usd, other.worst_case_usd)
        return Size(
            self.requests + other.requests,
            self.bytes + other.bytes,
            self.tokens + other.tokens,
            None if costs[0] is None or costs[1] is None else costs[0] + costs[1],
        )


@dataclass(frozen=True)
class RequestsFile:
    """A file that was written: its size, the SHA-256 of its content, and what kept it from being longer (None: the end).

    `next_usd` is the worst case of the text that it had no room for, None where there is none or its price is unknown.
    """

    size: Size
    fingerprint: str
    bound: Bound | None
    next_usd: Decimal | None = None


@dataclass(frozen=True)
class NoRoom:
    """What kept even one text from being sent, and what that text may cost at most (None: its price is unknown)."""

    bound: Bound
    worst_case_usd: Decimal | None = None


class RequestWriter:
    """Writes the requests of a job in one form, in its provider's dialect: where there is a live lane, its very bodies.

    Args:
        job: what is asked.
        base_url: where the requests go; endpoints differ in the names of settings.
        price: the batch lane's.
        is_correction: whether the texts are asked again after an answer that was no label.
        under_schema: whether they are bound as corrections are, whatever the job's own form is.
        dialect: what is known of the endpoint's; its provider's usual one unless given.
        widened: gives a form the room for thoughts that there is now.
    """

    def __init__(  # noqa: PLR0913  (a request is told by all of these)
        self,
        job: LabelJob,
        base_url: str,
        price: Price | None,
        *,
        is_correction: bool,
        under_schema: bool,
        dialect: Dialect | None = None,
        widened: Callable[[AnswerForm], AnswerForm] = lambda form: form,
    ) -> None:
        self._job = job
        self._price = price
        self._is_correction = is_correction
        self._dialect = dialect or provider_of(job.model).dialect
        self.form = widened(self._dialect.form_of(job, is_correction=under_schema))
        self._prompt = prompt_of(job)
        self._line_of = provider_of(job.model).batch_lines(job, base_url, self.form)

    def line_of(self, row_key: str, text: str, problem: str | None) -> tuple[bytes, Size]:
        """One text as a line of the file, and what it adds to the batch."""
        correction = [("human", correction_of(self._job, problem))] if self._is_correction and problem else []
        messages = self._dialect.arranged(self._prompt.format_messages(text=text, correction=correction))
        line = json.dumps(self._line_of(row_key, messages), ensure_ascii=False) + "\n"
        extra = self._job.model.extra_body
        worst = worst_case_of(messages, self.form.max_tokens, self.form.bound_by, extra)
        tokens = round(worst.input_tokens * FIRST_TOKENS_PER_BYTE)
        encoded = line.encode(errors="replace")
        return encoded, Size(1, len(encoded), tokens, cost_of(worst, self._price))

    def write(
        self, group: RequestGroup, offset: int, room: Room, path: Path, row_keys_path: Path
    ) -> RequestsFile:
        """Write a group's texts from `offset` on, as far as there is room, and beside them their row keys.

        A file without a request is written too, where not even one fits; its size says so.
        """
        size, bound, next_usd, digest = Size(), None, None, hashlib.sha256()
        with path.open("wb") as file:
            for row_key, text, problem in _texts_of(group, offset):
                line, more = self.line_of(row_key, text, problem)
                if bound := room.bound_of(size + more):
                    next_usd = more.worst_case_usd
                    break
                file.write(line)
                digest.update(line)
                size = size + more
        with written_whole(row_keys_path) as temporary:
            _scan(group).slice(offset, size.requests).select(REQUESTS_SCHEMA.names()).sink_parquet(
                temporary, maintain_order=True
            )
        return RequestsFile(size, digest.hexdigest(), bound, next_usd)


def _scan(group: RequestGroup) -> pl.LazyFrame:
    return pl.scan_parquet(group.path, glob=False, hive_partitioning=False)


def _texts_of(group: RequestGroup, offset: int) -> Iterator[tuple[str, str, str | None]]:
    for start in range(offset, group.texts, _TEXTS_AT_ONCE):
        yield from (
            _scan(group)
            .slice(start, _TEXTS_AT_ONCE)
            .select("row_key", "text", "problem")
            .collect()
            .iter_rows()
        )
