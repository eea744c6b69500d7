"""The README: its snippets run, and what it names is there."""

import re
import runpy
import tomllib
from pathlib import Path

import polars as pl
import pytest
import typer

from commands.main import app
from labelmill.dataset.columns import FAILURE_COLUMNS, LABEL_COLUMNS
from labelmill.dataset.merge import MANIFEST
from labelmill.job.file import draft_of
from labelmill.question.failures import POLICY_OF_KIND
from labelmill.run.record import RunRecord

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
READERS = ("Polars", "DuckDB", "pandas", "PyArrow")


def _blocks(language):
    return re.findall(rf"^```{language}\n(.*?)^```$", README, flags=re.MULTILINE | re.DOTALL)


def _column(heading):
    """The code words in the first column of the table whose first heading is this."""
    _, table = README.split(f"\n| {heading} |", 1)
    rows = table.split("\n\n", 1)[0].splitlines()[2:]
    return [name for row in rows for name in re.findall(r"`(\w+)`", row.split("|")[1])]


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
    (snippet,) = [block for block in _blocks("python") if block.startswith(f"# {reader}\n")]
    runpy.run_path(str(_written(demo_folder, snippet)))
    printed = capsys.readouterr().out
    assert "技术" in printed
    assert "商业" in printed
    assert "3" in printed


@pytest.mark.parametrize("reader", READERS)
def test_each_reading_snippet_reads_hive_partitions_too(reader, partitioned_folder, capsys):
    """A labeled folder with partitions is read by the same snippets, with the partition as a column."""
    (snippet,) = [block for block in _blocks("python") if block.startswith(f"# {reader}\n")]
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


def test_no_snippet_goes_untested():
    """Every Python block of the README is one of the readers'."""
    assert len(_blocks("python")) == len(READERS)


def test_the_job_file_of_the_readme_is_a_job():
    """The first TOML block can be copied into a job file, and the others fit into it."""
    job, *additions = (tomllib.loads(block) for block in _blocks("toml"))
    assert draft_of(job, "README.md").mistakes == ()
    assert additions
    for addition in additions:
        assert draft_of({**job, **addition}, "README.md").mistakes == ()


def test_make_verbs_named_in_the_readme_are_in_the_makefile():
    """The README names no verb that is not there, and its list is the list of `make help`."""
    rules = re.findall(r"^([a-z-]+):.*?## (.*)$", (ROOT / "Makefile").read_text(), flags=re.MULTILINE)
    listed = re.findall(r"^  make ([a-z-]+) +(.*)$", README, flags=re.MULTILINE)
    assert listed == sorted(rules)
    assert set(re.findall(r"\bmake ([a-z]+)\b(?=[`\n]| +#)", README)) <= dict(rules).keys()


def test_commands_and_options_named_in_the_readme_are_in_the_help():
    """Each `labelmill VERB` is a command, and each option belongs to one of those named."""
    commands = typer.main.get_command(app).commands
    named = set(re.findall(r"\blabelmill ([a-z]+)\b(?=[` ])", README))
    assert named
    assert named <= commands.keys()
    options = {option for verb in named for parameter in commands[verb].params for option in parameter.opts}
    assert set(re.findall(r"(?<![\w-])--[a-z][a-z-]+", README)) - {"--limit"} <= options


def test_tables_of_the_readme_are_those_of_the_program():
    """Failure kinds with their policies, label columns and fields of run.json stand there as the program has them."""
    policies = dict(
        re.findall(
            r"^\| `(\w+)` \| (retry|doubt|other form|ask again|give up) \|", README, flags=re.MULTILINE
        )
    )
    assert policies == {kind: policy.value.replace("_", " ") for kind, policy in POLICY_OF_KIND.items()}
    assert _column("column") == LABEL_COLUMNS.names()
    for name in [*RunRecord.model_fields, *FAILURE_COLUMNS]:
        assert f"`{name}`" in README


def test_links_of_the_readme_lead_somewhere():
    """Pictures and pages that the README points to are there."""
    for target in re.findall(r"\]\(([^)#]+)\)", README):
        assert target.startswith("https://") or (ROOT / target).exists(), target
