"""Row keys."""

import hashlib

import polars as pl
from hypothesis import example, given, settings
from hypothesis import strategies as st

from labelmill.store.row_key import VERSION, key_digest, row_key, row_key_of, text_digest

TEXTS = st.text(st.characters(exclude_categories=["Cs"]))


@settings(max_examples=50, deadline=None)
@given(st.lists(TEXTS, min_size=1))
@example(
    ["", "\0", "a\0b", "🙂👩‍👩‍👧", "\u202eright to left\u202c", "\ufeff", "e\u0301", "é", "中文", "\r\n"]
)
def test_the_key_in_python_is_the_key_in_compiled_code(texts):
    """One text has one row key, whoever computes it."""
    compiled = pl.DataFrame({"text": texts}).select(key=row_key(pl.col("text")))["key"].to_list()
    keys = [row_key_of(text) for text in texts]
    assert compiled == keys


@settings(max_examples=50, deadline=None)
@given(st.lists(TEXTS, min_size=1))
def test_a_key_and_its_text_have_one_digest(texts):
    """A row key from the ledger joins the digest of the text it was made from, and shows it whole."""
    frame = pl.DataFrame({"text": texts, "key": [row_key_of(text) for text in texts]})
    digests = frame.select(of_text=text_digest(pl.col("text")), of_key=key_digest(pl.col("key")))
    assert digests["of_text"].dtype == pl.UInt128
    assert digests["of_text"].to_list() == digests["of_key"].to_list()
    assert [f"{VERSION}{digest:032x}" for digest in digests["of_text"]] == frame["key"].to_list()


@settings(max_examples=50, deadline=None)
@given(st.lists(TEXTS, unique=True, min_size=2))
def test_different_texts_have_different_keys(texts):
    """Texts that look alike but differ in one code point are different texts."""
    assert len({row_key_of(text) for text in texts}) == len(texts)


def test_the_key_is_tagged_sha256():
    """A row key is `v1:` and the first 128 bits of the text's SHA-256, in hex: ledgers on disk depend on it."""
    assert row_key_of("中文") == "v1:" + hashlib.sha256("中文".encode()).hexdigest()[:32]
    assert row_key_of("") == "v1:e3b0c44298fc1c149afbf4c8996fb924"


def test_no_text_has_no_key():
    """Null has neither key nor digest."""
    keys = pl.DataFrame({"text": [None, "a"]}, schema={"text": pl.String}).select(
        key=row_key(pl.col("text")), digest=text_digest(pl.col("text"))
    )
    assert keys["key"].to_list() == [None, row_key_of("a")]
    assert keys["digest"].is_null().to_list() == [True, False]


def test_a_megabyte_of_one_letter_has_a_key():
    """Long texts are hashed like short ones."""
    text = "a" * 1_000_000
    assert pl.select(row_key(pl.lit(text))).item() == row_key_of(text)
