"""What comes from outside is shown on a terminal and never obeyed, and no encoding of the output ends a command."""

import io
import json
import logging
import os
import re
import subprocess
import sys
from collections import defaultdict
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import LogFilter, LogFilterFlowRunId
from prefect.client.schemas.sorting import FlowRunSort
from prefect.logging.handlers import PrefectConsoleHandler
from prefect.settings import PREFECT_API_URL, temporary_settings
from rich.console import Console

from commands.terminal import print_json, shown
from labelmill.errors import JobRefused, Mistake
from labelmill.report import progress_bar
from labelmill.report.history import HistoryView
from tasks.log_lines import forward_logs
from tasks.states import state_of, state_without_record

ROOT = Path(__file__).parent.parent.parent
LABELMILL = Path(sys.executable).parent / "labelmill"
OBEYED = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e]")
ORDERS = "\x1b]0;a title\x07\x1b[2J\x9b31m\u202egone"
JOB = """
name = "test"
[source]
path = "source.parquet"
text = "text"
[labels]
"体育🏀" = "match"
"财经" = "market"
[model]
provider = "{provider}"
name = "gpt-4o-mini"
[output]
path = "out"
"""


@pytest.fixture
def labelmill(tmp_path, prefect_server, write_texts):
    """Run the command line over two texts, with other variables; returns what it wrote as bytes."""

    def run(*arguments, provider="practice", **environment):
        write_texts(["a match", "the market"])
        (tmp_path / "job.toml").write_text(JOB.format(provider=provider), encoding="utf-8")
        return subprocess.run(
            [LABELMILL, *arguments],
            capture_output=True,
            cwd=tmp_path,
            env={**os.environ, "PREFECT_API_URL": prefect_server, "COLUMNS": "200", **environment},
            timeout=120,
            check=False,
        )

    return run


def _printed(text):
    """What a console that is no terminal gets of a text."""
    file = io.StringIO()
    Console(file=file, highlight=False, width=1000).print(text, soft_wrap=True)
    return file.getvalue()


@given(st.text() | st.text(alphabet="\x1b[]0;J\x07\x9b/bold\n\\"))
def test_no_text_from_outside_gives_a_terminal_orders(text):
    """Whatever a provider says, it comes out as one line of plain characters, and no markup of it counts."""
    printed = _printed(shown(text))
    assert not OBEYED.search(printed)
    assert printed.count("\n") == 1
    assert _printed(shown("[bold]x[/]")) == "[bold]x[/]\n"


def test_all_that_is_printed_goes_the_same_way():
    """Escaping markup alone lets control characters through: the commands have one function for both."""
    users = [path.name for path in (ROOT / "commands").glob("*.py") if "rich.markup" in path.read_text()]
    assert users == ["terminal.py"]


def test_a_providers_words_give_the_terminal_no_orders(labelmill, scripted, prefect_server):
    """A real run that ends on a message full of escape sequences: the words are there, in the terminal and in Prefect."""
    message = f"your key {ORDERS} is not known here"
    scripted.reply((401, {"error": {"message": message, "code": "invalid_api_key"}}))
    done = labelmill(
        "run", "job.toml", "--json", "--model-base-url", scripted.base_url,
        provider="openai", OPENAI_API_KEY="sk-test-0000000000", PREFECT_LOGGING_LEVEL="INFO",
    )  # fmt: skip
    assert "is not known here" in done.stderr.decode()
    assert not OBEYED.search(done.stderr.decode())
    assert not OBEYED.search(done.stdout.decode())
    with temporary_settings({PREFECT_API_URL: prefect_server}), get_client(sync_client=True) as client:
        runs = [
            run
            for run in client.read_flow_runs(sort=FlowRunSort.START_TIME_DESC)
            if "is not known here" in (run.state.message or "")
        ]
        its_lines = LogFilter(flow_run_id=LogFilterFlowRunId(any_=[runs[0].id]))
        lines = [line.message for line in client.read_logs(its_lines)]
    for said in ([run.state.message for run in runs], lines):
        ours = [words for words in said if "is not known here" in words]
        assert ours
        assert not OBEYED.search("".join(ours))


def test_a_providers_words_give_no_orders_without_a_server(labelmill, scripted):
    """The same of a run in its own process, whose log is its own."""
    message = f"your key {ORDERS} is not known here"
    scripted.reply((401, {"error": {"message": message, "code": "invalid_api_key"}}))
    done = labelmill(
        "run", "job.toml", "--json", "--model-base-url", scripted.base_url,
        provider="openai", OPENAI_API_KEY="sk-test-0000000000", PREFECT_LOGGING_LEVEL="DEBUG", PREFECT_API_URL="",
    )  # fmt: skip
    assert "is not known here" in done.stderr.decode()
    assert not OBEYED.search(done.stderr.decode() + done.stdout.decode())


@pytest.mark.parametrize("status", ["completed", "waiting", "budget_reached", "cancelled", "failed"])
def test_a_states_message_gives_no_orders(status):
    """Prefect prints a state's message and shows it everywhere: it holds no control character, however the run ended."""
    assert not OBEYED.search(state_of(status, None, f"2 of 5 rows. {ORDERS}").message)
    refused = JobRefused([Mistake("model.name", ORDERS)])
    assert not OBEYED.search(state_without_record(refused, "out").message)


def test_log_lines_give_no_orders():
    """A line of the log, its arguments and its traceback are shown; their line breaks stay."""
    log, stream = logging.getLogger("prefect.test-terminal"), io.StringIO()
    handler = PrefectConsoleHandler(stream=stream)
    log.addHandler(handler)
    log.propagate = False
    try:
        forward_logs()
        forward_logs()
        log.warning("one %s\ntwo", ORDERS)
        log.warning("a traceback", exc_info=ValueError(ORDERS))
        log.warning("%d words", "no number")  # a mistake in a log line raises nothing here either
    finally:
        log.removeHandler(handler)
    assert "gone\n" in stream.getvalue()
    assert "ValueError" in stream.getvalue()
    assert not OBEYED.search(stream.getvalue())


def test_the_history_gives_no_orders():
    """Names of jobs and of endings stand in `costs` as they are spelt, and not as a terminal would take them."""
    run = defaultdict(float, run_id=f"run{ORDERS}", kind="run", status=f"odd{ORDERS}")
    total = defaultdict(float)
    history = {"total": total, "runs": [run], "days": [], "months": []}
    assert not OBEYED.search(_printed(HistoryView(f"job{ORDERS}", history)))


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "gbk"])
def test_a_run_and_its_costs_survive_an_encoding_of_few_letters(labelmill, tmp_path, encoding):
    """What the output can't hold is spelt out; a program that reads --json gets the same values as from the file."""
    done = labelmill("run", "job.toml", "--json", PYTHONIOENCODING=encoding)
    assert (done.returncode, b"UnicodeEncodeError" in done.stderr) == (0, False), done.stderr[-2000:]
    record = json.loads(done.stdout.decode(encoding))
    written = tmp_path / "out" / "runs" / record["run_id"] / "run.json"
    assert json.loads(written.read_text(encoding="utf-8")) == record
    assert "体育🏀" in record["labels"]
    for options in ([], ["--json"]):
        told = labelmill("costs", "job.toml", *options, PYTHONIOENCODING=encoding)
        assert (told.returncode, told.stderr) == (0, b"")
    assert json.loads(told.stdout.decode(encoding))["practice"]["total"]["texts"] == 2


def test_a_comparison_survives_an_encoding_of_few_letters(labelmill):
    """The tables, the sentences and the numbers of `compare` come out in ASCII too."""
    options = ("--rows", "2", "--concurrency", "1", "--batch-wait-minutes", "0")
    done = labelmill("compare", "job.toml", *options, "--json", PYTHONIOENCODING="ascii")
    assert (done.returncode, b"UnicodeEncodeError" in done.stderr) == (0, False), done.stderr[-2000:]
    assert json.loads(done.stdout.decode("ascii"))["rows"] == 2
    shown_too = labelmill("compare", "job.toml", *options, PYTHONIOENCODING="ascii")
    assert (shown_too.returncode, b"UnicodeEncodeError" in shown_too.stderr) == (0, False)


def test_mistakes_survive_an_encoding_of_few_letters(labelmill):
    """A sentence about a file whose name the output can't spell is a sentence."""
    done = labelmill("run", "体育.toml", PYTHONIOENCODING="ascii")
    assert (done.returncode, b"Traceback" in done.stderr) == (2, False)
    assert b"\\u4f53\\u80b2.toml" in done.stderr


def test_the_progress_bar_survives_an_encoding_of_few_letters(monkeypatch):
    """A terminal that knows ASCII only shows a bar of what it knows."""
    raw = io.BytesIO()
    file = io.TextIOWrapper(raw, encoding="ascii", errors="backslashreplace")
    monkeypatch.setattr(progress_bar, "SECONDS_BETWEEN_LOOKS", 0.001)
    with progress_bar.progress_bar(Console(file=file, force_terminal=True, width=80)):
        pass
    file.flush()
    assert b"starting Prefect" in raw.getvalue()


@given(
    st.text(st.characters(exclude_categories=()), max_size=20), st.sampled_from(["ascii", "utf-8", "cp1252"])
)
def test_json_keeps_its_values_in_any_encoding(text, encoding):
    """Pairs of surrogates, lone ones and control characters come back as they were."""
    raw = io.BytesIO()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "stdout", io.TextIOWrapper(raw, encoding=encoding, newline="\n"))
        print_json(json.dumps({"text": text}, ensure_ascii=False))
        sys.stdout.flush()
        printed = raw.getvalue().decode(encoding)
    assert json.loads(printed) == {"text": text}
    assert not re.search(r"[\x00-\x09\x0b-\x1f\x7f-\x9f]", printed)
