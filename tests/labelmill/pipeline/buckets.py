"""An output in a bucket as others see it, and a machine that loses its disk."""

import json
import os
import shutil

import polars as pl

from labelmill.store.objects import BucketStore


class Bucket:
    """An output in a bucket, as others see it."""

    def __init__(self, address):
        self.address, self.store = address, BucketStore(address)
        self.output = {"path": str(address), "storage": {"endpoint": address.storage.endpoint}}

    def names(self, prefix=""):
        """The names of its objects."""
        return sorted(entry.name for entry in self.store.list(prefix))

    def manifest(self):
        """What its manifest says."""
        return json.loads(self.store.read("_manifest.json").content)

    def rows(self):
        """The labeled rows that the manifest speaks of."""
        urls = [f"{self.address}/{file['stored_as']}" for file in self.manifest()["files"]]
        return pl.read_parquet(urls, storage_options=self.address.polars_options(), hive_partitioning=True)

    def ledger(self):
        """All that its ledgers hold."""
        urls = [f"{self.address}/{name}" for name in self.names("ledger/") if name.endswith(".parquet")]
        return pl.read_parquet(urls, storage_options=self.address.polars_options())


def lose_the_disk():
    """Take away all that this machine has of outputs in buckets."""
    shutil.rmtree(os.environ["XDG_CACHE_HOME"], ignore_errors=True)
