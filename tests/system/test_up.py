"""`labelmill up` as a person uses it: a server, a worker, the deployments, what they trigger; and `labelmill down`."""

import json
import urllib.request

import pytest

from commands.prefect_setup import PROJECT

pytestmark = pytest.mark.system


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
    house.wait_for_end(house.start("label-dataset/daily-sample"))
    labeled = PROJECT / "out" / "sample-topics" / "labeled"
    summary = house.wait_for("summarize-labeled", "Completed", labeled_path=str(labeled))
    table = house.artifacts(summary)["labels-after-labeling"]
    assert {row["label"] for row in json.loads(table["data"])} <= {"技术", "商业", "娱乐", "体育"}


def test_the_command_line_uses_the_server_that_is_up(house, job_of, write_texts, tmp_path):
    """A run at its budget, started from the command line, is on that server, and tells whom the .env of its folder names."""
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
    assert "Beginning flow run" in done.stderr
    house.wait_for("label-dataset", "BudgetReached")
    (told,) = [told for told in house.robots.taken if told["job"] == "too dear"]
    assert (told["status"], told["practice"]) == ("budget_reached", True)
    assert "would be passed by the next request" in told["message"]


def test_a_run_that_prefect_can_not_begin_is_told(house):
    """A job that passes the server's form and is none all the same fails before its first line; the deployment `alert` tells of it."""
    deployment = house.ask("/deployments/name/label-dataset/daily-sample")
    job = deployment["parameters"]["job"]
    model = {**job["model"], "base_url": "nowhere"}
    run = house.start("label-dataset/daily-sample", job={**job, "name": "never ran", "model": model})
    failed = house.wait_for_end(run)
    assert (failed["state"]["name"], failed["run_count"]) == ("Failed", 0)
    house.wait_for("alert", "Completed", flow_run=f"prefect.flow-run.{run['id']}")
    (told,) = [told for told in house.robots.taken if told["job"] == "never ran"]
    assert "an address such as" in told["message"]


def test_a_taken_port_is_a_sentence(house, tmp_path):
    """Where another program has the port, `up` says so and which variable chooses another."""
    done = house.labelmill("up", PREFECT_HOME=str(tmp_path))
    assert done.returncode == 2
    assert f"port {house.port} is taken" in done.stderr
