"""Whole runs against endpoints that are slow, busy, away, dearer than they look, or no model at all."""

import logging

import pytest
from servers.base import Endpoint, error
from servers.billing import Billing, Dearer, usage_shapes
from servers.flaky_429 import Flaky
from servers.restarting import CLOSED, Restarting
from servers.slots import Slots, too_many
from servers.web_page import Streaming, WebPage

from commands.run import exit_code_of

pytestmark = pytest.mark.slow

TEXTS = [f"the {word} of day {number}" for number in range(30) for word in ("match", "market")]


def test_a_server_of_one_slot_labels_everything_though_requests_time_out(world):
    """Sixteen at once at a server that works on one: time-outs lower what is in flight until all get their label."""
    world.has(TEXTS[:40])
    with Slots(slots=1, seconds=0.1) as server:
        record = world.run(server, model={"timeout_seconds": 0.9}, run={"max_concurrency": 16})
        assert (record.status, exit_code_of(record)) == ("completed", 0)
        world.assert_labels(40)
        assert server.requests < 40 * 2.5


@pytest.mark.parametrize("refusal", too_many().values(), ids=too_many())
def test_a_server_that_takes_four_at_once_is_given_four(world, refusal):
    """Whatever it says to the fifth, all texts get their label, and few requests are turned away."""
    world.has(TEXTS)
    with Slots(slots=4, seconds=0.02, refusal=refusal) as server:
        record = world.run(server, run={"max_concurrency": 16})
        assert (record.status, record.rows_labeled) == ("completed", 60)
        world.assert_labels(60)
        world.assert_bill_is(server)
        assert server.requests < 60 * 2.5


@pytest.mark.parametrize("how", [CLOSED, 502, 503])
def test_a_restart_costs_a_while_and_not_the_run(world, how):
    """An endpoint that goes away in the middle and comes back loses no row, and is not stormed meanwhile."""
    world.has(TEXTS)
    with Restarting(how) as server:
        record = world.run(server, run={"patience_minutes": 1})
        assert (record.status, record.rows_labeled) == ("completed", 60)
        world.assert_labels(60)
        assert server.turned_away < 40


@pytest.mark.parametrize("how", [CLOSED, 503])
def test_an_endpoint_that_stays_away_ends_the_run_when_patience_is_over(world, how):
    """What was labeled is published, the rest is pending, and the last sentence says what came back."""
    world.has(TEXTS)
    with Restarting(how, seconds=-1) as server:
        record = world.run(server, run={"patience_minutes": 0.05})
        assert (record.status, exit_code_of(record)) == ("failed", 1)
        assert record.rows_failed == 0
        assert record.rows_labeled + record.rows_pending == 60
        assert ("refused" if how == CLOSED else "no healthy upstream") in record.message


@pytest.mark.parametrize("shape", [*usage_shapes()])
def test_the_bill_is_the_providers_own_in_whatever_shape_it_is_told(world, shape):
    """Tokens that are told are counted, cached ones too; where they can't be so, the request is unseen at its worst case."""
    usage, counts = usage_shapes()[shape]
    world.has(TEXTS[:10])
    with Billing(usage, counts) as server:
        record = world.run(server)
        world.assert_labels(10)
        if counts is None:
            assert (record.cost_usd, record.requests_without_usage) == (None, 10)
            assert record.unseen_usd > 0
        else:
            sent, cached, answered = (10 * count for count in counts)
            assert (record.input_tokens, record.cached_input_tokens, record.output_tokens) == (
                sent,
                cached,
                answered,
            )
            cost = ((sent - cached) * 0.15 + cached * 0.075 + answered * 0.6) / 1e6
            assert record.cost_usd == pytest.approx(cost, rel=1e-9)
        world.assert_bill_is(server)


def test_a_dearer_model_than_the_named_one_is_noticed_and_billed_at_its_price(world):
    """A deployment named gpt-4o-mini that answers as gpt-4o costs what gpt-4o costs, and the run says so."""
    world.has(TEXTS[:10])
    with Dearer() as server:
        record = world.run(server)
        assert record.status == "completed"
        assert record.cost_usd == pytest.approx(
            (record.input_tokens * 2.5 + record.output_tokens * 10) / 1e6, rel=1e-9
        )
        assert "gpt-4o-2024-08-06" in " ".join(record.notices)


def test_a_dearer_model_than_the_named_one_stops_a_budget(world):
    """With a budget the run stops at the first such answer, within the limit, and says what to do."""
    world.has(TEXTS)
    with Dearer() as server:
        record = world.run(server, run={"max_cost_usd": 0.5})
        assert (record.status, exit_code_of(record)) == ("budget_reached", 4)
        assert "[price]" in record.message
        assert server.requests <= 2 * 8
        assert record.rows_pending == 60 - record.rows_labeled


def test_a_web_page_says_what_is_wrong_with_the_address(world):
    """A 200 with HTML costs nothing, is asked for a handful of times, and hints at `/v1`."""
    world.has(TEXTS)
    with WebPage() as server:
        record = world.run(server)
        assert record.status == "failed"
        assert "/v1" in record.message
        assert (record.rows_pending, record.requests_without_usage) == (60, 0)
        assert server.requests <= 10 + 2 * 8


def test_a_stream_that_nobody_asked_for_is_read(world):
    """A server that streams regardless is paid once for each text."""
    world.has(TEXTS)
    with Streaming() as server:
        record = world.run(server)
        assert (record.status, server.requests) == ("completed", 60)
        world.assert_labels(60)
        world.assert_bill_is(server)


def test_a_text_that_has_to_wait_keeps_no_other_waiting(world, caplog):
    """A 429 among answers makes its own request wait for what it says: others are asked meanwhile, as many at once as before."""
    waiting = TEXTS[20]
    world.has(TEXTS)
    with Flaky(waiting, wait_seconds=3) as server, caplog.at_level(logging.INFO, logger="labelmill"):
        record = world.run(server)
        first = server.order.index(waiting)
        assert server.order.index(waiting, first + 1) - first > 2 * 8
        assert (record.status, record.requests) == ("completed", 61)
        assert "Lowered concurrency" not in caplog.text
        world.assert_labels(60)
        world.assert_bill_is(server)


def test_one_429_in_forty_holds_nobody_up(world):
    """Texts that are turned away now and then get their label, and concurrency is not cut for them."""
    world.has([f"the {word} of day {number}" for number in range(200) for word in ("match", "market")])

    class Sparse(Endpoint):
        """Turns away every fortieth request, with a wait that only that request has to keep."""

        def reply(self, call):
            """A 429 now and then."""
            busy = error(429, "Rate limit reached", kind="requests", headers={"retry-after-ms": "20"})
            return busy if call.number % 40 == 0 else super().reply(call)

    with Sparse() as server:
        record = world.run(server, run={"max_concurrency": 16})
        assert (record.status, record.rows_labeled) == ("completed", 400)
        assert server.requests == 400 + server.requests // 40
        world.assert_bill_is(server)
