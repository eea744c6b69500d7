"""The reference of the job file: whole, described, and as the model has it."""

from pathlib import Path

from labelmill.check.reference import job_reference
from labelmill.job.model import LabelJob

DOCS = Path(__file__).parents[3] / "docs" / "job.md"


def test_docs_job_md_is_what_make_docs_would_write():
    """A change in the model that is not in docs/job.md is caught here; `make docs` mends it."""
    assert DOCS.read_text(encoding="utf-8") == job_reference()


def test_every_field_has_a_description_and_stands_in_the_reference():
    """No field of any table is without a sentence on what it means."""
    reference = job_reference()
    tables = {"LabelJob": LabelJob.model_json_schema(), **LabelJob.model_json_schema()["$defs"]}
    for table, schema in tables.items():
        assert schema.get("description"), table
        for name, field in schema.get("properties", {}).items():
            assert field.get("description") or "$ref" in field or "anyOf" in field, f"{table}.{name}"
            assert f"`{name}`" in reference or f"`[{name}]`" in reference, f"{table}.{name}"
    rows = [line for line in reference.splitlines() if line.startswith("| `")]
    assert rows
    for row in rows:
        assert row.removesuffix(" |").rsplit("| ", 1)[1].strip(), row


def test_each_table_of_a_job_file_has_a_section():
    """Tables come in the model's order, and say whether they may be left out."""
    sections = [line for line in job_reference().splitlines() if line.startswith("## `[") and "." not in line]
    tables = [name for name in LabelJob.model_fields if name not in {"name", "slug", "label_order"}]
    assert sections == [f"## `[{name}]`" for name in tables]
