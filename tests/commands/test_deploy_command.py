"""`labelmill deploy`: sentences for every mistake, and what a deployment is."""

import json
import os
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from prefect.client.orchestration import get_client
from prefect.client.schemas.actions import WorkPoolCreate

from commands.deploy import next_run, parameter_of, read_job_file, schedule_mistakes, with_absolute_paths
from labelmill.job.model import LabelJob
from labelmill.question.task_key import task_key_of

ROOT = Path(__file__).parent.parent.parent
LABELMILL = Path(sys.executable).parent / "labelmill"
AWAY = "http://127.0.0.1:9/api"
DAILY = ("--cron", "0 6 * * *", "--timezone", "Asia/Shanghai")


@pytest.fixture
def job_file(tmp_path, write_texts):
    """Write a job file and its source, and return the file's path."""

    def write(name="daily news", source=None, output=None, settings=None):
        write_texts(["football", "bank"])
        file = tmp_path / "job.toml"
        file.write_text(
            f"""
name = "{name}"
source = {{ path = "{source or tmp_path / "source.parquet"}", text = "text" }}
labels = {{ sport = "football", money = "bank" }}
model = {{ provider = "practice", name = "gpt-4o-mini" }}
output = {{ path = "{output or tmp_path / "out"}" }}
{f'practice.settings = "{settings}"' if settings else ""}
"""
        )
        return file

    return write


@pytest.fixture
def deploy(tmp_path):
    """Run `labelmill deploy`, with a server only where a test names one."""

    def run(job, *options, server=None):
        environment = {**os.environ, "COLUMNS": "200", **({"PREFECT_API_URL": server} if server else {})}
        return subprocess.run(
            [LABELMILL, "deploy", str(job), *options],
            capture_output=True,
            text=True,
            cwd=tmp_path,
            env=environment,
            timeout=120,
            check=False,
        )

    return run


def test_every_mistake_is_a_sentence_at_once(deploy, job_file):
    """A job's mistake, a cron with four fields and a mistyped time zone are a sentence each, with code 2."""
    done = deploy(
        job_file(source="nowhere.parquet"), *("--cron", "0 6 * *", "--timezone", "Asia/Shangai"), server=AWAY
    )
    assert done.returncode == 2
    lines = done.stderr.strip().splitlines()
    assert [line.split(": ")[0].split(", ")[-1] for line in lines] == [
        "source.path",
        "error --cron",
        "error --timezone",
    ]
    assert "did you mean 'Asia/Shanghai'?" in lines[2]
    assert "Traceback" not in done.stderr


def test_relative_paths_start_in_this_folder_and_are_shown(deploy, job_file, tmp_path, prefect_server):
    """A deployed run starts in another folder: what it gets is absolute, and the command says what that is."""
    (tmp_path / "rehearsal.toml").write_text("faults.hang = 0.1")
    file = job_file("relative", source="./source.parquet", output="../out", settings="rehearsal.toml")
    done = deploy(file, *DAILY, server=prefect_server)
    assert done.returncode == 0, done.stderr
    job = _deployed("relative").parameters["job"]
    paths = (job["source"]["path"], job["output"]["path"], job["practice"]["settings"])
    here = tmp_path
    assert paths == (f"{here}/source.parquet", f"{here.parent}/out", f"{here}/rehearsal.toml")
    assert (
        f"source.path is {paths[0]}, output.path is {paths[1]}, practice.settings is {paths[2]}"
        in done.stderr
    )


@given(
    source=st.sampled_from(
        ["a.parquet", "./a/*.parquet", "../a", "/abs/[a]*.parquet", "s3://bucket/a", "a/../b/"]
    ),
    prefix=st.sampled_from(["", "lm_"]),
)
def test_only_relative_paths_change(source, prefix):
    """Addresses, absolute paths and everything beside the paths stay as they are; what is relative becomes absolute."""
    values = {
        "name": "a",
        "source": {"path": source, "text": "text"},
        "labels": {"sport": "", "money": ""},
        "model": {"name": "gpt-4o-mini"},
        "output": {"path": "/out", "column_prefix": prefix},
    }
    job = LabelJob.model_validate(values)
    moved = with_absolute_paths(job, Path("/here/there"))
    is_relative = not source.startswith(("/", "s3:"))
    assert (moved.source.path != source) == is_relative
    assert moved.source.path.startswith("/here") == is_relative
    assert "/../" not in moved.source.path
    back = moved.model_copy(update={"source": job.source})
    assert (back, moved.output.column_prefix) == (job, prefix)
    assert task_key_of(moved) == task_key_of(job)


def test_without_a_server_a_sentence_names_the_verb_that_starts_one(deploy, job_file):
    """Where no server is up, the sentence says how to start one, and nothing else is started."""
    done = deploy(job_file(), *DAILY)
    assert done.returncode == 2
    assert done.stderr == (
        f"error no Prefect server is up; start one on this machine with: {LABELMILL} up (or set PREFECT_API_URL to yours)\n"
    )


def test_a_server_that_does_not_answer_is_a_sentence(deploy, job_file):
    """A PREFECT_API_URL where nothing answers is named, without a traceback."""
    done = deploy(job_file(), *DAILY, server=AWAY)
    assert done.returncode == 2
    assert "no Prefect server answers at PREFECT_API_URL = http://127.0.0.1:9/api" in done.stderr


def test_a_deployment_has_its_schedule_its_limit_and_its_job(deploy, job_file, prefect_server):
    """The deployment runs daily in its time zone, one run at a time, with the job as the flow's parameter."""
    done = deploy(job_file(), *DAILY, server=prefect_server)
    assert done.returncode == 0, done.stderr
    assert "06:00 Asia/Shanghai" in done.stderr
    with get_client(sync_client=True) as client:
        deployment = client.read_deployment_by_name("label-dataset/daily news")
    assert str(deployment.id) in done.stderr
    (schedule,) = deployment.schedules
    assert (schedule.schedule.cron, schedule.schedule.timezone) == ("0 6 * * *", "Asia/Shanghai")
    assert deployment.global_concurrency_limit.limit == 1
    assert deployment.concurrency_options.collision_strategy == "ENQUEUE"
    assert deployment.parameters["job"]["name"] == "daily news"
    assert deployment.work_pool_name == "labelmill"
    assert "Asia/Shanghai" in deployment.description


def test_beijings_time_is_shanghais(deploy, job_file, prefect_server):
    """A schedule in Asia/Beijing is one in Asia/Shanghai, and that is said."""
    done = deploy(
        job_file("beijing"), "--cron", "0 6 * * *", "--timezone", "Asia/Beijing", server=prefect_server
    )
    assert done.returncode == 0, done.stderr
    assert "the time zone 'Asia/Beijing' is called 'Asia/Shanghai', and is taken for it" in done.stderr
    with get_client(sync_client=True) as client:
        (schedule,) = client.read_deployment_by_name("label-dataset/beijing").schedules
    assert schedule.schedule.timezone == "Asia/Shanghai"


def test_a_deployment_keeps_what_the_file_says(deploy, job_file, prefect_server):
    """Defaults are left to the version that runs it, and what holds all of them, as older deployments do, is the same job."""
    assert deploy(job_file("lean"), *DAILY, server=prefect_server).returncode == 0
    job = _deployed("lean").parameters["job"]
    assert job.keys() == {"name", "source", "labels", "model", "output", "label_order"}
    assert job["model"] == {"provider": "practice", "name": "gpt-4o-mini"}
    full = LabelJob.model_validate(job).model_dump(mode="json")
    assert LabelJob.model_validate(full) == LabelJob.model_validate(job)


def test_nothing_that_a_deployment_holds_is_asked_for(deploy, job_file, prefect_server):
    """The form asks for no parameter, so that Quick run starts at once, and has above the job what people change for one run."""
    assert deploy(job_file("quick"), *DAILY, server=prefect_server).returncode == 0
    schema = _deployed("quick").parameter_openapi_schema
    assert not schema.get("required")
    fields = sorted(schema["properties"], key=lambda name: schema["properties"][name]["position"])
    assert fields == ["max_cost_usd", "retry_failed", "rows", "model_base_url", "job"]
    assert all(schema["properties"][name]["description"] for name in fields)


def test_a_schedule_stays_where_none_is_given_and_a_pause_too(deploy, job_file, prefect_server):
    """Deployed anew after a change, a job keeps its hours and its pause; one that never had any runs when it is started."""
    file = job_file("again")
    assert "none; it runs when it is started" in deploy(file, server=prefect_server).stderr
    assert _deployed("again").schedules == []
    deploy(file, *DAILY, server=prefect_server)
    with get_client(sync_client=True) as client:
        client.pause_deployment(_deployed("again").id)
    done = deploy(file, server=prefect_server)
    (schedule,) = _deployed("again").schedules
    assert (schedule.schedule.cron, schedule.schedule.timezone) == ("0 6 * * *", "Asia/Shanghai")
    assert _deployed("again").paused
    assert "0 6 * * * in Asia/Shanghai, as before" in done.stderr
    assert "next run   none: it is paused" in done.stderr


def test_a_pool_that_nobody_polls_and_one_that_is_not_there(deploy, job_file, prefect_server):
    """A pool of one's own is used, with a word where no worker polls it; one that is not there names those that are."""
    with get_client(sync_client=True) as client:
        client.create_work_pool(WorkPoolCreate(name="gpu-machines", type="process"), overwrite=True)
    done = deploy(job_file("pooled"), *DAILY, "--pool", "gpu-machines", server=prefect_server)
    assert (done.returncode, _deployed("pooled").work_pool_name) == (0, "gpu-machines")
    assert "nobody polls the work pool 'gpu-machines': runs wait until a worker does" in done.stderr
    assert "worker start --pool gpu-machines" in done.stderr
    # Where none is named, it stays in its pool.
    assert deploy(job_file("pooled"), server=prefect_server).returncode == 0
    assert _deployed("pooled").work_pool_name == "gpu-machines"
    refused = deploy(job_file("pooled"), *DAILY, "--pool", "gpu-machine", server=prefect_server)
    assert refused.returncode == 2
    assert (
        "--pool: found 'gpu-machine', which is no work pool of this server; did you mean 'gpu-machines'?"
        in refused.stderr
    )


def _deployed(name):
    with get_client(sync_client=True) as client:
        return client.read_deployment_by_name(f"label-dataset/{name}")


def test_a_database_that_sorts_names_changes_no_task(job_of):
    """A job whose parameter comes back with its names sorted, as from PostgreSQL, is still the same task."""
    job = job_of(labels={"sport": "football", "money": "bank", "a": ""})
    stored = json.loads(json.dumps(parameter_of(job), sort_keys=True))
    assert list(stored["labels"]) == ["a", "money", "sport"]
    assert task_key_of(LabelJob.model_validate(stored)) == task_key_of(job)


def test_a_job_never_takes_anothers_place(deploy, job_file, prefect_server):
    """A name that another job is deployed by is refused; the same job is deployed anew."""
    assert deploy(job_file("first"), *DAILY, "--name", "taken", server=prefect_server).returncode == 0
    assert deploy(job_file("first"), *DAILY, "--name", "taken", server=prefect_server).returncode == 0
    done = deploy(job_file("second"), *DAILY, "--name", "taken", server=prefect_server)
    assert done.returncode == 2
    assert "the job 'first' is deployed as 'taken' already" in done.stderr


@pytest.mark.parametrize("cron", ["", "0 6", "61 6 * * *", "0 6 * * * *", "tomorrow", "@daily"])
def test_a_cron_that_prefect_would_refuse_is_a_mistake(cron):
    """Anything but five usable fields is refused, shortcuts and seconds too."""
    (mistake,) = schedule_mistakes(cron, "UTC")
    assert mistake.where == "--cron"


def test_the_next_run_is_counted_in_the_schedules_time_zone():
    """06:00 in Shanghai is 22:00 UTC of the day before."""
    due = next_run("0 6 * * *", "Asia/Shanghai", datetime(2026, 11, 23, 12, tzinfo=UTC))
    assert due.astimezone(UTC) == datetime(2026, 11, 23, 22, tzinfo=UTC)


def test_the_project_deploys_what_is_there():
    """Each deployment of prefect.yaml has a flow that exists, a pool, and a pull step; a schedule's names its zone."""
    deployments = yaml.safe_load((ROOT / "deployments" / "prefect.yaml").read_text())["deployments"]
    assert [deployment["name"] for deployment in deployments] == ["daily-sample", "after-labeling", "alert"]
    for deployment in deployments:
        file, function = deployment["entrypoint"].split(":")
        assert f"def {function}(" in (ROOT / file).read_text()
        assert deployment["work_pool"] == {"name": "labelmill"}
        assert deployment["pull"]
        assert deployment["description"]
        for schedule in deployment.get("schedules", []):
            assert schedule_mistakes(schedule["cron"], schedule["timezone"]) == []
            assert schedule["timezone"] in deployment["description"]
            assert deployment["concurrency_limit"] == {"limit": 1, "collision_strategy": "ENQUEUE"}


def test_the_daily_jobs_paths_are_absolute_wherever_the_project_is():
    """The build step of prefect.yaml checks the job and takes its relative paths from the project's root."""
    step = read_job_file("deployments/sample-topics.toml")
    assert step["project"] == str(ROOT)
    assert step["job"]["output"]["path"] == str(ROOT / "out" / "sample-topics")
    json.dumps(step)
