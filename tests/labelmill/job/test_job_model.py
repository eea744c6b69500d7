"""The job's model: documented, frozen, and the same on both sides of JSON."""

import pytest
from pydantic import ValidationError

from labelmill.job.model import LabelJob


def _sections(schema):
    return [schema, *schema["$defs"].values()]


def test_every_field_is_documented():
    """Each field of each section has a description, and each section says what it is."""
    for section in _sections(LabelJob.model_json_schema()):
        if "properties" not in section:
            continue
        assert section["description"]
        for name, field in section["properties"].items():
            # A section's own description stands in its definition.
            inherited = "$ref" in str(field) and name != "practice"
            assert field.get("description") or inherited or name == "name", (section["title"], name)


def test_every_field_says_where_it_stands():
    """The schema keeps the order of its fields where a database sorts their names, so that the form does too."""
    for section in _sections(LabelJob.model_json_schema()):
        fields = section.get("properties", {}).values()
        assert [field["position"] for field in fields] == list(range(len(fields)))


def test_no_section_has_room_for_an_unknown_field():
    """A misspelt field is never passed over; those of `[practice]`, which has more, the practice provider refuses."""
    for section in _sections(LabelJob.model_json_schema()):
        if "properties" in section and section["title"] != "Practice":
            assert section["additionalProperties"] is False, section["title"]


def test_the_form_shows_three_fields_of_practice_and_takes_them_all(job_of):
    """What a job said of the practice provider in former times is kept, and handed on as it is."""
    schema = LabelJob.model_json_schema()["$defs"]["Practice"]
    assert list(schema["properties"]) == ["latency_seconds", "seed", "settings"]
    assert "additionalProperties" not in schema
    former = {"latency_seconds": 0.0, "latency_sigma": 0.5, "seed": 1, "faults": {}, "known_models": None}
    again = LabelJob.model_validate_json(job_of(practice=former).model_dump_json())
    assert again.practice.model_dump() == {"settings": None, **former}


def test_a_job_cannot_be_changed(job_of):
    """A job is what it was read as, for as long as it lives."""
    job = job_of()
    with pytest.raises(ValidationError, match="frozen"):
        job.name = "other"
    with pytest.raises(ValidationError, match="frozen"):
        job.run.max_concurrency = 1


def test_a_job_survives_json(job_of):
    """What `run.json` and Prefect keep of a job is the job, the order of its labels included."""
    job = job_of(
        labels={"z": "last", "a": "first", "中": ""},
        run={"max_cost_usd": 0.1, "rows_per_chunk": 7},
        practice={"faults": {"hang": 0.1}, "known_models": ["a"]},
        price={"input_usd_per_mtok": 0.15, "output_usd_per_mtok": 0.6},
        model={"base_url": "http://[::1]:8000/v1", "max_tokens": 5},
    )
    again = LabelJob.model_validate_json(job.model_dump_json())
    assert again == job
    assert list(again.labels) == ["z", "a", "中"]
    assert LabelJob.model_validate(job.model_dump(mode="json")) == job


@pytest.mark.parametrize("address", ["http://127.0.0.1:11434/v1", "https://api.deepseek.com", "http://[::1]:80/v1", "http://localhost/"])  # fmt: skip
def test_addresses_of_endpoints(job_of, address):
    """Names, IPv4 and IPv6 addresses with and without a port are kept as they were written."""
    assert job_of(model={"base_url": address}).model.base_url == address


@pytest.mark.parametrize("name", ["主题 2026", "a.b-c_d", "x" * 100, "señal", "🙂"])
def test_names_of_jobs(job_of, name):
    """A job's name is in any language."""
    assert job_of(name=name).name == name


@pytest.mark.parametrize("name", ["", "a/b", "<b>", "50%", "a&b", "a\nb", "a\0", "x" * 101])
def test_names_that_no_report_could_show(job_of, name):
    """Names that Prefect or a report could not show are refused."""
    with pytest.raises(ValidationError):
        job_of(name=name)


def test_labels_come_in_the_order_that_is_said(job_of):
    """`label_order` puts labels in order; what it doesn't name follows, and what is no label is passed over."""
    labels = {"b": "bee", "a": "ay", "c": "see"}
    assert list(job_of(labels=labels).labels) == ["b", "a", "c"]
    ordered = job_of(labels=labels, label_order=["c", "gone", "b"])
    assert ordered.labels == labels
    assert list(ordered.labels) == ["c", "b", "a"]
    assert list(LabelJob.model_validate_json(ordered.model_dump_json()).labels) == ["c", "b", "a"]
