"""What tells a machine that lives from one that doesn't, and what of an order travels."""

import time

import pytest

from labelmill.errors import RunStopped
from labelmill.run import orders
from labelmill.run.orders import GONE, LeaseNames, Pulse, Receipt
from labelmill.store.objects import FolderStore


@pytest.fixture
def clock(monkeypatch):
    """A clock that goes as it is told."""

    class Clock:
        now = 100.0

    told = Clock()
    monkeypatch.setattr(time, "monotonic", lambda: told.now)
    return told


def test_a_machine_is_gone_once_its_heartbeat_has_stayed_the_same_for_its_time(tmp_path, clock):
    """By the looker's own clock; a heartbeat that changes is a sign of life, whatever it says."""
    store = FolderStore(tmp_path)
    store.put("beat", b'{"beat": 1}')
    pulse = Pulse(store, "beat", 30)
    for _ in range(3):
        assert pulse.look() == {"beat": 1}
        assert pulse.is_alive
        clock.now += 10
    pulse.look()
    assert not pulse.is_alive
    store.put("beat", b'{"beat": 2}')
    pulse.look()
    assert pulse.is_alive


def test_who_stood_still_himself_takes_nobody_for_dead(tmp_path, clock):
    """While a machine slept, others may have beaten in vain: it begins to count anew."""
    pulse = Pulse(FolderStore(tmp_path), "beat", 30)
    pulse.look()
    clock.now += 3600
    pulse.look()
    assert pulse.is_alive


def test_a_machine_that_never_beats_is_gone_too(tmp_path, clock):
    """It may have died before its first heartbeat."""
    pulse = Pulse(FolderStore(tmp_path), "beat", 30)
    for _ in range(4):
        pulse.look()
        clock.now += 10
    pulse.look()
    assert not pulse.is_alive


def test_a_receipt_reads_back_as_it_was_written():
    """Amounts to the last digit."""
    receipt = Receipt("00001-ab", "n", stopped=(GONE, "gone"), tries={"v1:00": 2}, notices=("a sentence",))
    assert Receipt.from_bytes(receipt.to_bytes()) == receipt


def test_leases_share_no_name():
    """Each object of a lease is its own, so that no key is written by two."""
    names = LeaseNames("run")
    told = [of(lease) for lease in ("1", "2") for of in (names.attempt, names.receipt, names.beat)]
    assert len(set(told)) == len(told)
    assert all(name.startswith(names.leases) for name in told)
    assert orders.stop_content(RunStopped("cancelled", "so")) == b'{"reason": "cancelled", "message": "so"}'
