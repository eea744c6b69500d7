"""`labelmill compare` as a user has it: a subprocess, its exit code and what it prints."""

import json
import os
import pty
import select
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from labelmill.store.journal import read_attempts
from practice import PracticeSettings

NO_LANE = ("--batch-wait-minutes", "0")
LABELMILL = Path(sys.executable).parent / "labelmill"
TEXTS = [f"the {word} of day {number}" for number in range(20) for word in ("match", "market")]
COUNTS = {
    "rows",
    "labeled",
    "failed",
    "pending",
    "concurrency",
    "requests",
    "requests_without_usage",
    "input_tokens",
    "cached_input_tokens",
    "output_tokens",
    "reasoning_tokens",
}
AMOUNTS = {"seconds", "rows_per_second", "cost_usd", "cost_known_usd", "unseen_usd"}
COMPARED = {"speed_up", "rows_compared", "agreement_fraction"}


@pytest.fixture
def job_file(tmp_path, write_texts):
    """Write a job file over 40 texts and return its path."""

    def write(provider="practice", more=""):
        write_texts(TEXTS)
        file = tmp_path / "job.toml"
        file.write_text(
            f"""
name = "test"
[source]
path = "{tmp_path / "source.parquet"}"
text = "text"
[labels]
sport = "match"
money = "market"
[model]
provider = "{provider}"
name = "gpt-4o-mini"
[output]
path = "{tmp_path / "out"}"
{more}
"""
        )
        return file

    return write


@pytest.fixture
def environment(server_told):
    """The environment of a user without a key."""
    known = {name: value for name, value in os.environ.items() if not name.startswith("OPENAI_")}
    return {**known, **server_told, "COLUMNS": "200", "PREFECT_LOGGING_LEVEL": "INFO"}


@pytest.fixture
def labelmill(tmp_path, environment):
    """Run the command line in a folder of its own, without a key and without a terminal."""

    def run(*arguments):
        return subprocess.run(
            [LABELMILL, *map(str, arguments)],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            cwd=tmp_path,
            env=environment,
            timeout=120,
            check=False,
        )

    return run


@pytest.fixture
def ready(practice):
    """Set the session's practice provider up as if it had just started."""

    def set_up(settings=None):
        practice.configure(settings or PracticeSettings())
        practice.reset()
        return practice.base_url

    return set_up


def test_the_numbers_as_json(labelmill, job_file, practice, ready):
    """With --json, standard output is the record, whose figures are numbers and null where there is nothing to tell."""
    address = ready(PracticeSettings(latency_seconds=0.1))
    done = labelmill(
        "compare",
        job_file(),
        "--json",
        "--rows",
        15,
        "--concurrency",
        "1,4",
        "--model-base-url",
        address,
        *NO_LANE,
    )
    comparison = json.loads(done.stdout)
    assert done.returncode == 0, done.stderr
    assert (comparison["status"], comparison["rows"], comparison["practice"]) == ("completed", 15, True)
    assert comparison["requests"] == practice.totals()["requests"] == 1 + 4 * 15
    strategies = comparison["strategies"]
    assert [(figures["strategy"], figures["concurrency"]) for figures in strategies] == [
        ("sequential", 1),
        ("batch", 1),
        ("batch", 4),
        ("chunks", 32),
    ]
    for figures in strategies:
        assert (
            figures.keys() == {"strategy", "name", "failures", "answer_seconds"} | COUNTS | AMOUNTS | COMPARED
        )
        assert all(type(figures[name]) is int for name in COUNTS)
        assert all(type(figures[name]) is float for name in AMOUNTS)
    assert [strategies[0][name] for name in sorted(COMPARED)] == [None] * 3
    assert (strategies[2]["rows_compared"], strategies[2]["agreement_fraction"]) == (15, 1.0)
    assert strategies[2]["speed_up"] > 1.5
    written = Path(comparison["job"]["output"]["path"]) / "runs" / comparison["run_id"] / "compare.json"
    assert json.loads(written.read_text()) == comparison


def test_the_table_and_what_it_will_cost(labelmill, job_file, ready):
    """Standard output is the table; the cost is told on standard error before anything is asked."""
    done = labelmill(
        "compare", job_file(), "--rows", 10, "--concurrency", 3, "--model-base-url", ready(), *NO_LANE
    )
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    for name in ("sequential", "batch, 3 at once", "chunks, up to 32 at once"):
        (line,) = [line for line in lines if line.startswith(f"│ {name} ")]
        assert len(line.split("│")) == 11
    assert "1 column left out: failures (nothing in it); --json has all" in done.stdout
    assert "100.0% of 10" in done.stdout
    assert "Nothing was paid" in done.stdout
    told = done.stderr.index("10 texts, 31 requests: about $")
    assert told < done.stderr.index("A comparison of ")


@pytest.mark.parametrize(
    ("settings", "options", "code", "status"),
    [
        (PracticeSettings(), ["--max-cost-usd", "0.0005"], 4, "budget_reached"),
        (PracticeSettings(required_key="another"), [], 2, "failed"),
        (PracticeSettings(stubborn_faults={"server_error": 0.8}), [], 1, "failed"),
        (PracticeSettings(stubborn_faults={"content_filter": 0.2}), [], 0, "completed"),
        (PracticeSettings(batch_seconds=600), ["--batch-wait-minutes", "0.01"], 5, "waiting"),
    ],
)
def test_exit_codes_say_how_a_comparison_ended(labelmill, job_file, ready, settings, options, code, status):
    """4 at the budget, 5 with a batch out, 2 when nothing was spent, 1 when most fail; texts that fail are a finding."""
    address = ready(settings)
    done = labelmill("compare", job_file(), "--json", "--model-base-url", address, *options)
    assert json.loads(done.stdout)["status"] == status
    assert done.returncode == code


@pytest.mark.parametrize("words", ["two", "0", "1,,2", "", "1001", "-1"])
def test_a_wrong_list_of_levels_is_a_sentence(labelmill, job_file, words):
    """What is no list of numbers from 1 to 1000 ends with code 2 and says what was expected."""
    done = labelmill("compare", job_file(), f"--concurrency={words}")
    assert done.returncode == 2
    assert "such as 1,2,5" in done.stderr
    assert "Traceback" not in done.stderr


def test_money_is_not_spent_without_a_yes(labelmill, job_file, scripted, completion):
    """Without a terminal a paid comparison needs --yes: else code 2, the cost in a sentence, and not one request."""
    scripted.reply((200, completion("sport")))
    arguments = (
        "compare",
        job_file("openai"),
        *NO_LANE,
        "--rows",
        3,
        "--concurrency",
        2,
        "--model-base-url",
        scripted.base_url,
    )
    done = labelmill(*arguments)
    assert done.returncode == 2
    assert "--yes: is needed" in done.stderr
    assert "3 texts, 10 requests: about $" in done.stderr
    assert scripted.bodies == []
    agreed = labelmill(*arguments, "--yes", "--json")
    assert agreed.returncode == 0, agreed.stderr
    assert len(scripted.bodies) == json.loads(agreed.stdout)["requests"] == 10


@pytest.mark.parametrize(("answer", "code", "requests"), [("n", 1, 0), ("y", 0, 7)])
def test_in_a_terminal_a_person_is_asked(
    job_file, scripted, completion, environment, tmp_path, answer, code, requests
):
    """In a terminal the cost is shown with a question, and nothing is sent before it is answered with yes."""
    scripted.reply((200, completion("sport")))
    ours, theirs = pty.openpty()
    command = [LABELMILL, "compare", job_file("openai"), "--rows", "2", "--concurrency", "2", *NO_LANE]
    with subprocess.Popen(
        [*command, "--model-base-url", scripted.base_url],
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        cwd=tmp_path,
        env=environment,
    ) as running:
        os.close(theirs)
        shown = read_until(ours, "Continue?")
        assert "2 texts, 7 requests: about $" in shown
        assert scripted.bodies == []
        os.write(ours, f"{answer}\n".encode())
        rest = read_until(ours, None)
    os.close(ours)
    assert running.returncode == code, rest
    assert len(scripted.bodies) == requests


def read_until(terminal, words):
    """What a terminal shows until some words, or until its program is gone."""
    shown = ""
    while words is None or words not in shown:
        ready, _, _ = select.select([terminal], [], [], 60)
        assert ready, shown
        try:
            piece = os.read(terminal, 4096)
        except OSError:  # Linux says so when the other end is closed
            piece = b""
        if not piece:
            break
        shown += piece.decode(errors="replace")
    return shown


@pytest.fixture
def begun(job_file, practice, ready, environment, tmp_path):
    """Start a comparison with slow answers and wait until it is at its second strategy."""
    command = [LABELMILL, "compare", job_file(), "--json", "--rows", "20", "--concurrency", "4", *NO_LANE]
    running = subprocess.Popen(
        [*command, "--model-base-url", ready(PracticeSettings(latency_seconds=0.15))],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=tmp_path,
        env=environment,
    )
    while practice.totals()["requests"] < 29:
        assert running.poll() is None
        time.sleep(0.02)
    yield running
    running.kill()
    running.communicate()


def test_a_signal_drains_and_shows_what_there_is(begun, practice, labelmill):
    """After SIGINT what is in flight finishes, the strategies so far are shown, and the answers are in the ledger."""
    begun.send_signal(signal.SIGINT)
    printed, said = begun.communicate(timeout=60)
    comparison = json.loads(printed)
    assert (begun.returncode, comparison["status"]) == (1, "cancelled"), said
    assert comparison["requests"] == practice.totals()["requests"] < 61
    sequential, batch = comparison["strategies"]
    assert (sequential["labeled"], batch["strategy"]) == (20, "batch")
    assert batch["pending"] > 0
    assert batch["speed_up"] is None
    costs = json.loads(labelmill("costs", "job.toml", "--json").stdout)["practice"]["runs"]
    assert [(run["kind"], run["status"], run["requests"]) for run in costs] == [
        ("comparison", "cancelled", comparison["requests"])
    ]


def test_a_killed_comparison_loses_only_what_was_in_flight(begun, practice, ready, labelmill, tmp_path):
    """After kill -9 the next run folds the answers in and asks none of the sample again; no copy of a text stays."""
    begun.kill()
    begun.communicate()
    while practice.totals()["in_flight"]:  # what was sent before the kill arrives, and is answered
        time.sleep(0.02)
    ledger = tmp_path / "out" / "ledger"
    journals = [attempt for path in ledger.glob("*/*.jsonl") for attempt in read_attempts(path)]
    assert journals
    assert practice.totals()["requests"] - 21 - len(journals) <= 4
    done = labelmill("run", "job.toml", "--json", "--model-base-url", ready())
    record = json.loads(done.stdout)
    assert (record["rows_labeled"], record["rows_reused"]) == (40, 20)
    assert practice.totals()["requests"] == 20
    assert not list(ledger.glob("*/*.jsonl"))
    assert not list(tmp_path.glob("out/runs/*/pending*"))
