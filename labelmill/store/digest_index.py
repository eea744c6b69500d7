"""The index of a large ledger part: which of its rows tell of some texts, without reading what they tell.

It stands beside a compacted part and is a memory, not a truth: a part without one, or whose own size is another than the
index says, is read whole.
"""

from functools import lru_cache
from pathlib import Path

import polars as pl
from polars.exceptions import PolarsError

from labelmill.store.files import FileStamp, disk_errors, stamp_of, written_whole
from labelmill.store.row_key import key_digest

FEWEST_ROWS = 50_000
"""Parts of fewer rows are read whole as fast."""
_SUFFIX = ".digests"
_ROWS_IN_A_RANGE = 50_000
_FEW_KEYS = 10_000
_PART_BYTES = "labelmill.part_bytes"


def index_of(part: Path) -> Path:
    """Where the index of a part is."""
    return part.with_suffix(_SUFFIX)


def write_index(part: Path, rows: pl.LazyFrame, rows_bytes: int) -> None:
    """Write the index of what is to become a part: of its `rows`, in their order, and of so many bytes.

    Raises:
        OSError: the disk is full or can't be written.
    """
    keys = rows.select(key=_key(key_digest(pl.col("row_key"))))
    with written_whole(index_of(part)) as temporary, disk_errors():
        keys.sink_parquet(
            temporary,
            maintain_order=True,
            compression="uncompressed",
            metadata={_PART_BYTES: str(rows_bytes)},
        )


def ranges_about(part: Path, digests: pl.Series) -> list[tuple[int, int]] | None:
    """Where in a part any of some digests (UInt128) may be: ranges of rows as (first, count); None where no index tells."""
    try:
        index = index_of(part)
        if pl.read_parquet_metadata(index).get(_PART_BYTES) != str(part.stat().st_size):
            return None
        keys = digests.to_frame("digest").select(key=_key(pl.col("digest"))).unique()["key"]
        if len(keys) > _FEW_KEYS:
            return _ranges_in(index, keys)
        # A day's few texts are asked about twice, and each time the whole index would be read.
        return list(_ranges_of_few(index, stamp_of(index), tuple(keys.sort())))
    except (OSError, PolarsError):
        return None


@lru_cache(maxsize=64)
def _ranges_of_few(
    index: Path,
    _: FileStamp | None,
    keys: tuple[int, ...],
) -> tuple[tuple[int, int], ...]:
    return tuple(_ranges_in(index, pl.Series(keys, dtype=pl.UInt64)))


def _ranges_in(index: Path, keys: pl.Series) -> list[tuple[int, int]]:
    found = (
        pl.scan_parquet(index, glob=False, hive_partitioning=False)
        .with_row_index("row")
        .join(keys.to_frame("key").lazy(), on="key", how="semi")
        .select(pl.col("row") // _ROWS_IN_A_RANGE)
        .unique()
        .collect(engine="streaming")["row"]
        .sort()
    )
    return [(number * _ROWS_IN_A_RANGE, _ROWS_IN_A_RANGE) for number in found]


def _key(digest: pl.Expr) -> pl.Expr:
    """Half of a digest: enough to tell texts apart but for a chance in billions, which costs a look."""
    return (digest % 2**64).cast(pl.UInt64)
