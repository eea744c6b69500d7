"""Classifying: one task run per chunk."""

from typing import Any

from prefect import runtime, task
from prefect.cache_policies import NO_CACHE

from labelmill.dataset.plan import Chunk
from labelmill.run import classify
from labelmill.run.classify import ChunkReceipt


def _name() -> str:
    parameters: dict[str, Any] = runtime.task_run.parameters
    return f"classify {parameters['chunk'].number + 1}/{parameters['of']}"


@task(name="classify", task_run_name=_name, cache_policy=NO_CACHE, tags=["labelmill"])
def classify_chunk(chunk: Chunk, of: int, run_id: str) -> ChunkReceipt:  # noqa: ARG001  (`of` is for the name)
    """Ask for one chunk's labels and leave them in the ledger. Safe to run again: nothing is asked twice."""
    return classify.classify_chunk(run_id, chunk)
