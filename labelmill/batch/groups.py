"""Groups: the texts of a plan by how they are asked, since all requests of a batch are made alike."""

from dataclasses import dataclass
from pathlib import Path

import polars as pl

from labelmill.batch.record import REQUESTS_SCHEMA
from labelmill.store.files import disk_errors
from labelmill.store.row_key import key_digest

_COUNTS = REQUESTS_SCHEMA.names()[1:]
_ANSWERED = pl.col("answers") > 0


@dataclass(frozen=True)
class RequestGroup:
    """Texts to ask in one way: a Parquet file of `text`, `problem` and the columns of `REQUESTS_SCHEMA`.

    In a correction each text's last answer was no label, and `problem` says what was wrong with it. `under_schema` asks
    under the labels' schema whatever the job's own form is.
    """

    path: Path
    texts: int
    is_correction: bool
    under_schema: bool


@dataclass
class Unsent:
    """The groups of the latest plan, and how many of their texts are in batches already."""

    groups: tuple[RequestGroup, ...] = ()
    offset: int = 0

    @property
    def texts(self) -> int:
        """How many texts are in no batch yet."""
        return sum(group.texts for group in self.groups) - self.offset

    @property
    def next_row_key(self) -> str:
        """The row key of the next text to send."""
        rows = pl.scan_parquet(self.groups[0].path, glob=False, hive_partitioning=False).select("row_key")
        return str(rows.slice(self.offset, 1).collect().item())

    def move(self, texts: int) -> None:
        """Count texts as sent."""
        self.offset += texts
        while self.groups and self.offset >= self.groups[0].texts:
            self.offset -= self.groups[0].texts
            self.groups = self.groups[1:]


def write_groups(pending: Path, tries: pl.LazyFrame, *, has_schemas: bool = True) -> tuple[RequestGroup, ...]:
    """Part a plan's texts (`row_key`, `text`) into groups, beside it and each in the source's order; empty ones are left out.

    `tries` is what the ledger knows of texts that are worth asking again. Corrections come first: they have waited. Where
    the provider has no schemas, they ask for text.
    """
    known = tries.collect()
    known = known.with_columns(
        pl.lit(0, pl.Int64).alias(name) for name in _COUNTS if name not in known.columns
    )
    texts = (
        pl.scan_parquet(pending, glob=False, hive_partitioning=False)
        .with_columns(digest=key_digest(pl.col("row_key")))
        .join(known.lazy(), on="digest", how="left", maintain_order="left")
        .drop("digest")
        .with_columns(
            pl.col(_COUNTS).fill_null(0),
            pl.col("schema_refused").fill_null(value=False) | pl.lit(not has_schemas),
        )
    )
    kinds = {
        (True, True): _ANSWERED & ~pl.col("schema_refused"),
        (True, False): _ANSWERED & pl.col("schema_refused"),
        (False, False): ~_ANSWERED,
    }
    groups = []
    for number, ((is_correction, under_schema), wanted) in enumerate(kinds.items()):
        path = pending.with_name(f"{pending.stem}-group{number}.parquet")
        with disk_errors():
            texts.filter(wanted).drop("schema_refused").sink_parquet(path, maintain_order=True)
        count = pl.scan_parquet(path, glob=False, hive_partitioning=False).select(pl.len()).collect().item()
        if count:
            groups.append(RequestGroup(path, count, is_correction, under_schema))
        else:
            path.unlink()
    return tuple(groups)
