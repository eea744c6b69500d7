"""Every command in a terminal of 60, 80 and 120 columns, with Chinese labels: no number is cut off, and no line is too long."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from rich.cells import cell_len
from terminals import in_terminal

from commands.main import app
from labelmill.report.formatting import usd

LABELMILL = Path(sys.executable).parent / "labelmill"
WIDTHS = (60, 80, 120)
LABELS = ("体育与健身", "商业与国际贸易往来", "a label that no row has, of many words")
TEXTS = [
    "足球比赛",
    "今天的比赛，" * 30,
    "银行市场",
    "the market of today, " * 20,
    *(f"比赛 {number}" for number in range(1300)),
]
COPIED = re.compile(r"^(  |labels  |report  |failed  |record  )")
"""Lines to be copied, which are as long as they are."""


@pytest.fixture(scope="module")
def house(tmp_path_factory, prefect_server):
    """A job that a run has labeled, with a batch of its comparison: its folder, and the environment of its commands."""
    folder = tmp_path_factory.mktemp("widths")
    rows = ", ".join(json.dumps(text, ensure_ascii=False) for text in TEXTS)
    make = f"import polars as pl; pl.DataFrame({{'text': [{rows}]}}).write_parquet('source.parquet')"
    subprocess.run([sys.executable, "-c", make], cwd=folder, check=True)
    (folder / "工作.toml").write_text(
        f"""
name = "新闻 主题"
[source]
path = "source.parquet"
text = "text"
[labels]
"{LABELS[0]}" = "比赛"
"{LABELS[1]}" = "市场、market"
"{LABELS[2]}" = ""
[model]
provider = "practice"
name = "gpt-4o-mini"
[output]
path = "out"
""",
        encoding="utf-8",
    )
    environment = {**os.environ, "PREFECT_API_URL": prefect_server}
    words = [LABELMILL, "run", "工作.toml"]
    assert (
        subprocess.run(words, cwd=folder, env=environment, capture_output=True, check=False).returncode == 0
    )
    return folder, environment


def _told(house, columns, *words):
    """What a command leaves in a terminal, without what a bar has drawn over."""
    folder, environment = house
    code, lines = in_terminal([LABELMILL, *words], columns, folder, environment)
    assert code == 0, "\n".join(lines)
    return [line for line in lines if not re.search(r"[━╸╺]{4,} |^  batch |Reading ", line) or "┃" in line]


def _fits(lines, columns):
    too_long = [line for line in lines if cell_len(line) > columns and not COPIED.match(line)]
    return not too_long


def _numbers(folder, name):
    (record,) = [json.loads(path.read_bytes()) for path in folder.glob(f"out/runs/*/{name}")][-1:]
    return record


@pytest.mark.slow
@pytest.mark.parametrize("columns", WIDTHS)
def test_the_summary_of_a_run_fits(house, columns):
    """Rows, cost and every label with its rows, the one without any too, and two texts a label, each on one line."""
    lines = _told(house, columns, "run", "工作.toml")
    assert _fits(lines, columns)
    told = "\n".join(lines)
    assert re.search(r"rows in the dataset +1,304$", told, re.MULTILINE)
    assert re.search(rf"^{LABELS[0]} +1,302 +99\.8%  足球比赛$", told, re.MULTILINE)
    assert re.search(r"^ +今天的比赛，.*…$", told, re.MULTILINE)
    assert re.search(rf"^{LABELS[1]} +2 +0\.2%  银行市场$", told, re.MULTILINE)
    assert re.search(r"^a label .* +0 +0\.0%$", told, re.MULTILINE)
    assert re.search(r"^  \S*labelmill run 工作\.toml$|^  \S*labelmill run '工作\.toml'$", told, re.MULTILINE)


@pytest.mark.slow
@pytest.mark.parametrize("columns", WIDTHS)
def test_the_costs_fit(house, columns):
    """By run, day and month: texts and cost are whole at every width; what is left out is named once a history."""
    lines = _told(house, columns, "costs", "工作.toml")
    assert _fits(lines, columns)
    assert "…" not in "".join(lines)
    folder, environment = house
    done = subprocess.run(
        [LABELMILL, "costs", "工作.toml", "--json"],
        cwd=folder,
        env=environment,
        capture_output=True,
        check=True,
    )
    history = json.loads(done.stdout)["practice"]
    for row in [*history["runs"], *history["days"], *history["months"], history["total"]]:
        cells = [f"{row['texts']:,}", usd(row["cost_usd"])]
        assert any(all(f" {cell} " in line for cell in cells) for line in lines), (cells, lines)
    assert len(re.findall(r"columns? left out: ", " ".join(lines))) == 1


@pytest.mark.slow
@pytest.mark.parametrize("columns", WIDTHS)
def test_a_comparison_fits(house, columns):
    """Each strategy's cost and time are whole; the estimate before it too."""
    lines = _told(house, columns, "compare", "工作.toml", "--rows", "5", "--concurrency", "2")
    assert _fits(lines, columns)
    assert "…" not in "".join(lines)
    comparison = _numbers(house[0], "compare.json")
    for part in comparison["estimate"]["strategies"]:
        assert any(usd(part["cost_usd"]) in line and usd(part["max_cost_usd"]) in line for line in lines)
    for figures in comparison["strategies"]:
        first_word = figures["name"].split()[0]
        assert any(first_word in line and usd(figures["cost_usd"]) in line for line in lines)


@pytest.mark.slow
@pytest.mark.parametrize("columns", WIDTHS)
def test_a_check_and_a_preview_fit(house, columns):
    """What is sent is indented below its role, also where a line of it takes two; no label is cut off."""
    assert _fits(_told(house, columns, "check", "工作.toml"), columns)
    lines = _told(house, columns, "preview", "工作.toml", "--rows", "4")
    assert _fits(lines, columns)
    sent = lines[lines.index("system") + 1 : lines.index("fields")]
    assert all(line.startswith("  ") for line in sent if line not in {"", "user"}), sent
    assert any(LABELS[0] in line and line.startswith("│") for line in lines)


@pytest.mark.slow
@pytest.mark.usefixtures("demo_alone")
@pytest.mark.parametrize("columns", WIDTHS)
def test_the_demo_fits(house, columns):
    """Its table has every text and label whole."""
    lines = _told(house, columns, "demo")
    assert _fits(lines, columns)
    table = "\n".join(line for line in lines if line.startswith("│"))
    cells = "".join(line.split("│")[1].rstrip() for line in table.splitlines())
    assert "电影《流浪地球3》票房突破10亿" in cells.replace(" ", "")
    assert table.count("entertainment") == 6
    (command,) = [line for line in lines if " init " in line]
    assert "demo.parquet --labels " in command


@pytest.mark.parametrize("columns", [60, 80])
def test_help_shows_flags_as_flags(tmp_path, columns):
    """No type stands beside an option that takes nothing; no sentence about a command is cut off."""
    commands = [command.name or command.callback.__name__ for command in app.registered_commands]
    for words in [[], *([name] for name in commands)]:
        _, lines = in_terminal([LABELMILL, *words, "--help"], columns, tmp_path, os.environ)
        told = "\n".join(lines)
        assert "Show this message and exit." in " ".join(told.split())
        assert not re.search(r"<bool>|float range|int range|^ +-.*<str>|\w\.\.\.$", told, re.MULTILINE)
        assert max(map(len, lines)) <= columns
