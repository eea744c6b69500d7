"""A batch is created, followed, read, listed and cancelled with OpenAI's own client."""

import openai
import pytest

from practice import PracticeSettings

TEXTS = [f"足球比赛 {number}" for number in range(20)]


def test_a_batch_answers_as_chat_does(sender, ask):
    """Each row gets the body that the same chat request gets, but for the time and the attempt."""
    texts = ["足球比赛", "新软件和芯片", "足球软件"]
    batch = sender.finish(sender.rows(texts, logprobs=True, top_logprobs=2))
    assert (batch.status, batch.error_file_id) == ("completed", None)
    lines = sender.read(batch.output_file_id)
    assert sorted(lines) == ["row-0", "row-1", "row-2"]
    for number, text in enumerate(texts):
        line = lines[f"row-{number}"]
        assert (line["error"], line["response"]["status_code"]) == (None, 200)
        assert line["id"].startswith("batch_req_")
        live = ask(text, logprobs=True, top_logprobs=2).model_dump(exclude_unset=True)
        changing = {"created": 0, "id": ""}
        assert line["response"]["body"] | changing == live | changing


def test_a_schema_is_followed(sender):
    """A batch honours response_format."""
    label = {"type": "string", "enum": ["技术", "体育"]}
    schema = {"type": "object", "properties": {"label": label}, "required": ["label"]}
    wanted = {"type": "json_schema", "json_schema": {"name": "label", "schema": schema}}
    batch = sender.finish(sender.rows(["足球比赛"], response_format=wanted))
    assert sender.labels(batch) == {"row-0": '{"label": "体育"}'}


def test_a_new_batch_is_validating_and_all_there(sender):
    """A new batch has every field of OpenAI's, and says nothing yet of what comes of it."""
    batch = sender.send(sender.rows(TEXTS), metadata={"run": "7"})
    assert (batch.object, batch.status, batch.endpoint) == ("batch", "validating", "/v1/chat/completions")
    assert (batch.completion_window, batch.metadata) == ("24h", {"run": "7"})
    assert batch.expires_at - batch.created_at == 24 * 3600
    assert batch.request_counts.total == 0
    assert batch.model_fields_set >= set(type(batch).model_fields)


def test_a_finished_batch_tells_its_bill(sender, practice):
    """Usage of the batch, usage of its rows and the server's totals are one and the same."""
    batch = sender.finish(sender.rows(TEXTS))
    usages = [line["response"]["body"]["usage"] for line in sender.read(batch.output_file_id).values()]
    assert batch.model == "practice:m"
    assert batch.usage.input_tokens == sum(usage["prompt_tokens"] for usage in usages)
    assert batch.usage.output_tokens == sum(usage["completion_tokens"] for usage in usages)
    counts = batch.request_counts
    assert (counts.total, counts.completed, counts.failed) == (20, 20, 0)
    totals = practice.totals()
    assert (totals["batch_input_tokens"], totals["batch_output_tokens"]) == (
        batch.usage.input_tokens,
        batch.usage.output_tokens,
    )


def test_batches_are_listed_newest_first_and_in_pages(sender, client):
    """All batches are found, a page at a time, with their metadata."""
    made = [sender.send(sender.rows(["a"]), metadata={"n": str(number)}).id for number in range(5)]
    page = client.batches.list(limit=2)
    assert ([batch.id for batch in page.data], page.has_more) == (made[:2:-1], True)
    last = client.batches.list(limit=2, after=made[1])
    assert ([batch.id for batch in last.data], last.has_more) == ([made[0]], False)
    assert [batch.metadata["n"] for batch in client.batches.list(limit=2)] == ["4", "3", "2", "1", "0"]


@pytest.mark.parametrize(
    ("asked", "name"),
    [
        ({"endpoint": "/v1/embeddings"}, "endpoint"),
        ({"completion_window": "1h"}, "completion_window"),
        ({"input_file_id": "file-none"}, "input_file_id"),
        ({"metadata": {str(number): "" for number in range(17)}}, "metadata"),
        ({"metadata": {"k" * 65: ""}}, "metadata." + "k" * 64),
        ({"metadata": {"k": "v" * 513}}, "metadata.k"),
        ({"output_expires_after": {"anchor": "created_at", "seconds": 1}}, "output_expires_after.seconds"),
        ({"extra_body": {"endpoint": None}}, "endpoint"),
    ],
)
def test_a_wrong_batch_is_refused(sender, practice, asked, name):
    """What no batch may have is 400 and names the parameter; no batch is made."""
    with pytest.raises(openai.BadRequestError) as refused:
        sender.send(sender.rows(["a"]), **asked)
    assert refused.value.param == name
    assert practice.totals()["batches"] == 0


def test_a_file_of_another_purpose_is_no_input(sender, client):
    """Only a file uploaded for batches can be a batch's input."""
    file = client.files.create(file=("input.jsonl", b"{}"), purpose="user_data")
    with pytest.raises(openai.BadRequestError, match="must be 'batch'"):
        sender.send([], input_file_id=file.id)


def test_unknown_batches_are_not_found(client):
    """404 for a batch that is not there."""
    for ask in (client.batches.retrieve, client.batches.cancel):
        with pytest.raises(openai.NotFoundError, match="No batch found"):
            ask("batch_none")


@pytest.mark.parametrize("limit", [0, 101, "many"])
def test_a_wrong_limit_is_refused(client, limit):
    """A page has 1 to 100 batches."""
    with pytest.raises(openai.BadRequestError, match="limit"):
        client.batches.list(limit=limit)


def test_batches_need_the_key(sender, client, practice):
    """Where a key is required, batches are no way around it."""
    batch = sender.finish(sender.rows(["a"]))
    practice.configure(PracticeSettings(required_key="right"))
    for ask in (
        lambda: client.batches.retrieve(batch.id),
        client.batches.list,
        lambda: client.batches.cancel(batch.id),
        lambda: client.files.content(batch.output_file_id),
        lambda: sender.send([], input_file_id=batch.input_file_id),
    ):
        with pytest.raises(openai.AuthenticationError):
            ask()


def test_an_ended_batch_cannot_be_cancelled(sender, client):
    """409, as OpenAI says it."""
    batch = sender.finish(sender.rows(["a"]))
    with pytest.raises(openai.ConflictError, match="Cannot cancel a batch with status 'completed'"):
        client.batches.cancel(batch.id)


def test_the_input_may_be_deleted_once_the_batch_is_made(sender, client, practice):
    """A batch keeps its input for as long as it needs it."""
    practice.configure(PracticeSettings(batch_seconds=1000))
    batch = sender.send(sender.rows(TEXTS))
    client.files.delete(batch.input_file_id)
    practice.configure(PracticeSettings())
    assert len(sender.labels(sender.wait(batch.id))) == 20
