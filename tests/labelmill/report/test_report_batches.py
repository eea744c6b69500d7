"""Batches in a report: each with what became of it, and nothing of it active."""

import pytest

from labelmill.batch.record import BatchStep
from labelmill.report.formatting import BATCH_COLUMNS, batches_of
from labelmill.report.markdown import cost_report
from labelmill.report.page import report_page


@pytest.mark.parametrize(
    ("fields", "row"),
    [
        ({}, ("batch_1", "completed", "4,000", "its answers are in the ledger")),
        (
            {"status": "expired"},
            (
                "batch_1",
                "expired",
                "4,000",
                "what was finished is in the ledger; the rest was not asked",
            ),
        ),
        (
            {"step": "sent", "status": "in_progress"},
            ("batch_1", "in progress", "4,000", "at the provider; the next run harvests it"),
        ),
        (
            {"step": "creating", "status": None, "batch_id": None, "message": "500: oops"},
            (
                "20260301-120000-ab12-000",
                "–",
                "4,000",
                "not confirmed yet; the next run looks for it at the provider: 500: oops",
            ),
        ),
        (
            {"step": "dropped", "status": None, "message": "m" * 500, "run_id": "r0"},
            (
                "batch_1",
                "–",
                "4,000",
                f"nothing came of it, and nothing was paid (sent by run r0): {'m' * 159}…",
            ),
        ),
    ],
)
def test_each_batch_is_told_with_what_became_of_it(record_of, batch, fields, row):
    """Its id, the provider's last word, and whether a later run has to do with it."""
    assert batches_of(record_of(batches=[batch(**fields)])) == [row]


@pytest.mark.parametrize("step", BatchStep.__args__)
def test_every_step_has_words_of_its_own(record_of, batch, step):
    """None is shown as the program names it."""
    ((*_, words),) = batches_of(record_of(batches=[batch(step=step)]))
    assert len(words.split()) > 3


def test_of_very_many_batches_the_rest_is_counted(record_of, batch):
    """A report stays a page."""
    rows = batches_of(record_of(batches=[batch()] * 130))
    assert (len(rows), rows[-1]) == (101, ("30 more", "–", "120,000", "–"))


def test_reports_have_a_section_where_there_are_batches(record_of, batch):
    """And none where there are not."""
    record = record_of(batches=[batch(), batch(batch_id="batch_2", step="sent", status="in_progress")])
    markdown, page = cost_report(record), report_page(record)
    assert "## Batches" in markdown
    assert "| batch\\_2 | in progress | 4,000 | at the provider; the next run harvests it |" in markdown
    assert "<h2>Batches</h2>" in page
    assert "<td>batch_2</td><td>in progress</td><td>4,000</td>" in page
    for title in BATCH_COLUMNS:
        assert f"<th>{title}</th>" in page
    assert "Batches" not in cost_report(record_of()) + report_page(record_of())
