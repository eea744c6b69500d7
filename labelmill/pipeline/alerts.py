"""Who is told how a run ended: after a run that left a record, and by the shells where one left none."""

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

from pydantic import ValidationError

from labelmill.alert.channel import channel_of
from labelmill.alert.sending import send
from labelmill.errors import AlertNotSent, JobRefused
from labelmill.job.file import draft_of_file
from labelmill.job.model import Alert, LabelJob
from labelmill.providers.table import PROVIDERS
from labelmill.report.alert import is_trouble, message_of, message_without_record
from labelmill.run.optional import is_fault, reason_of
from labelmill.run.record import RunRecord

log = logging.getLogger(__name__)


class AlertWatch:
    """What the shells and the run know of each other: whether somebody has been told of this run already."""

    def __init__(self) -> None:
        self.is_told = False


_watch: ContextVar[AlertWatch | None] = ContextVar("alert_watch", default=None)


def alert_of_run(record: RunRecord) -> None:
    """Tell whom the job and the environment name how a run ended, where they want to know.

    Raises:
        AlertNotSent: they were not told, or it isn't known.
    """
    channel = channel_of(record.job.alert)
    if channel is None:
        return
    trouble = is_trouble(record, datetime.now(UTC))
    if trouble or channel.when == "every_run":
        if watch := _watch.get():
            watch.is_told = True
        send(message_of(record, trouble=trouble), channel)


class Told(NamedTuple):
    """What a job says of its alerts, as far as it can be read."""

    job: str
    alert: Alert
    is_rehearsal: bool = False


def told_by_job(job: LabelJob) -> Told:
    """What a job says."""
    return Told(job.name, job.alert, _is_rehearsal(job.model.provider))


def told_by_file(path: Path) -> Told:
    """What a job file says; one that can't be read says nothing, and then the environment has the word."""
    try:
        values = draft_of_file(path).values
    except JobRefused:
        values = {}
    return told_by_values(values, path.name)


def told_by_values(values: Mapping[str, Any], name: str) -> Told:
    """What the values of a job say that need not be one; it has this name where it says none."""
    try:
        alert = Alert.model_validate(values.get("alert", {}))
    except ValidationError:
        alert = Alert()
    own, model = values.get("name"), values.get("model")
    provider = model.get("provider") if isinstance(model, Mapping) else None
    return Told(own if isinstance(own, str) and own else name, alert, _is_rehearsal(provider))


def _is_rehearsal(provider: object) -> bool:
    known = PROVIDERS.get(provider) if isinstance(provider, str) else None
    return known is not None and known.is_practice


@contextmanager
def alert_without_record(told_by: Callable[[], Told], *, is_seen: bool = False) -> Iterator[None]:
    """Tell of a run that ends in an error in this block, and raise that all the same.

    Within another such block it is left to the outer one, and nobody is told who was told of the run's record.

    Args:
        told_by: reads what the job says of its alerts.
        is_seen: whether a person looks on, who sees the error and needs no alert.
    """
    if _watch.get() is not None:
        yield
        return
    watch = AlertWatch()
    token = _watch.set(watch)
    try:
        yield
    except BaseException as error:
        if is_fault(error) and not watch.is_told and not is_seen:
            _tell(error, told_by())
        raise
    finally:
        _watch.reset(token)


def _tell(error: BaseException, told: Told) -> None:
    refused = isinstance(error, JobRefused)
    sentences = list(map(str, error.mistakes)) if isinstance(error, JobRefused) else [reason_of(error)]
    alert_of_error(told, sentences, refused=refused)


def alert_of_error(told: Told, sentences: Sequence[str], *, refused: bool = False) -> None:
    """Tell of a run that left no record; where that can't be done it is logged.

    Args:
        told: what its job says of alerts.
        sentences: what is wrong.
        refused: whether nothing was asked and nothing spent.
    """
    channel = channel_of(told.alert)
    if channel is None or (told.is_rehearsal and channel.when != "every_run"):
        return
    try:
        send(message_without_record(told.job, sentences, refused=refused), channel)
    except AlertNotSent as failed:
        log.warning("The alert could not be sent: %s", failed)
