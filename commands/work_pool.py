"""The work pool that deployed runs wait in, and the limit that jobs may share."""

from contextlib import suppress

from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.actions import GlobalConcurrencyLimitCreate, WorkPoolCreate
from prefect.exceptions import ObjectAlreadyExists, ObjectNotFound
from prefect.workers.process import ProcessWorker

from commands.deployments import WORK_POOL
from commands.prefect_setup import SHARED_LIMIT

SHARED_LIMIT_SLOTS = 4


def have_work_pool(client: SyncPrefectClient) -> None:
    """Create the pool where it is missing; one that is there may be of another type, and stays as it is."""
    try:
        client.read_work_pool(WORK_POOL)
    except ObjectNotFound:
        template = ProcessWorker.get_default_base_job_template()
        with suppress(ObjectAlreadyExists):  # another deploy was quicker
            client.create_work_pool(
                WorkPoolCreate(name=WORK_POOL, type=ProcessWorker.type, base_job_template=template)
            )


def have_shared_limit(client: SyncPrefectClient) -> None:
    """Create the global concurrency limit where it is missing; one that is there keeps its slots."""
    try:
        client.read_global_concurrency_limit_by_name(SHARED_LIMIT)
    except ObjectNotFound:
        limit = GlobalConcurrencyLimitCreate(name=SHARED_LIMIT, limit=SHARED_LIMIT_SLOTS)
        client.create_global_concurrency_limit(limit)
