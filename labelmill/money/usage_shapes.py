"""The shapes in which providers tell what an answer came to: where each count stands, and what is inside what.

Nothing here is computed: `labelmill.money.usage` reads by this table. A new provider is a new row, or one more place in a
row.
"""

from dataclasses import dataclass

Place = tuple[str | int, ...]
"""Where a value stands: keys of objects and numbers of list elements, from the outermost in."""

USAGE: tuple[Place, ...] = (
    ("usage",),
    ("x_groq", "usage"),  # Groq, https://console.groq.com/docs/api-reference#chat-create
    ("result", "usage"),  # Cloudflare, https://developers.cloudflare.com/workers-ai/models/
    (
        "response",
        "usage",
    ),  # OpenAI's events, https://platform.openai.com/docs/api-reference/responses-streaming
    ("choices", 0, "usage"),  # Moonshot, https://platform.moonshot.ai/docs/api/chat
)
"""Where an object of that name is found: most send it at the top."""


@dataclass(frozen=True)
class UsageShape:
    """One way to tell tokens.

    Attributes:
        name: for people and tests.
        sources: where the provider says so, or where somebody met it.
        roots: where the object stands that the other places count from.
        input: tokens that were sent; with `input_beside`, which come on top, all of them.
        output: tokens that were answered; with `output_beside`, which come on top, all of them.
        total: all tokens. What of it is neither input nor output was answered too: thoughts that are shown nowhere.
        reasoning: tokens of thoughts, which are part of the output (with `output_beside`) unless they are more than it.
        cached: tokens of the input that were read from a cache, in any of these places; the largest counts.
        written: tokens of the input that were written to a cache, likewise.
        cache_is_beside: whether `cached` and `written` come on top of the input rather than being part of it.
        sign: what has to be there for the shape to be this one.
    """

    name: str
    sources: tuple[str, ...]
    input: Place
    output: Place
    total: Place | None = None
    roots: tuple[Place, ...] = USAGE
    input_beside: tuple[Place, ...] = ()
    output_beside: tuple[Place, ...] = ()
    reasoning: tuple[Place, ...] = ()
    cached: tuple[Place, ...] = ()
    written: tuple[Place, ...] = ()
    cache_is_beside: bool = False
    sign: Place | None = None


SHAPES: tuple[UsageShape, ...] = (
    UsageShape(
        name="chat completions",
        sources=(
            "https://platform.openai.com/docs/api-reference/chat/object",
            "https://developers.openai.com/api/docs/guides/prompt-caching",  # cache_write_tokens, from GPT-5.6 on
            "https://openrouter.ai/docs/use-cases/usage-accounting",
            "https://api-docs.deepseek.com/api/create-chat-completion",  # prompt_cache_hit_tokens
            "https://platform.moonshot.ai/docs/api/chat",  # cached_tokens
            "https://docs.mistral.ai/api/",  # num_cached_tokens, prompt_token_details
            "https://docs.x.ai/docs/guides/reasoning",  # thoughts beside completion_tokens, within total_tokens
            "https://help.aliyun.com/zh/model-studio/context-cache",  # cache_creation_input_tokens, in the details
            "https://docs.perplexity.ai/guides/pricing",  # reasoning_tokens outside total_tokens
            "https://docs.litellm.ai/docs/completion/prompt_caching",  # cache_read_input_tokens, in prompt_tokens
            "https://docs.databricks.com/aws/en/machine-learning/foundation-model-apis/api-reference",
            "https://docs.vllm.ai/en/latest/serving/openai_compatible_server.html",
            "https://github.com/ggml-org/llama.cpp/blob/master/tools/server/README.md",
            "https://github.com/ollama/ollama/blob/main/docs/openai.md",
        ),
        input=("prompt_tokens",),
        output=("completion_tokens",),
        total=("total_tokens",),
        reasoning=(("completion_tokens_details", "reasoning_tokens"), ("reasoning_tokens",)),
        cached=(
            ("prompt_tokens_details", "cached_tokens"),
            ("prompt_cache_hit_tokens",),
            ("cached_tokens",),
            ("num_cached_tokens",),
            ("prompt_token_details", "cached_tokens"),
            ("cache_read_input_tokens",),
        ),
        written=(
            ("prompt_tokens_details", "cache_write_tokens"),
            ("prompt_tokens_details", "cache_creation_tokens"),
            ("prompt_tokens_details", "cache_creation_input_tokens"),
            ("cache_creation_input_tokens",),
        ),
    ),
    UsageShape(
        name="chat completions, input split by the cache",
        sources=("https://api-docs.deepseek.com/guides/kv_cache",),
        input=("prompt_cache_miss_tokens",),
        output=("completion_tokens",),
        total=("total_tokens",),
        reasoning=(("completion_tokens_details", "reasoning_tokens"),),
        cached=(("prompt_cache_hit_tokens",),),
        cache_is_beside=True,
        sign=("prompt_cache_hit_tokens",),
    ),
    UsageShape(
        name="responses",
        sources=(
            "https://platform.openai.com/docs/api-reference/responses/object",
            "https://docs.x.ai/developers/advanced-api-usage/prompt-caching/usage-and-pricing",
        ),
        input=("input_tokens",),
        output=("output_tokens",),
        total=("total_tokens",),
        reasoning=(("output_tokens_details", "reasoning_tokens"),),
        cached=(("input_tokens_details", "cached_tokens"), ("cache_read_input_tokens",)),
        written=(("input_tokens_details", "cache_write_tokens"), ("cache_creation_input_tokens",)),
        sign=("input_tokens_details",),
    ),
    UsageShape(
        name="DashScope",
        sources=("https://help.aliyun.com/zh/model-studio/qwen-api-via-dashscope",),
        input=("input_tokens",),
        output=("output_tokens",),
        total=("total_tokens",),
        reasoning=(("output_tokens_details", "reasoning_tokens"),),
        cached=(("prompt_tokens_details", "cached_tokens"),),
        written=(("prompt_tokens_details", "cache_creation_input_tokens"),),
        sign=("prompt_tokens_details",),
    ),
    UsageShape(
        name="messages",
        sources=("https://platform.claude.com/docs/en/build-with-claude/prompt-caching",),
        input=("input_tokens",),
        output=("output_tokens",),
        total=("total_tokens",),
        reasoning=(("output_tokens_details", "thinking_tokens"),),
        cached=(("cache_read_input_tokens",),),
        written=(("cache_creation_input_tokens",),),
        cache_is_beside=True,
    ),
    UsageShape(
        name="Gemini",
        sources=("https://ai.google.dev/api/generate-content#UsageMetadata",),
        roots=(("usageMetadata",), ("response", "usageMetadata")),
        input=("promptTokenCount",),
        input_beside=(("toolUsePromptTokenCount",),),
        output=("candidatesTokenCount",),
        output_beside=(("thoughtsTokenCount",),),
        reasoning=(("thoughtsTokenCount",),),
        total=("totalTokenCount",),
        cached=(("cachedContentTokenCount",),),
    ),
    UsageShape(
        name="Bedrock Converse",
        sources=("https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_TokenUsage.html",),
        roots=(("usage",), ("metadata", "usage")),
        input=("inputTokens",),
        output=("outputTokens",),
        total=("totalTokens",),
        cached=(("cacheReadInputTokens",),),
        written=(("cacheWriteInputTokens",),),
        cache_is_beside=True,
    ),
    UsageShape(
        name="Bedrock, metrics of an invocation",
        sources=("https://docs.aws.amazon.com/bedrock/latest/userguide/model-invocation-logging.html",),
        roots=(("amazon-bedrock-invocationMetrics",),),
        input=("inputTokenCount",),
        output=("outputTokenCount",),
        cached=(("cacheReadInputTokenCount",),),
        written=(("cacheWriteInputTokenCount",),),
        cache_is_beside=True,
    ),
    UsageShape(
        name="Cohere, as billed",
        sources=("https://docs.cohere.com/reference/chat",),
        roots=(("usage", "billed_units"), ("meta", "billed_units")),
        input=("input_tokens",),
        output=("output_tokens",),
    ),
    UsageShape(
        name="Cohere",
        sources=("https://docs.cohere.com/reference/chat",),
        roots=(("usage", "tokens"), ("meta", "tokens")),
        input=("input_tokens",),
        output=("output_tokens",),
    ),
    UsageShape(
        name="Ollama",
        sources=("https://github.com/ollama/ollama/blob/main/docs/api.md",),
        roots=((),),
        input=("prompt_eval_count",),
        output=("eval_count",),
    ),
    UsageShape(
        name="llama.cpp",
        sources=("https://github.com/ggml-org/llama.cpp/blob/master/tools/server/README.md",),
        roots=((),),
        input=("tokens_evaluated",),
        output=("tokens_predicted",),
    ),
    UsageShape(
        name="llama.cpp, timings",
        sources=("https://github.com/ggml-org/llama.cpp/pull/15827",),  # prompt_n leaves the cached ones out
        roots=(("timings",),),
        input=("prompt_n",),
        output=("predicted_n",),
        cached=(("cache_n",),),
        cache_is_beside=True,
    ),
)
"""From the most particular to the most general among those that share names; the first that can be so is taken."""

SERVICE_TIERS: tuple[Place, ...] = (
    # OpenAI, Groq: https://platform.openai.com/docs/api-reference/chat/object
    ("service_tier",),
    ("response", "service_tier"),
    # Anthropic: https://platform.claude.com/docs/en/api/service-tiers
    ("usage", "service_tier"),
    # Gemini: https://ai.google.dev/api/generate-content#UsageMetadata
    ("usageMetadata", "serviceTier"),
    # Vertex AI: https://cloud.google.com/vertex-ai/generative-ai/docs/reference/rest/v1/GenerateContentResponse
    ("usageMetadata", "trafficType"),
    # Bedrock: https://docs.aws.amazon.com/bedrock/latest/userguide/service-tiers-inference.html
    ("serviceTier", "type"),
)
"""Where an answer says at which tier it was served: what was asked for may not have been had."""
