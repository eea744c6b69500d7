"""Tables for people: every cell is a word, and there are at most a few hundred rows."""

import polars as pl
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from labelmill.report.findings import Example, Findings
from labelmill.report.markdown import MOST_ROWS, as_cell, costs_table, failures_table, labels_table

MARKDOWN = MarkdownIt("commonmark", {"html": True}).enable(["table", "strikethrough"])


def costs_of(chunks, cost):
    """A run's costs, as `costs.parquet` has them."""
    counts = ("texts", "labeled", "failed", "requests", "input_tokens", "output_tokens")
    return pl.DataFrame(
        {
            "lane": "live",
            "chunk": range(chunks),
            "model": None,
            **dict.fromkeys(counts, 1000),
            "reasoning_tokens": 0,
            "cost_usd": cost,
        },
        schema_overrides={"cost_usd": pl.Float64, "model": pl.String, "lane": pl.String},
    )


def test_costs_are_words_and_the_rest_of_many_chunks_is_one_row():
    """Money has its sign, unknown money is said to be unknown, and nothing is left out of the sum."""
    (first,) = costs_table(costs_of(1, 0.5))
    assert (first["chunk"], first["input tokens"], first["cost"]) == ("1", "1,000", "$0.50")
    assert costs_table(costs_of(1, None))[0]["cost"] == "unknown"
    many = costs_table(costs_of(MOST_ROWS + 100, 0.5))
    assert len(many) == MOST_ROWS + 1
    assert (many[-1]["chunk"], many[-1]["texts"], many[-1]["cost"]) == ("100 more", "100,000", "$50.00")
    assert all(isinstance(cell, str) for row in many for cell in row.values())
    assert costs_table(costs_of(0, 0.5)) == []


def test_the_lane_is_told_where_a_run_used_both():
    """And left out where there is only one to tell of."""
    assert "lane" not in costs_table(costs_of(2, 0.5))[0]
    both = pl.concat([costs_of(1, 0.5).with_columns(lane=pl.lit("batch")), costs_of(MOST_ROWS + 1, 0.5)])
    rows = costs_table(both)
    assert [row["lane"] for row in (rows[0], rows[1], rows[-1])] == ["batch", "live", ""]
    assert list(rows[0])[:3] == ["chunk", "cost", "texts"]
    assert list(rows[0])[-2:] == ["lane", "model"]


def test_labels_have_counts_and_percentages(record_of):
    """Counts and shares of the labeled rows; of very many labels the rest is counted."""
    assert labels_table(record_of(), Findings())[0] == {
        "label": "sport",
        "rows": "600",
        "share": "63.2%",
        "since the last run": "–",
    }
    many = labels_table(record_of(labels={f"{number}": 1 for number in range(1000)}), Findings())
    assert (len(many), many[-1]["label"], many[-1]["rows"]) == (MOST_ROWS + 1, "700 more", "700")
    unused = labels_table(record_of(labels={"sport": 950, "unused": 0}), Findings())[-1]
    assert (unused["label"], unused["rows"], unused["share"]) == ("unused", "0", "0.0%")


def test_texts_from_outside_are_plain_in_tables_that_prefect_reads_as_markdown(record_of, hostile):
    """Each cell is a Markdown document of its own in the former UI: labels, kinds, messages and models are escaped."""
    findings = Findings(examples={hostile: (Example("a", hostile),)})
    record = record_of(labels={hostile: 3}, failures={hostile: 3})
    cells = [labels_table(record, findings)[0]["label"], *failures_table(record, findings)[0].values()]
    cells.append(costs_table(costs_of(1, 0.5).with_columns(model=pl.lit(hostile)))[0]["model"])
    for cell in cells:
        assert not parsed(cell)
    assert cells[0] == cells[1] == as_cell(hostile)


@given(st.text(st.sampled_from("ab1_*`~[]()<>#+-.!|&;\\\"'{}= :/@中"), max_size=12))
@example("1. a")
@example("12) a")
@example("&#35; a")
@example("&amp; a")
def test_a_cell_is_its_text_in_the_former_ui(text):
    """Read as Markdown it has no mark-up, and its words are those of the text."""
    cell = as_cell(text)
    assert not parsed(cell)
    inline = [child for token in MARKDOWN.parse(cell) for child in token.children or ()]
    assert "".join(child.content for child in inline).replace("\u2060", "") == " ".join(text.split())


@pytest.mark.parametrize(
    "text",
    [
        "science_fiction",
        "a label (of two words)",
        '{"label": "other"}',
        "R&D",
        "C#",
        "-1",
        "#1",
        "5 < 6",
        "冰、雪",
    ],
)
def test_a_cell_that_is_no_markup_is_shown_as_it_is(text):
    """The present UI shows a cell as plain text: no backslash stands in an ordinary one."""
    assert as_cell(text) == text


def test_no_address_in_a_cell_is_a_link():
    """GitHub's Markdown, which the former UI reads, makes a link of each."""
    assert as_cell("see https://x.example") == "see https:\u2060//x.example"
    assert as_cell("www.x.example a@b.example") == "www\u2060.x.example a\u2060@b.example"


def parsed(cell):
    """The mark-up in a cell."""
    tokens = MARKDOWN.parse(cell)
    inline = [child for token in tokens for child in token.children or () if child.content != "<!-- -->"]
    plain = {"paragraph_open", "inline", "paragraph_close", "text", "text_special", "softbreak"}
    return {token.type for token in [*tokens, *inline]} - plain


def test_failures_say_what_comes_next_and_hold_no_text(record_of):
    """Each kind with its policy and what was said; a run without failures says so."""
    findings = Findings(examples={"off_label": (Example("a secret", "said maybe"), Example("b", "said no"))})
    first, second = failures_table(record_of(), findings)
    assert (first["policy"], first["for example"], first["rows"]) == ("ask again", "said maybe", "25")
    assert second["for example"] == ""
    assert "a secret" not in str(first)
    assert [row["kind"] for row in failures_table(record_of(failures={}), findings)] == ["none"]
