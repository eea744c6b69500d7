"""What the tests of whole runs against small servers share."""

import json
import os
import pty
import re
import subprocess
import sys
import termios
from pathlib import Path

import polars as pl
import pytest
from preloaded import Preloaded, can_fork, popen_of
from servers.base import right_label

from flows.label import label_dataset
from labelmill.live import guard
from labelmill.run.record import RunRecord
from tasks.states import record_in

LABELMILL = Path(sys.executable).parent / "labelmill"
KEY = "sk-marked-0123456789abcdef"


@pytest.fixture(scope="session", autouse=True)
def _preloaded():
    """Fork the commands that tests start from a process that has imported what they need."""
    if not can_fork():
        yield
        return
    preloaded = Preloaded()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(subprocess, "Popen", popen_of(preloaded))
        yield
    preloaded.close()


class World:
    """A job over some texts, and its runs against a server; `records` has what they left."""

    def __init__(self, folder, job_of, prefect_server):
        self.folder, self.records = folder, []
        self._job_of, self._prefect_server = job_of, prefect_server

    def has(self, texts):
        """Make these the source."""
        pl.DataFrame({"text": texts}, schema={"text": pl.String}).write_parquet(
            self.folder / "source.parquet"
        )

    def job(self, **sections):
        """A job for an OpenAI-compatible server: at most 8 requests at once, and no share of failures is too many."""
        sections["model"] = {"provider": "openai", "timeout_seconds": 20, **sections.get("model", {})}
        sections["run"] = {"max_concurrency": 8, "max_failed_fraction": 1, **sections.get("run", {})}
        return self._job_of(**sections)

    def run(self, server, **sections):
        """Run the flow in this process; returns the record it leaves."""
        record = record_in(label_dataset(self.job(**sections), server.base_url, return_state=True))
        self.records.append(record)
        return record

    def command(self, server, *arguments, environment=(), **sections):
        """Run `labelmill run` in a process of its own; its output goes into pipes."""
        return subprocess.run(
            self._words(server, *arguments, **sections),
            cwd=self.folder,
            env=self._environment(environment),
            capture_output=True,
            text=True,
            timeout=180,
            check=False,
        )

    def terminal(self, server, *arguments, environment=(), **sections):
        """Run `labelmill run` in a terminal of 80 columns; returns its exit code and the lines it leaves there."""
        ours, its = pty.openpty()
        termios.tcsetwinsize(its, (50, 80))
        with subprocess.Popen(
            self._words(server, *arguments, **sections),
            cwd=self.folder,
            env={**self._environment(environment), "TERM": "xterm"},
            stdin=subprocess.DEVNULL,
            stdout=its,
            stderr=its,
        ) as running:
            os.close(its)
            with os.fdopen(ours, "rb") as shown:
                printed = b"".join(iter(lambda: _read_terminal(shown), b"")).decode()
        lines = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", printed).replace("\r", "\n").split("\n")
        return running.returncode, [line.rstrip() for line in lines]

    def _words(self, server, *arguments, **sections):
        path = _job_file(self.folder, self.job(**sections))
        return [LABELMILL, "run", path, "--model-base-url", server.base_url, *arguments]

    def _environment(self, more):
        return {**os.environ, "PREFECT_API_URL": self._prefect_server, "OPENAI_API_KEY": KEY, **dict(more)}

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


@pytest.fixture
def world(tmp_path, job_of, prefect_server, monkeypatch):
    """A job in an empty folder, whose requests are sent again after a fraction of the usual waits."""
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    monkeypatch.setattr(guard, "FIRST_WAIT_SECONDS", 0.02)
    return World(tmp_path, job_of, prefect_server)


def _read_terminal(shown):
    try:
        return shown.read1(65536)
    except OSError:  # Linux's word for a terminal that nobody writes to any more
        return b""


def _job_file(folder, job):
    """A job as a file: what JSON has of strings, numbers and switches is TOML too."""
    values = job.model_dump(mode="json", exclude_unset=True)
    sections = {name: fields for name, fields in values.items() if isinstance(fields, dict)}
    lines = _toml_of({name: value for name, value in values.items() if name not in sections})
    for name, fields in sections.items():
        lines += [f"[{name}]", *_toml_of(fields)]
    path = folder / "job.toml"
    path.write_text("\n".join(lines))
    return path


def _toml_of(fields):
    return [f"{json.dumps(name)} = {json.dumps(value)}" for name, value in fields.items()]
