"""Whole runs against models and servers whose answers are wrapped, broken off or cut off."""

import polars as pl
import pytest
from servers.base import right_label
from servers.breaking_off import REASONS, BreakingOff, Falling
from servers.thinking import FENCES, FORMS, Fenced, Thinking, ThinkingTooLong

from commands.run import exit_code_of

pytestmark = pytest.mark.slow

TEXTS = [f"the {word} of day {number}" for number in range(20) for word in ("match", "market")]
PREFIXES = [f"text {number}, {label}" for number in range(30) for label in ("sport", "sport news")]
PREFIX_LABELS = {"sport": "", "sport news": ""}


@pytest.mark.parametrize("words", ["sport", ""])
@pytest.mark.parametrize("reason", REASONS)
def test_what_broke_off_is_never_the_models_word(world, reason, words):
    """An answer broken off at what is another label is paid, asked again, and the right label is what stands there."""
    world.has(PREFIXES)
    with BreakingOff(reason, words) as server:
        record = world.run(server, labels=PREFIX_LABELS)
        assert (record.status, exit_code_of(record)) == ("completed", 0)
        rows = world.rows
        assert rows["label"].to_list() == [text.split(", ")[1] for text in rows["text"]]
        assert server.requests == 60 + 20
        world.assert_bill_is(server)
        assert world.run(server, labels=PREFIX_LABELS).requests == 0


@pytest.mark.parametrize("reason", ["insufficient_system_resource", "error"])
def test_what_breaks_off_for_ever_is_paid_max_attempts_times_over_all_runs(world, reason):
    """Such texts fail, with no label; three runs together pay for five of their requests each, and no more."""
    world.has(PREFIXES[:18])
    sections = {"labels": PREFIX_LABELS, "run": {"stop_at_failed_fraction": 1, "max_attempts": 3}}
    with BreakingOff(reason, times=10**6) as server:
        records = [world.run(server, **sections) for _ in range(3)]
        assert (records[0].status, records[0].rows_failed) == ("completed", 6)
        assert world.rows.filter(pl.col("label_status") == "failed")["label"].to_list() == [None] * 6
        assert world.rows.filter(pl.col("label_status") == "ok").height == 12
        assert max(server.calls_of.values()) <= 3
        assert records[2].requests == 0
        world.assert_bill_is(server)


@pytest.mark.parametrize("is_paid", [True, False])
def test_a_correction_that_the_provider_fails_at_ends_like_any_other_request(world, is_paid):
    """The text has failed, in the provider's words, rather than being told to wait for a run that sends it at last."""
    world.has(TEXTS)
    with Falling(is_paid=is_paid) as server:
        record = world.run(server, run={"stop_at_failed_fraction": 1, "max_failed_fraction": 0.05})
        assert (record.status, exit_code_of(record)) == ("too_many_failures", 3)
        assert record.failures == {"provider_error": 14}
        world.assert_labels(26, failed=14)
        assert max(server.calls_of.values()) == 1 + 5
        assert record.provider_messages
        world.assert_bill_is(server)


@pytest.mark.parametrize("form", FORMS)
def test_a_label_is_found_beside_thoughts_and_never_within_them(world, form):
    """Each text is asked once and gets its own label, though the thoughts name the other one."""
    world.has(TEXTS)
    with Thinking(form) as server:
        record = world.run(server)
        assert (record.status, server.requests) == ("completed", 40)
        world.assert_labels(40)
        world.assert_bill_is(server)


def test_thoughts_that_fill_the_answer_are_no_label_and_say_what_to_raise(world):
    """A label within unclosed thoughts is none; the run says to raise max_tokens, and pays three answers per text in all."""
    world.has(TEXTS[:12])
    sections = {"run": {"stop_at_failed_fraction": 1, "max_failed_fraction": 0.05}}
    with ThinkingTooLong() as server:
        record = world.run(server, **sections)
        assert (record.status, exit_code_of(record)) == ("too_many_failures", 3)
        assert "model.max_tokens" in record.message
        world.assert_labels(0, failed=12)
        world.run(server, **sections)
        assert set(server.calls_of.values()) == {3}
        world.assert_bill_is(server)


@pytest.mark.parametrize("form", FENCES)
def test_json_within_something_is_read(world, form):
    """Under a schema, a fence, a sentence, a tool call's arguments and the plain label are each read at the first time."""
    world.has(TEXTS)
    with Fenced(form) as server:
        record = world.run(server, model={"output": "schema"})
        assert (record.status, server.requests) == ("completed", 40)
        world.assert_labels(40)
        world.assert_bill_is(server)


def test_rows_without_words_are_empty_and_no_failure(world):
    """Blank and missing texts are asked nothing, fail nothing and make no run fail."""
    texts = ["  ", None, "\n\t", *TEXTS[:5]]
    world.has(texts)
    with Thinking("beside") as server:
        record = world.run(server, run={"max_failed_fraction": 0})
        assert (record.status, exit_code_of(record)) == ("completed", 0)
        assert (record.rows_empty, record.rows_failed, record.rows_labeled) == (3, 0, 5)
        assert world.rows["label_status"].to_list() == ["empty"] * 3 + ["ok"] * 5
        assert world.rows["label"].to_list()[3:] == [right_label(text) for text in texts[3:]]
        assert server.requests == 5
