"""Progress in one line."""

from labelmill.model.progress import BatchSeen, Snapshot
from labelmill.report.wording import duration, percent, usd

_MOST_BATCHES = 10


def progress_line(now: Snapshot) -> str:
    """Where a run stands: texts done, rate, cost so far, time left."""
    if not now.texts:
        return now.phase if now.texts is None else f"{now.phase}: nothing to ask"
    words = [
        f"{now.phase}: {now.done:,} of {now.texts:,} texts ({percent(now.done, now.texts)})",
        f"{now.texts_per_second:.1f} a second",
        f"{usd(now.cost_usd)} so far",
    ]
    if now.failed:
        words.append(f"{now.failed:,} failed")
    if now.seconds_left:
        words.append(f"{duration(now.seconds_left)} left")
    return ", ".join(words) + "".join(f"; {batch_line(batch)}" for batch in now.batches[:_MOST_BATCHES])


def batch_line(batch: BatchSeen) -> str:
    """Where a batch stands."""
    return f"batch {batch.name} {batch.status}, {batch.done:,} of {batch.texts:,}"
