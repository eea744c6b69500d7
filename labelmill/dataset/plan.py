"""The plan: which texts of a source still need a request, cut into chunks."""

import math
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, fields
from itertools import accumulate
from pathlib import Path
from typing import Literal

import polars as pl

from labelmill.dataset.source import SourceFile
from labelmill.dataset.template import TextTemplate
from labelmill.question.attempts import Tried
from labelmill.store.files import disk_errors
from labelmill.store.row_key import key_digest, row_key

MOST_CHUNKS = 200
"""Task runs of a run: what a Prefect server and its pages take without effort."""
_FEWEST_TEXTS = 100
_TEXTS_PER_PLACE = 6
"""Texts per request in flight: enough that the chunks in flight keep every slot busy while one waits for its slowest answer."""


_TRIED = tuple(field.name for field in fields(Tried))


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

    Those are the texts whose digest is not known, and among the given ones where some are given. Each text once, however
    many rows have it. First the digests alone are compared, then the texts are fetched by their place, so that no more
    than digests and places are held in memory.

    Returns:
        how many there are.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    places_path = path.with_suffix(".places")
    digests = scan_digests(files, template)
    if among is not None:
        digests = digests.join(among, on="digest", how="semi")
    with ExitStack() as cleanup, disk_errors():
        cleanup.callback(places_path.unlink, missing_ok=True)
        pending = digests.join(known_digests, on="digest", how="anti")
        first_places(pending).select("row").sink_parquet(places_path)
        places = pl.scan_parquet(places_path, glob=False, hive_partitioning=False)
        scan_places(files, template, places).sink_parquet(path, maintain_order=True)
    return int(pl.scan_parquet(path, glob=False, hive_partitioning=False).select(pl.len()).collect().item())


def scan_digests(files: Sequence[SourceFile], template: TextTemplate) -> pl.LazyFrame:
    """The rows that have a text: `row`, numbered through all files, and the text's `digest`."""
    return pl.concat(
        file.scan_texts(template).select("digest").with_row_index("row", offset=first)
        for file, first in _numbered(files)
    ).filter(pl.col("digest").is_not_null())


def first_places(digests: pl.LazyFrame) -> pl.LazyFrame:
    """Each digest once, with the first `row` that has it."""
    return digests.group_by("digest").agg(pl.col("row").min())


def scan_places(files: Sequence[SourceFile], template: TextTemplate, places: pl.LazyFrame) -> pl.LazyFrame:
    """The texts at some places (`row`), in the source's order: `row_key` and `text`."""
    return pl.concat(
        file.scan_texts(template)
        .with_row_index("row", offset=first)
        .join(places, on="row", how="semi", maintain_order="left")
        .select(row_key=row_key(pl.col("text")), text="text")
        for file, first in _numbered(files)
    )


def _numbered(files: Sequence[SourceFile]) -> list[tuple[SourceFile, int]]:
    return list(zip(files, first_rows_of([file.count() for file in files]), strict=True))


def write_tried(pending: Path, tries: pl.LazyFrame) -> None:
    """Write beside a plan's texts what the ledger's tries know of them."""
    known = tries.collect()
    if known.height:
        texts = pl.scan_parquet(pending, glob=False, hive_partitioning=False).select("row_key")
        tried = texts.with_columns(digest=key_digest(pl.col("row_key"))).join(known.lazy(), on="digest")
        with disk_errors():
            tried.select("row_key", *_TRIED).sink_parquet(_tried_path(pending))


def read_tried(pending: Path, row_keys: Sequence[str]) -> dict[str, Tried]:
    """What `write_tried` wrote of some texts, by row key; those that were never tried are left out."""
    path = _tried_path(pending)
    if not path.exists():
        return {}
    tried = pl.scan_parquet(path, glob=False, hive_partitioning=False)
    mine = tried.filter(pl.col("row_key").is_in(list(row_keys))).select("row_key", *_TRIED).collect()
    return {key: Tried(*values) for key, *values in mine.iter_rows()}


def _tried_path(pending: Path) -> Path:
    return pending.with_suffix(".tried")


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
