"""Each strategy does to the provider what its name says."""

import polars as pl
import pytest

from labelmill.compare.strategies import WARM_UP, ask_with, strategies_of
from labelmill.errors import RunStopped
from labelmill.store.journal import Journal
from labelmill.store.row_key import row_key_of
from practice import PracticeSettings

pytestmark = pytest.mark.slow

TEXTS = [f"the match of day {number}" for number in range(60)]
IGNORED_FIELDS = {"max_concurrency": 6, "rows_per_chunk": 10}


def latency_of(kind):
    """Short where answers are waited for one by one, else long enough that requests meet even on a busy machine."""
    return 0.02 if kind == "sequential" else 0.3


def strategy_named(job, kind, level=1):
    """One strategy of a job's comparison."""
    return next(strategy for strategy in strategies_of(job, [level]) if strategy.kind == kind)


@pytest.fixture
def ask(opened, practice, job_of):
    """Ask 60 texts by one strategy: `ask("batch", 5, settings)`; returns the ledger's rows and the provider's totals."""

    def ask_by(kind, level=1, settings=None, **run):
        job = job_of(run={**IGNORED_FIELDS, **run})
        practice.configure(settings or PracticeSettings(latency_seconds=latency_of(kind)))
        practice.reset()
        with opened(job, practice.base_url, texts=TEXTS) as (context, sample):
            receipt = ask_with(context, strategy_named(job, kind, level), sample)
            return pl.read_parquet(list(receipt.parts)), practice.totals()

    return ask_by


@pytest.mark.parametrize(
    ("kind", "level", "at_once"), [("sequential", 1, 1), ("batch", 3, 3), ("batch", 25, 25), ("chunks", 1, 6)]
)
def test_the_concurrency_asked_for_is_in_force(ask, kind, level, at_once):
    """No fewer requests are in flight than asked for, though a run would start with 16, and no more than that."""
    rows, totals = ask(kind, level)
    assert (rows.height, totals["requests"]) == (60, 60)
    assert totals["peak_in_flight"] == at_once


@pytest.mark.parametrize(("kind", "level"), [("sequential", 1), ("batch", 8)])
def test_a_rate_limited_text_has_failed_where_nothing_asks_again(ask, kind, level):
    """Each 429 is one request and one text without a label, and cuts no concurrency."""
    settings = PracticeSettings(
        faults={"rate_limited": 0.3}, retry_after_seconds=0.02, latency_seconds=latency_of(kind)
    )
    rows, totals = ask(kind, level, settings)
    refused = totals["by_status"]["429"]
    assert refused > 5
    assert totals["requests"] == 60
    assert rows["error"].to_list().count("rate_limited") == refused
    assert rows["label"].count() == 60 - refused
    assert totals["peak_in_flight"] == level


def test_chunks_ask_again_as_a_run_does(ask):
    """Rate limits, server errors and answers that are no label cost further requests and no text."""
    faults = {"rate_limited": 0.2, "server_error": 0.1, "off_label": 0.1}
    rows, totals = ask("chunks", settings=PracticeSettings(faults=faults, retry_after_seconds=0.02))
    assert rows["label"].count() == 60
    assert totals["requests"] == rows["requests"].sum() == 60 + sum(totals["faults"].values()) > 70


def test_the_warm_up_asks_one_text(opened, practice, job_of):
    """The first text alone is asked, whose answer goes into the ledger like any other."""
    with opened(job_of(), practice.base_url, texts=TEXTS) as (context, sample):
        ask_with(context, WARM_UP, sample)
        (row,) = context.ledger.scan_run(context.run_id).collect().rows(named=True)
    assert practice.totals()["requests"] == 1
    assert (row["row_key"], row["label"]) == (row_key_of(TEXTS[0]), "sport")


@pytest.mark.parametrize("kind", ["sequential", "batch", "chunks"])
def test_a_stopped_comparison_sends_nothing(opened, practice, job_of, kind):
    """After a Ctrl-C no strategy sends a request."""
    job = job_of()
    with opened(job, practice.base_url, texts=TEXTS) as (context, sample):
        context.stop_signal.stop(RunStopped("cancelled", "stopped by SIGINT"))
        ask_with(context, strategy_named(job, kind), sample)
    assert practice.totals()["requests"] == 0


@pytest.mark.parametrize("kind", ["sequential", "batch"])
def test_an_answer_that_can_not_be_kept_ends_the_comparison(opened, practice, job_of, kind, monkeypatch):
    """With a full disk no further answer is paid, and the error reaches the caller."""

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Journal, "append", full)
    job = job_of()
    with opened(job, practice.base_url, texts=TEXTS) as (context, sample):
        with pytest.raises(OSError, match="No space left"):
            ask_with(context, strategy_named(job, kind), sample)
        assert context.stop_signal.stopped.reason == "failed"
    assert practice.totals()["requests"] == 1
