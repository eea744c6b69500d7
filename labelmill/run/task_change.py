"""The task and its past: which ledgers hold its answers, and what it costs that it has changed.

A task is what is asked: the labels, the prompt, the model and its settings. Where it changes, every text is asked anew, and
nobody should learn that from the bill.
"""

import json
import logging
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any

import polars as pl
from pydantic import ValidationError

from labelmill.job.model import LabelJob
from labelmill.money.prices import Price, cost_of
from labelmill.money.usage import Usage
from labelmill.plural import counted
from labelmill.providers.table import are_one_endpoint
from labelmill.question.prompt import DEFAULT_WORDINGS, in_wording, version_of
from labelmill.question.task_key import IGNORED_FIELDS, former_task_key_of, task_key_of
from labelmill.store.folder import OutputFolder
from labelmill.store.ledger import PRACTICE_PREFIX, Ledger
from labelmill.store.row_key import key_digest

log = logging.getLogger(__name__)

_SHOWN_CHANGES = 3
_SHOWN_CHARACTERS = 40


@dataclass(frozen=True)
class TaskChange:
    """How a task differs from the one before it, and what that costs.

    `changes` say in words what changed. `texts` have a label of the former task and are asked again, for about
    `cost_usd`, None where the price or the tokens are unknown.
    """

    changes: tuple[str, ...]
    texts: int
    cost_usd: Decimal | None

    def sentence(self) -> str:
        """The change as people read it."""
        shown = "; ".join(self.changes[:_SHOWN_CHANGES])
        more = len(self.changes) - _SHOWN_CHANGES
        also = f"; and {more} more" if more > 0 else ""
        cost = "at an unknown cost" if self.cost_usd is None else f"for about ${self.cost_usd:.4f}"
        texts = counted(self.texts, "text that already has a label", "texts that already have a label")
        return f"What is asked has changed since the last run ({shown}{also}): this means asking {texts} again, {cost}"


class PastJobs:
    """What was asked into an output folder: the task key and the job of each former run that has asked or published anything, the latest first.

    Each record is read once, when somebody gets as far. One that can't be read is passed over. A job that leaves its default
    wording open has the version that it was asked in, as far as its key tells.
    """

    def __init__(self, folder: OutputFolder) -> None:
        self.folder = folder
        self._paths = sorted(folder.runs.glob("*/run.json"), reverse=True)
        self._read: list[tuple[str, LabelJob]] = []

    def __iter__(self) -> Iterator[tuple[str, LabelJob]]:
        yield from self._read
        while self._paths:
            past = _job_in(self._paths.pop(0))
            if past is not None:
                self._read.append(past)
                yield past


def _job_in(path: Path) -> tuple[str, LabelJob] | None:
    try:
        record: dict[str, Any] = json.loads(path.read_bytes())
        if record.get("rows_total") is None and not record.get("requests"):
            return None
        task_key = str(record["task_key"])
        return task_key, _as_asked(task_key, LabelJob.model_validate(record["job"]))
    except (OSError, ValueError, KeyError, TypeError, AttributeError, ValidationError):
        return None


def wordings_of(job: LabelJob) -> tuple[LabelJob, ...]:
    """The job in each version of the default wording, the newest first; in its own alone where it says which."""
    if job.prompt.wording != "auto":
        return (job,)
    return tuple(in_wording(job, version) for version in sorted(DEFAULT_WORDINGS, reverse=True))


def _as_asked(task_key: str, job: LabelJob) -> LabelJob:
    bare = task_key.removeprefix(PRACTICE_PREFIX)
    asked = (each for each in wordings_of(job) if bare in {task_key_of(each), former_task_key_of(each)})
    return next(asked, job)


def former_ledgers(past_jobs: PastJobs, job: LabelJob, *, practice: bool) -> tuple[Path, ...]:
    """The ledgers of a job's task that stand under another key: earlier versions let the address count.

    They are found by the key that the job itself had then, and by the records of runs whose job asked the same. An endpoint
    that has been given its name in place of its address has a key of its own too.
    """
    key = task_key_of(job)
    prefix = PRACTICE_PREFIX if practice else ""
    others = {
        path.name: path
        for path in past_jobs.folder.ledgers.glob("*/")
        if path.name.startswith(PRACTICE_PREFIX) == practice and path.name != prefix + key
    }
    if not others:
        return ()
    mine = {prefix + former_task_key_of(job)} & others.keys()
    unknown = others.keys() - mine
    for task_key, past in past_jobs:
        if not unknown:
            break
        if task_key in unknown:
            unknown = unknown - {task_key}
            if _asks_the_same(task_key, past, job):
                mine.add(task_key)
    return tuple(others[name] for name in sorted(mine))


def task_change_of(
    past_jobs: PastJobs, job: LabelJob, pending: Path, price: Price | None, *, practice: bool
) -> TaskChange | None:
    """What has changed since the output's last run; None where nothing has, or no text is asked again for it.

    Args:
        past_jobs: what was asked into the job's output.
        job: the job as it is now.
        pending: the texts that will be asked, a Parquet file with `row_key`.
        price: what tokens cost now.
        practice: whether the practice provider answers; it is compared with its own past only.
    """
    for task_key, past in past_jobs:
        if task_key.startswith(PRACTICE_PREFIX) != practice:
            continue
        if _asks_the_same(task_key, past, job):
            return None
        texts, usage = _asked_again(Ledger(past_jobs.folder.ledger(task_key)), pending)
        if not texts:
            return None
        changes = tuple(changes_between(past, job)) or ("the default wording of this version of Labelmill",)
        mean = None if usage is None else cost_of(usage, price)
        return TaskChange(changes, texts, None if mean is None else mean * texts)
    return None


def _asks_the_same(task_key: str, past: LabelJob, job: LabelJob) -> bool:
    """Whether a past run asked what is asked now; a key that this version can't make stands for another wording.

    An endpoint that was named by its address, and is now by its name, or the other way round, is the one it was.
    """
    key, bare = task_key_of(job), task_key.removeprefix(PRACTICE_PREFIX)
    if bare not in {task_key_of(past), former_task_key_of(past)}:
        return False
    if task_key_of(past) == key:
        return True
    if past.model.provider == job.model.provider or not are_one_endpoint(past.model, job.model):
        return False
    renamed = past.model.model_copy(update={"provider": job.model.provider})
    return task_key_of(past.model_copy(update={"model": renamed})) == key


def changes_between(past: LabelJob, now: LabelJob) -> Iterator[str]:
    """What of a task is no longer what it was, in words."""
    if list(past.labels.items()) != list(now.labels.items()):
        yield from _label_changes(past.labels, now.labels)
    before, after = (in_wording(job, version_of(job)).model_dump() for job in (past, now))
    for section in ("model", "prompt"):
        for name, value in after[section].items():
            place = f"{section}.{name}"
            if place not in IGNORED_FIELDS and before[section].get(name) != value:
                yield f"{place}: {_shown(before[section].get(name))} → {_shown(value)}"


def _label_changes(past: Mapping[str, str], now: Mapping[str, str]) -> Iterator[str]:
    for word, names in (("added", now.keys() - past.keys()), ("removed", past.keys() - now.keys())):
        if names:
            yield f"labels {word}: {', '.join(sorted(names))}"
    described = [name for name in now if name in past and past[name] != now[name]]
    if described:
        yield f"descriptions changed: {', '.join(described)}"
    if [name for name in now if name in past] != [name for name in past if name in now]:
        yield "the order of the labels"


def _shown(value: object) -> str:
    words = repr(value) if isinstance(value, str) else str(value)
    return words if len(words) <= _SHOWN_CHARACTERS else words[:_SHOWN_CHARACTERS] + "…"


def _asked_again(former: Ledger, pending: Path) -> tuple[int, Usage | None]:
    """How many of the pending texts have a label in a ledger, and the mean tokens of its labels."""
    labeled = former.scan().filter(pl.col("label").is_not_null())
    asked = pl.scan_parquet(pending, glob=False, hive_partitioning=False)
    digests = labeled.select(digest=key_digest(pl.col("row_key"))).unique()
    count = asked.select(digest=key_digest(pl.col("row_key"))).join(digests, on="digest", how="semi")
    texts = int(count.select(pl.len()).collect().item())
    if not texts:
        return 0, None
    names = ("input_tokens", "cached_input_tokens", "output_tokens")
    means = labeled.select(pl.col(name).mean() for name in names).collect().row(0)
    if not means[0]:
        return texts, None
    return texts, Usage(*(round(mean or 0) for mean in means))
