"""The journal: whole lines survive everything, and a dead run's journal is told from a living one's."""

import json
import subprocess
import sys
import threading
from datetime import UTC, datetime
from decimal import Decimal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from labelmill.money.usage import Usage
from labelmill.store.attempts import Attempt
from labelmill.store.journal import Journal, is_abandoned, read_attempts

NOON = datetime(2026, 1, 2, 12, tzinfo=UTC)

FILL_THE_DISK = """
import resource, sys
from datetime import UTC, datetime
from pathlib import Path
from labelmill.store.attempts import Attempt
from labelmill.store.journal import Journal, read_attempts

path = Path(sys.argv[1])
with Journal(path) as journal:
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, resource.RLIM_INFINITY))
    written = failed = 0
    for number in range(30):
        attempt = Attempt(f"v1:{number:032x}", datetime.now(UTC), label="sport", message="x" * (number % 7) * 20)
        try:
            journal.append(attempt)
            written += 1
        except OSError:
            failed += 1
            assert read_attempts(path) == journal.attempts
            assert path.read_bytes().endswith(b"\\n")
    assert len(journal.attempts) == written
    resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    journal.append(Attempt("v1:last", datetime.now(UTC), label="sport"))
    print(written, failed)
"""


def attempt_of(number, **more):
    """A labeled attempt."""
    return Attempt(
        f"v1:{number:032x}",
        NOON,
        label="sport",
        answered=True,
        usage=Usage(9, 0, 2),
        cost_usd=Decimal("1E-6"),
        **more,
    )


def written(path, count):
    """A journal of so many attempts, and its bytes."""
    with Journal(path) as journal:
        for number in range(count):
            journal.append(attempt_of(number))
    return path.read_bytes()


def test_an_attempt_is_on_disk_when_append_returns(tmp_path):
    """What a killed process had appended is there for whoever reads the file."""
    path = tmp_path / "deep" / "j.jsonl"
    with Journal(path) as journal:
        for number in range(3):
            journal.append(attempt_of(number))
            assert read_attempts(path) == journal.attempts == [attempt_of(n) for n in range(number + 1)]
        journal.remove()
        assert not path.exists()


def test_threads_share_a_journal_without_mixing_lines(tmp_path):
    """Lines of many threads stay whole, also long ones."""
    path = tmp_path / "j.jsonl"
    with Journal(path) as journal:

        def work(start):
            for number in range(start, start + 50):
                journal.append(attempt_of(number, message="长" * 3000))

        threads = [threading.Thread(target=work, args=(start,)) for start in range(0, 200, 50)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert sorted(attempt.row_key for attempt in read_attempts(path)) == [
        attempt_of(n).row_key for n in range(200)
    ]


@settings(max_examples=50, deadline=None)
@given(data=st.data())
def test_whole_lines_survive_a_torn_tail_and_garbage_between(tmp_path_factory, data):
    """However a journal was cut and whatever stands between its lines, exactly the whole attempts are read."""
    path = tmp_path_factory.mktemp("j") / "j.jsonl"
    lines = written(path, 4).splitlines(keepends=True)
    kept = data.draw(st.integers(0, 4), label="whole lines")
    torn = (
        lines[kept][: data.draw(st.integers(0, len(lines[kept]) - 2), label="torn bytes")]
        if kept < 4
        else b""
    )
    garbage = st.binary(max_size=30).filter(lambda raw: b"\n" not in raw) | st.sampled_from(
        [b"{}", b"null", b"[" * 100_000, b'{"row_key": 1}', b"\xff\xfe", b"9" * 5000, b"NaN"]
    )
    content = b"".join(data.draw(garbage, label="garbage") + b"\n" + line for line in lines[:kept])
    path.write_bytes(content + torn)
    whole = [attempt_of(number) for number in range(kept)]
    assert read_attempts(path) == whole
    with Journal(path) as journal:
        assert journal.attempts == whole
        journal.append(attempt_of(9))
    assert read_attempts(path) == [*whole, attempt_of(9)]


def test_a_line_that_lacks_only_its_end_is_whole(tmp_path):
    """A write that was cut before the line break lost nothing."""
    path = tmp_path / "j.jsonl"
    path.write_bytes(written(path, 2)[:-1])
    with Journal(path) as journal:
        journal.append(attempt_of(2))
    assert read_attempts(path) == [attempt_of(number) for number in range(3)]


@pytest.mark.parametrize("message", ["a\nb", "\x00", "\ud800", "\u2028\u202e", "| `x` <script>", "长" * 9])
def test_any_message_is_one_line(tmp_path, message):
    """Line breaks, NULs and lone surrogates in what a provider said don't break the journal."""
    path = tmp_path / "j.jsonl"
    with Journal(path) as journal:
        journal.append(attempt_of(0, message=message))
    assert path.read_bytes().count(b"\n") == 1
    assert json.loads(path.read_bytes())["message"] == message
    assert read_attempts(path)[0].message == message


def test_a_full_disk_leaves_the_journal_whole_and_is_raised(tmp_path):
    """An attempt that doesn't fit raises OSError and leaves no half line; with room again the journal goes on."""
    path = tmp_path / "j.jsonl"
    done = subprocess.run(
        [sys.executable, "-c", FILL_THE_DISK, str(path)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    count, failed = map(int, done.stdout.split())
    assert count > 3
    assert failed > 3
    assert len(read_attempts(path)) == count + 1
    assert read_attempts(path)[-1].row_key == "v1:last"


@pytest.mark.parametrize("ending", ["close", "kill"])
def test_a_journal_is_abandoned_once_the_process_that_held_it_is_gone(tmp_path, held_elsewhere, ending):
    """While another process lives its journal is its own, however much later it looks; after SIGKILL it is anyone's."""
    path = tmp_path / "j.jsonl"
    written(path, 1)
    assert is_abandoned(path)
    with held_elsewhere("journal", path) as holder:
        assert not is_abandoned(path)
        if ending == "kill":
            holder.kill()
        else:
            holder.stdin.close()
        holder.wait()
    assert is_abandoned(path)
    assert read_attempts(path) == [attempt_of(0)]
