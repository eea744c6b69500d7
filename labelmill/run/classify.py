"""Classifying a chunk: `chain.batch` and its follow-ups, every attempt into the journal, the journal into the ledger."""

import itertools
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from decimal import Decimal
from functools import partial
from pathlib import Path
from typing import Any

from langchain_core.runnables import RunnableConfig

from labelmill.dataset.plan import Chunk, read_chunk, read_tried
from labelmill.errors import RunStopped
from labelmill.live.follow_ups import ChunkFollowUps
from labelmill.live.questions import Counts, Question, configs_of, counts_of, question_of
from labelmill.money.usage import Usage
from labelmill.question.attempts import Attempt, Tried
from labelmill.run.context import RunContext
from labelmill.store.journal import Journal

_LEAD = 3
"""Texts per request in flight that a chunk has left when the next one begins."""


@dataclass(frozen=True)
class ChunkReceipt:
    """What came of a chunk: its texts by outcome, and its seconds. Money and tokens are in the ledger."""

    chunk: int
    texts: int
    labeled: int
    failed: int
    seconds: float

    @property
    def pending(self) -> int:
        """Texts that were not asked, or not to the end, because the run stopped."""
        return self.texts - self.labeled - self.failed


def classify_chunk(context: RunContext, texts: Path, chunk: Chunk) -> ChunkReceipt:
    """Ask for a chunk's labels and leave them in the ledger.

    It begins once few texts of the chunk before it are left. However it ends, every attempt that was made is in the ledger
    part, or in the journal for the next run to fold in.

    Raises:
        OSError: the journal or the ledger part can't be written; the run is stopped.
    """
    context.turns.begin(chunk.number)
    try:
        started = time.monotonic()
        rows = read_chunk(texts, chunk)
        tried = read_tried(texts, [key for key, _ in rows])
        with kept_journal(context, chunk.number, tried, _passing_on(context, chunk)):
            counts = _ask(context, chunk, rows, tried)
    finally:
        context.turns.end(chunk.number)
    return ChunkReceipt(chunk.number, chunk.texts, counts.labeled, counts.failed, time.monotonic() - started)


@dataclass(frozen=True)
class ChunkRecorder:
    """Keeps a chunk's attempts in its journal, and lets the run's progress tell of them.

    `tried` is what the ledger knows of its texts; `on_sent` is told of each request that goes out.
    """

    context: RunContext
    journal: Journal
    tried: Mapping[str, Tried] = field(default_factory=dict)
    on_sent: Callable[[], None] = field(default=lambda: None)

    def note_sent(self, row_key: str, worst_cost_usd: Decimal | None) -> None:
        """Note that a request goes out, so that it is in the bill also where nobody sees what comes of it.

        Raises:
            OSError: the journal can't be written; the run is stopped.
        """
        with self._stopping():
            self.journal.note_sent(row_key, worst_cost_usd)
        self.on_sent()

    def record(self, attempt: Attempt) -> None:
        """Write an attempt into the journal.

        Raises:
            OSError: the journal can't be written; the run is stopped.
        """
        known = self.tried.get(attempt.row_key)
        if known is not None:
            attempt = replace(attempt, answers_before=known.answers, paid_before=known.paid_attempts)
        with self._stopping():
            self.journal.append(attempt)
        if attempt.usage != Usage():
            self.context.progress.pay(attempt.cost_usd)
        if attempt.label is not None:
            self.context.progress.add(labeled=1)

    def paid_before(self, row_key: str) -> int:
        """How many requests of earlier runs may have been paid and gave no answer."""
        known = self.tried.get(row_key)
        return known.paid_attempts if known else 0

    def earlier_refusals(self, row_key: str) -> int:
        """How many earlier runs refused the text while they labeled others."""
        known = self.tried.get(row_key)
        return known.refusals if known else 0

    @contextmanager
    def _stopping(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            words = f"{self.journal.path} can't be written: {error.strerror or error}"
            self.context.stop_signal.stop(RunStopped("failed", words))
            raise


@contextmanager
def kept_journal(
    context: RunContext,
    chunk: int,
    tried: Mapping[str, Tried] | None = None,
    on_sent: Callable[[], None] = lambda: None,
) -> Iterator[None]:
    """Keep a chunk's attempts in a journal, which becomes a ledger part however the block ends.

    What the block raises stops the run.
    """
    try:
        with Journal(context.ledger.journal_path(context.run_id, chunk)) as journal:
            try:
                with context.guard.recording(chunk, ChunkRecorder(context, journal, tried or {}, on_sent)):
                    yield
            finally:
                context.ledger.add(journal, context.job.run)
    except OSError as error:
        context.stop_signal.stop(
            RunStopped("failed", f"{context.folder.place} can't be written: {error.strerror or error}")
        )
        raise
    except Exception as error:
        context.stop_signal.stop(RunStopped("failed", f"{type(error).__name__}: {error}"))
        raise


def _passing_on(context: RunContext, chunk: Chunk) -> Callable[[], None]:
    """Lets the next chunk begin once few texts of this one are left; to be told of each request."""
    few = chunk.texts - _LEAD * context.job.run.max_concurrency
    if few <= 0:
        context.turns.pass_on(chunk.number)
    sent = itertools.count(1)

    def on_sent() -> None:
        if next(sent) == few:
            context.turns.pass_on(chunk.number)

    return on_sent


def _ask(
    context: RunContext, chunk: Chunk, rows: list[tuple[str, str]], tried: Mapping[str, Tried]
) -> Counts:
    if context.stop_signal.stopped is not None:
        return Counts(0, 0)
    job = context.job
    questions = [question_of(key, text, job, tried.get(key)) for key, text in rows]
    at_once = job.run.max_concurrency
    ask = partial(_ask_one, context, chunk)
    with (
        context.tracing.around_batch(),
        ChunkFollowUps(job, questions, ask, context.stop_signal, at_once) as follow_ups,
        context.guard.following(chunk.number, follow_ups),
    ):
        # Corrections ask in another form than the rest of the batch.
        for question in questions:
            if question.under_schema:
                follow_ups.ask(question)
        first = [question for question in questions if not question.under_schema]
        inputs = [question.as_input() for question in first]
        configs = configs_of(first, config_of(context, at_once), chunk.number)
        answers = context.chain.batch(inputs, config=configs, return_exceptions=True)
        results = dict(zip((question.row_key for question in first), answers, strict=True))
        # What is left has to wait, and may for minutes; the next chunk doesn't.
        context.turns.end(chunk.number)
        results.update(follow_ups.results())
    counts = counts_of(results.values())
    context.progress.add(failed=counts.failed)
    return counts


def _ask_one(context: RunContext, chunk: Chunk, question: Question) -> Any:
    chain = context.correction_chain if question.under_schema else context.chain
    configs = configs_of([question], config_of(context, 1), chunk.number)
    (result,) = chain.batch([question.as_input()], config=configs, return_exceptions=True)
    return result


def config_of(context: RunContext, max_concurrency: int) -> RunnableConfig:
    """What the requests of a chunk have in common."""
    return {
        "callbacks": context.tracing.callbacks,
        "metadata": {"job": context.job.name, "run_id": context.run_id},
        "max_concurrency": max_concurrency,
    }
