"""The page on object stores: each reader's lines read a run's labels as they stand there, and what it says of a run is so."""

import os
import re
import tomllib
from pathlib import Path

import polars as pl
import pytest
from servers.base import Endpoint
from world import World

from labelmill.job.model import LabelJob
from labelmill.store import hold, working

PAGE = (Path(__file__).parent.parent / "docs" / "stores.md").read_text()
READERS = re.findall(r"^With (\w+).*?\n+```python\n(.*?)^```$", PAGE, flags=re.MULTILINE | re.DOTALL)
PLACE = "company-data/labels/news"


@pytest.fixture
def published(store_server, tmp_path, job_of, monkeypatch):
    """Where a run has published, over two partitions and two days."""
    monkeypatch.setenv("OPENAI_API_KEY", "sk-tests")
    server = store_server("moto")
    for name, value in {
        "AWS_ENDPOINT_URL": server.endpoint,
        "AWS_ALLOW_HTTP": "true",
        "AWS_REGION": "us-east-1",
    }.items():
        monkeypatch.setenv(name, value)
    output = f"{server.bucket()}/labels"
    world = World(tmp_path, job_of)
    with Endpoint() as provider:
        for day in (1, 2):
            folder = tmp_path / "source" / f"date=2026-11-0{day}"
            folder.mkdir(parents=True)
            texts = [f"{kind} {day}-{number}" for number in range(5) for kind in ("match", "bank")]
            pl.DataFrame({"text": texts}).write_parquet(folder / "part-0.parquet")
            world.run(provider, source={"path": str(tmp_path / "source")}, output={"path": output})
    return output


@pytest.mark.slow
@pytest.mark.parametrize(("reader", "lines"), READERS, ids=[reader for reader, _ in READERS])
def test_each_reader_reads_the_labels(published, reader, lines):
    """A reader's lines, with the bucket's name put in, give the rows of both days with their labels."""
    import s3fs  # noqa: PLC0415  (it keeps connections of the endpoint that it saw first)

    s3fs.S3FileSystem.clear_instance_cache()
    known = {}
    lines = lines.replace(PLACE, published.removeprefix("s3://"))
    host = os.environ["AWS_ENDPOINT_URL"].removeprefix("http://")
    lines = lines.replace(
        "= fs.S3FileSystem()", f'= fs.S3FileSystem(endpoint_override="{host}", scheme="http")'
    )
    exec(lines, known)  # noqa: S102  (our own page)
    if reader == "DuckDB":
        assert sorted(known["rows"].fetchall()) == [("money", 10), ("sport", 10)]
        return
    rows = known["rows"]
    labels = rows["label"].to_pylist() if reader == "PyArrow" else list(rows["label"])
    assert sorted(labels) == ["money"] * 10 + ["sport"] * 10
    if reader == "Polars":
        assert rows["date"].n_unique() == 2


def test_all_readers_are_there():
    """Nobody is left to find out alone."""
    assert [reader for reader, _ in READERS] == ["Polars", "DuckDB", "pandas", "PyArrow"]


def test_the_pages_times_are_the_programs():
    """Seconds on the page are those that the program keeps to."""
    assert f"every {working.FLUSH_SECONDS:.0f} seconds" in PAGE
    assert f"after {hold.TTL_SECONDS:.0f} seconds without a sign of life" in PAGE
    assert f"longer than {hold.TTL_SECONDS * 2 / 3:.0f} seconds" in PAGE
    assert f"a heartbeat every {hold.TTL_SECONDS / 6:.0f} seconds" in PAGE
    assert working.KEPT_SECONDS == 24 * 3600


def test_its_job_is_a_job():
    """The parts of a job on the page are a job's."""
    (block,) = re.findall(r"^```toml\n(.*?)^```$", PAGE, flags=re.MULTILINE | re.DOTALL)
    told = {"name": "a", "labels": {"a": "", "b": ""}, "model": {"provider": "practice", "name": "a"}}
    job = LabelJob.model_validate({**told, **tomllib.loads(block)})
    assert job.source.path.startswith("s3://")
