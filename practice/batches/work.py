"""Checking and answering batches, in threads, each once and no sooner than needed."""

import asyncio
import contextlib
import threading
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Protocol, TypeVar

from practice.batches.check import check_input
from practice.batches.rows import BatchTask, Tally, answer_rows
from practice.batches.state import FINAL, due_status, ended_at, finishing_rows, is_to_be_ended
from practice.batches.store import BatchRecord, BatchStore, Checked, Ended, Mistake
from practice.settings import PracticeSettings

T = TypeVar("T")


class WorkState(Protocol):
    """What working on batches needs of the server."""

    settings: PracticeSettings

    def count_attempt(self, text_key: str) -> int:
        """One more attempt for a text, from any thread."""

    def quota_left(self) -> int | None:
        """How many more answers are paid for; None for any number."""

    def settle_batch(self, tally: Tally) -> None:
        """Take over what a batch came to."""


class BatchWork:
    """What is being done for the batches of one server."""

    def __init__(self, store: BatchStore, state: WorkState) -> None:
        self._store = store
        self._state = state
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._epoch = 0
        self._checking = asyncio.Lock()
        self._finishing = asyncio.Lock()

    def forget(self) -> None:
        """Give up what is being done: its batches are no more."""
        self._epoch += 1
        self._tasks.clear()

    def begin(self, batch_id: str) -> asyncio.Task[None] | None:
        """Have a batch checked, and answered once it is due; None if there is nothing to do."""
        record = self._store.batch(batch_id)
        if record is None or not self._is_open(record):
            return None
        task = self._tasks.get(batch_id)
        if task is None or task.done():
            task = asyncio.create_task(self._advance(batch_id, self._epoch))
            self._tasks[batch_id] = task
        return task

    async def bring_up(self, batch_ids: Iterable[str], patience_seconds: float) -> None:
        """Wait until these batches are as far as the clock says, but not longer than this."""
        tasks = [task for batch_id in batch_ids if (task := self.begin(batch_id)) is not None]
        if tasks:
            done, _ = await asyncio.wait(tasks, timeout=patience_seconds)
            for task in done:
                task.result()

    def _is_open(self, record: BatchRecord) -> bool:
        return record.checked is None or is_to_be_ended(record, self._state.settings, time.time())

    async def _advance(self, batch_id: str, epoch: int) -> None:
        # One after another, in the order of creation: which batch the queue has no room for must not vary.
        async with self._checking:
            record = self._current(batch_id, epoch)
            if record is not None and record.checked is None:
                await self._check(record, epoch)
        async with self._finishing:
            record = self._current(batch_id, epoch)
            if record is not None and is_to_be_ended(record, self._state.settings, time.time()):
                await self._finish(record, epoch)

    def _current(self, batch_id: str, epoch: int) -> BatchRecord | None:
        return self._store.batch(batch_id) if epoch == self._epoch else None

    async def _check(self, record: BatchRecord, epoch: int) -> None:
        settings = self._state.settings
        path = self._store.input_path(record.id)
        checked = await _in_thread(lambda: check_input(path, record.endpoint, settings))
        current = self._current(record.id, epoch)
        if current is not None:
            checked = self._queued(checked, settings)
            self._store.save_batch(current.model_copy(update={"checked": checked}))

    def _queued(self, checked: Checked, settings: PracticeSettings) -> Checked:
        """The check's result, or a mistake where the queue has no room for the batch."""
        most = settings.batch_queue_tokens
        if most is None or checked.mistakes:
            return checked
        now = time.time()
        waiting = sum(
            other.checked.input_tokens
            for other in self._store.batches()
            if other.checked is not None and due_status(other, settings, now) not in FINAL
        )
        if waiting + checked.input_tokens <= most:
            return checked
        message = (
            f"Enqueued token limit reached for {checked.model} in organization org-practice. "
            f"Limit: {most:,} enqueued tokens. Please try again once some in_progress batches have been completed."
        )
        mistake = Mistake(code="token_limit_exceeded", message=message)
        return Checked(model=checked.model, mistakes=(mistake,))

    async def _finish(self, record: BatchRecord, epoch: int) -> None:
        settings, now = self._state.settings, time.time()
        status = due_status(record, settings, now)
        ended = Ended(status=status, ended_at=ended_at(record, settings))
        tally: Tally | None = Tally()
        output, errors = self._store.scratch(), self._store.scratch()
        if status != "failed" and record.checked is not None and not record.checked.mistakes:
            task = BatchTask(
                batch_id=record.id,
                status=status,
                finishing=finishing_rows(record, settings, now),
                settings=settings,
                quota_left=self._state.quota_left(),
                count_attempt=self._state.count_attempt,
                is_wanted=lambda: epoch == self._epoch,
            )
            source = self._store.input_path(record.id)
            tally = await _in_thread(lambda: answer_rows(task, source, output, errors))
        current = self._current(record.id, epoch)
        if tally is None or current is None:
            output.unlink(missing_ok=True)
            errors.unlink(missing_ok=True)
            return
        left = {
            f"{kind}_file_id": self._left(record, path, kind)
            for kind, path in (("output", output), ("error", errors))
        }
        ended = ended.model_copy(update=left | {"failed": tally.failed, "bill": tally.bill()})
        self._store.save_texts(record.id, tally.texts)
        self._store.save_batch(current.model_copy(update={"ended": ended}))
        self._state.settle_batch(tally)

    def _left(self, record: BatchRecord, path: Path, kind: str) -> str | None:
        """The id of the file a batch leaves; none where it would be empty."""
        if not path.exists() or not path.stat().st_size:
            path.unlink(missing_ok=True)
            return None
        name = f"{record.id}_{kind}.jsonl"
        life = record.output_life_seconds
        return self._store.add_file(path, name, "batch_output", life, time.time()).id


async def _in_thread(function: Callable[[], T]) -> T:
    """Run a function in a thread that keeps no process alive, as those of asyncio's pool would."""
    loop = asyncio.get_running_loop()
    future: asyncio.Future[T] = loop.create_future()

    def tell(result: T | None, error: BaseException | None) -> None:
        if future.cancelled():
            return
        if error is not None:
            future.set_exception(error)
        else:
            future.set_result(result)  # type: ignore[arg-type]

    def run() -> None:
        result, error = None, None
        try:
            result = function()
        except BaseException as raised:  # noqa: BLE001 - handed to the one who waits
            error = raised
        # The loop may have ended meanwhile.
        with contextlib.suppress(RuntimeError):
            loop.call_soon_threadsafe(tell, result, error)

    threading.Thread(target=run, daemon=True).start()
    return await future
