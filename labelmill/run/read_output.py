"""Looking into an output as a run would, for whoever asks nothing: no LangChain is needed for it."""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

from labelmill.check.provider import answering_endpoint
from labelmill.errors import JobRefused
from labelmill.job.model import LabelJob
from labelmill.providers.environment import bypass_proxies, open_files_mistakes
from labelmill.run.context import RunContext, new_run_id
from labelmill.run.wording import with_wording
from labelmill.store.folder import OutputFolder
from labelmill.store.ledger import readable
from labelmill.store.parts import parts_in


@contextmanager
def reading_output(job: LabelJob, model_base_url: str | None = None) -> Iterator[RunContext]:
    """Look into the output of a job that was checked as a run of it would, and write nothing into it.

    No lock is held, no practice provider is started, and nobody is asked but for the list of models, which is free. What a
    dead run has left in journals is not read.

    Raises:
        JobRefused: no request would be answered, or a part of a ledger can't be read.
    """
    bypass_proxies()
    endpoint = answering_endpoint(job, model_base_url)
    if mistakes := open_files_mistakes(job.run.max_concurrency):
        raise JobRefused(mistakes)
    folder = OutputFolder.of(job)
    folder.refresh()
    # Those of other tasks too, as a run reads them: what they cost counts against the day's and the month's budget.
    ledgers = sorted(folder.ledgers.glob("*/"))
    readable([part for ledger in ledgers for part in parts_in(ledger)])
    started = datetime.now(UTC)
    with tempfile.TemporaryDirectory(prefix="labelmill-") as scratch:
        context = RunContext(
            job,
            new_run_id(started),
            endpoint.base_url or "",
            endpoint.practice,
            started,
            scratch_folder=Path(scratch),
        )
        context.job = with_wording(job, context.past_jobs, practice=context.practice)
        yield context
