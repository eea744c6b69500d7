"""The table of endpoints: what each entry promises, and that an entry is all that an endpoint takes."""

from urllib.parse import urlsplit

import genai_prices.data
import pytest
from hypothesis import given
from hypothesis import strategies as st
from servers.stand_in import KEY, Dialect, StandIn

from labelmill.check.job import checked_job
from labelmill.errors import JobRefused
from labelmill.job.file import draft_of
from labelmill.job.model import Model, web_address
from labelmill.pipeline.label import label
from labelmill.providers.azure import address_in
from labelmill.providers.endpoint import is_loopback
from labelmill.providers.endpoints import ENTRIES, entries_in
from labelmill.providers.table import PROVIDERS, endpoint_of, provider_of

MADE_UP = """
[acme]
title = "Acme"
base_url = "https://api.acme.example/v2"
api_key_env = "ACME_API_KEY"
lacks = ["schemas", "probabilities"]
batch_path = "/v2/chat/completions"
batch_fraction = 0.25
source = "https://acme.example/docs"
checked = 2026-11-30
"""


def mistakes_of(job):
    """The mistakes of a job, by place."""
    with pytest.raises(JobRefused) as refused:
        checked_job(draft_of(job.model_dump(mode="json"), "job"))
    return {mistake.where.removeprefix("job, "): mistake.sentence for mistake in refused.value.mistakes}


@pytest.mark.parametrize("name", ENTRIES)
def test_each_entry_names_an_address_a_key_and_where_its_prices_come_from(name):
    """With its source; a name that stands in for prices is one that genai-prices has."""
    entry = ENTRIES[name]
    web_address(entry.base_url or entry.address_form)
    assert entry.api_key_env.endswith("_API_KEY")
    known = {provider.id for provider in genai_prices.data.providers}
    assert entry.prices is None or entry.prices in known
    assert entry.price_page or is_loopback(entry.base_url)
    assert urlsplit(entry.source).scheme == "https"
    assert is_loopback(entry.base_url) is not entry.needs_key
    assert (entry.batch_fraction is None) or "batches" not in entry.lacks


def test_names_and_what_people_write_for_them_are_told_apart():
    """No name is another's second name, so that a hint leads to one provider."""
    others = [other for provider in PROVIDERS.values() for other in provider.also_called]
    assert len({*others, *PROVIDERS}) == len(others) + len(PROVIDERS)


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("qwen", "dashscope"),
        ("Kimi", "moonshot"),
        ("llamacpp", "llama.cpp"),
        ("豆包", "ark"),
        ("azure-openai", "azure"),
    ],
)
def test_what_people_write_for_a_provider_leads_to_its_name(written, meant):
    """In the sentence that refuses it."""
    with pytest.raises(JobRefused, match=f"did you mean '{meant}'"):
        provider_of(Model(provider=written, name="m"))


@pytest.mark.parametrize("lane", ["live", "batch"])
def test_an_entry_is_all_that_an_endpoint_takes(job_of, write_texts, monkeypatch, lane):
    """A made-up one labels 200 texts on each lane, at its own address and by its own key, and its count is the run's."""
    monkeypatch.setitem(PROVIDERS, "acme", entries_in(MADE_UP)["acme"].provider("acme"))
    monkeypatch.setenv("ACME_API_KEY", KEY)
    write_texts([f"a match, number {number}" for number in range(200)])
    price = {"input_usd_per_mtok": 1.0, "output_usd_per_mtok": 4.0, "batch_fraction": 0.25}
    dialect = Dialect((1.0, 4.0), path="/v2", batches="/v2/chat/completions", batch_part=0.25)
    with StandIn(dialect) as server:
        job = job_of(
            model={"provider": "acme", "name": "acme-1", "base_url": server.base_url},
            run={"lane": lane, "poll_seconds": 0.05, "max_cost_usd": 10},
            price=price,
        )
        record = label(job)
        assert (record.rows_labeled, record.requests) == (200, server.requests)
        assert (record.input_tokens, record.output_tokens) == (server.input_tokens, server.output_tokens)
        assert record.cost_usd == pytest.approx(server.usd, rel=1e-9)


def test_what_an_entry_lacks_is_refused_before_anything_is_spent(job_of, write_texts, monkeypatch):
    """In the words that any provider has for it."""
    write_texts(["a match"])
    monkeypatch.setenv("DEEPSEEK_API_KEY", KEY)
    job = job_of(
        model={"provider": "deepseek", "name": "deepseek-v4-flash", "output": "schema", "api_version": "1"},
        batch={"model": "other"},
        run={"lane": "batch"},
    )
    found = mistakes_of(job)
    assert found.keys() == {"model.output", "model.api_version", "batch.model", "run.lane"}
    assert all("'deepseek'" in sentence for sentence in found.values())


def test_azure_needs_an_address_and_has_openais_adapter_alone(job_of, write_texts, monkeypatch):
    """Its address is each customer's own."""
    monkeypatch.delenv("AZURE_OPENAI_ENDPOINT", raising=False)
    write_texts(["a match"])
    job = job_of(
        model={"provider": "azure", "name": "labels"}, run={"lane": "batch"}, batch={"adapter": "langasync"}
    )
    found = mistakes_of(job)
    assert found["model.base_url"] == (
        "the provider 'azure' has no one address for all; set base_url to yours, which looks like "
        "'https://NAME.openai.azure.com/openai/v1', or put it into AZURE_OPENAI_ENDPOINT"
    )
    assert found["batch.adapter"].startswith("langasync can't make batches of the provider 'azure'")


@pytest.mark.parametrize("name", ["vllm", "ollama", "llama.cpp"])
def test_a_server_of_ones_own_needs_no_key_wherever_it_is(name):
    """Nor is it sent another provider's."""
    model = Model(provider=name, name="m", base_url="http://gpu-box.example:8000/v1")
    endpoint = endpoint_of(model, environment={"OPENAI_API_KEY": KEY})
    assert not endpoint.needs_key
    assert endpoint.api_key({"OPENAI_API_KEY": KEY}) != KEY


@given(
    path=st.sampled_from(
        [
            "",
            "/",
            "/openai",
            "/openai/",
            "/openai/v1",
            "/openai/v1/",
            "/openai/deployments/my-gpt/chat/completions",
        ]
    ),
    before=st.sampled_from(["", "/gateway", "/a/openai-proxy"]),
    query=st.sampled_from(["", "?api-version=2024-10-21", "?api-version=preview&x=1"]),
    own=st.none() | st.sampled_from(["2024-10-21", "2025-03-01-preview"]),
)
def test_an_azure_address_is_read_once_whatever_it_was(path, before, query, own):
    """What a run carries along is read again as the same; the resource and what stands before Azure's path stay."""
    address = address_in(f"https://mine.openai.azure.com{before}{path}{query}", own)
    assert address.root == f"https://mine.openai.azure.com{before}"
    assert address_in(str(address)) == address
    if own is not None:
        assert address.api_version == own
