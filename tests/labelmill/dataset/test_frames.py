"""Frames of any columns: what is the user's comes back as it was, and each row gets its own labels."""

from pathlib import Path
from tempfile import TemporaryDirectory

import pandas as pd
import polars as pl
import polars.testing
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from polars.testing.parametric import column, dataframes, dtypes

from labelmill.dataset.columns import label_columns
from labelmill.dataset.frames import LazyPolarsFrame, UnwritableTextError, frame_of
from labelmill.dataset.template import TextTemplate, text_of

NAMES = st.text("aé技 .{}*^$_-", min_size=1, max_size=4).filter(lambda name: not name.startswith("label"))
TYPES = [
    pl.Boolean,
    pl.Int8,
    pl.UInt64,
    pl.Float64,
    pl.Date,
    pl.Datetime,
    pl.Time,
    pl.String,
    pl.Binary,
    pl.Categorical,
    pl.List,
    pl.Struct,
]


@st.composite
def frames_with_text(draw):
    """A frame of any columns, and the name of the one that holds text."""
    name, *others = draw(st.lists(NAMES, min_size=1, max_size=4, unique=True))
    columns = [column(name, dtype=draw(st.sampled_from([pl.String, pl.Categorical])), allow_null=True)]
    columns += [column(other, dtype=draw(dtypes(allowed_dtypes=TYPES)), allow_null=True) for other in others]
    return name, draw(dataframes(columns, max_size=8))[draw(st.permutations([name, *others]))]


def labels_of(texts, prefix):
    """Label columns that tell which text they are of."""
    names = label_columns(prefix)
    told = texts.to_frame("text").select(
        pl.when(pl.col("text").is_null())
        .then(pl.lit("empty"))
        .otherwise(pl.lit("ok"))
        .alias(f"{prefix}label_status"),
        pl.col("text").alias(f"{prefix}label"),
    )
    missing = [pl.lit(None, dtype=dtype).alias(name) for name, dtype in names.items()]
    return told.with_columns([one for one in missing if one.meta.output_name() not in told.columns]).select(
        list(names)
    )


@settings(max_examples=15)
@given(frames_with_text(), st.sampled_from(["", "lm_"]))
def test_each_kind_of_frame_keeps_what_it_has_and_gets_the_labels_of_its_rows(drawn, prefix):
    """Whatever its columns are called and hold: the same columns, the same rows, and beside each row what is said of its text."""
    name, frame = drawn
    template = TextTemplate(("", ""), (name,))
    arrow = frame.to_arrow()
    kinds = {"eager": frame, "lazy": frame.lazy(), "arrow": arrow, "pandas": arrow.to_pandas()}
    for kind, theirs in kinds.items():
        told = frame_of(theirs)
        with TemporaryDirectory() as folder:
            path = Path(folder) / "frame.parquet"
            told.write([name], path)
            written = pl.read_parquet(path, glob=False)
            assert written.columns == [name]
            texts = written.select(text_of(template)).to_series()
            written.hstack(labels_of(texts, prefix)).write_parquet(path)
            labeled = told.labeled(told.read(path, template, prefix))
        if kind == "pandas":
            pd.testing.assert_frame_equal(labeled[theirs.columns], theirs)
        elif kind == "arrow":
            own = labeled.select(theirs.column_names)
            assert own.schema.equals(theirs.schema, check_metadata=True)
            pl.testing.assert_frame_equal(pl.from_arrow(own), pl.from_arrow(theirs))  # where NaN is NaN
        else:
            labeled = labeled.lazy().collect()
            pl.testing.assert_frame_equal(labeled.select(pl.nth(range(frame.width))), frame)
        expected = frame.select(text_of(template)).to_series().to_list()
        found = list(labeled[f"{prefix}label"].to_pylist() if kind == "arrow" else labeled[f"{prefix}label"])
        assert [None if pd.isna(one) else one for one in found] == expected


def test_a_lazy_frame_is_computed_once_for_its_texts_and_not_held(tmp_path):
    """Only the columns that are asked about are computed, piece by piece."""
    computed = []

    def costly(values):
        computed.append(len(values))
        return values

    frame = pl.LazyFrame({"text": ["a", "b"], "n": [1, 2]}).with_columns(
        costly=pl.col("n").map_batches(costly, return_dtype=pl.Int64)
    )
    LazyPolarsFrame(frame).write(["text"], tmp_path / "texts.parquet")
    assert (computed, pl.read_parquet(tmp_path / "texts.parquet").columns) == ([], ["text"])


@pytest.mark.parametrize("values", [["a", 1], [["a"], "b"]])
def test_a_column_of_several_kinds_of_values_is_said(tmp_path, values):
    """What pandas can hold and no file can."""
    with pytest.raises(
        UnwritableTextError, match=r"the column 'text' of the frame holds .* and .*, expected text"
    ):
        frame_of(pd.DataFrame({"text": pd.Series(values, dtype=object)})).write(
            ["text"], tmp_path / "t.parquet"
        )
