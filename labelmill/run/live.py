"""Live runs: what the chunks of a run share in this process."""

import logging
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import Any

from langchain_core.runnables import Runnable

from labelmill.batch.session import BatchSession
from labelmill.live.breaker import CircuitBreaker
from labelmill.live.chain import chain_of
from labelmill.live.guard import RequestGuard
from labelmill.live.limiter import PriorityLimiter
from labelmill.live.progress import Progress
from labelmill.live.throttle import Throttle
from labelmill.live.tracing import Tracing, tracing
from labelmill.money.budget import Budget, tightest_limit
from labelmill.money.prices import Price
from labelmill.providers.endpoint import Endpoint
from labelmill.providers.table import api_key_env_of, price_of
from labelmill.question.failures import Failure
from labelmill.question.form import AnswerForm, correction_form_of, form_of
from labelmill.run.label_run import LabelRun
from labelmill.run.open_batches import open_batches
from labelmill.run.spending import spent_of_limits
from labelmill.run.task_change import task_change_of

log = logging.getLogger(__name__)


class ChunkNumbers:
    """The numbers of a run's chunks, which name its ledger parts: each is given once, on whichever lane."""

    def __init__(self) -> None:
        self.next = 0
        self._lock = threading.Lock()

    def take(self, count: int = 1) -> int:
        """Take `count` numbers in a row; returns the first."""
        with self._lock:
            first, self.next = self.next, self.next + count
        return first


@dataclass(frozen=True)
class RunContext:
    """One run's throttle, budget, guard, live price, progress, tracing, batches and chain.

    `opened_at` is when it began, in monotonic seconds.
    """

    run: LabelRun
    throttle: Throttle
    budget: Budget
    guard: RequestGuard
    price: Price | None
    progress: Progress
    tracing: Tracing
    numbers: ChunkNumbers
    desk: BatchSession
    opened_at: float
    notices: list[str]

    def notice(self, sentence: str) -> None:
        """Say something that must stand beside the run's numbers: in the log now, in its record at the end; once."""
        if sentence not in self.notices:
            self.notices.append(sentence)
            log.warning("%s", sentence)

    @property
    def gate(self) -> PriorityLimiter:
        """Where the run is stopped, and seen to be."""
        return self.throttle.gate

    @property
    def breaker(self) -> CircuitBreaker:
        """What ends a run that can't succeed."""
        return self.guard.breaker

    @property
    def endpoint(self) -> Endpoint:
        """Where its requests go."""
        return Endpoint(self.run.base_url, api_key_env_of(self.run.job.model), self.run.practice)

    @cached_property
    def batch_price(self) -> Price | None:
        """What tokens cost on the batch lane."""
        return price_of(self.run.job.model, self.run.job.price, self.run.base_url, "batch")

    @cached_property
    def mean_seconds(self) -> float | None:
        """How long a live answer of this task has taken on average in earlier runs; None where none is known."""
        return self.run.ledger.mean_seconds()

    @cached_property
    def chain(self) -> Runnable[dict[str, Any], str | Failure]:
        """`prompt | model | parser`, behind the throttle and the budget."""
        return self._chain(form_of(self.run.job))

    @cached_property
    def correction_chain(self) -> Runnable[dict[str, Any], str | Failure]:
        """The same for texts whose answer was no label."""
        return self._chain(correction_form_of(self.run.job))

    def _chain(self, form: AnswerForm) -> Runnable[dict[str, Any], str | Failure]:
        return chain_of(self.run.job, self.run.base_url, self.endpoint.api_key(), self.guard, form)


_live: dict[str, RunContext] = {}
_lock = threading.Lock()


@contextmanager
def live(run: LabelRun) -> Iterator[RunContext]:
    """Make a run live in this process for the length of the block."""
    settings = run.job.run
    spent = spent_of_limits(settings, run.folder.ledgers, datetime.now(UTC), practice=run.practice)
    limit = tightest_limit(settings, *spent)
    with tracing(keep_texts=settings.trace_texts) as traced:
        throttle, budget, numbers = Throttle(settings), Budget(limit), ChunkNumbers()
        price = price_of(run.job.model, run.job.price, run.base_url)
        guard = guard_of(run, throttle, budget, price)
        mine = RunContext(
            run,
            throttle,
            budget,
            guard,
            price,
            Progress(),
            traced,
            numbers,
            open_batches(run, throttle.gate, budget, numbers.take),
            time.monotonic(),
            [],
        )
        guard.notify = mine.notice
        with _lock:
            _live[run.run_id] = mine
        try:
            yield mine
        finally:
            with _lock:
                del _live[run.run_id]


def guard_of(run: LabelRun, throttle: Throttle, budget: Budget, price: Price | None) -> RequestGuard:
    """What every request of a run passes."""
    settings = run.job.run
    return RequestGuard(
        settings,
        throttle,
        budget,
        CircuitBreaker(settings.stop_at_failed_fraction),
        price,
        address=run.base_url,
        is_practice=run.practice,
    )


def live_run(run_id: str) -> RunContext:
    """The live run of that id.

    Raises:
        LookupError: it is not live in this process; chunks share one gate and one budget, so they run where their
            run does.
    """
    return _live[run_id]


def live_runs() -> list[RunContext]:
    """The runs that are live in this process, the latest last."""
    with _lock:
        return list(_live.values())


def notice_task_change(live: RunContext, pending: Path, price: Price | None) -> None:
    """Say what has changed since the output's last run, and what it costs to ask the pending texts anew, before any is asked."""
    run = live.run
    change = task_change_of(run.folder, run.job, pending, price, practice=run.practice)
    if change is not None:
        live.notice(change.sentence())
