"""The batch lane of one run: what is sent next, what came of it, and when a further batch would be no better."""

import logging
import time
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal

from labelmill.batch.groups import Unsent
from labelmill.batch.harvest import (
    AnswerReader,
    HarvestResult,
    Rows,
    Tally,
    harvest_of,
    reason_to_stop,
    rows_in,
)
from labelmill.batch.outstanding import BatchContext, OutstandingBatches
from labelmill.batch.record import BatchRecord
from labelmill.batch.requests import Bound, NoRoom, Room
from labelmill.errors import BudgetReached, RunStopped
from labelmill.money.usage import Usage
from labelmill.providers.failures import failure_of_status
from labelmill.providers.protocol import BatchError, BatchRefused, BatchState, BatchUnreachable
from labelmill.providers.refusals import Sent, refusal_words
from labelmill.providers.table import provider_of
from labelmill.question.attempts import Attempt, outcomes_of
from labelmill.question.failures import FORM_KIND, Failure
from labelmill.store.ledger import frame_of, write_part

log = logging.getLogger(__name__)

QUEUE_IS_FULL = "token_limit_exceeded"
"""OpenAI's code for a batch that finds too many tokens waiting before it."""
_INVALID = 400
_FIELD_OF_BOUND = {
    "requests": "batch.max_requests",
    "tokens": "batch.max_queue_tokens",
}
_PART_OF_PATIENCE_WITH_A_FILE = 0.05
"""A file that is there is written once: what has not grown for this part of the patience does not grow any more."""


class BatchSession:
    """The batches of one run, to be opened under its output folder's lock. One thread at a time uses it.

    `unsent` is None where a plan is due; `has_room` is false where nothing more fits until a batch is settled; `polls` were
    made since anything last changed; until `paused_until` (monotonic seconds) nothing is sent, since the provider's queue
    was full, or it did not answer. `goes_live` stays true once it is: the less is left, the later the live lane could begin.

    Raises:
        JobRefused: there is a record of a batch that this version can't read.
    """

    def __init__(self, run: BatchContext) -> None:
        self.run = run
        self.outstanding = OutstandingBatches(run)
        self.unsent: Unsent | None = None
        self.has_room = True
        self.polls = 0
        self.queue_tokens = run.job.batch.max_queue_tokens
        self.paused_until = 0.0
        self.goes_live = False
        self.cancelled_at: float | None = None
        self._settled_before_plan = 0
        self._sent_in_vain = 0
        self._postponed: set[str] = set()
        self._tallies: list[Tally] = []
        self._were_answered = False
        self._has_sent = False

    @property
    def records(self) -> list[BatchRecord]:
        """The batches that concern the run: those that it has settled, then those that are out."""
        return [*self.outstanding.settled, *self.outstanding.out.values()]

    def ready(self) -> tuple[str, ...]:
        """The batches whose answers can be fetched, other tasks' too."""
        return tuple(
            name
            for name, record in self.outstanding.out.items()
            if record.is_ready and name not in self._postponed
        )

    def planned(self, unsent: Unsent) -> None:
        """Take a new plan."""
        self.unsent, self._settled_before_plan = unsent, len(self.outstanding.settled)

    def unsent_texts(self) -> int | None:
        """How many planned texts are in no batch; None where a plan is due: none was made, or batches have ended since."""
        if self.unsent is None or (
            not self.unsent.texts and len(self.outstanding.settled) > self._settled_before_plan
        ):
            return None
        return self.unsent.texts

    def poll(self) -> None:
        """Ask the provider about every batch that is out."""
        self._postponed.clear()
        before = {name: (record.step, record.status) for name, record in self.outstanding.out.items()}
        for record in list(self.outstanding.out.values()):
            self._poll(record)
        after = {name: (record.step, record.status) for name, record in self.outstanding.out.items()}
        self.polls = 0 if after != before else self.polls + 1
        self.has_room = self.has_room or len(after) < len(before)
        self.outstanding.delete_files()

    def cancel_mine(self) -> None:
        """Ask the provider to stop the batches of the run's task; those found later are stopped when they are found."""
        self.cancelled_at, self.polls = time.monotonic(), 0
        for record in self.outstanding.mine:
            self.outstanding.cancel(record)

    def send(self) -> int:
        """Send the next batch of the latest plan, as large as there is room for.

        Returns:
            how many texts were given up instead, since no batch can hold them.

        Raises:
            OSError: its file can't be written; nothing was sent.
        """
        if self.unsent is not None and self.unsent.texts:
            no_room = self.outstanding.send_next(self.unsent, self._room())
            self.polls = 0
            self.outstanding.delete_files()
            if no_room is not None and (why := self._why_never(no_room)):
                # One text that no batch can hold, or no budget, keeps no other from being asked.
                self._give_up_next(self.unsent, why)
                if why.kind == "over_budget" and not self.unsent.texts and not self._has_sent:
                    self.run.stop_signal.stop(BudgetReached(why.message))
                return 1
            if no_room is not None:
                self._tell_no_room(no_room.bound)
            elif any(record.step == "creating" for record in self.outstanding.mine):
                self._pause()
            else:
                self._has_sent, self._sent_in_vain = True, 0
        return 0

    def _give_up_next(self, unsent: Unsent, failure: Failure) -> None:
        """Leave in the ledger why the next text of a plan can be in no batch. Nothing is asked, and the others go on."""
        run = self.run
        attempt = Attempt(
            unsent.next_row_key,
            datetime.now(UTC),
            failure=failure.kind,
            message=failure.message,
            usage=Usage(),
            cost_usd=Decimal(0),
        )
        (outcome,) = outcomes_of([attempt], run.job.run)
        outcome = replace(outcome, requests=0, ended=True, live_cost_usd=Decimal(0))
        part = self.outstanding.ledger_of(run.task_key).part_path(run.run_id, run.take_numbers())
        write_part(part, frame_of([outcome], run.run_id, "batch"))
        unsent.move(1)

    def harvest(self, name: str) -> HarvestResult:
        """Fetch a batch's answers and leave them in the ledger of its own task.

        Nothing is left, and the batch stays out, while its answers can't be fetched or are not all there yet.

        Raises:
            OSError: the ledger can't be written; the answers stay at the provider.
        """
        record = self.outstanding.out[name]
        row_keys = self.outstanding.folder.row_keys(record)
        fetched = self._fetched(record, row_keys["row_key"].to_list())
        if fetched is None:
            self._postponed.add(name)
            return HarvestResult()
        rows, state = fetched
        price, live_price = (self.outstanding.price(record, lane) for lane in ("batch", "live"))
        reader = AnswerReader.of(record, price, live_price)
        thoughts = self.run.thoughts
        result = harvest_of(
            rows,
            row_keys,
            reader,
            state,
            others_were_answered=self._were_answered,
            room_can_grow=thoughts.can_widen(record.thought_room),
            room_can_shrink=thoughts.can_shrink(record.thought_room),
        )
        self._settle(self.outstanding.out[name], result)
        self.has_room, self.polls = True, 0
        if self.outstanding.is_mine(record):
            if result.of_form is not None:
                self._ask_otherwise(record, result.of_form)
            if result.answered:
                thoughts.was_answered(record.thought_room)
            if result.cut_in_thoughts:
                thoughts.was_too_small(record.thought_room)
            if result.room_was_refused:
                thoughts.was_refused_to_all(record.thought_room)
            self._judge(name, result)
        self.outstanding.delete_files()
        return result

    def _fetched(self, record: BatchRecord, row_keys: Sequence[str]) -> tuple[Rows, BatchState] | None:
        """What came of a batch's rows, and how many the provider has counted; None where not all of it is there yet."""
        try:
            state = self.outstanding.client(record).state(record.batch_id or "")
            rows = self._rows_of(record, row_keys)
        except BatchUnreachable as error:
            log.warning("The answers of batch %s can't be fetched yet: %s", record.batch_id, error)
            return None
        except BatchRefused as error:
            self.outstanding.refused(record, error)
            return None
        if state.status.is_final and (
            rows.is_whole(state) or not self._is_waited_for(record, len(rows.answers))
        ):
            return rows, state
        log.warning(
            "Batch %s has ended, but its answers are not all there yet: %s of %s (the provider counts %s)",
            record.batch_id,
            f"{rows.told:,}",
            f"{record.texts:,}",
            f"{state.completed + state.failed:,}",
        )
        return None

    def _rows_of(self, record: BatchRecord, row_keys: Sequence[str]) -> Rows:
        """What came of a batch's rows. Its files may be told of before they are there: a refusal is waited out."""
        client = self.outstanding.client(record)
        try:
            return rows_in(client.answers(record.batch_id or "", row_keys, record.metadata), row_keys)
        except BatchRefused as error:
            if self._is_waited_for(record, 0):
                raise BatchUnreachable(str(error)) from None
            raise

    def _is_waited_for(self, record: BatchRecord, answers: int) -> bool:
        """Whether the rest of a batch's answers may still come, `answers` of them being there; its record keeps since when."""
        now, since = datetime.now(UTC), record.unready_since_utc
        if since is None or answers > record.answers_seen:
            since = now
            self.outstanding.update(record, unready_since_utc=now, answers_seen=answers)
        patience = timedelta(minutes=self.run.job.run.patience_minutes)
        return now - since < (patience * _PART_OF_PATIENCE_WITH_A_FILE if answers else patience)

    def _settle(self, record: BatchRecord, result: HarvestResult) -> None:
        """Write a harvest into the ledger, and let the budget know what it came to."""
        run = self.run
        spent = sum((one.known_usd + one.unseen_usd for one in result.outcomes), Decimal(0))
        beyond = max(Decimal(0), spent - (record.worst_case_usd or Decimal(0)))
        run.budget.hold(beyond)
        try:
            path = self.outstanding.ledger_of(record.task_key).part_path(run.run_id, run.take_numbers())
            # Kept before it is written: should this process die in between, the part tells whether it was.
            record = self.outstanding.update(
                record, step="harvesting", harvest_run_id=run.run_id, harvest_part=path.name
            )
            if result.outcomes:
                write_part(path, frame_of(result.outcomes, run.run_id, "batch"))
            self.outstanding.settle(record, "harvested", spent)
        finally:
            run.budget.settle(beyond, Decimal(0))

    def _ask_otherwise(self, record: BatchRecord, refusal: Failure) -> bool:
        """Have what is sent from now on take the other form, where there is one; else the run ends. Nothing was paid."""
        run = self.run
        asked = record.dialect or provider_of(record.job.model).dialect
        following = run.spoken_dialect.after(
            asked, refusal.refused_field or "", is_correction=record.under_schema
        )
        if following is None:
            words = refusal_words(refusal, record.base_url)
            run.stop_signal.stop(RunStopped("failed", f"{words} (in batch {record.name})"))
            return False
        log.info("Batch %s was refused for its form and is sent in another: %s", record.name, refusal.message)
        return True

    def _judge(self, name: str, result: HarvestResult) -> None:
        """Stop the run where a further batch would be no better."""
        settings = self.run.job.run
        self._were_answered = self._were_answered or result.answered > 0
        if result.tally is not None:
            self._tallies.append(result.tally)
        sentence = result.everyones or reason_to_stop(
            self._tallies, settings.stop_at_failed_fraction, settings.max_attempts
        )
        if sentence:
            self.run.stop_signal.stop(RunStopped("failed", f"{sentence} (in batch {name})"))

    def _poll(self, record: BatchRecord) -> None:
        invalid = self.outstanding.poll(record)
        if invalid is not None and self.outstanding.is_mine(record):
            self._was_invalid(record, invalid.errors)
        now = self.outstanding.out.get(record.name)
        if now is None and record.step == "creating" and self.outstanding.is_mine(record):
            self._was_never_made(record)
        if now is not None and (self.cancelled_at is not None or not self.outstanding.is_mine(now)):
            self.outstanding.cancel(now)

    def _was_invalid(self, record: BatchRecord, errors: Sequence[BatchError]) -> None:
        """Nothing was paid. Where the provider's queue was full, smaller batches may go through later; else it is the end.

        Where a field was refused by its name, the other form may go through.
        """
        words = self.outstanding.settled[-1].message
        codes = [error.code for error in errors]
        told = (failure_of_status(_INVALID, one.code, one.message, sent=Sent()) for one in errors)
        of_form = next((failure for failure in told if failure.kind == FORM_KIND), None)
        if of_form is not None and QUEUE_IS_FULL not in codes:
            if self._ask_otherwise(record, of_form):
                self.unsent = None
            return
        if QUEUE_IS_FULL not in codes:
            self.run.stop_signal.stop(
                RunStopped("failed", f"the provider considers a batch invalid: {words}")
            )
            return
        waiting = sum(other.estimated_tokens for other in self.outstanding.mine)
        self.queue_tokens = waiting + record.estimated_tokens // 2
        self._pause()
        self.unsent = None
        log.warning("The provider's queue is full; smaller batches are sent later: %s", words)

    def _was_never_made(self, record: BatchRecord) -> None:
        self._sent_in_vain += 1
        if self._sent_in_vain >= self.run.job.run.max_attempts:
            words = f"the provider has created none of {self._sent_in_vain} batches: {record.message or 'it did not answer'}"
            self.run.stop_signal.stop(RunStopped("failed", words))

    def _pause(self) -> None:
        self.paused_until = time.monotonic() + self.run.job.run.poll_seconds

    def _room(self) -> Room:
        limits, tokens = self.run.job.batch, self.queue_tokens
        mine = self.outstanding.mine
        if tokens is not None and mine:
            tokens -= sum(record.estimated_tokens for record in mine)
        provider = provider_of(self.run.job.model)
        return Room(
            min(limits.max_requests, provider.max_requests or limits.max_requests),
            min(limits.max_bytes, provider.max_bytes or limits.max_bytes),
            tokens,
            self.run.budget.left_usd,
        )

    def _why_never(self, no_room: NoRoom) -> Failure | None:
        """Why a text would not fit even if nothing else was out; None where it would."""
        limit = self.run.budget.limit
        if no_room.bound == "bytes":
            largest = self.run.job.batch.max_bytes
            return Failure(
                "too_long", f"the request for it alone is larger than batch.max_bytes = {largest:,}"
            )
        too_dear = limit.too_dear(no_room.worst_case_usd or Decimal(0)) if limit is not None else None
        return Failure("over_budget", str(too_dear)) if no_room.bound == "budget" and too_dear else None

    def _tell_no_room(self, bound: Bound) -> None:
        """Not even one text fits: wait for a batch to end, or stop where none is out."""
        self.has_room = False
        if self.outstanding.mine:
            return
        own = self.run.job.batch.max_queue_tokens
        if bound == "tokens" and self.queue_tokens != own:
            # A guess that has become too small: others may be filling the provider's queue.
            self.queue_tokens, self.has_room = own, True
            self._pause()
            return
        limit = self.run.budget.limit
        if bound == "budget" and limit is not None:
            sentence = (
                f"{limit.field} = {limit.limit_usd} would be passed by one more text on the batch lane "
                f"(${limit.left_usd - (self.run.budget.left_usd or 0):.6f} spent by this run or held for batches)"
            )
            self.run.stop_signal.stop(BudgetReached(sentence))
        else:
            sentence = f"a single text is larger than {_FIELD_OF_BOUND[bound]} allows"
            self.run.stop_signal.stop(RunStopped("failed", sentence))
