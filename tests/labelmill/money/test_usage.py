"""Tokens: read in every provider's shape, added up as they are, and unknown where nobody counted."""

import json
import math

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from labelmill.money.usage import MAX_TOKENS, Usage, service_tier_of, tokens_told_in_total, usage_of
from labelmill.money.usage_shapes import SERVICE_TIERS, SHAPES


def test_usages_add_up_by_kind():
    """Each kind of token is summed by itself; nothing plus something is something."""
    assert Usage() + Usage(3, 2, 1) + Usage(10, 0, 5) == Usage(13, 2, 6)
    assert Usage(10, 2, 5, 4) + Usage(3, 0, 1, 3) == Usage(13, 2, 6, 7)


@pytest.mark.parametrize(
    ("metadata", "usage"),
    [
        (None, None),
        ({"input_tokens": 9, "output_tokens": 2}, Usage(9, 0, 2)),
        ({"input_tokens": 9, "output_tokens": 2, "input_token_details": None}, Usage(9, 0, 2)),
        ({"input_tokens": 9, "output_tokens": 2, "input_token_details": {"cache_read": 4}}, Usage(9, 4, 2)),
        (
            {"input_tokens": 9, "output_tokens": 2, "input_token_details": {"cache_read": None}},
            Usage(9, 0, 2),
        ),
        ({"input_tokens": 9, "output_tokens": 2, "input_token_details": {"cache_read": 99}}, Usage(9, 9, 2)),
        (
            {"input_tokens": 9, "output_tokens": 5, "output_token_details": {"reasoning": 3}},
            Usage(9, 0, 5, reasoning_tokens=3),
        ),
        ({"input_tokens": 0, "output_tokens": 0}, Usage()),
    ],
)
def test_usage_is_read_as_langchain_counts_it(metadata, usage):
    """Cached tokens are part of the input and never more; no metadata is unknown, which is not zero."""
    assert Usage.from_message(metadata) == usage


def chat(prompt=21, answered=3, total=None, **more):
    """A chat completion with such a usage."""
    told = {"prompt_tokens": prompt, "completion_tokens": answered, "total_tokens": total, **more}
    return {
        "choices": [{"message": {"content": "sport"}}],
        "usage": {k: v for k, v in told.items() if v != ...},
    }


TOLD = {
    "OpenAI": (
        chat(
            2006,
            300,
            2306,
            prompt_tokens_details={"cached_tokens": 1920, "audio_tokens": 0},
            completion_tokens_details={"reasoning_tokens": 200},
        ),
        Usage(2006, 1920, 300, reasoning_tokens=200),
    ),
    "OpenAI, from GPT-5.6 on": (
        chat(2600, 3, 2603, prompt_tokens_details={"cached_tokens": 2000, "cache_write_tokens": 400}),
        Usage(2600, 2000, 3, 400),
    ),
    "OpenAI's Responses": (
        {
            "usage": {
                "input_tokens": 18014,
                "input_tokens_details": {"cached_tokens": 0, "cache_write_tokens": 18011},
                "output_tokens": 7,
                "output_tokens_details": {"reasoning_tokens": 0},
                "total_tokens": 18021,
            }
        },
        Usage(18014, 0, 7, 18011),
    ),
    "DeepSeek": (
        chat(100, 2, 102, prompt_cache_hit_tokens=64, prompt_cache_miss_tokens=36),
        Usage(100, 64, 2),
    ),
    "DeepSeek without a sum": (
        {"usage": {"completion_tokens": 2, "prompt_cache_hit_tokens": 64, "prompt_cache_miss_tokens": 36}},
        Usage(100, 64, 2),
    ),
    "Moonshot": (chat(2048, 2, 2050, cached_tokens=1792), Usage(2048, 1792, 2)),
    "Moonshot, in the choice": (
        {"choices": [{"usage": chat(2048, 2, 2050, cached_tokens=1792)["usage"]}]},
        Usage(2048, 1792, 2),
    ),
    "Mistral": (chat(801, 2, 803, prompt_tokens_details={"cached_tokens": 768}), Usage(801, 768, 2)),
    "Mistral, older": (chat(801, 2, 803, num_cached_tokens=768), Usage(801, 768, 2)),
    "Mistral, singular": (chat(801, 2, 803, prompt_token_details={"cached_tokens": 768}), Usage(801, 768, 2)),
    "xAI, thoughts beside": (
        chat(12, 1, 399, completion_tokens_details={"reasoning_tokens": 386}),
        Usage(12, 0, 387, reasoning_tokens=386),
    ),
    "xAI, cached": (
        chat(
            10120,
            1499,
            14428,
            prompt_tokens_details={"cached_tokens": 128},
            completion_tokens_details={"reasoning_tokens": 2809},
        ),
        Usage(10120, 128, 1499 + 2809, reasoning_tokens=2809),
    ),
    "xAI, thoughts within": (
        chat(500, 500, 1000, completion_tokens_details={"reasoning_tokens": 200}),
        Usage(500, 0, 500, reasoning_tokens=200),
    ),
    "Perplexity's deep research": (
        chat(108, 3256, 3364, citation_tokens=7299, reasoning_tokens=73248),
        Usage(108, 0, 3256 + 73248, reasoning_tokens=73248),
    ),
    "SGLang, thoughts within": (chat(20, 60, 80, reasoning_tokens=50), Usage(20, 0, 60, reasoning_tokens=50)),
    "OpenRouter": (
        chat(194, 2, 196, prompt_tokens_details={"cached_tokens": 0, "cache_write_tokens": 100}, cost=0.95),
        Usage(194, 0, 2, 100),
    ),
    "DashScope, as OpenAI": (
        chat(1500, 2, 1502, prompt_tokens_details={"cached_tokens": 0, "cache_creation_input_tokens": 1400}),
        Usage(1500, 0, 2, 1400),
    ),
    "DashScope": (
        {
            "output": {"choices": []},
            "usage": {
                "input_tokens": 1500,
                "output_tokens": 2,
                "total_tokens": 1502,
                "prompt_tokens_details": {"cached_tokens": 1400},
            },
        },
        Usage(1500, 1400, 2),
    ),
    "LiteLLM for Anthropic": (
        chat(
            130213,
            3,
            130216,
            cache_read_input_tokens=128955,
            cache_creation_input_tokens=1253,
            prompt_tokens_details={"cached_tokens": 128955, "cache_creation_tokens": 1253},
        ),
        Usage(130213, 128955, 3, 1253),
    ),
    "Anthropic": (
        {
            "usage": {
                "input_tokens": 5,
                "cache_read_input_tokens": 128955,
                "cache_creation_input_tokens": 1253,
                "cache_creation": {"ephemeral_5m_input_tokens": 1253, "ephemeral_1h_input_tokens": 0},
                "output_tokens": 3,
                "service_tier": "standard",
            }
        },
        Usage(130213, 128955, 3, 1253),
    ),
    "Anthropic, all cached": (
        {"usage": {"input_tokens": 0, "cache_read_input_tokens": 900, "output_tokens": 3}},
        Usage(900, 900, 3),
    ),
    "Anthropic, plain": ({"usage": {"input_tokens": 9, "output_tokens": 3}}, Usage(9, 0, 3)),
    "Gemini": (
        {
            "usageMetadata": {
                "promptTokenCount": 100,
                "candidatesTokenCount": 2,
                "thoughtsTokenCount": 1600,
                "toolUsePromptTokenCount": 30,
                "cachedContentTokenCount": 40,
                "totalTokenCount": 1732,
            }
        },
        Usage(130, 40, 1602, reasoning_tokens=1600),
    ),
    "Gemini, thoughts and nothing said": (
        {"usageMetadata": {"promptTokenCount": 21, "thoughtsTokenCount": 60, "totalTokenCount": 81}},
        Usage(21, 0, 60, reasoning_tokens=60),
    ),
    "Gemini, as OpenAI": (chat(21, 0, 81), Usage(21, 0, 60, reasoning_tokens=60)),
    "Gemini, as OpenAI, nothing said": (chat(21, ..., 81), Usage(21, 0, 60, reasoning_tokens=60)),
    "Bedrock Converse": (
        {
            "usage": {
                "inputTokens": 12,
                "outputTokens": 3,
                "totalTokens": 15,
                "cacheReadInputTokens": 1000,
                "cacheWriteInputTokens": 200,
            }
        },
        Usage(1212, 1000, 3, 200),
    ),
    "Bedrock, metrics": (
        {"amazon-bedrock-invocationMetrics": {"inputTokenCount": 12, "outputTokenCount": 3}},
        Usage(12, 0, 3),
    ),
    "Groq": ({"x_groq": {"usage": chat(30, 2, 32)["usage"]}}, Usage(30, 0, 2)),
    "Cloudflare": ({"result": {"usage": chat(30, 2, 32)["usage"]}}, Usage(30, 0, 2)),
    "vLLM": (chat(30, 2, 32, prompt_tokens_details=None), Usage(30, 0, 2)),
    "llama.cpp": (
        chat(30, 2, 32) | {"timings": {"prompt_n": 1, "cache_n": 29, "predicted_n": 2}},
        Usage(30, 0, 2),
    ),
    "llama.cpp, timings alone": (
        {"timings": {"prompt_n": 1, "cache_n": 236, "predicted_n": 35}},
        Usage(237, 236, 35),
    ),
    "llama.cpp, native": (
        {"tokens_evaluated": 30, "tokens_predicted": 2, "tokens_cached": 31},
        Usage(30, 0, 2),
    ),
    "Ollama": ({"message": {"content": "sport"}, "prompt_eval_count": 26, "eval_count": 2}, Usage(26, 0, 2)),
    "Cohere": (
        {
            "usage": {
                "billed_units": {"input_tokens": 5.0, "output_tokens": 2.0},
                "tokens": {"input_tokens": 71.0, "output_tokens": 3.0},
            }
        },
        Usage(5, 0, 2),
    ),
    "Cohere, older": ({"meta": {"tokens": {"input_tokens": 71, "output_tokens": 3}}}, Usage(71, 0, 3)),
    "a gateway that fills both": (chat(21, 3, 24, input_tokens=0, output_tokens=0), Usage(21, 0, 3)),
    "a gateway that fills the other": (
        chat(0, 0, 0, input_tokens=21, output_tokens=3, input_tokens_details={"cached_tokens": 20}),
        Usage(21, 20, 3),
    ),
    "a gateway with the cached beside": (chat(10, 3, 2013, cached_tokens=2000), Usage(2010, 2000, 3)),
}


@pytest.mark.parametrize("provider", TOLD)
def test_each_providers_usage_is_read(provider):
    """Input with what was cached and written of it, output with thoughts and how many they are, however the provider cuts it."""
    body, usage = TOLD[provider]
    assert usage_of(body) == usage
    assert usage_of(json.loads(json.dumps(body))) == usage
    assert tokens_told_in_total(body) is None


ODD = [None, 0, -1, -5, math.nan, math.inf, 1.5, True, False, "21", "", [], {}, [21], 2**53, 10**400, 1e300]


@pytest.mark.parametrize("odd", ODD)
def test_a_request_always_has_input(odd):
    """No input, or none that can be so, is unknown and not free; the total is then all that is told."""
    assert usage_of(chat(odd, 3)) is None
    assert usage_of({"usage": {"input_tokens": odd, "output_tokens": 3}}) is None
    assert usage_of({"usageMetadata": {"promptTokenCount": odd, "candidatesTokenCount": 3}}) is None
    assert usage_of({"usage": {"inputTokens": odd, "outputTokens": 3}}) is None
    assert usage_of({"prompt_eval_count": odd, "eval_count": 3}) is None
    assert usage_of(chat(odd, 3, 24)) is None
    assert tokens_told_in_total(chat(odd, 3, 24)) == 24
    assert tokens_told_in_total(chat(odd, 3, odd)) is None


@pytest.mark.parametrize("odd", [odd for odd in ODD if odd is not None and odd is not False and odd != 0])
def test_an_output_that_cannot_be_so_is_unknown(odd):
    """The input alone is no bill."""
    assert usage_of(chat(21, odd, 24)) is None
    assert tokens_told_in_total(chat(21, odd, 24)) == 24
    beside = {"promptTokenCount": 21, "candidatesTokenCount": 3, "thoughtsTokenCount": odd}
    assert usage_of({"usageMetadata": beside}) is None


@pytest.mark.parametrize("odd", [odd for odd in ODD if odd is not None and odd is not False and odd != 0])
def test_cached_tokens_that_cannot_be_so_make_nothing_cheaper(odd):
    """Within the input they are none; beside it the input itself is then unknown."""
    assert usage_of(chat(21, 3, prompt_tokens_details={"cached_tokens": odd})) == Usage(21, 0, 3)
    assert usage_of(chat(21, 3, prompt_tokens_details=odd)) == Usage(21, 0, 3)
    beside = {"input_tokens": 21, "output_tokens": 3, "cache_read_input_tokens": odd}
    assert usage_of({"usage": beside}) is None


def test_of_places_that_tell_the_same_the_larger_one_counts():
    """A gateway that fills one with 0 hides nothing."""
    told = {"cached_tokens": 0, "cache_write_tokens": 0}
    body = chat(100, 3, cached_tokens=64, cache_creation_input_tokens=32, prompt_tokens_details=told)
    assert usage_of(body) == Usage(100, 64, 3, 32)


@pytest.mark.parametrize(
    ("cached", "written", "usage"),
    [
        (50, 0, Usage(21, 21, 3)),
        (0, 50, Usage(21, 0, 3, 21)),
        (20, 20, Usage(21, 1, 3, 20)),
        (50, 50, Usage(21, 0, 3, 21)),
    ],
)
def test_no_more_is_cached_than_was_sent(cached, written, usage):
    """Of the two, what is dearer is believed."""
    details = {"cached_tokens": cached, "cache_write_tokens": written}
    assert usage_of(chat(21, 3, 24, prompt_tokens_details=details)) == usage


@pytest.mark.parametrize(
    ("body", "total"),
    [
        ({"usage": {"total_tokens": 81}}, 81),
        ({"usage": {"total_tokens": 81, "prompt_tokens": 0, "completion_tokens": 0}}, 81),
        ({"usageMetadata": {"totalTokenCount": 81}}, 81),
        ({"usage": {"totalTokens": 81}}, 81),
        ({"usage": {"total_tokens": 0}}, None),
        ({"usage": {"total_tokens": -81}}, None),
        ({"usage": {"total_tokens": "81"}}, None),
        ({"usage": {"total_tokens": 2**53}}, None),
        ({"usage": {}}, None),
        ({"usage": None}, None),
        ({}, None),
        ([], None),
    ],
)
def test_a_total_alone_is_no_usage_but_is_told(body, total):
    """Nobody knows what it costs; it is the least that was used."""
    assert usage_of(body) is None
    assert tokens_told_in_total(body) == total


def test_a_total_below_its_parts_changes_nothing():
    """The parts are what is billed."""
    assert usage_of(chat(21, 3, 0)) == usage_of(chat(21, 3, 5)) == usage_of(chat(21, 3)) == Usage(21, 0, 3)
    assert usage_of(chat(21, ..., 5)) is None


def test_a_count_written_with_a_point_is_a_count():
    """Some languages know no other numbers."""
    assert usage_of(json.loads('{"usage": {"prompt_tokens": 21.0, "completion_tokens": 3e0}}')) == Usage(
        21, 0, 3
    )


odd_numbers = st.integers() | st.floats() | st.sampled_from([2**53, 2**53 - 1, 10**400, -1, 0, 1])
json_values = st.recursive(
    st.none() | st.booleans() | odd_numbers | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)
places = sorted(
    {
        (*root, *place)
        for shape in SHAPES
        for root in shape.roots
        for place in (
            shape.input,
            shape.output,
            *filter(None, [shape.total]),
            *shape.input_beside,
            *shape.output_beside,
            *shape.reasoning,
            *shape.cached,
            *shape.written,
        )
    }
    | {place[:length] for place in SERVICE_TIERS for length in (1, 2)},
    key=str,
)


def put(body, place, value):
    """Set a value in nested objects, making them on the way; where something else stands there, it stays."""
    for step, following in zip(place, [*place[1:], None], strict=True):
        if isinstance(step, int):
            if not isinstance(body, list):
                return
            body.extend([{}] * (step + 1 - len(body)))
        elif not isinstance(body, dict):
            return
        if following is None:
            body[step] = value
        else:
            empty = [] if isinstance(following, int) else {}
            body = body[step] if isinstance(step, int) else body.setdefault(step, empty)


@settings(max_examples=500, deadline=None)
@given(
    told=st.lists(
        st.tuples(st.sampled_from(places), st.integers(0, 2**53 - 1) | odd_numbers | json_values), max_size=8
    )
)
@example(told=[(("usage", "prompt_tokens"), 2**53 - 1), (("usage", "total_tokens"), 2**53 - 1)])
def test_whatever_an_answer_tells_is_a_usage_that_can_be_or_none(told):
    """Any JSON in place of any count, object or the whole: it never raises, and what comes out could be billed."""
    body = {}
    for place, value in told:
        put(body, place, value)
    usage = usage_of(body)
    assert usage is None or all(
        type(count) is int and 0 <= count < MAX_TOKENS for count in vars(usage).values()
    )
    if usage is not None:
        assert usage.input_tokens >= 1
        assert usage.cached_input_tokens + usage.cache_write_input_tokens <= usage.input_tokens
    total = tokens_told_in_total(body)
    assert total is None or (usage is None and 0 < total < MAX_TOKENS)
    assert service_tier_of(body) is None or isinstance(service_tier_of(body), str)


@settings(deadline=None)
@given(body=json_values)
def test_any_json_is_read(body):
    """A list, a number or a text is no usage, and no accident."""
    assert usage_of(body) is None
    assert tokens_told_in_total(body) is None
    assert service_tier_of(body) is None


counts = st.integers(0, 10_000)


@settings(deadline=None)
@given(sent=st.integers(1, 10_000), said=counts, thoughts=counts, data=st.data())
def test_all_tokens_of_a_total_are_billed(sent, said, thoughts, data):
    """Whether thoughts stand within the output or beside it: input and output come to the total, none is lost, thoughts are told."""
    cached = data.draw(st.integers(0, sent))
    body = chat(
        sent,
        said,
        sent + said + thoughts,
        prompt_tokens_details={"cached_tokens": cached},
        completion_tokens_details={"reasoning_tokens": thoughts},
    )
    assert usage_of(body) == Usage(sent, cached, said + thoughts, reasoning_tokens=thoughts)
    messages = {"input_tokens": sent, "cache_read_input_tokens": cached, "output_tokens": said}
    assert usage_of({"usage": messages}) == Usage(sent + cached, cached, said)


def test_each_shape_names_its_source():
    """What a provider sends is known from somewhere."""
    assert all(url.startswith("https://") for shape in SHAPES for url in shape.sources)
    assert all(shape.sources for shape in SHAPES)
    assert len({shape.name for shape in SHAPES}) == len(SHAPES)


@pytest.mark.parametrize(
    ("body", "tier"),
    [
        ({"service_tier": "priority", "usage": {"service_tier": "standard"}}, "priority"),
        ({"service_tier": None, "usage": {"service_tier": "batch"}}, "batch"),
        ({"usageMetadata": {"trafficType": "ON_DEMAND_FLEX"}}, "ON_DEMAND_FLEX"),
        ({"usageMetadata": {"serviceTier": "flex"}}, "flex"),
        ({"serviceTier": {"type": "priority"}}, "priority"),
        ({"service_tier": ""}, None),
        ({"service_tier": 5}, None),
        ({"service_tier": {"type": "priority"}}, None),
        ({"service_tier": "a\x1b[2J\ud800" + "b" * 1000}, "a[2J" + "b" * 58),
        ({"service_tier": "\x00\x1b"}, "unknown"),
        ({}, None),
        (None, None),
    ],
)
def test_the_tier_an_answer_was_served_at_is_told_by_the_answer(body, tier):
    """Wherever it stands, in the provider's word; nothing that a terminal would obey is in it."""
    assert service_tier_of(body) == tier
