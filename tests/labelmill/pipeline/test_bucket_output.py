"""Runs whose output lies in a bucket: what they leave there, and what is left when a machine or its disk goes."""

import json
import os
import random
import shutil
import signal
import threading
import time
from collections import defaultdict
from itertools import pairwise

import polars as pl
import pytest
from buckets import Bucket, lose_the_disk
from servers.base import Endpoint, completion
from world import CRASH_JOB

from labelmill.errors import CannotWrite, JobRefused
from labelmill.store import working
from labelmill.store.hold import held

pytestmark = pytest.mark.slow

TEXTS = [f"{'match' if number % 2 else 'bank'} {number}" for number in range(60)]


@pytest.fixture
def bucket(store_server):
    """An output in a bucket of moto's."""
    return Bucket(store_server("moto").bucket().child("out/news"))


def test_a_run_leaves_all_in_the_bucket(world, bucket):
    """Labels, ledger, record, costs and report are in the bucket and nothing of the source's texts but in the labels; the disk may go, and nothing is asked again."""
    world.has(TEXTS)
    with Endpoint() as server:
        record = world.run(server, output=bucket.output)
        assert (record.status, record.rows_labeled) == ("completed", 60)
        assert record.labeled_path == f"{bucket.address}/labeled"
        run = f"runs/{record.run_id}"
        assert set(bucket.names(run)) == {
            f"{run}/{name}" for name in ("costs.parquet", "report.html", "run.json")
        }
        assert bucket.rows()["label"].to_list() == ["sport" if "match" in text else "money" for text in TEXTS]
        assert bucket.ledger()["requests"].sum() == server.requests == 60
        lose_the_disk()
        again = world.run(server, output=bucket.output)
        assert (again.status, again.requests, again.rows_reused) == ("completed", 0, 60)
    assert not [name for name in bucket.names() if name.endswith((".jsonl", ".tmp"))]


def test_a_day_costs_the_days_rows(world, bucket, tmp_path):
    """What has not changed since is neither read nor written on the next day, on another disk; what a manifest named before stays for its readers."""
    (tmp_path / "source").mkdir()
    pl.DataFrame({"text": TEXTS[:30]}).write_parquet(tmp_path / "source" / "a.parquet")
    source = {"path": str(tmp_path / "source")}
    with Endpoint() as server:
        first = world.run(server, output=bucket.output, source=source)
        pl.DataFrame({"text": TEXTS[30:]}).write_parquet(tmp_path / "source" / "b.parquet")
        lose_the_disk()
        second = world.run(server, output=bucket.output, source=source)
        assert second.requests == 30
        stored = {file["path"]: file["stored_as"] for file in bucket.manifest()["files"]}
        assert stored == {
            "a.parquet": f"labeled/{first.run_id}/a.parquet",
            "b.parquet": f"labeled/{second.run_id}/b.parquet",
        }
        pl.DataFrame({"text": TEXTS[:10]}).write_parquet(tmp_path / "source" / "a.parquet")
        third = world.run(server, output=bucket.output, source=source)
    assert third.requests == 0
    assert bucket.rows().height == 40
    assert set(bucket.names("labeled/")) == {*stored.values(), f"labeled/{third.run_id}/a.parquet"}


def test_files_that_no_manifest_names_go_after_a_while(world, bucket, monkeypatch):
    """A labeled file that was replaced is taken away once no manifest of the last day names it."""
    monkeypatch.setattr(working, "KEPT_SECONDS", -1.0)
    with Endpoint() as server:
        for count in (20, 40, 60):
            world.has(TEXTS[:count])
            record = world.run(server, output=bucket.output)
    assert f"labeled/{record.run_id}/source.parquet" in bucket.names("labeled/")
    assert len(bucket.names("labeled/")) == 2
    assert bucket.rows().height == 60


def test_one_run_at_a_time_on_whatever_machine(world, bucket):
    """An output that another machine's run holds is refused, by its words and before anything is spent."""
    world.has(TEXTS)
    with Endpoint() as server, held(bucket.store, "run 1, process 7", ttl_seconds=6.0):
        with pytest.raises(JobRefused, match=r"run 1, process 7 on .* is writing into 's3://"):
            world.run(server, output=bucket.output)
        assert server.requests == 0


def test_a_run_that_has_lost_its_hold_publishes_nothing(world, bucket):
    """A run that slept while another took over ends as failed, and what the other has published stays."""
    world.has(TEXTS)
    with Endpoint() as server:
        world.run(server, output=bucket.output)
        before = bucket.manifest()

        class Overtaken(Endpoint):
            def reply(self, call):
                if call.number == 1:
                    values = bucket.manifest()
                    values["fence"] += 1
                    bucket.store.put("_manifest.json", json.dumps(values | {"nonce": "another's"}).encode())
                return completion(call)

        world.has([*TEXTS, "match of another day"])
        with Overtaken() as late, pytest.raises(CannotWrite, match="another run has published meanwhile"):
            world.run(late, output=bucket.output)
    after = bucket.manifest()
    assert (after["run_id"], after["files"]) == (before["run_id"], before["files"])
    assert after["nonce"] == "another's"


def test_a_bucket_that_is_not_there_is_a_sentence(world, bucket):
    """No such bucket, keys that are refused, and no endpoint at all are each a sentence before anything is spent."""
    world.has(TEXTS)
    with Endpoint() as server:
        output = {**bucket.output, "path": "s3://no-such-bucket/out"}
        with pytest.raises(JobRefused, match="there is no such"):
            world.run(server, output=output)
        with pytest.raises(JobRefused, match="can't be reached: the connection was refused"):
            world.run(server, output={**output, "storage": {"endpoint": "http://127.0.0.1:9"}})
        assert server.requests == 0


class Timed(Endpoint):
    """Takes a while, and knows when it was asked which text."""

    def __init__(self):
        super().__init__()
        self.asked = defaultdict(list)

    def reply(self, call):
        """The right label, in a tenth of a second."""
        self.asked[call.text].append(time.monotonic())
        threading.Event().wait(0.1)
        return completion(call)


@pytest.mark.parametrize("kills", [3, pytest.param(20, marks=pytest.mark.system)])
def test_machines_that_die_with_their_disks_lose_a_few_seconds(mortals, store_server, tmp_path, kills):
    """After kill -9 and the loss of the disk no row is lost, and nothing is asked again but what was in flight or answered in the last seconds."""
    server = store_server("seaweedfs")
    bucket = Bucket(server.bucket().child("out"))
    texts = [f"match {number}" for number in range(120 * kills)]
    pl.DataFrame({"id": range(len(texts)), "text": texts}).write_parquet(tmp_path / "source.parquet")
    out = f'path = "{bucket.address}"\nstorage = {{endpoint = "{bucket.address.storage.endpoint}"}}\n'
    (tmp_path / "job.toml").write_text(CRASH_JOB.replace('path = "out"\n', out))
    dice, killed = random.Random(5), []
    with Timed() as provider:
        for number in range(kills):
            cache = tmp_path / f"machine-{number}"
            kill_at = provider.requests + dice.randint(20, 200)
            pid = mortals.start(tmp_path, provider.base_url, XDG_CACHE_HOME=str(cache), **server.variables)
            while provider.requests < kill_at and not mortals.has_ended():
                time.sleep(0.01)
            os.kill(pid, signal.SIGKILL)
            killed.append(time.monotonic())
            mortals.wait()
            shutil.rmtree(cache, ignore_errors=True)
        mortals.start(tmp_path, provider.base_url, XDG_CACHE_HOME=str(tmp_path / "last"), **server.variables)
        assert mortals.wait() == 0
        record = json.loads((tmp_path / "stdout.txt").read_text())
        assert (record["status"], record["rows_labeled"]) == ("completed", len(texts))
        # A flush that had begun takes its time on a busy machine.
        window = working.FLUSH_SECONDS + 5.0
        for moments in provider.asked.values():
            for earlier, later in pairwise(moments):
                death = min((moment for moment in killed if earlier - 0.5 < moment < later), default=None)
                assert death is None or death - earlier < window
                assert death is not None, "it was asked again though nobody had died"
    rows = bucket.rows().sort("id")
    assert rows["label"].to_list() == ["sport"] * len(texts)
    labels = bucket.ledger().filter(pl.col("label").is_not_null())
    assert labels["row_key"].n_unique() == labels.height == len(texts)
