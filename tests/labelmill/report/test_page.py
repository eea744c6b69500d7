"""The report page: whole, alone, and with everything from outside as plain text."""

from html.parser import HTMLParser

import pytest

from labelmill.report.formatting import visible
from labelmill.report.markdown import cost_report, escaped
from labelmill.report.page import report_page

VOID = {"meta", "rect"}
ACTIVE = {"script", "link", "img", "iframe", "base", "use", "image", "object", "embed", "form", "a"}
FETCHING = {"src", "href", "xlink:href", "srcset", "data", "action", "style"}


class Page(HTMLParser):
    """A page's tags, attributes and texts; raises where tags don't match."""

    def __init__(self, html):
        super().__init__()
        self.tags, self.attributes, self.texts, self.open, self.rows = [], set(), [], [], []
        self.feed(html)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        """Remember it, and that it must be closed."""
        self.tags.append(tag)
        self.attributes |= {name for name, _ in attrs}
        if tag not in VOID:
            self.open.append(tag)
        if tag == "tr":
            self.rows.append([])

    def handle_startendtag(self, tag, attrs):
        """A tag that closes itself."""
        self.tags.append(tag)
        self.attributes |= {name for name, _ in attrs}

    def handle_endtag(self, tag):
        """It must be the last one opened."""
        assert self.open.pop() == tag

    def handle_data(self, data):
        """Text, and in a cell the cell's."""
        if "style" not in self.open:
            self.texts.append(data)
        if self.open and self.open[-1] == "td":
            self.rows[-1].append(data)


def test_hostile_texts_are_plain_text_on_the_page(record_of, job_of, batch, hostile):
    """Labels, kinds, names, messages and paths add no tag and no attribute, and read as they are."""
    record = record_of(
        job=job_of(model={"name": hostile}),
        message=hostile,
        status="failed",
        labels={hostile: 600, "money": 350, "unused": 0},
        failures={hostile: 30},
        provider_messages=[{"count": 3, "text": hostile}],
        labeled_path=hostile,
        price={**record_of().price, "source": hostile},
        batches=[batch(batch_id=hostile, status=hostile, message=hostile)],
    )
    html = report_page(record)
    plain = record_of(
        labels={"sport": 600, "money": 350, "unused": 0},
        failures={"a": 1},
        message="m",
        status="failed",
        batches=[batch()],
        provider_messages=[{"count": 3, "text": "m"}],
    )
    page, harmless = Page(html), Page(report_page(plain))
    assert page.tags == harmless.tags
    assert page.attributes == harmless.attributes
    assert [visible(hostile), "600", "63.2%"] in page.rows
    assert [visible(hostile), "30", "100.0%"] in page.rows
    assert ["unused", "0", "0.0%"] in page.rows
    assert ["provider", "3 times", visible(hostile)] in page.rows
    assert sum(visible(hostile) in text for text in page.texts) >= 8
    assert not {"\x00", "\u202e", "\u2066", "\u061c", "\u200f", "\x1b"} & set(html)


def test_the_page_and_the_report_show_both_currencies(record_of, job_of):
    """In large, and in the bill with its rate."""
    job = job_of(price={"currency": "CNY", "usd_rate": 7.12, "usd_rate_date": "2026-11-30"})
    page, report = report_page(record_of(job, cost_usd=0.5)), cost_report(record_of(job, cost_usd=0.5))
    assert page.count("$0.50 (3.56 CNY)") == 2
    assert "$1 = 7.12 CNY on 2026-11-30" in page
    assert escaped("$0.50 (3.56 CNY)") in report


def test_the_page_needs_no_network(record_of):
    """No script, no image, no style sheet, no font, no link: nothing is fetched."""
    html = report_page(record_of())
    page = Page(html)
    assert not FETCHING & page.attributes
    assert not ACTIVE & set(page.tags)
    assert not [name for name in page.attributes if name.startswith("on")]
    for fetched in ("//", "url(", "@import", "http"):
        assert fetched not in html


def test_the_page_says_what_the_record_says(record_of):
    """Title, status, rows, bill, labels and failures are there with the record's numbers."""
    page = Page(report_page(record_of(status="budget_reached", message="max_cost_usd = 1.0 would be passed")))
    assert "stopped at the budget" in "".join(page.texts)
    assert "test, 20260301-120000-ab12" in page.texts
    assert ["labeled", "950 (95.0%)"] in page.rows
    assert ["cost", "$0.0794"] in page.rows
    assert ["sport", "600", "63.2%"] in page.rows
    assert ["refused", "5", "16.7%"] in page.rows
    assert any("max_cost_usd = 1.0 would be passed" in text for text in page.texts)


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"practice": True}, "not a language model"),
        ({"price": None, "cost_usd": None}, "unknown, not zero"),
        ({"requests_without_usage": 3}, "3 requests ended without a token count"),
    ],
)
def test_what_must_be_said_is_on_the_page_before_the_numbers(record_of, fields, words):
    """Practice, unknown prices and unseen requests are told, and an unknown price shows no dollar."""
    html = report_page(record_of(**fields))
    assert html.index(words) < html.index("<table")
    assert ("$" in html) is ("price" not in fields)


def test_a_run_in_which_nothing_came_out_still_has_a_page(record_of):
    """No labels and no failures leave two tables."""
    page = Page(report_page(record_of(labels={}, failures={}, rows_total=0, rows_labeled=0, rows_failed=0)))
    assert page.tags.count("table") == 2


def test_rows_without_a_text_and_labels_without_a_row_are_nothing_red(record_of):
    """A dataset of empty rows alone is a page like any other, with every label at nothing."""
    nothing = {"rows_total": 5, "rows_empty": 5, "rows_labeled": 0, "rows_failed": 0, "rows_pending": 0}
    html = report_page(record_of(labels={"sport": 0, "money": 0}, failures={}, **nothing))
    page = Page(html)
    assert ["empty (no text)", "5"] in page.rows
    assert ["sport", "0", "–"] in page.rows
    assert 'class="bars failure"' not in html
    assert 'class="status completed"' in html
