"""The runner through which Prefect sees a run: each step is a task run, and what is published becomes artifacts."""

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import partial
from typing import Any

from prefect import runtime, task
from prefect.cache_policies import NO_CACHE
from prefect.futures import wait

from labelmill.errors import LabelmillError
from labelmill.run.context import RunContext
from labelmill.run.runner import Item, Runner, T
from tasks.artifacts import artifacts_of
from tasks.asset import announcements_of
from tasks.limits import shared_slot
from tasks.progress import progress_lines


class PrefectRunner(Runner):
    """Takes the steps of a run as Prefect tasks.

    A task is made around what a step does, so that it has no parameters: Prefect would walk through them, hash them and
    look for futures in them, and a run's context is no value. No task is tried again by Prefect, and none is cached: the
    ledger is the memory.

    With `run.shared_limit` whatever asks the model holds one slot of that global concurrency limit while it works.
    """

    def step(self, kind: str, do: Callable[[], T], name: str | None = None, *, asks: bool = False) -> T:
        """Take a step as a task run."""

        def take() -> T:
            with self._slot(asks=asks):
                return super(PrefectRunner, self).step(kind, do)

        return task(name=kind, task_run_name=name or kind, retries=0, cache_policy=NO_CACHE)(take)()

    def map(
        self, kind: str, do: Callable[[Item], T], items: Sequence[Item], name_of: Callable[[Item], str]
    ) -> list[T | BaseException]:
        """Take a step for each item, each a task run in the flow's task runner."""

        def take(item: Item) -> T:
            with self._slot(asks=True):
                return super(PrefectRunner, self).step(kind, partial(do, item))

        def name() -> str:
            return name_of(runtime.task_run.parameters["item"])

        if not items:
            return []
        taken = task(name=kind, task_run_name=name, retries=0, cache_policy=NO_CACHE)(take).map(items)
        wait(taken)
        return [one.state.result(raise_on_failure=False) for one in taken]

    @contextmanager
    def watch(self, context: RunContext) -> Iterator[None]:
        """Tell in the log and on the run's graph where it stands."""
        with progress_lines(context), super().watch(context):
            yield

    def shows(self, record: Any, *parts: Any) -> Mapping[str, Callable[[], object]]:
        """By the artifacts of a record."""
        return artifacts_of(record, *parts)

    def announces(self, record: Any) -> Mapping[str, Callable[[], object]]:
        """By an asset and an event."""
        return announcements_of(record)

    def _slot(self, *, asks: bool) -> AbstractContextManager[None]:
        return shared_slot(self.job) if asks else nullcontext()


def _without_traceback(line: logging.LogRecord) -> bool:
    if line.exc_info and isinstance(line.exc_info[1], LabelmillError):
        line.exc_info = None
    return True


# Prefect logs whatever a task raises with its traceback; a sentence needs none.
logging.getLogger("prefect.task_runs").addFilter(_without_traceback)
