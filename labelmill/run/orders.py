"""What the holder of a run and a worker on another machine tell each other: an order, an attempt, a receipt, all in the output's store.

Nobody talks: a chunk carries its lease. An order is data without a key or a text. Whoever takes it leaves an attempt first, by
`create`, and a receipt last, by `create` too; the one who creates the receipt has the last word on the lease, be it the worker
that is done or the holder that gives it up. Engines run things twice, in silence: the second one finds an attempt.
"""

import json
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from typing import Any

from pydantic import TypeAdapter

from labelmill.dataset.plan import Chunk
from labelmill.errors import LabelmillError, RunStopped
from labelmill.job.model import LabelJob
from labelmill.live.pace import Share
from labelmill.money.budget import Limit
from labelmill.providers.dialect import Dialect
from labelmill.question.failures import Failure
from labelmill.store.objects import Store

TTL_SECONDS = 30.0
"""How long a side counts as alive after its last heartbeat, by the clock of whoever looks."""
BEATS = 6
"""Heartbeats, and looks at the store, within a `ttl_seconds`."""
PENDING_CHUNKS = "pending-chunks"
"""The folder of a run's record that holds the texts of its chunks meanwhile; `recovery` takes it away with all that is pending."""
GONE = "orphaned"
"""Why a worker stops whose holder is not heard of; the holder, should it live, gives out again what is left."""


LEASE_USED = "lease_used"
"""Why a worker stops whose lease is too small for its next request; what is left of its chunk goes out again."""


class ChunkTaken(LabelmillError):  # noqa: N818  (the name is the sentence)
    """A lease was taken before and has no receipt of its worker's: the run's holder settles it, and nobody asks anything by it."""


@dataclass(frozen=True)
class Order:
    """A chunk to be classified elsewhere, with all that it takes: the run, its texts, and the lease.

    `chunk` is the whole of the texts under the name `texts`; its number is the lease's own, so that no two leases share a name in
    the ledger. `limit` holds what is on lease; `share` is the part of the run's pace; `tries` tells how often texts were asked
    in vain.
    """

    job: LabelJob
    run_id: str
    base_url: str
    practice: bool
    started_at_utc: datetime
    texts: str
    chunk: Chunk
    lease_id: str
    limit: Limit | None
    share: Share
    dialect: Dialect
    room: int | None = None
    answers: int = 0
    is_last_pass: bool = False
    tries: Mapping[str, int] = field(default_factory=dict)
    ttl_seconds: float = TTL_SECONDS

    def to_json(self) -> str:
        """The order as text."""
        return _ORDERS.dump_json(self).decode()

    @classmethod
    def from_json(cls, told: str | bytes) -> "Order":
        """Read an order.

        Raises:
            ValueError: it is none.
        """
        return _ORDERS.validate_json(told)


@dataclass(frozen=True)
class Receipt:
    """What came of a lease. `stopped` is why its worker stopped before the end: a reason and a sentence.

    `is_settled` tells that the holder has given it up: its worker was not heard of.
    """

    lease_id: str
    nonce: str
    spent_usd: Decimal = Decimal(0)
    labeled: int = 0
    failed: int = 0
    stopped: tuple[str, str] | None = None
    dialect: Dialect | None = None
    room: int | None = None
    answers: int = 0
    undecided: Failure | None = None
    tries: Mapping[str, int] = field(default_factory=dict)
    notices: tuple[str, ...] = ()
    is_settled: bool = False

    def to_bytes(self) -> bytes:
        """The receipt as an object's content."""
        return _RECEIPTS.dump_json(self)

    @classmethod
    def from_bytes(cls, content: bytes) -> "Receipt":
        """Read a receipt."""
        return _RECEIPTS.validate_json(content)


_ORDERS = TypeAdapter(Order)
_RECEIPTS = TypeAdapter(Receipt)


@dataclass(frozen=True)
class LeaseNames:
    """The names of a run's objects in the output's store."""

    run_id: str

    @property
    def stop(self) -> str:
        """Says that the run stops, and stays when it is over: whoever is late finds it."""
        return f"runs/{self.run_id}/stop.json"

    @property
    def holder(self) -> str:
        """The heartbeat of the run's holder."""
        return f"runs/{self.run_id}/holder.beat"

    @property
    def leases(self) -> str:
        """What the names of all leases begin with."""
        return f"runs/{self.run_id}/chunks/"

    @property
    def texts(self) -> str:
        """What the names of all chunks' texts begin with."""
        return f"runs/{self.run_id}/{PENDING_CHUNKS}/"

    def attempt(self, lease_id: str) -> str:
        """Says that a worker has begun, and where its journal is."""
        return f"{self.leases}{lease_id}.attempt"

    def receipt(self, lease_id: str) -> str:
        """Says what came of a lease."""
        return f"{self.leases}{lease_id}.receipt"

    def beat(self, lease_id: str) -> str:
        """The heartbeat of a lease's worker: one writer, so that no key is hot."""
        return f"{self.leases}{lease_id}.beat"


class Pulse:
    """The heartbeat of another machine, as this one sees it: alive until it has been the same for its time by our own clock."""

    def __init__(self, store: Store, name: str, ttl_seconds: float) -> None:
        self._store, self._name, self._ttl_seconds = store, name, ttl_seconds
        self._seen: bytes | None = None
        self._since = time.monotonic()
        self._looked_at = self._since

    @property
    def is_alive(self) -> bool:
        """Whether it may live, as far as was looked."""
        return self._looked_at - self._since < self._ttl_seconds

    def look(self) -> dict[str, Any]:
        """See whether it has beaten; returns what it says.

        Raises:
            OSError: the store can't be reached, which tells nothing of it.
        """
        now, before = time.monotonic(), self._looked_at
        found = self._store.read(self._name)
        content = found.content if found else None
        # While we ourselves stood still, it may have beaten in vain.
        stood_still = now - before > self._ttl_seconds / 2
        if content != self._seen or stood_still:
            self._seen, self._since = content, now
        self._looked_at = now
        return dict(json.loads(content)) if content else {}


def stop_content(stopped: RunStopped) -> bytes:
    """What tells workers that the run stops."""
    return json.dumps({"reason": stopped.reason, "message": stopped.message}).encode()
