"""`labelmill run` and `labelmill demo` as a user has them: a subprocess, its exit code and what it prints."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import typer

import commands.demo
from labelmill.errors import CannotWrite, JobRefused, Mistake
from labelmill.job.file import draft_of_file
from practice import PracticeSettings

ROOT = Path(__file__).parent.parent.parent
LABELMILL = Path(sys.executable).parent / "labelmill"


@pytest.fixture
def job_file(tmp_path):
    """Write a job file and return its path."""

    def write(text="text", provider="practice", more="", path="source.parquet"):
        file = tmp_path / "job.toml"
        file.write_text(
            f"""
name = "test"
[source]
path = "{tmp_path / path}"
text = "{text}"
[labels]
"体育" = "足球、比赛"
"财经" = "银行、市场"
[model]
provider = "{provider}"
name = "gpt-4o-mini"
[output]
path = "{tmp_path / "out"}"
{more}
""",
            encoding="utf-8",
        )
        return file

    return write


@pytest.fixture
def labelmill(tmp_path, request):
    """Run the command line in a folder of its own, without a key."""

    def run(*arguments, **environment):
        known = {name: value for name, value in os.environ.items() if not name.startswith("OPENAI_")}
        if "server_told" in request.fixturenames:
            known |= request.getfixturevalue("server_told")
        return subprocess.run(
            [LABELMILL, *map(str, arguments)],
            capture_output=True,
            text=True,
            cwd=tmp_path,
            env={**known, "COLUMNS": "200", **environment},
            timeout=120,
            check=False,
        )

    return run


@pytest.mark.usefixtures("server_told")
def test_run_prints_its_record_as_json(labelmill, job_file, write_texts):
    """With --json, standard output is run.json and nothing else; the rest goes to standard error."""
    write_texts(["足球比赛", "银行市场", "足球比赛"])
    done = labelmill("run", job_file(), "--json")
    record = json.loads(done.stdout)
    assert done.returncode == 0
    assert (record["rows_labeled"], record["texts_asked"], record["labels"]) == (3, 2, {"体育": 2, "财经": 1})
    assert "not a language model" in done.stderr
    written = Path(record["labeled_path"]).parent / "runs" / record["run_id"] / "run.json"
    assert json.loads(written.read_text()) == record


@pytest.mark.usefixtures("server_told")
@pytest.mark.parametrize(
    ("settings", "options", "code", "status"),
    [
        (PracticeSettings(), ["--max-cost-usd", "0"], 4, "budget_reached"),
        (PracticeSettings(stubborn_faults={"content_filter": 1}), [], 3, "too_many_failures"),
        (PracticeSettings(required_key="another"), [], 2, "failed"),
    ],
)
def test_exit_codes_say_how_a_run_ended(
    labelmill, job_file, write_texts, practice, settings, options, code, status
):
    """4 at the budget, 3 with too many failures, 2 when the user can mend it and nothing was spent."""
    write_texts(["足球比赛", "银行市场"])
    practice.configure(settings)
    practice.reset()
    done = labelmill("run", job_file(), "--json", "--model-base-url", practice.base_url, *options)
    assert done.returncode == code
    assert json.loads(done.stdout)["status"] == status


def test_mistakes_are_sentences_and_cost_nothing(labelmill, job_file, write_texts):
    """A job with several mistakes ends with code 2 and a line for each, without a traceback."""
    write_texts(["足球比赛"])
    done = labelmill("run", job_file(text="txet", more='[run]\nlane = "bach"\nspeed = 3'))
    assert done.returncode == 2
    lines = done.stderr.strip().splitlines()
    assert lines[0].startswith("Reading ")
    assert len(lines) == 1 + 3
    assert "did you mean 'text'?" in done.stderr
    assert "unknown field" in done.stderr
    assert "found 'bach'" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_missing_key_is_a_sentence_that_points_to_practice(labelmill, job_file, write_texts):
    """Without a key, a job that needs one says where keys come from and how to go without."""
    write_texts(["足球比赛"])
    done = labelmill("run", job_file(provider="openai"))
    assert done.returncode == 2
    assert "OPENAI_API_KEY" in done.stderr
    assert ".env" in done.stderr
    assert 'model.provider = "practice"' in done.stderr


@pytest.mark.usefixtures("server_told")
def test_keys_and_addresses_come_from_the_environment(labelmill, job_file, write_texts, practice, tmp_path):
    """OPENAI_BASE_URL says where requests go, and a key in .env is the one they carry."""
    write_texts(["足球比赛", "银行市场"])
    practice.configure(PracticeSettings(required_key="from-dot-env"))
    practice.reset()
    (tmp_path / ".env").write_text("OPENAI_API_KEY=from-dot-env\n")
    done = labelmill("run", job_file(provider="openai"), "--json", OPENAI_BASE_URL=practice.base_url)
    record = json.loads(done.stdout)
    assert (done.returncode, practice.totals()["answered"]) == (0, 2)
    assert record["practice"] is True
    assert record["task_key"].startswith("practice-")


@pytest.mark.usefixtures("server_told")
def test_a_signal_drains_and_the_next_run_goes_on(job_file, write_texts, practice, server_told, tmp_path):
    """After SIGINT what was paid is published and the rest is pending; the next run asks only the rest."""
    texts = [f"足球比赛 {number}" for number in range(300)]
    write_texts(texts)
    practice.configure(PracticeSettings(latency_seconds=0.3))
    practice.reset()
    command = [LABELMILL, "run", job_file(), "--json", "--model-base-url", practice.base_url]
    environment = {**os.environ, **server_told}
    running = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=tmp_path, env=environment
    )
    while practice.totals()["answered"] < 20:
        assert running.poll() is None
        time.sleep(0.05)
    running.send_signal(signal.SIGINT)
    printed, _ = running.communicate(timeout=60)
    record = json.loads(printed)
    assert (running.returncode, record["status"]) == (1, "cancelled")
    assert 0 < record["rows_labeled"] == practice.totals()["requests"] < 300
    assert record["rows_pending"] == 300 - record["rows_labeled"]
    practice.configure(PracticeSettings())
    rest = json.loads(
        subprocess.run(command, capture_output=True, cwd=tmp_path, env=environment, check=True).stdout
    )
    assert (rest["rows_labeled"], rest["texts_asked"]) == (300, record["rows_pending"])
    assert practice.totals()["requests"] == 300


@pytest.mark.usefixtures("server_told")
def test_a_signal_leaves_what_is_in_batches_to_the_next_run(
    job_file, write_texts, practice, server_told, tmp_path
):
    """After SIGINT a run that waits for its batches ends at once, all rows pending; the next run harvests, and sends nothing."""
    write_texts([f"足球比赛 {number}" for number in range(5)])
    practice.configure(PracticeSettings(batch_seconds=3600))
    practice.reset()
    job = job_file(more='[run]\nlane = "batch"\npoll_seconds = 0.05')
    command = [LABELMILL, "run", job, "--json", "--model-base-url", practice.base_url]
    environment = {**os.environ, **server_told}
    running = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=tmp_path, env=environment
    )
    while not practice.totals()["batch_calls"]["retrieve"]:
        assert running.poll() is None
        time.sleep(0.05)
    running.send_signal(signal.SIGINT)
    printed, _ = running.communicate(timeout=60)
    record = json.loads(printed)
    assert (running.returncode, record["status"]) == (1, "cancelled")
    assert (record["rows_pending"], record["texts_out"]) == (5, 5)
    practice.configure(PracticeSettings())
    rest = json.loads(
        subprocess.run(command, capture_output=True, cwd=tmp_path, env=environment, check=True).stdout
    )
    assert (rest["rows_labeled"], rest["texts_out"], practice.totals()["batches"]) == (5, 0, 1)


@pytest.mark.usefixtures("server_told")
def test_two_runs_at_once_do_not_pay_twice(job_file, write_texts, practice, server_told, tmp_path, labelmill):
    """While one run works, another into the same output leaves with a sentence and code 2."""
    write_texts([f"足球比赛 {number}" for number in range(100)])
    practice.configure(PracticeSettings(latency_seconds=5))
    practice.reset()
    command = [LABELMILL, "run", job_file(), "--model-base-url", practice.base_url]
    environment = {**os.environ, **server_told}
    with subprocess.Popen(command, stderr=subprocess.DEVNULL, cwd=tmp_path, env=environment) as first:
        while not practice.totals()["requests"]:
            assert first.poll() is None
            time.sleep(0.05)
        second = labelmill("run", job_file(), "--model-base-url", practice.base_url)
        assert second.returncode == 2
        assert "is writing into" in second.stderr
        assert "Traceback" not in second.stderr
        practice.configure(PracticeSettings())  # what the first has yet to ask need not take long
    assert first.returncode == 0
    assert practice.totals()["requests"] == 100


@pytest.mark.usefixtures("server_told", "demo_alone")
def test_the_demo_labels_both_languages(labelmill):
    """The demo's ten documents in Chinese and ten in English come out with the labels a reader would give them."""
    done = labelmill("demo")
    assert done.returncode == 0, done.stderr
    rows = dict(pl.read_parquet(ROOT / "out/demo/labeled/demo.parquet").select("text", "label").iter_rows())
    assert rows == {
        "Python 3.13 发布了新的性能优化特性": "technology",
        "New software finds bugs in other software": "technology",
        "苹果公司发布了最新的财报，营收超预期": "business",
        "The company's revenue rose by a fifth": "business",
        "电影《流浪地球3》票房突破10亿": "entertainment",
        "The film leads the box office once more": "entertainment",
        "NBA 总决赛第七场比赛精彩纷呈": "sport",
        "The home team won the final in extra time": "sport",
        "机器学习算法在医疗诊断中的应用": "technology",
        "A new chip saves half of a phone's power": "technology",
        "特斯拉发布新款电动汽车": "business",
        "Investors expect higher earnings": "business",
        "音乐节吸引了数万名观众": "entertainment",
        "Her new album tops the music charts": "entertainment",
        "世界杯足球赛进入淘汰赛阶段": "sport",
        "Two late goals decided the match": "sport",
        "人工智能芯片市场竞争激烈": "technology",
        "Machine learning finds cracks in bridges": "technology",
        "好莱坞明星出席慈善晚会": "entertainment",
        "The concert sold out within an hour": "entertainment",
    }
    for text, name in rows.items():
        assert text in done.stdout
        assert name in done.stdout
    told = {line.rstrip() for line in done.stdout.splitlines()}
    for readme in ("README.md", "README.zh.md"):
        _, sample = (ROOT / readme).read_text(encoding="utf-8").split("```text\ndemo: completed")
        assert set(sample.partition("```")[0].splitlines()[1:]) - {"…"} <= told, readme


def test_the_demo_ends_on_a_command_that_works_as_printed(monkeypatch, tmp_path):
    """What is printed last can be pasted into the shell that started the demo, and writes a job."""
    monkeypatch.setattr(sys, "argv", [str(LABELMILL), "demo"])
    monkeypatch.chdir(tmp_path)
    line = commands.demo.next_command(commands.demo.demo_job())
    done = subprocess.run(["sh", "-c", line], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    (written,) = tmp_path.glob("*.toml")
    assert draft_of_file(written).mistakes == ()


@pytest.mark.parametrize(
    ("error", "exit_code", "sentence"),
    [
        (JobRefused([Mistake("labels", "is missing")]), 2, "error labels is missing"),
        (CannotWrite("out can't be written"), 1, "error out can't be written"),
        (KeyboardInterrupt(), 1, "Stopped before anything was asked"),
    ],
    ids=["refused", "unwritable", "interrupted"],
)
def test_what_a_person_can_mend_ends_the_demo_in_a_sentence(monkeypatch, capsys, error, exit_code, sentence):
    """The demo, as every command that labels, ends with a sentence and an exit code where it can't run."""

    def refuse():
        raise error

    monkeypatch.setattr(commands.demo, "demo_job", refuse)
    with pytest.raises(typer.Exit) as ended:
        commands.demo.run_demo()
    assert (ended.value.exit_code, sentence in capsys.readouterr().err.replace(":", "")) == (exit_code, True)


def test_help_lists_the_verbs(labelmill):
    """`labelmill --help` names what there is, and a verb's help its options."""
    assert "demo" in labelmill("--help").stdout
    assert "--max-cost-usd" in labelmill("run", "--help").stdout


def test_a_file_is_checked_before_anything_is_asked(labelmill, job_file, tmp_path, practice):
    """`--check-files` reads columns that no run needs; without it the file is labeled, and with it refused, for nothing."""
    practice.configure(PracticeSettings())
    practice.reset()
    source = tmp_path / "source.parquet"
    table = pa.table({"text": ["足球比赛"], "note": ["a first note"]})
    pq.write_table(table, source, use_dictionary=False, compression="none")
    source.write_bytes(source.read_bytes().replace(b"a first note", b"\xff" * 12))
    job = job_file()
    done = labelmill("run", job, "--check-files", "--model-base-url", practice.base_url)
    assert (done.returncode, practice.totals()["requests"]) == (2, 0)
    *_, line = done.stderr.strip().splitlines()
    assert line.startswith(f"error {job}, source.path: the column 'note' of {str(source)!r} can't be read (")
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
@pytest.mark.usefixtures("server_told")
def test_off_a_terminal_a_run_says_how_far_it_is(labelmill, job_file, write_texts):
    """From its first line on, in lines of their own, on standard error; the summary is on standard output, without a text."""
    write_texts([f"足球比赛 {number}" for number in range(13)])
    slow = "[run]\nmax_concurrency = 1\n[practice]\nlatency_seconds = 1.0"
    job = job_file(more=slow)
    done = labelmill("run", job)
    assert done.returncode == 0, done.stderr
    first, *lines = done.stderr.splitlines()
    assert first == f"Reading {job} ..."
    told = [int(found[1]) for line in lines if (found := re.search(r"labeling: (\d+) of 13 texts", line))]
    assert told == sorted(told)
    assert len(set(told)) >= 3
    assert not re.search(r"[\r\x1b]", done.stderr + done.stdout)
    assert re.search(r"^体育 +13 +100\.0%$", done.stdout, re.MULTILINE)
    assert "足球比赛" not in done.stdout
    assert re.search(rf"^  \S+ run {re.escape(str(job))}$", done.stdout, re.MULTILINE)
