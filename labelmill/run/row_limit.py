"""The most texts that one run asks, where somebody wants a few first."""

from collections.abc import Sequence
from pathlib import Path

import polars as pl

from labelmill.plural import counted
from labelmill.store.row_key import key_digest


class RowLimit:
    """Holds a run to the texts of its first plan, which are so many at most.

    Later plans of the same run go over what is left of those, and never reach for others. Texts in batches that earlier
    runs have sent are harvested all the same, and don't count.

    Args:
        rows: how many different texts; None is no limit.
    """

    def __init__(self, rows: int | None = None) -> None:
        self.rows = rows
        self._chosen: pl.LazyFrame | None = None

    @property
    def most(self) -> int | None:
        """How many texts a plan may hold; None where all of its texts may be asked."""
        return self.rows if self._chosen is None else None

    def among(self, *others: pl.LazyFrame) -> Sequence[pl.LazyFrame]:
        """The frames of digests that a plan's texts must all be in: the given ones, and the first plan's."""
        if self._chosen is None:
            return others
        return (*others, self._chosen)

    def choose(self, pending: Path) -> None:
        """Take the texts of a plan for the run's, where it is the first one under a limit."""
        if self.rows is not None and self._chosen is None:
            texts = pl.scan_parquet(pending, glob=False, hive_partitioning=False)
            self._chosen = texts.select(digest=key_digest(pl.col("row_key"))).collect().lazy()

    def words(self) -> str:
        """How far the run was to go."""
        return counted(self.rows or 0, "text")
