"""Which version of the default wording a run asks with, where its job leaves that open.

The one that the output's answers were asked with: a shorter default must not ask anew for what is paid, nor may two
wordings be mixed unseen. Nothing is written here.
"""

from collections.abc import Callable, Iterator
from decimal import Decimal
from pathlib import Path

import polars as pl

from labelmill.batch.record import BatchFolder
from labelmill.job.model import LabelJob
from labelmill.money.prices import Price, cost_of
from labelmill.money.usage import Usage
from labelmill.plural import counted
from labelmill.question.prompt import DEFAULT_WORDINGS, NEWEST_WORDING, in_wording
from labelmill.question.task_key import former_task_key_of, task_key_of
from labelmill.question.tokens import instructions_tokens
from labelmill.run.task_change import PastJobs, former_ledgers, wordings_of
from labelmill.store.ledger import PRACTICE_PREFIX, Ledger


def with_wording(job: LabelJob, past_jobs: PastJobs, *, practice: bool) -> LabelJob:
    """The job with the version of its default wording said; as it is where it says so itself.

    It is that of the ledger, or of the batches that are out; of two ledgers that of the one with more labels. A rehearsal
    that was asked nothing yet follows what the model was asked, so that its bill is that of the real run. Else it is the
    newest.
    """
    if job.prompt.wording != "auto":
        return job
    newest = in_wording(job, NEWEST_WORDING)
    others = _others_of(job, newest, past_jobs)
    if not others:
        return newest
    prefix = PRACTICE_PREFIX if practice else ""
    for ledgers_of in (_under_its_own_keys, _under_former_keys):
        found = [(each, ledgers_of(each, past_jobs, prefix)) for each in (newest, *others)]
        asked = [(each, ledgers) for each, ledgers in found if ledgers is not None]
        if len(asked) > 1:
            # Of equals the newest, which comes first.
            return max(asked, key=lambda one: _labels_in(one[1]))[0]
        if asked:
            return asked[0][0]
    if practice and (followed := _asked_of_the_model((newest, *others), past_jobs)):
        return followed
    return newest


def _others_of(job: LabelJob, newest: LabelJob, past_jobs: PastJobs) -> list[LabelJob]:
    """The same job in older wordings, where these make a difference."""
    key = task_key_of(newest)
    versions = sorted(DEFAULT_WORDINGS.keys() - {NEWEST_WORDING}, reverse=True)
    others = [in_wording(job, version) for version in versions]
    if job.prompt.system == "" and (ignored := _with_ignored_system(job, past_jobs)):
        others.append(ignored)
    return [other for other in others if task_key_of(other) != key]


def _with_ignored_system(job: LabelJob, past_jobs: PastJobs) -> LabelJob | None:
    """What an earlier version asked of a job whose `prompt.system` is empty: it sent the default one all the same.

    Only where a record tells that it did. Whoever has emptied it since gets what it says.
    """
    asked = _with_default_system(job)
    key = task_key_of(asked)
    for task_key, past in past_jobs:
        if past.prompt.system == "" and past.prompt.wording == "auto":
            then = _with_default_system(past)
            bare = task_key.removeprefix(PRACTICE_PREFIX)
            if task_key_of(then) == key and bare in {key, former_task_key_of(then)}:
                return asked
    return None


def _with_default_system(job: LabelJob) -> LabelJob:
    return job.model_copy(update={"prompt": job.prompt.model_copy(update={"system": None, "wording": 1})})


Ledgers = Callable[[LabelJob, PastJobs, str], tuple[Path, ...] | None]


def _under_its_own_keys(job: LabelJob, past_jobs: PastJobs, prefix: str) -> tuple[Path, ...] | None:
    """The ledgers that a job's own keys name, where they hold anything; None where they don't, and no batch is out either."""
    folder = past_jobs.folder
    keys = dict.fromkeys((prefix + task_key_of(job), prefix + former_task_key_of(job)))
    found = tuple(ledger for key in keys if _holds_any(ledger := folder.ledger(key)))
    if found:
        return found
    has_batches = any(
        record.is_outstanding and record.task_key in keys for record in BatchFolder(folder.batches).read_all()
    )
    return () if has_batches else None


def _under_former_keys(job: LabelJob, past_jobs: PastJobs, prefix: str) -> tuple[Path, ...] | None:
    """The ledgers of a job that records alone tell of, such as one whose address has moved."""
    ledgers = former_ledgers(past_jobs, job, practice=bool(prefix))
    return tuple(filter(_holds_any, ledgers)) or None


def _holds_any(ledger: Path) -> bool:
    return ledger.is_dir() and any(path.suffix in {".parquet", ".jsonl"} for path in ledger.iterdir())


def _labels_in(ledgers: tuple[Path, ...]) -> int:
    labels = [Ledger(ledger).scan().select(pl.col("label").count()).collect().item() for ledger in ledgers]
    return int(sum(labels))


def _asked_of_the_model(candidates: tuple[LabelJob, ...], past_jobs: PastJobs) -> LabelJob | None:
    """The candidate that asks in the words that a model was last asked in, whichever model it was."""
    for task_key, past in past_jobs:
        if not task_key.startswith(PRACTICE_PREFIX):
            alike = (
                each
                for each in candidates
                if task_key_of(each.model_copy(update={"model": past.model})) == task_key
            )
            return next(alike, None)
    return None


def shorter_wording_notice(job: LabelJob, ledger: Ledger, price: Price | None) -> str | None:
    """How to change over to the newest wording, and what that costs; None where the job asks in it, or has no labels yet.

    Args:
        job: the job, with the wording it is asked in.
        ledger: its answers.
        price: what tokens cost now.
    """
    newest = in_wording(job, NEWEST_WORDING)
    saved = round(instructions_tokens(job) - instructions_tokens(newest))
    if task_key_of(newest) == task_key_of(job) or saved <= 0:
        return None
    names = ("input_tokens", "cached_input_tokens", "output_tokens")
    labeled = ledger.scan().filter(pl.col("label").is_not_null())
    texts, *means = labeled.select(pl.len(), *(pl.col(name).mean() for name in names)).collect().row(0)
    if not texts:
        return None
    cost = _cost_of(list(means), saved, price)
    about = "at an unknown cost" if cost is None else f"for about ${cost * texts:.4f}"
    are = counted(texts, "text that has a label", "texts that have a label")
    was, now = job.prompt.wording, newest.prompt.wording
    return (
        f"New texts are asked in wording {was}, like those before them. Wording {now} takes about {saved} fewer input tokens per "
        f"text; with wording = {now} under [prompt] the {are} would be asked again, {about}"
    )


def _cost_of(means: list[float | None], saved: int, price: Price | None) -> Decimal | None:
    """What a text costs on average that takes fewer input tokens than those of a ledger."""
    sent, cached, answered = (round(mean or 0) for mean in means)
    return (
        cost_of(Usage(max(1, sent - saved), min(cached, max(1, sent - saved)), answered), price)
        if sent
        else None
    )


def keys_in_all_wordings(job: LabelJob) -> Iterator[str]:
    """The keys that a job's task has, in whichever wording it is asked."""
    yield from dict.fromkeys(task_key_of(each) for each in wordings_of(job))
