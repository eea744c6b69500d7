"""Classifying a chunk: rounds of `chain.batch`, every attempt into the journal, the journal into the ledger."""

import random
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from langchain_core.runnables import RunnableConfig

from labelmill.dataset.plan import Chunk, read_chunk, read_tried
from labelmill.errors import RunStopped
from labelmill.model.answer_form import correction_form_of, form_of
from labelmill.model.recorder import Recorder
from labelmill.model.rounds import Question, configs_of, next_round, question_of
from labelmill.run.live import LiveRun, live_run
from labelmill.store.attempts import Attempt
from labelmill.store.journal import Journal

CHUNKS_IN_FLIGHT = 4
"""Enough that three fill the gate while one waits for its slowest answer."""


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


def classify_chunk(run_id: str, texts: Path, chunk: Chunk) -> ChunkReceipt:
    """Ask for a chunk's labels and leave them in the ledger.

    However it ends, every attempt that was made is in the ledger part, or in the journal for the next run to fold in.

    Raises:
        OSError: the journal or the ledger part can't be written; the run is stopped.
    """
    live = live_run(run_id)
    started = time.monotonic()
    with kept_journal(live, chunk.number) as journal:
        labeled, failed = _ask(live, texts, chunk, journal)
    return ChunkReceipt(chunk.number, chunk.texts, labeled, failed, time.monotonic() - started)


@contextmanager
def kept_journal(live: LiveRun, chunk: int) -> Iterator[Journal]:
    """A chunk's journal, which becomes a ledger part however the block ends; what the block raises stops the run."""
    try:
        with Journal(live.run.ledger.journal_path(live.run.run_id, chunk)) as journal:
            try:
                yield journal
            finally:
                live.run.ledger.add(journal, live.run.job.run)
    except OSError as error:
        live.gate.stop(
            RunStopped("failed", f"{live.run.folder.path} can't be written: {error.strerror or error}")
        )
        raise
    except Exception as error:
        live.gate.stop(RunStopped("failed", f"{type(error).__name__}: {error}"))
        raise


def _ask(live: LiveRun, texts: Path, chunk: Chunk, journal: Journal) -> tuple[int, int]:
    rows = read_chunk(texts, chunk)
    tried = read_tried(texts, [key for key, _ in rows])
    questions = [question_of(key, text, live.run.job, tried.get(key)) for key, text in rows]

    def record(attempt: Attempt) -> None:
        answers_before, *_ = tried.get(attempt.row_key, (None,))
        record_attempt(live, journal, replace(attempt, answers_before=answers_before))

    jitter = random.Random(f"{live.run.run_id}-{chunk.number}")
    labeled = failed = 0
    while questions and live.gate.stopped is None:
        # Corrections, which ask in another form, go first: they are few and have waited.
        questions.sort(key=lambda question: not question.under_schema)
        corrections = sum(question.under_schema for question in questions)
        results = [
            *_batch(live, questions[:corrections], chunk, record, correction=True),
            *_batch(live, questions[corrections:], chunk, record, correction=False),
        ]
        ended = next_round(questions, results, live.run.job, jitter)
        labeled, failed, questions = labeled + ended.labeled, failed + ended.failed, ended.again
        live.progress.add(failed=ended.failed)
        if questions:
            live.gate.wait_unless_stopped(ended.wait_seconds)
    return labeled, failed


def _batch(
    live: LiveRun,
    questions: list[Question],
    chunk: Chunk,
    record: Callable[[Attempt], None],
    *,
    correction: bool,
) -> list[Any]:
    shared = config_of(live, record, live.run.job.run.max_concurrency, correction=correction)
    chain = live.correction_chain if correction else live.chain
    inputs = [question.as_input() for question in questions]
    configs = configs_of(questions, shared, chunk.number)
    with live.tracing.around_batch():
        return chain.batch(inputs, config=configs, return_exceptions=True)


def config_of(
    live: LiveRun, record: Callable[[Attempt], None], max_concurrency: int, *, correction: bool = False
) -> RunnableConfig:
    """What a chunk's requests have in common: every attempt is recorded, and a fatal one stops the run."""
    job = live.run.job
    recorder = Recorder(
        job,
        live.price,
        record=record,
        stop=lambda stopped: live.gate.stop(
            RunStopped(stopped.reason, live.endpoint.hide_key(stopped.message))
        ),
        form=correction_form_of(job) if correction else form_of(job),
    )
    return {
        "callbacks": [recorder, *live.tracing.callbacks],
        "metadata": {"job": job.name, "run_id": live.run.run_id},
        "max_concurrency": max_concurrency,
    }


def record_attempt(live: LiveRun, journal: Journal, attempt: Attempt) -> None:
    """Write an attempt into its chunk's journal, and let the run take account of it.

    Raises:
        OSError: the journal can't be written; the run is stopped.
    """
    if attempt.message:
        attempt = replace(attempt, message=live.endpoint.hide_key(attempt.message))
    try:
        journal.append(attempt)
    except OSError as error:
        live.gate.stop(RunStopped("failed", f"{journal.path} can't be written: {error.strerror or error}"))
        raise
    sentence = live.breaker.add(attempt.failure)
    if sentence:
        live.gate.stop(RunStopped("failed", f"{sentence} (requests go to {live.run.base_url})"))
    if attempt.usage is not None or attempt.answered:
        live.progress.pay(attempt.cost_usd)
    if attempt.label is not None:
        live.progress.add(labeled=1)
