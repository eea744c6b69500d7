"""What a command imports, in a fresh interpreter: reading and checking a job waits neither for Prefect nor for LangChain."""

import json
import os
import subprocess
import sys

import polars as pl
import pytest

HEAVY = {"prefect", "langchain_core", "langchain_openai", "langsmith", "openai", "tiktoken", "distributed"}
COMMAND = """
import sys
from commands.main import main
try:
    main()
except SystemExit as ended:
    code = ended.code
"""
SCRIPTS = {
    "read": "import labelmill.job.file as f; code = f.draft_of_file(__import__('pathlib').Path(sys.argv[1])).job is None",
    "check": "import labelmill.check.job as c; import labelmill.job.file as f, pathlib\n"
    "code = c.checked_job(f.draft_of_file(pathlib.Path(sys.argv[1]))) is None",
}
JOB = """
name = "news"
[source]
path = "news.parquet"
text = "title"
[labels]
sport = "matches"
money = ""
[model]
provider = "{provider}"
name = "gpt-4o-mini"
output = "{output}"
{address}
[run]
lane = "{lane}"
max_cost_usd = 1
[output]
path = "out"
"""


@pytest.fixture
def imported(tmp_path, scripted):
    """Runs a script in a job's folder; returns its exit code and the heavy packages that it has imported."""
    pl.DataFrame({"title": ["a match", "a bank"]}).write_parquet(tmp_path / "news.parquet")

    def run(script, *words, provider="openai", lane="live", output="text"):
        address = f'base_url = "{scripted.base_url}"' if provider == "openai" else ""
        job = JOB.format(provider=provider, lane=lane, output=output, address=address)
        (tmp_path / "job.toml").write_text(job)
        told = (
            f"import json, sys\n{script}\nprint(json.dumps([code, [name for name in {sorted(HEAVY)!r} "
            "if name in sys.modules]]), file=sys.stderr)"
        )
        done = subprocess.run(
            [sys.executable, "-c", told, *words],
            capture_output=True,
            text=True,
            cwd=tmp_path,
            env={**os.environ, "OPENAI_API_KEY": "none"},
            check=False,
        )
        return json.loads(done.stderr.splitlines()[-1]) if done.stderr else done

    return run


@pytest.mark.parametrize("script", SCRIPTS.values(), ids=SCRIPTS)
@pytest.mark.parametrize("lane", ["live", "batch"])
def test_reading_a_job_needs_no_client(imported, script, lane):
    """A job is read and checked from Python by what it says alone."""
    assert imported(script, "job.toml", lane=lane) == [False, []]


@pytest.mark.parametrize(
    ("provider", "lane", "output"),
    [
        ("openai", "live", "text"),
        ("openai", "batch", "schema"),
        ("openai", "auto", "choice"),
        ("practice", "live", "text"),
    ],
)
def test_a_check_needs_no_client(imported, provider, lane, output):
    """`labelmill check` asks the endpoint for its models, plans and counts, and needs neither Prefect nor LangChain for it."""
    more = {"provider": provider, "lane": lane, "output": output}
    if lane == "auto":
        more["lane"] = 'auto"\ndeadline = "08:00'
    assert imported(COMMAND, "check", "job.toml", **more) == [0, []]


def test_a_new_job_needs_no_client(imported):
    """`labelmill init` looks at a file, and writes and checks a job."""
    words = ("init", "news.parquet", "--labels", "sport,money", "--text", "title", "-o", "new.toml")
    assert imported(COMMAND, *words) == [0, []]
