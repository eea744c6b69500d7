"""`labelmill start`, `status` and `logs` on a server whose pool nobody polls: what is found, and what is said."""

import json
import os
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from uuid import uuid4

import pytest
from prefect.client.orchestration import get_client
from prefect.client.schemas.actions import WorkPoolCreate
from prefect.exceptions import ObjectAlreadyExists

from commands.deployments import Deployment, deployment_meant
from labelmill.errors import JobRefused

LABELMILL = Path(sys.executable).parent / "labelmill"
JOB = """
name = "{name}"
source = {{ path = "source.parquet", text = "text" }}
labels = {{ sport = "football", money = "bank" }}
model = {{ provider = "practice", name = "gpt-4o-mini" }}
output = {{ path = "out" }}
"""


@pytest.fixture
def command(tmp_path, prefect_server):
    """Run a command on the tests' server."""

    def run(*words):
        return subprocess.run(
            [LABELMILL, *map(str, words)],
            capture_output=True,
            text=True,
            cwd=tmp_path,
            env={**os.environ, "PREFECT_API_URL": prefect_server},
            timeout=120,
            check=False,
        )

    return run


@pytest.fixture
def deployed(command, tmp_path, write_texts):
    """Deploy a job file of this name, and return it."""
    write_texts(["football", "bank"])

    def deploy(name, *options):
        file = tmp_path / f"{name}.toml"
        file.write_text(JOB.format(name=name))
        # Other tests have a worker in the usual pool.
        with get_client(sync_client=True) as client, suppress(ObjectAlreadyExists):
            client.create_work_pool(WorkPoolCreate(name="unpolled", type="process"))
        done = command("deploy", file, "--pool", "unpolled", *options)
        assert done.returncode == 0, done.stderr
        return file

    return deploy


def test_a_run_is_started_with_what_people_change_for_one_run(command, deployed):
    """By name or by job file; the options are the run's parameters, beside the job that the deployment holds."""
    file = deployed("started")
    done = command("start", "started", "--max-cost-usd", "0.25", "--rows", "1", "--retry-failed")
    assert done.returncode == 0, done.stderr
    assert "started is started" in done.stderr
    assert "nobody polls the work pool 'unpolled'" in done.stderr
    assert command("start", file).returncode == 0
    first, second = _runs("started")
    assert first.parameters.keys() == {"job", "max_cost_usd", "rows", "retry_failed"}
    assert [first.parameters[name] for name in ("max_cost_usd", "rows", "retry_failed")] == [0.25, 1, True]
    assert second.parameters.keys() == {"job"}


def _runs(name):
    with get_client(sync_client=True) as client:
        deployment = client.read_deployment_by_name(f"label-dataset/{name}")
        found = [run for run in client.read_flow_runs() if run.deployment_id == deployment.id]
    return sorted(found, key=lambda run: run.created)


def test_the_status_says_what_ran_and_what_comes(command, deployed):
    """Without runs, with one that waits, and as JSON; a schedule says when it is next due, in its own time zone."""
    deployed("looked-at", "--cron", "0 6 * * *", "--timezone", "Asia/Shanghai")
    before = command("status", "looked-at").stdout
    assert "schedule  0 6 * * * in Asia/Shanghai" in before
    assert "06:00 Asia/Shanghai" in before
    assert "it has not run yet" in before
    command("start", "looked-at")
    after = command("status", "looked-at").stdout
    assert "it has not run yet" not in after
    assert "Scheduled" in after or "Late" in after
    (told,) = json.loads(command("status", "looked-at", "--json").stdout)
    assert (told["name"], told["job"], told["work_pool"]) == ("looked-at", "looked-at", "unpolled")
    assert [run["state"] in {"Scheduled", "Late"} for run in told["runs"]] == [True]
    assert told["next_runs"][0].endswith("06:00 Asia/Shanghai")


def test_logs_of_a_run_that_waits_say_why(command, deployed):
    """Before its first run there is nothing to print; a run that nobody takes names the pool."""
    deployed("silent")
    none_yet = command("logs", "silent")
    assert (none_yet.returncode, "'silent' has not run yet" in none_yet.stderr) == (2, True)
    command("start", "silent")
    done = command("logs", "silent")
    assert done.returncode == 0
    assert "nobody polls the work pool 'unpolled'" in done.stdout
    unknown = command("logs", "silent", "--run", "nope")
    assert (unknown.returncode, "no run of 'silent' is called" in unknown.stderr) == (2, True)


def test_a_name_that_is_not_deployed_is_a_sentence(command, deployed, tmp_path):
    """A mistyped name is corrected, and a job file that is not deployed says how to deploy it."""
    deployed("mistyped")
    done = command("start", "mistypd")
    assert (done.returncode, done.stderr) == (
        2,
        "error nothing is deployed as 'mistypd'; did you mean 'mistyped'?\n",
    )
    (tmp_path / "other.toml").write_text(JOB.format(name="other"))
    done = command("status", "other.toml")
    assert done.returncode == 2
    assert "the job 'other' of other.toml is not deployed on this server; deploy it with: " in done.stderr
    assert "labelmill deploy other.toml --cron '0 6 * * *'" in done.stderr


def _deployment(flow, name, job=None):
    return Deployment(uuid4(), flow, name, job, "labelmill", paused=False, schedules=())


KNOWN = [
    _deployment("label-dataset", "news", "news"),
    _deployment("label-dataset", "news-weekly", "news"),
    _deployment("label-dataset", "nightly", "mails"),
    _deployment("compare-strategies", "news", "news"),
    _deployment("alert", "alert"),
    _deployment("clean-up", "alert"),
]


@pytest.mark.parametrize(
    ("wanted", "found"),
    [
        ("news", "label-dataset/news"),
        ("compare-strategies/news", "compare-strategies/news"),
        ("mails", "label-dataset/nightly"),
        ("clean-up/alert", "clean-up/alert"),
    ],
)
def test_what_is_meant_is_found(wanted, found):
    """A labeling deployment comes first, then any other by its name, then one by the name of its job."""
    assert deployment_meant(wanted, KNOWN).full_name == found


def test_what_may_be_several_is_not_guessed(tmp_path):
    """Two flows with a deployment of one name, and a job that is deployed twice, are a question back."""
    with pytest.raises(JobRefused, match="may be any of 'alert/alert', 'clean-up/alert'"):
        deployment_meant("alert", KNOWN)
    file = tmp_path / "news.toml"
    file.write_text(JOB.format(name="news"))
    with pytest.raises(JobRefused, match="may be any of 'news', 'news-weekly'; name the one"):
        deployment_meant(str(file), KNOWN)
    with pytest.raises(
        JobRefused, match="what is: alert/alert, clean-up/alert, compare-strategies/news, news, "
    ):
        deployment_meant("qqqqqqq", KNOWN)
