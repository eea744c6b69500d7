"""Chunks on other machines that share nothing with the run but a bucket."""

import polars as pl
import pytest
from buckets import Bucket
from machines import MachineRunner, killed_at_random
from test_machines import PRICE, Slow, texts

from labelmill.pipeline.label import label
from labelmill.run import orders
from labelmill.store import working

pytestmark = pytest.mark.slow


@pytest.fixture(params=["moto", pytest.param("seaweedfs", marks=pytest.mark.system)])
def bucket(request, store_server, monkeypatch):
    """An output in a bucket; who is not heard of for four seconds is given up."""
    monkeypatch.setattr(orders, "TTL_SECONDS", 4.0)
    return Bucket(store_server(request.param).bucket().child("out"))


def run(world, bucket, server, harm=lambda _process, _number: None, **run):
    """Run the world's job with its chunks on machines with disks of their own; returns the record and the runner."""
    job = world.job(output=bucket.output, price=PRICE, run={"workers": 2, "rows_per_chunk": 40, **run})
    runner = MachineRunner(job, world.folder, harm, has_own_disk=True)
    return label(job, server.base_url, runner=runner), runner


def test_machines_that_share_a_bucket_label_and_bill_as_one_does(world, bucket):
    """Each text is asked once, the bill is the server's own count, and nothing that was made for the machines is left in the bucket."""
    world.has(texts(160))
    with Slow() as server:
        record, runner = run(world, bucket, server)
        assert (record.status, record.rows_labeled, record.requests) == ("completed", 160, 160)
        assert server.requests == 160
        assert len(runner.processes) == 4
    assert sorted(bucket.rows()["text"].to_list()) == sorted(texts(160))
    assert bucket.ledger()["requests"].sum() == 160
    left = {name.rpartition("/")[2] for name in bucket.names(f"runs/{record.run_id}/")}
    assert left == {"costs.parquet", "report.html", "run.json", "stop.json"}


@pytest.mark.system
def test_machines_that_die_with_their_disks_cost_a_few_seconds(world, bucket):
    """Machines that are killed and whose disks are not seen again lose no row; what is asked twice was in flight or not yet in the bucket."""
    world.has(texts(400))
    harm = killed_at_random(11, 4)
    with Slow(0.1) as server:
        record, _ = run(world, bucket, server, harm)
        assert (record.status, record.rows_labeled) == ("completed", 400)
        deaths = 4 - harm.left[0]
        # In flight, and what a machine answers in the time between two flushes.
        a_second = 4 / 0.1
        most = deaths * (4 + a_second * (working.FLUSH_SECONDS + 5.0))
        assert server.requests - 400 <= most
    rows = bucket.rows()
    assert rows["label"].to_list() == ["sport" if "match" in text else "money" for text in rows["text"]]
    labels = bucket.ledger().filter(pl.col("label").is_not_null())
    assert labels["row_key"].n_unique() == labels.height == 400


def test_texts_of_a_dead_run_do_not_stay_in_the_bucket(world, bucket):
    """What a run had laid out for its machines, and had no time to take away, the next one takes away."""
    world.has(texts(40))
    bucket.store.put("runs/20260101-000000-0000/pending-chunks/00000.parquet", b"texts of customers")
    with Slow() as server:
        run(world, bucket, server)
    assert not [name for name in bucket.names("runs/") if "pending" in name]
