"""The settings of docs/model-settings.md: each block is a job, and what it says arrives in the request."""

import json
import re
import tomllib
from pathlib import Path

import pytest
from langchain_core.messages import HumanMessage, SystemMessage

from labelmill.check.job import checked_job
from labelmill.job.file import draft_of
from labelmill.pipeline.label import label
from labelmill.providers.table import client_of, endpoint_of, provider_of
from labelmill.question.form import form_of

DOCS = Path(__file__).parent.parent / "docs" / "model-settings.md"
BLOCKS = {
    heading: [
        tomllib.loads(block) for block in re.findall(r"^```toml\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    ]
    for heading, text in re.findall(
        r"^## (.*?)\n(.*?)(?=^## |\Z)", DOCS.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL
    )
}
EXAMPLES = [
    pytest.param(block, id=f"{heading} {number}")
    for heading, blocks in BLOCKS.items()
    for number, block in enumerate(blocks)
]
SECRETS = {"GATEWAY_KEY": "gateway-secret-0123456789", "ACCESS_TOKEN": "access-secret-0123456789"}


GEMINI_ANSWER = {
    "candidates": [{"content": {"role": "model", "parts": [{"text": "sport"}]}, "finishReason": "STOP"}],
    "usageMetadata": {"promptTokenCount": 20, "candidatesTokenCount": 2, "totalTokenCount": 22},
    "modelVersion": "gemini-2.5-flash",
}


@pytest.fixture
def environment(monkeypatch):
    """Every key that the page names."""
    for name in re.findall(r"\b[A-Z]+_API_KEY\b", DOCS.read_text(encoding="utf-8")):
        monkeypatch.setenv(name, "sk-of-the-docs-123")
    for name in ("OPENAI_API_KEY", "ANTHROPIC_API_KEY", "GOOGLE_API_KEY"):
        monkeypatch.setenv(name, "sk-of-the-docs-123")
    for name, value in SECRETS.items():
        monkeypatch.setenv(name, value)


@pytest.fixture
def job_with(job_of, write_texts):
    """The job that a block of the page makes of another one, as a file has it; it has passed the check."""

    def build(block):
        write_texts(["the match"])
        values = job_of().model_dump(mode="json")
        for name, told in block.items():
            values[name] = told if name == "model" else values[name] | told
        draft = draft_of(values, "docs")
        assert draft.mistakes == ()
        return draft

    return build


def test_the_page_shows_what_people_ask_for():
    """Qwen, GLM, OpenRouter and llama.cpp with the very fields, each in a section of its own."""
    bodies = [block["model"].get("extra_body", {}) for blocks in BLOCKS.values() for block in blocks]
    assert {"enable_thinking": False} in bodies
    assert {"chat_template_kwargs": {"enable_thinking": False}} in bodies
    assert {"thinking": {"type": "disabled"}} in bodies
    assert [body["provider"]["order"] for body in bodies if "provider" in body]
    assert [body["n_probs"] for body in bodies if "n_probs" in body]


@pytest.mark.usefixtures("environment")
@pytest.mark.parametrize("block", EXAMPLES)
def test_what_a_block_says_arrives_in_the_request(block, job_with, scripted, completion, tmp_path):
    """Over real HTTP, in a run or in a batch: body and headers hold it as it is, beside what Labelmill sets."""
    draft = job_with(block)
    told = block["model"]
    is_live = block.get("run", {}).get("lane", "live") == "live"
    if is_live and told.get("provider") == "google":
        scripted.reply((200, GEMINI_ANSWER))
        address = scripted.base_url.replace("/v1", "/v1beta")
        assert label(checked_job(draft, address), address).rows_labeled == 1
        (body,) = scripted.bodies
        assert body["contents"][0]["parts"] == [{"text": "the match"}]
        holds_temperature = "temperature" in body["generationConfig"]
        # A table that both have holds what both say, whichever of its spellings the job has.
        assert body["generationConfig"].items() >= told.pop("extra_body")["generationConfig"].items()
    elif told.get("provider", "openai") == "openai":
        scripted.reply((200, completion()))
        record = label(checked_job(draft, scripted.base_url), scripted.base_url)
        assert record.rows_labeled == 1
        (body,) = scripted.bodies
        assert body["messages"][-1]["content"] == "the match"
        assert body.get("reasoning_effort") == told.get("reasoning_effort")
        holds_temperature = "temperature" in body
    else:
        scripted.reply((200, {"id": "batch", "name": "batch"}))
        body = _sent_in_a_batch(checked_job(draft, scripted.base_url), scripted, tmp_path)
        holds_temperature = "temperature" in body
    assert holds_temperature == (told.get("temperature") != "unset")
    extra = told.get("extra_body", {})
    assert {name: body[name] for name in extra} == extra
    headers = scripted.headers_seen[-1]
    for name, value in told.get("headers", {}).items():
        assert headers[name] == re.sub(r"env:(\w+)", lambda found: SECRETS[found[1]], value)


def _sent_in_a_batch(job, server, tmp_path):
    """The one request of a batch, as the server got it."""
    messages = [SystemMessage("Sort it."), HumanMessage("the match")]
    provider = provider_of(job.model)
    line = provider.batch_lines(job, server.base_url, form_of(job))("key", messages)
    path = tmp_path / "requests.jsonl"
    path.write_text(json.dumps(line) + "\n")
    client_of(job, endpoint_of(job.model, server.base_url)).send(path, {"labelmill_job": "test"})
    sent = server.bodies[-1]
    if "requests" in sent:
        return sent["requests"][0]["params"]
    return sent["batch"]["input_config"]["requests"]["requests"][0]["request"]
