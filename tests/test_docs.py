"""The README and the pages of docs/: their snippets run, and what they name is there."""

import os
import re
import runpy
import shlex
import subprocess
import sys
import tomllib
from pathlib import Path

import polars as pl
import pytest
import typer

from commands.main import app
from labelmill.dataset.columns import FAILURE_COLUMNS, LABEL_COLUMNS
from labelmill.job.file import draft_of
from labelmill.question.failures import POLICY_OF_KIND
from labelmill.run.record import RunRecord
from labelmill.store.working import MANIFEST

ROOT = Path(__file__).parent.parent
READMES = ("README.md", "README.zh.md")
PAGES = {
    str(path.relative_to(ROOT)): path.read_text(encoding="utf-8")
    for path in [
        *(ROOT / name for name in READMES),
        ROOT / "CONTRIBUTING.md",
        *sorted((ROOT / "docs").glob("*.md")),
    ]
}
README = PAGES["README.md"]
OUTPUTS = PAGES["docs/outputs.md"]
READERS = ("Polars", "DuckDB", "pandas", "PyArrow")
RUN_ELSEWHERE = {
    "docs/job.md": "generated",
    "docs/langchain.md": "tests/test_langchain_docs.py",
    "docs/model-settings.md": "tests/test_model_settings.py",
    "docs/practice.md": "tests/practice",
    "docs/prompt.md": "tests/prompt_jobs.py",
    "docs/providers.md": "tests/test_providers_page.py",
    "docs/python.md": "tests/test_python_docs.py",
    "docs/stores.md": "tests/test_stores_page.py",
    "CONTRIBUTING.md": "tests/labelmill/providers/test_table.py",
}
"""Pages whose blocks have a test of their own."""


def _blocks(text, language):
    return re.findall(rf"^```{language}\n(.*?)^```$", text, flags=re.MULTILINE | re.DOTALL)


def _column(text, heading):
    """The code words in the first column of the table whose first heading is this."""
    _, table = text.split(f"\n| {heading} |", 1)
    rows = table.split("\n\n", 1)[0].splitlines()[2:]
    return [name for row in rows for name in re.findall(r"`(\w+)`", row.split("|")[1])]


def _slug(heading):
    """A heading's anchor, as Git hosts make it."""
    plain = re.sub(r"[^\w\- ]", "", heading.strip().lower())
    return plain.replace(" ", "-")


@pytest.fixture
def demo_folder(tmp_path, monkeypatch):
    """A folder with the demo's labeled output: four rows are labeled, one has failed."""
    labeled = tmp_path / "out" / "demo" / "labeled"
    labeled.mkdir(parents=True)
    count = 5
    columns = {
        "id": pl.Series(range(count), dtype=pl.Int64),
        "text": pl.Series([f"text {number}" for number in range(count)]),
        "label": ["技术", "技术", "技术", "商业", None],
        "label_status": ["ok"] * 4 + ["failed"],
        "label_error": [None] * 4 + ["refused"],
    }
    missing = {name: [None] * count for name in LABEL_COLUMNS if name not in columns}
    pl.DataFrame({**columns, **missing}, schema_overrides=LABEL_COLUMNS).write_parquet(
        labeled / "sample.parquet"
    )
    (labeled / MANIFEST).write_text("{}")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def partitioned_folder(demo_folder):
    """The same output of a hive-partitioned source: the folders' names are a column."""
    labeled = demo_folder / "out" / "demo" / "labeled"
    rows = pl.read_parquet(labeled / "sample.parquet")
    (labeled / "sample.parquet").unlink()
    for day, part in (("2026-11-22", rows.head(2)), ("2026-11-23", rows.tail(3))):
        (labeled / f"day={day}").mkdir()
        part.write_parquet(labeled / f"day={day}" / "part.parquet")
    return demo_folder


@pytest.mark.parametrize("reader", READERS)
def test_each_reading_snippet_runs_as_it_stands(reader, demo_folder, capsys):
    """The snippet for a reader runs after the demo and shows the labels of the rows that have one."""
    (snippet,) = [block for block in _blocks(OUTPUTS, "python") if block.startswith(f"# {reader}\n")]
    runpy.run_path(str(_written(demo_folder, snippet)))
    printed = capsys.readouterr().out
    assert "技术" in printed
    assert "商业" in printed
    assert "3" in printed


@pytest.mark.parametrize("reader", READERS)
def test_each_reading_snippet_reads_hive_partitions_too(reader, partitioned_folder, capsys):
    """A labeled folder with partitions is read by the same snippets, with the partition as a column."""
    (snippet,) = [block for block in _blocks(OUTPUTS, "python") if block.startswith(f"# {reader}\n")]
    counted = runpy.run_path(str(_written(partitioned_folder, snippet)))
    printed = capsys.readouterr().out
    assert "技术" in printed
    assert "3" in printed
    columns = {
        "Polars": lambda: counted["rows"].columns,
        "DuckDB": lambda: counted["duckdb"].sql("FROM 'out/demo/labeled/**/*.parquet'").columns,
        "pandas": lambda: list(counted["rows"].columns),
        "PyArrow": lambda: counted["dataset"].schema.names,
    }
    assert "day" in columns[reader]()


def _written(folder, snippet):
    script = folder / "snippet.py"
    script.write_text(snippet, encoding="utf-8")
    return script


@pytest.mark.slow
@pytest.mark.parametrize("name", READMES)
def test_a_readmes_five_minutes_can_be_walked(name, tmp_path):
    """The README's words alone lead from a file to its labels: its commands run in its order, and its Python reads and labels."""
    titles = [
        f"{what} of {day}"
        for day in range(5)
        for what in ("the team's match", "the market", "new software", "球队比赛", "公司市场")
    ]
    pl.DataFrame({"id": range(len(titles)), "title": titles}).write_parquet(tmp_path / "articles.parquet")
    (first_step,) = [block for block in _blocks(PAGES[name], "sh") if "labelmill init" in block]
    _walk(first_step, tmp_path)
    written = tomllib.loads((tmp_path / "articles.toml").read_text(encoding="utf-8"))
    job, *rest = _blocks(PAGES[name], "toml")
    assert rest == []
    shown = tomllib.loads(job)
    assert shown["labels"].keys() == written.pop("labels").keys()
    del written["run"]["lane"], written["run"]["max_concurrency"]
    assert {part: value for part, value in shown.items() if part != "labels"} == written
    (tmp_path / "articles.toml").write_text(job, encoding="utf-8")
    for block in _blocks(PAGES[name], "sh"):
        if "labelmill check" in block or "labelmill run" in block:
            _walk(block.replace("export OPENAI_API_KEY=...", ""), tmp_path)
    reads, labels = _blocks(PAGES[name], "python")
    for snippet in (reads, f"{labels}\nprint(labeled)"):
        done = subprocess.run(
            [sys.executable, _written(tmp_path, snippet)],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        assert tomllib.loads(job)["labels"].keys() & set(re.findall(r"\w+", done.stdout))


def _walk(block, folder):
    for line in block.strip().splitlines():
        program, *words = shlex.split(line)
        assert program == ".venv/bin/labelmill"
        done = subprocess.run(
            [Path(sys.executable).with_name("labelmill"), *words],
            cwd=folder,
            capture_output=True,
            text=True,
            check=False,
            stdin=subprocess.DEVNULL,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
        )
        assert done.returncode == 0, f"{line}\n{done.stdout}{done.stderr}"


def test_no_snippet_goes_untested():
    """Every Python block of a page is run: by a test here, or by the page's own."""
    tested = {"docs/outputs.md": len(READERS), **dict.fromkeys(READMES, 2)}
    found = {name: len(_blocks(text, "python")) for name, text in PAGES.items() if name not in RUN_ELSEWHERE}
    assert {name: count for name, count in found.items() if count} == tested


@pytest.mark.parametrize("name", READMES)
def test_the_job_file_of_a_readme_is_a_job(name):
    """Its TOML block can be copied into a job file."""
    (job,) = (tomllib.loads(block) for block in _blocks(PAGES[name], "toml"))
    assert draft_of(job, name).mistakes == ()


@pytest.mark.parametrize("name", sorted(set(PAGES) - {*RUN_ELSEWHERE, *READMES}))
def test_the_job_files_parts_on_a_page_fit_into_a_job(name):
    """Each TOML block of a page can be copied into the README's job."""
    (job,) = (tomllib.loads(block) for block in _blocks(README, "toml"))
    for block in _blocks(PAGES[name], "toml"):
        assert draft_of({**job, **tomllib.loads(block)}, name).mistakes == (), block


def test_make_verbs_named_on_the_pages_are_in_the_makefile():
    """The pages name no verb that is not there, and CONTRIBUTING's list is the list of `make help`."""
    rules = re.findall(r"^([a-z-]+):.*?## (.*)$", (ROOT / "Makefile").read_text(), flags=re.MULTILINE)
    listed = re.findall(r"^  make ([a-z-]+) +(.*)$", PAGES["CONTRIBUTING.md"], flags=re.MULTILINE)
    assert listed == sorted(rules)
    for name, text in PAGES.items():
        assert set(re.findall(r"`make ([a-z-]+)\b|^make ([a-z-]+)", text, re.MULTILINE)) <= {
            pair for verb in dict(rules) for pair in ((verb, ""), ("", verb))
        }, name


@pytest.mark.parametrize("name", PAGES)
def test_commands_and_options_named_on_a_page_are_in_the_help(name):
    """Each `labelmill VERB` is a command, and each option in such a line belongs to it."""
    commands = typer.main.get_command(app).commands
    for line in re.findall(r"\blabelmill ([a-z]+\b[^`\n]*)[`\n]", PAGES[name]):
        verb, *words = line.split("   ")[0].split("#")[0].split()
        if not re.search(rf"(?:`|bin/)labelmill {verb}\b", PAGES[name]):
            continue
        assert verb in commands, line
        options = {option for parameter in commands[verb].params for option in parameter.opts}
        assert {word.partition("=")[0] for word in words if re.match(r"--[a-z]", word)} <= options, line


def test_tables_of_the_pages_are_those_of_the_program():
    """Failure kinds with their policies, label columns and fields of run.json stand there as the program has them."""
    policies = dict(
        re.findall(
            r"^\| `(\w+)` \| (retry|doubt|other form|ask again|give up) \|",
            PAGES["docs/reliability.md"],
            flags=re.MULTILINE,
        )
    )
    assert policies == {kind: policy.value.replace("_", " ") for kind, policy in POLICY_OF_KIND.items()}
    assert _column(OUTPUTS, "column") == LABEL_COLUMNS.names()
    for name in [*RunRecord.model_fields, *FAILURE_COLUMNS]:
        assert f"`{name}`" in OUTPUTS


@pytest.mark.parametrize("name", PAGES)
def test_links_of_a_page_lead_somewhere(name):
    """Pictures, pages and headings that a page points to are there."""
    folder = (ROOT / name).parent
    for target, _, anchor in (link.partition("#") for link in re.findall(r"\]\(([^)\s]+)\)", PAGES[name])):
        if target.startswith(("https://", "http://")):
            continue
        page = (folder / target).resolve() if target else ROOT / name
        assert page.exists(), target
        if anchor:
            headings = re.findall(r"^#+ (.*)$", page.read_text(encoding="utf-8"), re.MULTILINE)
            assert anchor in map(_slug, headings), f"{target}#{anchor}"


def test_the_readme_is_short():
    """It has at most 900 words outside of code, a screen and a half, and points to every page of docs/."""
    prose = re.sub(r"^```.*?^```$", "", README, flags=re.MULTILINE | re.DOTALL)
    assert len(prose.split()) <= 900
    for text in (README, PAGES["README.zh.md"]):
        assert {name for name in PAGES if name.startswith("docs/")} <= set(re.findall(r"\]\(([^)#]+)", text))


def test_both_readmes_say_the_same():
    """The Chinese README has the English one's sections, commands, promises and links, one for one; its labels are Chinese."""
    english, chinese = README, PAGES["README.zh.md"]
    for pattern in (r"^## ", r"^- ", r"^\*\*\d\.", r"^\| ", r"^```"):
        assert len(re.findall(pattern, english, re.MULTILINE)) == len(
            re.findall(pattern, chinese, re.MULTILINE)
        ), pattern
    links = [sorted(set(re.findall(r"\]\(([^)]+)\)", text)) - set(READMES)) for text in (english, chinese)]
    assert links[0] == links[1]

    def commands(text):
        return [
            re.sub(r" +#.*| --labels \S+", "", line)
            for block in _blocks(text, "sh")
            for line in block.splitlines()
        ]

    assert commands(english) == commands(chinese)
