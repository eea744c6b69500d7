"""A Prefect server that goes away in the middle of a run: all texts are labeled, and the last sentence says what it has not heard."""

import json
import os
import select
import socket
import socketserver
import subprocess
import sys
import threading
import time
from contextlib import contextmanager
from urllib.parse import urlsplit

import polars as pl
import pytest
from prefect.settings import get_current_settings
from servers.base import serving
from servers.prefect_stand_in import PrefectStandIn

import tasks.server_watch
from practice import PracticeSettings
from tasks.server_watch import PATIENCE_SECONDS, SECONDS_BETWEEN_QUESTIONS, ServerAway, ServerWatch

TEXTS = [f"football {number}" for number in range(48)]
# The command line, with a server that counts as gone after a second rather than a minute.
IMPATIENT = """
import sys
import tasks.server_watch as watch
watch.PATIENCE_SECONDS, watch.SECONDS_BETWEEN_QUESTIONS = 1, 0.3
from commands.main import main
main()
"""


class Gateway(socketserver.ThreadingTCPServer):
    """A way to a server that can be cut."""

    daemon_threads, block_on_close = True, False

    def __init__(self, target):
        super().__init__(("127.0.0.1", 0), _PassOn)
        self.target, self.is_cut = target, threading.Event()
        self.port = self.server_address[1]

    def cut(self):
        """Let nobody through any more."""
        self.is_cut.set()
        self.shutdown()
        self.server_close()


class _PassOn(socketserver.BaseRequestHandler):
    def handle(self):
        with socket.create_connection(self.server.target) as theirs:
            other = {self.request: theirs, theirs: self.request}
            while not self.server.is_cut.is_set():
                for end in select.select(list(other), [], [], 0.1)[0]:
                    data = end.recv(65536)
                    if not data:
                        return
                    other[end].sendall(data)


@contextmanager
def gateway(target):
    """Let a gateway work for the length of the block."""
    with Gateway(target) as opened:
        threading.Thread(target=opened.serve_forever, args=(0.05,), daemon=True).start()
        yield opened
        opened.shutdown()


@pytest.mark.slow
def test_a_run_goes_on_without_its_server(practice, write_texts, prefect_server, tmp_path):
    """The server is gone after the first chunk: every text is asked once, exit 0, and no traceback anywhere."""
    practice.configure(PracticeSettings(latency_seconds=0.3))
    practice.reset()
    write_texts(TEXTS)
    (tmp_path / "job.toml").write_text(
        """
name = "lost"
source = { path = "source.parquet", text = "text" }
labels = { sport = "football", money = "bank" }
model = { provider = "practice", name = "gpt-4o-mini" }
run = { max_concurrency = 4, rows_per_chunk = 4 }
output = { path = "out" }
"""
    )
    server = urlsplit(prefect_server)
    with gateway((server.hostname, server.port)) as way:
        words = ["-c", IMPATIENT, "run", "job.toml", "--model-base-url", practice.base_url, "--json"]
        with subprocess.Popen(
            [sys.executable, *words],
            cwd=tmp_path,
            env={
                **os.environ,
                "PREFECT_API_URL": f"http://127.0.0.1:{way.port}/api",
                "PREFECT_CLIENT_MAX_RETRIES": "3",
            },
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        ) as running:
            deadline = time.monotonic() + 120
            while practice.totals()["answered"] < 4:
                assert time.monotonic() < deadline
                time.sleep(0.05)
            way.cut()
            told, said = running.communicate(timeout=240)
    assert running.returncode == 0, said
    assert "Traceback" not in said
    last = said.strip().splitlines()[-1]
    assert last.startswith(
        "The run's page does not show how it ended, and what was labeled is kept: no Prefect server"
    )
    record = json.loads(told)
    assert (record["status"], record["rows_labeled"]) == ("completed", len(TEXTS))
    assert practice.totals()["answered"] == len(TEXTS)
    rows = pl.read_parquet(tmp_path / "out" / "labeled" / "source.parquet")
    assert rows["label_status"].unique().to_list() == ["ok"]


def test_only_a_long_silence_counts(monkeypatch):
    """A restart is waited for; then Prefect asks once rather than for a minute; and a server that is back is used again."""
    now, client = 0.0, get_current_settings().client
    before = client.max_retries
    monkeypatch.setattr("logging.raiseExceptions", True)

    def after(seconds):
        nonlocal now
        now += seconds
        return watch.is_away

    with serving(PrefectStandIn()) as server:
        monkeypatch.setattr(tasks.server_watch, "_address", lambda: server.api_url)
        monkeypatch.setattr(
            tasks.server_watch.PREFECT_API_URL, "value", lambda: server.api_url, raising=False
        )
        watch = ServerWatch(clock=lambda: now)
        assert not after(SECONDS_BETWEEN_QUESTIONS - 1)
        assert server.asked == []
        assert not after(1)
        assert server.asked == ["/api/health"]
        server.status = 502
        assert not after(SECONDS_BETWEEN_QUESTIONS)
        assert not after(PATIENCE_SECONDS - 1)
        assert after(SECONDS_BETWEEN_QUESTIONS)
        assert client.max_retries == 0
        with pytest.raises(ServerAway, match="does not answer"):
            watch.showing(list)()
        server.status = 503
        assert after(SECONDS_BETWEEN_QUESTIONS)
        server.status = None
        assert not after(SECONDS_BETWEEN_QUESTIONS)
        assert client.max_retries == before
        assert watch.showing(lambda: "shown")() == "shown"
