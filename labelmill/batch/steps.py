"""What the batch lane does next, decided from where it stands."""

from dataclasses import dataclass

from labelmill.job.model import LabelJob

FIRST_POLL_SECONDS = 1.0
_GROWTH = 2.0


@dataclass(frozen=True)
class Situation:
    """Where the batch lane of a run stands.

    `out` counts the batches of the run's own task that are not settled, `ready` names those (and others') whose answers can
    be harvested. `unsent` texts are planned and not in a batch; None where a plan is due. `has_room` is false where
    nothing more fits until a batch is settled, and for `pause_seconds` nothing is to be sent. `goes_live` is true from the
    moment on when the rest is to be asked live; `are_cancelled` once that was asked of the batches
    that are out. `polls` were made since anything last changed.
    """

    stopped: bool
    ready: tuple[str, ...]
    out: int
    unsent: int | None
    has_room: bool
    pause_seconds: float
    goes_live: bool
    are_cancelled: bool
    polls: int
    seconds_left: float
    cancel_seconds_left: float
    poll_seconds: float


@dataclass(frozen=True)
class Harvest:
    """Fetch the answers of these batches."""

    names: tuple[str, ...]


@dataclass(frozen=True)
class MakePlan:
    """See which texts are missing: neither in the ledger nor in a batch that is out."""


@dataclass(frozen=True)
class Send:
    """Send the next batch."""


@dataclass(frozen=True)
class CancelAll:
    """Stop the batches of the run's task that are out: the rest is asked live."""


@dataclass(frozen=True)
class Wait:
    """Wait so long, then poll."""

    seconds: float


@dataclass(frozen=True)
class Leave:
    """Leave the batches that are out to the next run: this one has waited long enough."""


@dataclass(frozen=True)
class Finish:
    """Nothing is left to do on the batch lane."""


Step = Harvest | MakePlan | Send | CancelAll | Wait | Leave | Finish


def next_step(now: Situation) -> Step:  # noqa: PLR0911  (a decision table reads best as one)
    """Decide: what is ready comes first, what can be sent next, and waiting last."""
    if now.stopped:
        return Finish()
    if now.ready:
        return Harvest(now.ready)
    if now.goes_live:
        if not now.out:
            return Finish()
        if not now.are_cancelled:
            return CancelAll()
        return Wait(_pause(now, now.cancel_seconds_left)) if now.cancel_seconds_left > 0 else Leave()
    if now.unsent is None:
        return MakePlan()
    if now.unsent and now.has_room and now.pause_seconds <= 0:
        return Send()
    if not now.out and not (now.unsent and now.has_room):
        return Finish()
    return Wait(_pause(now, now.seconds_left)) if now.seconds_left > 0 else Leave()


def asks_live(job: LabelJob) -> bool:
    """Whether a run asks anything live once its batch lane is done with."""
    return job.run.lane != "batch" or job.run.retry_lane == "live"


def _pause(now: Situation, at_most: float) -> float:
    """A second at first, for small batches; twice as long each time, up to the job's own pace."""
    grown = FIRST_POLL_SECONDS * _GROWTH ** min(now.polls, 20)
    return max(0.05, min(grown, now.poll_seconds, at_most))
