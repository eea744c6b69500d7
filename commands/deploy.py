"""`labelmill deploy`: a job on a schedule."""

import asyncio
import os
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import UUID
from zoneinfo import ZoneInfo

from commands.deployments import FLOW, WORK_POOL, know_server, pool_named, prefect_server, unpolled_words
from commands.invocation import command
from commands.prefect_setup import PROJECT
from commands.run import read_job, refuse
from commands.terminal import console, shown
from labelmill.check.job import checked_job
from labelmill.errors import JobRefused, Mistake
from labelmill.job.file import JobDraft, draft_of_file
from labelmill.job.model import LabelJob
from labelmill.job.zones import zone_meant_by, zone_mistake, zone_notice
from labelmill.store.address import is_url

if TYPE_CHECKING:
    from prefect.client.orchestration import SyncPrefectClient

ENTRYPOINT = "flows/label.py:label_dataset"
TAGS = ["labelmill"]
CRON_FIELDS = 5


@dataclass(frozen=True)
class Wanted:
    """What the options say of a deployment; `cron` is None where it is to have no schedule of its own."""

    name: str | None
    cron: str | None
    timezone: str
    pool: str | None


def deploy_job(path: Path, *, cron: str | None, timezone: str, name: str | None, pool: str | None) -> int:
    """Deploy a job file and say what was deployed; returns the exit code."""
    wanted = Wanted(name, cron, zone_meant_by(timezone) or timezone, pool)
    know_server()
    try:
        mistakes = schedule_mistakes(cron, timezone) if cron is not None else timezone_mistakes(timezone)
        job, moved = _deployable_job(path, mistakes)
        if (renamed := zone_notice(timezone)) is not None:
            console.print(shown(renamed), soft_wrap=True)
        with prefect_server() as client:
            deployed = _deploy(client, job, wanted)
            unpolled = unpolled_words(client, deployed.pool)
    except JobRefused as refused:
        return refuse(refused)
    _say(path, deployed, moved, unpolled)
    return 0


@dataclass(frozen=True)
class Deployed:
    """What came of it."""

    id: UUID
    name: str
    pool: str
    schedules: tuple[Any, ...]
    is_kept: bool
    """Whether the schedules were there before, and stay."""
    paused: bool


def _say(path: Path, deployed: Deployed, moved: Mapping[str, str], unpolled: str | None) -> None:
    name, now = deployed.name, datetime.now(UTC)
    lines = [f"[bold]{shown(name)}[/] is deployed in the work pool {shown(deployed.pool)}"]
    for schedule in deployed.schedules:
        kept = ", as before" if deployed.is_kept else ""
        lines.append(f"schedule   [green]{shown(schedule_words(schedule.schedule))}[/]{kept}")
        if due := due_words(schedule, now, paused=deployed.paused):
            lines.append(f"next run   {due}")
    if not deployed.schedules:
        lines.append("schedule   none; it runs when it is started")
    lines.append(f"job        {shown(str(path))}, as it is now; deploy it again when you change it")
    if moved:
        paths = ", ".join(f"{place} is {where}" for place, where in moved.items())
        lines.append(f"paths      {shown(paths)} (relative ones start in this folder)")
    lines += [
        f"look at    {page_of('deployment', deployed.id)}",
        f"run it now {shown(command('start', name))}",
        f"its runs   {shown(command('status', name))}",
        f"its log    {shown(command('logs', name))}",
    ]
    if unpolled:
        lines.append(f"[yellow]{shown(unpolled)}[/]")
    console.print("\n".join(lines), soft_wrap=True)


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
    job = checked_job(JobDraft(draft.where, draft.values, with_absolute_paths(draft.job, PROJECT), ()))
    return {"job": parameter_of(job), "project": str(PROJECT)}


def parameter_of(job: LabelJob) -> dict[str, Any]:
    """The job as a deployment's parameter: what its file says, so that a default which changes reaches it too.

    Its labels' order is said, since PostgreSQL sorts what JSON calls an object. In another order the labels would be another
    prompt, and every text would be paid for again.
    """
    ordered = job.model_copy(update={"label_order": tuple(job.labels)})
    return ordered.model_dump(mode="json", exclude_unset=True)


def with_absolute_paths(job: LabelJob, start: Path) -> LabelJob:
    """The same job with paths that start at a folder made absolute."""
    sections: dict[str, Any] = {}
    for section, field in _PATHS:
        part = sections.get(section, getattr(job, section))
        path = getattr(part, field)
        if _is_relative(path):
            absolute = os.path.abspath(start / path)  # noqa: PTH100  (`..` goes, links stay)
            sections[section] = part.model_copy(update={field: absolute})
    return job.model_copy(update=sections)


def moved_paths(job: LabelJob, start: Path) -> dict[str, str]:
    """The relative paths of a job by their places, each as it is from a folder."""
    absolute = with_absolute_paths(job, start)
    return {
        f"{section}.{field}": getattr(getattr(absolute, section), field)
        for section, field in _PATHS
        if _is_relative(getattr(getattr(job, section), field))
    }


_PATHS = (("source", "path"), ("output", "path"), ("practice", "settings"))


def _is_relative(path: str | None) -> bool:
    return path is not None and not Path(path).is_absolute() and not is_url(path)


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
    return [*found, *timezone_mistakes(timezone)]


def timezone_mistakes(timezone: str) -> list[Mistake]:
    """What is wrong with a time zone."""
    mistake = zone_mistake(timezone)
    return [] if mistake is None else [Mistake("--timezone", mistake)]


def schedule_words(schedule: Any) -> str:
    """When a schedule is due, in a few words: `0 6 * * * in Asia/Shanghai`."""
    when = next(
        (value for name in ("cron", "rrule", "interval") if (value := getattr(schedule, name, None))), "?"
    )
    timezone = getattr(schedule, "timezone", None)
    every = "every " if getattr(schedule, "interval", None) else ""
    return f"{every}{when} in {timezone}" if timezone else f"{every}{when}"


def due_words(schedule: Any, now: datetime, *, paused: bool) -> str | None:
    """When a deployment's schedule is next due, in its own time zone; None where only the server could tell."""
    cron, timezone = getattr(schedule.schedule, "cron", None), getattr(schedule.schedule, "timezone", None)
    if paused or not schedule.active:
        return "none: it is paused"
    if cron is None:
        return None
    zone = timezone or "UTC"
    due = next_run(cron, zone, now).astimezone(ZoneInfo(zone))
    return f"{due:%A %Y-%m-%d %H:%M} {zone}"


def next_run(cron: str, timezone: str, now: datetime) -> datetime:
    """When a schedule is next due after `now`, as Prefect's own scheduler counts."""
    from prefect.server.schemas.schedules import CronSchedule  # noqa: PLC0415

    schedule = CronSchedule(cron=cron, timezone=timezone)
    return asyncio.run(schedule.get_dates(n=1, start=now))[0]


def _deployable_job(path: Path, mistakes: list[Mistake]) -> tuple[LabelJob, dict[str, str]]:
    """The checked job of a file with absolute paths, and those that the file has relative: they start in this folder.

    Raises:
        JobRefused: with every mistake in the job and in the options.
    """
    try:
        job = read_job(path, None, None)
    except JobRefused as refused:
        raise JobRefused([*refused.mistakes, *mistakes]) from None
    if mistakes:
        raise JobRefused(mistakes)
    here = Path.cwd()
    return with_absolute_paths(job, here), moved_paths(job, here)


def page_of(kind: str, identifier: UUID) -> str | None:
    """The page of the UI that shows a deployment or a run."""
    from prefect.utilities.urls import url_for  # noqa: PLC0415

    return url_for(kind, obj_id=identifier)


def _schedule(cron: str, timezone: str) -> Any:
    from prefect.schedules import Cron  # noqa: PLC0415

    if len(cron.split()) != CRON_FIELDS:
        raise ValueError(cron)
    return Cron(cron, timezone=timezone)


def _deploy(client: "SyncPrefectClient", job: LabelJob, wanted: Wanted) -> Deployed:
    """Deploy. A schedule that is there already stays where none is given, and a deployment that is paused stays so.

    Raises:
        JobRefused: another job is deployed by that name, or there is no such work pool.
    """
    from prefect.client.schemas.objects import (  # noqa: PLC0415
        ConcurrencyLimitConfig,
        ConcurrencyLimitStrategy,
    )
    from prefect.exceptions import ObjectNotFound  # noqa: PLC0415
    from prefect.flows import Flow  # noqa: PLC0415

    name = wanted.name or job.name
    try:
        known = client.read_deployment_by_name(f"{FLOW}/{name}")
    except ObjectNotFound:
        known = None
    other = known.parameters.get("job", {}).get("name", job.name) if known else job.name
    if other != job.name:
        sentence = f"the job {other!r} is deployed as {name!r} already; choose another name"
        raise JobRefused([Mistake("--name", sentence)])
    pool = _pool_of(client, wanted.pool, known)
    schedules = [_schedule(wanted.cron, wanted.timezone)] if wanted.cron is not None else []
    kept = tuple(known.schedules or ()) if known and not schedules else ()
    times = [f"at {wanted.cron} in {wanted.timezone}"] if schedules else [_at(one.schedule) for one in kept]
    when = f" {' and '.join(times)}" if times else " when it is started"
    paused = bool(known and known.paused)
    flow: Any = Flow.from_source(source=str(PROJECT), entrypoint=ENTRYPOINT)
    deployment = flow.to_deployment(
        name=name,
        work_pool_name=pool,
        schedules=schedules or None,
        paused=paused,
        # A run that is due while another works waits: two at once would be in each other's way.
        concurrency_limit=ConcurrencyLimitConfig(
            limit=1, collision_strategy=ConcurrencyLimitStrategy.ENQUEUE
        ),
        parameters={"job": parameter_of(job)},
        description=f"Labels {job.name}{when}. A run that is due while another works waits for it.",
        tags=TAGS,
    )
    if kept:
        # Left out, they would go.
        deployment.schedules = [_again(one) for one in kept]
    identifier = deployment.apply()
    there = client.read_deployment(identifier)
    return Deployed(
        identifier, name, pool, tuple(there.schedules or ()), is_kept=bool(kept), paused=bool(there.paused)
    )


def _again(schedule: Any) -> Any:
    """A schedule that is there, to be written once more as it is."""
    from prefect.client.schemas.actions import DeploymentScheduleCreate  # noqa: PLC0415

    fields = DeploymentScheduleCreate.model_fields.keys()
    there = {name: getattr(schedule, name) for name in fields if getattr(schedule, name, None) is not None}
    return DeploymentScheduleCreate(**there)


def _at(schedule: Any) -> str:
    words = schedule_words(schedule)
    return words if words.startswith("every ") else f"at {words}"


def _pool_of(client: "SyncPrefectClient", wanted: str | None, known: Any) -> str:
    """The work pool that it goes into: the one that is named, else the one it is in, else ours."""
    if wanted is None and known is not None and known.work_pool_name:
        return str(known.work_pool_name)
    if wanted is None or wanted == WORK_POOL:
        from commands.work_pool import have_work_pool  # noqa: PLC0415

        have_work_pool(client)
        return WORK_POOL
    return str(pool_named(client, wanted).name)
