"""Frames: the texts of one are written to a file, and its labels put beside its own rows.

What is the user's stays as it is: his columns are never read back from a file. pandas is never imported; whoever has a frame
of it has done so.
"""

import sys
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar, Protocol, TypeVar

import polars as pl
import polars.selectors as cs
import pyarrow as pa
import pyarrow.parquet as pq

from labelmill.dataset.columns import label_columns
from labelmill.dataset.template import TextTemplate, text_of
from labelmill.store.row_key import text_digest


class FrameLike(Protocol):
    """Whatever has columns: a frame of Polars, eager or lazy, or of pandas, or a table of PyArrow."""

    @property
    def columns(self) -> Any:
        """Its columns."""


FrameT = TypeVar("FrameT", bound=FrameLike)


class UnwritableTextError(ValueError):
    """A column of a frame that holds several kinds of values, in a sentence."""


class Frame(ABC):
    """A frame that is to be labeled.

    Args:
        frame: the user's.
    """

    kinds: ClassVar[str] = (
        "a frame of Polars (eager or lazy) or pandas, a table of PyArrow, or the path of Parquet files"
    )

    def __init__(self, frame: Any) -> None:
        self.frame = frame

    @property
    @abstractmethod
    def columns(self) -> list[Any]:
        """The names of its columns; some kinds may have one twice, or others than text."""

    @abstractmethod
    def write(self, columns: Sequence[str], path: Path) -> None:
        """Write some columns to a Parquet file.

        Raises:
            UnwritableTextError: one of them has no type.
        """

    @abstractmethod
    def read(self, path: Path, template: TextTemplate, prefix: str) -> Any:
        """Read the labels from such a file with label columns, as `labeled` takes them."""

    @abstractmethod
    def labeled(self, labels: Any) -> Any:
        """The user's frame with its labels: the same rows in the same order."""

    def named_more_than_once(self, columns: Sequence[str]) -> list[str]:
        """Those of some columns whose name others have too."""
        counts = Counter(self.columns)
        return [column for column in columns if counts[column] > 1]


class PolarsFrame(Frame):
    """A frame of Polars."""

    @property
    def columns(self) -> list[Any]:
        """The names of its columns."""
        return list(self.frame.columns)

    def write(self, columns: Sequence[str], path: Path) -> None:
        """Write some columns to a Parquet file."""
        _with_types(self.frame.lazy(), columns).sink_parquet(path)

    def read(self, path: Path, template: TextTemplate, prefix: str) -> pl.DataFrame:  # noqa: ARG002  (for lazy ones)
        """Read the labels, by row."""
        return _scan(path).select(cs.by_name(label_columns(prefix).names())).collect()

    def labeled(self, labels: pl.DataFrame) -> pl.DataFrame:
        """The frame with its labels."""
        frame: pl.DataFrame = self.frame.with_columns(labels.get_columns())
        return frame


class LazyPolarsFrame(Frame):
    """A lazy frame of Polars, which is computed when its texts are written, and again whenever the result is collected.

    Nothing says that its rows come in the same order then, or are the same. So the labels are found by the texts.
    """

    @property
    def columns(self) -> list[Any]:
        """The names of its columns."""
        return list(self.frame.collect_schema().names())

    def write(self, columns: Sequence[str], path: Path) -> None:
        """Write some columns to a Parquet file, as they are computed."""
        _with_types(self.frame, columns).sink_parquet(path)

    def read(self, path: Path, template: TextTemplate, prefix: str) -> tuple[pl.DataFrame, pl.Expr, str]:
        """Read the labels, each text's once; with how to tell a row's text, and the prefix."""
        digest = text_digest(text_of(template))
        found = _scan(path).select(digest.alias(_DIGEST), cs.by_name(label_columns(prefix).names()))
        known = found.filter(pl.col(_DIGEST).is_not_null()).unique(_DIGEST, keep="any")
        return known.collect(engine="streaming"), digest, prefix

    def labeled(self, labels: tuple[pl.DataFrame, pl.Expr, str]) -> pl.LazyFrame:
        """The frame with its labels; a row whose text was not there before is `pending`."""
        known, digest, prefix = labels
        status = pl.col(f"{prefix}label_status")
        without = pl.when(pl.col(_DIGEST).is_null()).then(pl.lit("empty")).otherwise(pl.lit("pending"))
        frame: pl.LazyFrame = self.frame.with_columns(digest.alias(_DIGEST))
        joined = frame.join(known.lazy(), on=_DIGEST, how="left", maintain_order="left")
        return joined.with_columns(status.fill_null(without)).drop(_DIGEST)


_DIGEST = "__labelmill_digest__"


class ArrowTable(Frame):
    """A table of PyArrow."""

    @property
    def columns(self) -> list[Any]:
        """The names of its columns."""
        return list(self.frame.column_names)

    def write(self, columns: Sequence[str], path: Path) -> None:
        """Write some columns to a Parquet file."""
        table = pa.table({name: self.frame.column(name) for name in columns})
        _with_types(pl.from_arrow(table).lazy(), columns).sink_parquet(path)  # type: ignore[union-attr]

    def read(self, path: Path, template: TextTemplate, prefix: str) -> pa.Table:  # noqa: ARG002  (for lazy ones)
        """Read the labels, by row."""
        # By itself: a folder named a=b would be a column.
        return pq.ParquetFile(path).read(label_columns(prefix).names())

    def labeled(self, labels: pa.Table) -> pa.Table:
        """The table with its labels."""
        table = self.frame
        for column, values in zip(labels.schema, labels.columns, strict=True):
            table = table.append_column(column, values)
        return table


class PandasFrame(ArrowTable):
    """A frame of pandas."""

    @property
    def columns(self) -> list[Any]:
        """The names of its columns."""
        return list(self.frame.columns)

    def write(self, columns: Sequence[str], path: Path) -> None:
        """Write some columns to a Parquet file.

        Raises:
            UnwritableTextError: one of them holds several kinds of values.
        """
        arrays = {name: _array_of(name, self.frame[name]) for name in columns}
        ArrowTable(pa.table(arrays)).write(columns, path)

    def labeled(self, labels: pa.Table) -> Any:
        """The frame with its labels: the same index, whatever is in it."""
        values = labels.to_pandas()
        return self.frame.assign(**{name: values[name].array for name in values.columns})


def frame_of(told: Any) -> Frame | None:
    """The frame that somebody has given; None where it is none of a kind that can be labeled."""
    pandas = sys.modules.get("pandas")
    if isinstance(told, pl.DataFrame):
        return PolarsFrame(told)
    if isinstance(told, pl.LazyFrame):
        return LazyPolarsFrame(told)
    if isinstance(told, pa.Table):
        return ArrowTable(told)
    if pandas is not None and isinstance(told, pandas.DataFrame):
        return PandasFrame(told)
    return None


def _array_of(name: str, values: Any) -> pa.Array:
    try:
        return pa.Array.from_pandas(values)
    except (pa.ArrowInvalid, pa.ArrowTypeError, pa.ArrowNotImplementedError) as error:
        kinds = sorted({type(value).__name__ for value in values.dropna()})
        sentence = f"the column {name!r} of the frame holds {' and '.join(kinds)}, expected text"
        raise UnwritableTextError(sentence) from error


def _with_types(frame: pl.LazyFrame, columns: Sequence[str]) -> pl.LazyFrame:
    """Some columns of a frame. One without any value has no type either: it is text of which there is none."""
    chosen = frame.select(cs.by_name(*columns))
    untyped = [name for name, dtype in chosen.collect_schema().items() if dtype == pl.Null]
    return chosen.with_columns(cs.by_name(*untyped).cast(pl.String)) if untyped else chosen


def _scan(path: Path) -> pl.LazyFrame:
    return pl.scan_parquet(path, hive_partitioning=False, glob=False)
