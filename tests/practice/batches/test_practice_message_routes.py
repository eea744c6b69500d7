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
            "params": asked | {"messages": [{"role": "user", "content": text}]},
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
