"""Whole jobs of models that think: their answers get the room, and their thoughts stand in the bill."""

import json

import polars as pl
import pytest
from batch_server import BatchServer, answered, refused
from servers.base import error, serving
from servers.thinking import Reasoning

from labelmill.question.form import form_of
from labelmill.question.thinking import FIRST_ROOM
from labelmill.report.formatting import bill_of

TEXTS = [f"the match {number}" for number in range(60)]
LACKING = 120
"""The texts before this one lack room in a batch at first."""


@pytest.mark.parametrize("shows", ["usage", "beside", "open"])
def test_the_first_answers_show_that_a_model_thinks(world, shows):
    """Those few are asked again with room, all others have it at once; every row is labeled, and the bill is the server's."""
    world.has(TEXTS)
    with Reasoning(500, shows) as server:
        record = world.run(server, run={"max_concurrency": 4, "rows_per_chunk": 60})
        assert (record.status, record.rows_labeled) == ("completed", 60)
        label = form_of(world.job()).max_tokens
        assert set(server.limits) == {label, label + FIRST_ROOM}
        assert 1 <= server.limits.count(label) <= 8
        assert server.requests == 60 + server.limits.count(label)
        world.assert_bill_is(server)
    world.assert_labels(60)
    (notice,) = record.notices
    assert (
        f"from here on an answer may take {FIRST_ROOM:,} tokens of thoughts beside its label (at most 32,768)"
        in notice
    )
    assert record.reasoning_tokens == 60 * 500 + (server.requests - 60) * label
    assert ("of these thoughts", f"{record.reasoning_tokens:,}") in bill_of(record)
    assert world.ledger["reasoning_tokens"].sum() == record.reasoning_tokens
    (costs,) = world.folder.glob("out/runs/*/costs.parquet")
    assert pl.read_parquet(costs)["reasoning_tokens"].sum() == record.reasoning_tokens


def test_a_run_of_hundreds_in_flight_is_not_stopped_by_answers_that_lacked_room(world):
    """They are no sign of trouble, however many were under way before the first came back."""
    world.has([f"the match {number}" for number in range(300)])
    with Reasoning(500) as server:
        record = world.run(server, run={"max_concurrency": 200, "stop_at_failed_fraction": 0.2})
        world.assert_bill_is(server)
    assert (record.status, record.rows_labeled) == ("completed", 300)


def test_a_room_that_is_too_small_grows_again(world):
    """Up to the bound; the text gets its label by its third answer, as `max_answers` lets it."""
    world.has(TEXTS[:5])
    with Reasoning(5_000) as server:
        record = world.run(server)
        world.assert_bill_is(server)
    assert (record.rows_labeled, len(record.notices)) == (5, 2)
    assert "32,768" in record.notices[-1]


def test_the_next_run_begins_with_the_room_that_was_needed(world):
    """Its first answers are whole; the task is the same, and what was labeled is not asked again."""
    world.has(TEXTS[:10])
    with Reasoning(3_000) as server:
        first = world.run(server)
        world.has(TEXTS[:20])
        before = server.requests
        second = world.run(server)
        assert server.requests - before == 10
        world.assert_bill_is(server)
    assert first.task_key == second.task_key
    assert (second.rows_labeled, second.rows_reused) == (20, 10)
    assert "has thought before it answered in earlier runs" in second.notices[0]


def test_a_model_that_is_known_to_think_has_the_room_at_once(world):
    """And it is said; an idle run says nothing."""
    world.has(TEXTS[:10])
    with Reasoning(500) as server:
        record = world.run(server, model={"name": "gpt-5-mini"})
        again = world.run(server, model={"name": "gpt-5-mini"})
        assert server.requests == 10
        assert set(server.limits) == {form_of(world.job(model={"name": "gpt-5-mini"})).max_tokens}
    assert "gpt-5-mini is known to think before it answers" in record.notices[0]
    assert (again.requests, again.notices, again.reasoning_tokens) == (0, [], 0)


def test_a_limit_of_the_jobs_own_stays_as_it_is(world):
    """The answers are cut off, and the sentence says what to raise; no notice speaks of room."""
    world.has(TEXTS[:3])
    with Reasoning(500) as server:
        record = world.run(server, model={"max_tokens": 50})
        assert set(server.limits) == {50}
        world.assert_bill_is(server)
    assert (record.rows_failed, record.notices) == (3, [])
    assert record.failures == {"truncated": 3}
    assert all("within its thoughts; raise model.max_tokens" in words for words in world.ledger["message"])


def test_a_budget_holds_the_room(world):
    """A request's worst case knows it: with a budget below that of two, one is in flight, and the budget is kept."""
    price = {"input_usd_per_mtok": 0.0, "output_usd_per_mtok": 1.0}
    world.has(TEXTS[:20])
    with Reasoning(500) as server:
        record = world.run(
            server, model={"name": "o3-mini"}, price=price, run={"max_cost_usd": 0.004, "max_concurrency": 8}
        )
        spent = server.output_tokens / 1_000_000
        assert server.peak_in_flight == 1
    assert record.status == "budget_reached"
    assert 0 < spent <= 0.004
    assert record.cost_usd == pytest.approx(spent)
    with Reasoning(500) as server:
        late = world.run(server, model={"name": "m"}, price=price, run={"max_cost_usd": 0.001})
    assert (late.status, late.cost_usd <= 0.001) == ("budget_reached", True)


def test_an_endpoint_that_tells_no_thoughts_has_none_in_the_bill(world):
    """Zero is what was told; the tokens are in the output all the same."""
    world.has(TEXTS[:3])
    with Reasoning(500, "open", told=False) as server:
        record = world.run(server)
        world.assert_bill_is(server)
    assert (record.rows_labeled, record.reasoning_tokens) == (3, 0)
    assert "of these thoughts" not in dict(bill_of(record))


def test_a_record_and_a_ledger_from_before_thoughts_were_told_stay_readable(world):
    """The record's count is unknown then, the ledger's rows are read with all they have."""
    world.has(TEXTS[:3])
    with Reasoning(0) as server:
        world.run(server)
        for part in world.folder.glob("out/ledger/*/*.parquet"):
            pl.read_parquet(part).drop("reasoning_tokens").write_parquet(part)
        (written,) = world.folder.glob("out/runs/*/run.json")
        older = json.loads(written.read_text())
        del older["reasoning_tokens"]
        written.write_text(json.dumps(older))
        assert world.written().reasoning_tokens is None
        again = world.run(server)
    assert (again.rows_reused, again.requests) == (3, 0)


class ThinkingBatches(BatchServer):
    """Cuts the first answers off within their thoughts; `limits` are the `max_tokens` of each batch's requests."""

    def __init__(self):
        super().__init__()
        self.limits, self.result_of = [], self._result_of

    def _add(self, content):
        requests = [json.loads(line) for line in content.splitlines()]
        if "method" in requests[0]:
            self.limits.append({request["body"]["max_tokens"] for request in requests})
        return super()._add(content)

    def _result_of(self, text, time):
        is_cut = time == 1 and int(text.split()[-1]) < LACKING
        thought = 3 if is_cut else 400
        message = {"role": "assistant", "content": "" if is_cut else "sport"}
        return answered(
            choices=[{"index": 0, "message": message, "finish_reason": "length" if is_cut else "stop"}],
            usage={
                "prompt_tokens": 50,
                "completion_tokens": thought + 2,
                "total_tokens": thought + 52,
                "completion_tokens_details": {"reasoning_tokens": thought},
            },
        )


def test_a_batch_whose_answers_lack_room_is_followed_by_one_with_more(world):
    """However many they are, they are no sign that a further batch would be no better; its record says what room it had."""
    world.has([f"the match {number}" for number in range(LACKING)])
    batches = {"lane": "batch", "poll_seconds": 0.05, "stop_at_failed_fraction": 0.2}
    with serving(ThinkingBatches()) as server:
        record = world.run(server, run=batches)
        world.has([f"the match {number}" for number in range(LACKING + 10)])
        later = world.run(server, run=batches)
    assert (record.status, record.rows_labeled) == ("completed", LACKING)
    first, second, third = server.limits
    assert (len(first), min(second) - max(first) >= FIRST_ROOM, min(third) - max(first)) == (
        1,
        True,
        FIRST_ROOM,
    )
    assert record.reasoning_tokens == LACKING * 403
    assert "from here on" in record.notices[0]
    assert "in earlier runs" in later.notices[0]
    rooms = [
        json.loads(path.read_text())["thought_room"]
        for path in sorted(world.folder.glob("out/batches/*/batch.json"))
    ]
    assert rooms == [0, FIRST_ROOM, FIRST_ROOM]


class StrictBatches(ThinkingBatches):
    """Refuses each row whose answer may be longer than `most`, in these words; it thinks of nothing."""

    def __init__(self, words, most=1_000):
        super().__init__()
        self.words, self.most = words, most

    def _result_of(self, text, time):  # noqa: ARG002
        (asked,) = self.limits[-1]
        if asked > self.most:
            return refused(400, self.words.format(most=self.most, asked=asked))
        return answered()


@pytest.mark.parametrize("server_of", ["vLLM", "OpenAI", "DashScope"])
def test_a_batch_of_which_no_row_is_given_its_room_is_followed_by_one_with_less(world, server_of):
    """No row fails, nothing is paid for it, and the next day's batch begins as the first did, since names tell."""
    world.has(TEXTS)
    with serving(StrictBatches(REFUSALS[server_of])) as server:
        record = world.run(
            server, model={"name": "Qwen/Qwen3-8B"}, run={"lane": "batch", "poll_seconds": 0.05}
        )
        label = form_of(world.job()).max_tokens
        assert server.limits == [{label + FIRST_ROOM}, {label}]
    assert (record.status, record.rows_labeled, record.failures) == ("completed", 60, {})
    assert (record.requests, record.requests_without_usage) == (120, 0)
    assert record.input_tokens == 60 * 50
    assert "The endpoint takes no answer of Qwen/Qwen3-8B that is as long" in record.notices[1]


def test_a_batch_of_texts_that_are_too_long_by_themselves_ends(world):
    """They are asked once with less room, and fail as too long; no third batch is sent for them."""
    world.has(TEXTS[:5])
    with serving(StrictBatches(REFUSALS["vLLM"], most=0)) as server:
        record = world.run(
            server, model={"name": "Qwen/Qwen3-8B"}, run={"lane": "batch", "poll_seconds": 0.05}
        )
        assert len(server.batches) == 2
    assert (record.rows_failed, record.failures) == (5, {"too_long": 5})


REFUSALS = {
    "vLLM": "This model's maximum context length is {most} tokens. However, you requested {asked} tokens (60 in the messages, "
    "{asked} in the completion). Please reduce the length of the messages or completion.",
    "OpenAI": "max_tokens is too large: {asked}. This model supports at most {most} completion tokens, whereas you provided {asked}.",
    "DashScope": "Range of max_tokens should be [1, {most}]",
}


@pytest.mark.parametrize("server_of", REFUSALS)
def test_an_endpoint_that_takes_no_such_room_is_asked_with_less(world, server_of):
    """A small context, or a model of short answers: no text fails for the room that a name got, and it is said once."""
    world.has(TEXTS)
    with Reasoning(0, most=1_000, refusal=REFUSALS[server_of]) as server:
        record = world.run(server, model={"name": "Qwen/Qwen3-8B"})
        world.assert_bill_is(server)
        assert 60 < server.requests <= 60 + 2 * 8
    world.assert_labels(60)
    assert record.status == "completed"
    assert len(record.notices) == 2
    assert "The endpoint takes no answer of Qwen/Qwen3-8B that is as long" in record.notices[1]


def test_a_room_that_was_refused_is_not_tried_again(world):
    """Where answers need more than the endpoint gives, the run ends with what it has, and each of them says why."""
    world.has(TEXTS[:10])
    with Reasoning(9_000, most=4_000, refusal=REFUSALS["OpenAI"]) as server:
        record = world.run(server, model={"name": "gpt-5-mini"})
        world.assert_bill_is(server)
        assert max(server.limits) < 9_000
    assert (record.rows_failed, record.failures) == (10, {"truncated": 10})


def test_one_text_that_is_too_long_costs_the_others_no_room(world):
    """It is refused with less room as well, and fails as too long; the others are labeled with theirs."""
    long = "the match " * 400

    class Strict(Reasoning):
        def reply(self, call):
            if call.text == long:
                return error(400, REFUSALS["vLLM"].format(most=9, asked=99))
            return super().reply(call)

    world.has([long, *TEXTS[:20]])
    with Strict(500) as server:
        record = world.run(server, model={"name": "gpt-5-mini"}, run={"max_concurrency": 1})
        world.assert_bill_is(server)
        assert server.calls_of[long] == 2
        assert (record.rows_labeled, record.failures) == (20, {"too_long": 1})
        assert len(record.notices) == 1
        world.run(server, model={"name": "gpt-5-mini", "max_tokens": 3_000}, run={"max_concurrency": 1})
        assert server.calls_of[long] == 3


class Picky(Reasoning):
    """Refuses what the job has for it by names of its own: `refused` are fields, each with what it says of it."""

    def __init__(self, thoughts, refused, **settings):
        super().__init__(thoughts, **settings)
        self.refused, self.bodies, self.refusals = refused, [], 0

    def reply(self, call):
        """A refusal, or what it thinks."""
        field = next((field for field in self.refused if field in call.body), None)
        if field is None:
            with self.lock:
                self.bodies.append(call.body)
            return super().reply(call)
        with self.lock:
            self.refusals += 1
        return error(400, f"Unsupported parameter: '{field}' is not supported with this model.")


@pytest.mark.parametrize(
    ("name", "most"), [("m", 10**6), ("gpt-5-mini", 10**6), ("Qwen/Qwen3-8B", FIRST_ROOM + 500)]
)
@pytest.mark.parametrize("output", ["text", "choice"])
def test_the_other_form_has_the_room_and_a_room_has_the_other_form(world, name, most, output):
    """An endpoint that takes another name for the room, no schema, and more or less room than was thought: all is labeled."""
    world.has(TEXTS)
    words = REFUSALS["OpenAI"]
    with Picky(400, {"max_tokens", "response_format"}, most=most, refusal=words) as server:
        model = {
            "name": name,
            "output": output,
            "temperature": "unset",
            "reasoning_effort": "low",
            "extra_body": {"top_k": 5},
        }
        record = world.run(server, model=model, run={"max_concurrency": 4})
        world.assert_bill_is(server)
        assert all("max_completion_tokens" in body and body["top_k"] == 5 for body in server.bodies)
        assert all("temperature" not in body for body in server.bodies)
        assert server.refusals <= 4 * 3
        assert record.requests == server.requests
    world.assert_labels(60)
    assert (record.status, record.failures) == ("completed", {})


def test_both_a_room_and_a_name_that_are_refused_are_found_out_once(world):
    """The room shrinks in the form that was found, and the form stays as it is while it shrinks."""
    world.has(TEXTS)
    with Picky(0, {"max_tokens"}, most=1_000, refusal=REFUSALS["DashScope"]) as server:
        record = world.run(server, model={"name": "gpt-5-mini"}, run={"max_concurrency": 4})
        world.assert_bill_is(server)
        assert server.refusals <= 4
        assert server.requests <= 60 + 4 * 3
    assert (record.rows_labeled, record.failures) == (60, {})
    assert "The endpoint takes no answer of gpt-5-mini that is as long" in record.notices[1]


@pytest.mark.parametrize(
    ("field", "model", "advice"),
    [
        ("temperature", {}, 'set model.temperature = "unset"'),
        ("reasoning_effort", {"reasoning_effort": "low"}, "take out model.reasoning_effort"),
        ("top_k", {"extra_body": {"top_k": 5}}, "take out model.extra_body.top_k"),
    ],
)
def test_a_refused_field_of_the_jobs_own_ends_the_run_with_what_to_change(world, field, model, advice):
    """In the provider's words, at no cost; with that change the same job is labeled."""
    world.has(TEXTS)
    with Picky(0, {field}) as server:
        record = world.run(server, model=model, run={"max_concurrency": 4})
        assert (record.status, record.rows_pending, record.cost_usd) == ("failed", 60, 0)
        assert f"'{field}' is not supported with this model; {advice}" in record.message
        assert server.requests <= 4
        changed = {"temperature": "unset"} if field == "temperature" else {}
        assert world.run(server, model=changed).rows_labeled == 60
