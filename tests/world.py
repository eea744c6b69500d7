"""A job over some texts, and its whole runs against a server that counts what it answers and bills."""

import json
import time

import polars as pl
from servers.base import right_label

from labelmill.pipeline.label import label
from labelmill.run.record import RunRecord
from labelmill.store.files import stamp_of

KEY = "sk-marked-0123456789abcdef"
CRASH_JOB = """
name = "crash"
[source]
path = "source.parquet"
text = "text"
[labels]
sport = "match"
money = "bank"
[model]
provider = "practice"
name = "gpt-4o-mini"
max_tokens = 100
[run]
max_concurrency = 8
rows_per_chunk = 40
max_attempts = 20
max_answers = 5
[output]
path = "out"
"""
"""The job file of live runs that are killed."""


def records_in(out):
    """What each run has left of itself."""
    return [json.loads(path.read_text()) for path in out.glob("runs/*/run.json")]


class World:
    """A job over some texts, and its runs against a server; `records` has what they left."""

    def __init__(self, folder, job_of):
        self.folder, self.records = folder, []
        self._job_of = job_of

    def has(self, texts):
        """Make these the source."""
        pl.DataFrame({"text": texts}, schema={"text": pl.String}).write_parquet(
            self.folder / "source.parquet"
        )

    def wait_for_source(self):
        """Wait until the source is as old as it has to be for a run to know that it hasn't changed since."""
        while not stamp_of(self.folder / "source.parquet").is_older_than(time.time_ns()):
            time.sleep(0.005)

    def job(self, **sections):
        """A job for an OpenAI-compatible server: at most 8 requests at once, and no share of failures is too many."""
        sections["model"] = {"provider": "openai", "timeout_seconds": 20, **sections.get("model", {})}
        sections["run"] = {"max_concurrency": 8, "max_failed_fraction": 1, **sections.get("run", {})}
        return self._job_of(**sections)

    def run(self, server, **sections):
        """Run the job in this process, where nobody looks on; returns the record it leaves."""
        record = label(self.job(**sections), server.base_url)
        self.records.append(record)
        return record

    def written(self):
        """The record of the last run, as it stands in `run.json`."""
        return RunRecord.model_validate_json(max(self.folder.glob("out/runs/*/run.json")).read_bytes())

    @property
    def rows(self):
        """The labeled rows, with what is right for each."""
        rows = pl.read_parquet(self.folder / "out" / "labeled" / "source.parquet")
        return rows.with_columns(right=pl.col("text").map_elements(right_label, return_dtype=pl.String))

    @property
    def ledger(self):
        """All parts of all ledgers, as one frame."""
        return pl.read_parquet(str(self.folder / "out" / "ledger" / "*" / "*.parquet"))

    def assert_bill_is(self, server):
        """The records, the ledger and the server's own count are one bill."""
        told = (server.requests, server.untold, server.input_tokens, server.output_tokens)
        names = ("requests", "requests_without_usage", "input_tokens", "output_tokens")
        records = self.records or [self.written()]
        assert tuple(sum(getattr(record, name) for record in records) for name in names) == told
        columns = ("requests", "unseen", "input_tokens", "output_tokens")
        assert self.ledger.select(pl.col(columns).sum()).row(0) == told

    def assert_labels(self, labeled, **others):
        """So many rows have the right label, none has a wrong one, and so many are of each other status."""
        rows = self.rows
        found = dict(rows.group_by("label_status").len().iter_rows())
        assert found == {status: count for status, count in {"ok": labeled, **others}.items() if count}
        is_right = pl.col("label").eq_missing(pl.when(pl.col("label_status") == "ok").then("right"))
        assert rows.filter(~is_right).is_empty()
