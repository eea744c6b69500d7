"""The strategies: ways to ask the same texts. Each leaves its attempts in the ledger, under chunks of its own.

A strategy is a value with a function behind it, `ask(live, sample, first_chunk)`, which returns how many chunks it
used. All of them share one budget, one breaker, and what is learned of the provider's rate limits.
"""

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from typing import Any

from langchain_core.runnables.config import ContextThreadPoolExecutor

from labelmill.compare.sample import Sample
from labelmill.dataset.plan import chunks_of, rows_per_chunk_of
from labelmill.job.model import LabelJob
from labelmill.model.adaptive import AdaptiveLimit, FixedLimit
from labelmill.model.rounds import Question, configs_of, next_round
from labelmill.run.classify import CHUNKS_IN_FLIGHT, classify_chunk, config_of, kept_journal
from labelmill.run.live import LiveRun


@dataclass(frozen=True)
class Strategy:
    """One way to ask: `kind` for programs, `name` for people.

    `concurrency` is the most requests in flight; with `retries` a text whose request failed is asked again, as often as
    a run would.
    """

    kind: str
    name: str
    concurrency: int
    ask: Callable[[LiveRun, Sample, int], int]
    retries: bool = False


@dataclass(frozen=True)
class StrategyReceipt:
    """That a strategy was tried: when it began, and which chunks of the ledger hold what came of it."""

    strategy: Strategy
    started_at_utc: datetime
    first_chunk: int
    chunks: int

    @property
    def next_chunk(self) -> int:
        """The number after its last chunk's."""
        return self.first_chunk + self.chunks


def strategies_of(job: LabelJob, concurrency: Sequence[int]) -> list[Strategy]:
    """The strategies of a comparison in the order they are tried, the one that the others are compared with first."""
    batches = [
        Strategy("batch", f"batch, {limit} at once", limit, partial(ask_by_batch, limit=limit))
        for limit in dict.fromkeys(concurrency)
    ]
    most = job.run.max_concurrency
    chunks = Strategy("chunks", f"chunks, up to {most} at once", most, ask_in_chunks, retries=True)
    return [SEQUENTIAL, *batches, chunks]


def ask_with(live: LiveRun, strategy: Strategy, sample: Sample, first_chunk: int) -> StrategyReceipt:
    """Ask a sample by one strategy.

    Raises:
        OSError: the journal or the ledger part can't be written; the comparison is stopped.
    """
    live.progress.enter(strategy.name)
    started = datetime.now(UTC)
    return StrategyReceipt(strategy, started, first_chunk, strategy.ask(live, sample, first_chunk))


def ask_first(live: LiveRun, sample: Sample, first_chunk: int) -> int:
    """Ask the first text alone: it opens the connection, and tells whether the key and the model are accepted."""
    _ask_one_by_one(live, sample.questions()[:1], first_chunk)
    return 1


def ask_sequentially(live: LiveRun, sample: Sample, first_chunk: int) -> int:
    """`chain.invoke` in a loop: a text is asked when the one before it is answered, and none a second time."""
    _ask_one_by_one(live, sample.questions(), first_chunk)
    return 1


def ask_by_batch(live: LiveRun, sample: Sample, first_chunk: int, limit: int) -> int:
    """One `chain.batch` with so many requests in flight; none is sent a second time."""
    live.throttle.use(FixedLimit.of(limit))
    questions = sample.questions()
    inputs = [question.as_input() for question in questions]
    with kept_journal(live, first_chunk) as journal, live.tracing.around_batch():
        configs = configs_of(questions, config_of(live, journal, limit), first_chunk)
        _count(live, questions, live.chain.batch(inputs, config=configs, return_exceptions=True))
    return 1


def ask_in_chunks(live: LiveRun, sample: Sample, first_chunk: int) -> int:
    """As a run does it: chunks share the gate, concurrency adapts, and what failed is asked again in rounds."""
    settings = live.run.job.run
    live.throttle.use(AdaptiveLimit.below(settings.max_concurrency))
    rows_per_chunk = rows_per_chunk_of(sample.rows, settings.max_concurrency, settings.rows_per_chunk)
    chunks = chunks_of(sample.rows, rows_per_chunk, first_chunk)
    with ContextThreadPoolExecutor(CHUNKS_IN_FLIGHT) as pool:
        asked = [pool.submit(classify_chunk, live.run.run_id, sample.path, chunk) for chunk in chunks]
        for receipt in asked:
            receipt.result()
    return len(chunks)


WARM_UP = Strategy("warm-up", "warm-up", 1, ask_first)
"""Goes before the strategies and is no part of the comparison: what only the first request pays in time is paid here."""
SEQUENTIAL = Strategy("sequential", "sequential", 1, ask_sequentially)


def _ask_one_by_one(live: LiveRun, questions: Sequence[Question], chunk: int) -> None:
    live.throttle.use(FixedLimit.of(1))
    with kept_journal(live, chunk) as journal, live.tracing.around_batch():
        configs = configs_of(questions, config_of(live, journal, 1), chunk)
        for question, config in zip(questions, configs, strict=True):
            if live.gate.stopped:
                break
            try:
                result: Any = live.chain.invoke(question.as_input(), config=config)
            except Exception as error:  # noqa: BLE001  (as `batch` returns them)
                result = error
            _count(live, [question], [result])


def _count(live: LiveRun, questions: Sequence[Question], results: Sequence[Any]) -> None:
    """Count texts without a label as failed: what a run would ask again has failed here too."""
    ended = next_round(questions, results, live.run.job, random.Random(0))
    live.progress.add(failed=ended.failed + len(ended.again))
