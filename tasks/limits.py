"""Limits that live in Prefect."""

import shlex
import sys
from contextlib import AbstractContextManager, nullcontext

from prefect.client.orchestration import get_client
from prefect.concurrency.sync import concurrency
from prefect.exceptions import ObjectNotFound
from prefect.settings import PREFECT_API_URL

from labelmill.errors import JobRefused, Mistake
from labelmill.job.model import LabelJob
from labelmill.providers.environment import without_credentials


def check_shared_limit(job: LabelJob) -> None:
    """See that the job's global concurrency limit exists: Prefect would limit nothing, or fail after planning.

    Raises:
        JobRefused: it doesn't.
    """
    name = job.run.shared_limit
    if name is None:
        return
    with get_client(sync_client=True) as client:
        try:
            client.read_global_concurrency_limit_by_name(name)
        except ObjectNotFound:
            url = without_credentials(PREFECT_API_URL.value() or "")
            # Named in full: a Prefect of another environment, or one that knows no address, would make it elsewhere.
            command = (
                f"PREFECT_API_URL={url} {sys.executable} -m prefect gcl create {shlex.quote(name)} --limit 4"
            )
            sentence = f"Prefect has no global concurrency limit {name!r}; make it with: {command}"
            raise JobRefused([Mistake("run.shared_limit", sentence)]) from None


def shared_slot(job: LabelJob) -> AbstractContextManager[None]:
    """One slot of the job's global concurrency limit for the length of a block; nothing where it names none.

    A limit that doesn't exist fails the run rather than limit nothing.
    """
    name = job.run.shared_limit
    return concurrency(name, strict=True, raise_on_lease_renewal_failure=False) if name else nullcontext()
