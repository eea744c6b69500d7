"""The model as a job sets it up: the same on every lane, so that the same request goes out and costs the same tokens."""

from typing import Any

from langchain_openai import ChatOpenAI
from pydantic import Field, SecretStr

from labelmill.job.model import LabelJob
from labelmill.providers.environment import shared_http_client
from labelmill.question.form import AnswerForm


class JobChatOpenAI(ChatOpenAI):
    """ChatOpenAI that speaks of the longest answer as its endpoint understands it."""

    speaks_max_tokens: bool = Field(default=False, exclude=True)

    def _get_request_payload(self, *args: Any, **kwargs: Any) -> dict[str, Any]:
        payload: dict[str, Any] = super()._get_request_payload(*args, **kwargs)
        if self.speaks_max_tokens and "max_completion_tokens" in payload:
            # Many compatible endpoints ignore the newer name, and with it the limit that the budget relies on.
            payload["max_tokens"] = payload.pop("max_completion_tokens")
        return payload


def chat_settings(job: LabelJob, base_url: str, api_key: str, form: AnswerForm) -> dict[str, Any]:
    """What a `JobChatOpenAI` is made of for a job and a form of answer.

    Its own retries are off and LangChain's cache is not asked: whoever sends its requests sees and counts each of them.
    """
    http_client = shared_http_client(base_url)
    # Beside a client of its own ChatOpenAI takes no proxy, and it would warn of those in the environment.
    connections = {"http_client": http_client, "http_socket_options": ()} if http_client else {}
    return {
        **connections,
        "openai_proxy": None,
        "model": job.model.name,
        "base_url": base_url,
        "api_key": SecretStr(api_key),
        "temperature": job.model.temperature,
        "max_completion_tokens": form.max_tokens,
        "timeout": job.model.timeout_seconds,
        "logprobs": True if job.model.confidence else None,
        "max_retries": 0,
        "cache": False,
        "use_responses_api": False,
        "include_response_headers": True,
        "speaks_max_tokens": "//api.openai.com" not in base_url,
    }
