"""Which library speaks the Batch API for a job."""

from labelmill.batch.client import BatchClient
from labelmill.batch.langasync_extra import adapter_mistakes
from labelmill.batch.openai_client import OpenAIBatchClient
from labelmill.errors import JobRefused
from labelmill.job.model import LabelJob
from labelmill.providers.endpoint import Endpoint
from labelmill.providers.table import provider_of


def client_of(job: LabelJob, endpoint: Endpoint) -> BatchClient:
    """The client that a job's `batch.adapter` names for its provider, at an endpoint that is reachable.

    Raises:
        JobRefused: the adapter is not installed.
    """
    timeout_seconds = job.model.timeout_seconds
    if job.batch.adapter == "openai":
        return OpenAIBatchClient(endpoint, timeout_seconds)
    if mistakes := adapter_mistakes(job.batch, provider_of(job.model)):
        raise JobRefused(mistakes)
    # Imported here: langasync is an optional extra.
    if job.model.provider == "anthropic":
        from labelmill.batch.anthropic_client import AnthropicBatchClient  # noqa: PLC0415

        return AnthropicBatchClient(endpoint, timeout_seconds)
    if job.model.provider == "google":
        from labelmill.batch.gemini_client import GeminiBatchClient  # noqa: PLC0415

        return GeminiBatchClient(endpoint, timeout_seconds)
    from labelmill.batch.langasync_client import LangasyncBatchClient  # noqa: PLC0415

    return LangasyncBatchClient(endpoint, timeout_seconds)
