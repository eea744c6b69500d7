"""Large batches are worked on beside everything else, a row at a time."""

import json
import threading
import time
from contextlib import contextmanager

import psutil
import pytest
from servers.practice import start_practice

from practice import PracticeSettings

pytestmark = pytest.mark.slow

ROWS = 20_000


def test_a_large_batch_needs_little_memory_and_stops_nobody(tmp_path, sender_to):
    """20,000 rows pass through the server, which stays small and goes on answering others."""
    path = tmp_path / "large.jsonl"
    with start_practice(PracticeSettings()) as server:
        sender = sender_to(server)
        with path.open("w", encoding="utf-8") as lines:
            for number in range(ROWS):
                text = f"足球比赛 {number} " + "芯片" * 100
                lines.write(json.dumps(sender.row(number, text), ensure_ascii=False) + "\n")
        child = psutil.Process(server.pid)
        sender.finish(sender.rows(["a"]))
        before = child.memory_info().rss
        file = sender.client.files.create(file=path, purpose="batch")
        assert file.bytes == path.stat().st_size > 15_000_000
        batch = sender.send([], input_file_id=file.id)
        deadline = time.monotonic() + 120
        with waits_of(sender.client.models.list) as waits:
            while server_busy(sender, batch.id):
                assert time.monotonic() < deadline
                time.sleep(0.05)
        assert waits
        assert sorted(waits)[len(waits) // 2] < 0.5
        assert child.memory_info().rss - before < 30_000_000
        assert sender.client.batches.retrieve(batch.id).request_counts.completed == ROWS
        received = 0
        ended = sender.client.batches.retrieve(batch.id)
        with sender.client.files.with_streaming_response.content(ended.output_file_id) as content:
            received = sum(piece.count(b"\n") for piece in content.iter_bytes())
        assert received == ROWS
        assert child.memory_info().rss - before < 30_000_000


@contextmanager
def waits_of(ask):
    """How long each of many calls takes, in seconds, that are made one after the other during the block."""
    waits, ended = [], threading.Event()

    def go_on_asking():
        while not ended.wait(0.05):
            started = time.monotonic()
            ask()
            waits.append(time.monotonic() - started)

    asking = threading.Thread(target=go_on_asking)
    asking.start()
    try:
        yield waits
    finally:
        ended.set()
        asking.join()


def server_busy(sender, batch_id):
    """Whether the batch is still being worked on."""
    (batch,) = [batch for batch in sender.client.batches.list() if batch.id == batch_id]
    assert batch.status in ("validating", "in_progress", "finalizing", "completed")
    return batch.status != "completed"


def test_batches_sent_at_once_are_all_answered_once(sender, practice):
    """Many batches at the same time, asked for in any order, come out whole and are billed once."""
    made = [sender.send(sender.rows([f"足球 {n} {m}" for m in range(30)])) for n in range(10)]
    for batch in reversed(made):
        assert len(sender.labels(sender.wait(batch.id))) == 30
    totals = practice.totals()
    assert (totals["batch_rows_billed"], totals["batch_texts_paid_twice"]) == (300, 0)
