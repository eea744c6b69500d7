"""A run's summary: rows, bill and labels, a few texts, where all of it is, and what to do next."""

import io
import re
import shlex

import polars as pl
import pytest
from rich.cells import cell_len

import commands.summary
from commands.next_steps import polars_line
from commands.summary import show
from commands.terminal import ProseConsole
from labelmill.pipeline.label import label
from labelmill.run.record import RunRecord


@pytest.fixture
def shown(job_of):
    """What `show` prints of a record to a terminal of 80 columns, without its colours."""

    def show_record(job_file=None, width=80, *, is_terminal=True, **fields):
        out = io.StringIO()
        console = ProseConsole(
            file=out, width=width, force_terminal=is_terminal, color_system=None, highlight=False
        )
        job = fields.get("job") or job_of(
            labels=dict.fromkeys(fields.get("labels", {"sport": 1, "money": 0}), "")
        )
        show(RunRecord.model_validate(RECORD | {"job": job} | fields), job_file, console)
        return out.getvalue()

    return show_record


RECORD = {
    "run_id": "20260301-120000-ab12",
    "status": "completed",
    "message": None,
    "practice": False,
    "task_key": "0123456789abcdef",
    **{f"rows_{name}": 1 for name in ("total", "labeled", "reused", "failed", "pending")},
    **dict.fromkeys(("texts_asked", "requests", "input_tokens", "cached_input_tokens", "output_tokens"), 1),
    "requests_without_usage": 0,
    "cost_usd": 0.5,
    "unseen_usd": 0.0,
    "price": None,
    "seconds": 1.0,
    "labels": {"sport": 1, "money": 0},
    "failures": {},
    "started_at_utc": "2026-03-01T12:00:00Z",
    "finished_at_utc": "2026-03-01T12:00:01Z",
    "labeled_path": "/out/labeled",
    "failed_path": None,
}


def test_what_could_not_be_left_is_said_at_the_end(shown):
    """After the numbers and the paths, once; a report that isn't there is not pointed to."""
    omission = "the report could not be written: No space left on device"
    printed = " ".join(shown(notices=["the prompt has changed", omission], omissions=[omission]).split())
    assert printed.endswith(f"labels /out/labeled {omission}.")
    assert (printed.count(omission), printed.count("the prompt has changed.")) == (1, 1)


def test_a_summary_that_can_not_be_shown_ends_no_command(shown, monkeypatch):
    """The run is over and paid; what could not be shown is a sentence."""

    def broken(_):
        raise TypeError("no")

    monkeypatch.setattr(commands.summary, "bill_of", broken)
    assert "The summary could not be shown: TypeError: no." in shown()


def test_files_that_were_left_out_are_in_the_summary(shown):
    """With their rows, of which no share is taken."""
    file = {"path": "/in/b.parquet", "column": "text", "reason": "no UTF-8", "rows": 2}
    printed = shown(
        status="files_unreadable",
        rows_total=3,
        rows_unreadable=2,
        unreadable_files=[file],
        rows_failed=0,
        rows_pending=0,
    )
    assert "some files can't be read" in printed
    assert "1 (100.0% of the readable rows)" in printed
    assert re.search(r"unreadable \(in files left out\) +2", printed)


def test_prose_is_broken_between_words(shown):
    """The last sentence holds the provider's words and may be long: no word of it is cut at the terminal's edge."""
    words = [f"word{number:03}" for number in range(120)]
    printed = shown(status="failed", message=" ".join(words))
    lines = printed.splitlines()
    assert [word for line in lines for word in line.split() if word.startswith("word")] == [
        *words[:-1],
        f"{words[-1]}.",
    ]
    assert all(len(line.rstrip()) <= 80 for line in lines[:-2])


def test_what_a_provider_says_moves_no_cursor(shown):
    """Nothing from outside reaches a terminal as an escape sequence, a bell or mark-up, nor turns its line around."""
    evil = "\x1b]0;p\x07\x1b[2J\u202e[bold]x[/bold]\r"
    printed = shown(
        status="failed",
        message=evil,
        labels={evil: 1, "money": 0},
        failures={evil: 1},
        provider_messages=[{"count": 2, "text": f"2 {evil}"}],
        wrong_answers=[{"count": 1, "text": f"3 {evil}"}],
        labeled_path=evil,
    )
    assert not {"\x1b", "\x07", "\u202e", "\r"} & set(printed)
    assert printed.count("[bold]x[/bold]") == 6


def test_labels_beyond_the_first_are_said_to_be_there(shown):
    """Of thirty labels twenty are shown, zeros included, and how many more there are with how many rows."""
    labels = {f"label {number:02}": max(0, 24 - number) for number in range(30)}
    printed = shown(labels=labels, rows_labeled=sum(labels.values()))
    assert "label 19" in printed
    assert "label 20" not in printed
    assert re.search(r"and 10 more +10 +3\.3%", printed)
    assert re.search(r"money +0 +0\.0%", shown())


def test_causes_are_printed_below_the_failures_of_a_run_that_completed(shown):
    """Where they are not in the last sentence already."""
    said = {
        "provider_messages": [{"count": 180, "text": "500: oops"}],
        "wrong_answers": [{"count": 1, "text": "not one of the labels: 'maybe'"}],
    }
    printed = shown(failures={"off_label": 1}, **said)
    assert "provider, 180 times: 500: oops" in printed
    assert "wrong answer, once: not one of the labels: 'maybe'" in printed
    told = shown(status="failed", message='oops. Why: "500: oops" (180 times)', **said)
    assert told.count("500: oops") == 1


def test_rows_without_a_text_are_not_red(shown):
    """They stand among the rows and in no line of what failed."""
    printed = shown(rows_total=3, rows_empty=1, rows_failed=0, rows_pending=1)
    assert re.search(r"empty \(no text\) +1 ", printed)
    assert "failed " not in printed.split("Labels", 1)[1]


def test_labels_have_two_texts_each_on_a_terminal_alone(shown, job_of, write_texts):
    """Cut to one line whatever they hold, Chinese ones by their cells; a label without rows is there too. A log gets no text."""
    long = "market " * 40
    write_texts(["a match", "二十字以上的比赛match文本" * 6, "another\nmatch \x1b[2J", long, "a match", ""])
    labels = {"sport": "match", "money": "market", "健康与医疗": "", "a very long name of a label " * 5: ""}
    record = label(job_of(labels=labels))
    for width in (60, 80, 120):
        told = shown(width=width, **record.model_dump(mode="json"))
        lines = told[told.index("\nLabels\n") + 1 :].splitlines()
        (at,) = [index for index, line in enumerate(lines) if line.startswith("sport ")]
        assert re.match(r"sport .* 4 +80\.0%  a match$", lines[at].rstrip())
        assert re.match(r" +(二十字|another match +\[2J)", lines[at + 1])
        assert re.search(r"健康与医疗 +0 +0\.0%", told)
        assert re.search(r"a very .*… +0 +0\.0%", told)
        assert max(cell_len(line.rstrip()) for line in lines[: lines.index("")]) <= width
    log = shown(is_terminal=False, **record.model_dump(mode="json"))
    assert "a match" not in log
    assert re.search(r"sport +4 +80\.0%", log)


def test_a_path_stays_on_one_line(shown):
    """However long it is, and with spaces in it: a terminal that folds it copies it whole."""
    path = "/a folder with spaces/" + "and more/" * 20 + "labeled"
    assert f"\nlabels  {path}\n" in shown(width=60, labeled_path=path)


@pytest.mark.parametrize("width", [24, 30, 40, 60])
def test_no_number_of_a_run_is_cut_off(shown, width):
    """In as little room as there may be: the names beside the numbers are broken instead."""
    lines = shown(
        width=width,
        rows_total=1_234_567,
        input_tokens=98_765_432,
        cost_usd=0.00007953,
        rows_labeled=1_200_000,
    ).splitlines()
    for number in ("1,234,567", "98,765,432", "$0.00007953", "1,200,000"):
        assert any(number in line.split() for line in lines), number
    assert "…" not in "".join(lines)


ENDINGS = {
    "completed": ({}, r"pl\.read_parquet\('/out/labeled/\*\*/\*\.parquet', hive_partitioning=True\)"),
    "rehearsed": ({"practice": True}, r"set provider = \"openai\".*labelmill run 'my job.toml'$"),
    "failures": (
        {"status": "too_many_failures", "rows_failed": 2, "failed_path": "/out/failed/a.parquet"},
        r"/out/failed/a\.parquet .*2 rows failed; the file above says why\..* 'my job.toml' --retry-failed$",
    ),
    "budget": (
        {"status": "budget_reached", "message": "max_cost_usd = 2.5 would be passed", "texts_labeled": 3},
        r"may spend max_cost_usd = 2\.5 once more.*labelmill run 'my job.toml'$",
    ),
    "tiny budget": (
        {"status": "budget_reached", "message": "max_cost_usd = 2.5 would be passed", "texts_labeled": 0},
        r"Raise max_cost_usd in my job\.toml, or for one run: .*--max-cost-usd 5$",
    ),
    "daily budget": (
        {"status": "budget_reached", "message": "max_cost_usd_per_day = 1 would be passed"},
        r"Raise max_cost_usd_per_day in my job\.toml, or run it again next day \(UTC\)",
    ),
    "batches": ({"status": "waiting", "texts_out": 5}, r"A batch may take up to a day.*labelmill run"),
    "cancelled": ({"status": "cancelled"}, r"To go on from there: .*labelmill run"),
    "failed": ({"status": "failed"}, r"Once the cause above is removed, run it again: .*labelmill run"),
}


@pytest.mark.parametrize(("fields", "said"), ENDINGS.values(), ids=ENDINGS)
def test_a_summary_says_what_to_do_next(shown, job_of, fields, said):
    """By how the run ended, with a command that names the job file as a shell takes it, on one line whatever the width."""
    job = job_of(run={"max_cost_usd": 2.5})
    told = {"rows_failed": 0, "rows_pending": 0, "labeled_run_id": RECORD["run_id"], "job": job, **fields}
    printed = shown("my job.toml", width=60, **told)
    assert re.search(said, " ".join(printed.split()))
    for line in printed.splitlines():
        if "labelmill run" in line:
            assert shlex.split(line)[1:3] == ["run", "my job.toml"]


def test_the_line_for_polars_reads_the_labels(tmp_path):
    """As printed, from a folder whose name a pattern would take for more than a name."""
    labeled = tmp_path / "a [b] 'c'" / "labeled"
    labeled.mkdir(parents=True)
    pl.DataFrame({"label": ["sport"]}).write_parquet(labeled / "a.parquet")
    assert eval(polars_line(str(labeled)), {"pl": pl})["label"].to_list() == ["sport"]  # noqa: S307  (our own line)
