"""What people have met with endpoints, by their public reports: each is answered by a server as the report has it."""

from dataclasses import replace

import polars as pl
import pytest
from servers.base import Endpoint, Reply, completion, error
from servers.langchain_dialects import Azure, Bedrock
from servers.own_dialects import Claude, Gemini, claude_fails, claude_says, gemini_fails, gemini_says

from labelmill.pipeline.label import label

pytestmark = pytest.mark.slow

TEXTS = [f"the {word} of day {number}" for number in range(20) for word in ("match", "market")]
IN_FLIGHT = 8
MODELS = {
    Claude: {"provider": "anthropic", "name": "claude-haiku-4-5"},
    Gemini: {"provider": "google", "name": "gemini-2.5-flash-lite"},
    Azure: {"provider": "langchain", "class": "langchain_openai:ChatOpenAI", "api_key_env": "OPENAI_API_KEY"},
    Bedrock: {
        "provider": "langchain",
        "class": "langchain_aws:ChatBedrockConverse",
        "name": "amazon.nova-2-lite-v1:0",
        "settings": {"region_name": "us-east-1"},
    },
}


class Reported(Endpoint):
    """An endpoint that answers as a report has it."""

    def __init__(self, said):
        super().__init__()
        self.said = said

    def reply(self, call):
        """What the report says."""
        return self.said(call)


class _OfLangChain:
    """The same where the server is one of LangChain's dialects."""

    def __init__(self, said):
        super().__init__()
        self.answer_to = said

    def reply(self, call):
        return self.answer_to(self, call)


class ReportedAzure(_OfLangChain, Azure):
    """OpenAI's dialect, asked by LangChain's class for it."""


class ReportedBedrock(_OfLangChain, Bedrock):
    """Bedrock's Converse."""


@pytest.fixture
def run(world, monkeypatch):
    """Run the world's job against a server, by the provider whose dialect it speaks."""
    for name in ("ANTHROPIC_API_KEY", "GOOGLE_API_KEY", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "marked-0123456789")
    world.has(TEXTS)

    def run_there(server, **model):
        own = next((model for kind, model in MODELS.items() if isinstance(server, kind)), {})
        address = server.address if isinstance(server, Claude | Gemini | Bedrock) else server.base_url
        settings = {"rows_per_chunk": 5, "patience_minutes": 0.5, "max_attempts": 4}
        record = label(world.job(model={**own, **model}, run=settings), address)
        world.records.append(record)
        return record

    return run_there


THINKS_ALOUD = {
    # langchain4j/langchain4j#3974: DashScope's open Qwen3 models think unless told otherwise, and then stream alone
    "DashScope": "parameter.enable_thinking must be set to false for non-streaming calls",
    # alibaba/spring-ai-alibaba#867
    "DashScope in Chinese": "parameter.enable_thinking必须设置为false才能进行非流式调用",
    # musistudio/claude-code-router#948
    "ModelScope": "enable thinking can not be support when `stream=False`.",
}


@pytest.mark.parametrize("words", THINKS_ALOUD.values(), ids=THINKS_ALOUD)
def test_an_endpoint_that_wants_a_setting_stops_the_run_at_its_first_answer(run, world, words):
    """The job never held `enable_thinking`, and is told to set it; with it, every row is labeled."""

    def said(call):
        is_set = call.body.get("enable_thinking") is False
        return completion(call) if is_set else error(400, words, code="invalid_parameter_error")

    with Reported(said) as server:
        record = run(server, name="qwen3-32b")
        assert (record.status, record.rows_pending, record.cost_usd) == ("failed", 40, 0)
        assert "the endpoint wants enable_thinking = false: 400: " in record.message
        assert "; set enable_thinking = false in [model.extra_body] (" in record.message
        assert server.requests <= IN_FLIGHT
        record = run(server, name="qwen3-32b", extra_body={"enable_thinking": False})
        assert (record.status, record.rows_labeled) == ("completed", 40)
        world.assert_labels(40)


RATE_LIMIT = {
    "id": None,
    "choices": None,
    "model": None,
    "usage": None,
    "error": {
        "message": "Provider returned error",
        "code": 429,
        "metadata": {"raw": "Too Many Requests", "provider_name": "Hyperbolic"},
    },
}
"""UKGovernmentBEIS/inspect_ai#1534: OpenRouter's whole answer, under a status of 200."""


@pytest.mark.parametrize("through", ["a request", "LangChain's class"])
def test_a_rate_limit_within_a_200_is_one_and_costs_nothing(run, world, through):
    """It is waited out, and asked again; nobody is charged for it, and it uses up none of a text's paid requests."""

    def said(call):
        is_first = call.number_of_text == 1 and call.number % 4 == 0
        return Reply(200, RATE_LIMIT) if is_first else completion(call)

    is_class = through == "LangChain's class"
    with ReportedAzure(lambda _, call: said(call)) if is_class else Reported(said) as server:
        record = run(server)
        assert (record.status, record.requests_without_usage) == ("completed", 0)
        assert record.requests > 40
        assert record.cost_usd == pytest.approx(40 * (40 * 0.15 + 2 * 0.6) / 1e6, rel=1e-6)
        world.assert_labels(40)
        world.assert_bill_is(server)


def test_what_is_within_a_200_and_nobody_knows_may_have_been_paid(run, world):
    """Only an error that is known to cost nothing costs nothing; of any other the run keeps the worst case."""
    unknown = {"error": {"message": "Something went wrong", "code": "E17"}}

    def said(call):
        return Reply(200, unknown, told=False) if call.number_of_text == 1 else completion(call)

    with Reported(said) as server:
        record = run(server)
        assert (record.requests_without_usage, record.unseen_usd > 0) == (40, True)
        world.assert_bill_is(server)


@pytest.mark.parametrize("status", [200, 500, 529])
def test_claude_overloaded_under_any_status_is_asked_again_for_nothing(run, world, status):
    """anthropics/anthropic-sdk-python#688: `overloaded_error` comes under a 200 and a 500 too."""

    def said(call):
        is_first = call.number_of_text == 1 and call.number % 4 == 0
        return claude_fails(status, "overloaded_error", "Overloaded") if is_first else claude_says(call)

    with Claude(said) as server:
        record = run(server)
        assert (record.status, record.rows_labeled, record.requests_without_usage) == ("completed", 40, 0)
        assert record.cost_usd == pytest.approx(40 * (40 * 1.0 + 2 * 5.0) / 1e6, rel=1e-6)
        world.assert_bill_is(server)


def test_claude_that_takes_no_temperature_stops_the_run_at_its_first_answer(run, world):
    """sipeed/picoclaw#2939: newer models refuse the field; the job is told which of its own to change, and then works."""
    words = "`temperature` is deprecated for this model."

    def said(call):
        is_sent = "temperature" in call.body["sent"]
        return claude_fails(400, "invalid_request_error", words) if is_sent else claude_says(call)

    with Claude(said) as server:
        record = run(server)
        assert (record.status, record.rows_pending, record.cost_usd) == ("failed", 40, 0)
        assert f"refuses the field 'temperature': 400: {words.rstrip('.')}" in record.message
        assert 'set model.temperature = "unset"' in record.message
        assert server.requests <= IN_FLIGHT
        assert run(server, temperature="unset").rows_labeled == 40
        world.assert_labels(40)


TOO_LARGE = (
    "The compiled grammar is too large, which would cause performance issues. Simplify your tool schemas."
)
"""anthropics/anthropic-sdk-python#1185 and anthropics/claude-code#55539: enums of more than a hundred values are too large."""


def test_a_schema_that_claude_can_not_compile_leaves_corrections_in_words(run, world):
    """What is asked again is asked without it, after the first refusal, which costs nothing and fails no row."""

    def said(call):
        if "output_config" in call.body["sent"]:
            return claude_fails(400, "invalid_request_error", TOO_LARGE)
        is_wrong = call.number_of_text == 1 and call.number % 3 == 0
        return claude_says(call, [{"type": "text", "text": "cricket"}] if is_wrong else None)

    with Claude(said) as server:
        record = run(server)
        assert (record.status, record.rows_labeled, record.failures) == ("completed", 40, {})
        refused = sum("output_config" in body for body in server.bodies)
        assert 1 <= refused <= IN_FLIGHT
        world.assert_bill_is(server)


@pytest.mark.parametrize(
    ("server", "failed", "words"),
    [
        (Claude, claude_fails(400, "invalid_request_error", TOO_LARGE), "grammar is too large"),
        # googleapis/python-genai#460
        (
            Gemini,
            gemini_fails(
                400,
                "INVALID_ARGUMENT",
                "The specified schema produces a constraint that has too many states for serving.",
            ),
            "too many states",
        ),
    ],
)
def test_a_job_that_wants_a_schema_is_told_at_once_where_it_can_not_be_had(run, world, server, failed, words):
    """Not after four requests for each text: at the first answer, with the field of the job to change."""
    with server(lambda _: failed) as refusing:
        record = run(refusing, output="schema")
        assert (record.status, record.rows_pending, record.cost_usd) == ("failed", 40, 0)
        assert words in record.message
        assert 'set model.output = "text"' in record.message
        assert refusing.requests <= IN_FLIGHT
        world.assert_bill_is(refusing)


def test_gemini_whose_thoughts_take_the_whole_answer_gets_room_and_is_billed_for_them(run, world):
    """langchain-ai/langchain-google#1020: no words, no output tokens, and 3,071 of thoughts under MAX_TOKENS."""

    def said(call):
        most = call.body["sent"]["generationConfig"]["maxOutputTokens"]
        thoughts = min(most, 600)
        usage = {"thoughtsTokenCount": thoughts}
        if most < 600 + 2:
            candidates = [{"content": {"role": "model"}, "finishReason": "MAX_TOKENS", "index": 0}]
            return gemini_says(call, candidates, (40, thoughts), usage)
        return gemini_says(call, None, (40, thoughts + 2), {**usage, "candidatesTokenCount": 2})

    with Gemini(said) as server:
        record = run(server)
        assert (record.status, record.rows_labeled, record.failures) == ("completed", 40, {})
        assert "thinks before it answers" in record.notices[0]
        assert record.reasoning_tokens == record.output_tokens - 2 * 40
        world.assert_labels(40)
        world.assert_bill_is(server)


@pytest.mark.parametrize("reason", ["OTHER", "PROHIBITED_CONTENT"])
def test_a_prompt_that_gemini_blocks_fails_that_text_alone_and_its_tokens_are_billed(run, world, reason):
    """JetBrains/koog#1029, simonw/llm-gemini#80: a 200 without candidates, whose prompt is counted."""
    blocked = TEXTS[3]

    def said(call):
        if call.text != blocked:
            return gemini_says(call)
        return gemini_says(call, [], (40, 0), {}, promptFeedback={"blockReason": reason})

    with Gemini(said) as server:
        record = run(server)
        assert (record.status, record.failures) == ("completed", {"content_filter": 1})
        assert server.calls_of[blocked] == 1
        world.assert_labels(39, failed=1)
        world.assert_bill_is(server)


def test_thoughts_without_an_answer_say_how_to_have_none(run, world):
    """vectorize-io/hindsight#3246, HarperFast/harper#1805: `stop`, nothing said, all of it thought; more room would not help."""
    said = {"content": "", "reasoning": "We need to sort this. It could be sport or money."}
    with Reported(lambda call: completion(call, **said)) as server:
        record = run(server, name="gpt-oss:20b")
        assert record.rows_failed > 0
        messages = world.ledger.filter(pl.col("error") == "empty_answer")["message"].unique().to_list()
        assert messages == [
            "the answer held thoughts only, and no label; docs/model-settings.md says how to have none"
        ]
        world.assert_bill_is(server)


def test_a_bedrock_model_that_needs_a_profile_ends_the_run_after_a_few_requests(run, world):
    """langchain-ai/langchain-aws#1019: no text can succeed under that name; AWS's words say what to name instead."""
    words = (
        "Invocation of model ID amazon.nova-2-lite-v1:0 with on-demand throughput isn’t supported. Retry your request "
        "with the ID or ARN of an inference profile that contains this model."
    )
    with ReportedBedrock(lambda server, _: server.refused(400, words)) as server:
        record = run(server)
        assert (record.status, record.rows_pending, record.cost_usd) == ("failed", 40, 0)
        assert "inference profile" in record.message
        assert server.requests <= 10 + 2 * IN_FLIGHT
        world.assert_bill_is(server)


def test_a_bedrock_answer_that_is_malformed_is_paid_and_asked_again(run, world):
    """UKGovernmentBEIS/inspect_ai#2941: a stop reason that few clients know is never a label's end."""

    def said(server, call):
        reply = server.said(completion(call))
        is_first = call.number_of_text == 1
        return (
            replace(reply, body={**reply.body, "stopReason": "malformed_model_output"}) if is_first else reply
        )

    with ReportedBedrock(said) as server:
        record = run(server, name="amazon.nova-lite-v1:0")
        assert (record.status, record.requests) == ("completed", 80)
        world.assert_labels(40)
        world.assert_bill_is(server)
