"""Schemas in a file's key-value metadata know the new columns, and what isn't one of them stays as it is."""

import base64
import json

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from labelmill.dataset.embedded_schemas import plain_type, with_columns

LABELS = pa.schema([("label", pa.string()), ("label_confidence", pa.float64())])
KNOWN = [b"ARROW:schema", b"pandas", b"huggingface", b"org.apache.spark.sql.parquet.row.metadata"]
OTHERS = [b"geo", b"iceberg.schema", b"parquet.avro.schema", b"delta", b"r", "中".encode()]


def test_hugging_face_knows_the_new_columns():
    """A feature is added for each, and those of the file stay: a ClassLabel keeps its names."""
    kind = {"names": ["neg", "pos"], "_type": "ClassLabel"}
    value = json.dumps({"info": {"features": {"kind": kind}, "license": "中"}, "fingerprint": "x"})
    assert json.loads(with_columns(b"huggingface", value.encode(), LABELS)) == {
        "info": {
            "features": {
                "kind": kind,
                "label": {"dtype": "string", "_type": "Value"},
                "label_confidence": {"dtype": "float64", "_type": "Value"},
            },
            "license": "中",
        },
        "fingerprint": "x",
    }


def test_spark_knows_the_new_columns():
    """Spark sees what its own schema has, and no more: nullable fields are added to it."""
    own = {"name": "id", "type": "long", "nullable": False, "metadata": {"comment": "c"}}
    value = json.dumps({"type": "struct", "fields": [own]})
    told = with_columns(b"org.apache.spark.sql.parquet.row.metadata", value.encode(), LABELS)
    assert json.loads(told) == {
        "type": "struct",
        "fields": [
            own,
            {"name": "label", "type": "string", "nullable": True, "metadata": {}},
            {"name": "label_confidence", "type": "double", "nullable": True, "metadata": {}},
        ],
    }


def test_arrow_knows_the_new_columns():
    """Arrow's schema has the new fields after its own, with all that its own are, and tells the schemas within it."""
    own = pa.schema(
        [
            pa.field("kind", pa.dictionary(pa.int8(), pa.string(), ordered=True), metadata={"k": "v"}),
            pa.field("id", pa.int64(), nullable=False),
        ],
        metadata={"huggingface": '{"info": {"features": {}}}', "x": "y"},
    )
    told = pa.ipc.read_schema(
        pa.py_buffer(base64.b64decode(with_columns(KNOWN[0], base64.b64encode(own.serialize()), LABELS)))
    )
    assert told.equals(pa.schema([*own, *LABELS], told.metadata), check_metadata=True)
    assert told.metadata[b"x"] == b"y"
    assert "label" in json.loads(told.metadata[b"huggingface"])["info"]["features"]


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                ["info", "features", "fields", "columns", "column_indexes", "index_columns", "x"]
            ),
            inner,
            max_size=3,
        )
    ),
    max_leaves=8,
)


@given(st.sampled_from(KNOWN), st.binary(max_size=30) | JSON.map(lambda value: json.dumps(value).encode()))
def test_what_is_no_schema_stays_as_it_is(key, value):
    """A value that isn't what its key promises is left alone, unless it can be told of the new columns: never an error."""
    told = with_columns(key, value, LABELS)
    assert told == value or b"label_confidence" in told


@given(st.sampled_from(OTHERS), st.binary(max_size=30))
def test_other_keys_stay_as_they_are(key, value):
    """What belongs to other programs is not touched."""
    assert with_columns(key, value, LABELS) == value


def test_text_is_text_however_arrow_holds_it():
    """Text of all of Arrow's kinds is text in the file; a type that a label column never has is refused."""
    kinds = [pa.string(), pa.large_string(), pa.string_view(), pa.dictionary(pa.int32(), pa.large_string())]
    assert {plain_type(kind) for kind in kinds} == {pa.string()}
    assert plain_type(pa.float64()) == pa.float64()
    with pytest.raises(TypeError, match="found date32"):
        plain_type(pa.date32())
