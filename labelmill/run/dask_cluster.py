"""Dask as the place where orders are taken: the workers of a cluster that exists, or of one on this machine.

Dask runs a task again whose worker died, finished ones too, and runs it beside a worker that is only slow. What an order leaves in
the output's store cures that (`run/orders.py`), so that a task's state decides nothing here.
"""

import logging
import threading
from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import ExitStack, contextmanager
from functools import cached_property
from importlib import import_module
from typing import Any

from labelmill.errors import JobRefused, Mistake
from labelmill.job.model import Run
from labelmill.run.machines import Submit
from labelmill.run.orders import Order

_CONNECT_SECONDS = 10


@contextmanager
def dask_workers(run: Run) -> Iterator[Submit]:
    """Have orders taken by Dask for the length of the block. A cluster of our own is started with the first one.

    Raises:
        JobRefused: nothing answers at the job's address; nothing was spent.
    """
    with ExitStack() as stack:
        cluster = _Cluster(run, stack)
        if run.runner_address is not None:
            cluster.connect()
        yield cluster.submit


class _Cluster:
    """A cluster, once it is needed. Threads share it."""

    def __init__(self, run: Run, stack: ExitStack) -> None:
        self._run, self._stack = run, stack
        self._lock = threading.Lock()

    def connect(self) -> None:
        """Connect to the cluster that exists.

        Raises:
            JobRefused: nothing answers there.
        """
        try:
            _ = self._client
        except (OSError, ValueError) as error:
            sentence = f"no Dask scheduler answers at {self._run.runner_address!r} ({type(error).__name__})"
            raise JobRefused([Mistake("run.runner_address", sentence)]) from None

    def submit(self, order: Order) -> "Future[Any]":
        """Have a worker take an order."""
        with self._lock:
            client = self._client
        done: Future[Any] = Future()
        task = client.submit(
            take_order, order.to_json(), key=f"labelmill-{order.lease_id}", pure=False, retries=0
        )

        def end(task: Any) -> None:
            try:
                done.set_result(task.result())
            except BaseException as error:  # noqa: BLE001  (of whatever kind Dask has)
                done.set_exception(error)

        task.add_done_callback(end)
        return done

    @cached_property
    def _client(self) -> Any:
        distributed = import_module("distributed")
        if self._run.runner_address is not None:
            return self._stack.enter_context(
                distributed.Client(self._run.runner_address, set_as_default=False, timeout=_CONNECT_SECONDS)
            )
        import_module("dask").config.set({"distributed.scheduler.allowed-failures": 0})
        cluster = self._stack.enter_context(
            distributed.LocalCluster(
                n_workers=self._run.workers,
                threads_per_worker=1,
                dashboard_address=None,
                silence_logs=logging.ERROR,
            )
        )
        return self._stack.enter_context(distributed.Client(cluster, set_as_default=False))


def take_order(told: str) -> None:
    """Take an order; what a Dask worker calls. The receipt is in the store, and nothing of it passes through Dask."""
    import_module("labelmill.run.machine").take(Order.from_json(told))
