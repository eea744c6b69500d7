"""What may stand in the output of a batch that practice does not write: both adapters, from a staged server."""

import json
import threading

import pytest

from labelmill.providers.protocol import BatchStatus, BatchUnreachable, RowError
from labelmill.question.failures import Policy


def test_a_line_that_can_not_be_read_costs_no_other_row(staged, ids, staged_answers, line, completion):
    """Cut lines, deep ones, empty ones, other kinds of JSON, and other batches' ids are passed over."""
    odd = [
        b"",
        b"{",
        b"[" * 100_000,
        b"null",
        b"[]",
        b"\xff\xfe",
        b'"x"',
        b"{}",
        line("nobody", completion()),
    ]
    staged.stage_batch([*odd, line(ids[0], completion()), *odd, line(ids[2], completion("money")), b""])
    assert {key: answer.answer.content for key, answer in staged_answers().items()} == {
        "v1:a": "sport",
        "v1:c": "money",
    }


def test_no_separator_within_an_answer_breaks_its_line(staged, ids, staged_answers, line, completion):
    """U+2028 and its like end a line for Python, not for JSON."""
    text = "a\u2028b\u2029c\x85d"
    staged.stage_batch([line(ids[0], completion(text)), line(ids[1], completion())])
    answers = staged_answers()
    assert (answers["v1:a"].answer.content, answers["v1:b"].answer.content) == (text, "sport")


@pytest.mark.parametrize(
    "body",
    [
        None,
        "sport",
        {},
        {"choices": None},
        {"choices": []},
        {"choices": [{}]},
        {"choices": ["x"]},
        {"error": {"message": "all is well"}},
    ],
)
def test_a_body_that_is_no_completion_is_the_providers_failure(
    staged, ids, body, staged_answers, line, completion
):
    """It may have been paid, and holds no label; the other rows keep theirs."""
    staged.stage_batch([line(ids[0], body), line(ids[1], completion())])
    answers = staged_answers()
    assert (answers["v1:a"].error, answers["v1:a"].answer.error.policy) == (None, Policy.RETRY)
    assert answers["v1:b"].answer.content == "sport"


def test_the_first_answer_of_a_row_wins_and_an_error_only_without_one(
    staged_client, staged, ids, line, completion, row_keys
):
    """Whichever line or file comes first."""
    refused = {"error": {"message": "no", "code": "c"}}
    staged.stage_batch(
        [
            line(ids[0], refused, 400),
            line(ids[0], completion("first")),
            line(ids[0], completion("second")),
            line(ids[1], completion("answer")),
            line(ids[2], refused, 400),
        ],
        [line(ids[1], refused, 500), line(ids[2], {"error": {"message": "later"}}, 500)],
    )
    answers = list(staged_client.answers("b", row_keys, {}))
    assert {answer.row_key: answer.answer.content for answer in answers if answer.answer} == {
        "v1:a": "first",
        "v1:b": "answer",
    }
    assert [(answer.row_key, answer.error) for answer in answers if answer.error] == [
        ("v1:c", RowError(400, "c", "no"))
    ]


@pytest.mark.parametrize(
    ("result", "error"),
    [
        (
            {"response": None, "error": {"code": "batch_expired", "message": "too late"}},
            RowError(None, "batch_expired", "too late"),
        ),
        ({"error": {"code": "batch_cancelled", "message": "m"}}, RowError(None, "batch_cancelled", "m")),
        ({"response": None, "error": {"code": "odd", "message": "m"}}, RowError(500, "odd", "m")),
        ({"response": None, "error": "words"}, RowError(500, None, "words")),
        (
            {"response": {"status_code": 429, "body": {"error": {"message": "slow", "type": "requests"}}}},
            RowError(429, "requests", "slow"),
        ),
        ({"response": {"status_code": 502, "body": "<html>"}}, RowError(502, None, "<html>")),
        ({"response": {"status_code": 500, "body": None}}, RowError(500, None, "null")),
    ],
)
def test_a_row_error_is_read_in_every_form(staged, ids, result, error, staged_answers):
    """Of the line or of the response, as an object or as words."""
    staged.stage_batch(error_lines=[{"custom_id": ids[1], **result}])
    assert {key: answer.error for key, answer in staged_answers().items()} == {"v1:b": error}


def test_an_answer_keeps_what_the_openai_client_live_would_raise_away(
    staged, ids, staged_answers, line, completion, row_keys
):
    """Cut off, filtered, or refused under a schema: it was paid, and is an answer like any other."""
    refusal = {"role": "assistant", "content": None, "refusal": "I can't."}
    staged.stage_batch(
        [
            line(ids[0], completion('{"lab', finish_reason="length")),
            line(ids[1], completion("", finish_reason="content_filter")),
            line(ids[2], completion(message=refusal)),
        ]
    )
    read = {key: answer.answer for key, answer in staged_answers().items()}
    assert [read[key].finish_reason for key in row_keys] == ["length", "content_filter", "stop"]
    assert (read["v1:c"].content, read["v1:c"].refusal) == ("", "I can't.")
    assert {
        (answer.model, answer.usage.input_tokens, answer.usage.output_tokens) for answer in read.values()
    } == {("scripted", 11, 2)}


@pytest.mark.parametrize("status", [status for status in BatchStatus if not status.is_final])
def test_a_batch_that_is_not_final_gives_no_answers(
    staged_client, staged, ids, status, staged_answers, line, completion
):
    """What it has by now is not all it will have."""
    staged.stage_batch([line(ids[0], completion())], status=status.value)
    assert staged_client.state("b").status is status
    with pytest.raises(BatchUnreachable):
        staged_answers()


def test_the_key_is_in_no_row_error(staged, ids, monkeypatch, key_name, staged_answers, line):
    """Nor in the words about a row."""
    monkeypatch.setenv(key_name, "sk-secret")
    staged.stage_batch(error_lines=[line(ids[0], {"error": {"message": "bad sk-secret!"}}, 401)])
    assert staged_answers()["v1:a"].error == RowError(401, None, "bad [key]!")


@pytest.mark.parametrize("place", range(470, 500, 3))
def test_the_key_is_hidden_before_words_are_cut(
    staged, ids, monkeypatch, key_name, staged_answers, line, place
):
    """Wherever a provider repeats it: no part of it stays at the end of what is kept."""
    monkeypatch.setenv(key_name, "sk-secret")
    staged.stage_batch([line(ids[0], {"error": {"message": "x" * place + "sk-secret"}}, 500)])
    assert "sk-" not in staged_answers()["v1:a"].error.message


def test_answers_come_as_they_are_read(client_by, staged, line, completion, row_keys):
    """Through OpenAI's client: the first is there while the last is still on its way."""
    go_on = threading.Event()
    staged.stage_batch([])
    first, last = (json.dumps(line(key, completion())).encode() for key in ("v1:a", "v1:b"))

    def pieces():
        yield first + b"\n" + last[:20]
        assert go_on.wait(10)
        yield last[20:]

    staged.stage("/files/file-output/content", pieces())
    answers = client_by("openai", staged.base_url).answers("b", row_keys, {})
    assert next(answers).row_key == "v1:a"
    go_on.set()
    assert [answer.row_key for answer in answers] == ["v1:b"]
