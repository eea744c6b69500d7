"""What networks and stores do to writes: after each that was refused, it is ours, absent or another's, and told right."""

import traceback

import pytest
from servers.store_proxy import (
    BROKEN_AFTER,
    BROKEN_BEFORE,
    BUSY,
    CONFLICT,
    FORBIDDEN,
    LOST_REPLY,
    LOST_REQUEST,
    StoreProxy,
)

from labelmill.job.model import Storage
from labelmill.store.address import StoreAddress
from labelmill.store.objects import BucketStore, Patience, StoreError

FAULTS = [BROKEN_AFTER, BROKEN_BEFORE, BUSY, CONFLICT, LOST_REPLY, LOST_REQUEST]


@pytest.fixture(params=["moto", "seaweedfs"])
def proxy(request, store_server):
    """A proxy before a server of objects, with the address of a bucket through it as `address`."""
    server = store_server(request.param)
    with StoreProxy(server.endpoint) as proxy:
        proxy.address = StoreAddress.of(str(server.bucket()), Storage(endpoint=proxy.endpoint))
        yield proxy


@pytest.fixture
def store(proxy):
    """The bucket through the proxy."""
    return BucketStore(proxy.address)


@pytest.mark.parametrize("fault", FAULTS, ids=str)
@pytest.mark.parametrize("times", [1, 2])
def test_a_create_that_met_a_fault_is_told_right(proxy, store, fault, times):
    """An object that was created under faults is there and ours; one of another's that was there stays, and is told."""
    proxy.fail("PUT", *[fault] * times)
    assert store.create("ours", b"one")
    assert store.read("ours").content == b"one"
    proxy.fail("PUT", *[fault] * times)
    assert not store.create("ours", b"two")
    assert store.read("ours").content == b"one"


@pytest.mark.parametrize("fault", FAULTS, ids=str)
@pytest.mark.parametrize("times", [1, 2])
def test_a_swap_that_met_a_fault_is_told_right(proxy, store, fault, times):
    """A swap that won under faults gives the token of what is there; one that is late has changed nothing."""
    first = store.swap("a", b"one", None)
    proxy.fail("PUT", *[fault] * times)
    second = store.swap("a", b"two", first)
    assert store.read("a") == (b"two", second)
    proxy.fail("PUT", *[fault] * times)
    assert store.swap("a", b"three", first) is None
    assert store.read("a").content == b"two"


def test_what_is_refused_is_told_in_our_words(proxy, store):
    """A refusal is a clause of ours: no address, body or key of the library's words is in it, and nothing is tried again."""
    proxy.fail("PUT", FORBIDDEN)
    before = proxy.counts["PUT"]
    with pytest.raises(StoreError) as error:
        store.create("a", b"one")
    assert error.value.strerror == "the store refuses access (403): these keys may not do that"
    assert proxy.counts["PUT"] == before + 1
    proxy.fail("GET", *[FORBIDDEN] * 9)
    with pytest.raises(StoreError) as error:
        store.read("a")
    assert "SECRET" not in "".join([repr(error.value), *traceback.format_exception(error.value)])


def test_an_absent_bucket_is_told_at_once(proxy):
    """Where there is no bucket, that is said without trying again, and in our words."""
    absent = BucketStore(StoreAddress.of("s3://no-such-bucket/x", proxy.address.storage))
    before = proxy.counts["PUT"]
    with pytest.raises(StoreError, match="there is no such") as error:
        absent.create("a", b"one")
    assert proxy.counts["PUT"] == before + 1
    with pytest.raises(StoreError, match="there is no such"):
        absent.put("a", b"one")
    assert "<" not in "".join(traceback.format_exception(error.value))


def test_a_store_that_stays_away_is_waited_for_no_longer_than_told(proxy):
    """A store that never answers well costs the time it was given, and is then a sentence."""
    store = BucketStore(proxy.address, Patience(answer_seconds=1.0, retries=1, total_seconds=2.0))
    proxy.fail("PUT", *[BUSY] * 99)
    proxy.fail("GET", *[BUSY] * 99)
    with pytest.raises(StoreError, match="the store answered 503"):
        store.create("a", b"one")
