"""Opening the desk of a run: who speaks for it, what its batches cost, and what earlier runs have left on it."""

from collections.abc import Callable

from labelmill.batch.outstanding import Means, OutstandingBatches
from labelmill.batch.record import BatchFolder
from labelmill.batch.session import BatchSession
from labelmill.live.limiter import PriorityLimiter
from labelmill.money.budget import Budget
from labelmill.providers.endpoint import Endpoint
from labelmill.providers.table import api_key_env_of, client_of, price_of
from labelmill.run.label_run import LabelRun
from labelmill.store.ledger import Ledger


def open_batches(
    run: LabelRun, gate: PriorityLimiter, budget: Budget, take_number: Callable[[], int]
) -> BatchSession:
    """The desk of a run, to be opened under its output folder's lock.

    The money that batches of earlier runs may still cost is held from here on.

    Raises:
        JobRefused: there is a record of a batch that this version can't read.
    """
    means = Means(
        job=run.job,
        run_id=run.run_id,
        task_key=run.task_key,
        practice=run.practice,
        base_url=run.base_url,
        folder=BatchFolder(run.folder.batches),
        ledger_of=lambda task_key: Ledger(run.folder.ledger(task_key)),
        client_of=lambda job, base_url: client_of(
            job, Endpoint(base_url, api_key_env_of(job.model), run.practice)
        ),
        price_of=lambda job, base_url, lane: price_of(job.model, job.price, base_url, lane),
        take_number=take_number,
        gate=gate,
        budget=budget,
    )
    notes = OutstandingBatches(means)
    notes.take_over()
    return BatchSession(notes)
