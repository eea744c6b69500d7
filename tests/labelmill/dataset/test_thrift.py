"""Thrift without a schema: what is there is found, what is changed is changed, and all else stays as it was."""

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from labelmill.dataset.thrift import Struct, ThriftError, i32_field

INTEGERS = {4: 16, 5: 32, 6: 64}
"""The types of integers, and their bits."""


def _varint(value):
    return bytes([value]) if value < 128 else bytes([value % 128 + 128]) + _varint(value // 128)


def _zigzag(value):
    return _varint(value * 2 if value >= 0 else -value * 2 - 1)


SCALARS = {
    3: st.binary(min_size=1, max_size=1),
    **{
        kind: st.integers(-(2 ** (bits - 1)), 2 ** (bits - 1) - 1).map(_zigzag)
        for kind, bits in INTEGERS.items()
    },
    7: st.floats().map(lambda value: struct.pack("<d", value)),
    8: st.binary(max_size=200).map(lambda value: _varint(len(value)) + value),
    13: st.binary(min_size=16, max_size=16),
}


def _element(kind):
    return st.sampled_from([b"\1", b"\2", b"\0"]) if kind == 2 else VALUES[kind]


@st.composite
def _lists(draw):
    kind = draw(st.sampled_from([2, *VALUES]))
    items = draw(st.lists(_element(kind), max_size=20 if kind in SCALARS else 3))
    head = bytes([len(items) << 4 | kind]) if len(items) < 15 else bytes([0xF0 | kind]) + _varint(len(items))
    return head + b"".join(items)


@st.composite
def _maps(draw):
    key, value = draw(st.sampled_from([2, *SCALARS])), draw(st.sampled_from([2, *VALUES]))
    pairs = draw(st.lists(st.tuples(_element(key), _element(value)), max_size=3))
    return _varint(len(pairs)) + (
        bytes([key << 4 | value]) + b"".join(map(b"".join, pairs)) if pairs else b""
    )


def _encoded(fields):
    before, found = 0, b""
    for field, (kind, value) in fields.items():
        short = 0 < field - before < 16
        found += (bytes([(field - before) << 4 | kind]) if short else bytes([kind]) + _zigzag(field)) + value
        before = field
    return found + b"\0"


def _fields():
    value = st.sampled_from([1, 2, *VALUES]).flatmap(
        lambda kind: st.tuples(st.just(kind), VALUES.get(kind, st.just(b"")))
    )
    return st.dictionaries(st.integers(1, 40) | st.integers(-(2**15), 2**15 - 1), value, max_size=4)


VALUES = {
    **SCALARS,
    9: st.deferred(_lists),
    10: st.deferred(_lists),
    11: st.deferred(_maps),
    12: st.deferred(lambda: _fields().map(_encoded)),
}
"""The types of a protocol's values but bools, and the bytes of some, written as the specification says."""


@given(_fields(), st.binary())
def test_whatever_is_not_opened_stays_as_it_is(fields, behind):
    """Each field of any struct is found with its type and bytes, whatever it means, and written again as it was."""
    raw = _encoded(fields)
    found, end = Struct.read(raw + behind, {})
    assert (end, found.fields, found.encoded()) == (len(raw), fields, raw)


@pytest.mark.slow
@given(_fields(), st.lists(_fields(), max_size=20))
def test_what_is_opened_can_be_changed(inner, several):
    """A struct and a list of structs that are opened are the same bytes again; one more in the list is one more there."""
    several = [_encoded(fields) for fields in several]
    head = bytes([len(several) << 4 | 12]) if len(several) < 15 else b"\xfc" + _varint(len(several))
    raw = _encoded({1: (12, _encoded(inner)), 2: (9, head + b"".join(several))})
    found, _ = Struct.read(raw, {1: {}, 2: {}})
    assert found.encoded() == raw
    assert [struct.encoded() for struct in found.structs(2)] == several
    assert found.fields[1][1].fields == inner
    found.structs(2).append(Struct({7: i32_field(-3)}))
    again, _ = Struct.read(found.encoded(), {2: {}})
    assert len(again.structs(2)) == len(several) + 1
    assert again.structs(2)[-1].integer(7) == -3


@given(st.integers(-(2**63), 2**63 - 1), st.integers(-(2**63), 2**63 - 1), st.binary())
def test_integers_and_strings_are_read_and_replaced(before, after, text):
    """An integer is the one that was written, and the one that takes its place; so is a string."""
    found, _ = Struct.read(_encoded({3: (6, _zigzag(before)), 9: (5, _zigzag(1))}), {})
    assert (found.integer(3), found.integer(4), found.binary(5)) == (before, None, None)
    found.set_integer(3, after)
    found.set_binary(5, text)
    again, _ = Struct.read(found.encoded(), {})
    assert (again.integer(3), again.integer(9), again.binary(5)) == (after, 1, text)


@given(st.binary(max_size=60) | _fields().map(_encoded), st.integers(0, 60))
def test_any_bytes_are_a_struct_or_refused(raw, length):
    """Bytes that are no struct, or half of one, are refused as such, and never by another error."""
    try:
        found, end = Struct.read(raw[:length], {1: {}, 2: {2: {}}})
    except ThriftError:
        return
    assert end <= length
    Struct.read(found.encoded(), {1: {}, 2: {2: {}}})


def test_nesting_without_an_end_is_refused():
    """A thousand structs within each other are damage, not an overflow."""
    with pytest.raises(ThriftError):
        Struct.read(b"\x1c" * 100_000, {})


def test_another_type_than_expected_is_refused():
    """What is asked for as an integer, a string, a struct or a list is one."""
    found, _ = Struct.read(_encoded({1: (8, b"\0"), 2: (5, b"\0"), 3: (12, b"\0")}), {3: {}})
    asked = [
        lambda: found.integer(1),
        lambda: found.binary(2),
        lambda: found.structs(3),
        lambda: found.struct(1, {}),
    ]
    for ask in asked:
        with pytest.raises(ThriftError):
            ask()
    with pytest.raises(ThriftError):
        Struct.read(_encoded({1: (5, b"\0")}), {1: {}})
