"""`labelmill deploy`: a job on a schedule."""

import asyncio
import os
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import UUID
from zoneinfo import ZoneInfo

from commands.local_server import answers, use_running_server
from commands.prefect_setup import PROJECT, prepare_environment
from commands.run import EXIT_USER, read_job, refuse
from commands.terminal import console, shown
from labelmill.check.job import checked_job
from labelmill.dataset.source import is_url
from labelmill.errors import JobRefused, Mistake
from labelmill.job.file import draft_of_file
from labelmill.job.model import LabelJob, Output, Source
from labelmill.job.zones import zone_meant_by, zone_mistake, zone_notice

ENTRYPOINT = "flows/label.py:label_dataset"
TAGS = ["labelmill"]
CRON_FIELDS = 5


def deploy_job(path: Path, *, cron: str, timezone: str, name: str | None) -> int:
    """Deploy a job file with a schedule and say what was deployed; returns the exit code."""
    prepare_environment(quiet=False)
    try:
        # Before the check of the schedule, which imports Prefect.
        use_running_server()
        job = _deployable_job(path, cron, timezone)
        if (renamed := zone_notice(timezone)) is not None:
            console.print(shown(renamed), soft_wrap=True)
        timezone = zone_meant_by(timezone) or timezone
        _require_server()
        name = name or job.name
        deployment = _deploy(job, cron, timezone, name)
    except JobRefused as refused:
        return refuse(refused)
    except ConnectionError as error:
        console.print(f"[bold red]error[/] {shown(str(error))}", soft_wrap=True)
        return EXIT_USER
    first = next_run(cron, timezone, datetime.now(UTC)).astimezone(ZoneInfo(timezone))
    console.print(
        f"[bold]{shown(name)}[/] is deployed: [green]{shown(cron)}[/] in {timezone}\n"
        f"next run   {first:%A %Y-%m-%d %H:%M} {timezone}\n"
        f"job        {shown(str(path))}, as it is now; deploy it again when you change it\n"
        f"look at    {_page_of(deployment)}\n"
        f"run it now prefect deployment run 'label-dataset/{shown(name)}'",
        soft_wrap=True,
    )
    return 0


def read_job_file(path: str) -> dict[str, Any]:
    """A build step for `prefect.yaml`: the job of a file, with paths from the project's root made absolute.

    Returns:
        `job`, the flow's parameter; `project`, the folder the code is in.

    Raises:
        JobRefused: the job can't run as it stands.
    """
    draft = draft_of_file(PROJECT / path)
    if draft.job is None:
        raise JobRefused(list(draft.mistakes))
    job = checked_job(type(draft)(draft.where, draft.values, with_absolute_paths(draft.job, PROJECT), ()))
    return {"job": parameter_of(job), "project": str(PROJECT)}


def parameter_of(job: LabelJob) -> dict[str, Any]:
    """The job as a deployment's parameter, with its labels' order said: PostgreSQL sorts what JSON calls an object.

    In another order the labels would be another prompt, and every text would be paid for again.
    """
    return job.model_copy(update={"label_order": tuple(job.labels)}).model_dump(mode="json")


def with_absolute_paths(job: LabelJob, start: Path) -> LabelJob:
    """The same job with paths that start at a folder made absolute."""
    source = Source(path=str(start / job.source.path), text=job.source.text)
    output, practice = Output(path=str(start / job.output.path)), job.practice
    if practice.settings is not None:
        practice = practice.model_copy(update={"settings": str(start / practice.settings)})
    return job.model_copy(update={"source": source, "output": output, "practice": practice})


def relative_path_mistakes(job: LabelJob, where: str) -> list[Mistake]:
    """What a deployed run would look for in another folder than the one the user is in."""
    return [
        Mistake(
            f"{where}, {place}",
            f"found the relative path {path!r}; a deployed run starts in another folder than you are in now, so write "
            f"an absolute one such as {str(Path.cwd() / path)!r}",
        )
        for place, path in (
            ("source.path", job.source.path),
            ("output.path", job.output.path),
            ("practice.settings", job.practice.settings),
        )
        if path is not None and not Path(path).is_absolute() and not is_url(path)
    ]


def schedule_mistakes(cron: str, timezone: str) -> list[Mistake]:
    """What is wrong with a schedule."""
    found = []
    try:
        _schedule(cron, "UTC")
    except ValueError:
        sentence = (
            f'found {cron!r}, expected five fields, minute, hour, day of month, month and day of week: "0 6 * * *" is '
            "every day at 06:00"
        )
        found.append(Mistake("--cron", sentence))
    if (mistake := zone_mistake(timezone)) is not None:
        found.append(Mistake("--timezone", mistake))
    return found


def next_run(cron: str, timezone: str, now: datetime) -> datetime:
    """When a schedule is next due after `now`, as Prefect's own scheduler counts."""
    from prefect.server.schemas.schedules import CronSchedule  # noqa: PLC0415

    schedule = CronSchedule(cron=cron, timezone=timezone)
    return asyncio.run(schedule.get_dates(n=1, start=now))[0]


def _deployable_job(path: Path, cron: str, timezone: str) -> LabelJob:
    """The checked job of a file.

    Raises:
        JobRefused: with every mistake in the job, in its paths and in the schedule.
    """
    mistakes = schedule_mistakes(cron, timezone)
    draft = draft_of_file(path)
    if draft.job is not None:
        mistakes += relative_path_mistakes(draft.job, draft.where)
    try:
        job = read_job(path, None, None)
    except JobRefused as refused:
        raise JobRefused([*refused.mistakes, *mistakes]) from None
    if mistakes:
        raise JobRefused(mistakes)
    return job


def _page_of(deployment: UUID) -> str | None:
    from prefect.utilities.urls import url_for  # noqa: PLC0415

    return url_for("deployment", obj_id=deployment)


def _schedule(cron: str, timezone: str) -> Any:
    from prefect.schedules import Cron  # noqa: PLC0415

    if len(cron.split()) != CRON_FIELDS:
        raise ValueError(cron)
    return Cron(cron, timezone=timezone)


def _require_server() -> None:
    """See that there is a server to deploy to.

    Raises:
        ConnectionError: there is none, or it doesn't answer.
    """
    url = os.environ.get("PREFECT_API_URL")
    if not url:
        raise ConnectionError(
            "no Prefect server is up; start one on this machine with: labelmill up (or set PREFECT_API_URL to yours)"
        )
    if not answers(url):
        raise ConnectionError(f"no Prefect server answers at PREFECT_API_URL = {url}")


def _deploy(job: LabelJob, cron: str, timezone: str, name: str) -> UUID:
    """Deploy, and return the deployment's id.

    Raises:
        JobRefused: another job is deployed by that name.
    """
    from prefect.client.orchestration import get_client  # noqa: PLC0415
    from prefect.client.schemas.objects import (  # noqa: PLC0415
        ConcurrencyLimitConfig,
        ConcurrencyLimitStrategy,
    )
    from prefect.exceptions import ObjectNotFound  # noqa: PLC0415
    from prefect.flows import Flow  # noqa: PLC0415

    from commands.work_pool import WORK_POOL, have_work_pool  # noqa: PLC0415

    with get_client(sync_client=True) as client:
        have_work_pool(client)
        try:
            known = client.read_deployment_by_name(f"label-dataset/{name}").parameters.get("job", {})
        except ObjectNotFound:
            known = {}
    other = known.get("name", job.name)
    if other != job.name:
        sentence = f"the job {other!r} is deployed as {name!r} already; choose another name"
        raise JobRefused([Mistake("--name", sentence)])
    flow: Any = Flow.from_source(source=str(PROJECT), entrypoint=ENTRYPOINT)
    deployment = flow.to_deployment(
        name=name,
        work_pool_name=WORK_POOL,
        schedules=[_schedule(cron, timezone)],
        # A run that is due while another works waits: two at once would be in each other's way.
        concurrency_limit=ConcurrencyLimitConfig(
            limit=1, collision_strategy=ConcurrencyLimitStrategy.ENQUEUE
        ),
        parameters={"job": parameter_of(job)},
        description=f"Labels {job.name} at {cron} in {timezone}. A run that is due while another works waits for it.",
        tags=TAGS,
    )
    identifier: UUID = deployment.apply()
    return identifier
