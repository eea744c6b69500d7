"""What our columns are called, and which of a source's are in their way."""

import duckdb
import polars as pl
from hypothesis import given, settings
from hypothesis import strategies as st

from labelmill.dataset.columns import (
    FAILURE_COLUMNS,
    LABEL_COLUMNS,
    failure_columns,
    free_prefix,
    label_columns,
    names_in_the_way,
    prefix_in,
)

PREFIXES = st.sampled_from(["", "lm_", "LM_", "label_", "failure_", "x"])
OURS = [*LABEL_COLUMNS, *FAILURE_COLUMNS]
MIXED_CASE = st.sampled_from(OURS).flatmap(
    lambda name: st.tuples(*(st.sampled_from([letter, letter.upper()]) for letter in name)).map("".join)
)
NAMES = st.lists(
    st.tuples(PREFIXES, MIXED_CASE | st.sampled_from(["id", "text", "labels", *FAILURE_COLUMNS])).map(
        "".join
    ),
    unique=True,
    max_size=6,
)


def _found_by_duckdb(name, columns):
    """The number of the column that a name gets in a table of these; None where there is none."""
    selected = ", ".join(f'{number} AS "{column}"' for number, column in enumerate(columns))
    try:
        ((number,),) = duckdb.sql(f'SELECT "{name}" FROM (SELECT {selected})').fetchall()  # noqa: S608
    except duckdb.BinderException:
        return None
    return number


@settings(max_examples=30)
@given(names=NAMES, prefix=PREFIXES)
def test_whatever_an_engine_without_case_would_confuse_is_in_the_way(names, prefix):
    """DuckDB is the judge: a source's column is in the way where its name gets one of ours."""
    ours = [*label_columns(prefix), *failure_columns(prefix)]
    give_way = set(failure_columns(prefix)) if set(failure_columns(prefix)) <= set(names) else set()
    found = {name: _found_by_duckdb(name, ours) for name in names if name not in give_way}
    expected = {name: ours[number] for name, number in found.items() if number is not None}
    assert names_in_the_way(names, prefix) == expected


@given(names=NAMES, prefix=PREFIXES)
def test_under_a_free_prefix_nothing_is_in_the_way(names, prefix):
    """The prefix that a sentence offers can be taken as it stands."""
    free = free_prefix(names)
    assert names_in_the_way(names, free) == {}
    assert free.replace("lm", "").rstrip("_").isdigit() or free == "lm_"
    columns = [*names, *label_columns(prefix)]
    assert prefix_in(columns) == prefix


def test_a_file_of_failed_rows_is_a_source_like_any_other():
    """All four failure columns are ours and give way; some of them alone are a person's."""
    assert names_in_the_way(["text", *FAILURE_COLUMNS], "") == {}
    assert names_in_the_way(["text", *FAILURE_COLUMNS], "lm_") == {}
    assert names_in_the_way(["failure_kind"], "") == {"failure_kind": "failure_kind"}
    assert names_in_the_way(["Failure_kind", *FAILURE_COLUMNS], "") == {"Failure_kind": "failure_kind"}


def test_a_labeled_file_is_known_by_its_last_columns():
    """All of them, in their order, under one prefix; their types under a prefix are the same."""
    assert prefix_in(list(LABEL_COLUMNS)) == ""
    assert prefix_in(["label", *label_columns("a_")]) == "a_"
    assert prefix_in([*label_columns("a_"), "id"]) is None
    assert prefix_in(["lm_label", *LABEL_COLUMNS.names()[1:]]) is None
    assert prefix_in([]) is None
    assert list(label_columns("lm_").dtypes()) == list(LABEL_COLUMNS.dtypes())
    assert failure_columns("lm_")["lm_failure_requests"] == pl.Int64
