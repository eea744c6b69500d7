"""A new job file: valid TOML whatever the names are, with what a person reads beside each field."""

import re
import tomllib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from labelmill.job.file import draft_of_text
from labelmill.job.new_file import NewJob, job_name_of, job_text_of, labels_in, toml_key, toml_string

TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=30)


@given(TEXTS)
def test_any_string_comes_back_from_toml(words):
    """Quotes, backslashes, line breaks, control characters and any script, as values and as names."""
    told = f"{toml_key(words)} = {toml_string(words)}"
    assert tomllib.loads(told) == {words: words}
    assert len(told.splitlines()) == 1


@given(
    TEXTS.filter(bool), TEXTS.filter(bool), st.lists(TEXTS.filter(bool), min_size=1, max_size=4, unique=True)
)
def test_a_new_job_says_what_it_was_made_of(path, text, labels):
    """Odd paths, columns and labels stand in the file as they are, and nothing else does."""
    new = NewJob("news", None, path, text, labels, "practice", "gpt-4o-mini", 1.0, "out/news")
    values = tomllib.loads(job_text_of(new))
    assert values == {
        "name": "news",
        "source": {"path": path, "text": text},
        "labels": dict.fromkeys(labels, ""),
        "model": {"provider": "practice", "name": "gpt-4o-mini"},
        "run": {"lane": "live", "max_concurrency": 32, "max_cost_usd": 1.0},
        "output": {"path": "out/news"},
    }


def test_every_line_of_a_new_job_says_what_it_is_for():
    """Each field has a comment; what is only needed sometimes stands there only then."""
    text = job_text_of(
        NewJob("新闻", "xin-wen", "a.parquet", "t", ["x", "y"], "practice", "m", None, "out/新闻", "lm_")
    )
    fields = [line for line in text.splitlines() if re.match(r"(?!#)\S+ = ", line)]
    assert all(" # " in line for line in fields if not line.endswith('= ""'))
    job = draft_of_text(text, "job.toml").job
    assert (job.slug, job.output.column_prefix, job.run.max_cost_usd) == ("xin-wen", "lm_", None)
    assert "# max_cost_usd = 1.0" in text


@pytest.mark.parametrize(
    ("typed", "labels"),
    [
        ("sport,business", ["sport", "business"]),
        (" sport , business ,", ["sport", "business"]),
        ("体育、财经，科技；房产", ["体育", "财经", "科技", "房产"]),
        ('"arts, culture", sport', ["arts, culture", "sport"]),
        ("“体育，赛事”、“财经”", ["体育，赛事", "财经"]),
        ('5" disk, a=b', ['5" disk', "a=b"]),
        ('"a" or "b", c', ['"a" or "b"', "c"]),
        ("a, a, b", ["a", "b"]),
        ("\u3000体育\u3000、\u3000财经", ["体育", "财经"]),
        ('"', ['"']),
        ("", []),
    ],
)
def test_labels_are_read_as_people_type_them(typed, labels):
    """With commas of either width; a label in quotes may hold one."""
    assert labels_in(typed) == labels


@given(TEXTS)
def test_typed_labels_are_never_blank_or_twice(typed):
    """Whatever is typed, each label has something to read and is there once."""
    labels = labels_in(typed)
    assert all(label.strip() == label != "" for label in labels)
    assert len(set(labels)) == len(labels)


@given(TEXTS)
def test_a_files_name_makes_a_jobs_name(words):
    """Whatever a file is called, its job's name is one that a job may have, and makes a file's name of at most 255 bytes."""
    name = job_name_of(words)
    new = NewJob(name, None, "a.parquet", "text", ["x", "y"], "practice", "gpt-4o-mini", 1.0, f"out/{name}")
    assert draft_of_text(job_text_of(new), "job.toml").mistakes == ()
    assert len(f"{name}.toml".encode()) <= 255
    assert name not in {".", ".."}
