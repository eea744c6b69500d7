"""Labelmill with a real language model: a small one, which often answers something else than a label, and its own server."""

import signal
import time
from collections import Counter

import pytest
from person import HEADLINES

pytestmark = pytest.mark.model

LABELS = set(HEADLINES)
TEXTS = sum(map(len, HEADLINES.values()))
ANSWERED_BEFORE = 10
IN_FLIGHT = 4
PATIENCE_SECONDS = 300


def _bill_of(exchanges):
    """The requests and the tokens of some exchanges, as the server counts them."""
    tokens = [exchange.tokens for exchange in exchanges]
    return {
        "requests": len(tokens),
        "input_tokens": sum(sent for sent, _ in tokens),
        "output_tokens": sum(said for _, said in tokens),
    }


def _all_have_a_label(person):
    rows = person.rows
    assert rows["label_status"].to_list() == ["ok"] * TEXTS
    assert set(rows["label"]) <= LABELS


@pytest.mark.parametrize("output", ["text", "choice", "schema"])
def test_every_row_gets_a_label_and_is_on_the_bill(person, recorder, language_model, output):
    """Each row has a label from the set; requests and tokens are what the server counts; a second run asks nothing."""
    already = sum(language_model.answered().values())
    person.writes(output=output)
    record = person.runs()
    _all_have_a_label(person)
    assert (record["status"], record["rows_labeled"], record["rows_failed"]) == ("completed", TEXTS, 0)
    bill = _bill_of(recorder.exchanges)
    assert {name: record[name] for name in bill} == bill
    assert sum(language_model.answered().values()) - already == bill["requests"]
    assert {exchange.text for exchange in recorder.exchanges} == set(person.rows["text"])
    assert record["requests_without_usage"] == 0
    assert record["cost_usd"] == 0

    assert person.runs()["requests"] == 0
    assert len(recorder.exchanges) == bill["requests"]


def test_an_answer_bound_by_the_servers_own_means_is_a_label_at_once(person, recorder):
    """With `output = "choice"` every first answer is a label: one request a text, none refused."""
    person.writes(output="choice")
    record = person.runs()
    assert record["requests"] == record["rows_labeled"] == TEXTS
    assert Counter(exchange.status for exchange in recorder.exchanges) == {200: TEXTS}


def test_a_killed_run_is_resumed_and_no_answered_text_is_asked_again(person, recorder):
    """The process is killed while it waits for answers: the next run asks those texts again and the rest, and none that was answered."""
    person.writes(output="choice")
    recorder.hold(ANSWERED_BEFORE)
    running = person.starts()
    deadline = time.monotonic() + PATIENCE_SECONDS
    while len(recorder.held()) < IN_FLIGHT:
        assert running.poll() is None, running.stderr.read()
        assert time.monotonic() < deadline, "the run never has enough in flight"
        time.sleep(0.05)
    running.send_signal(signal.SIGKILL)
    running.communicate()
    before = list(recorder.exchanges)
    recorder.release()

    record = person.runs()
    _all_have_a_label(person)
    answered = {exchange.text for exchange in before if exchange.is_delivered}
    lost = {exchange.text for exchange in before} - answered
    after = recorder.exchanges[len(before) :]
    assert (len(answered), len(lost)) == (ANSWERED_BEFORE, IN_FLIGHT)
    assert Counter(exchange.text for exchange in after) == Counter(set(person.rows["text"]) - answered)
    dead, last = person.records
    assert last == record
    assert {name: last[name] for name in _bill_of(after)} == _bill_of(after)
    seen = _bill_of(exchange for exchange in before if exchange.is_delivered)
    assert dead["requests"] == len(before)
    assert dead["requests_without_usage"] == IN_FLIGHT
    assert (dead["input_tokens"], dead["output_tokens"]) == (seen["input_tokens"], seen["output_tokens"])
