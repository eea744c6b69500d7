"""Attempts and ledgers of a few texts, which are named by numbers."""

from datetime import UTC, datetime
from decimal import Decimal

from hypothesis import strategies as st

from labelmill.job.model import Run
from labelmill.money.usage import Usage
from labelmill.question.attempts import Attempt
from labelmill.question.failures import POLICY_OF_KIND, Policy
from labelmill.store.journal import Journal

RUN = Run(max_attempts=1, max_answers=2)
ONE_TRY = Run(max_attempts=1, max_answers=1)
NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
PRICE = Decimal("0.0000795")


def key_of(number):
    """A row key."""
    return f"v1:{number:032x}"


def labeled(number, label="sport", at=NOON, cost=PRICE, **more):
    """An attempt that got its label."""
    return Attempt(
        key_of(number), at, label=label, answered=True, usage=Usage(450, 0, 20), cost_usd=cost, **more
    )


def failed(number, kind="off_label", at=NOON, cost=PRICE, message="m"):
    """An attempt whose answer was no label."""
    answered = POLICY_OF_KIND[kind] is Policy.ASK_AGAIN
    return Attempt(
        key_of(number),
        at,
        failure=kind,
        message=message,
        answered=answered,
        usage=Usage(450, 0, 20),
        cost_usd=cost,
    )


def free(number, kind="rate_limited", at=NOON):
    """An attempt that failed and cost nothing."""
    return Attempt(key_of(number), at, failure=kind, message="m", usage=Usage(), cost_usd=Decimal(0))


def lost(number, at=NOON):
    """An attempt whose tokens nobody saw."""
    return Attempt(key_of(number), at, failure="timeout", message="m", unseen_usd=Decimal("0.25"))


def journal_of(ledger, attempts, run_id="run", chunk=0):
    """Leave a journal as a killed process leaves it."""
    with Journal(ledger.journal_path(run_id, chunk)) as journal:
        for attempt in attempts:
            journal.append(attempt)
    return journal.path


def add(ledger, attempts, run_id="run", chunk=0, run=RUN):
    """Write a part the ordinary way."""
    with Journal(ledger.journal_path(run_id, chunk)) as journal:
        for attempt in attempts:
            journal.append(attempt)
        ledger.add(journal, run)


def digests(frame):
    """The texts' numbers."""
    return sorted(int(digest) for digest in frame.collect()["digest"])


anything = (
    st.builds(labeled, st.integers(0, 5))
    | st.builds(failed, st.integers(0, 5))
    | st.builds(lost, st.integers(0, 5))
)


def tried(**known):
    """What the ledger tells of a text's tries."""
    nothing = {"attempts": 0, "answers": 0, "paid_attempts": 0, "problem": None}
    return {**nothing, "schema_refused": False, "refusals": 0, **known}


def tries(ledger, run_id="run"):
    """All tries, by the text's number."""
    return {int(row.pop("digest")): row for row in ledger.tries(run_id).collect().to_dicts()}
