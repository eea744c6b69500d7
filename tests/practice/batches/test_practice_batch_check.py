"""An input with mistakes fails as a whole, says why, and costs nothing."""

import json

import pytest

from practice import PracticeSettings
from practice.batches.check import check_input

ENDPOINT = "/v1/chat/completions"
GOOD = {"custom_id": "a", "method": "POST", "url": ENDPOINT, "body": {"model": "m", "messages": []}}


@pytest.fixture
def check(tmp_path):
    """The mistakes in an input as (code, line, param)."""

    def checked(*lines, settings=None):
        path = tmp_path / "input.jsonl"
        path.write_bytes(
            b"".join(line if isinstance(line, bytes) else json.dumps(line).encode() + b"\n" for line in lines)
        )
        found = check_input(path, ENDPOINT, settings or PracticeSettings())
        return [(mistake.code, mistake.line, mistake.param) for mistake in found.mistakes]

    return checked


def without(name):
    """The good line without one of its parts."""
    return {key: value for key, value in GOOD.items() if key != name}


@pytest.mark.parametrize(
    ("line", "code", "param"),
    [
        (b"{not json}\n", "invalid_json_line", None),
        (b"[1]\n", "invalid_json_line", None),
        (b"\xff\xfe\n", "invalid_json_line", None),
        (without("custom_id"), "missing_required_parameter", "custom_id"),
        (without("method"), "missing_required_parameter", "method"),
        (without("url"), "missing_required_parameter", "url"),
        (without("body"), "missing_required_parameter", "body"),
        (GOOD | {"custom_id": 7}, "invalid_type", "custom_id"),
        (GOOD | {"body": "x"}, "invalid_type", "body"),
        (GOOD | {"method": "GET"}, "invalid_method", "method"),
        (GOOD | {"url": "/v1/embeddings"}, "invalid_url", "url"),
        (GOOD | {"body": {"messages": []}}, "missing_required_parameter", "body.model"),
        (GOOD | {"body": {"model": "n", "messages": []}}, "mismatched_model", "body.model"),
        (GOOD | {"custom_id": "first"}, "duplicate_custom_id", "custom_id"),
    ],
)
def test_each_mistake_is_told_with_its_line(check, line, code, param):
    """A mistake has OpenAI's code, the line's number and the part's name."""
    assert check(GOOD | {"custom_id": "first"}, line) == [(code, 2, param)]


def test_an_empty_input_is_a_mistake(check):
    """Neither no line at all nor blank lines are a batch."""
    assert check() == check(b"\n \n") == [("empty_file", None, None)]


def test_blank_lines_are_passed_over_but_counted(check):
    """Line numbers are those of the file."""
    assert check(GOOD, b"\n", b"?\n") == [("invalid_json_line", 3, None)]


def test_all_mistakes_are_told_up_to_a_hundred(check):
    """Many mistakes come at once, and their list ends."""
    assert [line for _, line, _ in check(*[b"?\n"] * 5)] == [1, 2, 3, 4, 5]
    assert len(check(*[b"?\n"] * 500)) == 100


def test_limits_are_those_of_the_settings(check):
    """Too many requests, too many bytes and unknown models fail a batch."""
    lines = [GOOD | {"custom_id": str(number)} for number in range(4)]
    assert check(*lines, settings=PracticeSettings(batch_max_requests=4)) == []
    assert check(*lines, settings=PracticeSettings(batch_max_requests=3)) == [("too_many_tasks", 4, None)]
    assert check(*lines, settings=PracticeSettings(batch_max_bytes=100)) == [("file_too_large", None, None)]
    known = PracticeSettings(known_models=("n",))
    assert check(GOOD, settings=known) == [("model_not_found", 1, "body.model")]


def test_a_batch_with_mistakes_fails_and_costs_nothing(sender, practice):
    """The client sees status failed with the errors, no files, and no bill."""
    good = sender.row(0, "足球比赛")
    batch = sender.finish([good, good])
    assert (batch.status, batch.output_file_id, batch.error_file_id) == ("failed", None, None)
    assert batch.failed_at is not None
    assert (batch.request_counts.total, batch.usage.total_tokens) == (0, 0)
    (error,) = batch.errors.data
    assert (error.code, error.line, error.param) == ("duplicate_custom_id", 2, "custom_id")
    totals = practice.totals()
    assert (totals["batches_by_status"], totals["batch_rows_billed"]) == ({"failed": 1}, 0)


def test_the_queue_has_room_for_so_many_tokens(sender, practice):
    """A batch that brings more than all unfinished ones may have fails, and fits once they are done."""
    practice.configure(PracticeSettings(batch_seconds=10, batch_queue_tokens=1000))
    text = "面" * 500
    sender.send([sender.row(0, text)])
    refused = sender.finish([sender.row(0, text + "面")])
    (error,) = refused.errors.data
    assert (refused.status, error.code, error.line) == ("failed", "token_limit_exceeded", None)
    assert "Enqueued token limit reached for m" in error.message
    assert "Limit: 1,000 enqueued tokens" in error.message
    practice.configure(PracticeSettings(batch_queue_tokens=1000))
    assert sender.finish([sender.row(0, text)]).status == "completed"
