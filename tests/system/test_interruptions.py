"""A deployed run is cancelled, or something dies in the middle of it: what people see, and that nothing is paid twice."""

import json
import os
import signal
import time

import polars as pl
import psutil
import pytest

from practice import PracticeSettings

pytestmark = pytest.mark.system

TEXTS = 80
IN_FLIGHT = 4
ENOUGH = 12
PATIENCE_SECONDS = 60


@pytest.fixture
def interrupted(house, practice, write_texts, tmp_path, request):
    """A deployment whose run is in the middle of its texts, with some answered and most not; and that run."""
    write_texts([f"football {number}" for number in range(TEXTS)])
    practice.reset()
    practice.configure(PracticeSettings(latency_seconds=0.4))
    name = request.node.name.removeprefix("test_").replace("_", "-")
    file = tmp_path / f"{name}.toml"
    file.write_text(
        f"""
name = "{name}"
source = {{ path = "{tmp_path / "source.parquet"}", text = "text" }}
labels = {{ sport = "football", money = "bank" }}
model = {{ provider = "practice", name = "gpt-4o-mini" }}
run = {{ max_concurrency = {IN_FLIGHT} }}
output = {{ path = "{tmp_path / "out"}" }}
"""
    )
    deployment = house.deploy(file)
    run = house.start(deployment, model_base_url=practice.base_url)
    deadline = time.monotonic() + PATIENCE_SECONDS
    while practice.totals()["answered"] < ENOUGH:
        assert time.monotonic() < deadline, house.run(run)["state"]
        time.sleep(0.1)
    yield deployment, run
    practice.configure(PracticeSettings())


@pytest.fixture
def records(tmp_path):
    """What the runs have recorded, the oldest first."""

    def read():
        return [
            json.loads(file.read_text()) for file in sorted((tmp_path / "out" / "runs").glob("*/run.json"))
        ]

    return read


@pytest.fixture
def statuses(tmp_path):
    """How many rows of the labeled dataset are in which status."""

    def count():
        rows = pl.read_parquet(tmp_path / "out" / "labeled" / "source.parquet")
        return dict(rows["label_status"].value_counts().iter_rows())

    return count


def _went_on(house, practice, deployment):
    """Start the deployment again, fast, and see it complete."""
    practice.configure(PracticeSettings())
    run = house.wait_for_end(house.start(deployment, model_base_url=practice.base_url))
    assert run["state"]["name"] == "Completed", run["state"]


def test_a_cancelled_run_drains_and_publishes(house, practice, interrupted, records, statuses):
    """Cancelled in Prefect, a run finishes what is in flight, publishes it with the rest pending, and the next goes on."""
    deployment, run = interrupted
    house.prefect("flow-run", "cancel", run["id"])
    ended = house.wait_for_end(run)
    assert (ended["state"]["type"], ended["state"]["name"]) == ("CANCELLED", "Cancelled")
    (record,) = records()
    assert record["status"] == "cancelled"
    answered = practice.totals()["answered"]
    assert ENOUGH <= answered < TEXTS
    assert statuses() == {"ok": answered, "pending": TEXTS - answered}
    assert "report" in {key.rsplit("-", 1)[1] for key in house.artifacts(run)}

    _went_on(house, practice, deployment)
    assert statuses() == {"ok": TEXTS}
    assert practice.totals()["answered"] == TEXTS


def test_a_killed_run_is_crashed_and_the_next_goes_on(house, practice, interrupted, statuses):
    """The process of a run is killed under its worker: the run is Crashed at once, and only what was in flight is lost."""
    deployment, run = interrupted
    began = time.monotonic()
    for process in psutil.Process(house.program("worker").pid()).children(recursive=True):
        process.kill()
    assert house.wait_for_end(run)["state"]["name"] == "Crashed"
    assert time.monotonic() - began < 30
    house.wait_for("alert", "Completed", flow_run=f"prefect.flow-run.{run['id']}")
    told = house.robots.taken[-1]
    assert told["summary"].endswith(": broke off")
    assert "-9" in told["message"]

    _went_on(house, practice, deployment)
    assert statuses() == {"ok": TEXTS}
    assert TEXTS <= practice.totals()["answered"] <= TEXTS + IN_FLIGHT


def test_a_run_survives_its_worker(house, practice, interrupted, records, statuses):
    """The worker is killed: its run works on and completes, and with a new worker the next run finds nothing to ask."""
    deployment, run = interrupted
    os.kill(house.program("worker").pid(), signal.SIGKILL)
    assert house.wait_for_end(run)["state"]["name"] == "Completed"
    assert statuses() == {"ok": TEXTS}
    assert house.labelmill("up").returncode == 0

    _went_on(house, practice, deployment)
    assert [record["texts_asked"] for record in records()] == [TEXTS, 0]
    assert practice.totals()["answered"] == TEXTS


def test_a_run_survives_a_restart_of_the_server(house, practice, interrupted, records, statuses):
    """The server is away for a while: the run works on, and is Completed with its artifacts when the server is back."""
    deployment, run = interrupted
    assert house.program("server").stop(PATIENCE_SECONDS)
    assert house.labelmill("up").returncode == 0
    assert house.wait_for_end(run)["state"]["name"] == "Completed"
    assert statuses() == {"ok": TEXTS}
    assert {key.rsplit("-", 1)[1] for key in house.artifacts(run)} >= {"report", "costs", "labels"}

    _went_on(house, practice, deployment)
    assert [record["texts_asked"] for record in records()] == [TEXTS, 0]
    assert practice.totals()["answered"] == TEXTS
