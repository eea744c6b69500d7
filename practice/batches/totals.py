"""What all batches came to: counted from their records, and so the same after a restart in the same folder."""

import time
from collections import Counter
from typing import Any

from practice.batches.state import shown_status
from practice.batches.store import BatchStore
from practice.settings import PracticeSettings


def batch_totals(store: BatchStore, settings: PracticeSettings) -> dict[str, Any]:
    """The batch lane's part of the totals; nothing in it is counted in the live lane's."""
    records, now = store.batches(), time.time()
    bills = [record.ended.bill for record in records if record.ended is not None]
    return {
        "files": len(store.files()),
        "batches": len(records),
        "batches_by_status": dict(Counter(shown_status(record, settings, now) for record in records)),
        "batch_rows_answered": sum(bill.rows - bill.rows_missing for bill in bills),
        "batch_rows_billed": sum(bill.rows for bill in bills),
        "batch_input_tokens": sum(bill.input_tokens for bill in bills),
        "batch_cached_input_tokens": sum(bill.cached_input_tokens for bill in bills),
        "batch_output_tokens": sum(bill.output_tokens for bill in bills),
        "batch_unseen_input_tokens": sum(bill.unseen_input_tokens for bill in bills),
        "batch_unseen_output_tokens": sum(bill.unseen_output_tokens for bill in bills),
    }
