"""`labelmill up` as a person uses it: a server, a worker, the deployments, what they trigger; and `labelmill down`."""

import json
import os
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pytest

from commands.background import BackgroundProgram

pytestmark = pytest.mark.system

LABELMILL = Path(sys.executable).parent / "labelmill"
PATIENCE_SECONDS = 120


class House:
    """What `labelmill up` started, and questions to it."""

    def __init__(self, home):
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self.home = home
        self.url = f"http://127.0.0.1:{self.port}/api"
        self.environment = {
            **os.environ,
            "PREFECT_HOME": str(home),
            "PREFECT_SERVER_API_PORT": str(self.port),
            "PREFECT_WORKER_QUERY_SECONDS": "1",
            "COLUMNS": "200",
        }

    def labelmill(self, *words, **environment):
        """Run a verb as a person would, from a folder that is not the project's."""
        return subprocess.run(
            [LABELMILL, *map(str, words)],
            capture_output=True,
            text=True,
            cwd=self.home,
            env={**self.environment, **environment},
            timeout=300,
            check=False,
        )

    def start(self, deployment, **parameters):
        """Start a run of a deployment."""
        found = self.ask(f"/deployments/name/{deployment}")
        return self.ask(f"/deployments/{found['id']}/create_flow_run", {"parameters": parameters})

    def wait_for(self, flow, state):
        """Wait for the latest run of a flow to be in a state, and return it."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        body = {
            "flows": {"name": {"any_": [flow]}},
            "flow_runs": {"state": {"name": {"any_": [state]}}},
            "sort": "EXPECTED_START_TIME_DESC",
        }
        while not (runs := self.ask("/flow_runs/filter", body)):
            assert time.monotonic() < deadline, f"no run of {flow} is {state}"
            time.sleep(0.5)
        return runs[0]

    def ask(self, path, body=None):
        """The API's answer."""
        request = urllib.request.Request(
            self.url + path,
            None if body is None else json.dumps(body).encode(),
            {"content-type": "application/json"},
        )
        with urllib.request.urlopen(request, timeout=30) as response:
            return json.load(response)

    def pids(self):
        """The pids of the server and of the worker."""
        return [BackgroundProgram(name, self.home / "labelmill").pid() for name in ("server", "worker")]


@pytest.fixture(scope="module")
def house(tmp_path_factory):
    """Everything up for the module, in a PREFECT_HOME and on a port of its own."""
    house = House(tmp_path_factory.mktemp("home"))
    up = house.labelmill("up")
    yield house
    down = house.labelmill("down")
    assert up.returncode == 0, up.stderr
    assert "stopped: worker, server" in down.stderr
    assert house.pids() == [None, None]
    assert "nothing was up" in house.labelmill("down").stderr


def test_up_twice_is_harmless(house):
    """The second `up` finds what runs, and starts nothing again."""
    before = house.pids()
    again = house.labelmill("up")
    assert again.returncode == 0, again.stderr
    assert house.pids() == before
    assert None not in before
    automations = house.ask("/automations/filter", {})
    names = [automation["name"] for automation in automations]
    assert names.count("labelmill: crash runs whose process died") == 1
    assert house.ask("/v2/concurrency_limits/labelmill")["limit"] == 4


def test_the_schedule_really_schedules(house):
    """The daily deployment has runs planned; a server whose scheduler fails plans none."""
    house.wait_for("label-dataset", "Scheduled")


def test_the_page_asks_the_port_it_came_from(house):
    """On another port than 4200, the UI is told its own API's address."""
    with urllib.request.urlopen(f"http://127.0.0.1:{house.port}/ui-settings", timeout=30) as response:
        assert json.load(response)["api_url"] == house.url


def test_a_labeled_dataset_starts_what_comes_next(house):
    """A run of the daily deployment makes the labeled dataset known, and the example reads it."""
    house.start("label-dataset/daily-sample")
    house.wait_for("label-dataset", "Completed")
    summary = house.wait_for("summarize-labeled", "Completed")
    assert summary["parameters"]["labeled_path"].endswith("/out/sample-topics/labeled")
    (table,) = house.ask(
        "/artifacts/latest/filter", {"artifacts": {"key": {"any_": ["labels-after-labeling"]}}}
    )
    assert {row["label"] for row in json.loads(table["data"])} <= {"技术", "商业", "娱乐", "体育"}


def test_the_command_line_uses_the_server_that_is_up(house, job_of, write_texts, tmp_path):
    """A run at its budget, started from the command line, is on that server and raises the alert with its sentence."""
    write_texts(["football", "bank", "match"])
    job = job_of(run={"max_cost_usd": 0})
    file = tmp_path / "job.toml"
    file.write_text(
        f"""
name = "too dear"
source = {{ path = "{job.source.path}", text = "text" }}
labels = {{ sport = "football", money = "bank" }}
model = {{ provider = "practice", name = "gpt-4o-mini" }}
run = {{ max_cost_usd = 0 }}
output = {{ path = "{job.output.path}" }}
"""
    )
    done = house.labelmill("run", file)
    assert done.returncode == 4
    assert "temporary server" not in done.stderr
    alert = house.wait_for("alert", "Completed")
    assert alert["parameters"]["job"] == "too dear"
    assert "would be passed by the next request" in alert["parameters"]["sentence"]


def test_a_taken_port_is_a_sentence(house, tmp_path):
    """Where another program has the port, `up` says so and which variable chooses another."""
    done = house.labelmill("up", PREFECT_HOME=str(tmp_path))
    assert done.returncode == 2
    assert f"port {house.port} is taken" in done.stderr
