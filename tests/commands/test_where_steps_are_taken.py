"""Where the steps of a run are taken: on the server that there is, and without one in the process of the command."""

import io
import logging
import os
import subprocess
import sys
from pathlib import Path

import pytest
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import FlowRunFilter
from prefect.settings import PREFECT_API_URL, temporary_settings
from servers.base import serving
from servers.prefect_stand_in import PrefectStandIn
from terminals import terminal

import commands.main
from commands.log_lines import leave_log_to_prefect, log_lines
from practice import PracticeSettings

LABELMILL = Path(sys.executable).parent / "labelmill"
ORDERS = "\x1b]0;a title\x07\x1b[2J\x9b31m\u202egone"
SEEN = "To see runs in Prefect's UI as well, start its server first:"
COMPARE = ("compare", "job.toml", "--rows", "2", "--concurrency", "2", "--batch-wait-minutes", "0")


@pytest.fixture
def folder(tmp_path, write_texts):
    """A folder with a job of the practice provider over two texts."""
    write_texts(["football", "bank"])
    (tmp_path / "job.toml").write_text(
        """
name = "news"
source = { path = "source.parquet", text = "text" }
labels = { sport = "football", money = "bank" }
model = { provider = "practice", name = "gpt-4o-mini" }
output = { path = "out" }
"""
    )
    return tmp_path


@pytest.fixture
def labelmill(folder):
    """Run a command in that folder; returns the finished process."""

    def run(*words, program=(LABELMILL,), **environment):
        return subprocess.run(
            [*program, *words],
            cwd=folder,
            env={**os.environ, **environment},
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )

    return run


@pytest.mark.slow
@pytest.mark.parametrize("words", [("run", "job.toml"), COMPARE], ids=["run", "compare"])
def test_without_a_server_prefect_is_not_imported(labelmill, tmp_path, words):
    """A whole run and a whole comparison import nothing of Prefect and write nothing into its home."""
    code = "import sys; from commands.main import app; app(sys.argv[1:], standalone_mode=False); print(*sys.modules)"
    home = tmp_path / "home"
    done = labelmill(*words, program=[sys.executable, "-c", code], PREFECT_HOME=str(home))
    assert done.returncode == 0, done.stderr
    modules = {name.partition(".")[0] for name in done.stdout.split()}
    assert "labelmill" in modules
    assert not modules & {"prefect", "fastapi", "tasks", "flows"}
    assert not home.exists()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("file", "words"),
    [
        ("home/profiles.toml", 'active = "mine"\n[profiles.mine]\nPREFECT_API_URL = "{url}"\n'),
        ("prefect.toml", '[api]\nurl = "{url}"\n'),
        ("pyproject.toml", '[tool.prefect.api]\nurl = "{url}"\n'),
        (".env", "PREFECT_API_URL={url}\n"),
    ],
)
def test_a_server_that_prefects_own_files_name_is_used(labelmill, folder, file, words):
    """A profile and the other files that Prefect reads count as much as the environment: the server they name is asked."""
    with serving(PrefectStandIn(version="2.20.4")) as server:
        path = folder / file
        path.parent.mkdir(exist_ok=True)
        path.write_text(words.format(url=server.api_url))
        done = labelmill("run", "job.toml", PREFECT_HOME=str(folder / "home"))
    assert (done.returncode, "is Prefect 2.20.4" in done.stderr) == (2, True), done.stderr


@pytest.mark.slow
@pytest.mark.parametrize(
    ("file", "words"),
    [
        ("pyproject.toml", '[project]\nname = "mine"\ndependencies = ["prefect>=3"]\n'),
        (".env", "PREFECT_API_AUTH_STRING=admin:right\n"),
        ("pyproject.toml", "\xff no TOML"),
    ],
)
def test_files_that_name_no_server_are_no_server(labelmill, folder, file, words):
    """A project that needs Prefect, other settings and a file that can't be read leave a run to itself."""
    (folder / file).write_bytes(words.encode("latin-1"))
    done = labelmill("run", "job.toml", program=[sys.executable, LABELMILL])
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(("limit", "code"), [("llm", 2), ("labelmill", 0)])
def test_a_limit_that_is_shared_needs_a_server(labelmill, folder, limit, code):
    """Without one a limit is refused, which would be shared with nobody; that of `labelmill up` binds nobody while that is down."""
    with (folder / "job.toml").open("a") as job:
        job.write(f'run = {{ shared_limit = "{limit}" }}\n')
    done = labelmill("run", "job.toml")
    sentence = f"error run.shared_limit: found {limit!r}, a limit of a Prefect server, and no server is up"
    assert (done.returncode, sentence in done.stderr) == (code, code == 2), done.stderr
    assert (folder / "out").exists() == (code == 0)


def test_how_runs_are_seen_is_not_told_where_they_are(labelmill, prefect_server):
    """A run that a server shows says nothing of one that could be started."""
    on_server = labelmill("run", "job.toml", PREFECT_API_URL=prefect_server)
    assert (on_server.returncode, SEEN in on_server.stdout) == (0, False), on_server.stderr


def test_how_runs_are_seen_is_told_once(labelmill):
    """The first summary ends on it, with a command that can be copied; a program's JSON and the second summary don't have it."""
    first, second = labelmill("run", "job.toml"), labelmill("run", "job.toml")
    assert SEEN in first.stdout
    assert first.stdout.rstrip().endswith("labelmill up")
    assert SEEN not in second.stdout


def test_json_is_told_nothing_more(labelmill):
    """Neither output of a run whose record a program reads says how runs are seen."""
    done = labelmill("run", "job.toml", "--json")
    assert (done.returncode, SEEN in done.stdout + done.stderr) == (0, False)


def test_off_a_terminal_the_log_is_on_standard_error(labelmill):
    """Its lines have a time and a level, as Prefect's have, and each is written once."""
    done = labelmill("run", "job.toml", PREFECT_LOGGING_LEVEL="INFO")
    (line,) = [line for line in done.stderr.splitlines() if "Published 2 rows in 1 file" in line]
    time, level, words = line.split(" | ")
    assert (len(time), level, words) == (
        12,
        "INFO   ",
        "Published 2 rows in 1 file: 2 labeled, 0 failed, 0 pending",
    )
    assert "Published" not in done.stdout


@pytest.mark.parametrize("presses", [1, 2])
def test_ctrl_c_in_a_terminal(folder, practice, presses):
    """The first lets the run drain and publish; the second ends it at once and gives the cursor back. The next run goes on."""
    practice.configure(PracticeSettings(latency_seconds=0.5 if presses == 1 else 600))
    practice.reset()
    with (folder / "job.toml").open("a") as job:
        job.write("run = { max_concurrency = 1 }\n")
    words = [LABELMILL, "run", "job.toml", "--model-base-url", practice.base_url]
    with terminal(words, cwd=folder, env=os.environ, columns=80) as screen:
        while practice.totals()["in_flight"] < 1:
            assert screen.is_running
        screen.press_interrupt()
        screen.read_until("finishing what is in flight")
        if presses == 2:
            screen.press_interrupt()
        code, shown = screen.end()
    practice.configure(PracticeSettings())
    assert code == (1 if presses == 1 else 130), shown
    assert screen.shows_cursor
    assert ("stopped by SIGINT" in shown) == (presses == 1)
    again = subprocess.run(words, cwd=folder, capture_output=True, text=True, check=False)
    assert again.returncode == 0, again.stderr


def test_what_nobody_foresaw_is_a_traceback_that_gives_no_orders(monkeypatch, capsys):
    """Exit code 1 and all lines of the traceback, in which control characters have become spaces."""

    def fail():
        raise ValueError(ORDERS)

    monkeypatch.setattr(commands.main, "app", fail)
    with pytest.raises(SystemExit) as ended:
        commands.main.main()
    told = capsys.readouterr().err
    assert (ended.value.code, told.splitlines()[0]) == (1, "Traceback (most recent call last):")
    assert "ValueError: " in told
    assert not {"\x1b", "\x07", "\x9b", "\u202e"} & set(told)


@pytest.fixture
def logged(monkeypatch):
    """What a block's log lines leave on standard error."""

    def lines(work, *, quiet=False):
        file = io.StringIO()
        monkeypatch.setattr(sys, "stderr", file)
        with log_lines(quiet=quiet):
            work(logging.getLogger("labelmill.test"), logging.getLogger("somebody.else"))
        return file.getvalue().splitlines()

    return lines


@pytest.mark.parametrize(
    ("level", "quiet", "seen"), [("", False, "Iww"), ("", True, "ww"), ("DEBUG", True, "DIww")]
)
def test_the_log_has_a_level(logged, monkeypatch, level, quiet, seen):
    """Beside a progress bar warnings alone are written; the level that the user has set counts; others' lines are warnings alone."""
    monkeypatch.setenv("PREFECT_LOGGING_LEVEL", level)

    def work(ours, others):
        ours.debug("D")
        ours.info("I")
        others.info("i")
        ours.warning("w")
        others.warning("w")

    assert "".join(line[-1] for line in logged(work, quiet=quiet)) == seen


def test_the_log_gives_no_orders(logged):
    """Control characters become spaces, also in a traceback; after the log is left to Prefect nothing is written."""

    def work(ours, _):
        ours.warning("one %s", ORDERS)
        ours.warning("two", exc_info=ValueError(ORDERS))
        leave_log_to_prefect()
        ours.warning("three")

    lines = logged(work)
    assert not {"\x1b", "\x07", "\x9b", "\u202e"} & set("".join(lines))
    assert any(line.startswith("ValueError: ") for line in lines)
    assert not [line for line in lines if line.endswith("three")]


def test_a_log_that_nobody_reads_any_more_ends_no_run(monkeypatch):
    """A pipe whose reader is gone and a closed standard error swallow the lines."""
    reading, writing = os.pipe()
    os.close(reading)
    with open(writing, "w") as gone, log_lines(quiet=False):  # noqa: PTH123  (a descriptor)
        monkeypatch.setattr(sys, "stderr", gone)
        logging.getLogger("labelmill.test").warning("nobody reads this")
        os.dup2(os.open(os.devnull, os.O_WRONLY), writing)  # what is left in the buffer has to go somewhere
    with log_lines(quiet=False):
        logging.getLogger("labelmill.test").warning("nor this")


def test_a_run_on_a_server_is_found_by_its_tags(labelmill, prefect_server, folder):
    """The flow run has the job's name and `labelmill` as its tags from its beginning, and the job as a parameter."""
    name = f"tagged {folder.name}"
    (folder / "job.toml").write_text((folder / "job.toml").read_text().replace('"news"', f'"{name}"'))
    assert labelmill("run", "job.toml", PREFECT_API_URL=prefect_server).returncode == 0
    with temporary_settings({PREFECT_API_URL: prefect_server}), get_client(sync_client=True) as client:
        (run,) = client.read_flow_runs(flow_run_filter=FlowRunFilter(tags={"all_": ["labelmill", name]}))
        assert run.parameters["job"]["labels"] == {"sport": "football", "money": "bank"}
        tasks = client.read_task_runs(flow_run_filter=FlowRunFilter(id={"any_": [run.id]}))
    assert all({"labelmill", name} <= set(task.tags) for task in tasks)
