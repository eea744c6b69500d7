"""`labelmill costs`: through the command line, on what a run has left."""

import json
import shutil
from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal

import pytest
from typer.testing import CliRunner

from commands.main import app
from labelmill.job.model import Run
from labelmill.money.usage import Usage
from labelmill.question.attempts import Attempt, outcomes_of
from labelmill.run import history
from labelmill.store.compaction import FEWEST_PARTS, compact
from labelmill.store.ledger import frame_of, start_of_day

JOB = """
name = "news"
[source]
path = "gone/*.parquet"
text = "title"
[labels]
sport = ""
money = ""
[model]
name = "gpt-4o-mini"
[output]
path = "{out}"
"""


@pytest.fixture
def job_file(tmp_path):
    """A job file whose source is gone and whose key is nowhere."""
    path = tmp_path / "job.toml"
    path.write_text(JOB.format(out=tmp_path / "out"))
    return path


@pytest.fixture
def past_run(tmp_path):
    """One run of two texts, of which one has an unknown cost, left in the ledger."""
    folder = tmp_path / "out" / "ledger" / "0123456789abcdef"
    folder.mkdir(parents=True)
    now = start_of_day(datetime.now(UTC))
    usage = Usage(1000, 500, 2)
    attempts = [
        Attempt(
            "v1:a",
            now,
            label="sport",
            answered=True,
            model="gpt-4o-mini",
            usage=usage,
            cost_usd=Decimal("0.5"),
        ),
        Attempt("v1:b", now, label="money", answered=True, model="gpt-4o-mini", usage=usage, cost_usd=None),
    ]
    frame_of(outcomes_of(attempts, Run()), "20261123-run1").write_parquet(
        folder / "20261123-run1-00000.parquet"
    )
    return "20261123-run1"


def _costs(*arguments):
    return CliRunner().invoke(app, ["costs", *map(str, arguments)])


def test_costs_are_shown_though_the_source_is_gone(job_file, past_run):
    """The history needs the output and nothing else: no source, no key, no network."""
    shown = _costs(job_file)
    assert shown.exit_code == 0
    assert past_run in shown.stdout
    assert "paid work" in shown.stdout
    assert "no record" in shown.stdout
    assert "unknown, $0.50 or more" in shown.stdout
    assert "████" in shown.stdout


@pytest.mark.usefixtures("past_run")
def test_json_holds_the_numbers(job_file):
    """`--json` prints the same as numbers; practice that never was is null."""
    history = json.loads(_costs(job_file, "--json").stdout)
    assert history["practice"] is None
    assert history["paid"]["total"]["cost_usd"] is None
    assert history["paid"]["total"]["cost_known_usd"] == 0.5
    assert history["paid"]["total"]["cached_fraction"] == 0.5
    assert "repriced_usd" not in history["paid"]["total"]


@pytest.mark.usefixtures("past_batch")
def test_a_currency_that_runs_were_paid_in_has_a_column(job_file, tmp_path):
    """In the table, and as numbers."""
    record = {
        "run_id": "20261123-run1",
        "started_at_utc": "2026-11-23T00:00:00Z",
        "currency": {"code": "CNY", "usd_rate": 8.0},
    }
    (tmp_path / "out" / "runs" / "20261123-run1").mkdir(parents=True)
    (tmp_path / "out" / "runs" / "20261123-run1" / "run.json").write_text(json.dumps(record))
    shown = " ".join(_costs(job_file).stdout.split())
    assert "cost in CNY" in shown
    assert "1.80 CNY" in shown
    history = json.loads(_costs(job_file, "--json").stdout)
    assert history["paid"]["total"]["cost_in_currency"] == pytest.approx(1.8)


@pytest.mark.usefixtures("past_run")
def test_reprice_shows_old_and_new_and_writes_nothing(job_file, tmp_path):
    """Today's price stands beside the cost of then, and no file changes."""
    job_file.write_text(job_file.read_text() + "[price]\ninput_usd_per_mtok = 10\noutput_usd_per_mtok = 0\n")
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    history = json.loads(_costs(job_file, "--json", "--reprice").stdout)
    assert history["paid"]["runs"][0]["repriced_usd"] == pytest.approx(0.02)
    assert "cost then" in _costs(job_file, "--reprice").stdout
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before


@pytest.fixture
def past_batch(tmp_path):
    """A run that asked one text in a batch and one live."""
    folder = tmp_path / "out" / "ledger" / "0123456789abcdef"
    folder.mkdir(parents=True)
    now = start_of_day(datetime.now(UTC))
    asked = {"label": "sport", "answered": True, "model": "gpt-4o-mini", "usage": Usage(1_000_000, 0, 0)}
    for chunk, (key, lane, cost, live_cost) in enumerate(
        (("v1:a", "batch", "0.075", Decimal("0.15")), ("v1:b", "live", "0.15", None))
    ):
        (outcome,) = outcomes_of([Attempt(key, now, **asked, cost_usd=Decimal(cost))], Run())
        frame = frame_of([replace(outcome, live_cost_usd=live_cost)], "20261123-run1", lane)
        frame.write_parquet(folder / f"20261123-run1-0000{chunk}.parquet")


@pytest.mark.usefixtures("past_batch")
def test_what_the_batch_lane_saved_is_shown(job_file):
    """In the table, in a sentence, and as numbers; at today's prices each lane has its own."""
    shown = " ".join(_costs(job_file).stdout.split())
    assert "saved by batches" in shown
    assert "$0.075 (25.0%)" in shown
    assert (
        "1 of 2 requests went through the Batch API. Had all been live, they would have cost $0.30; saved: $0.075 (25.0%)."
        in shown
    )
    (run,) = json.loads(_costs(job_file, "--json", "--reprice").stdout)["paid"]["runs"]
    assert (run["requests_by_batch"], run["live_cost_usd"]) == (1, pytest.approx(0.3))
    assert run["saved_usd"] == pytest.approx(0.075)
    assert run["cost_usd"] == pytest.approx(0.225) == run["repriced_usd"]


@pytest.mark.usefixtures("past_run")
def test_a_history_that_was_live_alone_says_nothing_of_batches(job_file):
    """No column of dashes."""
    assert "batch" not in _costs(job_file).stdout.casefold()


def test_mistakes_are_sentences(job_file, tmp_path):
    """A job file with a mistake and an output without runs are said, with code 2."""
    assert _costs(job_file).exit_code == 2
    assert "there are no runs" in " ".join(_costs(job_file).output.split())
    job_file.write_text(job_file.read_text().replace("[labels]", "[lables]"))
    refused = _costs(job_file)
    assert refused.exit_code == 2
    assert "Traceback" not in refused.output
    assert _costs(tmp_path / "none.toml").exit_code == 2


@pytest.mark.usefixtures("past_run")
def test_a_broken_ledger_part_is_named(job_file, tmp_path):
    """A file in the ledger that is no Parquet is a sentence, not a traceback."""
    broken = tmp_path / "out" / "ledger" / "0123456789abcdef" / "20261124-x-00000.parquet"
    broken.write_bytes(b"PAR1 no")
    shown = _costs(job_file)
    assert shown.exit_code == 2
    assert broken.name in shown.output


def test_costs_are_right_while_a_run_puts_its_parts_together(job_file, past_run, tmp_path, monkeypatch):
    """Parts that were found and are gone when they are read stand in another one: it is looked for again."""
    folder = tmp_path / "out" / "ledger" / "0123456789abcdef"
    (part,) = folder.iterdir()
    for chunk in range(1, FEWEST_PARTS):
        shutil.copyfile(part, folder / f"{past_run}-{chunk:05d}.parquet")
    read = history.read_work

    def read_late(rows, **options):
        compact(folder)
        return read(rows, **options)

    before = json.loads(_costs(job_file, "--json").stdout)
    monkeypatch.setattr("commands.costs.read_work", read_late)
    assert json.loads(_costs(job_file, "--json").stdout) == before
    assert len(list(folder.iterdir())) == 1
