"""The chain: what it sends, what it counts, and that every paid answer comes out of it."""

import threading
from decimal import Decimal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from langchain_core.caches import InMemoryCache
from langchain_core.globals import get_llm_cache, set_llm_cache
from langchain_core.messages import HumanMessage, SystemMessage

from labelmill.errors import BudgetReached, RunStopped
from labelmill.money.budget import Limit
from labelmill.money.prices import cost_of
from labelmill.money.usage import Usage
from labelmill.providers.dialect import Dialect
from labelmill.question.failures import Failure
from labelmill.question.form import form_of, worst_case_of
from practice import FaultKind, PracticeSettings
from practice.tokens import split_tokens

TEXTS = [f"the {word} number {number}" for number in range(20) for word in ("match", "market", "nothing")]


def usage_in(message):
    """The usage that LangChain's message tells of."""
    told = message.usage_metadata
    return told and Usage(
        told["input_tokens"], told["input_token_details"]["cache_read"], told["output_tokens"]
    )


def model_of(chain):
    """The chain without its parser: messages out."""
    return chain.steps[0] | chain.steps[1]


def test_the_request_asks_for_a_short_certain_answer(scripted, completion, job_of, chain_at):
    """Temperature 0, a small `max_tokens` by its older name, the prompt in two messages, and nothing beyond."""
    scripted.reply((200, completion()))
    job = job_of()
    assert chain_at(job, scripted.base_url, key="k-1").invoke({"text": "a {text}"}) == "sport"
    (body,) = scripted.bodies
    assert body.keys() == {"model", "messages", "temperature", "max_tokens"} | (body.keys() & {"stream"})
    assert not body.get("stream")
    assert (body["model"], body["temperature"], body["max_tokens"]) == (
        "gpt-4o-mini",
        0,
        form_of(job).max_tokens,
    )
    assert [message["role"] for message in body["messages"]] == ["system", "user"]
    assert body["messages"][1]["content"] == "a {text}"
    assert scripted.headers_seen[0]["Authorization"] == "Bearer k-1"


def test_openai_itself_is_told_the_newer_name_of_max_tokens(job_of, chain_at):
    """Newer OpenAI models refuse `max_tokens`; every other endpoint may know nothing else."""
    for base_url, name in (
        ("https://api.openai.com/v1", "max_completion_tokens"),
        ("http://127.0.0.1:9/v1", "max_tokens"),
        ("https://gateway.example/api.openai.com/v1", "max_tokens"),
    ):
        model = chain_at(job_of(), base_url).steps[1].ways.way(Dialect()).live_model
        payload = model.payload_of([HumanMessage("x")])
        assert {"max_tokens", "max_completion_tokens"} & payload.keys() == {name}


def test_the_schema_is_a_plain_dict_with_an_enum_of_the_labels(scripted, completion, job_of, chain_at):
    """`response_format` holds the labels as they are, and leaves room for nothing else."""
    scripted.reply((200, completion('{"label": "技{术}"}')))
    job = job_of(labels={"技{术}": "", 'a "b"': ""}, model={"output": "schema", "confidence": True})
    assert chain_at(job, scripted.base_url).invoke({"text": "x"}) == "技{术}"
    (body,) = scripted.bodies
    schema = body["response_format"]["json_schema"]
    assert (body["response_format"]["type"], schema["strict"]) == ("json_schema", True)
    assert schema["schema"]["properties"] == {"label": {"type": "string", "enum": ["技{术}", 'a "b"']}}
    assert (schema["schema"]["required"], schema["schema"]["additionalProperties"]) == (["label"], False)
    assert body["logprobs"] is True


@pytest.mark.parametrize("status", [408, 409, 429, 500, 503])
def test_an_invoke_is_one_request_also_when_it_fails(scripted, job_of, chain_at, status):
    """Neither the SDK nor LangChain retries behind the throttle's back."""
    scripted.reply((status, {"error": {"message": "m"}}))
    results = chain_at(job_of(), scripted.base_url).batch([{"text": "x"}], return_exceptions=True)
    assert isinstance(results[0], Exception)
    assert len(scripted.bodies) == 1


@pytest.mark.parametrize("output", ["text", "schema"])
def test_tokens_counted_are_the_providers_own_to_the_last_one(practice, job_of, chain_at, output):
    """The usage of all answers, cut off, refused and off-label ones included, adds up to the provider's totals."""
    paid_faults = (FaultKind.TRUNCATED, FaultKind.OFF_LABEL, FaultKind.EMPTY, FaultKind.REFUSAL)
    practice.configure(PracticeSettings(faults=dict.fromkeys(paid_faults, 0.2)))
    ask = model_of(chain_at(job_of(model={"output": output}), practice.base_url))
    counted = Usage()
    for message in ask.batch([{"text": text} for text in TEXTS], {"max_concurrency": 8}):
        counted += usage_in(message)
    totals = practice.totals()
    assert totals["answered"] == totals["requests"] == len(TEXTS)
    assert len(totals["faults"]) == 4
    assert (counted.input_tokens, counted.cached_input_tokens, counted.output_tokens) == (
        totals["input_tokens"],
        totals["cached_input_tokens"],
        totals["output_tokens"],
    )


@pytest.mark.parametrize(
    ("reason", "content", "kind"),
    [("length", '{"lab', "truncated"), ("content_filter", "", "content_filter")],
)
def test_an_answer_the_client_would_throw_away_comes_back_with_its_usage(
    scripted, completion, job_of, chain_at, reason, content, kind
):
    """Under a schema the openai client raises over cut-off and filtered answers; they were paid, and are answers here."""
    scripted.reply((200, completion(content, reason, usage=(70, 5))))
    chain = chain_at(job_of(model={"output": "schema"}), scripted.base_url)
    message = model_of(chain).invoke({"text": "x"})
    assert (message.response_metadata["finish_reason"], message.text) == (reason, content)
    assert usage_in(message) == Usage(70, 0, 5)
    failure = chain.invoke({"text": "x"})
    assert isinstance(failure, Failure)
    assert failure.kind == kind


def test_langchains_global_cache_is_not_asked(practice, job_of, chain_at):
    """A cache the user has set for other chains doesn't hide requests from the bill."""
    before = get_llm_cache()
    set_llm_cache(InMemoryCache())
    try:
        chain = chain_at(job_of(), practice.base_url)
        assert [chain.invoke({"text": "the match"}) for _ in range(2)] == ["sport", "sport"]
    finally:
        set_llm_cache(before)
    assert practice.totals()["requests"] == 2


@settings(max_examples=40, deadline=None)
@given(texts=st.lists(st.text(max_size=60), max_size=4), max_tokens=st.integers(0, 50))
def test_the_worst_case_is_never_less_than_a_tokenizer_makes(texts, max_tokens):
    """For arbitrary text, lone surrogates and control characters included, the bytes are at least the tokens."""
    messages = [SystemMessage("Classify."), *map(HumanMessage, texts)]
    worst = worst_case_of(messages, max_tokens)
    tokens = sum(len(split_tokens(message.text)) for message in messages)
    characters = sum(len(message.text) for message in messages)
    assert worst.input_tokens >= max(tokens, characters) + 3 * len(messages) + 3
    assert (worst.output_tokens, worst.cached_input_tokens) == (max_tokens, 0)


HOSTILE_TEXTS = ["", "\x00", "足球" * 200, "🏳️‍🌈" * 50, "a" * 5000, "\u202e{x}", "<|endoftext|>" * 9, "ﷺ" * 99]


def test_the_worst_case_covers_what_the_provider_really_counts(practice, job_of, guard_of, chain_at):
    """Over real HTTP no answer of the text lane costs more than was set aside for it."""
    job = job_of()
    chain = chain_at(job, practice.base_url)
    price = guard_of(job).price
    for text in HOSTILE_TEXTS:
        messages = chain.steps[0].invoke({"text": text}).to_messages()
        usage = usage_in(chain.steps[1].invoke(messages))
        worst = worst_case_of(messages, form_of(job).max_tokens)
        assert worst.input_tokens >= usage.input_tokens
        assert worst.output_tokens >= usage.output_tokens
        assert cost_of(worst, price) >= cost_of(usage, price)


@pytest.mark.parametrize("output", ["text", "schema"])
@pytest.mark.parametrize("label", ["a", "技术与科学" * 5, "🏳️‍🌈", 'say "hi" \\ there', "x" * 200])
def test_auto_max_tokens_leaves_room_for_the_longest_label(practice, job_of, chain_at, label, output):
    """A label of any script and length comes back whole under `max_tokens = "auto"`."""
    job = job_of(labels={label: "match", "other": "market"}, model={"output": output})
    assert chain_at(job, practice.base_url).invoke({"text": "the match"}) == label
    assert form_of(job).max_tokens >= len(label.encode())
    assert form_of(job_of(model={"max_tokens": 3})).max_tokens == 3


def test_at_the_budget_the_run_stops_and_no_request_is_sent_beyond_it(practice, job_of, guard_of, chain_at):
    """What the provider billed never passes the limit, the run is stopped, and what was not sent says why."""
    job = job_of(run={"max_concurrency": 4})
    limit = Limit(Decimal("0.0004"), "max_cost_usd", Decimal("0.0004"))
    guard = guard_of(job, limit)
    results = chain_at(job, practice.base_url, guard=guard).batch(
        [{"text": text} for text in TEXTS], {"max_concurrency": 4}, return_exceptions=True
    )
    unsent = [result for result in results if isinstance(result, RunStopped)]
    assert isinstance(guard.throttle.stop_signal.stopped, BudgetReached)
    assert unsent
    totals = practice.totals()
    assert totals["answered"] == len(results) - len(unsent) > 0
    billed = cost_of(
        Usage(totals["input_tokens"], totals["cached_input_tokens"], totals["output_tokens"]), guard.price
    )
    assert billed <= limit.left_usd


def test_requests_in_flight_never_pass_max_concurrency(practice, job_of, guard_of, chain_at):
    """Two batches that share a guard stay together under the job's limit."""
    practice.configure(PracticeSettings(latency_seconds=0.02))
    job = job_of(run={"max_concurrency": 3})
    chain = chain_at(job, practice.base_url, guard=guard_of(job))
    inputs = [{"text": text} for text in TEXTS[:15]]
    batches = [threading.Thread(target=chain.batch, args=(inputs, {"max_concurrency": 8})) for _ in range(2)]
    for batch in batches:
        batch.start()
    for batch in batches:
        batch.join()
    assert (practice.totals()["answered"], practice.totals()["peak_in_flight"] <= 3) == (30, True)


def test_a_stopped_run_sends_nothing(practice, job_of, guard_of, chain_at):
    """Once stopped, every request raises the reason in front of the provider."""
    job = job_of()
    guard = guard_of(job)
    guard.throttle.stop_signal.stop(RunStopped("cancelled", "stopped by SIGINT"))
    results = chain_at(job, practice.base_url, guard=guard).batch(
        [{"text": "a"}, {"text": "b"}], return_exceptions=True
    )
    assert [str(result) for result in results] == ["stopped by SIGINT"] * 2
    assert practice.totals()["requests"] == 0


def test_an_endpoint_without_usage_leaves_it_unknown(scripted, completion, job_of, guard_of, chain_at):
    """No usage is not zero usage: the answer's is None, and the budget keeps the worst case."""
    scripted.reply((200, completion(usage=None)))
    job = job_of()
    limit = Limit(Decimal(1), "max_cost_usd", Decimal(1))
    guard = guard_of(job, limit)
    chain = chain_at(job, scripted.base_url, guard=guard)
    messages = chain.steps[0].invoke({"text": "x"}).to_messages()
    assert usage_in(chain.steps[1].invoke(messages)) is None
    assert guard.budget._committed == cost_of(worst_case_of(messages, form_of(job).max_tokens), guard.price)
