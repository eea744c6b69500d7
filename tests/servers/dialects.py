"""What is particular to each endpoint of the table, as its documentation has it: paths, errors, usage, what it refuses, rates.

The rates are what the models of `docs/providers.md` cost, by the providers' own lists; where a provider has no list that
Labelmill knows, those that the job of that page tells.
"""

from servers.base import Reply
from servers.stand_in import Dialect, openai_error

JSON_SCHEMA = '{"type": "json_schema"'


def _coded(code):
    """Errors with a code of one's own, as DashScope, Zhipu and Ark have them."""
    return lambda status, message: Reply(
        status, {"error": {"code": code, "message": message}, "request_id": "1"}
    )


def _numbered(status, message):
    """OpenRouter's and llama.cpp's errors have the status for a code."""
    return Reply(status, {"error": {"code": status, "message": message}})


def _mistral_error(status, message):
    """Mistral refuses what it doesn't know with a 422, in FastAPI's shape."""
    field = message.split()[0]
    detail = [{"type": "extra_forbidden", "loc": ["body", field], "msg": "Extra inputs are not permitted"}]
    return Reply(422, {"detail": detail}) if status == 400 else Reply(status, {"message": message})


def _vllm_error(status, message):
    return Reply(status, {"object": "error", "message": message, "type": "BadRequestError", "code": status})


def _deepseek_usage(sent, answered):
    return {
        "prompt_tokens": sent,
        "completion_tokens": answered,
        "total_tokens": sent + answered,
        "prompt_cache_hit_tokens": 0,
        "prompt_cache_miss_tokens": sent,
    }


def _moonshot_usage(sent, answered):
    return {
        "prompt_tokens": sent,
        "completion_tokens": answered,
        "total_tokens": sent + answered,
        "cached_tokens": 0,
    }


def _groq_usage(sent, answered):
    times = {"queue_time": 0.01, "prompt_time": 0.002, "completion_time": 0.01, "total_time": 0.012}
    return {"prompt_tokens": sent, "completion_tokens": answered, "total_tokens": sent + answered, **times}


DIALECTS = {
    "openai": Dialect((0.15, 0.6), batches="/v1/chat/completions"),
    "openrouter": Dialect((0.15, 0.6), path="/api/v1", error=_numbered),
    "groq": Dialect(
        (0.05, 0.08),
        path="/openai/v1",
        refuses={"logprobs": None, "logit_bias": None},
        usage=_groq_usage,
        batches="/v1/chat/completions",
    ),
    "together": Dialect((0.88, 0.88)),
    "mistral": Dialect(
        (0.15, 0.6),
        refuses={"max_completion_tokens": None, "logprobs": None},
        error=_mistral_error,
    ),
    "deepseek": Dialect((0.15, 0.6), refuses={"response_format": JSON_SCHEMA}, usage=_deepseek_usage),
    "dashscope": Dialect(
        (0.8, 2.0),
        usd_rate=7.12,
        path="/compatible-mode/v1",
        error=_coded("invalid_parameter_error"),
        batches="/v1/chat/completions",
    ),
    "zhipu": Dialect(
        (0.069, 0.414), path="/api/paas/v4", error=_coded("1210"), batches="/v4/chat/completions"
    ),
    "moonshot": Dialect((0.2, 2.0), usage=_moonshot_usage, batches="/v1/chat/completions"),
    "ark": Dialect(
        (0.15, 1.5),
        usd_rate=7.12,
        path="/api/v3",
        refuses={"response_format": JSON_SCHEMA},
        error=_coded("InvalidParameter"),
    ),
    "vllm": Dialect((0.0, 0.0), needs_key=False, error=_vllm_error),
    "ollama": Dialect((0.0, 0.0), needs_key=False, error=openai_error),
    "llama.cpp": Dialect((0.0, 0.0), needs_key=False, error=_numbered),
}
"""By the name of the provider; Azure has a file of its own."""
