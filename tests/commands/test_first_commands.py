"""`labelmill init`, `check` and `preview` as a person has them: processes, exit codes, and a terminal that asks."""

import json
import os
import shlex
import subprocess
import sys
import tomllib
from pathlib import Path

import polars as pl
import pytest
from servers.base import Endpoint, completion
from terminals import terminal

LABELMILL = Path(sys.executable).parent / "labelmill"
TEXTS = [f"the {word} of day {number}" for number in range(10) for word in ("match", "market")]


class Labeling(Endpoint):
    """A model that is always right."""

    def reply(self, call):
        """The right label."""
        return completion(call)


@pytest.fixture
def environment():
    """The environment of a user without a key, and without a Prefect server: none is needed here."""
    unwanted = ("OPENAI_", "PREFECT_API")
    known = {name: value for name, value in os.environ.items() if not name.startswith(unwanted)}
    return {**known, "COLUMNS": "200"}


@pytest.fixture
def labelmill(tmp_path, environment):
    """Run the command line in a folder of its own, without a terminal."""

    def run(*arguments, **more):
        return subprocess.run(
            [LABELMILL, *map(str, arguments)],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            cwd=tmp_path,
            env={**environment, **more},
            timeout=120,
            check=False,
        )

    return run


@pytest.fixture
def write(tmp_path):
    """Write a Parquet file of texts and their numbers."""

    def write_file(name="news.parquet", texts=TEXTS, column="title", **more):
        (tmp_path / name).parent.mkdir(exist_ok=True, parents=True)
        pl.DataFrame({"id": range(len(texts)), column: texts, **more}).write_parquet(tmp_path / name)
        return name

    return write_file


def job_in(folder, name):
    """A job file's values."""
    return tomllib.loads((folder / name).read_text(encoding="utf-8"))


def test_from_a_file_to_labels_by_what_is_printed(labelmill, write, tmp_path, environment, prefect_server):
    """`init` writes a job, and each command that it prints works as it stands in a shell, in that folder."""
    write("my 新闻 (1).parquet", label=["a"] * 20)
    done = labelmill("init", "my 新闻 (1).parquet", "--labels", "sport，money")
    assert done.returncode == 0, done.stderr
    assert "'title': all 20 rows looked at have one, 20 of them different" in done.stderr
    job = job_in(tmp_path, "my 新闻 (1).toml")
    assert job["source"] == {"path": "my 新闻 (1).parquet", "text": "title"}
    assert job["labels"] == {"sport": "", "money": ""}
    assert (job["model"]["provider"], job["slug"]) == ("practice", "my-xin-wen-1")
    assert job["output"] == {"path": "out/my 新闻 (1)", "column_prefix": "lm_"}
    commands = [line.strip() for line in done.stderr.splitlines() if line.startswith("  ")]
    assert [shlex.split(line)[1:] for line in commands] == [
        [verb, "my 新闻 (1).toml"] for verb in ("check", "preview", "run")
    ]
    for line in commands:
        # As a shell takes it; the words themselves are what is started.
        ran = subprocess.run(
            shlex.split(line),
            capture_output=True,
            text=True,
            cwd=tmp_path,
            env={**environment, "PREFECT_API_URL": prefect_server},
            check=False,
        )
        assert ran.returncode == 0, (line, ran.stderr)
    labeled = pl.read_parquet(tmp_path / "out" / "my 新闻 (1)" / "labeled" / "my 新闻 (1).parquet")
    assert labeled["lm_label_status"].to_list() == ["ok"] * 20


def test_in_a_terminal_init_asks_for_column_and_labels(write, tmp_path, environment):
    """Enter takes the proposal; what is wrong is said, and asked again; a name is never written over."""
    write(body=[f"it was the {text}" for text in TEXTS])
    with terminal([LABELMILL, "init", "news.parquet"], cwd=tmp_path, env=environment) as screen:
        screen.read_until("Text column [body]:")
        screen.type("titel")
        screen.read_until("did you mean 'title'?")
        screen.type("{title}\\n{body}")
        screen.read_until("Labels, with commas between them:")
        screen.type("sport")
        screen.read_until("there must be two labels or more")
        screen.type("sport、money")
        code, shown = screen.end()
    assert code == 0, shown
    assert job_in(tmp_path, "news.toml")["source"]["text"] == "{title}\n{body}"
    assert list(job_in(tmp_path, "news.toml")["labels"]) == ["sport", "money"]


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("news.parquet",), "--labels: is needed without a terminal"),
        (("news.parquet", "--labels", "sport"), "--labels: there must be two labels or more"),
        (("news.parquet", "--labels", "a,b", "--text", "titel"), "did you mean 'title'?"),
        (("nowhere.parquet", "--labels", "a,b"), "FILE: there is no file or folder"),
        (("news.parquet", "news.parquet", "--labels", "a,b"), "write a glob in quotes"),
        (("numbers.parquet", "--labels", "a,b"), "FILE: no column holds text; name one with --text"),
        (("news.parquet", "--labels", "a,b", "-o", "there.toml"), "there.toml: there is such a file already"),
        (("news.parquet", "--labels", "a,b", "-o", "no/such/folder.toml"), "can't be written: No such file"),
        (("text.txt", "--labels", "a,b"), "FILE: "),
    ],
)
def test_what_init_can_not_do_is_a_sentence(labelmill, write, tmp_path, arguments, sentence):
    """Each mistake is said without a traceback, with the code of what a user can mend, and nothing is written."""
    write()
    (tmp_path / "there.toml").write_text("kept")
    (tmp_path / "text.txt").write_text("no Parquet")
    pl.DataFrame({"n": [1, 2]}).write_parquet(tmp_path / "numbers.parquet")
    before = sorted(tmp_path.iterdir())
    done = labelmill("init", *arguments)
    assert sentence in done.stderr
    assert "Traceback" not in done.stderr
    assert done.returncode == (1 if "written" in sentence else 2)
    assert sorted(tmp_path.iterdir()) == before
    assert (tmp_path / "there.toml").read_text() == "kept"


def test_init_takes_the_provider_whose_key_is_there(labelmill, write, tmp_path):
    """A key in .env chooses its provider, which is said with what a run may cost; a price nobody knows leaves no budget."""
    write()
    (tmp_path / ".env").write_text("DEEPSEEK_API_KEY=k-1\n")
    done = labelmill("init", "news.parquet", "--labels", "a,b")
    assert (
        "DEEPSEEK_API_KEY is set, so the job asks deepseek-v4-flash (deepseek), which costs money, up to $1.00 a run."
        in (done.stderr)
    )
    assert job_in(tmp_path, "news.toml")["model"] == {"provider": "deepseek", "name": "deepseek-v4-flash"}
    (tmp_path / ".env").write_text("DASHSCOPE_API_KEY=k-1\n")
    done = labelmill("init", "news.parquet", "--labels", "a,b", "-o", "qwen.toml")
    assert done.returncode == 0, done.stderr
    assert "without a limit" in done.stderr
    assert "max_cost_usd" not in job_in(tmp_path, "qwen.toml")["run"]


@pytest.mark.parametrize("source", ["data", "data/*.parquet", "data/day=*/*.parquet", "."])
def test_init_takes_folders_and_globs(write, tmp_path, source):
    """The output goes outside of the source, wherever that is, and the job passes the check."""
    (tmp_path / "here").mkdir()
    write("here/data/a.parquet")
    write("here/data/day=1/b.parquet")
    done = subprocess.run(
        [LABELMILL, "init", source, "--labels", "a,b", "-o", "job.toml"],
        capture_output=True,
        text=True,
        cwd=tmp_path / "here",
        stdin=subprocess.DEVNULL,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    checked = subprocess.run(
        [LABELMILL, "check", "job.toml"], capture_output=True, text=True, cwd=tmp_path / "here", check=False
    )
    assert checked.returncode == 0, checked.stderr


def test_check_says_what_a_run_would_do_and_leaves_nothing(labelmill, write, tmp_path):
    """A list of what was found, for people and as JSON; no folder, no lock, no Prefect home is made."""
    write()
    labelmill("init", "news.parquet", "--labels", "sport,money")
    before = sorted(tmp_path.rglob("*"))
    done = labelmill("check", "news.toml")
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    lines = dict(
        line.split(maxsplit=1) for line in done.stdout.splitlines() if line[:1].isalpha() and "  " in line
    )
    assert lines["source"] == "1 file, 20 rows"
    assert lines["texts"] == "20 different ones"
    assert "to ask    20 texts" in done.stdout
    assert "about $" in lines["cost"]
    assert "$1.00 a run (run.max_cost_usd)" in done.stdout
    found = json.loads(labelmill("check", "news.toml", "--json").stdout)
    assert (found["asking"]["texts"], found["texts_known"], found["practice"]) == (20, 0, True)
    assert sorted(tmp_path.rglob("*")) == before


def test_check_tells_every_mistake(labelmill, write, tmp_path):
    """What a run would refuse, the check refuses: all at once, code 2; full-width signs with their place."""
    write()
    labelmill("init", "news.parquet", "--labels", "sport,money")
    good = (tmp_path / "news.toml").read_text()
    (tmp_path / "news.toml").write_text(good.replace('"title"', '"titel"').replace("1.0", '"a lot"'))
    done = labelmill("check", "news.toml")
    assert done.returncode == 2
    assert "did you mean 'title'?" in done.stderr
    assert "run.max_cost_usd" in done.stderr
    (tmp_path / "news.toml").write_text(good.replace('text = "title"', "text ＝ “title”"))
    done = labelmill("check", "news.toml")
    assert done.returncode == 2
    line = good.splitlines().index(next(line for line in good.splitlines() if line.startswith("text"))) + 1
    assert (
        f"error news.toml, line {line}, column 6: TOML doesn't know ＝ (full-width equals sign" in done.stderr
    )


def paid(folder, server):
    """Make the job of a folder one that asks a server for money."""
    path = folder / "news.toml"
    told = f'provider = "openai"\nbase_url = "{server.base_url}"'
    path.write_text(path.read_text().replace('provider = "practice"', told))


def test_a_preview_costs_nothing_without_a_yes(labelmill, write, tmp_path):
    """Without a terminal a paid preview needs --yes; what is known needs none; --prompt-only asks nothing."""
    write()
    labelmill("init", "news.parquet", "--labels", "sport,money")
    with Labeling() as server:
        paid(tmp_path, server)
        done = labelmill("preview", "news.toml", "--rows", "4")
        assert (done.returncode, server.requests) == (2, 0)
        assert (
            "--yes: is needed to spend money without a terminal (4 of 4 texts to ask: about $" in done.stderr
        )
        shown = labelmill("preview", "news.toml", "--prompt-only")
        assert (shown.returncode, server.requests) == (0, 0)
        assert "Answer only with the text's label" in shown.stdout
        assert "temperature = 0.0" in shown.stdout
        asked = labelmill("preview", "news.toml", "--rows", "4", "--yes")
        assert (asked.returncode, server.requests) == (0, 4), asked.stderr
        assert asked.stdout.count("│ now") == 4
        known = labelmill("preview", "news.toml", "--rows", "4")
        assert (known.returncode, server.requests) == (0, 4)
        assert known.stdout.count("│ ledger") == 4


@pytest.mark.parametrize(("answer", "code", "requests"), [("n", 1, 0), ("y", 0, 3)])
def test_in_a_terminal_a_preview_asks_before_money(
    labelmill, write, tmp_path, environment, answer, code, requests
):
    """The prompt and the cost are shown with a question, and nothing is sent before a yes; no label is cut off."""
    write(texts=[f"{text}, {'on and on ' * 20}" for text in TEXTS])
    labelmill("init", "news.parquet", "--labels", "sport,money")
    with Labeling() as server:
        paid(tmp_path, server)
        command = [LABELMILL, "preview", "news.toml", "--rows", "3"]
        with terminal(command, cwd=tmp_path, env=environment, columns=60) as screen:
            shown = screen.read_until("Ask them? [y/N]:")
            assert "system" in shown
            assert "3 of 3 texts to ask: about $" in shown
            assert server.requests == 0
            screen.type(answer)
            ended, shown = screen.end()
        assert (ended, server.requests) == (code, requests), shown
    rows = [line for line in shown.splitlines() if line.startswith("│")]
    assert len(rows) == requests
    assert all({"sport", "money"} & set(row.split()) for row in rows)
    assert all(len(line.rstrip()) <= 60 for line in shown.splitlines() if line.startswith(("│", "┃", "┏")))
