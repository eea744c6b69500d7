"""A deployed job, run by a real worker in a process of its own."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import polars as pl
import pytest
from prefect.client.orchestration import get_client
from prefect.deployments import run_deployment
from prefect.flows import Flow

from commands.background import BackgroundProgram
from commands.deployments import WORK_POOL
from commands.prefect_setup import PROJECT
from commands.work_pool import have_work_pool
from practice import PracticeSettings

LABELMILL = Path(sys.executable).parent / "labelmill"
PATIENCE_SECONDS = 60


@pytest.fixture(scope="module")
def worker(prefect_server, tmp_path_factory):
    """A worker of the pool, in a folder that is not the project's."""
    with get_client(sync_client=True) as client:
        have_work_pool(client)
    environment = {
        **os.environ,
        "PREFECT_API_URL": prefect_server,
        "PREFECT_WORKER_QUERY_SECONDS": "1",
        "PREFECT_LOGGING_LEVEL": "INFO",
    }
    command = [sys.executable, "-m", "prefect", "worker", "start", "--pool", WORK_POOL]
    running = BackgroundProgram("worker", tmp_path_factory.mktemp("worker"))
    running.start(command, environment, tmp_path_factory.mktemp("elsewhere"))
    yield running
    running.stop(PATIENCE_SECONDS)


@pytest.fixture
def deployed(job_of, tmp_path, prefect_server):
    """Deploy a job with the command line, and return the deployment's name."""

    def deploy(**sections):
        job = job_of(name=tmp_path.name, **sections)
        lines = [f'name = "{job.name}"']
        for section, fields in job.model_dump(mode="json", exclude_unset=True, exclude={"name"}).items():
            lines += [f"[{section}]", *(f"{name} = {_toml(value)}" for name, value in fields.items())]
        file = tmp_path / "job.toml"
        file.write_text("\n".join(lines))
        subprocess.run(
            [LABELMILL, "deploy", file, "--cron", "0 6 * * *"],
            env={**os.environ, "PREFECT_API_URL": prefect_server},
            check=True,
            capture_output=True,
            timeout=PATIENCE_SECONDS,
        )
        return f"label-dataset/{job.name}"

    return deploy


def _toml(value):
    return f'"{value}"' if isinstance(value, str) else str(value)


def _wait_for(flow_run, runs, *, final=True):
    """Wait until the flow run has ended its n-th attempt."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    with get_client(sync_client=True) as client:
        while time.monotonic() < deadline:
            now = client.read_flow_run(flow_run.id)
            if now.run_count >= runs and now.state.is_final() == final:
                return now
            time.sleep(0.2)
    raise AssertionError(f"the run is {now.state}")


@pytest.mark.usefixtures("worker")
def test_a_run_that_failed_is_retried_and_nothing_is_paid_twice(
    deployed, practice, write_texts, prefect_server, tmp_path
):
    """A deployed run whose key is refused halfway fails; retried as from the UI it asks only the rest, and succeeds."""
    texts = [f"football {number}" for number in range(60)]
    write_texts(texts)
    practice.configure(PracticeSettings(latency_seconds=0.3))
    practice.reset()
    run = run_deployment(
        deployed(run={"max_concurrency": 4}), parameters={"model_base_url": practice.base_url}, timeout=0
    )
    deadline = time.monotonic() + PATIENCE_SECONDS
    while practice.totals()["answered"] < 10:
        assert time.monotonic() < deadline
        time.sleep(0.1)
    practice.configure(PracticeSettings(required_key="another"))
    failed = _wait_for(run, 1)
    assert (failed.state.is_failed(), "401" in failed.state.message) == (True, True)
    answered = practice.totals()["answered"]
    assert 10 <= answered < len(texts)

    practice.configure(PracticeSettings())
    subprocess.run(
        [sys.executable, "-m", "prefect", "flow-run", "retry", str(run.id)],
        env={**os.environ, "PREFECT_API_URL": prefect_server},
        check=True,
        capture_output=True,
        timeout=PATIENCE_SECONDS,
    )
    retried = _wait_for(run, 2)
    assert retried.state.is_completed(), retried.state
    assert practice.totals()["answered"] == len(texts)
    rows = pl.read_parquet(tmp_path / "out" / "labeled" / "source.parquet")
    assert rows["label_status"].unique().to_list() == ["ok"]


@pytest.mark.usefixtures("worker")
def test_a_run_is_started_waited_for_and_read_from_the_terminal(
    deployed, write_texts, prefect_server, tmp_path
):
    """`start --wait` runs as many texts as it is told to and ends as they did; `status` and `logs` say what came of it."""
    write_texts([f"football {number}" for number in range(20)])
    name = deployed().split("/")[1]

    def labelmill(*words):
        return subprocess.run(
            [LABELMILL, *words],
            env={**os.environ, "PREFECT_API_URL": prefect_server},
            capture_output=True,
            text=True,
            timeout=2 * PATIENCE_SECONDS,
            check=False,
        )

    started = labelmill("start", name, "--wait", "--rows", "5")
    assert started.returncode == 0, started.stderr
    assert "Completed: 5 of 20 rows labeled, $" in started.stderr
    status = labelmill("status", name).stdout
    assert "Completed" in status
    assert "5 of 20 rows labeled, $" in status
    logs = labelmill("logs", name, "--follow").stdout
    assert "INFO    5 texts to ask, in 1 chunk" in logs
    assert "Completed: 5 of 20 rows labeled, $" in logs.splitlines()[-1]
    at_the_budget = labelmill("start", name, "--wait", "--max-cost-usd", "0")
    assert at_the_budget.returncode == 4, at_the_budget.stderr
    (_, last) = sorted(tmp_path.glob("out/runs/*/run.json"))
    assert json.loads(last.read_text())["job"]["run"]["max_cost_usd"] == 0


@pytest.mark.usefixtures("worker")
def test_a_comparison_can_be_deployed(practice, job_of, write_texts, tmp_path):
    """A worker runs `flows/compare.py:compare_strategies` with the parameters of its form, and it leaves its record."""
    write_texts([f"football {number}" for number in range(20)])
    practice.configure(PracticeSettings())
    practice.reset()
    flow = Flow.from_source(source=str(PROJECT), entrypoint="flows/compare.py:compare_strategies")
    flow.deploy(name=tmp_path.name, work_pool_name=WORK_POOL, build=False, push=False, print_next_steps=False)
    parameters = {
        "job": job_of().model_dump(mode="json"),
        "rows": 5,
        "concurrency": [2],
        "batch_wait_minutes": 0,
        "model_base_url": practice.base_url,
    }
    run = run_deployment(f"compare-strategies/{tmp_path.name}", parameters=parameters, timeout=0)
    assert _wait_for(run, 1).state.is_completed()
    (record,) = tmp_path.glob("out/runs/*/compare.json")
    assert json.loads(record.read_text())["requests"] == practice.totals()["requests"] == 1 + 3 * 5
