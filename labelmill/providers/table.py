"""Providers: what Labelmill knows of each that a job may name."""

from collections.abc import Mapping
from dataclasses import dataclass

from labelmill.job.model import Model
from labelmill.job.model import Price as OwnPrice
from labelmill.money.prices import Lane, Price, find_price


@dataclass(frozen=True)
class Provider:
    """A provider's usual address and key, and what of a job it can do.

    `price_id` is its name in genai-prices. `base_url_env` names the environment variable that changes its address, where there
    is one. Where `is_batch_only`, there is no chain for the live lane, no schema for answers, no token probabilities, and
    langasync speaks for it. A batch takes no more than `max_requests` and `max_bytes`, whatever the job says.

    `key_header` carries the key where there is no client of OpenAI's to send it, with `more_headers` beside it, and
    `models_path` below the address lists the models, for nothing.
    """

    base_url: str
    api_key_env: str
    price_id: str
    base_url_env: str | None = None
    is_batch_only: bool = False
    langasync_module: str = "langasync.providers.openai"
    max_temperature: float = 2.0
    max_requests: int | None = None
    max_bytes: int | None = None
    key_header: str | None = None
    more_headers: tuple[tuple[str, str], ...] = ()
    models_path: str = "/models"


OPENAI = Provider("https://api.openai.com/v1", "OPENAI_API_KEY", "openai", base_url_env="OPENAI_BASE_URL")
ANTHROPIC = Provider(
    "https://api.anthropic.com",
    "ANTHROPIC_API_KEY",
    "anthropic",
    is_batch_only=True,
    langasync_module="langasync.providers.anthropic",
    max_temperature=1.0,
    # https://platform.claude.com/docs/en/build-with-claude/batch-processing
    max_requests=100_000,
    max_bytes=256_000_000,
    # https://platform.claude.com/docs/en/api/models-list
    key_header="x-api-key",
    more_headers=(("anthropic-version", "2023-06-01"),),
    models_path="/v1/models",
)
GOOGLE = Provider(
    "https://generativelanguage.googleapis.com/v1beta",
    "GOOGLE_API_KEY",
    "google",
    is_batch_only=True,
    langasync_module="langasync.providers.gemini",
    # https://ai.google.dev/gemini-api/docs/batch-api: langasync sends the requests inline.
    max_bytes=20_000_000,
    # https://ai.google.dev/api/models
    key_header="x-goog-api-key",
)

# The practice provider stands in for OpenAI.
_BY_NAME: Mapping[str, Provider] = {
    "openai": OPENAI,
    "practice": OPENAI,
    "anthropic": ANTHROPIC,
    "google": GOOGLE,
}


def provider_of(model: Model) -> Provider:
    """The provider that a job names."""
    return _BY_NAME[model.provider]


def api_key_env_of(model: Model) -> str:
    """The environment variable that holds the key: the job's word, else the provider's usual one."""
    return model.api_key_env or provider_of(model).api_key_env


def price_of(
    model: Model, own: OwnPrice | None = None, base_url: str | None = None, lane: Lane = "live"
) -> Price | None:
    """The price a job's tokens are counted at on a lane, its own before the one that is listed; None where it is unknown."""
    return find_price(model.name, provider_of(model).price_id, own, base_url, lane)
