"""Which library speaks the Batch API for a job."""

from labelmill.batch.client import BatchClient
from labelmill.batch.extra import adapter_mistakes
from labelmill.batch.openai_client import OpenAIBatchClient
from labelmill.batch.output import CompletionReader
from labelmill.errors import JobRefused
from labelmill.job.model import LabelJob
from labelmill.model.endpoint import Endpoint


def client_of(job: LabelJob, endpoint: Endpoint) -> BatchClient:
    """The client that a job's `batch.adapter` names, for an endpoint that is reachable.

    Raises:
        JobRefused: the adapter is not installed.
    """
    reader = CompletionReader.of(job.model.name)
    if job.batch.adapter == "openai":
        return OpenAIBatchClient(endpoint, reader, job.model.timeout_seconds)
    if mistakes := adapter_mistakes(job.batch):
        raise JobRefused(mistakes)
    from labelmill.batch.langasync_client import LangasyncBatchClient  # noqa: PLC0415  (an optional extra)

    return LangasyncBatchClient(endpoint, reader, job.model.timeout_seconds)
