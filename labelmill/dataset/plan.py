"""The plan: which texts of a source still need a request, cut into chunks."""

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Literal

import polars as pl
import pyarrow.parquet as pq

from labelmill.dataset.digests import SourceDigests
from labelmill.question.attempts import Tried
from labelmill.question.tokens import TOKENS_PER_ASCII_CHARACTER, TOKENS_PER_OTHER_CHARACTER
from labelmill.store.files import disk_errors
from labelmill.store.row_key import key_digest

MOST_CHUNKS = 200
"""Task runs of a run: what a Prefect server and its pages take without effort."""
_FEW_CHUNKS = 20
"""Enough to see how far a run is; larger chunks leave more to ask while some of their texts have to wait."""
_FEWEST_TEXTS = 100
_MOST_TEXTS = 2_000
"""What a chunk of `auto` holds before there have to be more of them."""
_TEXTS_PER_PLACE = 6
"""Texts per request in flight: enough that the chunks in flight keep every slot busy while one waits for its slowest answer."""
_ROWS_IN_A_GROUP = 50_000

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
    if asked == "auto":
        few = min(_MOST_TEXTS, math.ceil(texts / _FEW_CHUNKS))
        return max(_FEWEST_TEXTS, _TEXTS_PER_PLACE * max_concurrency, few, least)
    return max(1, least, asked)


def chunks_of(texts: int, rows_per_chunk: int, first: int = 0) -> tuple[Chunk, ...]:
    """Cut `texts` texts into chunks, numbered from `first`; only the last may be shorter."""
    offsets = range(0, texts, rows_per_chunk)
    return tuple(
        Chunk(number, offset, min(rows_per_chunk, texts - offset))
        for number, offset in enumerate(offsets, first)
    )


def write_pending(  # noqa: PLR0913  (a plan depends on all of these)
    digests: SourceDigests,
    numbers: Iterable[int],
    known: Callable[[pl.Series | None], pl.LazyFrame],
    path: Path,
    among: Sequence[pl.LazyFrame] = (),
    *,
    most: int | None = None,
) -> int:
    """Write the texts of some files that need a request to a Parquet file (`row_key`, `text`), in the source's order.

    Those are the texts whose `digest` is not among those that `known` tells, asked about some digests or about all, and in each of the frames `among`, the first `most` of them. Each text once,
    however many rows have it. First the digests alone are compared, bucket by bucket, then the texts are fetched by their place.

    Returns:
        how many there are.
    """
    path.parent.mkdir(parents=True, exist_ok=True)

    with disk_errors():
        readable = digests.read(numbers)
        known_in = digests.parted([known(digests.few(readable))], "known")
        among_in = [digests.parted([frame], f"among-{number}") for number, frame in enumerate(among)]

        def pending(rows: pl.LazyFrame, bucket: int) -> pl.LazyFrame:
            for chosen_in in among_in:
                rows = rows.join(chosen_in(bucket), on="digest", how="semi")
            # Of all that is known no more is held than what a bucket's rows ask about.
            answered = known_in(bucket).join(rows.select("digest"), on="digest", how="semi")
            return rows.join(answered, on="digest", how="anti")

        places = digests.first_places(readable, pending)["place"]
        return write_texts(digests.texts_at(places if most is None else places.head(most)), path)


def mean_tokens_of(pending: Path) -> float | None:
    """How many tokens the texts of such a file have on average, more or less; None where there are none.

    As `about_tokens` tells it, with each character beyond ASCII taken for three bytes.
    """
    characters, encoded = pl.col("text").str.len_chars(), pl.col("text").str.len_bytes()
    others = (encoded.cast(pl.Int64) - characters.cast(pl.Int64)) / 2
    tokens = (characters - others) * TOKENS_PER_ASCII_CHARACTER + others * TOKENS_PER_OTHER_CHARACTER
    texts = pl.scan_parquet(pending, glob=False, hive_partitioning=False)
    mean = texts.select(tokens.mean()).collect().item()
    return None if mean is None else float(mean)


def write_texts(pieces: Iterable[pl.DataFrame], path: Path) -> int:
    """Write texts (`row_key`, `text`) that come piece by piece into one Parquet file; returns how many there are."""
    written, held = 0, [pl.DataFrame(schema={"row_key": pl.String, "text": pl.String})]
    with pq.ParquetWriter(path, held[0].to_arrow().schema, compression="zstd") as writer:

        def write() -> None:
            writer.write_table(pl.concat(held).to_arrow())
            held.clear()

        for piece in pieces:
            held.append(piece)
            written += piece.height
            if sum(one.height for one in held) >= _ROWS_IN_A_GROUP:
                write()
        if held:
            write()
    return written


def write_tried(pending: Path, tries: pl.LazyFrame) -> None:
    """Write beside a plan's texts what the ledger's tries know of them."""
    known = tries.collect()
    if known.height:
        texts = pl.scan_parquet(pending, glob=False, hive_partitioning=False).select("row_key")
        tried = texts.with_columns(digest=key_digest(pl.col("row_key"))).join(known.lazy(), on="digest")
        with disk_errors():
            tried.select("row_key", *_TRIED).sink_parquet(_tried_path(pending))


def write_pending_part(pending: Path, rows: Sequence[tuple[str, str]], path: Path) -> None:
    """Write some of a plan's texts to a file of their own, with what `write_tried` wrote of them beside it."""
    keys = [key for key, _ in rows]
    texts = pl.DataFrame(rows, schema={"row_key": pl.String, "text": pl.String}, orient="row")
    path.parent.mkdir(parents=True, exist_ok=True)
    write_texts([texts], path)
    known = _tried_path(pending)
    if pending != path and known.exists():
        tried = pl.scan_parquet(known, glob=False, hive_partitioning=False)
        with disk_errors():
            tried.filter(pl.col("row_key").is_in(keys)).sink_parquet(_tried_path(path))


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
