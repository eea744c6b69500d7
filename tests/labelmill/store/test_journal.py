"""The journal: whole lines survive everything, and a dead run's journal is told from a living one's."""

import fcntl
import json
import shutil
import subprocess
import sys
import threading
from contextlib import contextmanager
from datetime import UTC, datetime
from decimal import Decimal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from labelmill.money.usage import Usage
from labelmill.question.attempts import Attempt
from labelmill.store.journal import LINE_BYTES, Journal, bring_back, is_abandoned, read_attempts, read_settled

NOON = datetime(2026, 1, 2, 12, tzinfo=UTC)

FILL_THE_DISK = """
import resource, sys
from datetime import UTC, datetime
from pathlib import Path
from labelmill.question.attempts import Attempt
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
            assert len(read_attempts(path)) == written
            assert path.read_bytes().endswith(b"\\n")
    assert len(journal.attempts) == written + failed
    resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    journal.append(Attempt("v1:1a57", datetime.now(UTC), label="sport"))
    print(written, failed)
"""

FILL_A_DISK_THAT_OTHERS_USE = """
import sys
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from labelmill.question.attempts import Attempt
from labelmill.store.journal import Journal, read_attempts

path, in_flight = Path(sys.argv[1]), int(sys.argv[2])
answered = []
with Journal(path) as journal:
    for start in range(0, 10**6, in_flight):
        sent = []
        try:
            for number in range(start, start + in_flight):
                journal.note_sent(f"v1:{number:032x}", Decimal("0.001"))
                sent.append(f"v1:{number:032x}")
        except OSError as error:
            pass
        if len(sent) < in_flight:  # somebody else takes what is left
            try:
                with path.with_name("other").open("wb", buffering=0) as other:
                    while other.write(bytes(1000)):
                        pass
            except OSError:
                pass
        for key in sent:
            journal.append(Attempt(key, datetime.now(UTC), failure="off_label", message="长" * 500, answered=True))
            answered.append(key)
        if len(sent) < in_flight:
            break
    assert [attempt.row_key for attempt in read_attempts(path)] == answered
    assert journal.settled == journal.attempts
print(len(answered))
"""

OLD_LINES = (
    b'{"row_key":"v1:00000000000000000000000000000001","at_utc":"2026-01-02T12:00:00+00:00","label":"sport",'
    b'"answered":true,"confidence":0.98,"model":"gpt-4o-mini-2024-07-18","usage":{"input_tokens":450,'
    b'"cached_input_tokens":0,"output_tokens":20},"cost_usd":"0.0000795","seconds":0.4321}\n'
    b'{"row_key":"v1:00000000000000000000000000000002","at_utc":"2026-01-02T12:00:00.000001+00:00",'
    b'"failure":"timeout","message":"the provider did not answer in time","answered":false,"unseen_usd":"0.0002"}\n'
    b'{"row_key":"v1:00000000000000000000000000000003","at_utc":"2026-01-02T12:00:00+00:00",'
    b'"failure":"rate_limited","message":"m","answered":false,"usage":{"input_tokens":0,"cached_input_tokens":0,'
    b'"output_tokens":0},"cost_usd":"0","answers_before":1}\n'
)
"""Three lines as version 0.1 wrote them."""


OTHER_KEYS = [
    f'{{"{name}": {key}, "at_utc": "2026-01-02T12:00:00+00:00", "label": "sport"}}'.encode()
    for name in ("row_key", "sent")
    for key in ('"v2:00"', '"v1:"', '"v1:0g"', '"no key"', "5")
]
"""Lines of texts that are named in another way."""


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
                journal.note_sent(attempt_of(number).row_key, Decimal(1))
                journal.append(attempt_of(number, message="长" * 3000))

        threads = [threading.Thread(target=work, args=(start,)) for start in range(0, 200, 50)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert sorted(attempt.row_key for attempt in read_settled(path)) == [
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
        [b"{}", b"null", b"[" * 100_000, b'{"row_key": 1}', b"\xff\xfe", b"9" * 5000, b"NaN", *OTHER_KEYS]
    )
    between = [data.draw(garbage, label="garbage") for _ in range(kept)]
    content = b"".join(waste + b"\n" + line for waste, line in zip(between, lines, strict=False))
    path.write_bytes(content + torn + bytes(data.draw(st.sampled_from([0, 1, 9000]), label="room")))
    whole = [attempt_of(number) for number in range(kept)]
    assert read_attempts(path) == whole
    with Journal(path) as journal:
        assert journal.attempts == journal.settled == whole
        assert journal.unread_lines == sum(bool(waste.strip(b"\0 \t\r")) for waste in between)
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
    told = message.replace("\ud800", "?")
    assert json.loads(path.read_bytes())["message"] == told
    assert read_attempts(path)[0].message == told


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
    assert read_attempts(path)[-1].row_key == "v1:1a57"


def test_what_an_older_version_wrote_is_read(tmp_path):
    """A journal without notes says what it said."""
    path = tmp_path / "j.jsonl"
    path.write_bytes(OLD_LINES)
    labeled, lost, refused = read_settled(path)
    assert (labeled.label, labeled.usage, labeled.cost_usd) == (
        "sport",
        Usage(450, 0, 20),
        Decimal("0.0000795"),
    )
    assert (labeled.confidence, labeled.seconds, labeled.service_tier) == (0.98, 0.4321, None)
    assert (lost.failure, lost.usage, lost.unseen_usd) == ("timeout", None, Decimal("0.0002"))
    assert (refused.usage, refused.cost_usd, refused.answers_before) == (Usage(), 0, 1)


def test_what_was_sent_and_never_heard_of_counts_once_its_run_is_dead(tmp_path, held_elsewhere):
    """At its worst case, as `interrupted`; while the run lives it is in flight, and an attempt closes it."""
    path = tmp_path / "j.jsonl"
    with Journal(path) as journal:
        journal.note_sent(attempt_of(0).row_key, Decimal("0.25"))
        journal.note_sent(attempt_of(1).row_key, Decimal("0.5"))
        journal.note_sent(attempt_of(2).row_key, None)
        journal.append(attempt_of(0))
        assert read_settled(path) == journal.attempts == [attempt_of(0)]
    with held_elsewhere("journal", path):
        assert read_settled(path) == [attempt_of(0)]
    lost, unpriced, labeled = read_settled(path)
    assert labeled == attempt_of(0)
    assert [(one.failure, one.usage, one.cost_usd, one.answered) for one in (lost, unpriced)] == [
        ("interrupted", None, None, False)
    ] * 2
    assert (lost.row_key, lost.unseen_usd, unpriced.unseen_usd) == (
        attempt_of(1).row_key,
        Decimal("0.5"),
        None,
    )
    assert read_attempts(path) == [attempt_of(0)]


def test_a_torn_answer_leaves_its_request_open(tmp_path):
    """It was paid, and what it said is lost: it counts as a request without usage."""
    path = tmp_path / "j.jsonl"
    with Journal(path) as journal:
        journal.note_sent(attempt_of(0).row_key, Decimal("0.25"))
        journal.append(attempt_of(0))
    path.write_bytes(path.read_bytes()[:-5])
    (lost,) = read_settled(path)
    assert (lost.failure, lost.unseen_usd) == ("interrupted", Decimal("0.25"))


def test_what_came_later_stays_later(tmp_path):
    """A note whose answer could not be written doesn't come after the label that the same text got then."""
    path = tmp_path / "j.jsonl"
    with Journal(path) as journal:
        journal.note_sent(attempt_of(0).row_key, None)
        journal.note_sent(attempt_of(0).row_key, None)
        journal.append(attempt_of(0))
    assert [attempt.failure for attempt in read_settled(path)] == ["interrupted", None]


@settings(max_examples=60, deadline=None)
@given(steps=st.lists(st.tuples(st.sampled_from(["sent", "known"]), st.integers(0, 3)), max_size=30))
def test_each_request_counts_once_whatever_was_noted(tmp_path_factory, steps):
    """Requests are the attempts and the notes that none has closed, in memory as on disk, at each moment of a crash."""
    path = tmp_path_factory.mktemp("j") / "j.jsonl"
    is_open, attempts = dict.fromkeys(range(4), 0), 0
    with Journal(path) as journal:
        for what, number in steps:
            if what == "sent":
                journal.note_sent(attempt_of(number).row_key, Decimal(1))
                is_open[number] += 1
            else:
                journal.append(attempt_of(number))
                is_open[number] = max(0, is_open[number] - 1)
                attempts += 1
        copy = path.with_name("killed.jsonl")
        copy.write_bytes(path.read_bytes())
        assert read_settled(copy) == journal.settled
        assert len(journal.settled) == attempts + sum(is_open.values())
        assert len(journal.attempts) == attempts
    assert not path.read_bytes().endswith(b"\0")
    with Journal(copy) as journal:
        journal.append(attempt_of(9))
    assert len(read_attempts(copy)) == attempts + 1


def test_a_living_journals_room_goes_when_it_is_closed(tmp_path):
    """While a request is in flight the file holds room for its answer; a closed one holds lines alone."""
    path = tmp_path / "j.jsonl"
    with Journal(path) as journal:
        journal.note_sent(attempt_of(0).row_key, None)
        assert path.stat().st_size > LINE_BYTES
    assert path.stat().st_size < 200
    assert path.read_bytes().endswith(b"}\n")


def test_a_line_longer_than_its_room_is_written_all_the_same(tmp_path):
    """Where the disk has place for it."""
    path = tmp_path / "j.jsonl"
    with Journal(path) as journal:
        journal.note_sent(attempt_of(0).row_key, None)
        journal.append(attempt_of(0, message="长" * 60_000))
        journal.note_sent(attempt_of(1).row_key, None)
        journal.append(attempt_of(1))
    assert [attempt.row_key for attempt in read_settled(path)] == [attempt_of(n).row_key for n in range(2)]


@contextmanager
def small_disk(folder):
    """A disk of 1 MiB that is really full when it is full."""
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=1m", "labelmill-test", str(folder)],
        capture_output=True,
        check=False,
    )
    if mounted.returncode:
        pytest.skip("a disk can't be mounted here")
    try:
        yield folder
    finally:
        subprocess.run(["umount", str(folder)], check=True)


@pytest.mark.skipif(shutil.which("mount") is None, reason="a disk can't be mounted here")
def test_a_disk_that_others_fill_has_place_for_the_answers_to_what_was_sent(tmp_path):
    """That it is full is known before a request is sent: each one that went out has its answer in the journal."""
    with small_disk(tmp_path / "disk") as disk:
        done = subprocess.run(
            [sys.executable, "-c", FILL_A_DISK_THAT_OTHERS_USE, str(disk / "j.jsonl"), "32"],
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        assert len(read_attempts(disk / "j.jsonl")) == int(done.stdout) > 32


LIMIT_ALL_FILES = (
    "import resource\nresource.setrlimit(resource.RLIMIT_FSIZE, (300_000, resource.RLIM_INFINITY))\n"
)


def test_a_file_that_may_not_grow_is_known_before_a_request_is_sent(tmp_path):
    """The same where it is the size of a file that is limited."""
    path = tmp_path / "j.jsonl"
    done = subprocess.run(
        [sys.executable, "-c", LIMIT_ALL_FILES + FILL_A_DISK_THAT_OTHERS_USE, str(path), "20"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert len(read_attempts(path)) == int(done.stdout) > 20


def test_a_journal_that_was_set_aside_is_looked_at_by_other_versions_alone(tmp_path):
    """It keeps its content, no `*.jsonl` finds it, and the version that couldn't read it leaves it in peace."""
    path = tmp_path / "run-00000.jsonl"
    content = written(path, 1) + b'{"of": "a later version"}\n'
    path.write_bytes(content)
    with Journal(path) as journal:
        assert (journal.attempts, journal.unread_lines) == ([attempt_of(0)], 1)
        aside = journal.set_aside()
    assert list(tmp_path.glob("*.jsonl")) == []
    assert aside.read_bytes() == content
    bring_back(tmp_path)
    assert list(tmp_path.iterdir()) == [aside]
    aside.rename(tmp_path / "run-00000.jsonl.unread-0.0.1")
    bring_back(tmp_path)
    assert list(tmp_path.iterdir()) == [path]


def test_two_that_look_at_a_journal_do_not_take_each_other_for_its_run(tmp_path):
    """A run that starts while somebody looks at the costs still sees that the journal is abandoned."""
    path = tmp_path / "j.jsonl"
    written(path, 1)
    with path.open("rb") as looking:
        fcntl.flock(looking, fcntl.LOCK_SH)
        assert is_abandoned(path)


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
