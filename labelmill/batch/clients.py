"""Which library speaks the Batch API for a job."""

from labelmill.batch.client import BatchClient
from labelmill.batch.openai_client import OpenAIBatchClient
from labelmill.batch.output import CompletionReader
from labelmill.job.model import LabelJob
from labelmill.model.endpoint import Endpoint


def client_of(job: LabelJob, endpoint: Endpoint) -> BatchClient:
    """The client that a job's `batch.adapter` names, for an endpoint that is reachable."""
    return OpenAIBatchClient(endpoint, CompletionReader.of(job.model.name), job.model.timeout_seconds)
