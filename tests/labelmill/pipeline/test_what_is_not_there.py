"""Endpoints that lack something a job asks for, and don't say so by the field's name."""

import pytest
from servers.base import Endpoint, completion
from servers.stand_in import Dialect, StandIn

TEXTS = ["match one", "bank two", "match three"]
NOT_GIVEN = (
    "The endpoint gave no token probabilities, which model.confidence asks for: label_confidence is null for the 3 texts "
    "labeled in this run"
)


class Sure(Endpoint):
    """Tells token probabilities with so many of its answers, the first ones, and passes the field over in the others."""

    def __init__(self, times):
        super().__init__()
        self.times = times

    def reply(self, call):
        """The right label."""
        tokens = [{"token": call.label, "logprob": -0.5, "bytes": None, "top_logprobs": []}]
        told = {"logprobs": {"content": tokens} if call.number <= self.times else None}
        return completion(call, choice=told)


@pytest.mark.parametrize(("times", "notices"), [(0, [NOT_GIVEN]), (1, [])])
def test_probabilities_that_are_passed_over_are_said_to_be_missing(world, times, notices):
    """A job that asks for confidence and gets none is told so beside its numbers; once, and not when nothing was asked."""
    world.has(TEXTS)
    with Sure(times) as server:
        first = world.run(server, model={"confidence": True})
        second = world.run(server, model={"confidence": True})
    assert first.notices == notices
    assert world.rows["label_confidence"].null_count() == len(TEXTS) - times
    assert (second.requests, second.notices) == (0, [])


def test_an_endpoint_without_batches_is_told_of_with_the_lane_to_take(world):
    """Where the upload is answered with a 404, the run ends at once, for nothing, and says what to set."""
    world.has(TEXTS)
    with StandIn(Dialect(rates=(0, 0), needs_key=False)) as server:
        record = world.run(server, run={"lane": "batch"})
    assert (record.status, record.requests, record.rows_pending) == ("failed", 0, len(TEXTS))
    assert record.message.startswith("the provider refused a batch: 404: there is nothing at /v1/files")
    assert record.message.endswith('; where it has no Batch API, set run.lane = "live"')
