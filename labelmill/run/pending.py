"""The texts that a run is about to ask, told by their length."""

from pathlib import Path

import polars as pl

from labelmill.question.tokens import TOKENS_PER_ASCII_CHARACTER, TOKENS_PER_OTHER_CHARACTER


def mean_tokens_of(pending: Path) -> float | None:
    """How many tokens the texts of a plan have on average, more or less; None where there are none.

    As `about_tokens` tells it, with each character beyond ASCII taken for three bytes.
    """
    characters, encoded = pl.col("text").str.len_chars(), pl.col("text").str.len_bytes()
    others = (encoded.cast(pl.Int64) - characters.cast(pl.Int64)) / 2
    tokens = (characters - others) * TOKENS_PER_ASCII_CHARACTER + others * TOKENS_PER_OTHER_CHARACTER
    texts = pl.scan_parquet(pending, glob=False, hive_partitioning=False)
    mean = texts.select(tokens.mean()).collect().item()
    return None if mean is None else float(mean)
