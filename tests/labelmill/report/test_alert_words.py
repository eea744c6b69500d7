"""What an alert says of a run, and which runs are trouble."""

import json
from datetime import UTC, datetime, timedelta

import pytest

from labelmill.report.alert import FACTS, is_trouble, message_of, message_without_record
from labelmill.run.record import BatchFacts, RunRecord

NOW = datetime(2026, 3, 3, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    ("fields", "trouble"),
    [
        ({"status": "completed"}, False),
        ({"status": "cancelled"}, False),
        ({"status": "waiting"}, False),
        ({"status": "budget_reached"}, True),
        ({"status": "too_many_failures"}, True),
        ({"status": "files_unreadable"}, True),
        ({"status": "failed"}, True),
        ({"status": "failed", "practice": True}, False),
    ],
)
def test_a_run_is_trouble_where_a_person_should_look(record_of, fields, trouble):
    """Bad ends and a budget's are; one that completed, waits or was stopped by somebody is not, nor is a rehearsal."""
    assert is_trouble(record_of(**fields), NOW) is trouble


def test_a_batch_that_takes_longer_than_batches_take_is_trouble(record_of):
    """Waiting is no trouble for a day; then somebody should ask the provider."""

    def waiting(since):
        facts = {"batch_id": "b1", "status": "in_progress", "texts": 3, "step": "sent"}
        batch = BatchFacts(name="one", run_id=f"{NOW - since:%Y%m%d-%H%M%S}-ab12", **facts)
        return record_of(status="waiting", batches=[batch], texts_out=3)

    assert not is_trouble(waiting(timedelta(hours=25)), NOW)
    assert is_trouble(waiting(timedelta(hours=27)), NOW)


def test_one_line_says_it_all(record_of, job_of):
    """A run that completed is one line; one in trouble says why and where, and what can't be seen is a space."""
    done = message_of(record_of(job_of(name="每日新闻"), cost_usd=0.0449), trouble=False)
    assert done.lines == ("[Labelmill] 每日新闻: completed, 950 of 1,000 rows labeled, $0.0449",)
    stopped = record_of(job_of(name="news\u202e"), status="budget_reached", message="the budget\nis spent.")
    first, why, where = message_of(stopped, trouble=True).lines
    assert first.startswith("[Labelmill] news : stopped at the budget, ")
    assert why == "the budget is spent."
    assert where == f"Run {stopped.run_id}, labels in {stopped.labeled_path}"


def test_a_webhook_gets_fields_of_the_record(record_of):
    """What programs are told stands in run.json under the same names, and is JSON; a run without a record has them as null."""
    facts = message_of(record_of(status="failed", message="no"), trouble=True).facts
    assert set(FACTS) <= set(RunRecord.model_fields)
    assert (facts["status"], facts["rows_labeled"], facts["trouble"]) == ("failed", 950, True)
    refused = message_without_record("news", ["job.toml, source.path: no file"] * 7, refused=True)
    assert refused.facts.keys() == facts.keys()
    assert (refused.facts["status"], refused.facts["cost_usd"]) == ("refused", None)
    assert refused.lines[0] == "[Labelmill] news: did not run, and nothing was spent"
    assert (len(refused.lines), refused.lines[-1]) == (7, "and 2 more mistakes")
    assert json.loads(json.dumps([facts, refused.facts]))
