"""Nothing waits for the end of a chunk: what is asked again goes out at its own time, while the rest goes on."""

import threading
import time

import pytest
from servers.base import Endpoint, completion, error

PATIENCE_SECONDS = 10
TOO_MANY = {"kind": "requests", "code": "rate_limit_exceeded"}


class Unhelpful(Endpoint):
    """Says something else than a label to `match odd`, and answers `match slow` once it has seen the correction."""

    def __init__(self):
        super().__init__()
        self.was_corrected = threading.Event()
        self.saw_correction_first = False

    def reply(self, call):
        """Answer it, or be unhelpful first."""
        if call.text == "match slow":
            self.saw_correction_first = self.was_corrected.wait(PATIENCE_SECONDS)
        if call.text != "match odd":
            return completion(call)
        if len(call.body["messages"]) == 2:
            return completion(call, "cricket")
        self.was_corrected.set()
        return completion(call)


class Waiting(Endpoint):
    """Tells each text with `later` in it to come back, once; after `most` answers it accepts no key."""

    def __init__(self, seconds, most=1000):
        super().__init__()
        self.most, self.answered = most, 0
        self.refusal = error(429, "Rate limit reached", headers={"retry-after": seconds}, **TOO_MANY)

    def reply(self, call):
        """Send it away or answer it."""
        if "later" in call.text and call.number_of_text == 1:
            return self.refusal
        with self.lock:
            self.answered += 1
            is_over = self.answered > self.most
        if is_over:
            return error(401, "Incorrect API key provided", code="invalid_api_key")
        time.sleep(0.01)
        return completion(call)


def test_a_correction_is_asked_while_the_rest_of_its_chunk_goes_on(world):
    """The slowest text of a chunk is answered only once another's correction has come, and it comes."""
    world.has(["match odd", "match slow", "bank"])
    with Unhelpful() as server:
        record = world.run(server)
    assert server.saw_correction_first
    assert (record.rows_labeled, server.requests) == (3, 4)
    world.assert_labels(3)
    world.assert_bill_is(server)


@pytest.mark.parametrize("rows_per_chunk", [60, 6])
def test_texts_that_are_told_to_wait_hold_up_no_other(world, rows_per_chunk):
    """More texts wait than a chunk has threads, or in more chunks than are asked at once: all others are asked before them."""
    texts = [f"match {number} later" if number % 10 == 0 else f"match {number}" for number in range(60)]
    world.has(texts)
    with Waiting(1.4) as server:
        record = world.run(server, run={"max_concurrency": 4, "rows_per_chunk": rows_per_chunk})
    assert record.rows_labeled == 60
    assert set(server.order[:60]) == set(texts)
    world.assert_bill_is(server)


def test_a_run_that_stops_waits_for_none_that_waits(world):
    """The key is withdrawn while some texts wait for five minutes: the run ends, and they are pending."""
    world.has([f"match {number} later" if number % 20 == 0 else f"match {number}" for number in range(60)])
    began = time.monotonic()
    with Waiting(300, most=20) as server:
        record = world.run(server, run={"max_concurrency": 4, "patience_minutes": 60})
    assert time.monotonic() - began < 60
    assert record.status == "failed"
    assert record.rows_pending == 60 - record.rows_labeled
    world.assert_bill_is(server)
