"""Whole jobs of LangChain's models, against servers on loopback that speak their dialects and count for themselves."""

import json
from datetime import timedelta

import polars as pl
import pytest
from servers.base import DROPPED, Reply
from servers.langchain_dialects import LATE, Azure, Bedrock, Mistral, Ollama
from servers.own_dialects import Gemini, gemini_fails, gemini_says

from labelmill.check.job import checked_job
from labelmill.job.file import draft_of
from labelmill.live import guard
from labelmill.pipeline.compare import compare
from labelmill.pipeline.label import label
from labelmill.run.record import RunRecord
from practice import PracticeSettings

pytestmark = pytest.mark.slow

TEXTS = [f"the {word} of day {number}" for number in range(100) for word in ("match", "market")]
KEYS = {
    "ANTHROPIC_API_KEY": "sk-ant-marked-0123456789",
    "GOOGLE_API_KEY": "AIza-marked-0123456789",
    "AZURE_OPENAI_API_KEY": "azure-marked-0123456789",
    "MISTRAL_API_KEY": "mistral-marked-0123456789",
    "AWS_ACCESS_KEY_ID": "AKIA-marked-0123456789",
    "AWS_SECRET_ACCESS_KEY": "aws-marked-0123456789",
}
PRICES = {"anthropic": ("claude-haiku-4-5", 1.0, 5.0), "google": ("gemini-2.5-flash-lite", 0.1, 0.4)}
"""A model of each provider, and what it costs live by genai-prices: USD per million tokens, in and out."""
CLASSES = {
    "azure": (
        Azure,
        "langchain_openai:AzureChatOpenAI",
        "gpt-4o-mini",
        {"api_version": "2024-10-21"},
        (0.15, 0.6),
    ),
    "ollama": (
        Ollama,
        "langchain_ollama:ChatOllama",
        "qwen3:4b",
        {"num_ctx": 4096, "reasoning": False},
        None,
    ),
    "mistral": (
        Mistral,
        "langchain_mistralai:ChatMistralAI",
        "mistral-small-latest",
        {"random_seed": 1},
        (0.15, 0.6),
    ),
    "bedrock": (
        Bedrock,
        "langchain_aws:ChatBedrockConverse",
        "amazon.nova-lite-v1:0",
        {"region_name": "us-east-1"},
        (0.06, 0.24),
    ),
}
"""A server, the class that speaks to it, a model, settings, and what a million tokens cost by genai-prices."""


@pytest.fixture(autouse=True)
def _keys(monkeypatch):
    for name, value in KEYS.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(guard, "FIRST_WAIT_SECONDS", 0.02)


@pytest.fixture(params=PRICES)
def provider(request):
    """Claude's and Gemini's in turn."""
    return request.param


@pytest.fixture(params=CLASSES)
def dialect(request):
    """Each dialect in turn."""
    return request.param


@pytest.fixture
def run(practice, job_of):
    """Run a job of a provider live, against the session's practice provider: `run("google", settings, run={...})`."""
    practice.configure(PracticeSettings())
    practice.reset()

    def run_there(provider, settings=None, *, ask=label, **sections):
        practice.configure(settings or PracticeSettings())
        model = {"provider": provider, "name": PRICES[provider][0], **sections.pop("model", {})}
        limits = {"max_failed_fraction": 1, **sections.pop("run", {})}
        root = practice.base_url.removesuffix("/v1")
        address = f"{root}/v1beta" if provider == "google" else root
        return ask(job_of(model=model, run=limits, **sections), model_base_url=address)

    yield run_there
    practice.configure(PracticeSettings())
    practice.reset()


def assert_told_alike(record, totals):
    """The run's count and the provider's own are one."""
    told = (record.requests, record.input_tokens, record.cached_input_tokens, record.output_tokens)
    names = ("requests", "input_tokens", "cached_input_tokens", "output_tokens")
    assert told == tuple(totals[name] for name in names)


@pytest.mark.parametrize("output", ["text", "schema"])
def test_claude_and_gemini_label_live_and_the_bill_is_theirs(run, practice, provider, output, write_texts):
    """Limits, outages and answers that are no label included, each text gets one; tokens and dollars are the provider's own."""
    write_texts(TEXTS)
    faults = {
        "rate_limited": 0.05,
        "server_error": 0.05,
        "unavailable": 0.05,
        "off_label": 0.05,
        "truncated": 0.05,
    }
    record = run(
        provider, PracticeSettings(faults=faults, retry_after_seconds=0.01), model={"output": output}
    )
    assert (record.status, record.rows_labeled) == ("completed", 200)
    assert record.labels == {"sport": 100, "money": 100}
    totals = practice.totals()
    assert totals["faults"].keys() == set(faults)
    assert_told_alike(record, totals)
    _, per_input, per_output = PRICES[provider]
    cost = (totals["input_tokens"] * per_input + totals["output_tokens"] * per_output) / 1e6
    assert record.cost_usd == pytest.approx(cost, rel=1e-9)
    assert run(provider, model={"output": output}).requests == 0


def test_gemini_tells_how_sure_it_is(run, tmp_path, write_texts):
    """From its own log-probabilities; a job that doesn't ask for them has none."""
    write_texts(TEXTS[:6])
    record = run("google", model={"confidence": True})
    assert record.status == "completed"
    (labeled,) = tmp_path.glob("out/*labeled/source.parquet")
    sure = pl.read_parquet(labeled)["label_confidence"]
    assert sure.null_count() == 0
    assert sure.is_between(0.5, 1.0, closed="left").all()


def test_a_long_prompt_is_written_to_claudes_cache_once_and_read_from_then_on(run, practice, write_texts):
    """One request pays for the writing, the first ones in flight pay as always, and the rest pay a tenth."""
    write_texts(TEXTS)
    labels = {f"sport{n}": "football, match, team " * 10 for n in range(40)} | {"money": "bank, market"}
    record = run("anthropic", labels=labels, model={"name": "claude-sonnet-4-6"}, run={"max_concurrency": 4})
    assert record.message is None, record.message
    assert (record.status, record.rows_labeled) == ("completed", 200)
    totals = practice.totals()
    assert_told_alike(record, totals)
    written, read = totals["cache_write_input_tokens"], totals["cached_input_tokens"]
    assert written > 1024
    assert read > 150 * written
    fresh = totals["input_tokens"] - written - read
    cost = (fresh * 3.0 + written * 3.75 + read * 0.3 + totals["output_tokens"] * 15.0) / 1e6
    assert record.cost_usd == pytest.approx(cost, rel=1e-9)


def test_a_single_text_writes_nothing_to_the_cache(run, practice, write_texts):
    """Nobody would read it, and writing costs more than other input."""
    write_texts(TEXTS[:1])
    labels = {f"sport{n}": "football, match, team " * 10 for n in range(40)} | {"money": "bank, market"}
    assert run("anthropic", labels=labels, model={"name": "claude-sonnet-4-6"}).status == "completed"
    assert practice.totals()["cache_write_input_tokens"] == 0


def test_what_a_batch_leaves_is_finished_live(run, practice, provider, write_texts):
    """The two lanes share a ledger: each text is answered once, and each lane's tokens are billed at its own price."""
    write_texts(TEXTS[:20])
    settings = PracticeSettings(faults={"server_error": 0.5})
    record = run(provider, settings, run={"lane": "batch", "retry_lane": "live", "poll_seconds": 0.05})
    totals = practice.totals()
    assert (record.status, record.rows_labeled) == ("completed", 20)
    assert totals["batch_rows_billed"] + totals["answered"] == 20
    assert min(totals["batch_rows_billed"], totals["answered"]) > 2
    _, per_input, per_output = PRICES[provider]
    tokens = [totals[name] + totals[f"batch_{name}"] / 2 for name in ("input_tokens", "output_tokens")]
    cost = (tokens[0] * per_input + tokens[1] * per_output) / 1e6
    assert record.cost_usd == pytest.approx(cost, rel=1e-9)


AUTO = {"lane": "auto", "deadline": "08:00", "max_concurrency": 1, "poll_seconds": 0.05}


def assert_bill_of_both_lanes(record, totals, provider):
    """Each lane's tokens at its own price."""
    _, per_input, per_output = PRICES[provider]
    sent, answered = (totals[name] + totals[f"batch_{name}"] for name in ("input_tokens", "output_tokens"))
    assert (record.input_tokens, record.output_tokens, record.requests_without_usage) == (sent, answered, 0)
    tokens = [totals[name] + totals[f"batch_{name}"] / 2 for name in ("input_tokens", "output_tokens")]
    cost = (tokens[0] * per_input + tokens[1] * per_output) / 1e6
    assert record.cost_usd == pytest.approx(cost, rel=1e-9)


def test_the_lane_auto_has_batches_do_the_work_in_time(run, practice, provider, write_texts, monkeypatch):
    """Long before the deadline nothing is asked live."""
    write_texts(TEXTS)
    monkeypatch.setattr("labelmill.run.batch_lane.next_deadline", lambda now, *_: now + timedelta(hours=6))
    record = run(provider, PracticeSettings(batch_seconds=0.2), run=AUTO)
    totals = practice.totals()
    assert (record.status, record.rows_labeled, record.texts_by_batch) == ("completed", 200, 200)
    assert (totals["requests"], totals["batch_rows_billed"]) == (0, 200)
    assert_bill_of_both_lanes(record, totals, provider)


def test_the_lane_auto_finishes_live_when_time_runs_out(run, practice, provider, write_texts, monkeypatch):
    """What the batch had finished when it was cancelled is kept, the rest is asked live, and both are in the bill."""
    write_texts(TEXTS[:24])
    monkeypatch.setattr(
        "labelmill.run.batch_lane.next_deadline", lambda now, *_: now + timedelta(seconds=104)
    )
    # At one request at once the live lane is given 102 s for 24 texts.
    settings = PracticeSettings(batch_seconds=600, batch_finished_fraction=0.5)
    record = run(provider, settings, run=AUTO, batch={"cancel_seconds": 0})
    totals = practice.totals()
    assert (record.status, record.rows_labeled) == ("completed", 24)
    assert (record.texts_by_batch, totals["batch_rows_billed"], totals["requests"]) == (12, 12, 12)
    assert_bill_of_both_lanes(record, totals, provider)


def test_what_a_job_adds_goes_to_gemini_beside_what_labelmill_sets(job_of, write_texts):
    """Fields and headers, in a request that holds the rest as ever; where a gateway repeats a secret, it is hidden."""
    value = "gateway-secret-0123456789"
    write_texts(["the match of day 1"])
    body = {"generationConfig": {"thinkingConfig": {"thinkingBudget": 0}}, "labels": {"team": "news"}}
    headers = {"X-Team": "news", "X-Gateway": "env:GATEWAY_KEY"}
    model = {"provider": "google", "name": "gemini-2.5-flash", "extra_body": body, "headers": headers}
    with pytest.MonkeyPatch.context() as patch, Gemini(gemini_says) as server:
        patch.setenv("GATEWAY_KEY", value)
        assert label(job_of(model=model), server.address).rows_labeled == 1
        (sent,), (told,) = server.bodies, server.headers_seen
        assert sent["generationConfig"]["thinkingConfig"] == {"thinkingBudget": 0}
        assert {"temperature", "maxOutputTokens"} <= sent["generationConfig"].keys()
        assert sent["labels"] == {"team": "news"}
        assert (told["x-team"], told["x-gateway"]) == ("news", value)
        server.answer_to = lambda _: gemini_fails(400, "INVALID_ARGUMENT", f"no entry for {value}")
        write_texts(["the match of day 2"])
        record = label(job_of(model=model), server.address)
        assert "no entry for [key]" in record.message


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"required_key": "sk-another-0123456789"}, "key"),
        ({"known_models": ("another",)}, "model"),
        ({"insufficient_quota_after": 5}, "credit"),
    ],
)
def test_what_is_everyones_ends_a_live_run_in_the_providers_words(
    run, provider, settings, words, write_texts
):
    """A wrong key, an unknown model and an empty account are told from their bodies; the key is in no words of ours."""
    write_texts(TEXTS[:40])
    record = run(provider, PracticeSettings(**settings))
    assert record.status == "failed"
    assert words in record.message
    assert not any(key in record.message for key in KEYS.values())


def test_claude_and_gemini_are_compared_live(run, practice, provider, write_texts):
    """`compare` asks in each way, and its tokens are the provider's; what it asked is not asked again."""
    write_texts(TEXTS[:12])

    def ask(job, model_base_url):
        return compare(job, rows=12, concurrency=[4], model_base_url=model_base_url)

    comparison = run(provider, ask=ask)
    totals = practice.totals()
    assert [figures.strategy for figures in comparison.strategies] == [
        "sequential",
        "batch",
        "chunks",
        "batch_lane",
    ]
    assert [figures.requests for figures in comparison.strategies] == [12] * 4
    assert totals["requests"] == 36 + 1  # and one before them that opens the connection
    assert totals["batch_rows_billed"] == 12


# ---- any class


def job_in(folder, dialect, server, **sections):
    """A checked job of a dialect's class, whose requests go to a server."""
    _, class_name, name, settings, _ = CLASSES[dialect]
    address = f"{server.address}/v1" if dialect == "mistral" else server.address
    model = {
        "provider": "langchain",
        "class": class_name,
        "name": name,
        "base_url": address,
        "settings": settings,
        **sections.pop("model", {}),
    }
    values = {
        "name": "test",
        "source": {"path": str(folder / "source.parquet"), "text": "text"},
        "labels": {"sport": "", "money": ""},
        "model": model,
        "run": {"max_failed_fraction": 1, "stop_at_failed_fraction": 1, **sections.pop("run", {})},
        "output": {"path": str(folder / "out")},
        **sections,
    }
    return checked_job(draft_of(values, "job.toml"))


FAULTS = [(429, "please wait", {"retry-after": "0.01"}), (500, "an error here"), (503, "busy")]


def test_any_chat_model_labels_and_is_billed_by_its_class(dialect, tmp_path, write_texts):
    """200 texts, a tenth of them after a limit, an error and an outage: requests, tokens and dollars are the server's own."""
    write_texts(TEXTS)
    server_class, *_, rates = CLASSES[dialect]
    with server_class(FAULTS, each=20) as server:
        record = label(job_in(tmp_path, dialect, server))
    assert (record.status, record.rows_labeled, record.requests) == ("completed", 200, 230)
    assert record.labels == {"sport": 100, "money": 100}
    told = (record.requests, record.requests_without_usage, record.input_tokens, record.output_tokens)
    assert told == (server.requests, 0, server.input_tokens, server.output_tokens)
    if rates is None:
        assert record.cost_usd is None
    else:
        cost = (server.input_tokens * rates[0] + server.output_tokens * rates[1]) / 1e6
        assert record.cost_usd == pytest.approx(cost, rel=1e-9)
    (path,) = tmp_path.glob("out/runs/*/run.json")
    written = json.loads(path.read_text())
    assert written["job"]["model"]["class"] == CLASSES[dialect][1]
    assert RunRecord.model_validate(written).job.model.settings == CLASSES[dialect][3]
    assert not any(key in json.dumps(written) for key in KEYS.values())


def test_what_comes_back_is_one_attempt_whatever_it_is(dialect, tmp_path, write_texts):
    """Late, dropped, cut off or no answer at all: each is counted once, as unseen, and the text is asked again."""
    write_texts([f"the match of day {number}" for number in range(40)])
    faults = [
        LATE,
        DROPPED,
        Reply(200, b'{"choi', told=False),
        Reply(200, b'{"a": 1}', told=False, is_cut_off=True),
    ]
    with CLASSES[dialect][0](faults, each=20) as server:
        job = job_in(tmp_path, dialect, server, model={"timeout_seconds": 1}, run={"max_attempts": 8})
        record = label(job)
    assert (record.status, record.rows_labeled) == ("completed", 40)
    assert (record.requests, record.requests_without_usage) == (server.requests, server.untold) == (48, 8)
    assert (record.input_tokens, record.output_tokens) == (server.input_tokens, server.output_tokens)


def test_what_is_everyones_ends_the_run_of_any_class(dialect, tmp_path, write_texts):
    """A refused key ends it with a handful of requests, in the provider's words."""
    write_texts(TEXTS)
    with CLASSES[dialect][0]([(401, "Unauthorized")] * 10) as server:
        record = label(job_in(tmp_path, dialect, server, run={"max_concurrency": 2}))
    assert record.status == "failed"
    assert server.requests < 30
    assert "Unauthorized" in record.message
