"""The row key: which text a row asks about."""

import hashlib

import polars as pl
import polars_hash as plh

VERSION = "v1:"
_HEX_DIGITS = 32


def row_key_of(text: str) -> str:
    """The row key of one text: `v1:` and the first 128 bits of its SHA-256, in hex.

    Cryptographic, so that nobody can write a text that takes another text's label.
    """
    return VERSION + hashlib.sha256(text.encode()).hexdigest()[:_HEX_DIGITS]


def row_key(text: pl.Expr) -> pl.Expr:
    """The row key of a text column (String to String); null for null. The same as `row_key_of`, in compiled code."""
    return pl.lit(VERSION) + _digits(text)


def text_digest(text: pl.Expr) -> pl.Expr:
    """The digest of a text column as UInt128: a row key in the form that joins fast and small; null for null."""
    return _as_uint128(_digits(text))


def key_digest(row_key: pl.Expr) -> pl.Expr:
    """The digest of a row key column (String to UInt128)."""
    return _as_uint128(row_key.str.slice(len(VERSION)))


def _digits(text: pl.Expr) -> pl.Expr:
    digest: pl.Expr = plh.CryptographicHashingNameSpace(text).sha2_256()
    return digest.str.slice(0, _HEX_DIGITS)


def _as_uint128(digits: pl.Expr) -> pl.Expr:
    return digits.str.to_integer(base=16, dtype=pl.UInt128)
