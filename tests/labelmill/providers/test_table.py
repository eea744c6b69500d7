"""The table of providers, and what a new one takes: the file that CONTRIBUTING.md shows, and its line."""

import itertools
import re
import sys
import types
from pathlib import Path

import pytest
from langchain_core.language_models.fake_chat_models import GenericFakeChatModel
from langchain_core.messages import AIMessage, HumanMessage

from labelmill.check.job import checked_job
from labelmill.check.reference import job_reference
from labelmill.dataset.plan import chunks_of, write_pending
from labelmill.errors import JobRefused
from labelmill.job.file import draft_of
from labelmill.job.model import LabelJob, Model
from labelmill.providers.endpoint import Endpoint
from labelmill.providers.langchain import LangChainChat
from labelmill.providers.table import PROVIDERS, client_of, provider_of
from labelmill.question.answers import Answer
from labelmill.question.form import form_of
from labelmill.run.classify import classify_chunk
from labelmill.run.open_run import open_run

CONTRIBUTING = Path(__file__).parents[3] / "CONTRIBUTING.md"
KEY = "acme-key-0123456789"
USAGE = {"input_tokens": 20, "output_tokens": 2, "total_tokens": 22}


def said(content="sport", **facts):
    """A message of a LangChain model."""
    return AIMessage(content, usage_metadata=USAGE, response_metadata={"stop_reason": "end_turn", **facts})


@pytest.fixture
def settings():
    """What the chat models of Acme were made with."""
    return []


@pytest.fixture
def acme(monkeypatch, settings):
    """Acme in the table, as CONTRIBUTING.md has it; its chat model is one of LangChain's fakes."""

    def chat_acme(**given):
        settings.append(given)
        return GenericFakeChatModel(messages=itertools.repeat(said()))

    module = types.ModuleType("langchain_acme")
    module.ChatAcme = chat_acme
    monkeypatch.setitem(sys.modules, "langchain_acme", module)
    (shown,) = re.findall(r"```python\n(.*?)```", CONTRIBUTING.read_text(encoding="utf-8"), re.DOTALL)
    names = {}
    exec(compile(shown, str(CONTRIBUTING), "exec"), names)  # noqa: S102  (it is the point)
    monkeypatch.setitem(PROVIDERS, "acme", names["ACME"])
    monkeypatch.setenv("ACME_API_KEY", KEY)
    return names["ACME"]


def test_a_new_provider_labels_a_dataset_from_the_check_to_the_ledger(
    acme, settings, scripted, job_of, write_texts, tmp_path
):
    """One file and one line: check, guard, `chain.batch` and ledger know nothing of it, and count its tokens."""
    texts = [f"the match number {number}" for number in range(9)]
    write_texts(texts)
    price = {"input_usd_per_mtok": 1.0, "output_usd_per_mtok": 10.0}
    job = job_of(model={"provider": acme.name, "name": "acme-1"}, price=price, run={"max_cost_usd": 1.0})
    job = checked_job(draft_of(job.model_dump(mode="json"), "job"), scripted.base_url)
    with open_run(job, scripted.base_url) as context:
        path = tmp_path / "pending.parquet"
        count = write_pending(context.digests, range(len(context.files)), context.ledger.known_digests, path)
        receipt = classify_chunk(context, path, chunks_of(count, 100)[0])
        costs = context.ledger.scan().collect()
    assert (receipt.texts, receipt.labeled, receipt.failed) == (9, 9, 0)
    assert costs["label"].to_list() == ["sport"] * 9
    assert float(costs["cost_usd"].sum()) == pytest.approx(9 * (20 * 1e-6 + 2 * 10e-6))
    assert {(one["model"], one["max_tokens"], one["max_retries"]) for one in settings} >= {
        ("acme-1", form_of(job).max_tokens, 0)
    }
    assert {one["api_key"] for one in settings} == {KEY}


def test_what_a_new_provider_has_not_is_refused_by_the_check(acme, job_of, write_texts):
    """In sentences that name it, before anything is spent; and so is whoever asks for its batches all the same."""
    write_texts(["a match"])
    job = job_of(
        model={
            "provider": acme.name,
            "name": "acme-1",
            "output": "schema",
            "confidence": True,
            "extra_body": {"seed": 1},
            "headers": {"X-Team": "news"},
        },
        run={"lane": "batch"},
    )
    with pytest.raises(JobRefused) as refused:
        checked_job(draft_of(job.model_dump(mode="json"), "job"))
    found = {mistake.where.removeprefix("job, "): mistake.sentence for mistake in refused.value.mistakes}
    places = {"model.output", "model.confidence", "model.extra_body", "model.headers", "run.lane"}
    assert found.keys() >= places
    assert all("'acme'" in found[place] for place in places)
    with pytest.raises(JobRefused, match="'acme' has no batches"):
        client_of(job, Endpoint("http://127.0.0.1:9/v1", "ACME_API_KEY", practice=False))


def test_whatever_a_langchain_model_comes_to_is_a_reply():
    """An answer with its usage and headers, or a failure in the model's words; the key is in none of them."""
    long = "x" * 490 + KEY
    replies = [said(long, headers={"X-Left": 3}), ValueError(long)]
    model = LangChainChat(GenericFakeChatModel(messages=iter(replies)), KEY)

    def raising(*_, **__):
        raise ValueError(long)

    answered = model.send(model.payload_of([HumanMessage("a match")]))
    assert isinstance(answered.result, Answer)
    assert (answered.result.finish_reason, answered.result.usage.input_tokens) == ("end_turn", 20)
    assert answered.headers == {"x-left": "3"}
    broken = LangChainChat(GenericFakeChatModel(messages=iter(())), KEY)
    object.__setattr__(broken.model, "_generate", raising)
    failed = broken.send([HumanMessage("a match")])
    assert (failed.result.kind, failed.result.may_have_been_paid) == ("bad_response", True)
    assert not any("acme" in words for words in (answered.result.content, failed.result.message))


def test_the_form_and_the_reference_offer_the_providers_of_the_table():
    """The field takes any name, and the check tells which are known; what people choose from is the table."""
    schema = LabelJob.model_json_schema()["$defs"]["Model"]["properties"]["provider"]
    assert schema["enum"] == list(PROVIDERS)
    assert next(iter(PROVIDERS)) == schema["default"] == "openai"
    assert {"azure", "deepseek", "vllm", "anthropic", "google", "langchain", "practice"} <= PROVIDERS.keys()
    offered = " or ".join(f'`"{name}"`' for name in PROVIDERS)
    assert f"| `provider` | {offered} |" in job_reference()
    with pytest.raises(JobRefused, match="did you mean 'google'"):
        provider_of(Model(provider="gogle", name="m"))
    assert all(name == provider.name for name, provider in PROVIDERS.items())
