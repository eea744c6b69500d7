"""What went wrong between Labelmill and a provider's Batch API, as the batch lane's two errors."""

from labelmill.batch.client import BatchRefused, BatchUnreachable
from labelmill.model.endpoint import Endpoint
from labelmill.model.failures import Failure, Policy, failure_of


def trouble_of(error: BaseException, endpoint: Endpoint) -> BatchRefused | BatchUnreachable:
    """An error of the provider's or the network's doing, in the provider's own words and without the key.

    An answer that can't be read counts as none: what was asked may have been done.
    """
    match failure_of(error):
        case Failure(message=words, policy=Policy.GIVE_UP | Policy.DOUBT):
            return BatchRefused(endpoint.hide_key(words))
        case Failure(message=words):
            return BatchUnreachable(endpoint.hide_key(words))
