"""Addresses in object stores: what is one, what each reader is told, and that no key stands anywhere."""

import copy
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from labelmill.job.model import Storage
from labelmill.store.address import AddressError, StoreAddress, is_url
from labelmill.store.objects import BucketStore, Patience, StoreError

SECRET = "wJalrXUtnFEMI/K7MDENG"
CREDENTIALS = f"""[default]
aws_access_key_id = AKDEFAULT
aws_secret_access_key = {SECRET}
[work]
aws_access_key_id = AKWORK
aws_secret_access_key = {SECRET}work
aws_session_token = token
"""
CONFIG = """[profile work]
region = eu-west-3
[profile sso]
sso_session = company
"""


@pytest.fixture(autouse=True)
def _aws(tmp_path, monkeypatch):
    """AWS's own files, and nothing in the environment."""
    for name in (
        "AWS_ACCESS_KEY_ID",
        "AWS_SECRET_ACCESS_KEY",
        "AWS_PROFILE",
        "AWS_REGION",
        "AWS_DEFAULT_REGION",
    ):
        monkeypatch.delenv(name, raising=False)
    for variable, name, content in (
        ("AWS_SHARED_CREDENTIALS_FILE", "credentials", CREDENTIALS),
        ("AWS_CONFIG_FILE", "config", CONFIG),
    ):
        (tmp_path / name).write_text(content)
        monkeypatch.setenv(variable, str(tmp_path / name))


@pytest.mark.parametrize(
    ("url", "parts"),
    [
        ("s3://bucket/a/b", ("s3", "bucket", "a/b")),
        ("S3://bucket/a/b/", ("s3", "bucket", "a/b")),
        ("gs://bucket", ("gs", "bucket", "")),
        ("az://container/ä b/x%20y+z", ("az", "container", "ä b/x%20y+z")),
    ],
)
def test_an_address_has_a_bucket_and_a_key(url, parts):
    """A scheme, a bucket, and a key as it stands there: nothing of it is decoded."""
    address = StoreAddress.of(url)
    assert (address.scheme, address.bucket, address.key) == parts
    assert StoreAddress.of(str(address)) == address == copy.deepcopy(address)
    assert is_url(url)


@pytest.mark.parametrize(
    ("url", "storage", "says"),
    [
        ("https://host/x", {}, "expected a folder, s3://, gs:// or az://"),
        ("s3a://bucket/x", {}, "for s3a:// write s3://"),
        ("abfss://c@account.dfs.core.windows.net/x", {}, "for abfss:// write az://"),
        ("s3:///x", {}, "names no bucket"),
        ("s3://b/x", {}, "names no bucket"),
        ("s3://bucket/a/../b", {}, "no empty part, no . and no .."),
        ("s3://bucket//b", {}, "no empty part"),
        (f"s3://key:{SECRET}@bucket/x", {}, "keys come from the environment"),
        (f"az://container/x?sig={SECRET}", {}, "keys come from the environment"),
        (f"s3a://key:{SECRET}@bucket/x", {}, "for s3a:// write s3://"),
        (f"https://key:{SECRET}@host/x", {}, "expected a folder"),
        (f"s3://AK/{SECRET}@bucket//y", {}, "names no bucket"),
        ("s3a://[", {}, "for s3a:// write s3://"),
        ("s3://bucket/x", {"account": "a"}, "storage.account means nothing to s3://"),
        ("gs://bucket/x", {"region": "r"}, "storage.region means nothing to gs://"),
        ("az://bucket/x", {"profile": "p"}, "storage.profile means nothing to az://"),
        (
            "s3://bucket/x",
            {"profile": "home"},
            "found no profile 'home' in AWS's files; there are 'default', 'sso', 'work'",
        ),
        ("s3://bucket/x", {"profile": "sso"}, "aws configure export-credentials --profile sso"),
    ],
)
def test_what_is_no_address_is_a_sentence(url, storage, says):
    """Each mistake says what was found and what was expected, and never a key."""
    with pytest.raises(AddressError) as error:
        StoreAddress.of(url, Storage(**storage))
    assert says in str(error.value)
    assert SECRET not in str(error.value)


def test_keys_come_from_a_profile_or_from_the_environment(monkeypatch):
    """The job's profile goes first, then keys in the environment, then the environment's profile."""
    work = StoreAddress.of("s3://bucket/x", Storage(profile="work")).polars_options()
    assert (work["aws_access_key_id"], work["aws_region"]) == ("AKWORK", "eu-west-3")
    assert work["aws_session_token"] == "token"
    assert "aws_access_key_id" not in StoreAddress.of("s3://bucket/x").polars_options()
    monkeypatch.setenv("AWS_PROFILE", "default")
    assert StoreAddress.of("s3://bucket/x").polars_options()["aws_access_key_id"] == "AKDEFAULT"
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKENV")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET)
    options = StoreAddress.of("s3://bucket/x").polars_options()
    assert (options["aws_access_key_id"], options["aws_region"]) == ("AKENV", "us-east-1")
    assert (
        "aws_access_key_id" not in StoreAddress.of("s3://bucket/x", Storage(anonymous=True)).polars_options()
    )


def test_an_endpoint_without_tls_is_allowed_by_its_address():
    """Only an address that says http:// is asked without TLS."""
    plain = StoreAddress.of("s3://bucket/x", Storage(endpoint="http://minio:9000/"))
    assert plain.polars_options()["aws_allow_http"] == "true"
    assert plain.endpoint == "http://minio:9000"
    safe = StoreAddress.of("s3://bucket/x", Storage(endpoint="https://minio:9000"))
    assert "aws_allow_http" not in safe.polars_options()
    google = StoreAddress.of("gs://bucket/x", Storage(endpoint="http://gcs:1"))
    assert json.loads(google.polars_options()["google_service_account_key"])["gcs_base_url"] == "http://gcs:1"


KEYS = st.lists(st.sampled_from(["a", "b", "news", "a b"]), max_size=3).map("/".join)


@given(one=KEYS, other=KEYS)
def test_a_place_holds_what_is_below_it(one, other):
    """A place holds another where all of its parts are the other's first ones."""
    first, second = (StoreAddress.of(f"s3://bucket/{key}") for key in (one, other))
    parts = [key.split("/") if key else [] for key in (one, other)]
    assert first.holds(second) == (parts[1][: len(parts[0])] == parts[0])
    assert not first.holds(StoreAddress.of(f"gs://bucket/{other}"))


def test_no_key_stands_in_what_is_said_of_a_store(monkeypatch):
    """Neither an address nor a store nor an error of a request holds a key."""
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", f"AK{SECRET}")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET)
    address = StoreAddress.of("s3://bucket/x", Storage(endpoint="http://127.0.0.1:9"))
    store = BucketStore(address, Patience(answer_seconds=1, retries=0, total_seconds=1))
    with pytest.raises(StoreError) as error:
        store.read("a")
    assert (
        error.value.strerror == "the store at http://127.0.0.1:9 can't be reached: the connection was refused"
    )
    assert SECRET not in f"{address} {address!r} {store.place} {store!r} {error.value} {error.value!r}"


def test_that_there_are_no_keys_is_said(monkeypatch):
    """Where nobody has keys, that is what is said, and not that some address did not answer."""
    monkeypatch.setenv("AWS_METADATA_ENDPOINT", "http://127.0.0.1:9")
    address = StoreAddress.of("s3://bucket/x", Storage(endpoint="http://127.0.0.1:9"))
    store = BucketStore(address, Patience(answer_seconds=1, retries=0, total_seconds=1))
    with pytest.raises(StoreError, match="no keys were found"):
        store.read("a")
