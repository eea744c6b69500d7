"""Files and batches outlive a server whose folder is kept, and no other."""

import contextlib
import os
import signal
import time
from pathlib import Path

import openai
import psutil
import pytest
from servers.practice import start_practice

from practice import FaultKind, PracticeSettings
from practice.batches.store import BatchStore

pytestmark = pytest.mark.slow

TEXTS = [f"足球比赛 {number}" for number in range(20)]


def test_a_batch_sent_to_one_server_is_harvested_from_the_next(tmp_path, sender_to):
    """A batch that ends while no server runs is there, whole, when one does again."""
    with start_practice(PracticeSettings(batch_seconds=1000), folder=tmp_path) as server:
        batch = sender_to(server).send(sender_to(server).rows(TEXTS), metadata={"run": "1"})
    with start_practice(folder=tmp_path) as server:
        sender = sender_to(server)
        (found,) = sender.client.batches.list()
        assert (found.id, found.metadata, found.created_at) == (batch.id, {"run": "1"}, batch.created_at)
        assert len(sender.labels(sender.wait(found.id))) == 20
        assert sender.client.files.content(found.input_file_id).text.count("\n") == 20


def test_results_and_totals_are_kept(tmp_path, sender_to):
    """Ended batches are not answered or billed anew; the totals of batches go on."""
    with start_practice(folder=tmp_path) as server:
        sender = sender_to(server)
        batch = sender.finish(sender.rows(TEXTS))
        lines, totals = sender.read(batch.output_file_id), server.totals()
    with start_practice(PracticeSettings(batch_outcome="failed"), folder=tmp_path) as server:
        sender = sender_to(server)
        assert sender.wait(batch.id) == batch
        assert sender.read(batch.output_file_id) == lines
        kept = [name for name in totals if "batch" in name and name != "batch_calls"]
        assert {name: server.totals()[name] for name in kept} == {name: totals[name] for name in kept}
        server.configure(PracticeSettings())
        sender.finish(sender.rows(TEXTS[:3]))
        assert server.totals()["batch_texts_paid_twice"] == 3


def test_attempts_are_kept(tmp_path, sender_to):
    """A fault that met a text in a batch does not meet it again after a restart."""
    settings = PracticeSettings(faults={FaultKind.SERVER_ERROR: 1.0})
    with start_practice(settings, folder=tmp_path) as server:
        sender = sender_to(server)
        assert sender.labels(sender.finish(sender.rows(["足球比赛"]))) == {}
    with start_practice(settings, folder=tmp_path) as server:
        sender = sender_to(server)
        assert sender.labels(sender.finish(sender.rows(["足球比赛"]))) == {"row-0": "体育"}


def test_a_killed_server_leaves_a_folder_that_works(tmp_path, sender_to):
    """Killed in the middle of a batch, the next server answers it from the start, and bills it once."""
    server = start_practice(folder=tmp_path)
    sender = sender_to(server)
    batch = sender.send(sender.rows([f"足球比赛 {number}" for number in range(3000)]))
    with contextlib.suppress(openai.APITimeoutError):
        sender.client.with_options(timeout=0.2).batches.retrieve(batch.id)
    os.kill(server.pid, signal.SIGKILL)
    server.stop()
    with start_practice(folder=tmp_path) as server:
        sender = sender_to(server)
        assert len(sender.labels(sender.wait(batch.id))) == 3000
        totals = server.totals()
        assert (totals["batch_rows_billed"], totals["batch_texts_paid_twice"]) == (3000, 0)
    assert not list(tmp_path.rglob("*.part"))


def test_without_a_folder_nothing_is_left(sender_to, tmp_path, monkeypatch):
    """The temporary folder goes with the server, and is not even made for a server without files."""
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    with start_practice() as server:
        assert list(tmp_path.iterdir()) == []
        sender = sender_to(server)
        sender.finish(sender.rows(["a"]))
        (folder,) = tmp_path.iterdir()
        opened = {Path(file.path) for file in psutil.Process(server.pid).open_files()}
        assert not [path for path in opened if folder in path.parents]
    deadline = time.monotonic() + 5
    while list(tmp_path.iterdir()) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert list(tmp_path.iterdir()) == []


def test_expired_files_are_gone(tmp_path, sender_to):
    """A file whose time is over is not found."""
    with start_practice(folder=tmp_path) as server:
        file = sender_to(server).upload([])
    (record,) = (tmp_path / "files").glob("*.json")
    record.write_text(record.read_text().replace(f'"expires_at":{file.expires_at}', '"expires_at":1'))
    with start_practice(folder=tmp_path) as server, pytest.raises(Exception, match="No such File object"):
        sender_to(server).client.files.retrieve(file.id)


def test_the_order_of_creation_is_never_in_doubt(tmp_path):
    """Files made in the same moment, or after the clock was set back, are still newest first; also when read again."""
    store = BatchStore(tmp_path)
    made = []
    for number, now in enumerate((1000.0, 1000.0, 900.0)):
        path = store.scratch()
        path.write_bytes(b"{}")
        made.append(store.add_file(path, f"{number}.jsonl", "batch", None, now).id)
    assert [file.id for file in store.files()] == made[::-1]
    assert [file.id for file in BatchStore(tmp_path).files()] == made[::-1]


def test_reset_deletes_files_and_batches(sender, practice, client):
    """After a reset the server is as new, also while it works on a batch."""
    ended = sender.finish(sender.rows(TEXTS))
    sender.send(sender.rows([f"足球比赛 {number}" for number in range(2000)]))
    practice.reset()
    assert (list(client.batches.list()), list(client.files.list())) == ([], [])
    totals = practice.totals()
    assert (totals["batches"], totals["files"], totals["batch_rows_billed"]) == (0, 0, 0)
    with pytest.raises(Exception, match="No such File object"):
        client.files.content(ended.output_file_id)
    assert len(sender.labels(sender.finish(sender.rows(TEXTS)))) == 20
