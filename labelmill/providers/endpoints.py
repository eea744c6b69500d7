"""Endpoints that speak OpenAI's dialect, as data: each entry of `endpoints.toml` is a provider."""

import tomllib
from collections.abc import Mapping
from datetime import date
from importlib.resources import files
from typing import Literal

from pydantic import BaseModel, ConfigDict

from labelmill.providers.azure import Azure
from labelmill.providers.dialect import Dialect
from labelmill.providers.openai import BATCH_PATH, OpenAI
from labelmill.question.binding import Binding

_DIALECTS: Mapping[str, type[OpenAI]] = {"openai": OpenAI, "azure": Azure}


class EndpointEntry(BaseModel):
    """One entry; the head of `endpoints.toml` says what its fields mean."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    title: str
    source: str
    checked: date
    dialect: Literal["openai", "azure"] = "openai"
    base_url: str = ""
    address_form: str = ""
    base_url_env: str | None = None
    api_key_env: str
    needs_key: bool = True
    also_called: tuple[str, ...] = ()
    prices: str | None = None
    price_page: str | None = None
    lacks: frozenset[Literal["batches", "schemas", "probabilities"]] = frozenset()
    max_temperature: float = 2.0
    batch_path: str = BATCH_PATH
    batch_fraction: float | None = None
    max_requests: int | None = None
    max_bytes: int | None = None
    max_tokens_name: Literal["max_tokens", "max_completion_tokens"] | None = None
    bindings: tuple[Binding, ...] | None = None

    def provider(self, name: str) -> OpenAI:
        """The provider of that name."""
        return _DIALECTS[self.dialect](
            name=name,
            base_url=self.base_url,
            address_form=self.address_form or self.base_url,
            base_url_env=self.base_url_env,
            api_key_env=self.api_key_env,
            needs_key=self.needs_key,
            also_called=self.also_called,
            price_id=self.prices,
            batch_fraction=self.batch_fraction,
            max_temperature=self.max_temperature,
            max_requests=self.max_requests,
            max_bytes=self.max_bytes,
            has_batch_lane="batches" not in self.lacks,
            has_schemas="schemas" not in self.lacks,
            has_probabilities="probabilities" not in self.lacks,
            batch_path=self.batch_path,
            dialect=Dialect(
                max_tokens_name=self.max_tokens_name,
                bindings=tuple(Binding) if self.bindings is None else self.bindings,
            ),
        )


def entries_in(data: str) -> dict[str, EndpointEntry]:
    """The entries of a table, by their names."""
    return {name: EndpointEntry.model_validate(entry) for name, entry in tomllib.loads(data).items()}


ENTRIES = entries_in(files(__package__).joinpath("endpoints.toml").read_text(encoding="utf-8"))
"""What is known of each endpoint."""

ENDPOINTS = {name: entry.provider(name) for name, entry in ENTRIES.items()}
"""The same as providers."""
