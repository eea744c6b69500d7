"""Whom a new job asks: the provider whose key is in the environment, and its first model, which is data in `first_models.toml`."""

import os
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

from labelmill.job.model import Batch, Model, Run
from labelmill.providers.table import PRACTICE, PROVIDERS, address_of, price_of


@dataclass(frozen=True)
class FirstModel:
    """The provider and the model that a new job names.

    Attributes:
        provider: the provider's name.
        name: the model's.
        key: the variable that holds its key; None where it needs none.
        has_price: whether its price is known, so that a budget can be kept.
        other_keys: variables of other providers whose key is there too.
        notes: why a provider whose key is there was passed over, in sentences.
    """

    provider: str
    name: str
    key: str | None = None
    has_price: bool = True
    other_keys: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


def first_model(environment: Mapping[str, str] = os.environ) -> FirstModel:
    """The first provider of the table whose key is in the environment and that can be asked here; else the practice provider."""
    usable: list[Model] = []
    notes: list[str] = []
    for model in _with_a_key(environment):
        why_not = next(_obstacles(model, environment), None)
        if why_not is None:
            usable.append(model)
        else:
            notes.append(f"{PROVIDERS[model.provider].api_key_env} is set, but {why_not}")
    if not usable:
        return FirstModel(PRACTICE.name, _models()[PRACTICE.name], notes=tuple(notes))
    first, *others = usable
    return FirstModel(
        first.provider,
        first.name,
        PROVIDERS[first.provider].api_key_env,
        has_price=price_of(first, None, address_of(first, environment)) is not None,
        other_keys=tuple(PROVIDERS[model.provider].api_key_env for model in others),
        notes=tuple(notes),
    )


def _with_a_key(environment: Mapping[str, str]) -> Iterator[Model]:
    for name, model in _models().items():
        provider = PROVIDERS[name]
        if not provider.is_practice and environment.get(provider.api_key_env, "").strip():
            yield Model(provider=name, name=model)


def _obstacles(model: Model, environment: Mapping[str, str]) -> Iterator[str]:
    """Why a model can't be asked as it stands in the table."""
    provider = PROVIDERS[model.provider]
    if provider.base_url_env and environment.get(provider.base_url_env, "").strip():
        yield (
            f"{provider.base_url_env} leads to another address, whose models are not known here; set provider = "
            f"{provider.name!r} and the model's name yourself"
        )
    yield from (sentence for _, sentence in provider.mistakes(model, Run(), Batch()))


@cache
def _models() -> Mapping[str, str]:
    return tomllib.loads(files(__package__).joinpath("first_models.toml").read_text(encoding="utf-8"))
