"""Job files on disk, and the sentences they are refused with."""

import polars as pl
import pytest

from labelmill.errors import JobRefused
from labelmill.job.check import checked_job
from labelmill.job.file import draft_of_file

JOB = """
name = "topics"
[source]
path = "{folder}/source.parquet"
text = "text"
[labels]
"sport" = "football, match"
"money" = ""
[model]
provider = "practice"
name = "gpt-4o-mini"
[output]
path = "{folder}/out"
"""


@pytest.fixture
def job_file(tmp_path):
    """Write a job file over a small source, with some of its text replaced and more at its end."""

    def write(*replacements, more=""):
        pl.DataFrame({"text": ["a", "b"], "n": [1, 2]}).write_parquet(tmp_path / "source.parquet")
        text = JOB.replace("{folder}", str(tmp_path))
        for old, new in replacements:
            assert text.count(old) == 1, old
            text = text.replace(old, new)
        path = tmp_path / "job.toml"
        path.write_text(text + more, encoding="utf-8")
        return path

    return write


@pytest.fixture
def mistakes_in():
    """What a job file is refused with, as `{place: sentence}`.

    The file's own path is left out of the places; several sentences at one place are joined by ` / `.
    """

    def read(path):
        with pytest.raises(JobRefused) as refused:
            checked_job(draft_of_file(path))
        found = {}
        for mistake in refused.value.mistakes:
            place = mistake.where.removeprefix(str(path)).removeprefix(", ")
            assert "\n" not in mistake.sentence
            found[place] = f"{found[place]} / {mistake.sentence}" if place in found else mistake.sentence
        assert found
        return found

    return read
