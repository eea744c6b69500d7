"""The runner through which Prefect sees a run: each step is a task run, and what is published becomes artifacts."""

import concurrent.futures
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any, Generic

from langchain_core.runnables.config import ContextThreadPoolExecutor
from prefect import runtime, task
from prefect.cache_policies import NO_CACHE

from labelmill.job.model import LabelJob
from labelmill.run.context import CHUNKS_IN_FLIGHT, RunContext
from labelmill.run.runner import CHUNKS_OPEN, Item, Runner, T
from tasks.artifacts import artifacts_of
from tasks.asset import announcements_of
from tasks.limits import shared_slot
from tasks.progress import progress_lines
from tasks.server_watch import ServerWatch, quiet_about_silence

_LOOK_SECONDS = 5.0


class PrefectRunner(Runner):
    """Takes the steps of a run as Prefect tasks.

    A task is made around what a step does, so that it has no parameters: Prefect would walk through them, hash them and
    look for futures in them, and a run's context is no value. No task is tried again by Prefect, and none is cached: the
    ledger is the memory.

    With `run.shared_limit` whatever asks the model holds one slot of that global concurrency limit while it works.

    A step that Prefect can't begin, because its server is away, is taken all the same, and nobody sees it.
    """

    def __init__(self, job: LabelJob) -> None:
        super().__init__(job)
        self._server = ServerWatch()
        self._few = threading.Semaphore(CHUNKS_IN_FLIGHT)
        quiet_about_silence()

    def step(self, kind: str, do: Callable[[], T], name: str | None = None, *, asks: bool = False) -> T:
        """Take a step as a task run."""
        taken = _Taken(partial(self._take, kind, do, asks=asks))
        if not self._server.is_away:
            try:
                return task(name=kind, task_run_name=name or kind, retries=0, cache_policy=NO_CACHE)(
                    taken.by_task
                )()
            except Exception:
                if taken.error is not None:
                    raise
        return taken.result()

    def map(
        self, kind: str, do: Callable[[Item], T], items: Sequence[Item], name_of: Callable[[Item], str]
    ) -> list[T | BaseException]:
        """Take a step for each item, each a task run in the flow's task runner."""
        steps = [_Taken(partial(self._take, kind, partial(do, item), asks=True)) for item in items]

        def take(number: int) -> T:
            return steps[number].by_task()

        def name() -> str:
            return name_of(items[runtime.task_run.parameters["number"]])

        if items and not self._server.is_away:
            named = task(name=kind, task_run_name=name, retries=0, cache_policy=NO_CACHE)
            taken = named(take).map(list(range(len(items))))
            futures = [future.wrapped_future for future in taken]  # type: ignore[attr-defined]  # the flow's threads
            while concurrent.futures.wait(futures, _LOOK_SECONDS).not_done:
                # Once it is found to be away, none of them waits for it any more.
                _ = self._server.is_away
        if left := [step for step in steps if not step.is_begun]:
            with ContextThreadPoolExecutor(CHUNKS_OPEN) as pool:
                concurrent.futures.wait([pool.submit(step.by_task) for step in left])
        return [step.outcome for step in steps]

    def _take(self, kind: str, do: Callable[[], T], *, asks: bool) -> T:
        with self._slot(asks=asks):
            return super().step(kind, do)

    @contextmanager
    def watch(self, context: RunContext) -> Iterator[None]:
        """Tell in the log and on the run's graph where it stands."""
        with progress_lines(context), super().watch(context):
            yield

    def shows(self, record: Any, *parts: Any) -> Mapping[str, Callable[[], object]]:
        """By the artifacts of a record."""
        return self._shown(artifacts_of(record, *parts))

    def announces(self, record: Any) -> Mapping[str, Callable[[], object]]:
        """By an asset and an event."""
        return self._shown(announcements_of(record))

    def _shown(self, steps: Mapping[str, Callable[[], object]]) -> Mapping[str, Callable[[], object]]:
        return {what: self._server.showing(show) for what, show in steps.items()}

    @contextmanager
    def _slot(self, *, asks: bool) -> Iterator[None]:
        if not asks or self.job.run.shared_limit is None:
            yield
            return
        # No slot is held by a chunk that only waits for its turn.
        with self._few, shared_slot(self.job):
            yield


class _Taken(Generic[T]):
    """A step that is taken once, by a task run where one begins, and what came of it."""

    def __init__(self, do: Callable[[], T]) -> None:
        self._do = do
        self.is_begun = False
        self.error: BaseException | None = None
        self._results: list[T] = []

    def by_task(self) -> T:
        """Take it."""
        self.is_begun = True
        try:
            result = self._do()
        except BaseException as error:
            self.error = error
            raise
        self._results.append(result)
        return result

    def result(self) -> T:
        """What came of it, taken now where no task run has begun it."""
        return self._results[0] if self._results else self.by_task()

    @property
    def outcome(self) -> T | BaseException:
        """What it has returned, or raised."""
        return self.error if self.error is not None else self._results[0]
