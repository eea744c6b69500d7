"""History: what the ledgers of an output say about all its runs."""

from datetime import UTC, datetime
from decimal import Decimal

import pytest

from labelmill.errors import JobRefused
from labelmill.job.model import Run
from labelmill.money.usage import Usage
from labelmill.question.attempts import Attempt
from labelmill.run.history import history_of, read_runs, read_work, scan_history
from labelmill.store.folder import OutputFolder
from labelmill.store.journal import Journal

NOON = datetime(2026, 11, 23, 12, tzinfo=UTC)


@pytest.fixture
def read(tmp_path):
    """Read the history of the output folder: `read(practice=False)`."""

    def history(*, practice=False):
        folder = OutputFolder(tmp_path / "out")
        work = read_work(scan_history(folder.ledgers, Run()))
        return history_of(work, read_runs(folder), practice=practice)

    return history


def test_runs_days_and_months_add_up_to_the_total(read, write_part, write_run):
    """Work is added up by run, UTC day and month, over all tasks."""
    write_part("20261123-run1", [{}, {"cost_usd": Decimal("0.003")}])
    write_part("20261201-run2", [{"answered_at_utc": datetime(2026, 12, 1, tzinfo=UTC)}], task_key="f" * 16)
    write_run("20261123-run1")
    write_run("20261201-run2", status="budget_reached", task_key="f" * 16)
    history = read()
    assert [(run["run_id"], run["status"], run["cost_usd"]) for run in history["runs"]] == [
        ("20261123-run1", "completed", 0.004),
        ("20261201-run2", "budget_reached", 0.001),
    ]
    assert [(day["day"], day["texts"]) for day in history["days"]] == [("2026-11-23", 2), ("2026-12-01", 1)]
    assert [(month["month"], month["labels"]) for month in history["months"]] == [
        ("2026-11", 2),
        ("2026-12", 1),
    ]
    total = history["total"]
    assert (total["input_tokens"], total["cached_input_tokens"], total["output_tokens"]) == (300, 120, 6)
    assert total["cached_fraction"] == pytest.approx(0.4)
    assert total["cost_usd"] == pytest.approx(0.005)
    assert total["cost_per_1000_labels_usd"] == pytest.approx(0.005 / 3 * 1000)


def test_a_killed_run_is_in_the_history_without_a_status(read, write_part):
    """A run that left no record is known from the ledger; its status is None."""
    write_part("20261123-dead", [{}])
    (run,) = read()["runs"]
    assert (run["run_id"], run["status"], run["cost_usd"]) == ("20261123-dead", None, 0.001)


def test_a_journal_that_no_run_has_folded_in_counts_and_stays(read, tmp_path):
    """What a dead run left in a journal was paid; looking at it changes nothing."""
    path = tmp_path / "out" / "ledger" / ("0" * 16) / "20261123-dead-00000.jsonl"
    with Journal(path) as journal:
        journal.append(
            Attempt(
                "v1:a", NOON, label="sport", answered=True, usage=Usage(10, 0, 2), cost_usd=Decimal("0.5")
            )
        )
    before = path.read_bytes()
    (run,) = read()["runs"]
    assert (run["run_id"], run["texts"], run["cost_usd"]) == ("20261123-dead", 1, 0.5)
    assert path.read_bytes() == before
    assert not list(path.parent.glob("*.parquet"))


def test_a_journal_beside_its_part_counts_once(read, tmp_path, write_part):
    """A crash between writing a part and removing its journal leaves both, which are the same answers."""
    write_part("20261123-run1", [{}], task_key="0" * 16)
    with Journal(tmp_path / "out" / "ledger" / ("0" * 16) / "20261123-run1-00000.jsonl") as journal:
        journal.append(Attempt("v1:0", NOON, label="sport", answered=True, cost_usd=Decimal("0.001")))
    assert read()["total"]["texts"] == 1


def test_what_a_killed_run_had_sent_counts_and_what_a_living_one_has_does_not(read, tmp_path):
    """A request in flight is no request without usage while its run lives; when that is dead, it is one at its worst case."""
    path = tmp_path / "out" / "ledger" / ("0" * 16) / "20261123-run1-00000.jsonl"
    with Journal(path) as journal:
        journal.append(Attempt("v1:0a", NOON, label="sport", answered=True, cost_usd=Decimal("0.5")))
        journal.note_sent("v1:0b", Decimal("0.25"))
        total = read()["total"]
        assert (total["requests"], total["requests_without_usage"], total["unseen_usd"]) == (1, 1, None)
    total = read()["total"]
    assert (total["requests"], total["requests_without_usage"], total["cost_usd"]) == (2, 2, 0.5)


def test_practice_and_paid_work_are_kept_apart(read, write_part, write_run):
    """Practice costs nothing, so that it is in no total of paid work."""
    write_part("20261123-paid", [{}])
    write_part("20261123-practice", [{}, {}], task_key="practice-0123456789abcdef")
    write_run("20261123-practice", task_key="practice-0123456789abcdef")
    assert [run["run_id"] for run in read()["runs"]] == ["20261123-paid"]
    assert [run["run_id"] for run in read(practice=True)["runs"]] == ["20261123-practice"]


def test_an_unknown_cost_makes_the_total_unknown_and_says_what_is_known(read, write_part):
    """Unknown is None and never 0, in the run, its day and month, and the total."""
    write_part("20261123-run1", [{}])
    write_part("20261123-run2", [{"cost_usd": None}, {}])
    history = read()
    assert [run["cost_usd"] for run in history["runs"]] == [0.001, None]
    assert history["total"]["cost_usd"] is None
    assert history["total"]["cost_known_usd"] == pytest.approx(0.002)
    assert history["total"]["cost_per_1000_labels_usd"] is None
    assert history["days"][0]["cost_usd"] is None


def test_what_is_known_of_a_texts_cost_is_in_the_sum_of_what_is_known(read, write_part):
    """A text that cost 0.50 and then got an answer of unknown cost."""
    write_part("20261123-run1", [{"cost_usd": Decimal("0.5"), "unpriced": 1}, {"unpriced": 0}])
    total = read()["total"]
    assert (total["cost_usd"], total["cost_known_usd"]) == (None, pytest.approx(0.501))


def test_a_part_that_cannot_be_read_is_named(read, write_part, tmp_path):
    """What it holds was paid: no total is shown that leaves it out. An empty one held nothing."""
    write_part("20261123-run1", [{}])
    (part,) = (tmp_path / "out" / "ledger").rglob("*.parquet")
    part.with_name("20261123-run2-00000.parquet").touch()
    assert read()["total"]["texts"] == 1
    part.write_bytes(part.read_bytes()[:-9])
    with pytest.raises(JobRefused, match=r"20261123-run1-00000\.parquet"):
        read()


def test_unseen_requests_count_at_their_worst_case_or_as_unknown(read, write_part):
    """The worst case of unseen requests is a sum of its own; without a price it is unknown."""
    write_part("20261123-run1", [{"unseen": 1, "unseen_usd": Decimal("0.25")}])
    assert read()["total"]["unseen_usd"] == 0.25
    write_part("20261123-run2", [{"unseen": 2}])
    assert read()["total"]["unseen_usd"] is None
    assert read()["total"]["requests_without_usage"] == 3


def test_a_text_of_the_salvage_pass_counts_once_and_its_requests_all(read, write_part):
    """A text that a run asked in two parts is one text; both parts were paid."""
    failed = {"final": False, "label": None, "error": "timeout", "model": None}
    write_part("20261123-run1", [{}, failed, failed], chunk=0)
    write_part("20261123-run1", [{"row_key": "v1:1"}, {"row_key": "v1:2", **failed}], chunk=1)
    (run,) = read()["runs"]
    assert (run["texts"], run["labels"], run["requests"]) == (3, 2, 5)


def test_a_run_with_nothing_to_do_is_listed_with_zeros(read, write_part, write_run):
    """A run that asked nothing cost nothing, and its rates are not numbers."""
    write_part("20261123-run1", [{}])
    write_run("20261124-run2")
    idle = read()["runs"][-1]
    assert (idle["run_id"], idle["texts"], idle["cost_usd"]) == ("20261124-run2", 0, 0.0)
    assert idle["cost_per_1000_labels_usd"] is None
    assert idle["cached_fraction"] is None


def test_records_that_cannot_be_read_are_left_out(read, tmp_path, write_part):
    """A torn or foreign run.json costs the run its status, not the history its numbers."""
    write_part("20261123-run1", [{}])
    for number, content in enumerate(
        ("{", "[]", '{"run_id": "x"}', '{"run_id": "y", "job": 3, "started_at_utc": "z"}')
    ):
        folder = tmp_path / "out" / "runs" / str(number)
        folder.mkdir(parents=True)
        (folder / "run.json").write_text(content)
    assert [run["status"] for run in read()["runs"]] == [None]


def test_an_output_without_runs_has_no_history(read):
    """Neither practice nor paid work."""
    assert read() is None
    assert read(practice=True) is None


BY_BATCH = {"lane": "batch", "live_cost_usd": Decimal("0.002")}


def test_what_the_batch_lane_saved_is_told(read, write_part):
    """By run, day, month and in total: the same tokens live, less what was paid. Parts of older versions were all live."""
    write_part("20261123-batch", [BY_BATCH, {**BY_BATCH, "requests": 3}, {"lane": "live"}])
    write_part("20261123-live", [{}])
    history = read()
    found = [
        (run["texts"], run["requests_by_batch"], run["cost_usd"], run["live_cost_usd"], run["saved_usd"])
        for run in history["runs"]
    ]
    assert found == [(3, 4, 0.003, 0.005, pytest.approx(0.002)), (1, 0, 0.001, 0.001, 0)]
    for sums in (history["total"], *history["days"], *history["months"]):
        assert (sums["requests_by_batch"], sums["live_cost_usd"]) == (4, pytest.approx(0.006))
        assert sums["saved_usd"] == pytest.approx(0.002)


@pytest.mark.parametrize("row", [{"cost_usd": None, **BY_BATCH}, {"lane": "batch", "live_cost_usd": None}])
def test_a_saving_of_which_any_part_is_unknown_is_unknown(read, write_part, row):
    """Never 0, and never the other part alone."""
    write_part("20261123-run1", [row, BY_BATCH])
    assert read()["total"]["saved_usd"] is None


def test_a_text_that_was_asked_on_both_lanes_is_one_text(read, write_part):
    """Failed in a batch, and labeled live: both were paid."""
    write_part(
        "20261123-run1", [{**BY_BATCH, "final": False, "label": None, "error": "empty_answer"}], chunk=0
    )
    write_part("20261123-run1", [{"lane": "live"}], chunk=1)
    (run,) = read()["runs"]
    assert (run["texts"], run["labels"], run["requests"], run["requests_by_batch"]) == (1, 1, 2, 1)


def test_a_run_with_nothing_to_do_saved_nothing(read, write_run):
    """Its rates are no numbers, its sums are 0."""
    write_run("20261124-run2")
    total = read()["total"]
    assert (total["requests_by_batch"], total["live_cost_usd"], total["saved_usd"]) == (0, 0.0, 0.0)


CNY = {"code": "CNY", "usd_rate": 7.0, "usd_rate_date": "2026-11-23"}


def test_what_runs_were_paid_in_is_told_at_each_runs_own_rate(read, write_part, write_run):
    """By run, day and month; a run of an unknown rate makes those sums unknown that it is part of."""
    write_part("20261123-run1", [{}, {"cost_usd": Decimal("0.003")}])
    write_part("20261201-run2", [{"answered_at_utc": datetime(2026, 12, 1, tzinfo=UTC)}])
    write_run("20261123-run1", currency=CNY)
    write_run("20261201-run2", currency={**CNY, "usd_rate": 8.0})
    history = read()
    assert history["currency"] == "CNY"
    assert [run["cost_in_currency"] for run in history["runs"]] == pytest.approx([0.028, 0.008])
    assert [day["cost_in_currency"] for day in history["days"]] == pytest.approx([0.028, 0.008])
    assert history["total"]["cost_in_currency"] == pytest.approx(0.036)
    write_part("20261202-dead", [{}])
    assert (read()["total"]["cost_in_currency"], read()["runs"][2]["cost_in_currency"]) == (None, None)


def test_currencies_that_differ_are_added_up_in_usd_alone(read, write_part, write_run):
    """And so is work that was paid in USD."""
    write_part("20261123-run1", [{}])
    write_run("20261123-run1")
    assert "currency" not in read()
    write_part("20261201-run2", [{}])
    write_run("20261201-run2", currency=CNY)
    write_run("20261202-run3", currency={**CNY, "code": "EUR"})
    assert "currency" not in read()
    assert "cost_in_currency" not in read()["total"]
