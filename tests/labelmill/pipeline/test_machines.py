"""Chunks on other machines: each carries its lease, and whatever dies, what is true stands in the output's store."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import polars as pl
import pytest
from machines import MachineRunner, begun, killed_at_random, sent_by
from servers.base import Endpoint, completion

from labelmill.pipeline.label import label
from labelmill.run import orders

pytestmark = pytest.mark.slow

PRICE = {"input_usd_per_mtok": 100.0, "output_usd_per_mtok": 100.0}


class Slow(Endpoint):
    """Answers rightly after a while."""

    def __init__(self, seconds=0.05):
        super().__init__()
        self.seconds = seconds

    def reply(self, call):
        """The right label, in a while."""
        time.sleep(self.seconds)
        return completion(call)


@pytest.fixture
def quick(monkeypatch):
    """Who is not heard of for three seconds is given up."""
    monkeypatch.setattr(orders, "TTL_SECONDS", 3.0)


def texts(count):
    """So many texts, about both labels."""
    return [f"{'match' if number % 2 else 'bank'} {number}" for number in range(count)]


def run(world, server, harm=lambda _process, _number: None, **sections):
    """Run the world's job with its chunks on machines; returns the record and the runner."""
    job = world.job(**sections)
    runner = MachineRunner(job, world.folder, harm)
    record = label(job, server.base_url, runner=runner)
    world.records.append(record)
    return record, runner


def test_machines_label_and_bill_as_one_process_does(world):
    """Labels, ledger and bill are the server's own count, none is asked twice, and only the word that it is over stays."""
    world.has(texts(120))
    with Endpoint() as server:
        record, runner = run(world, server, run={"workers": 2, "rows_per_chunk": 40}, price=PRICE)
        assert record.status == "completed"
        assert server.requests == 120
        assert server.peak_in_flight <= 8
        assert set(server.calls_of.values()) == {1}
        world.assert_labels(120)
        world.assert_bill_is(server)
        assert len(runner.processes) == 3
    folder = world.folder / "out" / "runs" / record.run_id
    left = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    assert {name for name in left if "chunk" in name or "pending" in name or "beat" in name} == set()
    assert json.loads((folder / "stop.json").read_text())["reason"] == "over"


def test_an_order_is_data_without_a_key_or_a_text(world):
    """What travels holds no key and no text, and reads back as it was written."""
    world.has(["match of a secret customer", "bank of another"])
    with Endpoint() as server:
        _, runner = run(world, server, run={"workers": 2})
        (order,) = runner.orders
        told = order.to_json()
        assert orders.Order.from_json(told) == order
        assert os.environ["OPENAI_API_KEY"] not in told
        assert "customer" not in told


def test_what_runs_twice_asks_once(world):
    """An engine that runs an order again, while it is at work and after it is done, causes no request."""
    world.has(texts(60))
    seconds = []

    def twice(_process, number):
        order = runner.orders[number]
        path = world.folder / f"order-{number}.json"

        def again():
            while not begun(order, world.folder / "out") and _process.poll() is None:
                time.sleep(0.01)
            asked = [sys.executable, "-m", "labelmill.run.machine", str(path)]
            env = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
            seconds.append(subprocess.run(asked, env=env, capture_output=True, text=True, check=False))

        thread = threading.Thread(target=again)
        thread.start()
        threads.append(thread)

    threads = []
    with Slow() as server:
        job = world.job(run={"workers": 2, "rows_per_chunk": 30}, price=PRICE)
        runner = MachineRunner(job, world.folder, twice)
        world.records.append(label(job, server.base_url, runner=runner))
        for thread in threads:
            thread.join()
        # And once more when all is over.
        asked = [sys.executable, "-m", "labelmill.run.machine", str(world.folder / "order-0.json")]
        late = subprocess.run(asked, capture_output=True, text=True, check=False)
        assert server.requests == 60
        assert set(server.calls_of.values()) == {1}
        world.assert_bill_is(server)
    assert len(seconds) == 2
    assert all("ChunkTaken" in one.stderr or one.returncode == 0 for one in seconds)
    assert "ChunkTaken" in late.stderr


def test_a_future_that_fails_decides_nothing(world):
    """A task that is said to have failed, and left a receipt, is done."""

    class Pessimist(MachineRunner):
        def submit(self, order):
            done = super().submit(order)
            done.result()
            failed = type(done)()
            failed.set_exception(RuntimeError("the worker was killed"))
            return failed

    world.has(texts(20))
    with Endpoint() as server:
        job = world.job(run={"workers": 2}, price=PRICE)
        record = label(job, server.base_url, runner=Pessimist(job, world.folder))
        assert (record.status, record.rows_labeled, server.requests) == ("completed", 20, 20)


@pytest.mark.system
@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize("seed", [1, 2])
def test_killed_machines_lose_nothing_and_cost_what_was_in_flight(world, seed):
    """Workers killed at random moments: all rows are labeled in the same run, and only what was in flight is asked again."""
    world.has(texts(400))
    harm = killed_at_random(seed, 3)
    with Slow(0.2) as server:
        record, runner = run(world, server, harm, run={"workers": 2, "rows_per_chunk": 100}, price=PRICE)
        killed = sum(process.returncode == -signal.SIGKILL for process in runner.processes)
        assert record.status == "completed"
        assert killed >= 1
        world.assert_labels(400)
        # A worker has half of the eight requests in flight, and all of them once the other has nothing to do.
        assert server.requests - 400 <= 8 * killed
        assert record.requests >= server.requests


@pytest.mark.system
@pytest.mark.usefixtures("quick")
def test_a_stalled_machine_pays_for_nothing_once_it_wakes(world):
    """A worker that is stopped beyond its time is replaced; once it wakes it sends nothing, and adds nothing to the ledger."""
    world.has(texts(120))
    out, stopped = world.folder / "out", []

    def stall(process, number):
        if number:
            return

        def wait():
            while sent_by(runner.orders[0], out) < 20:
                time.sleep(0.01)
            process.send_signal(signal.SIGSTOP)
            stopped.append(process)

        threading.Thread(target=wait, daemon=True).start()

    with Slow(0.2) as server:
        job = world.job(run={"workers": 2, "rows_per_chunk": 60}, price=PRICE)

        class Waking(MachineRunner):
            woken = None

            def submit(self, order):
                if len(self.processes) >= 2 and stopped and self.woken is None:
                    # Its replacement goes out: the old one wakes beside it.
                    self.woken = stopped[0]
                    stopped[0].send_signal(signal.SIGCONT)
                return super().submit(order)

        runner = Waking(job, world.folder, stall)
        record = label(job, server.base_url, runner=runner)
        assert runner.woken is not None
        assert record.status == "completed"
        world.assert_labels(120)
        assert server.requests - 120 <= 8
        ledger = world.ledger
        assert ledger.filter(pl.col("label").is_not_null()).height == 120
        assert record.requests == server.requests


@pytest.mark.system
@pytest.mark.parametrize("max_cost_usd", [0.25, 0.4])
def test_a_budget_ends_a_run_in_the_middle(world, max_cost_usd):
    """What machines spend is never more than the budget, and the run ends within a request or two of it."""
    world.has(texts(200))
    run_section = {"workers": 2, "rows_per_chunk": 50}
    with Endpoint() as server:
        record, _ = run(world, server, run={**run_section, "max_cost_usd": max_cost_usd}, price=PRICE)
        assert record.status == "budget_reached"
        assert 0 < record.rows_labeled < 200
        assert 0.8 * max_cost_usd < record.cost_usd <= max_cost_usd
        rest, _ = run(world, server, run=run_section, price=PRICE)
        assert (rest.status, server.requests) == ("completed", 200)
        world.assert_labels(200)
        world.assert_bill_is(server)


@pytest.mark.usefixtures("quick")
def test_a_stop_reaches_machines(world):
    """A run that is stopped tells its workers, which keep what was in flight and send nothing more."""
    world.has(texts(300))

    class Broken(Slow):
        def reply(self, call):
            if call.number == 60:
                runner.context.stop_signal.stop(orders.RunStopped("cancelled", "somebody wants it so"))
            return super().reply(call)

    class Watching(MachineRunner):
        def watch(self, context):
            self.context = context
            return super().watch(context)

    with Broken(0.2) as server:
        job = world.job(run={"workers": 2, "rows_per_chunk": 150}, price=PRICE)
        runner = Watching(job, world.folder)
        record = label(job, server.base_url, runner=runner)
        world.records.append(record)
        assert record.status == "cancelled"
        assert 60 <= server.requests < 300
        world.assert_labels(server.requests, pending=300 - server.requests)
        world.assert_bill_is(server)


def test_a_run_waits_for_the_machines_of_a_dead_one(world):
    """Where the holder is killed, its workers stop, and what they had in flight is kept for the run that takes over."""
    world.has(texts(200))
    job = world.job(run={"workers": 2, "rows_per_chunk": 100}, price=PRICE)
    job_file = world.folder / "job.json"
    job_file.write_text(job.model_dump_json())
    with Slow(0.2) as server:
        asked = [
            sys.executable,
            str(Path(__file__).with_name("machines.py")),
            str(job_file),
            server.base_url,
            "3",
        ]
        env = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
        holder = subprocess.Popen(asked, env=env, stderr=subprocess.DEVNULL)
        while server.requests < 40:
            assert holder.poll() is None
            time.sleep(0.01)
        holder.kill()
        holder.wait()
        record, _ = run(world, server, run={"workers": 2, "rows_per_chunk": 100}, price=PRICE)
        assert record.status == "completed"
        world.assert_labels(200)
        assert server.requests == 200
        assert world.ledger["requests"].sum() == 200
    stops = [json.loads(path.read_text()) for path in (world.folder / "out" / "runs").glob("*/stop.json")]
    assert {stop["message"] for stop in stops} == {"another run has taken over", "the run is over"}
