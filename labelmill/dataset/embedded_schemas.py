"""What a Parquet file's key-value metadata says of its columns, told of further ones.

Arrow, pandas, Hugging Face and Spark each keep a schema of their own in a Parquet file and believe it rather than Parquet's.
"""

import ast
import base64
import binascii
import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pyarrow as pa

ARROW_SCHEMA = b"ARROW:schema"
"""The key of Arrow's own schema."""

_NAMES_OF_TYPE = {
    # As pandas and numpy, Hugging Face, and Spark call them.
    pa.string(): ("unicode", "object", "string", "string"),
    pa.float64(): ("float64", "float64", "float64", "double"),
    pa.int64(): ("int64", "int64", "int64", "long"),
    pa.bool_(): ("bool", "bool", "bool", "boolean"),
}
"""The types that columns may have which are appended."""

_TEXT_LEVELS = {"unicode", "string", "mixed", "mixed-integer", "empty"}
_NUMBER_LEVELS = {"int64", "float64"}
"""What pandas calls column names that are text as it reads them, and those that JSON can hold as they are."""


def plain_type(dtype: pa.DataType) -> pa.DataType:
    """What a column is once it was written to Parquet: however Arrow holds text, it is text.

    Raises:
        TypeError: the column is neither text nor float64, int64 or bool.
    """
    value = dtype.value_type if pa.types.is_dictionary(dtype) else dtype
    is_text = pa.types.is_string(value) or pa.types.is_large_string(value) or pa.types.is_string_view(value)
    found = pa.string() if is_text else dtype
    if found not in _NAMES_OF_TYPE:
        raise TypeError(f"a column that is appended is text, float64, int64 or bool; found {dtype}")
    return found


def with_columns(key: bytes, value: bytes, columns: pa.Schema) -> bytes:
    """The value of a key of the metadata, once the file has these columns after its own.

    What is unknown, or is not what it should be, stays as it is.
    """
    if key == ARROW_SCHEMA:
        return _arrow(value, columns)
    append = _APPEND.get(key)
    if append is None:
        return value
    try:
        found = json.loads(value)
        append(found, columns)
        return json.dumps(found, ensure_ascii=False).encode()
    except (ValueError, KeyError, TypeError, AttributeError, IndexError, RecursionError):
        return value


def _arrow(value: bytes, columns: pa.Schema) -> bytes:
    """Arrow's own schema, with more fields.

    One that PyArrow can't read stays: PyArrow can't read the file either way, and who can (Polars, with its 128-bit
    integers) finds columns in it by their names. One with other columns than the file has is ignored by PyArrow, and
    still is with as many more of both.
    """
    try:
        schema = pa.ipc.read_schema(pa.py_buffer(base64.b64decode(value, validate=True)))
        metadata = {key: with_columns(key, entry, columns) for key, entry in (schema.metadata or {}).items()}
        return base64.b64encode(pa.schema([*schema, *columns], metadata or None).serialize())
    except (binascii.Error, pa.ArrowException, OSError):
        return value


def type_of_names_lost(metadata: Mapping[bytes, bytes]) -> str | None:
    """What pandas calls the type of a frame's column names that become text beside ours, None where all stay."""
    try:
        (level,) = json.loads(metadata[b"pandas"])["column_indexes"]
        kind = level["pandas_type"]
    except (ValueError, KeyError, TypeError, RecursionError):
        return None
    return None if kind in {*_TEXT_LEVELS, *_NUMBER_LEVELS} or not isinstance(kind, str) else kind


def _pandas(found: Any, columns: pa.Schema) -> None:
    levels = found["column_indexes"]
    is_number = [level["pandas_type"] in _NUMBER_LEVELS for level in levels]
    for column in found["columns"]:
        if any(is_number) and column["field_name"] not in found["index_columns"]:
            column["name"] = _name_with_numbers(column["name"], is_number)
    for level in levels:
        if level["pandas_type"] not in _TEXT_LEVELS:
            # pandas would convert our names to that type as well, and fail.
            level.update(pandas_type="mixed", numpy_type="object", metadata=None)
    for column in columns:
        # A name of several levels stands there as Python writes it.
        name = repr((column.name, *[""] * (len(levels) - 1))) if len(levels) > 1 else column.name
        pandas_type, numpy_type, *_ = _NAMES_OF_TYPE[column.type]
        found["columns"].append(
            {
                "name": name,
                "field_name": column.name,
                "pandas_type": pandas_type,
                "numpy_type": numpy_type,
                "metadata": None,
            }
        )


def _name_with_numbers(name: str, is_number: Sequence[bool]) -> Any:
    """A column's name whose numbers stand as numbers, where they stood as text that all names of a level were read from."""
    try:
        if len(is_number) == 1:
            return json.loads(name)
        parts = zip(ast.literal_eval(name), is_number, strict=True)
        return repr(tuple(json.loads(part) if number else part for part, number in parts))
    except (ValueError, SyntaxError):  # such as the name nan
        return name


def _hugging_face(found: Any, columns: pa.Schema) -> None:
    features = found["info"]["features"]
    for column in columns:
        features[column.name] = {"dtype": _NAMES_OF_TYPE[column.type][2], "_type": "Value"}


def _spark(found: Any, columns: pa.Schema) -> None:
    fields = found["fields"]
    for column in columns:
        fields.append(
            {"name": column.name, "type": _NAMES_OF_TYPE[column.type][3], "nullable": True, "metadata": {}}
        )


_APPEND: dict[bytes, Callable[[Any, pa.Schema], None]] = {
    b"pandas": _pandas,
    b"huggingface": _hugging_face,
    b"org.apache.spark.sql.parquet.row.metadata": _spark,
}
