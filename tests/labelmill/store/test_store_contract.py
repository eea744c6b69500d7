"""What every store of objects promises, a folder and a bucket alike."""

import os
from concurrent.futures import ThreadPoolExecutor

import pytest
from servers.gcs import gcs

from labelmill.job.model import Storage
from labelmill.store.address import StoreAddress
from labelmill.store.objects import BucketStore, FolderStore, broken_promise

STORES = ["folder", "moto", "seaweedfs", "azurite", "gcs"]


@pytest.fixture(params=STORES)
def store(request, tmp_path, store_server):
    """A store with nothing in it."""
    if request.param == "folder":
        yield FolderStore(tmp_path / "objects")
        return
    if request.param == "gcs":
        with gcs() as server:
            yield BucketStore(StoreAddress.of("gs://bucket/out/news", Storage(endpoint=server.endpoint)))
        return
    yield BucketStore(store_server(request.param).bucket().child("out/news"))


def test_what_is_put_is_read(store):
    """What was put under a name is read, listed and fetched from there, until it is taken away."""
    content = os.urandom(1000)
    entry = store.put("ledger/a b/ä+%=.parquet", content)
    held = store.read("ledger/a b/ä+%=.parquet")
    assert held.content == content
    (listed,) = store.list("ledger/")
    assert (listed.name, listed.size) == ("ledger/a b/ä+%=.parquet", 1000)
    assert listed.stamp == store.head("ledger/a b/ä+%=.parquet").stamp == entry.stamp
    assert store.read_range("ledger/a b/ä+%=.parquet", 10, 20) == content[10:30]
    store.remove("ledger/a b/ä+%=.parquet")
    store.remove("ledger/a b/ä+%=.parquet")
    assert store.read("ledger/a b/ä+%=.parquet") is None
    assert store.head("ledger/a b/ä+%=.parquet") is None
    assert list(store.list()) == []


@pytest.mark.parametrize("size", [0, 1, 20 * 2**20 + 7])
def test_a_file_arrives_whole(store, tmp_path, size):
    """A file of any size is written and fetched whole, a large one in parts."""
    source, target = tmp_path / "source", tmp_path / "there" / "target"
    source.write_bytes(os.urandom(size))
    store.put("large", source)
    assert store.fetch("large", target).size == size
    assert target.read_bytes() == source.read_bytes()
    assert store.fetch("absent", tmp_path / "absent") is None
    assert not (tmp_path / "absent").exists()


def test_only_the_first_creates(store):
    """An object is created once; who creates the same again has created it, and whoever comes with another has not."""
    assert store.create("a", b"one")
    assert store.create("a", b"one")
    assert not store.create("a", b"two")
    assert store.read("a").content == b"one"


def test_only_what_was_seen_is_swapped(store):
    """An object is swapped by the token of what is there, and by no other; an absent one by none."""
    first = store.swap("a", b"one", None)
    assert first == store.read("a").token
    assert store.swap("a", b"two", None) is None
    second = store.swap("a", b"two", first)
    assert second is not None
    assert store.swap("a", b"three", first) is None
    assert store.read("a") == (b"two", second)
    store.remove("a")
    assert store.swap("a", b"three", second) is None
    assert store.read("a") is None


def test_a_prefix_lists_what_begins_so(store):
    """A listing gives all whose names begin so, whether they are files of a folder or not."""
    names = ["runs/1/a", "runs/1/b", "runs/11/a", "runs.txt", "other"]
    for name in names:
        store.put(name, b"x")
    assert {entry.name for entry in store.list("runs/1")} == {"runs/1/a", "runs/1/b", "runs/11/a"}
    assert {entry.name for entry in store.list("runs/1/")} == {"runs/1/a", "runs/1/b"}
    assert {entry.name for entry in store.list("runs")} == {"runs/1/a", "runs/1/b", "runs/11/a", "runs.txt"}
    assert {entry.name for entry in store.list()} == set(names)
    assert list(store.list("absent/")) == []


@pytest.mark.parametrize("store", ["folder", "seaweedfs", "azurite", "gcs"], indirect=True)
def test_one_of_many_wins(store):
    """Of many who create one name with contents of their own, one does; of many who swap, none is lost."""
    with ThreadPoolExecutor(12) as pool:
        won = list(pool.map(lambda number: store.create("race", b"%d" % number), range(12)))
    assert sum(won) == 1
    assert store.read("race").content == b"%d" % won.index(True)


def test_a_store_keeps_what_a_run_relies_on(store):
    """Trying a store leaves nothing behind, and finds nothing wrong with one that holds to conditions."""
    assert broken_promise(store) is None
    assert list(store.list()) == []


def test_a_store_without_conditions_is_found_out(store_server):
    """A store that passes over conditions is told by trying it."""
    store = BucketStore(store_server("s3rver").bucket())
    assert broken_promise(store) == "it lets an object be created that is there already"
