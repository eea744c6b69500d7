"""Sources in a bucket: what is found there, what is read of it, and what the world does to it meanwhile."""

import traceback
from collections import Counter
from itertools import count
from uuid import uuid4

import polars as pl
import pytest
from buckets import Bucket, lose_the_disk
from hypothesis import given
from hypothesis import strategies as st
from servers.base import Endpoint, completion
from servers.gcs import gcs
from servers.store_proxy import FORBIDDEN, Fault, StoreProxy

from labelmill.check.output import store_mistakes
from labelmill.dataset.source import list_source
from labelmill.errors import CannotWrite, JobRefused
from labelmill.job.model import Output, Source, Storage
from labelmill.store.address import StoreAddress

pytestmark = pytest.mark.slow

EXPIRED = Fault(400, arrives=False, code="ExpiredToken")
TEXTS = [f"{'match' if number % 2 else 'bank'} {number}" for number in range(60)]


@pytest.fixture
def bucket(store_server):
    """A bucket of moto's."""
    return Bucket(store_server("moto").bucket())


@pytest.fixture(params=["moto", "azurite", "gcs"])
def cloud(request, store_server, monkeypatch, tmp_path):
    """A bucket of each cloud's, as far as they can be had on this machine."""
    if request.param == "gcs":
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
        with gcs() as server:
            yield Bucket(StoreAddress.of(f"gs://tests-{uuid4().hex}", Storage(endpoint=server.endpoint)))
        return
    yield Bucket(store_server(request.param).bucket())


def put(bucket, name, texts, **more):
    """Put a Parquet file of texts into a bucket."""
    frame = pl.DataFrame({"text": texts, **more}, schema_overrides={"text": pl.String})
    frame.write_parquet(f"{bucket.address}/{name}", storage_options=bucket.address.polars_options())


def source_of(bucket, path):
    """The section of a job that names a source in a bucket."""
    return {"path": f"{bucket.address}/{path}", "storage": bucket.output["storage"]}


@pytest.mark.parametrize(
    "name",
    [
        "news/date=2026-11-01/ä b%20+c.parquet",
        "news/a=2026-11-01%2000%3A00/x#y|z.parquet",
        "news/Why [Solar] {a}?.PARQUET",
    ],
)
def test_a_source_and_an_output_in_buckets(world, cloud, name):
    """A run reads from one bucket and writes into another: the same names, rows and columns, whatever is in the names."""
    bucket = cloud
    put(bucket, name, TEXTS, id=range(len(TEXTS)))
    output = {"path": f"{bucket.address}/out", "storage": bucket.output["storage"]}
    with Endpoint() as server:
        record = world.run(server, source=source_of(bucket, "news"), output=output)
        assert (record.status, record.rows_labeled, server.requests) == ("completed", 60, 60)
        lose_the_disk()
        again = world.run(server, source=source_of(bucket, "news"), output=output)
        assert (again.status, again.requests) == ("completed", 0)
    out = Bucket(bucket.address.child("out"))
    assert [file["path"] for file in out.manifest()["files"]] == [name.removeprefix("news/")]
    (file,) = out.manifest()["files"]
    assert file["stored_as"] == f"labeled/{record.run_id}/{file['path']}"
    rows = pl.read_parquet(
        f"{out.address}/{file['stored_as']}",
        storage_options=bucket.address.polars_options(),
        glob=False,
        hive_partitioning=False,
    )
    assert rows["id"].to_list() == list(range(60))
    assert rows["label"].to_list() == ["sport" if "match" in text else "money" for text in TEXTS]


def test_unchanged_files_cost_a_listing(world, bucket):
    """A run over thirty files that were labeled before lists them twice, and reads none; for tables around them a process looks once."""
    for number in range(30):
        put(bucket, f"news/{number:03d}.parquet", [TEXTS[number]])
    with StoreProxy(bucket.address.storage.endpoint) as store, Endpoint() as server:
        source = {"path": f"{bucket.address}/news", "storage": {"endpoint": store.endpoint}}
        world.run(server, source=source)
        store.counts.clear()
        again = world.run(server, source=source)
        assert (again.rows_reused, again.requests) == (30, 0)
        assert store.counts["LIST"] <= 2
        assert store.counts["GET"] == 0
        assert store.counts["HEAD"] <= 2


def test_a_file_that_is_replaced_meanwhile_is_merged_as_it_is_then(world, bucket):
    """Where a file changes between plan and merge, each row of the new one has its own label or none, and none has another's."""
    put(bucket, "news/a.parquet", TEXTS[:20])

    class Replacing(Endpoint):
        def reply(self, call):
            if call.number == 1:
                put(bucket, "news/a.parquet", [*TEXTS[10:20], "match of the day"])
            return completion(call)

    with Replacing() as server:
        record = world.run(server, source=source_of(bucket, "news"))
    rows = pl.read_parquet(world.folder / "out" / "labeled" / "a.parquet")
    assert rows["text"].to_list() == [*TEXTS[10:20], "match of the day"]
    assert rows["label_status"].to_list() == ["ok"] * 10 + ["pending"]
    assert rows["label"].to_list() == ["sport" if "match" in text else "money" for text in TEXTS[10:20]] + [
        None
    ]
    assert record.rows_pending == 1


def test_a_file_that_goes_meanwhile_is_left_out(world, bucket):
    """Where a file goes between plan and merge it is left out and named, and all others are published."""
    for name in ("a", "b"):
        put(bucket, f"news/{name}.parquet", TEXTS[:20] if name == "a" else TEXTS[20:])

    class Removing(Endpoint):
        def reply(self, call):
            if call.number == 1:
                bucket.store.remove("news/a.parquet")
            return completion(call)

    with Removing() as server:
        record = world.run(server, source=source_of(bucket, "news"))
    assert (record.status, len(record.unreadable_files)) == ("files_unreadable", 1)
    assert pl.read_parquet(world.folder / "out" / "labeled" / "b.parquet")["label"].null_count() == 0


def test_wherever_a_store_stops_reading_it_is_a_sentence(world, bucket):
    """At whatever request a store begins to refuse: a run ends with a sentence of ours about the source, and no body is shown."""
    put(bucket, "news/a.parquet", TEXTS)
    bad = Fault(400, arrives=False, code="BadRequest")
    statuses, sentences, shown = set(), [], []
    with StoreProxy(bucket.address.storage.endpoint) as store, Endpoint() as server:
        source = {"path": f"{bucket.address}/news", "storage": {"endpoint": store.endpoint}}
        for number in count():
            output = {"path": str(world.folder / f"out-{number}")}
            store.fail("GET", *[None] * number, *[FORBIDDEN if number % 2 else bad] * 200)
            try:
                record = world.run(server, source=source, output=output)
            except (JobRefused, CannotWrite) as error:
                sentences.append(str(error))
                shown += traceback.format_exception(error)
            else:
                statuses.add(record.status)
                shown.append(record.model_dump_json())
                if record.status == "completed":
                    break
    assert statuses == {"files_unreadable", "completed"}
    assert all("/news" in one and "can't be read" in one for one in sentences)
    assert not any("can't be written" in one for one in sentences)
    assert "SECRET" not in "".join(shown)


@pytest.mark.system
def test_a_store_that_goes_away_leaves_no_file_out(world, bucket):
    """Wherever in a run a store begins to fail, the run ends with that, whatever the number of files, and the next one goes on from it."""
    for name in "abc":
        put(bucket, f"news/{name}.parquet", TEXTS[:3])
    with StoreProxy(bucket.address.storage.endpoint) as store, Endpoint() as server:
        source = {"path": f"{bucket.address}/news", "storage": {"endpoint": store.endpoint}}
        for number in count():
            # Files that are new to each run, of texts of which one is.
            for name in "abc":
                put(bucket, f"news/{name}.parquet", [f"match of day {number}", *TEXTS[:3]])
            before, store.counts = server.requests, Counter()
            store.fail("GET", *[None] * number, *[EXPIRED] * 500)
            try:
                world.run(server, source=source)
            except (JobRefused, CannotWrite) as error:
                assert "/news" in str(error)  # noqa: PT017  (it ends in another way at last)
                assert str(error).count("the store answered 400") == 1  # noqa: PT017
                assert store.counts["GET"] + store.counts["LIST"] <= number + 6
            else:
                break
            store.fail("GET")
            record = world.run(server, source=source)
            assert (record.status, record.rows_labeled) == ("completed", 12)
            assert server.requests - before == (4 if number == 0 else 1)


def test_rows_that_failed_are_told_of_a_bucket_too(world, bucket):
    """The failed rows of a file in a bucket are in failed/ with all its columns, and nothing of the copies is left."""
    put(bucket, "news/a.parquet", TEXTS[:5], id=range(5))

    class Odd(Endpoint):
        def reply(self, call):
            return completion(call, "cricket") if call.text == TEXTS[3] else completion(call)

    with Odd() as server:
        record = world.run(server, source=source_of(bucket, "news/*.parquet"))
    (failed,) = record.failed_files
    assert pl.read_parquet(failed).select("text", "id").rows() == [(TEXTS[3], 3)]


@pytest.mark.parametrize(
    ("path", "says"),
    [
        ("s3://no-such-bucket/news", "there is no such"),
        ("{bucket}/nothing", "there is no .*parquet object at"),
        ("{bucket}/table", "is a Delta table: only its log"),
        ("{bucket}/table/date=1/*.parquet", "is a Delta table: only its log"),
        ("{bucket}/table/date=1/part-0.parquet", "is a Delta table: only its log"),
        ("{bucket}/ice/data", "is an? Iceberg table: only its log"),
        ("http://host/news.parquet", "expected a folder, s3://, gs:// or az://"),
        ("s3a://bucket/news", "for s3a:// write s3://"),
        ("s3://key:secret@bucket/news", "a job must not hold a key"),
    ],
)
def test_what_can_not_be_read_is_a_sentence(world, bucket, path, says):
    """Each mistake in a source's address is one sentence before anything is spent, and no key stands in it."""
    put(bucket, "table/date=1/part-0.parquet", TEXTS)
    put(bucket, "ice/data/part-0.parquet", TEXTS)
    bucket.store.put("ice/metadata/v1.metadata.json", b"{}")
    bucket.store.put("table/_delta_log/00000000000000000000.json", b"{}")
    source = {"path": path.format(bucket=bucket.address), "storage": bucket.output["storage"]}
    with Endpoint() as server:
        with pytest.raises(JobRefused, match=says) as refused:
            world.run(server, source=source)
        assert "secret" not in str(refused.value)
        assert server.requests == 0


@pytest.mark.parametrize(
    ("path", "out", "overlaps"),
    [
        ("news", "news/labels", True),
        ("news/**/*.parquet", "news/labels", True),
        ("*/*/*/*.parquet", "news/labels", True),
        ("news-*/*.parquet", "news-1/labels", False),
        ("news-*/*.parquet", "labels", False),
        ("news-1/*.parquet", "news-1/labels", False),
        ("news-1", "news-10", False),
        ("out/news", "out", True),
        ("out/news/*.parquet", "out", True),
    ],
)
def test_a_source_and_an_output_of_one_bucket(bucket, path, out, overlaps):
    """An output that the next run would take for its source, or that holds it, is refused; one beside it is not, whatever the pattern."""
    output = Output(**{**bucket.output, "path": f"{bucket.address}/{out}"})
    found = list(store_mistakes(output, Source(**source_of(bucket, path), text="text")))
    expected = f"'{bucket.address}/{out}' and the source '{bucket.address}/{path}' are one inside the other"
    assert [sentence.partition(";")[0] for _, sentence in found] == ([expected] if overlaps else [])


def listed_in(bucket, path):
    """What a source's path names in a bucket."""
    return list_source(f"{bucket.address}/{path}", Storage(**bucket.output["storage"]))


@pytest.mark.parametrize("pattern", ["news", "news/", "news/*", "news/**"])
def test_marks_of_folders_are_no_files(bucket, store_server, pattern):
    """What consoles leave where somebody makes a folder is passed over: of the source's own, of one with files, of an empty one."""
    put(bucket, "news/a.parquet", TEXTS)
    put(bucket, "news/deep/b.parquet", TEXTS)
    client = store_server("moto").client()
    for name in ("news/", "news/deep/", "news/empty/", "news/old_$folder$"):
        client.put_object(Bucket=bucket.address.bucket, Key=name)
    found = listed_in(bucket, pattern)
    expected = ["a.parquet"] if pattern == "news/*" else ["a.parquet", "deep/b.parquet"]
    assert [str(file.relative) for file in found.files] == expected


def test_an_object_is_itself_whatever_is_in_its_name(world, bucket):
    """An object whose name looks like a pattern is found by its name, as a file is."""
    put(bucket, "news/a[1]*.parquet", TEXTS[:3])
    with Endpoint() as server:
        record = world.run(server, source=source_of(bucket, "news/a[1]*.parquet"))
    assert (record.status, record.rows_labeled) == ("completed", 3)


def test_an_object_that_would_be_a_folder_too(world, bucket):
    """Names that no folder can hold are a sentence before anything is spent: the labeled files have the same names."""
    put(bucket, "news/x.parquet", TEXTS[:3])
    put(bucket, "news/x.parquet/part.parquet", TEXTS[3:6])
    with Endpoint() as server:
        with pytest.raises(
            JobRefused, match=r"there is an object 'x\.parquet', and there are objects below it"
        ):
            world.run(server, source=source_of(bucket, "news/"))
        assert server.requests == 0


def test_keys_that_may_only_see_a_folder(bucket):
    """A refusal to say whether there is an object of the folder's name stands in no folder's way, and is told where there is none."""
    put(bucket, "news/a.parquet", TEXTS)
    with StoreProxy(bucket.address.storage.endpoint) as store:
        storage = Storage(endpoint=store.endpoint)
        store.fail("HEAD", *[FORBIDDEN] * 9)
        found = list_source(f"{bucket.address}/news", storage)
        assert [str(file.relative) for file in found.files] == ["a.parquet"]
        with pytest.raises(OSError, match="the store refuses access"):
            list_source(f"{bucket.address}/news/b.parquet", storage)


A_UUID = "0123abcd-0123-0123-0123-0123456789ab"
TABLES = {
    "Delta": ["t/_delta_log/00000000000000000000.json", "t/d=1/p.parquet"],
    "Hudi": ["t/.hoodie/hoodie.properties", "t/d=1/p.parquet"],
    "Iceberg": ["t/metadata/v1.metadata.json", "t/data/p.parquet"],
    "a catalog's Iceberg": ["t/metadata/now.metadata.json", "t/data/p.parquet"],
    "DuckLake": [f"t/ducklake-{A_UUID}.parquet"],
}


@pytest.mark.parametrize("around", ["", "lake/"])
@pytest.mark.parametrize("kind", TABLES)
def test_a_lake_table_is_found_wherever_in_it_a_source_points(bucket, kind, around):
    """The files of a table are never taken: not by its folder, a folder in it, a pattern or one key, at a bucket's root too."""
    names = [around + name if around else name.removeprefix("t/") for name in TABLES[kind]]
    for name in names:
        bucket.store.put(name, b'{"format-version": 2}')
    folder, _, _ = names[-1].rpartition("/")
    pointing = ["", names[-1], f"{folder}/*.parquet".lstrip("/"), folder]
    for path in pointing:
        listing = list_source(f"{bucket.address}/{path}".rstrip("/"), Storage(**bucket.output["storage"]))
        (sentence,) = listing.mistakes
        assert (listing.files, f" is a {kind.rpartition(' ')[2]} table" in sentence) == ((), True)


def test_what_is_called_as_a_tables_log_is(bucket):
    """A folder that is called metadata, with metadata of something else in it, makes no table of a source."""
    bucket.store.put("news/metadata/my.metadata.json", b'{"author": "me"}')
    bucket.store.put("news/a.parquet", b"x")
    listing = list_source(f"{bucket.address}/news", Storage(**bucket.output["storage"]))
    assert ([str(file.relative) for file in listing.files], listing.mistakes) == (["a.parquet"], ())


def test_a_source_is_read_with_keys_for_nothing_around_it(bucket):
    """Where the folders around a source may not be listed, that is no reason to refuse it; they are looked at once."""
    bucket.store.put("deep/news/a.parquet", b"x")
    with StoreProxy(bucket.address.storage.endpoint) as store:
        url, storage = f"{bucket.address}/deep/news", Storage(endpoint=store.endpoint)
        store.fail("GET", None, *[FORBIDDEN] * 6)
        for _ in range(2):
            assert [str(file.relative) for file in list_source(url, storage).files] == ["a.parquet"]
        assert store.counts["LIST"] == 8


@pytest.mark.parametrize("key", ["news//b.parquet", "news/../b.parquet", "news/a\tb.parquet"])
def test_a_key_that_no_file_can_have_is_named(world, store_server, key):
    """A key that is no path is a sentence with its name in it, before anything is spent."""
    server = store_server("moto")
    address = server.bucket()
    server.client().put_object(Bucket=address.bucket, Key=key, Body=b"x")
    source = {"path": f"{address}/news", "storage": {"endpoint": server.endpoint}}
    with Endpoint() as asked, pytest.raises(JobRefused) as refused:
        world.run(asked, source=source)
    assert f'the key "{key}" there can be no file\'s: a part of it is empty' in str(refused.value)


def test_an_empty_object_is_no_file_where_there_is_a_folder_of_its_name(bucket):
    """What some programs leave in the place of a folder, with its very name, does not stand for what is in it."""
    bucket.store.put("news", b"")
    bucket.store.put("news/a.parquet", b"x")
    listing = list_source(f"{bucket.address}/news", Storage(**bucket.output["storage"]))
    assert [str(file.relative) for file in listing.files] == ["a.parquet"]


NAMES = st.lists(
    st.sampled_from(
        ["a", "b.parquet", "c.PARQUET", "_x", ".y", "_d=1", "e=2", "f.txt", "g.parquet.gz", "ä b"]
    ),
    min_size=1,
    max_size=3,
).map("/".join)


@pytest.fixture(scope="module")
def listed(store_servers):
    """A server for listings."""
    return store_servers("moto")


@given(
    names=st.sets(NAMES, min_size=1, max_size=8),
    pattern=st.sampled_from(["", "/*", "/*/*", "/**/*.parquet", "/e=*/*", "/**", "/_d=1/*.parquet"]),
)
def test_a_bucket_lists_as_a_folder_does(listed, tmp_path_factory, names, pattern):
    """The same names make the same source, in a folder and in a bucket, by any pattern."""
    # A folder has no name that is a file's too.
    names = {name for name in names if not any(other.startswith(f"{name}/") for other in names)}
    folder = tmp_path_factory.mktemp("listing")
    with pytest.MonkeyPatch.context() as patch:
        for variable, value in listed.variables.items():
            patch.setenv(variable, value)
        patch.setenv("XDG_CACHE_HOME", str(folder / "cache"))
        bucket = Bucket(listed.bucket())
        for name in names:
            (folder / "news" / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / "news" / name).write_bytes(b"x")
            bucket.store.put(f"news/{name}", b"x")
        here = list_source(f"{folder}/news{pattern}")
        there = list_source(f"{bucket.address}/news{pattern}", Storage(**bucket.output["storage"]))
    assert [str(file.relative) for file in there.files] == [str(file.relative) for file in here.files]
