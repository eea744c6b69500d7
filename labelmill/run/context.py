"""The context of a run: what its parts share, made when it opens and handed down."""

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import Decimal
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from labelmill.batch.session import BatchSession
from labelmill.dataset.digests import SourceDigests
from labelmill.dataset.merge import RowAnswers
from labelmill.dataset.plan import mean_tokens_of
from labelmill.dataset.source import SourceFile, SourceListing, list_source
from labelmill.dataset.template import TextTemplate, read_template
from labelmill.dataset.unreadable import Fault
from labelmill.errors import JobRefused, Mistake, reader_words
from labelmill.job.model import LabelJob, Run
from labelmill.live.breaker import CircuitBreaker
from labelmill.live.callbacks import Tracing
from labelmill.live.guard import RequestGuard
from labelmill.live.progress import Progress
from labelmill.live.thought_room import ThoughtRoom
from labelmill.live.throttle import Throttle
from labelmill.money.budget import Budget, tightest_limit
from labelmill.money.prices import Lane, Price
from labelmill.providers.dialect import SpokenDialect
from labelmill.providers.endpoint import Endpoint
from labelmill.providers.table import endpoint_at, first_dialect_of, price_of
from labelmill.question.failures import Failure
from labelmill.question.form import correction_form_of
from labelmill.question.task_key import task_key_of
from labelmill.question.thinking import room_for_thoughts
from labelmill.question.tokens import description_tokens, instructions_tokens
from labelmill.run.row_limit import RowLimit
from labelmill.run.task_change import PastJobs, former_ledgers, task_change_of
from labelmill.run.turns import Turns
from labelmill.run.wording import shorter_wording_notice
from labelmill.stop import StopSignal
from labelmill.store.folder import OutputFolder
from labelmill.store.ledger import PRACTICE_PREFIX, Ledger, spent_since, start_of_day

if TYPE_CHECKING:
    from langchain_core.runnables import Runnable

log = logging.getLogger(__name__)

CHUNKS_IN_FLIGHT = 4
"""Enough that three keep every slot busy while one waits for its slowest answer."""


def asks_nothing(*_: object, **__: object) -> NoReturn:
    """The chain of a run that is only looked at.

    Raises:
        TypeError: always.
    """
    raise TypeError("a run that is only looked at has no chain")


@dataclass(eq=False)
class RunContext:
    """One run of a job: its facts, and what its parts share. Threads share it too.

    What costs a look at the disk or the environment is found when it is first asked for. `open_output` asks for the budget,
    the guard and the batches before any thread does, and after the bills of dead runs have been counted.

    Args:
        job: what is asked, and how.
        run_id: the run's name.
        base_url: where requests go.
        practice: whether the practice provider answers.
        started_at_utc: when it began.
        opened_at: the same in monotonic seconds.
        tracing: what its requests are traced by.
        chain_of: makes its chains. Whoever opens a run to ask gives it; what is only looked at needs no LangChain.
        scratch_folder: where it keeps what it has planned and joined; in its record's folder unless another is given.
        row_limit: how many texts it asks at most.
        stop_signal: tells all of its parts to stop.
    """

    job: LabelJob
    run_id: str
    base_url: str
    practice: bool
    started_at_utc: datetime
    opened_at: float = field(default_factory=time.monotonic)
    tracing: Tracing = field(default_factory=Tracing)
    chain_of: Callable[..., "Runnable[dict[str, Any], str | Failure]"] = asks_nothing
    scratch_folder: Path | None = None
    row_limit: RowLimit = field(default_factory=RowLimit)
    stop_signal: StopSignal = field(default_factory=StopSignal)

    def __post_init__(self) -> None:
        self.throttle = Throttle(
            self.job.run, stop_signal=self.stop_signal, timeout_seconds=self.job.model.timeout_seconds
        )
        self.progress = Progress(self.throttle.pause)
        self.notices: list[str] = []
        self.row_answers: dict[int, RowAnswers] = {}
        """What the ledger says of the rows of each file whose failed rows this run tells, by the file's number."""
        self.failed_files: list[Path] = []
        """Where earlier runs have left the failed rows of all other files."""
        self.unreadable: dict[SourceFile, Fault] = {}
        """Files whose texts can't be read, which are left out, and why."""
        self.mean_text_tokens: float | None = None
        """How many tokens the texts that this run asks have on average, more or less; None where it has planned none."""
        self.turns = Turns(CHUNKS_IN_FLIGHT)
        self.lock: int | None = None
        """The descriptor by which it holds its output's lock; None where it holds none."""
        self.next_number = 0
        self._numbers = threading.Lock()

    def notice(self, sentence: str) -> None:
        """Say something that must stand beside the run's numbers: in the log now, in its record at the end; once."""
        if sentence not in self.notices:
            self.notices.append(sentence)
            log.warning("%s", sentence)

    def tell_pending(self, pending: Path) -> None:
        """Say what a request for the pending texts will hold, before any is sent."""
        mean = mean_tokens_of(pending)
        if mean is None:
            return
        self.mean_text_tokens = mean
        each = instructions_tokens(self.job)
        meanings = description_tokens(self.job)
        described = f", {meanings:,.0f} of them for what the labels mean" if meanings else ""
        log.info("About %s input tokens per text%s", f"{each + mean:,.0f}", described)

    def notice_task_change(self, pending: Path, lane: Lane) -> None:
        """Say what has changed since the output's last run, and what it costs to ask the pending texts anew, before any is."""
        price = self.price if lane == "live" else self.batch_price
        change = task_change_of(self.past_jobs, self.job, pending, price, practice=self.practice)
        if change is not None:
            self.notice(change.sentence())

    def notice_shorter_wording(self, *, left_open: bool) -> None:
        """Say how to change over to the newest default wording, where the output holds the run to an older one."""
        if not left_open:
            return
        price = self.price if self.job.run.lane == "live" else self.batch_price
        sentence = shorter_wording_notice(self.job, self.ledger, price)
        if sentence is not None:
            self.notice(sentence)

    def take_numbers(self, count: int = 1) -> int:
        """Take chunk numbers in a row, which name the run's ledger parts, on whichever lane; returns the first."""
        with self._numbers:
            first, self.next_number = self.next_number, self.next_number + count
        return first

    @cached_property
    def task_key(self) -> str:
        """The key of the job's ledger. Practice answers are kept apart from a model's."""
        return (PRACTICE_PREFIX if self.practice else "") + task_key_of(self.job)

    @cached_property
    def folder(self) -> OutputFolder:
        """Where the run writes."""
        return OutputFolder.of(self.job)

    @property
    def record_folder(self) -> Path:
        """Where its record goes."""
        return self.folder.run(self.run_id)

    @cached_property
    def past_jobs(self) -> PastJobs:
        """The jobs of the runs before it."""
        return PastJobs(self.folder)

    @cached_property
    def ledger(self) -> Ledger:
        """The answers paid for the job's task, also those that earlier versions kept under another key."""
        also = former_ledgers(self.past_jobs, self.job, practice=self.practice)
        return Ledger(self.folder.ledger(self.task_key), also)

    @cached_property
    def template(self) -> TextTemplate:
        """The text of a row."""
        return read_template(self.job.source.text)

    @cached_property
    def listing(self) -> SourceListing:
        """The source's files, and what was passed over.

        Raises:
            JobRefused: it can't be listed any more, which it could when it was checked.
        """
        source = self.job.source
        try:
            return list_source(source.path, source.storage)
        except OSError as error:
            place = str(error.filename or source.path)
            sentence = f"{place!r} can't be read: {reader_words(error)}"
            raise JobRefused([Mistake("source.path", sentence)]) from None

    @cached_property
    def files(self) -> list[SourceFile]:
        """The source's files."""
        return list(self.listing.files)

    @cached_property
    def digests(self) -> SourceDigests:
        """The digests of their texts, as far as the run has read them."""
        # By this name a dead run's copies are found and taken away.
        folder = (self.scratch_folder or self.record_folder) / "pending-digests"
        return SourceDigests(self.files, self.template, folder)

    @property
    def readable_files(self) -> list[SourceFile]:
        """Those of them that are labeled: all but the `unreadable`."""
        return [file for file in self.files if file not in self.unreadable]

    @property
    def endpoint(self) -> Endpoint:
        """Where its requests go, and by which key."""
        return endpoint_at(self.job.model, self.base_url, practice=self.practice)

    @cached_property
    def price(self) -> Price | None:
        """What tokens cost on the live lane."""
        return price_of(self.job.model, self.job.price, self.base_url)

    @cached_property
    def batch_price(self) -> Price | None:
        """What tokens cost on the batch lane."""
        return price_of(self.job.model, self.job.price, self.base_url, "batch")

    @cached_property
    def mean_seconds(self) -> float | None:
        """How long a live answer of this task has taken on average in earlier runs; None where none is known."""
        return self.ledger.mean_seconds()

    @cached_property
    def budget(self) -> Budget:
        """What it may spend, after what was spent today and this month."""
        spent = spent_of_limits(self.job.run, self.folder.ledgers, datetime.now(UTC), practice=self.practice)
        return Budget(tightest_limit(self.job.run, *spent))

    @cached_property
    def guard(self) -> RequestGuard:
        """What every request passes."""
        return RequestGuard(
            self.job.run,
            self.throttle,
            self.budget,
            CircuitBreaker(self.job.run.stop_at_failed_fraction),
            self.price,
            address=self.base_url or "the model's own address",
            notify=self.notice,
            is_practice=self.practice,
            thoughts=self.thoughts,
        )

    @cached_property
    def spoken_dialect(self) -> SpokenDialect:
        """What it has found out of its endpoint's dialect, on both lanes; a batch costs too much time to find out anew."""
        model, first = self.job.model, first_dialect_of(self.job, self.endpoint)
        batches = None if self.job.run.lane == "live" else self.batch_session.outstanding.folder
        earlier = batches.last_dialect(model, self.base_url) if batches else None
        return SpokenDialect(self.job, first.as_found(earlier) if earlier else first)

    @cached_property
    def thoughts(self) -> ThoughtRoom:
        """The room that its answers have for thoughts. The ledger is looked at once anything is asked."""
        label = correction_form_of(self.job).max_tokens - room_for_thoughts(self.job.model)

        def remembered() -> int:
            return max(0, self.ledger.longest_answer() - label)

        return ThoughtRoom(self.job.model, self.notice, remembered)

    @cached_property
    def batch_session(self) -> BatchSession:
        """Its batches. What earlier runs have left is taken over when this is first asked for."""
        return BatchSession(self)

    @cached_property
    def chain(self) -> "Runnable[dict[str, Any], str | Failure]":
        """`prompt | model | parser`, behind the throttle and the budget."""
        return self._chain(is_correction=False)

    @cached_property
    def correction_chain(self) -> "Runnable[dict[str, Any], str | Failure]":
        """The same for texts whose answer was no label."""
        return self._chain(is_correction=True)

    def _chain(self, *, is_correction: bool) -> "Runnable[dict[str, Any], str | Failure]":
        key = self.endpoint.api_key()
        return self.chain_of(
            self.job, self.base_url, key, self.guard, self.spoken_dialect, is_correction=is_correction
        )


def new_run_id(now: datetime) -> str:
    """A run's id: its start in UTC to the second, and four hex digits of the fraction. Sorts by time.

    Runs of one output folder never share an id: its lock lets one start after the other has ended.
    """
    fraction = now.microsecond * 0x10000 // 1_000_000
    return f"{now.astimezone(UTC):%Y%m%d-%H%M%S}-{fraction:04x}"


def spent_of_limits(run: Run, ledgers: Path, now: datetime, *, practice: bool) -> tuple[Decimal, Decimal]:
    """What all tasks have cost today and this month (UTC), in USD; 0 without a look where the job has no such limit."""
    today = start_of_day(now)
    month = today.replace(day=1)
    return (
        _spent(run.max_cost_usd_per_day, ledgers, today, practice=practice),
        _spent(run.max_cost_usd_per_month, ledgers, month, practice=practice),
    )


def _spent(limit_usd: float | None, ledgers: Path, since: datetime, *, practice: bool) -> Decimal:
    return Decimal(0) if limit_usd is None else spent_since(ledgers, since, practice=practice)
