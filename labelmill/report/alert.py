"""What an alert says of a run: a line that says it all, why, and where the rest stands; for programs, the record's main fields."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

from labelmill.alert.message import Message
from labelmill.plural import counted
from labelmill.report.formatting import STATUS_WORDS, labeled_words, usd, visible
from labelmill.run.record import RunRecord

TROUBLE = ("failed", "budget_reached", "too_many_failures", "files_unreadable")
"""Endings that a person should look at. Whoever cancels a run knows of it."""
LONGEST_BATCH = timedelta(hours=26)
"""Providers answer a batch within a day or give it up; two hours more are theirs to say so."""

FACTS = (
    "run_id",
    "status",
    "message",
    "practice",
    "rows_total",
    "rows_labeled",
    "rows_reused",
    "rows_failed",
    "rows_pending",
    "rows_empty",
    "rows_unreadable",
    "labels",
    "failures",
    "texts_asked",
    "texts_out",
    "requests",
    "cost_usd",
    "seconds",
    "started_at_utc",
    "finished_at_utc",
    "labeled_path",
    "labelmill_version",
)
"""The fields of `run.json` that a webhook gets."""
_NAMED_MISTAKES = 5


def is_trouble(record: RunRecord, now: datetime) -> bool:
    """Whether a run needs a person: it ended badly, or waits for a batch for longer than batches take. A rehearsal needs none."""
    if record.practice:
        return False
    sent = [_sent_at(batch.run_id) for batch in record.batches if batch.step == "sent"]
    is_stuck = record.status == "waiting" and any(at and now - at > LONGEST_BATCH for at in sent)
    return record.status in TROUBLE or is_stuck


def _sent_at(run_id: str) -> datetime | None:
    """When the run of an id began."""
    try:
        return datetime.strptime(run_id[:15], "%Y%m%d-%H%M%S").replace(tzinfo=UTC)
    except ValueError:
        return None


def message_of(record: RunRecord, *, trouble: bool) -> Message:
    """What is told of a run that left a record."""
    told = [STATUS_WORDS[record.status]]
    if record.rows_total is not None:
        told.append(labeled_words(record))
    told.append(usd(record.cost_usd) + (" had it been paid (practice provider)" if record.practice else ""))
    lines = [f"[Labelmill] {visible(record.job.name)}: {', '.join(told)}"]
    if record.message:
        lines.append(f"{visible(record.message).rstrip('.')}.")
    if trouble:
        lines.append(f"Run {record.run_id}, labels in {visible(record.labeled_path)}")
    dumped = record.model_dump(mode="json", include=set(FACTS))
    return Message(
        tuple(lines), {"job": record.job.name, "trouble": trouble, **{name: dumped[name] for name in FACTS}}
    )


def message_without_record(job: str, mistakes: Sequence[str], *, refused: bool) -> Message:
    """What is told of a run that left no record: it was refused before it began, or something broke it off.

    Args:
        job: the job's name, or its file's where it can't be read.
        mistakes: what is wrong, a sentence each.
        refused: whether nothing was asked and nothing spent.
    """
    first = "did not run, and nothing was spent" if refused else "broke off"
    more = len(mistakes) - _NAMED_MISTAKES
    lines = [f"[Labelmill] {visible(job)}: {first}", *map(visible, mistakes[:_NAMED_MISTAKES])]
    if more > 0:
        lines.append(f"and {counted(more, 'more mistake')}")
    facts = {
        **dict.fromkeys(FACTS),
        "status": "refused" if refused else "failed",
        "message": " ".join(mistakes),
    }
    return Message(tuple(lines), {"job": job, "trouble": True, **facts})
