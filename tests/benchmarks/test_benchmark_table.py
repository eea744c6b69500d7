"""The table of all benchmarks, its page, and what the READMEs quote of it."""

import re
from pathlib import Path

import pytest
from rows import CLIENT, CURATOR, HEADINGS, NO_CURATOR, PLAIN, Row, at_most
from table import QUOTE, QUOTED, READMES, Measured, page, quote, scripts
from ways import COMMAND

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "benchmarks.md").read_text(encoding="utf-8")
ROWS = tuple(
    row
    for what in QUOTED.values()
    for row in (
        Row(what, PLAIN, "ms", (2.5, 2.0, 4.0)),
        Row(what, CLIENT, "ms", (1.0,)),
        Row(what, COMMAND, "ms", (0.75,), (at_most(0.5, PLAIN),)),
        Row(what, CURATOR, "ms", (), missing=NO_CURATOR),
    )
)
MEASURED = Measured("requests", True, "2026-11-30T20:00+00:00", 95, (0.24, 1.5), ROWS)


def test_the_page_says_when_and_on_what_each_figure_was_taken():
    """Beside the table stand the day, the load, the machine and the versions; nothing names the machine."""
    written = page([MEASURED], {"cores": "2", "openai": "3.54.0"})
    assert "| `bench_requests.py` | full, 3 rounds | 2026-11-30 20:00 | 1.6 | 0.2, 1.5 |" in written
    assert "cores 2, openai 3.54.0" in written
    assert f"not measured: {NO_CURATOR}" in written
    assert "2.5 ms (2 to 4)" in written


def test_what_was_measured_comes_back_as_it_was():
    """One script can be measured anew, and the others' rows are what they were."""
    assert Measured.from_json(MEASURED.to_json()) == MEASURED


def test_a_quote_has_the_medians_of_the_page():
    """The READMEs' block is made of the same rows; what was not measured is a dash."""
    lines = quote(ROWS).splitlines()
    assert re.split(r" {3,}", lines[1].strip()) == [COMMAND, PLAIN, CLIENT, CURATOR]
    assert {tuple(re.split(r" {3,}", line)[1:]) for line in lines[2:-1]} == {
        ("0.75 ms", "2.5 ms", "1 ms", "-")
    }


def _figures(written):
    """The page's table: each comparison's figures by who."""
    _, table = written.split(f"| {HEADINGS[0]} | {HEADINGS[1]} |", 1)
    told, what = {}, ""
    for line in table.split("\n\n")[0].splitlines()[2:]:
        named, who, figure, *_ = [cell.strip() for cell in line.strip("|").split("|")]
        what = named or what
        told.setdefault(what, {})[who] = figure.split(" (")[0]
    return told


def test_a_table_is_read_as_it_was_written():
    """The test below reads the page as it should."""
    assert _figures(page([MEASURED], {}))[QUOTED["CPU per text"]] == {
        PLAIN: "2.5 ms",
        CLIENT: "1 ms",
        COMMAND: "0.75 ms",
        CURATOR: f"not measured: {NO_CURATOR}",
    }


@pytest.mark.parametrize("name", READMES)
def test_every_figure_of_speed_in_a_readme_stands_on_the_page(name):
    """The block is the page's own, line for line, and no figure of speed stands anywhere else."""
    readme = (ROOT / name).read_text(encoding="utf-8")
    (block,) = QUOTE.findall(readme)
    who, *lines = [re.split(r" {3,}", line.strip()) for line in block.splitlines()[1:-1]]
    assert [line[0] for line in lines] == list(QUOTED)
    for (_, *quoted), begins in zip(lines, QUOTED.values(), strict=True):
        (told,) = [figures for what, figures in _figures(PAGE).items() if what.startswith(begins)]
        assert quoted == ["-" if told[one].startswith("not measured") else told[one] for one in who]
    assert not re.search(r"\d (?:ms|MB|GB|texts/s)\b", QUOTE.sub("", readme))


def test_the_page_names_no_path_and_no_address():
    """It is read by others, whose machines have neither."""
    assert not re.search(r"/(?:work|home|root|tmp|srv|usr/local)\b|https?://|\d+\.\d+\.\d+\.\d+", PAGE)


def test_the_page_has_every_script():
    """A benchmark that is added is measured, and stands in the table."""
    assert re.findall(r"^\| `bench_(\w+)\.py` \|", PAGE, re.MULTILINE) == scripts()


@pytest.mark.parametrize("name", scripts())
def test_each_script_hands_its_rows_over_as_all_do(name):
    """The same options and the same rows: by itself for people, with --json for the table."""
    source = (ROOT / "benchmarks" / f"bench_{name}.py").read_text(encoding="utf-8")
    assert "parser_of(__doc__)" in source
    assert "show(" in source
    assert "as_json=options.json" in source
