"""`labelmill` with the providers that langasync speaks to, as a user has it: subprocesses, exit codes, what they print."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from practice import PracticeSettings

pytest.importorskip("langasync")

LABELMILL = Path(sys.executable).parent / "labelmill"
MODELS = {
    "anthropic": ("claude-haiku-4-5", "ANTHROPIC_API_KEY", ""),
    "google": ("gemini-2.5-flash-lite", "GOOGLE_API_KEY", "/v1beta"),
}
TEXTS = [f"the {word} of day {number}" for number in range(5) for word in ("match", "market")]


@pytest.fixture(params=MODELS)
def provider(request):
    """Each provider in turn."""
    return request.param


@pytest.fixture
def job_file(tmp_path, provider, write_texts):
    """Write a job file of the provider: `job_file(address)`."""

    def write(address="", more=""):
        write_texts(TEXTS)
        file = tmp_path / "job.toml"
        file.write_text(
            f"""
name = "test"
[source]
path = "{tmp_path / "source.parquet"}"
text = "text"
[labels]
sport = "match"
money = "market"
[model]
provider = "{provider}"
name = "{MODELS[provider][0]}"
{address and f'base_url = "{address}"'}
[run]
lane = "batch"
poll_seconds = 0.1
max_wait_minutes = 1
{more}
[batch]
adapter = "langasync"
[output]
path = "{tmp_path / "out"}"
"""
        )
        return file

    return write


@pytest.fixture
def labelmill(tmp_path, request):
    """Run the command line in a folder of its own, without a key."""

    def run(*arguments):
        environment = {**os.environ, "COLUMNS": "200"}
        if "prefect_server" in request.fixturenames:
            environment["PREFECT_API_URL"] = request.getfixturevalue("prefect_server")
        return subprocess.run(
            [LABELMILL, *map(str, arguments)],
            capture_output=True,
            text=True,
            cwd=tmp_path,
            env=environment,
            timeout=120,
            check=False,
        )

    return run


@pytest.mark.usefixtures("prefect_server")
def test_a_job_runs_from_the_command_line_with_the_providers_key(
    labelmill, job_file, practice, provider, tmp_path
):
    """The key comes from .env under its usual name; bill, report and history are there, and a second run asks nothing."""
    _, key_name, path = MODELS[provider]
    practice.configure(PracticeSettings(required_key="from-dot-env"))
    practice.reset()
    (tmp_path / ".env").write_text(f"{key_name}=from-dot-env\n")
    file = job_file(practice.base_url.removesuffix("/v1") + path)
    done = labelmill("run", file, "--json")
    assert done.returncode == 0, done.stderr
    record = json.loads(done.stdout)
    totals = practice.totals()
    assert (record["status"], record["labels"]) == ("completed", {"sport": 5, "money": 5})
    assert (record["texts_by_batch"], totals["batches"], totals["requests"]) == (10, 1, 0)
    assert record["input_tokens"] == totals["batch_input_tokens"]
    assert record["live_cost_usd"] == pytest.approx(record["cost_usd"] * 2)
    assert record["batch_price"]["provider"] == provider
    report = tmp_path / "out" / "runs" / record["run_id"] / "report.html"
    assert "saved by the batch lane" in report.read_text()
    again = json.loads(labelmill("run", file, "--json").stdout)
    assert (again["texts_asked"], again["rows_reused"], practice.totals()["batches"]) == (0, 10, 1)
    history = json.loads(labelmill("costs", file, "--reprice", "--json").stdout)
    assert history["practice"]["total"]["repriced_usd"] == pytest.approx(record["cost_usd"])
    practice.configure(PracticeSettings())


def test_without_a_key_nothing_is_asked(labelmill, job_file, provider):
    """The sentence names the provider's variable."""
    done = labelmill("run", job_file())
    assert done.returncode == 2
    assert MODELS[provider][1] in done.stderr
    assert "Traceback" not in done.stderr
