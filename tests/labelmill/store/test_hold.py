"""The hold on an output in a bucket: one run at a time, on whatever machine, and what becomes of it when one dies or sleeps."""

import json
import os
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from servers.store_proxy import LOST_REPLY, LOST_REQUEST, StoreProxy

from labelmill.job.model import Storage
from labelmill.store import hold as holds
from labelmill.store.address import StoreAddress
from labelmill.store.hold import NAME, HoldLost, held
from labelmill.store.lock import LockedError
from labelmill.store.objects import BucketStore, StoreError

TTL = 3.0
HOLDER = """
import sys, time
from labelmill.job.model import Storage
from labelmill.store.address import StoreAddress
from labelmill.store.hold import held
from labelmill.store.objects import BucketStore

store = BucketStore(StoreAddress.of(sys.argv[1], Storage(endpoint=sys.argv[2])))
with held(store, "run 1", ttl_seconds=float(sys.argv[3])) as hold:
    print("held", flush=True)
    sys.stdin.readline()
    print(hold.lost, flush=True)
    try:
        hold.check()
    except OSError as error:
        print(type(error).__name__, flush=True)
"""


@pytest.fixture(params=["moto", "seaweedfs"])
def address(request, store_server):
    """A bucket."""
    return store_server(request.param).bucket()


@pytest.fixture
def store(address):
    """The bucket as a store."""
    return BucketStore(address)


@pytest.fixture
def holder(address):
    """Another process that holds the bucket; it ends with the test."""
    command = [sys.executable, "-c", HOLDER, str(address), address.storage.endpoint, str(TTL)]
    child = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert child.stdout.readline() == "held\n"
    yield child
    child.kill()
    child.communicate()


def test_one_holds_and_the_next_follows(store):
    """While one holds, others are refused by its words; the next gets a larger fence, at once."""
    with held(store, "run 1", TTL) as first:
        with pytest.raises(LockedError, match="run 1 on "), held(store, "run 2", TTL):
            pass
        first.check()
    began = time.monotonic()
    with held(store, "run 2", TTL) as second:
        assert second.fence > first.fence
    assert time.monotonic() - began < TTL


def test_a_dead_process_of_this_machine_holds_nothing(store, holder):
    """After kill -9 on the same machine nobody waits."""
    holder.send_signal(signal.SIGKILL)
    holder.wait()
    began = time.monotonic()
    with held(store, "run 2", TTL * 100) as second:
        assert second.fence == 2
    assert time.monotonic() - began < TTL * 10


def test_a_dead_machine_is_waited_for(store, holder, monkeypatch):
    """A process that may run elsewhere is waited for its whole time, and no longer."""
    monkeypatch.setattr(holds, "_kernel", lambda: "another machine")
    holder.send_signal(signal.SIGKILL)
    holder.wait()
    began = time.monotonic()
    with held(store, "run 2", TTL) as second:
        assert second.fence == 2
        assert time.monotonic() - began >= TTL * 0.9


def test_a_sleeper_has_lost_it(store, holder, monkeypatch):
    """A holder that was stopped beyond its time has lost it when it wakes, and leaves the next one's hold alone."""
    monkeypatch.setattr(holds, "_kernel", lambda: "another machine")
    holder.send_signal(signal.SIGSTOP)
    with held(store, "run 2", TTL) as second:
        holder.send_signal(signal.SIGCONT)
        holder.stdin.write("\n")
        holder.stdin.flush()
        said, _ = holder.communicate()
        assert "HoldLost" in said
        second.check()
        assert json.loads(store.read(NAME).content)["fence"] == second.fence == 2


def test_of_two_that_wait_one_wins(store, holder, monkeypatch):
    """Of several that wait for a dead holder, one gets its place, and the others are refused."""
    monkeypatch.setattr(holds, "_kernel", lambda: "another machine")
    holder.send_signal(signal.SIGKILL)
    holder.wait()

    def take(number):
        try:
            with held(store, f"run {number}", TTL) as mine:
                time.sleep(TTL)
                return mine.fence
        except LockedError:
            return None

    with ThreadPoolExecutor(3) as pool:
        fences = list(pool.map(take, range(3)))
    assert [fence for fence in fences if fence is not None] == [2]


def test_heartbeats_whose_replies_are_lost_are_heartbeats(store_server):
    """A hold outlives replies that were cut, and a store that stays away longer than two thirds of its time ends it."""
    server = store_server("moto")
    with StoreProxy(server.endpoint) as proxy:
        store = BucketStore(
            StoreAddress.of(str(server.bucket()), Storage(endpoint=proxy.endpoint)), holds_patience()
        )
        with held(store, "run 1", TTL) as hold:
            proxy.fail("PUT", *[LOST_REPLY] * 4)
            seen = {store.read(NAME).token}
            while len(seen) < 6:
                seen.add(store.read(NAME).token)
                assert hold.lost is None
            for method in ("GET", "PUT"):
                proxy.fail(method, *[LOST_REQUEST] * 9_999)
            until = time.monotonic() + 60
            while hold.lost is None:
                assert time.monotonic() < until
                time.sleep(0.01)
            with pytest.raises(HoldLost, match="could not be renewed"):
                hold.check()
            proxy.faults.clear()


def holds_patience():
    """What a heartbeat may take in these tests."""
    from labelmill.store.objects import Patience  # noqa: PLC0415

    return Patience(answer_seconds=0.3, retries=0, total_seconds=0.5)


@pytest.mark.parametrize("content", [b"{}", b"[]", b"x", b'{"format": 9, "holder": "run 7"}'])
def test_a_hold_of_another_kind_is_left_alone(store, content):
    """What this version does not know as a hold is not taken over: someone may hold it."""
    store.put(NAME, content)
    with pytest.raises(StoreError, match="none that this version"), held(store, "run 1", TTL):
        pass
    assert store.read(NAME).content == content


def test_a_process_is_told_from_the_next_of_its_number():
    """A process is alive by its number and its start; another of the same number is another."""
    me = holds._Owner.me("me")
    assert not me.is_dead
    assert holds._Owner(me.words, me.kernel, me.pid, "1").is_dead
    assert not holds._Owner(me.words, "elsewhere", me.pid, "1").is_dead
    assert me.pid == os.getpid()
