"""The Markdown report: read back by a Markdown parser, with everything from outside as plain text."""

import re
from base64 import b64decode
from decimal import Decimal
from xml.etree import ElementTree as ET

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from labelmill.money.budget import LimitUse
from labelmill.report.changes import gone_labels
from labelmill.report.findings import Example, Findings, PastRun
from labelmill.report.formatting import visible
from labelmill.report.markdown import cost_report, escaped, label_distribution
from labelmill.report.page import report_page

MARKDOWN = MarkdownIt("commonmark", {"html": True}).enable(["table", "strikethrough"])
PLAIN = {"text", "text_special", "softbreak"}


def parsed(markdown):
    """A document's tables, as lists of rows of cell texts, and the types of all inline tokens in it."""
    tables, kinds = [], set()
    for token in MARKDOWN.parse(markdown):
        if token.type == "table_open":
            tables.append([])
        elif token.type == "tr_open":
            tables[-1].append([])
        elif token.type == "inline":
            # An empty comment keeps an address from becoming a link.
            children = [child for child in token.children if child.content != "<!-- -->"]
            kinds |= {child.type for child in children}
            text = "".join(child.content for child in children)
            if token.level >= 4 and tables and "text" in {child.type for child in token.children} | {"text"}:
                tables[-1][-1].append(text)
        elif token.type.startswith("html"):
            kinds.add(token.type)
    return tables, kinds


def shown(text):
    """A text as a reader sees it in a cell."""
    return visible(text).strip()


@settings(max_examples=50, deadline=None)
@given(text=st.text(max_size=40) | st.text(st.sampled_from("|`*_<>[]()!\\&#;~$ab\n\x00\u202e"), max_size=30))
def test_any_text_comes_out_of_a_table_cell_as_it_is(text):
    """A Markdown parser reads an escaped text back as that text, in one cell, with no mark-up in it."""
    tables, kinds = parsed(f"| a | b |\n| --- | --- |\n| x{escaped(text)}x | end |\n")
    assert tables == [[["a", "b"], [f"x{visible(text)}x", "end"]]]
    assert kinds <= PLAIN


@settings(max_examples=200, deadline=None)
@given(
    text=st.text(max_size=40)
    | st.text(st.sampled_from("|`*_<>[]()!\\&#;~$-+=1. \n\tab\x00\u202e@:/"), max_size=30)
)
def test_any_text_is_plain_where_nothing_stands_before_it(text):
    """A cell of a table artifact and a description are documents of their own: no list, rule, heading or code comes of one."""
    tokens = MARKDOWN.parse(escaped(text))
    assert {token.type for token in tokens} <= {"paragraph_open", "inline", "paragraph_close"}
    inline = [child for token in tokens for child in token.children or ()]
    assert {child.content for child in inline if child.type == "html_inline"} <= {"<!-- -->"}
    inline = [child for child in inline if child.type != "html_inline"]
    assert {child.type for child in inline} <= PLAIN
    assert "".join(child.content for child in inline).strip() == visible(text).strip()


def test_lone_surrogates_are_not_in_what_is_written():
    """An artifact can be encoded whatever a text held."""
    assert escaped("a\ud800b\udfffc").encode() == b"a b c"


def test_no_address_becomes_a_link():
    """Readers that make links of bare addresses find none."""
    for text in (
        "http://evil.example",
        "HTTPS://evil.example",
        "www.evil.example",
        "ftp://a",
        "me@evil.example",
    ):
        said = escaped(text)
        assert "://" not in said
        assert "www." not in said
        assert "me@" not in said
        assert parsed(said)[1] <= PLAIN


def test_hostile_labels_stand_in_the_distribution_as_plain_text(record_of, hostile):
    """Each row of the table has its cells, the label reads as it is, and nothing in it is mark-up."""
    record = record_of(labels={hostile: 600, "money": 350})
    for markdown in (label_distribution(record), cost_report(record)):
        tables, kinds = parsed(markdown)
        assert kinds <= PLAIN | {"code_inline", "image"}
        distribution = next(table for table in tables if table[0][0] == "label")
        assert distribution == [
            ["label", "rows", "share", "since the last run"],
            [shown(hostile), "600", "63.2%", "–"],
            ["money", "350", "36.8%", "–"],
        ]


def test_hostile_names_paths_and_messages_stand_in_the_report_as_plain_text(
    record_of, job_of, batch, hostile
):
    """Model, path, message, failure kinds and the price's source can't break the report or hide in it."""
    price = {**record_of().price, "source": hostile}
    record = record_of(
        job=job_of(model={"name": hostile}),
        message=hostile,
        status="failed",
        labeled_path=hostile,
        failures={hostile: 30},
        price=price,
        requests_without_usage=3,
        batches=[batch(batch_id=hostile, status=hostile, message=hostile)],
    )
    markdown = cost_report(record)
    tables, kinds = parsed(markdown)
    assert kinds <= PLAIN | {"code_inline", "image"}
    assert [table[0] for table in tables] == [
        ["", "rows"],
        ["", "this run"],
        ["batch", "status", "texts", "what became of it"],
        ["label", "rows", "share", "since the last run"],
        ["kind", "rows"],
    ]
    assert all(len(row) == len(table[0]) for table in tables for row in table)
    assert tables[4][1] == [shown(hostile), "30"]
    assert not {"\x00", "\u202e", "\u2066", "\u061c", "\x1b"} & set(markdown)
    headings = [token for token in MARKDOWN.parse(markdown) if token.type == "heading_open"]
    assert len(headings) == 8


def test_a_report_says_what_the_record_says(record_of):
    """Status, rows, bill, labels and failures are all there, with the record's numbers."""
    markdown = cost_report(record_of(status="too_many_failures", message="30 of 1000 rows failed"))
    tables, _ = parsed(markdown)
    assert markdown.startswith("# test: too many failures\n")
    assert "30 of 1000 rows failed" in markdown
    assert ["labeled", "950 (95.0%)"] in tables[0]
    assert ["cost", "$0.0794"] in tables[1]
    assert tables[3] == [["kind", "rows"], ["off_label", "25"], ["refused", "5"]]


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"practice": True}, "not a language model"),
        ({"price": None, "cost_usd": None}, "unknown, not zero"),
        ({"requests_without_usage": 3}, "3 requests ended without a token count"),
    ],
)
def test_what_must_be_said_is_a_quote_above_the_numbers(record_of, fields, words):
    """Every notice stands before the first table, also in an unknown price's bill, which shows no dollar."""
    markdown = cost_report(record_of(**fields))
    quotes = [line for line in markdown.splitlines() if line.startswith("> ")]
    assert any(words in line for line in quotes)
    assert markdown.index(quotes[-1]) < markdown.index("| ")
    assert ("$" in markdown) is ("price" not in fields)


def test_a_run_in_which_nothing_came_out_still_reports(record_of):
    """No labels and no failures are no empty tables, and the distribution of nothing is its head."""
    record = record_of(labels={}, failures={}, rows_labeled=0, rows_failed=0, rows_total=0)
    tables, _ = parsed(cost_report(record))
    assert len(tables) == 2
    assert parsed(label_distribution(record))[0] == [[["label", "rows", "share", "since the last run"]]]


def test_what_was_said_most_often_stands_in_the_report_as_plain_text(record_of, hostile):
    """The provider's messages and the model's wrong answers, with how often, whatever is in them."""
    record = record_of(
        provider_messages=[{"count": 180, "text": hostile}], wrong_answers=[{"count": 2, "text": "no"}]
    )
    tables, kinds = parsed(cost_report(record))
    assert kinds <= PLAIN | {"code_inline", "image"}
    said = next(table for table in tables if table[0][0] == "whose words")
    assert said[1:] == [["provider", "180 times", shown(hostile)], ["wrong answer", "twice", "no"]]


def test_labels_that_no_row_has_stand_in_the_report(record_of):
    """With no row and no share; a label is new only where it has rows, and gone only where the job lost it."""
    last = PastRun.model_validate(
        record_of(labels={"sport": 9, "rare": 1, "gone": 2, "never": 0}).model_dump(mode="json")
    )
    record = record_of(labels={"sport": 10, "rare": 0, "art": 2, "void": 0}, rows_labeled=12)
    (table,) = parsed(label_distribution(record, last))[0]
    assert [row[:3] for row in table[1:]] == [
        ["sport", "10", "83.3%"],
        ["rare", "0", "0.0%"],
        ["art", "2", "16.7%"],
        ["void", "0", "0.0%"],
    ]
    assert [row[3] for row in table[1:]] == ["+8.3 pp", "-8.3 pp", "new", "±0"]
    assert gone_labels(record, last) == ["gone"]


def test_empty_rows_are_told_and_count_in_no_share(record_of):
    """Of 1,000 rows 50 have no text: the share labeled is of the others."""
    tables, _ = parsed(cost_report(record_of(rows_empty=50, rows_failed=0, rows_pending=0)))
    assert ["empty (no text)", "50"] in tables[0]
    assert ["labeled", "950 (100.0% of those with a text)"] in tables[0]


def test_rows_that_can_not_be_read_are_counted_by_themselves(record_of):
    """In the rows, in what has changed and in the page's first number, whose share leaves them out; else not at all."""
    file = {"path": "/in/b.parquet", "column": "text", "reason": "no UTF-8", "rows": 50}
    facts = {"rows_failed": 0, "rows_pending": 0, "rows_unreadable": 50, "unreadable_files": [file]}
    record = record_of(status="files_unreadable", **facts)
    past = PastRun.model_validate({**record_of().model_dump(mode="json"), "run_id": "20260228-120000-ab12"})
    markdown = cost_report(record, Findings(past=(past,)))
    tables, _ = parsed(markdown)
    assert ["unreadable (in files left out)", "50"] in tables[0]
    assert ["labeled", "950 (100.0% of the readable rows)"] in tables[0]
    assert "| unreadable | 0 | 50 | +50 |" in markdown
    assert "of the rows that can be read labeled" in report_page(record)
    assert "unreadable" not in cost_report(record_of(), Findings(past=(past,)))


def test_earlier_runs_that_can_not_be_read_are_not_taken_for_none(record_of):
    """A report that can't look back says so, and calls no run the first."""
    markdown = cost_report(record_of(), Findings(past=None))
    assert "The earlier runs could not be read." in markdown
    assert "first run" not in markdown


def test_a_long_list_of_labels_that_are_gone_is_cut_and_says_so(record_of):
    """And how many more there are."""
    last = record_of(labels={f"l{number}": 1 for number in range(130)}).model_dump(mode="json")
    findings = Findings(past=(PastRun.model_validate({**last, "run_id": "20260228-120000-ab12"}),))
    assert "l99 and 30 more." in cost_report(record_of(), findings)


@pytest.fixture
def findings(record_of):
    """An earlier run, a limit, an example and answers' times."""

    def build(text="the match", message="said no", label="sport"):
        past = record_of(labels={label: 500, "gone": 500}, rows_total=900, cost_usd=0.05).model_dump(
            mode="json"
        )
        return Findings(
            past=(PastRun.model_validate({**past, "run_id": "20260228-120000-ab12"}),),
            limits=(LimitUse("max_cost_usd", Decimal(1), Decimal("0.25")),),
            examples={"refused": (Example(text, message), Example(None, "the row has no text"))},
            seconds_bins=((0.1, 3), (0.2, 1)),
        )

    return build


def test_what_changed_and_how_much_of_the_budget_is_used(record_of, findings):
    """Limits, rows, cost and each label's share are set against the last run, and what is gone is named."""
    markdown = cost_report(record_of(), findings())
    tables = {tuple(table[0]): table[1:] for table in parsed(markdown)[0]}
    assert tables["limit", "at most", "spent", "used"] == [["max_cost_usd", "$1.00", "$0.25", "25.0%"]]
    assert "Spent includes the most that requests without a token count may have cost" in markdown
    changes = tables["", "last run", "this run", "change"]
    assert ["rows in the dataset", "900", "1,000", "+100"] in changes
    assert ["cost", "$0.05", "$0.0794", "+$0.0294"] in changes
    shares = tables["label", "rows", "share", "since the last run"]
    assert shares == [["sport", "600", "63.2%", "+13.2 pp"], ["money", "350", "36.8%", "new"]]
    assert "No longer there: gone." in markdown


def test_hostile_examples_and_earlier_labels_are_plain_text(record_of, findings, hostile):
    """Texts, messages and labels of failures and of the last run can't break the report, nor its images."""
    markdown = cost_report(record_of(labels={hostile: 9}), findings(hostile, hostile, hostile))
    tables, kinds = parsed(markdown)
    assert kinds <= PLAIN | {"code_inline", "image"}
    examples = next(table for table in tables if table[0] == ["kind", "text", "message"])
    assert [len(row) for row in examples] == [3, 3, 3]
    assert examples[2] == ["refused", "(no text)", "the row has no text"]
    sources = re.findall(r"!\[[^\]]*\]\(([^)]*)\)", markdown)
    assert len(sources) == 3
    for source in sources:
        head, image = source.split(",", 1)
        assert head == "data:image/svg+xml;base64"
        ET.fromstring(b64decode(image))  # noqa: S314  (our own)
