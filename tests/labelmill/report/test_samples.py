"""Texts of each label: read from what a run has published, a few of each, and nowhere else than in the report."""

import polars as pl
import pytest

from labelmill.pipeline.label import label
from labelmill.report.findings import Findings
from labelmill.report.markdown import cost_report
from labelmill.report.page import report_page
from labelmill.report.samples import samples_of


def test_two_different_texts_of_each_label_those_of_this_run_first(job_of, write_texts, tmp_path):
    """On one line each; a label without rows has none, and a text that stands on many rows counts once."""
    write_texts(["a match", "a match", "the market"], "a.parquet")
    labels = {"sport": "match", "money": "market", "art": ""}
    job = job_of(source={"path": str(tmp_path / "*.parquet"), "text": "{id}: {text}\n"}, labels=labels)
    assert samples_of(label(job)) == {"sport": ("0: a match", "1: a match"), "money": ("2: the market",)}
    write_texts(["one\tmatch\x1b[2J", "two match", "3 match", ""], "b.parquet")
    assert samples_of(label(job))["sport"] == ("0: one match [2J", "1: two match")


def test_texts_of_partitions_and_under_a_prefix(job_of, tmp_path):
    """Where the text has a partition's value in it, and our columns another name."""
    folder = tmp_path / "news" / "day=2026-11-30"
    folder.mkdir(parents=True)
    pl.DataFrame({"label": ["theirs"], "text": ["a match"]}).write_parquet(folder / "a.parquet")
    source = {"path": str(tmp_path / "news"), "text": "{day} {text}"}
    record = label(job_of(source=source, output={"path": str(tmp_path / "out"), "column_prefix": "lm_"}))
    assert samples_of(record) == {"sport": ("2026-11-30 a match",)}


def test_labels_that_a_run_has_not_published_have_no_texts(job_of, write_texts):
    """What `labeled/` holds then is another run's."""
    write_texts(["a match"])
    record = label(job_of())
    assert samples_of(record)
    assert samples_of(record.model_copy(update={"labeled_run_id": "20260101-000000-0000"})) == {}


def test_the_report_has_them_and_no_other_record(job_of, write_texts, tmp_path):
    """In `report.html` and in the report that Prefect shows; not in `run.json` nor in the manifest."""
    write_texts(["a hushed match", "the market"])
    record = label(job_of())
    run = tmp_path / "out" / "runs" / record.run_id
    assert "a hushed match" in (run / "report.html").read_text()
    for path in [
        run / "run.json",
        tmp_path / "out" / "_manifest.json",
        tmp_path / "out" / "_merge_state.json",
    ]:
        assert "hushed" not in path.read_text()
    findings = Findings(samples={"sport": ("a hushed match",)})
    assert "| sport | a hushed match |" in cost_report(record, findings)


def test_hostile_texts_are_text(record_of, hostile):
    """Markup, scripts and controls of a text come out as they stand, in Markdown and on the page."""
    findings = Findings(samples={"sport": (hostile, "second")})
    page, markdown = report_page(record_of(), findings), cost_report(record_of(), findings)
    assert "<script>alert(1)" not in page + markdown
    assert "onerror=alert(1)>" not in page + markdown
    assert not {"\x00", "\x1b", "\u202e", "\u2028"} & set(page + markdown)
    assert page.count("<td>second</td>") == 1


@pytest.mark.parametrize(
    ("label", "is_broken"),
    [
        ("sport", False),
        ("science & technology", False),
        ("科学与技术", False),
        ("科学与技术以及航天航空领域", True),
    ],
)
def test_a_short_label_stands_on_one_line_beside_its_texts(record_of, label, is_broken):
    """On the page the texts have the room that labels leave; a long label may be broken instead, by its width on a screen."""
    page = report_page(record_of(labels={label: 950}), Findings(samples={label: ("a text",)}))
    assert ('class="words samples long"' in page) == is_broken


@pytest.mark.parametrize(
    ("labels", "rows", "said"),
    [
        (100, 1, ""),
        (101, 1, "and 1 more label with 1 row (1.0%)"),
        (130, 1, "and 30 more labels with 30 rows"),
    ],
)
def test_of_very_many_labels_the_largest_are_told(record_of, job_of, labels, rows, said):
    """On the page as in Markdown, with how many more there are and with how many rows."""
    counts = {f"label {number:03}": rows for number in range(labels)}
    page = report_page(
        record_of(job=job_of(labels=dict.fromkeys(counts, "")), labels=counts, rows_labeled=labels * rows)
    )
    assert page.count('<td class="bar">') == min(labels, 100) + 2
    assert said in page
    assert ("more label" in page) is bool(said)
