"""Artifact keys: a job's history is found under one name."""

import re

import pytest

from tasks.artifact_keys import artifact_key_of, job_key_of


@pytest.mark.parametrize(
    ("name", "key"), [("news-topics", "news-topics"), ("demo", "demo"), ("crash2", "crash2")]
)
def test_a_plain_name_is_its_own_key(name, key):
    """A name that Prefect allows stays as it is."""
    assert artifact_key_of(name) == key


def test_names_that_look_alike_as_keys_stay_apart():
    """Names that lose characters on the way to a key never share one, and each key is allowed by Prefect."""
    names = ["Daily News", "daily news", "daily_news", "daily-news", "新闻", "新闻分类", "-", "a b", "a  b"]
    keys = [artifact_key_of(name) for name in names]
    assert len(set(keys)) == len(names)
    assert all(re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", key) for key in keys)
    assert artifact_key_of("新闻") == artifact_key_of("新闻")


def test_a_slug_is_the_key_of_a_job_whose_name_is_not_in_ascii(job_of):
    """A job's own slug is what its artifacts are found by; without one they stay where they were."""
    assert job_key_of(job_of(name="新闻分类", slug="news-topics")) == "news-topics"
    assert job_key_of(job_of(name="新闻分类")) == artifact_key_of("新闻分类")
