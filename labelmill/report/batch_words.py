"""What a report says of the batches that a run had to do with, the same in Markdown and on the page."""

from labelmill.report.formatting import count, shortened
from labelmill.run.record import BatchFacts, RunRecord

BATCH_COLUMNS = ("batch", "status", "texts", "what became of it")
_MOST_BATCHES = 100
_MESSAGE_CELLS = 160

_ENDED_EARLY = {"expired", "cancelled"}
_BECAME = {
    "intended": "not sent; its texts are asked anew",
    "creating": "nobody has confirmed it; the next run looks for it at the provider",
    "sent": "at the provider; the next run harvests it",
    "harvesting": "done, and not fetched yet; the next run does so",
    "harvested": "its answers are in the ledger",
    "dropped": "nothing came of it, and nothing was paid",
}
_HARVESTED_EARLY = "what was finished of it is in the ledger; the rest was not asked"


def batches_of(record: RunRecord) -> list[tuple[str, str, str, str]]:
    """A run's batches, the earliest first, as (the provider's id, its status, texts, what became of it)."""
    rows = [
        (
            batch.batch_id or batch.name,
            (batch.status or "–").replace("_", " "),
            count(batch.texts),
            _became(batch, record.run_id),
        )
        for batch in record.batches[:_MOST_BATCHES]
    ]
    if more := record.batches[_MOST_BATCHES:]:
        rows.append((f"{len(more):,} more", "–", count(sum(batch.texts for batch in more)), "–"))
    return rows


def _became(batch: BatchFacts, run_id: str) -> str:
    words = _BECAME.get(batch.step, batch.step)
    if batch.step == "harvested" and batch.status in _ENDED_EARLY:
        words = _HARVESTED_EARLY
    if batch.run_id != run_id:
        words = f"{words} (sent by run {batch.run_id})"
    return f"{words}: {shortened(batch.message, _MESSAGE_CELLS)}" if batch.message else words
