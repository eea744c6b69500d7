"""The strategies: ways to ask the same texts. Each leaves its attempts in the ledger, in parts of its own.

A strategy is a value with a function behind it, `ask(context, sample)`, which returns the ledger parts that hold what came
of it. All of them share one budget, one breaker, and what is learned of the provider's rate limits.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

from langchain_core.runnables import RunnableConfig

from labelmill.compare.batch_lane import KIND, NAME, ask_on_batch_lane
from labelmill.compare.sample import Sample
from labelmill.dataset.plan import chunks_of, rows_per_chunk_of
from labelmill.job.model import LabelJob
from labelmill.live.adaptive import AdaptiveLimit, FixedLimit
from labelmill.live.questions import Question, configs_of, counts_of
from labelmill.money.prices import Lane, Price
from labelmill.run.classify import classify_chunk, config_of, kept_journal
from labelmill.run.context import RunContext
from labelmill.run.runner import Runner


@dataclass(frozen=True)
class Strategy:
    """One way to ask: `kind` for programs, `name` for people.

    `concurrency` is the most requests in flight, None where the provider decides; with `retries` a text whose request
    failed is asked again, as often as a run would. `lane` is what its tokens are priced by.
    """

    kind: str
    name: str
    concurrency: int | None
    ask: Callable[[RunContext, Sample], list[Path]]
    retries: bool = False
    lane: Lane = "live"


@dataclass(frozen=True)
class StrategyReceipt:
    """That a strategy was tried: when it began, and which parts of the ledger hold what came of it."""

    strategy: Strategy
    started_at_utc: datetime
    parts: tuple[Path, ...]


def strategies_of(
    job: LabelJob,
    concurrency: Sequence[int],
    batch_wait_minutes: float = 0.0,
    batch_price: Price | None = None,
) -> list[Strategy]:
    """The strategies of a comparison in the order they are tried, the one that the others are compared with first.

    The batch lane is one of them where it may be waited for and its price is known: where nobody knows of a price there
    is no saying that there is a Batch API.
    """
    batches = [
        Strategy("batch", f"batch, {limit} at once", limit, partial(ask_by_batch, limit=limit))
        for limit in dict.fromkeys(concurrency)
    ]
    most = job.run.max_concurrency
    chunks = Strategy("chunks", f"chunks, up to {most} at once", most, ask_in_chunks, retries=True)
    strategies = [SEQUENTIAL, *batches, chunks]
    if batch_wait_minutes > 0 and batch_price is not None:
        ask = partial(ask_on_batch_lane, max_wait_minutes=batch_wait_minutes)
        strategies.append(Strategy(KIND, NAME, None, ask, lane="batch"))
    return strategies


def ask_with(context: RunContext, strategy: Strategy, sample: Sample) -> StrategyReceipt:
    """Ask a sample by one strategy.

    Raises:
        OSError: the journal or the ledger part can't be written; the comparison is stopped.
    """
    context.progress.enter(strategy.name)
    started = datetime.now(UTC)
    parts = strategy.ask(context, sample)
    return StrategyReceipt(strategy, started, tuple(part for part in parts if part.exists()))


def ask_first(context: RunContext, sample: Sample) -> list[Path]:
    """Ask the first text alone: it opens the connection, and tells whether the key and the model are accepted."""
    parts = _ask_one_by_one(context, sample.questions()[:1])
    context.guard.end()
    return parts


def ask_sequentially(context: RunContext, sample: Sample) -> list[Path]:
    """`chain.invoke` in a loop: a text is asked when the one before it is answered, and none a second time."""
    return _ask_one_by_one(context, sample.questions())


def ask_by_batch(context: RunContext, sample: Sample, limit: int) -> list[Path]:
    """One `chain.batch` with so many requests in flight; none is sent a second time."""
    context.throttle.use(FixedLimit.of(limit))
    questions, chunk = sample.questions(), context.take_numbers()
    inputs = [question.as_input() for question in questions]
    with kept_journal(context, chunk), context.tracing.around_batch():
        configs = configs_of(questions, _config_of(context, limit), chunk)
        _count(context, context.chain.batch(inputs, config=configs, return_exceptions=True))
    return _parts_of(context, chunk)


def ask_in_chunks(context: RunContext, sample: Sample) -> list[Path]:
    """As a run does it: chunks share the places, concurrency adapts, and what failed is asked again."""
    settings = context.job.run
    context.throttle.use(AdaptiveLimit.below(settings.max_concurrency))
    rows_per_chunk = rows_per_chunk_of(sample.rows, settings.max_concurrency, settings.rows_per_chunk)
    first = context.take_numbers(math.ceil(sample.rows / rows_per_chunk))
    chunks = chunks_of(sample.rows, rows_per_chunk, first)
    ask = partial(classify_chunk, context, sample.path)
    for receipt in Runner(context.job).map("classify", ask, chunks, str):
        if isinstance(receipt, BaseException):
            raise receipt
    return _parts_of(context, *(chunk.number for chunk in chunks))


WARM_UP = Strategy("warm-up", "warm-up", 1, ask_first)
"""Goes before the strategies and is no part of the comparison: what only the first request pays in time is paid here."""
SEQUENTIAL = Strategy("sequential", "sequential", 1, ask_sequentially)


def _ask_one_by_one(context: RunContext, questions: Sequence[Question]) -> list[Path]:
    context.throttle.use(FixedLimit.of(1))
    chunk = context.take_numbers()
    with kept_journal(context, chunk), context.tracing.around_batch():
        configs = configs_of(questions, _config_of(context, 1), chunk)
        for question, config in zip(questions, configs, strict=True):
            if context.stop_signal.stopped:
                break
            try:
                result: Any = context.chain.invoke(question.as_input(), config=config)
            except Exception as error:  # noqa: BLE001  (as `batch` returns them)
                result = error
            _count(context, [result])
    return _parts_of(context, chunk)


def _config_of(context: RunContext, limit: int) -> RunnableConfig:
    """What the requests of a strategy have in common: none is sent a second time."""
    shared = config_of(context, limit)
    return {**shared, "metadata": {**shared["metadata"], "most_attempts": 1}}


def _parts_of(context: RunContext, *chunks: int) -> list[Path]:
    return [context.ledger.part_path(context.run_id, chunk) for chunk in chunks]


def _count(context: RunContext, results: Sequence[Any]) -> None:
    """Count texts without a label as failed: what a run would ask again has failed here too."""
    context.progress.add(failed=counts_of(results).failed)
