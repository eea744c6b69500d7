"""How the steps of a run are taken, and who sees them: the one seam between a run and whatever shows it."""

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import partial
from typing import Any, TypeVar

from langchain_core.runnables.config import ContextThreadPoolExecutor

from labelmill.errors import CannotWrite
from labelmill.job.model import LabelJob
from labelmill.live.progress import viewer
from labelmill.run.context import RunContext
from labelmill.run.dask_cluster import dask_workers
from labelmill.run.machines import Submit
from labelmill.run.signals import draining_signals
from labelmill.stop import StopSignal

T = TypeVar("T")
Item = TypeVar("Item")

log = logging.getLogger(__name__)

CHUNKS_OPEN = 16
"""Chunks that are begun at most: those that may send (`CHUNKS_IN_FLIGHT`), those that wait for the last of what they ask again,
and those that wait for their turn.
"""


class Runner:
    """Takes the steps of a job's run in this process, and maps chunks over threads. Nobody looks on.

    A shell such as Prefect's takes the same steps where people see them; it changes nothing of what they do.
    """

    def __init__(self, job: LabelJob) -> None:
        self.job = job

    def step(self, kind: str, do: Callable[[], T], name: str | None = None, *, asks: bool = False) -> T:  # noqa: ARG002  (for who shows it)
        """Take one step.

        Args:
            kind: what all steps of its kind are called.
            do: what it does. What it returns is small: paths and counts, no texts.
            name: what this one is called, where it is not its kind.
            asks: whether it sends requests.

        Raises:
            CannotWrite: a file can't be written.
        """
        with self.disk_errors():
            return do()

    def map(
        self,
        kind: str,
        do: Callable[[Item], T],
        items: Sequence[Item],
        name_of: Callable[[Item], str],  # noqa: ARG002  (for who shows it)
    ) -> list[T | BaseException]:
        """Take a step for each of several items, a few at a time; all are waited for, whatever becomes of some.

        Returns:
            what each has returned, or raised.
        """
        with ContextThreadPoolExecutor(CHUNKS_OPEN) as pool:
            taken = [pool.submit(partial(self.step, kind, partial(do, item))) for item in items]
            return [step.exception() or step.result() for step in taken]

    def machines(self) -> AbstractContextManager[Submit | None]:
        """Where the chunks of the live lane are classified, where that is not here: by how an order is taken there."""
        return dask_workers(self.job.run) if self.job.run.runner == "dask" else nullcontext(None)

    def watch(self, context: RunContext) -> AbstractContextManager[None]:
        """Look on while a run asks and merges, and show it to whoever began it. The first signal lets it drain."""
        show = viewer.get()
        if show is not None:
            show(context.progress)
        return self.draining(context.stop_signal)

    def draining(self, stop_signal: StopSignal) -> AbstractContextManager[None]:
        """What a signal to the process does to a run meanwhile."""
        return draining_signals(stop_signal, log.warning)

    def shows(self, record: Any, *parts: Any) -> Mapping[str, Callable[[], object]]:  # noqa: ARG002  (for who shows it)
        """How what has been published is shown: by what is shown, what is to be done for it.

        Args:
            record: a record.
            parts: what of its report is not in it; None for a part that there isn't.
        """
        return {}

    def announces(self, record: Any) -> Mapping[str, Callable[[], object]]:  # noqa: ARG002  (for who announces it)
        """How others are told that a run has ended: by what is announced, what is to be done for it."""
        return {}

    @contextmanager
    def disk_errors(self) -> Iterator[None]:
        """Let a file that can't be written be a sentence."""
        try:
            yield
        except OSError as error:
            raise CannotWrite.because(error, self.job.output.path) from None
