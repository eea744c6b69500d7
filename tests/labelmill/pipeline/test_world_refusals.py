"""Whole runs against providers that refuse: some texts, or everything."""

import pytest
from servers.base import Endpoint, error
from servers.flagging import WORD, Flagging, refusals
from servers.quota import Quota, exhausted

from commands.run import exit_code_of

pytestmark = pytest.mark.slow

TEXTS = [f"the {word} of day {number}" for number in range(30) for word in ("match", "market")]


def _flagged(*places, texts=TEXTS):
    return [f"{text}, {WORD}" if place in places else text for place, text in enumerate(texts)]


@pytest.mark.parametrize("refusal", refusals().values(), ids=refusals())
def test_a_text_that_alone_is_refused_fails_alone(world, refusal):
    """Whatever the status, all other texts get their label; the refused one is asked three times and never again."""
    world.has(_flagged(20))
    with Flagging(refusal) as server:
        record = world.run(server, run={"max_failed_fraction": 0.05})
        assert (record.status, exit_code_of(record)) == ("completed", 0)
        world.assert_labels(59, failed=1)
        assert server.calls_of[_flagged(20)[20]] <= 3
        world.assert_bill_is(server)
        assert [said.count for said in record.provider_messages] == [1]
        assert str(refusal.status) in record.provider_messages[0].text
        asked = server.requests
        again = world.run(server)
        assert (server.requests, again.requests, again.rows_failed) == (asked, 0, 1)


@pytest.mark.parametrize("refusal", refusals().values(), ids=refusals())
def test_the_last_text_may_be_the_refused_one(world, refusal):
    """With nothing left to compare it to, it fails alone all the same, and is not asked for ever."""
    world.has(_flagged(59))
    with Flagging(refusal) as server:
        record = world.run(server, run={"max_concurrency": 1, "rows_per_chunk": 60})
        assert (record.status, exit_code_of(record)) == ("completed", 0)
        world.assert_labels(59, failed=1)
        world.run(server)
        asked = server.requests
        assert world.run(server).requests == 0
        assert server.calls_of[_flagged(59)[59]] <= 5
        assert server.requests == asked
        world.assert_bill_is(server)


@pytest.mark.parametrize("name", ["OpenRouter's 403", "a firewall's 403", "a 400", "a 422"])
def test_the_first_thirty_texts_may_all_be_refused(world, name):
    """Thirty refusals in a row, before any answer, are still these texts' own: the others get their labels."""
    texts = [f"the {word} of day {number}" for number in range(50) for word in ("match", "market")]
    world.has(_flagged(*range(30), texts=texts))
    with Flagging(refusals()[name], first=30) as server:
        record = world.run(server, run={"max_concurrency": 32})
        assert (record.status, record.rows_failed) == ("completed", 30)
        world.assert_labels(70, failed=30)
        assert max(server.calls_of.values()) <= 5
        world.assert_bill_is(server)
        # Who was refused for the last time when nobody was answered any more is asked once more, for nothing.
        assert not world.run(server).cost_usd
        assert world.run(server).requests == 0


def test_what_all_texts_get_is_everyones_failure_and_nothing_is_final(world):
    """A parameter that the model refuses: the run fails in the provider's words, rows pending; mended, all are asked."""
    words = "Unsupported value: 'temperature' does not support 0 with this model."
    world.has(TEXTS)
    with Flagging(error(400, words)) as server:
        world.has([f"{text}, {WORD}" for text in TEXTS])
        record = world.run(server)
        assert (record.status, exit_code_of(record)) == ("failed", 2)
        assert words in record.message
        assert (record.rows_pending, record.rows_failed) == (60, 0)
        world.assert_bill_is(server)
    with Endpoint() as mended:
        record = world.run(mended)
        assert (record.status, mended.requests) == ("completed", 60)
        world.assert_labels(60)


@pytest.mark.parametrize(("refusal", "words"), exhausted().values(), ids=exhausted())
def test_an_account_that_is_used_up_ends_the_run_at_once(world, refusal, words):
    """Nothing is retried beyond a handful of requests; the provider's words are the run's, and every row is pending."""
    world.has(TEXTS)
    with Quota(refusal) as server:
        record = world.run(server)
        assert (record.status, exit_code_of(record)) == ("failed", 2)
        assert words in record.message
        assert (record.rows_pending, record.rows_failed, record.cost_usd) == (60, 0, 0)
        assert server.requests <= 10 + 2 * 8
        world.assert_bill_is(server)


@pytest.mark.parametrize(("refusal", "words"), exhausted().values(), ids=exhausted())
def test_an_account_may_run_out_in_the_middle(world, refusal, words):
    """What was answered before is published and paid once; after the account is topped up, the rest is asked."""
    world.has(TEXTS)
    with Quota(refusal, enough=25) as server:
        record = world.run(server)
        assert (record.status, exit_code_of(record)) == ("failed", 1)
        assert words in record.message
        world.assert_labels(25, pending=35)
        assert server.requests <= 25 + 10 + 2 * 8
        world.assert_bill_is(server)
        refused, server.enough = server.requests, 10**6
        record = world.run(server)
        assert (record.status, record.rows_labeled, record.rows_reused) == ("completed", 60, 25)
        assert server.requests == refused + 35
        world.assert_labels(60)
        world.assert_bill_is(server)
