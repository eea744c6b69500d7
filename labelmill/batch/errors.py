"""What went wrong between Labelmill and a provider's Batch API, as the batch lane's two errors."""

from labelmill.batch.client import BatchRefused, BatchUnreachable
from labelmill.providers.endpoint import Endpoint
from labelmill.providers.failures import failure_of
from labelmill.question.failures import Policy, printable

_REFUSED = frozenset({Policy.GIVE_UP, Policy.DOUBT})


def error_of(error: BaseException, endpoint: Endpoint) -> BatchRefused | BatchUnreachable:
    """An error of the provider's or the network's doing, in the provider's own words and without the key.

    An answer that can't be read counts as none: what was asked may have been done.
    """
    failure = failure_of(error)
    kind = BatchRefused if failure.policy in _REFUSED else BatchUnreachable
    return kind(printable(endpoint.hide_key(failure.message)))
