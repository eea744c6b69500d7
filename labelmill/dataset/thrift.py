"""Thrift's compact protocol, which Parquet's footers are written in, without any schema of theirs.

Only what somebody asks for is opened; all else stays the bytes it was, whatever it means. Written after the "Thrift compact
protocol" specification of Apache Thrift.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

TRUE, FALSE, BYTE, I16, I32, I64, DOUBLE, BINARY, LIST, SET, MAP, STRUCT, UUID = range(1, 14)
"""The types of fields."""

Shape = Mapping[int, Any]
"""Which fields of a struct to open, by their ids, and how to open the structs that each of them is, or is a list of."""

_FIXED_BYTES = {DOUBLE: 8, UUID: 16}
_CONTINUED = 0x80
_SHORT_LIST = 15
_SHORT_DELTA = 16
_NIBBLE = 15
_MOST_VARINT_BYTES = 10


class ThriftError(Exception):
    """Bytes that are no Thrift, or other Thrift than was expected."""


@dataclass(slots=True)
class Struct:
    """A struct's fields, in their order: id to type and value. What was not opened is bytes, without the field's head.

    An opened value is a Struct or, of a list, a list of Structs.
    """

    fields: dict[int, tuple[int, Any]]

    @classmethod
    def read(cls, raw: bytes, shape: Shape, at: int = 0) -> tuple[Self, int]:
        """Read the struct that begins at a byte, and say where it ends.

        Raises:
            ThriftError: it is none.
        """
        try:
            found, end = _read_struct(raw, at, shape)
        except (IndexError, RecursionError):
            raise ThriftError("it ends too early") from None
        return cls(found.fields), end

    def encoded(self) -> bytes:
        """Its bytes: what was not opened as it was, and each head in the shortest form there is."""
        into = bytearray()
        _write_struct(self, into)
        return bytes(into)

    def integer(self, field: int) -> int | None:
        """An integer, None where there is none.

        Raises:
            ThriftError: the field is something else.
        """
        kind, raw = self.fields.get(field, (I64, None))
        if kind not in {I16, I32, I64}:
            raise ThriftError(f"field {field} is no integer")
        return None if raw is None else _integer_of(raw)

    def binary(self, field: int) -> bytes | None:
        """A string's bytes, None where there is none.

        Raises:
            ThriftError: the field is something else.
        """
        kind, raw = self.fields.get(field, (BINARY, None))
        if kind != BINARY:
            raise ThriftError(f"field {field} is no string")
        return None if raw is None else bytes(raw[_length(raw, 0)[1] :])

    def structs(self, field: int) -> list["Struct"]:
        """The structs of a list that was opened, which may be changed; an empty list where there is none.

        Raises:
            ThriftError: the field is something else.
        """
        found = self.fields.get(field, (LIST, []))[1]
        if not isinstance(found, list):
            raise ThriftError(f"field {field} is no list")
        return found

    def is_struct(self, field: int) -> bool:
        """Whether a field is there, and a struct."""
        return field in self.fields and self.fields[field][0] == STRUCT

    def struct(self, field: int, shape: Shape) -> "Struct":
        """A struct that was not opened, opened.

        Raises:
            ThriftError: the field is something else, or not there.
        """
        if not self.is_struct(field):
            raise ThriftError(f"field {field} is no struct")
        return Struct.read(self.fields[field][1], shape)[0]

    def set_integer(self, field: int, value: int) -> None:
        """Put an integer in place of one that is there."""
        self.fields[field] = (self.fields[field][0], _varint(value << 1 ^ value >> 63))

    def set_binary(self, field: int, value: bytes) -> None:
        """Put a string in place of one that is there, or at the end."""
        self.fields[field] = (BINARY, _varint(len(value)) + value)


def i32_field(value: int) -> tuple[int, bytes]:
    """An integer of 32 bits, as a field of a Struct."""
    return I32, _varint(value << 1 ^ value >> 31)


def _read_struct(raw: bytes, at: int, shape: Shape) -> tuple[Struct, int]:
    fields: dict[int, tuple[int, Any]] = {}
    field = 0
    while head := raw[at]:
        at += 1
        kind, delta = head & _NIBBLE, head >> 4
        if delta:
            field += delta
        else:
            begin = at
            at = _skip_varint(raw, at)
            field = _integer_of(raw[begin:at])
        if field in fields:
            raise ThriftError(f"field {field} is there twice")
        value: Any
        inner = shape.get(field)
        if inner is None:
            begin, at = at, _skip(raw, at, kind) if kind > FALSE else at
            value = raw[begin:at]
        elif kind == LIST:
            value, at = _read_structs(raw, at, inner)
        elif kind == STRUCT:
            value, at = _read_struct(raw, at, inner)
        else:
            raise ThriftError(f"field {field} is neither a list nor a struct")
        fields[field] = kind, value
    return Struct(fields), at + 1


def _read_structs(raw: bytes, at: int, shape: Shape) -> tuple[list[Struct], int]:
    kind, count, at = _list_head(raw, at)
    if count and kind != STRUCT:
        raise ThriftError("a list of structs is one of something else")
    found = []
    for _ in range(count):
        struct, at = _read_struct(raw, at, shape)
        found.append(struct)
    return found, at


def _skip_struct(raw: bytes, at: int) -> int:
    """Where a struct ends. Most of a large footer is read by this loop, which is why it spells out what is frequent."""
    while head := raw[at]:
        at += 1
        if head < _SHORT_DELTA:
            at = _skip_varint(raw, at)
        kind = head & _NIBBLE
        if I16 <= kind <= I64:
            while raw[at] >= _CONTINUED:
                at += 1
            at += 1
        elif kind == BINARY and raw[at] < _CONTINUED:
            at += 1 + raw[at]
        elif kind > FALSE:
            at = _skip(raw, at, kind)
        elif not kind:
            raise ThriftError("there is no type 0")
    return at + 1


def _skip(raw: bytes, at: int, kind: int) -> int:
    """Where a value ends that is not a struct's bool, which has no bytes."""
    if I16 <= kind <= I64:
        return _skip_varint(raw, at)
    if kind == STRUCT:
        return _skip_struct(raw, at)
    if kind in {LIST, SET}:
        kind, count, at = _list_head(raw, at)
        for _ in range(count):
            at = _skip(raw, at, kind)
        return at
    if kind == MAP:
        return _skip_map(raw, at)
    if kind == BINARY:
        size, at = _length(raw, at)
    elif kind in {TRUE, FALSE, BYTE}:
        size = 1
    elif kind in _FIXED_BYTES:
        size = _FIXED_BYTES[kind]
    else:
        raise ThriftError(f"there is no type {kind}")
    if at + size > len(raw):
        raise IndexError
    return at + size


def _skip_map(raw: bytes, at: int) -> int:
    count, at = _length(raw, at)
    if count:
        kinds, at = raw[at], at + 1
        for _ in range(count):
            at = _skip(raw, _skip(raw, at, kinds >> 4), kinds & _NIBBLE)
    return at


def _list_head(raw: bytes, at: int) -> tuple[int, int, int]:
    """A list's type, how many elements it has, and where they begin."""
    head, at = raw[at], at + 1
    count = head >> 4
    if count == _SHORT_LIST:
        count, at = _length(raw, at)
    return head & _NIBBLE, count, at


def _length(raw: bytes, at: int) -> tuple[int, int]:
    """How many bytes or elements follow, each of them at least a byte, and where they begin."""
    end = _skip_varint(raw, at)
    size = _unsigned_of(raw[at:end])
    if end + size > len(raw):
        raise IndexError
    return size, end


def _skip_varint(raw: bytes, at: int) -> int:
    begin = at
    while raw[at] >= _CONTINUED:
        at += 1
    if at - begin >= _MOST_VARINT_BYTES:
        raise ThriftError("an integer is too long")
    return at + 1


def _unsigned_of(varint: bytes) -> int:
    value = 0
    for byte in reversed(varint):
        value = value << 7 | byte & _CONTINUED - 1
    return value


def _integer_of(varint: bytes) -> int:
    zigzag = _unsigned_of(varint)
    return zigzag >> 1 ^ -(zigzag & 1)


def _varint(value: int) -> bytes:
    found = bytearray()
    while value >= _CONTINUED:
        found.append(value & _CONTINUED - 1 | _CONTINUED)
        value >>= 7
    found.append(value)
    return bytes(found)


def _write_struct(struct: Struct, into: bytearray) -> None:
    before = 0
    for field, (kind, value) in struct.fields.items():
        if 0 < field - before < _SHORT_DELTA:
            into.append((field - before) << 4 | kind)
        else:
            into.append(kind)
            into += _varint(field << 1 ^ field >> 15)
        before = field
        if isinstance(value, Struct):
            _write_struct(value, into)
        elif isinstance(value, list):
            _write_structs(value, into)
        else:
            into += value
    into.append(0)


def _write_structs(structs: Sequence[Struct], into: bytearray) -> None:
    if len(structs) < _SHORT_LIST:
        into.append(len(structs) << 4 | STRUCT)
    else:
        into.append(_SHORT_LIST << 4 | STRUCT)
        into += _varint(len(structs))
    for struct in structs:
        _write_struct(struct, into)
