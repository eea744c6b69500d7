"""docs/langchain.md: what it shows can be run, and what it names is there."""

import re
import tomllib
from pathlib import Path

import pytest
from servers.langchain_dialects import Azure, Bedrock, Mistral, Ollama

from labelmill.check.job import checked_job
from labelmill.job.file import draft_of
from labelmill.pipeline.label import label
from labelmill.providers.langchain_class import ALLOWED_PACKAGES

PAGE = (Path(__file__).parents[1] / "docs" / "langchain.md").read_text(encoding="utf-8")
*MODELS, KEYS = re.findall(r"```toml\n(.*?)```", PAGE, re.DOTALL)
SERVERS = {"ollama": Ollama, "openai": Azure, "mistralai": Mistral, "aws": Bedrock}


@pytest.mark.slow
@pytest.mark.parametrize("block", MODELS, ids=list(SERVERS))
def test_each_model_of_the_page_labels_as_it_stands_there(block, tmp_path, write_texts, monkeypatch):
    """Every block is part of a job that passes the check and is answered by a server of that dialect."""
    for name in ("AZURE_OPENAI_API_KEY", "MISTRAL_API_KEY", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "marked-0123456789")
    write_texts(["the match of day 1", "the market of day 2"])
    told = tomllib.loads(block)
    (family,) = [name for name in SERVERS if f"langchain_{name}:" in told["model"]["class"]]
    values = {
        "name": "page",
        "source": {"path": str(tmp_path / "source.parquet"), "text": "text"},
        "labels": {"sport": "match", "money": "market"},
        "output": {"path": str(tmp_path / "out")},
        **told,
    }
    assert draft_of(values, "page").mistakes == ()
    with SERVERS[family]() as server:
        address = f"{server.address}/v1" if family == "mistralai" else server.address
        job = checked_job(draft_of({**values, "model": {**told["model"], "base_url": address}}, "page"))
        record = label(job)
    assert (record.status, record.rows_labeled, server.requests) == ("completed", 2, 2)


def test_the_page_names_what_there_is():
    """The variable that allows packages, and keys by their variables."""
    assert ALLOWED_PACKAGES in PAGE
    settings = tomllib.loads(KEYS)["model"]["settings"]
    assert all(value.startswith("env:") for value in settings.values())
