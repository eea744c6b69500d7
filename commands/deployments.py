"""What is deployed on a Prefect server: found by name or by job file; and who runs it."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import UUID

import httpx
from dotenv import find_dotenv, load_dotenv

from commands import local_server
from commands.invocation import command
from commands.prefect_setup import prepare_environment
from commands.server_check import away, require_server
from labelmill.errors import JobRefused, Mistake
from labelmill.job.file import draft_of_file, nearest

if TYPE_CHECKING:
    from prefect.client.orchestration import SyncPrefectClient

FLOW = "label-dataset"
WORK_POOL = "labelmill"
_MOST_IN_A_PAGE = 200
_SHOWN_NAMES = 20


@dataclass(frozen=True)
class Deployment:
    """A deployment as far as it is looked at here."""

    id: UUID
    flow: str
    name: str
    job: str | None
    """The name of the job in it; None where it holds none."""
    pool: str | None
    paused: bool
    schedules: tuple[Any, ...]

    @property
    def full_name(self) -> str:
        """The name by which Prefect knows it."""
        return f"{self.flow}/{self.name}"


def know_server() -> None:
    """Let the environment say which server Prefect is to talk to, before anything imports Prefect, which reads it then."""
    load_dotenv(find_dotenv(usecwd=True))
    prepare_environment(quiet=False)
    local_server.use_running_server()


@contextmanager
def prefect_server() -> Iterator["SyncPrefectClient"]:
    """Talk to the server of PREFECT_API_URL, or else to that of `labelmill up`, for the length of the block.

    Raises:
        JobRefused: there is none, or it can't be used, or it goes away.
    """
    know_server()
    from prefect.client.orchestration import get_client  # noqa: PLC0415  (importing Prefect takes seconds)
    from prefect.settings import PREFECT_API_URL  # noqa: PLC0415

    url = PREFECT_API_URL.value()
    if not url:
        start = command("up")
        sentence = f"no Prefect server is up; start one on this machine with: {start} (or set PREFECT_API_URL to yours)"
        raise JobRefused([Mistake("", sentence)])
    require_server(url)
    try:
        with get_client(sync_client=True) as client:
            yield client
    except httpx.HTTPStatusError as error:
        said = f"{error.response.status_code}: {error.response.text[:200]}"
        raise JobRefused([Mistake("", f"the Prefect server at {url} refused it ({said})")]) from None
    except httpx.TransportError as error:
        raise JobRefused([away(url, error)]) from None


def all_deployments(client: "SyncPrefectClient") -> list[Deployment]:
    """Everything that is deployed on the server."""
    flows = {flow.id: flow.name for flow in _pages(client.read_flows)}
    found = []
    for one in _pages(client.read_deployments):
        job = (one.parameters or {}).get("job")
        found.append(
            Deployment(
                one.id,
                flows.get(one.flow_id, "?"),
                one.name,
                job.get("name") if isinstance(job, dict) else None,
                one.work_pool_name,
                bool(one.paused),
                tuple(one.schedules or ()),
            )
        )
    return found


def _pages(read: Callable[..., Sequence[Any]]) -> Iterator[Any]:
    offset = 0
    while page := read(limit=_MOST_IN_A_PAGE, offset=offset):
        yield from page
        offset += len(page)
        if len(page) < _MOST_IN_A_PAGE:
            return


def deployment_meant(wanted: str, deployments: Sequence[Deployment]) -> Deployment:
    """The deployment of a name, of `flow/name`, or of a job file.

    Raises:
        JobRefused: there is none, or several could be meant.
    """
    path = Path(wanted)
    if path.suffix == ".toml" or path.is_file():
        return _deployment_of_job(wanted, _job_name_in(path), deployments)
    labeling = [one for one in deployments if one.flow == FLOW]
    for named in (
        [one for one in deployments if one.full_name == wanted],
        [one for one in labeling if one.name == wanted],
        [one for one in deployments if one.name == wanted],
        [one for one in labeling if one.job == wanted],
    ):
        if named:
            return _only(wanted, named)
    names = [one.name if one.flow == FLOW else one.full_name for one in [*labeling, *deployments]]
    names = sorted(dict.fromkeys(names))
    raise JobRefused([Mistake("", _unknown(wanted, names))])


def _job_name_in(path: Path) -> str:
    draft = draft_of_file(path)
    if draft.job is None:
        raise JobRefused(list(draft.mistakes))
    return draft.job.name


def _deployment_of_job(path: str, job: str, deployments: Sequence[Deployment]) -> Deployment:
    found = [one for one in deployments if one.flow == FLOW and one.job == job]
    if not found:
        deploy = command("deploy", path, "--cron", "0 6 * * *")
        sentence = f"the job {job!r} of {path} is not deployed on this server; deploy it with: {deploy}"
        raise JobRefused([Mistake("", sentence)])
    return _only(path, found)


def _only(wanted: str, found: Sequence[Deployment]) -> Deployment:
    if len(found) == 1:
        return found[0]
    is_of_one_flow = len({one.flow for one in found}) == 1
    names = ", ".join(repr(one.name if is_of_one_flow else one.full_name) for one in found)
    raise JobRefused([Mistake("", f"{wanted!r} may be any of {names}; name the one that you mean")])


def _unknown(wanted: str, names: Sequence[str]) -> str:
    if not names:
        deploy = command("deploy", "JOB", "--cron", "0 6 * * *")
        return f"nothing is deployed as {wanted!r}; deploy a job file with: {deploy}"
    close = nearest(wanted, names)
    if close:
        return f"nothing is deployed as {wanted!r}; did you mean {close!r}?"
    more = f" and {len(names) - _SHOWN_NAMES:,} more" if len(names) > _SHOWN_NAMES else ""
    return f"nothing is deployed as {wanted!r}; what is: {', '.join(names[:_SHOWN_NAMES])}{more}"


def pool_named(client: "SyncPrefectClient", name: str) -> Any:
    """A work pool of the server.

    Raises:
        JobRefused: there is none of that name.
    """
    from prefect.exceptions import ObjectNotFound  # noqa: PLC0415

    try:
        return client.read_work_pool(name)
    except ObjectNotFound:
        names = sorted(pool.name for pool in _pages(client.read_work_pools))
    close = nearest(name, names)
    hint = f"did you mean {close!r}? " if close else ""
    known = f"there are {', '.join(names)}" if names else "there is none at all"
    raise JobRefused(
        [Mistake("--pool", f"found {name!r}, which is no work pool of this server; {hint}{known}")]
    )


def unpolled_words(client: "SyncPrefectClient", name: str | None) -> str | None:
    """What is said of a work pool whose runs nobody would start now; None where somebody does."""
    from prefect.exceptions import ObjectNotFound  # noqa: PLC0415

    if name is None:
        return "it is in no work pool: whoever serves it starts its runs"
    try:
        pool = client.read_work_pool(name)
    except ObjectNotFound:
        return f"its work pool {name!r} is gone, so that nobody starts its runs"
    if pool.is_paused:
        resume = command("work-pool", "resume", name, program="prefect")
        return f"the work pool {name!r} is paused: runs wait until it is resumed, with: {_on_this_server(resume)}"
    needs_none = pool.is_push_pool or pool.is_managed_pool
    if needs_none or _is_polled(client, name):
        return None
    if name == WORK_POOL and local_server.is_running_server():
        start = command("up")
    else:
        start = _on_this_server(command("worker", "start", "--pool", name, program="prefect"))
    return f"nobody polls the work pool {name!r}: runs wait until a worker does. Start one with: {start}"


def _is_polled(client: "SyncPrefectClient", pool: str) -> bool:
    """Whether a worker polls it; that of `labelmill up` also where its first sign of life is still to come."""
    from prefect.client.schemas.objects import WorkerStatus  # noqa: PLC0415

    if any(worker.status == WorkerStatus.ONLINE for worker in client.read_workers_for_work_pool(pool)):
        return True
    is_ours = pool == WORK_POOL and local_server.is_running_server()
    return is_ours and local_server.worker().pid() is not None


def _on_this_server(command: str) -> str:
    """A command of Prefect's, which knows the server of `labelmill up` by its variable only."""
    url = local_server.running_api_url() if local_server.is_running_server() else None
    return f"PREFECT_API_URL={url} {command}" if url else command
