"""Records of batches: whole on disk, never misread, and enough to find a batch again."""

import json
from datetime import UTC, datetime
from decimal import Decimal

import polars as pl
import pytest

from labelmill.batch.record import REQUESTS_SCHEMA, BatchFolder, BatchRecord
from labelmill.errors import JobRefused
from labelmill.providers.protocol import BatchStatus
from labelmill.store.row_key import row_key_of

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)


@pytest.fixture
def folder(tmp_path):
    """An output folder's batches."""
    return BatchFolder(tmp_path / "out" / "batches")


def write_keys(folder, name, texts):
    """Write the row keys of a batch."""
    keys = [(row_key_of(text), number, 0, 0, 0) for number, text in enumerate(texts)]
    folder.requests_path(name).parent.mkdir(parents=True, exist_ok=True)
    frame = pl.DataFrame(keys, schema=REQUESTS_SCHEMA, orient="row")
    frame.write_parquet(folder.requests_path(name))


def test_a_record_comes_back_as_it_was_written(folder, record_of, job_of):
    """Every field, money to the last digit and times to the last microsecond; with the whole job."""
    job = job_of(labels={"技术": "软件", "体育 / sport": ""}, run={"lane": "batch", "max_cost_usd": 0.1})
    record = record_of(
        job=job,
        worst_case_usd=Decimal("0.000000000001"),
        intended_at_utc=datetime(2026, 3, 1, 12, 0, 0, 123456, tzinfo=UTC),
        creating_at_utc=NOON,
        sent_at_utc=NOON,
        status=BatchStatus.IN_PROGRESS,
        completed=3,
        failed=1,
        cancel_asked=True,
        harvest_run_id="20260301-120000-ab12",
        harvest_part="20260301-120000-ab12-00004.parquet",
        message="words: “é” \u2028",
    )
    assert folder.write(record) is record
    assert folder.read_all() == [record]
    assert [path.name for path in folder.record_path(record.name).parent.iterdir()] == ["batch.json"]


def test_an_unknown_worst_case_stays_unknown(folder, record_of):
    """It is not read as nothing."""
    folder.write(record_of(worst_case_usd=None))
    assert folder.read_all()[0].worst_case_usd is None


@pytest.mark.parametrize(
    "content", [b"", b"{", b"[]", b"\xff", b'{"name": "x"}', b'{"name": "x", "step": "teleported"}']
)
def test_a_record_that_can_not_be_read_is_refused_with_a_sentence(folder, record_of, content):
    """Money may be out that nobody knows of: no run begins, and the sentence says where to look and what to do."""
    record = record_of()
    folder.write(record)
    path = folder.record_path("20260302-other-000")
    path.parent.mkdir()
    path.write_bytes(content)
    with pytest.raises(JobRefused) as refused:
        folder.read_all()
    (mistake,) = refused.value.mistakes
    assert mistake.where == "output.path"
    assert str(path) in mistake.sentence
    assert "move the folder away" in mistake.sentence


def test_a_record_of_an_unknown_step_is_refused(folder, record_of):
    """A later version may know of steps at which money is out."""
    record = record_of()
    folder.write(record)
    path = folder.record_path(record.name)
    path.write_text(json.dumps({**json.loads(path.read_text()), "step": "teleported"}))
    with pytest.raises(JobRefused, match="can't be read by this version"):
        folder.outstanding(practice=True)


def test_what_a_practice_provider_remembers_is_no_record(folder):
    """Its folder stands among the batches, and holds files of its own."""
    (folder.path / ".practice" / "batches").mkdir(parents=True)
    (folder.path / ".practice" / "batches" / "batch.json").write_text("{}")
    assert folder.read_all() == []


@pytest.mark.parametrize(
    ("step", "status", "outstanding", "ready"),
    [
        ("intended", None, True, False),
        ("creating", None, True, False),
        ("sent", None, True, False),
        ("sent", "validating", True, False),
        ("sent", "in_progress", True, False),
        ("sent", "finalizing", True, False),
        ("sent", "cancelling", True, False),
        ("sent", "completed", True, True),
        ("sent", "expired", True, True),
        ("sent", "cancelled", True, True),
        ("sent", "failed", True, False),
        ("harvesting", "completed", True, True),
        ("harvested", "completed", False, False),
        ("dropped", "failed", False, False),
        ("dropped", None, False, False),
    ],
)
def test_what_is_out_and_what_is_ready(record_of, step, status, outstanding, ready):
    """A batch is out until it is settled, and ready once it has ended with answers, or a harvest was begun."""
    record = record_of(step=step, status=status)
    assert (record.is_outstanding, record.is_ready) == (outstanding, ready)


def test_practice_and_paid_batches_do_not_meet(folder, record_of):
    """Each sees its own, the earliest first, and none that is settled."""
    for name, step, practice in (
        ("2-000", "sent", False),
        ("1-001", "creating", False),
        ("1-000", "harvested", False),
        ("0-000", "sent", True),
        ("3-000", "harvesting", False),
    ):
        folder.write(record_of(name=name, step=step, practice=practice))
    paid, practice = (folder.outstanding(practice=practice) for practice in (False, True))
    assert [record.name for record in paid] == ["1-001", "2-000", "3-000"]
    assert [record.name for record in practice] == ["0-000"]


@pytest.mark.parametrize("name", ["n" * 100, "新闻主题分类" * 16, "🎉" * 100, 'a "quoted" \\ name'])
def test_the_metadata_is_what_a_provider_takes(record_of, job_of, name):
    """OpenAI takes 16 pairs, keys of 64 characters and values of 512; it is the same for the same record."""
    record = record_of(job=job_of(name=name))
    metadata = record.metadata
    assert len(metadata) <= 16
    assert all(len(key) <= 64 and 0 < len(value) <= 512 for key, value in metadata.items())
    assert metadata["labelmill_job"] == name
    assert BatchRecord.model_validate_json(record.model_dump_json()).metadata == metadata


def test_no_two_batches_have_the_same_metadata(record_of):
    """Not even two of one run with the same content."""
    assert record_of(name="r-000").metadata != record_of(name="r-001").metadata


def test_each_batch_of_a_run_has_a_name_of_its_own(folder):
    """Counted over what is on disk, also what a dead process left; another run's don't count."""
    names = []
    for _ in range(3):
        names.append(folder.new_name("20260301-120000-ab12"))
        (folder.path / names[-1]).mkdir(parents=True)
    assert names == [f"20260301-120000-ab12-{number:03d}" for number in range(3)]
    assert folder.new_name("20260301-120000-ab1") == "20260301-120000-ab1-000"


def test_row_keys_are_read_in_the_order_they_were_sent(folder, record_of):
    """The langasync adapter knows a row by its place only."""
    texts = ["c", "a", "b"]
    write_keys(folder, "r-000", texts)
    keys = folder.row_keys(record_of(name="r-000"))
    assert keys.schema == REQUESTS_SCHEMA
    assert keys["row_key"].to_list() == [row_key_of(text) for text in texts]


def test_the_digests_of_batches_are_those_of_their_texts(folder, record_of):
    """Over any number of batches, also none."""
    write_keys(folder, "r-000", ["a", "b"])
    write_keys(folder, "r-001", ["c"])
    none = folder.digests([]).collect()
    assert (none.schema, none.height) == (pl.Schema({"digest": pl.UInt128}), 0)
    some = folder.digests([record_of(name="r-000"), record_of(name="r-001")]).collect()
    expected = [int(row_key_of(text).removeprefix("v1:"), 16) for text in "abc"]
    assert some["digest"].to_list() == expected


@pytest.mark.parametrize("kept", [None, 0, 3, -4])
def test_a_run_does_not_start_where_it_is_not_known_which_texts_are_out(folder, record_of, kept):
    """They might be paid for a second time: the file is named, and what to do. Of a settled batch nobody needs it."""
    folder.write(record_of(name="r-000", step="sent"))
    write_keys(folder, "r-000", ["a"])
    assert [record.name for record in folder.sweep()] == ["r-000"]
    path = folder.requests_path("r-000")
    content = path.read_bytes()
    path.unlink()
    if kept is not None:
        path.write_bytes(content[:kept])
    with pytest.raises(JobRefused, match=r"requests\.parquet.* can't be read.*backup"):
        folder.sweep()
    folder.write(record_of(name="r-000", step="harvested"))
    assert folder.sweep() == []
