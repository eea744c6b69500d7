"""The same batches in Anthropic's words, with Anthropic's own client."""

import time
import urllib.error
import urllib.request

import pytest

from practice import PracticeSettings
from practice.odd_answers import IN_WORDS

anthropic = pytest.importorskip("anthropic")

SYSTEM = "Answer with exactly one of these labels:\n- 技术: 软件、芯片\n- 体育: 足球、比赛"
TEXTS = [f"足球比赛 {number}" for number in range(20)]


class Messenger:
    """A client of the Message Batches."""

    def __init__(self, base_url):
        self.batches = anthropic.Anthropic(
            base_url=base_url.removesuffix("/v1"), api_key="key", max_retries=0
        ).messages.batches

    @staticmethod
    def request(number, text, **params):
        """A request of a batch."""
        asked = {"model": "m", "max_tokens": 64, "system": SYSTEM, **params}
        return {
            "custom_id": f"row-{number}",
            "params": {"messages": [{"role": "user", "content": text}]} | asked,
        }

    def send(self, texts, **params):
        """A new batch with a request for each text."""
        requests = [self.request(number, text, **params) for number, text in enumerate(texts)]
        return self.batches.create(requests=requests)

    def finish(self, texts, **params):
        """A batch that has ended."""
        return self.wait(self.send(texts, **params).id)

    def wait(self, batch_id):
        """The batch once it has ended."""
        deadline = time.monotonic() + 30
        while (batch := self.batches.retrieve(batch_id)).processing_status != "ended":
            assert time.monotonic() < deadline, batch
            time.sleep(0.02)
        return batch

    def results(self, batch):
        """What came of each request."""
        return {result.custom_id: result.result for result in self.batches.results(batch.id)}


@pytest.fixture
def messenger(practice):
    """A `Messenger` at a practice provider that starts anew."""
    return Messenger(practice.base_url)


def test_a_batch_answers_as_the_chat_does(messenger, ask):
    """Each request gets the label and the tokens that the same chat request gets; results come in another order."""
    batch = messenger.finish(["足球比赛", "新软件和芯片", *TEXTS])
    results = messenger.results(batch)
    assert list(results) != sorted(results)
    for number, text in enumerate(["足球比赛", "新软件和芯片"]):
        message, live = results[f"row-{number}"].message, ask(text)
        assert message.content[0].text == live.choices[0].message.content
        usage = (
            message.usage.input_tokens + message.usage.cache_read_input_tokens,
            message.usage.output_tokens,
        )
        assert usage == (live.usage.prompt_tokens, live.usage.completion_tokens)
        assert (message.model, message.stop_reason) == ("practice:m", "end_turn")


def test_everything_is_being_processed_until_the_end(messenger, practice):
    """As Anthropic counts; then each request counts as what came of it."""
    practice.configure(PracticeSettings(batch_seconds=60))
    batch = messenger.send(TEXTS)
    assert (batch.processing_status, batch.results_url) == ("in_progress", None)
    assert batch.request_counts.processing == len(TEXTS)
    with pytest.raises(urllib.error.HTTPError, match="404"):
        urllib.request.urlopen(f"{practice.base_url}/messages/batches/{batch.id}/results")
    practice.configure(PracticeSettings(stubborn_faults={"server_error": 0.5}))
    counts = messenger.finish(TEXTS).request_counts
    assert counts.processing == 0
    assert counts.errored > 0
    assert counts.succeeded + counts.errored == len(TEXTS)


@pytest.mark.parametrize(
    ("fault", "stop_reason"), [("refusal", "refusal"), ("truncated", "max_tokens"), ("empty", "end_turn")]
)
def test_answers_that_are_no_label_end_as_anthropics_do(messenger, practice, fault, stop_reason):
    """A refusal, an answer that was cut, an empty one."""
    practice.configure(PracticeSettings(stubborn_faults={fault: 1.0}))
    results = messenger.results(messenger.finish(TEXTS[:3]))
    assert {result.message.stop_reason for result in results.values()} == {stop_reason}
    assert all(bool(result.message.content) == (fault != "empty") for result in results.values())


@pytest.mark.parametrize(
    ("fault", "kind"),
    [
        ("rate_limited_bare", "rate_limit_error"),
        ("server_error", "api_error"),
        ("too_long", "invalid_request_error"),
    ],
)
def test_a_request_that_failed_has_anthropics_error(messenger, practice, fault, kind):
    """Its type, and the words."""
    practice.configure(PracticeSettings(stubborn_faults={fault: 1.0}))
    (result,) = messenger.results(messenger.finish(TEXTS[:1])).values()
    assert (result.type, result.error.error.type) == ("errored", kind)
    assert result.error.error.message


def test_a_batch_that_runs_out_of_time_or_is_stopped_keeps_what_it_has(messenger, practice):
    """The other requests say that they were not executed, and nothing is billed for them."""
    practice.configure(PracticeSettings(batch_outcome="expired", batch_finished_fraction=0.5))
    counts = messenger.finish(TEXTS).request_counts
    assert (counts.succeeded, counts.expired) == (10, 10)
    practice.configure(
        PracticeSettings(batch_seconds=60, batch_cancelling_seconds=0.3, batch_finished_fraction=0.25)
    )
    batch = messenger.send(TEXTS)
    assert messenger.batches.cancel(batch.id).processing_status == "canceling"
    assert messenger.batches.retrieve(batch.id).processing_status == "canceling"
    batch = messenger.wait(batch.id)
    assert (batch.request_counts.succeeded, batch.request_counts.canceled) == (5, 15)
    assert {result.type for result in messenger.results(batch).values()} == {"succeeded", "canceled"}
    assert practice.totals()["batch_rows_billed"] == 15
    with pytest.raises(anthropic.BadRequestError, match="already ended"):
        messenger.batches.cancel(batch.id)


def test_a_batch_that_fails_as_a_whole_has_an_error_for_each_request(messenger, practice):
    """Anthropic has no status for it."""
    practice.configure(PracticeSettings(batch_outcome="failed"))
    batch = messenger.finish(TEXTS)
    assert batch.request_counts.errored == len(TEXTS)
    assert len(messenger.results(batch)) == len(TEXTS)


def test_batches_are_listed_newest_first_and_apart_from_openais(messenger, client):
    """Page by page; OpenAI's list has none of them."""
    ids = [messenger.send(TEXTS[:1]).id for _ in range(3)]
    assert [batch.id for batch in messenger.batches.list(limit=2)] == ids[::-1]
    assert list(client.batches.list()) == []
    with pytest.raises(anthropic.NotFoundError, match="No batch found"):
        messenger.batches.retrieve("batch_x")


@pytest.mark.parametrize(
    ("requests", "words"),
    [
        ([], "at least 1 item"),
        ([{"custom_id": "a"}], "needs a 'custom_id' and 'params'"),
        ([Messenger.request(1, "x", max_tokens=None)], "max_tokens: Field required"),
        ([Messenger.request(1, "x", temperature=1.5)], "from 0 to 1"),
        ([Messenger.request("v1:a", "x")], "should match"),
        ([Messenger.request(1, "x")] * 2, "more than one request"),
    ],
)
def test_what_is_no_batch_is_refused(messenger, requests, words):
    """At once, with a sentence, and nothing is made."""
    with pytest.raises(anthropic.BadRequestError, match=words):
        messenger.batches.create(requests=requests)
    assert list(messenger.batches.list()) == []


def test_a_wrong_key_is_turned_away(messenger, practice):
    """Anthropic's clients put theirs into a header of its own."""
    practice.configure(PracticeSettings(required_key="right"))
    with pytest.raises(anthropic.AuthenticationError):
        messenger.send(TEXTS)
    practice.configure(PracticeSettings(required_key="key"))
    assert messenger.send(TEXTS).id


def test_odd_answers_are_those_that_are_a_matter_of_words(messenger, practice):
    """Anthropic's form holds what a model says oddly, not what an OpenAI-like gateway does; tokens are always told."""
    practice.configure(PracticeSettings(odd_answers=1.0))
    results = messenger.results(messenger.finish(TEXTS))
    assert {result.type for result in results.values()} == {"succeeded"}
    totals = practice.totals()
    assert set(totals["odd_answers"]) <= IN_WORDS
    assert sum(totals["odd_answers"].values()) == len(TEXTS)
    assert totals["batch_unseen_input_tokens"] == 0
    told = [result.message.usage for result in results.values()]
    assert sum(usage.output_tokens for usage in told) == totals["batch_output_tokens"]


TOPIC = {"type": "object", "properties": {"label": {"type": "string", "enum": ["体育", "技术"]}}}


def test_a_correction_is_no_other_text(messenger, practice):
    """Anthropic puts what the user says in a row into one message: a text with a correction is that text's second attempt."""
    practice.configure(PracticeSettings(faults={"off_label": 1.0}))
    messenger.finish(TEXTS)
    correction = f"An earlier answer was not usable. {SYSTEM}"
    blocks = [[{"type": "text", "text": part} for part in (text, correction)] for text in TEXTS]
    results = messenger.results(messenger.finish(blocks[:10]))
    assert {result.message.content[0].text for result in results.values()} == {"体育"}
    joined = messenger.results(messenger.finish([f"{text}\n\n{correction}" for text in TEXTS[10:]]))
    assert {result.message.content[0].text for result in joined.values()} == {"体育"}
    assert practice.totals()["most_attempts_of_a_text"] == 2


def test_tools_are_called(messenger):
    """A tool is called with input that follows its schema, whether it is asked for or suits; `none` brings words."""
    tools = [{"name": "label", "description": "", "input_schema": TOPIC}]
    for choice in ({"type": "auto"}, {"type": "any"}, {"type": "tool", "name": "label"}):
        (result,) = messenger.results(
            messenger.finish(["足球比赛"], tools=tools, tool_choice=choice)
        ).values()
        (block,) = result.message.content
        assert (block.type, block.name, block.input) == ("tool_use", "label", {"label": "体育"})
        assert result.message.stop_reason == "tool_use"
    (result,) = messenger.results(
        messenger.finish(["足球比赛"], tools=tools, tool_choice={"type": "none"})
    ).values()
    assert result.message.content[0].text == "体育"


def test_a_tools_result_is_answered_in_words(messenger):
    """The user's message that holds a tool's result calls for no other call."""
    use = {"type": "tool_use", "id": "t", "name": "label", "input": {}}
    conversation = [
        {"role": "user", "content": "足球比赛"},
        {"role": "assistant", "content": [use]},
        {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "t", "content": "done"}]},
    ]
    tools = [{"name": "label", "description": "", "input_schema": TOPIC}]
    (result,) = messenger.results(messenger.finish(["x"], tools=tools, messages=conversation)).values()
    assert result.message.content[0].text == "体育"


def test_a_schema_is_followed(messenger):
    """Structured output, where it stands now and where it stood before."""
    wanted = {"type": "json_schema", "schema": TOPIC}
    for params in ({"output_config": {"format": wanted}}, {"output_format": wanted}):
        (result,) = messenger.results(messenger.finish(["足球比赛"], **params)).values()
        assert result.message.content[0].text == '{"label": "体育"}'
