"""Progress in one line."""

from collections.abc import Callable

from labelmill.live.progress import BatchSeen, Snapshot
from labelmill.report.formatting import counted, duration, percent, usd, visible

MOST_BATCHES = 10
"""Batches that are told one by one."""


def progress_line(now: Snapshot, shown: Callable[[str], str] = visible) -> str:
    """Where a run stands: texts done, rate, cost so far, time left; why nothing is sent, if so; then each batch that is out.

    `shown` makes the provider's words fit to be shown.
    """
    pause = [now.pause] if now.pause else []
    return "; ".join([_counts_line(now), *pause, *batch_lines(now, shown)])


def _counts_line(now: Snapshot) -> str:
    if not now.texts:
        is_idle = now.texts is not None and not now.batches
        return f"{now.phase}: nothing to ask" if is_idle else now.phase
    words = [
        f"{now.phase}: {now.done:,} of {now.texts:,} texts ({percent(now.done, now.texts)})",
        f"{now.texts_per_second:.1f} a second",
        f"{usd(now.cost_usd)} so far",
    ]
    if now.failed:
        words.append(f"{now.failed:,} failed")
    if now.seconds_left:
        words.append(f"{duration(now.seconds_left)} left")
    return ", ".join(words)


def batch_lines(now: Snapshot, shown: Callable[[str], str] = visible) -> list[str]:
    """Where each batch that is out stands; of very many the first, and how many more there are."""
    more = len(now.batches) - MOST_BATCHES
    lines = [_batch_line(batch, shown) for batch in now.batches[:MOST_BATCHES]]
    return [*lines, counted(more, "more batch", "more batches")] if more > 0 else lines


def _batch_line(batch: BatchSeen, shown: Callable[[str], str]) -> str:
    return f"batch {shown(batch.name)} {shown(batch.status)}, {batch.done:,} of {batch.texts:,}"
