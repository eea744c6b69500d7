"""The page on providers: each of its jobs is run as it stands, against a stand-in of that dialect."""

import re
import tomllib
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from servers.azure import Azure
from servers.dialects import DIALECTS
from servers.stand_in import KEY, Dialect, StandIn

from labelmill.money import prices
from labelmill.pipeline.label import label
from labelmill.providers.endpoints import ENTRIES
from labelmill.providers.table import PROVIDERS
from practice import PracticeSettings

PAGE = (Path(__file__).parent.parent / "docs" / "providers.md").read_text(encoding="utf-8")
JOBS = [
    (section.partition("\n")[0], number, tomllib.loads(block))
    for section in PAGE.split("\n## ")[1:]
    for number, block in enumerate(re.findall(r"^```toml\n(.*?)^```$", section, re.MULTILINE | re.DOTALL))
]
RUNNABLE = [(f"{title} {number}", job) for title, number, job in JOBS if "model" in job]
BY_BATCH = [(name, job) for name, job in RUNNABLE if PROVIDERS[job["model"]["provider"]].has_batch_lane]
TEXTS = [
    f"the {word} of day {number}"
    for number in range(50)
    for word in ("match", "market", "team match", "bank")
]
WRONG_ONCE = frozenset(TEXTS[::50])
HALF_PAST_NOON = datetime(2026, 11, 30, 12, 30, tzinfo=UTC)


@pytest.fixture(autouse=True)
def _keys(monkeypatch):
    """Each provider's key in its usual variable; prices that depend on the hour are those of one hour."""
    for provider in PROVIDERS.values():
        if provider.needs_key and provider.api_key_env:
            monkeypatch.setenv(provider.api_key_env, KEY)
    monkeypatch.setenv("MY_GATEWAY_API_KEY", KEY)
    monkeypatch.setattr(prices, "_now", lambda: HALF_PAST_NOON)


@pytest.fixture
def stand_in(practice):
    """The stand-in for a job's provider."""

    def build(job):
        name = job["model"]["provider"]
        if name == "azure":
            return Azure(api_version=job["model"].get("api_version"))
        if "base_url" in job["model"]:
            return StandIn(Dialect((0.05, 0.2), batches="/v1/chat/completions"))
        return StandIn(DIALECTS[name])

    practice.configure(PracticeSettings())
    practice.reset()
    return build


def run(job_of, write_texts, told, lane, address):
    """Run a job of the page over 200 texts, where its stand-in is."""
    write_texts(TEXTS)
    model = {"base_url": None, **told["model"]}
    settings = {"lane": lane, "poll_seconds": 0.05}
    return label(job_of(**{**told, "model": model, "run": settings}), address)


def assert_counts_are(record, server, lane):
    """The stand-in's own count of requests, tokens and money is the run's; what it refused has cost nothing."""
    assert (record.status, record.rows_labeled, record.rows_failed) == ("completed", len(TEXTS), 0)
    assert record.labels == {"sport": 100, "money": 100}
    asked = len(TEXTS) + len(WRONG_ONCE)
    assert (server.requests, record.requests) == (asked, asked + server.refused)
    assert (record.input_tokens, record.output_tokens) == (server.input_tokens, server.output_tokens)
    # The ledger keeps money to a millionth of a millionth of a dollar.
    assert record.cost_usd == pytest.approx(server.usd, rel=1e-9, abs=asked * 1e-12)
    if server.dialect.usd_rate != 1:
        assert (record.currency.code, record.currency.usd_rate) == ("CNY", server.dialect.usd_rate)
        assert record.currency.cost == pytest.approx(server.usd * server.dialect.usd_rate, rel=1e-6)
    assert (server.live, server.by_batch) == ((asked, 0) if lane == "live" else (0, asked))


RATES = {"claude-haiku-4-5": (1.0, 5.0), "gemini-2.5-flash-lite": (0.1, 0.4), "gpt-4o-mini": (0.15, 0.6)}
"""What the models of the others cost, in USD per million tokens, in and out; batches half."""


def assert_counted_alike(record, totals, model, lane):
    """The practice provider's own count of requests and tokens is the run's, and so is what its tokens cost."""
    is_batch = lane == "batch"
    prefix = "batch_" if is_batch else ""
    assert record.requests == totals["batch_rows_billed" if is_batch else "requests"] > len(TEXTS)
    sent, answered = totals[f"{prefix}input_tokens"], totals[f"{prefix}output_tokens"]
    assert (record.input_tokens, record.output_tokens, record.requests_without_usage) == (sent, answered, 0)
    per_input, per_output = RATES[model]
    usd = (sent * per_input + answered * per_output) / 1e6 * (0.5 if is_batch else 1.0)
    assert record.cost_usd == pytest.approx(usd, rel=1e-9, abs=record.requests * 1e-12)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "lane"),
    [(name, "live") for name, job in RUNNABLE if PROVIDERS[job["model"]["provider"]].has_live_lane]
    + [(name, "batch") for name, _ in BY_BATCH],
)
def test_each_job_of_the_page_labels_200_texts(job_of, write_texts, stand_in, practice, name, lane):
    """On each lane that its provider has; four texts are answered wrongly at first, and corrected in the endpoint's own way."""
    told = dict(RUNNABLE)[name]
    provider = PROVIDERS[told["model"]["provider"]]
    if provider.name not in ENTRIES:
        root = practice.base_url.removesuffix("/v1")
        path = {"anthropic": "", "google": "/v1beta", "practice": "/v1"}[provider.name]
        practice.configure(PracticeSettings(faults={"off_label": 0.02}))
        record = run(job_of, write_texts, told, lane, root + path)
        assert (record.rows_labeled, record.labels["money"]) == (len(TEXTS), 100)
        assert_counted_alike(record, practice.totals(), told["model"]["name"], lane)
        return
    with stand_in(told) as server:
        server.wrong_once = WRONG_ONCE
        assert_counts_are(run(job_of, write_texts, told, lane, server.base_url), server, lane)


def test_every_provider_has_a_section():
    """And a stand-in whose path is that of its address."""
    for entry in ENTRIES.values():
        assert all(word.strip("()") in PAGE for word in entry.title.split())
    # LangChain's models have a page of their own, whose jobs are run too.
    assert {job["model"]["provider"] for _, job in RUNNABLE} | {"langchain"} == PROVIDERS.keys()
    assert "(langchain.md)" in PAGE
    assert DIALECTS.keys() == ENTRIES.keys() - {"azure"}
    for name, dialect in DIALECTS.items():
        assert urlsplit(PROVIDERS[name].base_url).path == dialect.path
        assert (dialect.batches is not None) is PROVIDERS[name].has_batch_lane


def test_the_table_of_the_page_is_the_table_of_endpoints():
    """Address, key, what isn't there and where prices come from, by the program's own data."""
    rows = {row.split("|")[1].strip(): row for row in PAGE.splitlines() if row.startswith("| `")}
    del rows["`provider`"]
    assert rows.keys() == {f"`{name}`" for name in ENTRIES}
    for name, entry in ENTRIES.items():
        _, _, address, key, lacks, listed, _ = (cell.strip() for cell in rows[f"`{name}`"].split("|"))
        assert (entry.base_url or entry.address_form) in address
        assert entry.api_key_env in key
        assert key.startswith("none") is not entry.needs_key
        assert {word for word in lacks.split(", ") if word != "–"} == entry.lacks
        assert (f"`{entry.prices}`" in listed) if entry.prices else listed.startswith("unknown")


def test_the_page_says_that_nothing_was_tried():
    """What stands there is what documentation says."""
    assert "None of this was tried against the real services" in PAGE
