"""The plan: which texts of a source still need a request, cut into chunks."""

import math
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path
from typing import Literal

import polars as pl

from labelmill.dataset.row_key import row_key
from labelmill.dataset.source import SourceFile
from labelmill.dataset.template import TextTemplate
from labelmill.store.files import disk_errors

MOST_CHUNKS = 200
"""Task runs of a run: what a Prefect server and its pages take without effort."""
_FEWEST_TEXTS = 100
_TEXTS_PER_PLACE = 6
"""Texts per place in the gate: enough that the chunks in flight fill it while one waits for its slowest answer."""


@dataclass(frozen=True)
class Chunk:
    """A slice of the plan's texts."""

    number: int
    offset: int
    texts: int


@dataclass(frozen=True)
class Plan:
    """What a run has to do: the texts to ask, in a Parquet file (`row_key`, `text`), and how they are cut."""

    path: Path
    texts: int
    chunks: tuple[Chunk, ...]
    first_chunk: int = 0

    @property
    def last_chunk(self) -> int:
        """The number after its last chunk's: how many there are, with those of the plan before it."""
        return self.first_chunk + len(self.chunks)


def rows_per_chunk_of(texts: int, max_concurrency: int, asked: int | Literal["auto"]) -> int:
    """Texts per chunk: what the job asks for, but never so few that there are more than `MOST_CHUNKS`."""
    least = math.ceil(texts / MOST_CHUNKS)
    wanted = max(_FEWEST_TEXTS, _TEXTS_PER_PLACE * max_concurrency) if asked == "auto" else asked
    return max(1, least, wanted)


def chunks_of(texts: int, rows_per_chunk: int, first: int = 0) -> tuple[Chunk, ...]:
    """Cut `texts` texts into chunks, numbered from `first`; only the last may be shorter."""
    offsets = range(0, texts, rows_per_chunk)
    return tuple(
        Chunk(number, offset, min(rows_per_chunk, texts - offset))
        for number, offset in enumerate(offsets, first)
    )


def write_pending(
    files: Sequence[SourceFile],
    template: TextTemplate,
    known_digests: pl.LazyFrame,
    path: Path,
    among: pl.LazyFrame | None = None,
) -> int:
    """Write the texts that need a request to a Parquet file (`row_key`, `text`), in the source's order.

    Those are the texts whose digest is not known, and among the given ones where some are given. Each text once, however many rows have it. First the digests alone are compared, then the texts are fetched by
    their place, so that no more than digests and places are held in memory.

    Returns:
        how many there are.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    places_path = path.with_suffix(".places")
    numbered = list(zip(files, first_rows_of([file.count() for file in files]), strict=True))
    digests = pl.concat(
        file.scan_texts(template).select("digest").with_row_index("row", offset=first)
        for file, first in numbered
    )
    if among is not None:
        digests = digests.join(among, on="digest", how="semi")
    with ExitStack() as cleanup, disk_errors():
        cleanup.callback(places_path.unlink, missing_ok=True)
        (
            digests.filter(pl.col("digest").is_not_null())
            .join(known_digests, on="digest", how="anti")
            .group_by("digest")
            .agg(pl.col("row").min())
            .select("row")
            .sink_parquet(places_path)
        )
        places = pl.scan_parquet(places_path, glob=False, hive_partitioning=False)
        texts = pl.concat(
            file.scan_texts(template)
            .with_row_index("row", offset=first)
            .join(places, on="row", how="semi", maintain_order="left")
            .select(row_key=row_key(pl.col("text")), text="text")
            for file, first in numbered
        )
        texts.sink_parquet(path, maintain_order=True)
    return int(pl.scan_parquet(path, glob=False, hive_partitioning=False).select(pl.len()).collect().item())


def read_chunk(path: Path, chunk: Chunk) -> list[tuple[str, str]]:
    """A chunk's row keys and texts."""
    return (
        pl.scan_parquet(path, glob=False, hive_partitioning=False)
        .slice(chunk.offset, chunk.texts)
        .collect()
        .rows()
    )


def first_rows_of(counts: Sequence[int]) -> list[int]:
    """The number of each file's first row when the rows of all files are numbered through."""
    return list(accumulate(counts, initial=0))[:-1]
