"""Whom a new job asks: the provider whose key is there, and nobody else."""

import pytest

from labelmill.providers.first_models import FirstModel, _models, first_model
from labelmill.providers.table import PROVIDERS


def test_without_a_key_it_is_the_practice_provider():
    """Nothing is paid by whoever has no key."""
    assert first_model({}) == FirstModel("practice", "gpt-4o-mini")
    assert first_model({"OPENAI_API_KEY": " "}).provider == "practice"


@pytest.mark.parametrize("name", [name for name in _models() if name != "practice"])
def test_each_providers_key_chooses_it(name):
    """Every provider of the table is chosen by its key alone, with the model of the table."""
    found = first_model({PROVIDERS[name].api_key_env: "k"})
    assert (found.provider, found.name, found.key) == (name, _models()[name], PROVIDERS[name].api_key_env)
    assert found.has_price is (name not in {"dashscope", "ark"})


def test_of_several_keys_the_first_is_taken_and_the_others_are_told():
    """OpenAI's before others', and an address of one's own is passed over, since its models are not known."""
    keys = {"OPENAI_API_KEY": "k", "GROQ_API_KEY": "k"}
    assert (first_model(keys).provider, first_model(keys).other_keys) == ("openai", ("GROQ_API_KEY",))
    found = first_model({**keys, "OPENAI_BASE_URL": "http://127.0.0.1:8000/v1"})
    assert found.provider == "groq"
    assert found.notes == (
        (
            "OPENAI_API_KEY is set, but OPENAI_BASE_URL leads to another address, whose models are not known here; set "
            "provider = 'openai' and the model's name yourself"
        ),
    )
