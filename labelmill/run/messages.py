"""What the process of a run and its worker processes tell each other: small frozen values, and no text of a dataset.

A worker is told the run once, then a share of its pace for each pass, then chunks. It answers each chunk with what came of it,
and tells beside that what has changed, a few times a second and never per request. Money has messages of its own
(`money/leases.py`).
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from pathlib import Path

from labelmill.dataset.plan import Chunk
from labelmill.errors import RunStopped
from labelmill.job.model import LabelJob
from labelmill.live.pace import Share
from labelmill.money.budget import Limit
from labelmill.money.leases import Lease, LeaseReport
from labelmill.providers.dialect import Dialect
from labelmill.question.failures import Failure
from labelmill.run.classify import ChunkReceipt


@dataclass(frozen=True)
class Opening:
    """A run that was opened: what a worker makes its own context of."""

    job: LabelJob
    run_id: str
    base_url: str
    practice: bool
    started_at_utc: datetime
    limit: Limit | None
    dialect: Dialect
    log_level: int


@dataclass(frozen=True)
class Pass:
    """A pass over texts begins: a worker's share, and how often texts were asked in vain in the one before."""

    share: Share
    is_last: bool
    tries: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class Classify:
    """A chunk to classify, of a file of pending texts."""

    texts: Path
    chunk: Chunk


@dataclass(frozen=True)
class Found:
    """What was found out of the endpoint.

    More answers, and what requests came to; the last refusal of which it is open whose it is; its dialect; room for thoughts.
    """

    answers: int = 0
    seen: tuple[Failure | None, ...] = ()
    undecided: Failure | None = None
    dialect: Dialect | None = None
    room: int | None = None


@dataclass(frozen=True)
class Stop:
    """The run stops: each side tells the other."""

    stopped: RunStopped


@dataclass(frozen=True)
class Close:
    """There is nothing more to do."""


@dataclass(frozen=True)
class Counted:
    """What has been done since it was last told. The cost is None where one answer's is unknown."""

    labeled: int = 0
    failed: int = 0
    cost_usd: Decimal | None = Decimal(0)
    pause: str | None = None


@dataclass(frozen=True)
class Logged:
    """A line for the log."""

    logger: str
    level: int
    line: str


@dataclass(frozen=True)
class Noticed:
    """A sentence that must stand beside the run's numbers."""

    sentence: str


@dataclass(frozen=True)
class Done:
    """What came of a chunk: a receipt, or what it ended with; and how often texts were asked in vain, where that is new."""

    chunk: int
    receipt: ChunkReceipt | None
    error: BaseException | None
    tries: Mapping[str, int]


ToWorker = Opening | Pass | Classify | Lease | Share | Found | Stop | Close
FromWorker = LeaseReport | Counted | Logged | Noticed | Found | Stop | Done
