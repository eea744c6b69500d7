"""`labelmill start`, `status` and `logs`: what is deployed, run now and looked at from the terminal."""

import json
import logging
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any
from uuid import UUID

from rich.console import Console
from rich.table import Table

from commands.deploy import due_words, page_of, schedule_words
from commands.deployments import Deployment, all_deployments, deployment_meant, prefect_server, unpolled_words
from commands.invocation import command
from commands.run import EXIT_CODES, EXIT_OTHER, refuse
from commands.terminal import console, print_json, shown
from labelmill.errors import JobRefused, Mistake
from labelmill.report.formatting import duration

if TYPE_CHECKING:
    from prefect.client.orchestration import SyncPrefectClient

POLL_SECONDS = 2.0
_LINES_IN_A_PAGE = 200
_SAYS_NOTHING = "Finished in state Completed()"
"""What Prefect logs of each task run that went well, without saying which."""
_NARROW = 76
"""Columns below which a run's message stands on lines of its own."""
_BY_STATE = {"BudgetReached": "budget_reached", "Waiting": "waiting", "Completed": "completed"}
_WAITS = ("Scheduled", "Late", "Pending", "AwaitingConcurrencySlot")


@dataclass(frozen=True)
class RunFacts:
    """A flow run as the terminal shows it."""

    id: UUID
    name: str
    state: str
    message: str
    is_over: bool
    started: datetime | None
    seconds: float | None

    @classmethod
    def of(cls, run: Any) -> "RunFacts":
        """Of what the server tells."""
        state, started = run.state, run.start_time or run.expected_start_time
        took = run.total_run_time.total_seconds() if run.start_time else None
        is_over = state is not None and state.is_final()
        name = (state.name or state.type.value) if state is not None else "?"
        return cls(run.id, run.name, name, (state and state.message) or "", is_over, started, took)

    @property
    def exit_code(self) -> int:
        """What a command ends with that has waited for it: as `labelmill run` would, as far as the state tells."""
        return EXIT_CODES.get(_BY_STATE.get(self.state, "failed"), EXIT_OTHER)


def start_run(wanted: str, parameters: Mapping[str, Any], *, wait: bool) -> int:
    """Start a run of what is deployed; returns the exit code, the run's own where it is waited for."""
    try:
        with prefect_server() as client:
            deployment = deployment_meant(wanted, all_deployments(client))
            _refuse_unknown_parameters(client, deployment, parameters)
            made = client.create_flow_run_from_deployment(deployment.id, parameters=dict(parameters))
            console.print(
                f"[bold]{shown(deployment.name)}[/] is started\n"
                f"look at   {page_of('flow-run', made.id)}\n"
                f"follow it {shown(command('logs', deployment.name, '--follow'))}",
                soft_wrap=True,
            )
            if unpolled := unpolled_words(client, deployment.pool):
                console.print(f"[yellow]{shown(unpolled)}[/]", soft_wrap=True)
            if not wait:
                return 0
            ended = _wait_for(client, made.id)
    except JobRefused as refused:
        return refuse(refused)
    except KeyboardInterrupt:
        console.print("no longer waiting; the run goes on")
        return EXIT_OTHER
    return ended.exit_code


def _refuse_unknown_parameters(
    client: "SyncPrefectClient", deployment: Deployment, parameters: Mapping[str, Any]
) -> None:
    """Refuse what the deployment's flow has no parameter for, such as another flow's.

    Raises:
        JobRefused: with the options that don't fit.
    """
    if not parameters:
        return
    schema = client.read_deployment(deployment.id).parameter_openapi_schema or {}
    unknown = [name for name in parameters if name not in schema.get("properties", {})]
    if not unknown:
        return
    what = f"what is deployed as {deployment.name!r} has no such parameter"
    if deployment.job is not None:
        what = f"{deployment.name!r} was deployed by an earlier version, which has no such parameter; deploy it again"
    raise JobRefused([Mistake(f"--{name.replace('_', '-')}", what) for name in unknown])


def _wait_for(client: "SyncPrefectClient", run_id: UUID) -> RunFacts:
    """Wait until a run is over, and say whenever it is in another state."""
    said = ""
    while True:
        now = RunFacts.of(client.read_flow_run(run_id))
        if now.state != said:
            message = f": {now.message}" if now.is_over and now.message else ""
            console.print(
                f"{datetime.now().astimezone():%H:%M:%S} {shown(now.state + message)}", soft_wrap=True
            )
            said = now.state
        if now.is_over:
            return now
        time.sleep(POLL_SECONDS)


def show_status(wanted: str | None, *, runs: int, as_json: bool) -> int:
    """Show the last runs of what is deployed and when it runs next, or of everything where nothing is named."""
    try:
        with prefect_server() as client:
            deployments = all_deployments(client)
            if wanted is None:
                chosen, runs = [one for one in deployments if one.job is not None], 1
            else:
                chosen = [deployment_meant(wanted, deployments)]
            facts = [(one, _last_runs(client, one, runs), unpolled_words(client, one.pool)) for one in chosen]
    except JobRefused as refused:
        return refuse(refused)
    if as_json:
        print_json(json.dumps([_as_json(*each) for each in facts], indent=2, ensure_ascii=False))
        return 0
    where = Console(highlight=False)
    for number, (deployment, last, unpolled) in enumerate(facts):
        if number:
            where.print()
        _show(where, deployment, last, unpolled)
    if not facts:
        deploy = command("deploy", "JOB", "--cron", "0 6 * * *")
        where.print(f"no job is deployed; deploy one with: {shown(deploy)}", soft_wrap=True)
    return 0


def _last_runs(client: "SyncPrefectClient", deployment: Deployment, most: int) -> list[RunFacts]:
    """The last runs, the latest first; those that are planned for later are not among them."""
    from prefect.client.schemas.filters import (  # noqa: PLC0415  (importing Prefect takes seconds)
        DeploymentFilter,
        DeploymentFilterId,
        FlowRunFilter,
        FlowRunFilterExpectedStartTime,
    )
    from prefect.client.schemas.sorting import FlowRunSort  # noqa: PLC0415

    found = client.read_flow_runs(
        deployment_filter=DeploymentFilter(id=DeploymentFilterId(any_=[deployment.id])),
        flow_run_filter=FlowRunFilter(
            expected_start_time=FlowRunFilterExpectedStartTime(before_=datetime.now(UTC))
        ),
        sort=FlowRunSort.EXPECTED_START_TIME_DESC,
        limit=most,
    )
    return [RunFacts.of(run) for run in found]


def _as_json(deployment: Deployment, runs: Sequence[RunFacts], unpolled: str | None) -> dict[str, Any]:
    now = datetime.now(UTC)
    return {
        "name": deployment.name,
        "flow": deployment.flow,
        "job": deployment.job,
        "work_pool": deployment.pool,
        "paused": deployment.paused,
        "schedules": [schedule_words(one.schedule) for one in deployment.schedules],
        "next_runs": [due_words(one, now, paused=deployment.paused) for one in deployment.schedules],
        "notice": unpolled,
        "runs": [
            {
                "id": str(run.id),
                "name": run.name,
                "state": run.state,
                "message": run.message,
                "started_at_utc": run.started.astimezone(UTC).isoformat() if run.started else None,
                "seconds": run.seconds,
            }
            for run in runs
        ],
    }


def _show(where: Console, deployment: Deployment, runs: Sequence[RunFacts], unpolled: str | None) -> None:
    job = "" if deployment.job in {None, deployment.name} else f", the job {deployment.job}"
    where.print(f"[bold]{shown(deployment.name)}[/]{shown(job)}", soft_wrap=True)
    for schedule in deployment.schedules:
        where.print(f"schedule  {shown(schedule_words(schedule.schedule))}", soft_wrap=True)
        if due := due_words(schedule, datetime.now(UTC), paused=deployment.paused):
            where.print(f"next run  {shown(due)}", soft_wrap=True)
    if not deployment.schedules:
        start = command("start", deployment.name)
        where.print(f"schedule  none; start it with: {shown(start)}", soft_wrap=True)
    if unpolled:
        where.print(f"[yellow]{shown(unpolled)}[/]", soft_wrap=True)
    if not runs:
        where.print("it has not run yet")
        return
    if where.is_terminal and where.width < _NARROW:
        for run in runs:
            where.print(f"{_when(run)}  {shown(run.state)}  {duration(run.seconds)}\n  {shown(run.message)}")
        return
    table = Table.grid(padding=(0, 2))
    for column in ("started", "state", "took"):
        table.add_column(no_wrap=True, header=column)
    table.add_column(overflow="fold")
    for run in runs:
        table.add_row(_when(run), shown(run.state), duration(run.seconds), shown(run.message))
    where.print(table, soft_wrap=not where.is_terminal)


def _when(run: RunFacts) -> str:
    return f"{run.started.astimezone():%Y-%m-%d %H:%M:%S}" if run.started else "-"


def show_logs(wanted: str, *, run: str | None, follow: bool) -> int:
    """Print the log of the last run of what is deployed, or of the one that is named; returns the exit code."""
    try:
        with prefect_server() as client:
            deployment = deployment_meant(wanted, all_deployments(client))
            chosen = _run_meant(client, deployment, run)
            where = Console(highlight=False)
            where.print(f"[bold]{shown(chosen.name)}[/]  {page_of('flow-run', chosen.id)}", soft_wrap=True)
            for line in _log_lines(client, chosen.id, follow=follow):
                where.print(shown(line), soft_wrap=True)
            ended = RunFacts.of(client.read_flow_run(chosen.id))
            message = f": {ended.message}" if ended.message else ""
            where.print(f"[bold]{shown(ended.state)}[/]{shown(message)}", soft_wrap=True)
            if ended.state in _WAITS and (unpolled := unpolled_words(client, deployment.pool)):
                where.print(f"[yellow]{shown(unpolled)}[/]", soft_wrap=True)
    except JobRefused as refused:
        return refuse(refused)
    except KeyboardInterrupt:
        return 0
    return 0


def _run_meant(client: "SyncPrefectClient", deployment: Deployment, wanted: str | None) -> RunFacts:
    """The run of that name, or with an id that begins so; the last one where none is named.

    Raises:
        JobRefused: there is none.
    """
    runs = _last_runs(client, deployment, 1 if wanted is None else _LINES_IN_A_PAGE)
    if wanted is None:
        if runs:
            return runs[0]
        start = command("start", deployment.name)
        raise JobRefused([Mistake("", f"{deployment.name!r} has not run yet; start it with: {start}")])
    found = [run for run in runs if run.name == wanted] or [
        run for run in runs if str(run.id).startswith(wanted)
    ]
    if len(found) == 1:
        return found[0]
    if found:
        sentence = f"found {wanted!r}, which {len(found)} runs are called; name one by its id: "
        raise JobRefused([Mistake("--run", sentence + ", ".join(str(run.id) for run in found))])
    names = ", ".join(repr(run.name) for run in runs[:5])
    known = f"the last are {names}" if names else "there is none yet"
    raise JobRefused(
        [Mistake("--run", f"found {wanted!r}, which no run of {deployment.name!r} is called; {known}")]
    )


def _log_lines(client: "SyncPrefectClient", run_id: UUID, *, follow: bool) -> Iterator[str]:
    """A run's log, line by line; with `follow` until the run is over."""
    from prefect.client.schemas.filters import LogFilter, LogFilterFlowRunId  # noqa: PLC0415

    offset, mine = 0, LogFilter(flow_run_id=LogFilterFlowRunId(any_=[run_id]))
    while True:
        # Asked first: what a run logs reaches the server before its end does.
        is_over = not follow or RunFacts.of(client.read_flow_run(run_id)).is_over
        while page := client.read_logs(mine, limit=_LINES_IN_A_PAGE, offset=offset):
            offset += len(page)
            for line in page:
                if not (line.task_run_id and line.message == _SAYS_NOTHING):
                    yield from _shown_line(line)
        if is_over:
            return
        time.sleep(POLL_SECONDS)


def _shown_line(line: Any) -> Iterator[str]:
    level = logging.getLevelName(line.level)
    first, *more = line.message.split("\n")
    yield f"{line.timestamp.astimezone():%H:%M:%S} {level:7} {first}"
    yield from (f"{'':17}{each}" for each in more)
