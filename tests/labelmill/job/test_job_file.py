"""The job file: read whole, or refused with every mistake in it."""

import pytest

from labelmill.check.job import checked_job
from labelmill.errors import JobRefused
from labelmill.job.file import draft_of, draft_of_file, nearest
from labelmill.providers.table import PROVIDERS


def _refusal(path):
    with pytest.raises(JobRefused) as refused:
        draft_of_file(path)
    (mistake,) = refused.value.mistakes
    return mistake


def test_a_job_file_is_read(job_file, tmp_path):
    """What stands in the file is in the job, and what doesn't has its default."""
    job = checked_job(draft_of_file(job_file()))
    assert job.name == "topics"
    assert job.source.path == f"{tmp_path}/source.parquet"
    assert list(job.labels.items()) == [("sport", "football, match"), ("money", "")]
    assert job.run.max_concurrency == 32
    assert job.run.max_failed_fraction == 0.05
    assert job.model.temperature == 0


def test_the_job_file_of_the_design_is_read(tmp_path):
    """Every line of the design's example is understood."""
    path = tmp_path / "job.toml"
    path.write_text("""
name = "news-topics"

[source]
path = "data/news/*.parquet"        # a file, a glob, a hive-partitioned folder
text = "title"                      # a column, or a template: "{title}\\n{body}"

[labels]                            # name = what it means (may be empty)
"技术" = "software, hardware, science"
"商业" = "companies, markets, money"

[model]
provider = "openai"
name = "gpt-4o-mini"
temperature = 0
base_url = "http://127.0.0.1:11434/v1"
timeout_seconds = 60

[run]
lane = "live"
max_concurrency = 32
rows_per_chunk = "auto"
max_cost_usd = 5.0
poll_seconds = 60
max_failed_fraction = 0.05

[output]
path = "out/news-topics"
""")
    draft = draft_of_file(path)
    assert draft.mistakes == ()
    assert list(draft.job.labels) == ["技术", "商业"]


def test_a_missing_job_file_is_said_so(tmp_path):
    """The sentence names the file and the folder that was searched."""
    mistake = _refusal(tmp_path / "nowhere.toml")
    assert mistake.where == str(tmp_path / "nowhere.toml")
    assert mistake.sentence == f"there is no such job file; looked in {tmp_path}"


def test_a_folder_is_no_job_file(tmp_path):
    """A folder in the job file's place is said so."""
    assert _refusal(tmp_path).sentence == "the job file can't be read: Is a directory"


def test_a_path_through_a_file_is_no_job_file(tmp_path):
    """A path that goes through a file is said so."""
    (tmp_path / "file").touch()
    assert _refusal(tmp_path / "file" / "job.toml").sentence == "the job file can't be read: Not a directory"


@pytest.mark.parametrize("encoding", ["gb18030", "utf-16", "latin-1"])
def test_another_encoding_is_said_so(job_file, encoding):
    """A file in an old editor's encoding is refused, and not read wrongly."""
    path = job_file(("topics", "thémes" if encoding == "latin-1" else "主题"))
    path.write_bytes(path.read_text(encoding="utf-8").encode(encoding))
    assert _refusal(path).sentence == "the job file is not UTF-8 text"


def test_what_windows_editors_add_is_read(job_file):
    """A byte order mark and CRLF line ends are no mistakes."""
    path = job_file(("topics", "主题"))
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes().replace(b"\n", b"\r\n"))
    assert checked_job(draft_of_file(path)).name == "主题"


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ('name = "a"\nname = "b"', "Cannot overwrite a value (at line 2, column 11)"),
        ("name =", "Invalid value (at end of document)"),
        ('name = "a', "Unterminated string (at end of document)"),
        ("[source\n", "Expected ']' at the end of a table declaration (at line 1, column 8)"),
    ],
)
def test_a_syntax_error_says_where(tmp_path, text, sentence):
    """TOML that can't be read is refused with its line and column."""
    path = tmp_path / "job.toml"
    path.write_text(text)
    found = _refusal(path).sentence
    assert found.startswith("the job file is not valid TOML: ")
    assert sentence.split(" (")[0] in found


def test_a_label_without_quotes_gets_a_hint(tmp_path):
    """The mistake that Chinese users make first is explained."""
    path = tmp_path / "job.toml"
    path.write_text('[labels]\n技术 = "software"\n', encoding="utf-8")
    assert "needs quotes" in _refusal(path).sentence


def test_an_empty_file_lacks_every_section(tmp_path, mistakes_in):
    """All that is missing is named at once, each once."""
    path = tmp_path / "job.toml"
    path.touch()
    missing = ["name", "source", "labels", "model", "output"]
    assert mistakes_in(path) == dict.fromkeys(missing, "this field is missing")


def test_all_mistakes_come_at_once(job_file, mistakes_in, tmp_path):
    """Mistakes of syntax, values, labels, source and output stand side by side, each with its place."""
    path = job_file(
        ('text = "text"', 'text = "txet"'),
        ('"money" = ""', '"Sport " = ""'),
        ("/out", "/source.parquet/out"),
        ('provider = "practice"', 'provider = "practise"'),
        more="[run]\nmax_concurency = 3\nmax_failed_fraction = 2\n",
    )
    *others, last = PROVIDERS
    assert mistakes_in(path) == {
        "model.provider": (
            f"found 'practise', expected {', '.join(map(repr, others))} or {last!r}; did you mean 'practice'?"
        ),
        "run.max_concurency": "unknown field; did you mean 'max_concurrency'?",
        "run.max_failed_fraction": "found 2, expected less than or equal to 1",
        "labels": "'sport' and 'Sport ' differ only by case, width or space; rename one",
        "source.text": (
            f"'{tmp_path}/source.parquet' has no column 'txet'; its columns are 'text', 'n'; did you mean 'text'?"
        ),
        "output.path": (
            f"'{tmp_path}/source.parquet' is a file, so there can be no folder '{tmp_path}/source.parquet/out'"
        ),
    }


@pytest.mark.parametrize(
    ("more", "place", "sentence"),
    [
        ("[run]\nzzz = 1", "run.zzz", "unknown field; the fields here are lane, deadline, "),
        ("[prise]\nx = 1", "prise", "unknown field; did you mean 'price'?"),
        ("[price]\ninput_usd_per_mtok = 1\noutput_usd_per_mtok = 1\ninput = 1", "price.input", "unknown field; the fields here are input_usd_per_mtok, output_usd_per_mtok, "),
        ("[prompt]\nSystem = 'x {labels}'", "prompt.System", "unknown field; did you mean 'system'?"),
        ("[practice]\nsead = 1", "practice.sead", "unknown field; did you mean 'seed'?"),
        ("[run]\nlane = 'fast'", "run.lane", "found 'fast', expected 'live', 'batch' or 'auto'"),
        ("[run]\nmax_concurrency = 0", "run.max_concurrency", "found 0, expected greater than or equal to 1"),
        ("[run]\nmax_concurrency = 1.5", "run.max_concurrency", "found 1.5, expected a valid integer, got a number with"),
        ("[run]\nmax_concurrency = 'many'", "run.max_concurrency", "found 'many', expected a valid integer"),
        ("[run]\nrows_per_chunk = 'all'", "run.rows_per_chunk", "found 'all', expected a valid integer"),
        ("[run]\nmax_cost_usd = -1", "run.max_cost_usd", "found -1, expected greater than or equal to 0"),
        ("[run]\nmax_cost_usd = nan", "run.max_cost_usd", "found nan, expected"),
        ("[run]\npoll_seconds = inf", "run.poll_seconds", "found inf, expected a finite number"),
        ("[practice]\nfaults.hangs = 0.1", "practice.faults.hangs", "found 'hangs', expected 'rate_limited', "),
        ("[practice]\nfaults = {hang = 0.6, empty = 0.6}", "practice.faults", "found {'hang': 0.6, 'empty': 0.6}, expected fractions that sum to 1 at most, and not to 1.2"),
        ("[practice]\nlatency_seconds = -1", "practice.latency_seconds", "found -1, expected greater than or equal to 0"),
        ("[practice]\nsettings = 'gone.toml'", "practice.settings", "the settings file 'gone.toml' can't be read: No such file or directory"),
        ("run = []", "model.run", "unknown field"),
    ],
)  # fmt: skip
def test_a_wrong_field_says_what_was_found_and_expected(job_file, mistakes_in, more, place, sentence):
    """Unknown fields get a near name or the names there are; wrong values what they are and what they should be."""
    path = job_file(("[output]", f"{more}\n[output]"))
    (found,) = mistakes_in(path).items()
    assert found[0] == place
    assert found[1].startswith(sentence)


@pytest.mark.parametrize(
    ("old", "new", "place", "sentence"),
    [
        ('name = "topics"', "name = 5", "name", "found 5, expected a valid string"),
        ('name = "topics"', 'name = ""', "name", "found '', expected at least 1 character"),
        ('name = "topics"', 'name = "a/b"', "name", "found 'a/b', expected a name without /, %, &, <, > and"),
        ('name = "topics"', "name = '<script>'", "name", "found '<script>', expected a name without /, %, &,"),
        ('name = "topics"', "", "name", "this field is missing"),
        ('text = "text"', "text = ['a']", "source.text", "found ['a'], expected a valid string"),
        ('text = "text"', 'text = ""', "source.text", "found '', expected at least 1 character"),
        ('"money" = ""', '"money" = 3', "labels.money", "found 3, expected a valid string"),
        ('"money" = ""', '"int" = 3', "labels.int", "found 3, expected a valid string"),
        ('"money" = ""', '"float" = {a = 1}', "labels.float", "found {'a': 1}, expected a valid string"),
        ('name = "gpt-4o-mini"', "", "model.name", "this field is missing"),
        ("[output]", "max_tokens = 0\n[output]", "model.max_tokens", "found 0, expected greater than or equal to 1"),
        ("[output]", "max_tokens = 'x'\n[output]", "model.max_tokens", "found 'x', expected a valid integer, unable to parse string as an integer or 'auto'"),
        ("[output]", "temperature = 3\n[output]", "model.temperature", "found 3, expected less than or equal to 2"),
        ("[output]", "timeout_seconds = inf\n[output]", "model.timeout_seconds", "found inf, expected a finite number"),
        ("[output]", "base_url = '127.0.0.1:80/v1'\n[output]", "model.base_url", "found '127.0.0.1:80/v1', expected an address such as 'http"),
        ("[output]", "base_url = 'http://[::1'\n[output]", "model.base_url", "found 'http://[::1', expected an address such as"),
        ("[output]", "base_url = 'http://host:port'\n[output]", "model.base_url", "found 'http://host:port', expected an address"),
        ("[output]", "base_url = ''\n[output]", "model.base_url", "found '', expected an address such as"),
        ("[output]", "output = 'json'\n[output]", "model.output", "found 'json', expected 'text', 'schema' or 'choice'"),
        ("/source.parquet", "/sour\\u0000ce", "source.path", "found "),
        ("/out", "/o\\u0000ut", "output.path", "found "),
    ],
)  # fmt: skip
def test_a_wrong_value_is_one_mistake(job_file, mistakes_in, old, new, place, sentence):
    """A wrong value is one mistake at its own place, also where several types were tried."""
    (found,) = mistakes_in(job_file((old, new))).items()
    assert found[0] == place
    assert found[1].startswith(sentence)


@pytest.mark.parametrize(
    "section", ["source", "labels", "model", "output", "run", "prompt", "practice", "price"]
)
@pytest.mark.parametrize("value", ["x", 3, ["a"], True])
def test_a_value_in_the_place_of_a_section_is_said_so(section, value):
    """A section that is no section is told which one it should be."""
    (mistake,) = (
        found for found in draft_of({section: value}, "job.toml").mistakes if section in found.where
    )
    assert mistake.where == f"job.toml, {section}"
    assert mistake.sentence == f"found {value!r}, expected a section, [{section}]"


def test_long_values_are_shown_short(job_file, mistakes_in):
    """A wrong value of any length leaves its sentence readable."""
    (found,) = mistakes_in(job_file(('name = "topics"', f'name = "{"x" * 5000}"'))).values()
    assert len(found) < 150
    assert "…, expected at most 100 characters" in found


def test_sections_are_read_by_themselves(job_file):
    """Where one section is wrong, the others are still there to be checked."""
    draft = draft_of_file(job_file(('text = "text"', "text = 3"), more="[price]\nx = 1\n"))
    assert draft.job is None
    sections = draft.sections()
    assert sections.source is None
    assert sections.output.path.endswith("/out")
    assert sections.run.max_concurrency == 32
    assert sections.labels == {"sport": "football, match", "money": ""}


@pytest.mark.parametrize(
    ("name", "known", "near"),
    [
        ("titel", ["body", "title"], "title"),
        ("TITLE", ["body", "title"], "title"),
        ("文本", ["标题", "正文本"], "正文本"),
        ("zzz", ["body", "title"], None),
        ("a", [], None),
    ],
)
def test_a_near_name_is_one_that_comes_close(name, known, near):
    """A near name differs by a letter or two, or by case; others are no help."""
    assert nearest(name, known) == near
