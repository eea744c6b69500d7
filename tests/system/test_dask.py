"""Chunks on the workers of a Dask cluster that exists, as processes: how fast, and what it costs when they die or stall."""

import os
import random
import signal
import subprocess
import sys
import threading
import time
from contextlib import contextmanager

import pytest
from prefect.settings import PREFECT_API_URL, temporary_settings
from servers.base import Endpoint, completion
from world import KEY, World

from flows.label import label_dataset
from labelmill.errors import JobRefused
from labelmill.run import orders
from practice import PracticeSettings

pytestmark = pytest.mark.system

PRICE = {"input_usd_per_mtok": 100.0, "output_usd_per_mtok": 100.0}
KILLS = 20


class HalfASecond(Endpoint):
    """Answers rightly after half a second."""

    def reply(self, call):
        """The right label, late."""
        time.sleep(0.5)
        return completion(call)


class Cluster:
    """A scheduler and worker processes, which can be killed and replaced."""

    def __init__(self, folder):
        self.file = folder / "scheduler.json"
        self.address, self.workers = None, []
        self.scheduler = self._start("dask_scheduler", "--port", "0", "--host", "127.0.0.1")
        while not self.file.exists() or not self.file.read_text().strip():
            assert self.scheduler.poll() is None
            time.sleep(0.05)

    def add_worker(self):
        """Start a worker."""
        self.workers.append(
            self._start("dask_worker", "--nthreads", "1", "--no-nanny", "--host", "127.0.0.1")
        )
        return self.workers[-1]

    def close(self):
        """End all of them."""
        for process in [*self.workers, self.scheduler]:
            process.send_signal(signal.SIGCONT)
            process.kill()
            process.wait()

    def _start(self, module, *arguments):
        return subprocess.Popen(
            [
                sys.executable,
                "-m",
                f"distributed.cli.{module}",
                "--scheduler-file",
                str(self.file),
                *arguments,
                "--no-dashboard",
            ],
            env=os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )


@contextmanager
def cluster_of(folder, workers):
    """A cluster with so many workers that have come up, and its address."""
    distributed = pytest.importorskip("distributed")
    cluster = Cluster(folder)
    try:
        for _ in range(workers):
            cluster.add_worker()
        with distributed.Client(scheduler_file=str(cluster.file), set_as_default=False) as client:
            client.wait_for_workers(workers, timeout=60)
            cluster.address = client.scheduler.address
        yield cluster
    finally:
        cluster.close()


@pytest.fixture
def world(tmp_path, job_of, monkeypatch):
    """A job in an empty folder; who is not heard of for five seconds is given up."""
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    monkeypatch.setattr(orders, "TTL_SECONDS", 5.0)
    return World(tmp_path, job_of)


def texts(count, about=""):
    """So many texts, about both labels."""
    return [f"{'match' if number % 2 else 'bank'} {about}{number}" for number in range(count)]


def test_two_workers_label_nearly_twice_as_much(world, tmp_path):
    """At a provider of half a second, two workers with sixteen requests each label 1.8 times the texts a second of one."""
    with HalfASecond() as server, cluster_of(tmp_path, 2) as cluster:
        speeds = {}
        for workers in (1, 2, 1, 2):
            count = 640 * workers
            world.has(texts(count, f"{len(world.records)} of "))
            run = {
                "runner": "dask",
                "runner_address": cluster.address,
                "workers": workers,
                "max_concurrency": 16 * workers,
                "rows_per_chunk": 320,
            }
            started = time.monotonic()
            assert world.run(server, run=run).status == "completed"
            # The best of each: others use the machine too.
            speeds[workers] = max(speeds.get(workers, 0.0), count / (time.monotonic() - started))
        assert speeds[2] >= 1.8 * speeds[1], speeds


def test_twenty_kills_lose_nothing(world, tmp_path):
    """Of workers killed at random moments and replaced, nothing is lost, and only what was in flight is asked again."""
    world.has(texts(2000))
    moments = random.Random(16)
    with HalfASecond() as server, cluster_of(tmp_path, 2) as cluster:
        ended, kills = threading.Event(), []

        def kill_on():
            while len(kills) < KILLS and not ended.wait(moments.uniform(1.0, 6.0)):
                victim = moments.choice([worker for worker in cluster.workers if worker.poll() is None])
                victim.kill()
                kills.append(server.requests)
                cluster.add_worker()

        killer = threading.Thread(target=kill_on)
        killer.start()
        run = {"runner": "dask", "runner_address": cluster.address, "workers": 2, "rows_per_chunk": 100}
        try:
            record = world.run(server, run=run, price=PRICE)
        finally:
            ended.set()
            killer.join()
        assert record.status == "completed"
        world.assert_labels(2000)
        assert server.requests - 2000 <= 8 * len(kills)
        assert len(kills) == KILLS


def test_a_worker_stalled_beyond_its_time_asks_nothing_twice_beyond_what_was_in_flight(world, tmp_path):
    """A worker that is stopped until its lease is given up, and wakes, pays for nothing; its chunk is done by another."""
    world.has(texts(300))
    with HalfASecond() as server, cluster_of(tmp_path, 2) as cluster:

        def stall():
            while server.requests < 60:
                time.sleep(0.01)
            cluster.workers[0].send_signal(signal.SIGSTOP)
            ended.wait(12)
            cluster.workers[0].send_signal(signal.SIGCONT)

        ended = threading.Event()
        stalling = threading.Thread(target=stall)
        stalling.start()
        run = {"runner": "dask", "runner_address": cluster.address, "workers": 2, "rows_per_chunk": 100}
        record = world.run(server, run=run, price=PRICE)
        ended.set()
        stalling.join()
        assert record.status == "completed"
        world.assert_labels(300)
        assert server.requests - 300 <= 8


def test_a_limit_per_minute_is_used_and_kept(world, tmp_path, practice):
    """Two workers use 95% of a limit per minute that the job tells, with at most 1% turned away."""
    limit, count = 1200, 1800
    practice.configure(PracticeSettings(latency_seconds=0.3, requests_per_minute=limit, burst_seconds=5))
    practice.reset()
    world.has(texts(count))
    with cluster_of(tmp_path, 2) as cluster:
        run = {
            "runner": "dask",
            "runner_address": cluster.address,
            "workers": 2,
            "rows_per_chunk": 450,
            "max_concurrency": 32,
            "max_requests_per_minute": limit,
        }
        record = world.run(practice, run=run)
        assert record.rows_labeled == count
        answered = world.ledger["answered_at_utc"]
        minutes = (answered.max() - answered.min()).total_seconds() / 60
        assert practice.totals()["requests"] <= 1.01 * count
        assert count / minutes >= 0.95 * limit


def test_without_an_address_a_run_has_a_cluster_of_its_own(world):
    """It is started for the run, and gone with it."""
    world.has(texts(60))
    with HalfASecond() as server:
        record = world.run(server, run={"runner": "dask", "workers": 2, "rows_per_chunk": 30}, price=PRICE)
        assert (record.status, server.requests) == ("completed", 60)
        world.assert_labels(60)
        world.assert_bill_is(server)


def test_a_scheduler_that_is_not_there_is_a_sentence(world):
    """Nothing is asked."""
    world.has(texts(10))
    with HalfASecond() as server:
        address = "tcp://127.0.0.1:9"
        with pytest.raises(JobRefused, match="no Dask scheduler answers at"):
            world.run(server, run={"runner": "dask", "runner_address": address})
        assert server.requests == 0


def test_a_flow_shows_the_same_steps(world, tmp_path, prefect_server):
    """With a server the run is the same flow, whose chunks are task runs, while Dask's workers ask."""
    world.has(texts(60))
    with (
        HalfASecond() as server,
        cluster_of(tmp_path, 2) as cluster,
        temporary_settings({PREFECT_API_URL: prefect_server}),
    ):
        run = {"runner": "dask", "runner_address": cluster.address, "workers": 2, "rows_per_chunk": 30}
        state = label_dataset(world.job(run=run, price=PRICE), server.base_url, return_state=True)
        assert state.is_completed()
        assert server.requests == 60
        world.assert_labels(60)
