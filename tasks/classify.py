"""Classifying: one task run per chunk."""

from pathlib import Path
from typing import Any

from prefect import runtime, task
from prefect.cache_policies import NO_CACHE

from labelmill.dataset.plan import Chunk
from labelmill.errors import CannotWrite
from labelmill.run import classify
from labelmill.run.classify import ChunkReceipt
from labelmill.run.label_run import LabelRun
from tasks.limits import shared_slot


def _name() -> str:
    parameters: dict[str, Any] = runtime.task_run.parameters
    return f"classify {parameters['chunk'].number + 1}/{parameters['of']}"


@task(name="classify", task_run_name=_name, retries=0, cache_policy=NO_CACHE)
def classify_chunk(chunk: Chunk, texts: Path, of: int, run: LabelRun) -> ChunkReceipt:  # noqa: ARG001  (`of` names it)
    """Ask for one chunk's labels and leave them in the ledger. Safe to run again: nothing is asked twice.

    With `run.shared_limit` a chunk holds one slot of that global concurrency limit while it works.
    """
    with shared_slot(run.job):
        try:
            return classify.classify_chunk(run.run_id, texts, chunk)
        except OSError as error:
            raise CannotWrite.because(error, run.folder.path) from None
