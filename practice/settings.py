"""What the practice provider is told: how slow it is, what it allows, and which faults it plays."""

from enum import StrEnum
from typing import Annotated, Any, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from practice.batches.kinds import BatchOutcome, BatchStep, StepFault


class FaultKind(StrEnum):
    """A way in which a real provider disappoints its client."""

    RATE_LIMITED = "rate_limited"
    """429 with `retry-after` and `retry-after-ms`."""

    RATE_LIMITED_BARE = "rate_limited_bare"
    """429 without a word on when to come back."""

    SERVER_ERROR = "server_error"
    """500."""

    UNAVAILABLE = "unavailable"
    """503."""

    CONNECTION_RESET = "connection_reset"
    """The TCP connection is reset without an answer."""

    HANG = "hang"
    """The answer comes `hang_seconds` late."""

    BAD_JSON = "bad_json"
    """200 with a body that is not JSON; billed, though the client sees no usage."""

    CUT_OFF = "cut_off"
    """200 with a body shorter than its `content-length`; billed, though the client sees no usage."""

    TRUNCATED = "truncated"
    """Half an answer, with `finish_reason` "length"."""

    OFF_LABEL = "off_label"
    """An answer that is in no label set."""

    EMPTY = "empty"
    """An empty answer."""

    REFUSAL = "refusal"
    """A refusal instead of an answer."""

    CONTENT_FILTER = "content_filter"
    """400 with the code `content_filter`."""

    TOO_LONG = "too_long"
    """400 with the code `context_length_exceeded`."""


Fraction = Annotated[float, Field(ge=0, le=1)]
Seconds = Annotated[float, Field(ge=0, allow_inf_nan=False)]

# Ten times 0.1 is a little more than 1 in binary floating point.
ROUNDING = 1e-9


def _positions(schema: dict[str, Any]) -> None:
    """Say where each field stands in a form."""
    for position, field in enumerate(schema.get("properties", {}).values()):
        field["position"] = position


class PracticeSettings(BaseModel):
    """How the practice provider behaves.

    Faults, odd answers and latency depend on the seed, the request's text and the attempt number of that text
    only, never on the order in which requests arrive.
    """

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        use_attribute_docstrings=True,
        field_title_generator=lambda name, _: name.replace("_", " ").capitalize(),
        json_schema_extra=_positions,
    )

    latency_seconds: Seconds = 0.0
    """Mean time to an answer."""

    latency_sigma: Annotated[float, Field(ge=0, le=5)] = 0.0
    """Spread of the time to an answer: sigma of a lognormal whose mean stays `latency_seconds`."""

    requests_per_minute: Annotated[int, Field(gt=0)] | None = None
    """Requests allowed in a minute; more get 429. None allows any number."""

    tokens_per_minute: Annotated[int, Field(gt=0)] | None = None
    """Input and output tokens allowed in a minute; more get 429. None allows any number."""

    burst_seconds: Annotated[float, Field(gt=0, le=3600)] = 60.0
    """How much of an unused limit is saved up: 60 lets a whole minute's allowance be spent at once."""

    seed: int = 0
    """Another seed gives the faults and delays to other texts."""

    faults: dict[FaultKind, Fraction] = {}
    """Fraction of distinct texts whose first attempt gets this fault. Their sum is at most 1."""

    stubborn_faults: dict[FaultKind, Fraction] = {}
    """Fraction of distinct texts whose every attempt gets this fault. Their sum is at most 1."""

    odd_answers: Fraction = 0.0
    """Fraction of the answers without a fault that come as real models and gateways give them: the label in quotes, in a sentence or behind thoughts, two labels, none, an unknown finish reason, tokens told in another way or not at all. Message Batches and Gemini's batches have those that are a matter of words. `odd_answers` in the totals counts each kind."""

    retry_after_seconds: Seconds = 0.2
    """The wait that the fault `rate_limited` asks for."""

    hang_seconds: Seconds = 600.0
    """How late the fault `hang` answers."""

    insufficient_quota_after: Annotated[int, Field(ge=0)] | None = None
    """After so many answered requests, those of batches too, each one gets 429 `insufficient_quota`. None never runs out."""

    required_key: str | None = None
    """Any other API key gets 401. None accepts every key, and none at all."""

    known_models: tuple[str, ...] | None = None
    """Any other model gets 404. None knows every model."""

    batch_seconds: Seconds = 0.0
    """How long a batch takes from its creation to its end. 0: it has ended when it is first asked for."""

    batch_cancelling_seconds: Seconds = 0.0
    """How long a batch takes from the wish to cancel it to its end."""

    batch_outcome: BatchOutcome = BatchOutcome.COMPLETED
    """How batches end: some rows of an expired one have finished and are billed, none of a failed one."""

    batch_finished_fraction: Fraction | None = None
    """Fraction of rows that finish in a batch that expires (left out: half of them) or is cancelled (left out: by the time it had)."""

    batch_missing_fraction: Fraction = 0.0
    """Fraction of distinct texts that are billed at their first attempt and stand in no file of their batch. The faults `bad_json` and `cut_off` do that to a row too; `connection_reset` and `hang` are a 500 there."""

    batch_shuffled: bool = True
    """Whether rows come back in another order than they were sent: no order is promised."""

    batch_queue_tokens: Annotated[int, Field(gt=0)] | None = None
    """Input tokens that all unfinished batches may have; one that brings more fails with `token_limit_exceeded`. None allows any number."""

    batch_max_requests: Annotated[int, Field(gt=0)] = 50_000
    """Requests allowed in a batch."""

    batch_max_bytes: Annotated[int, Field(gt=0)] = 200 * 1024 * 1024
    """Size allowed for the input of a batch."""

    batch_hold_seconds: dict[BatchStep, Seconds] = {}
    """How long the answer to each step of the Batch API is held back, once what was asked for is done."""

    batch_errors: dict[BatchStep, StepFault] = {}
    """What a step of the Batch API gets instead of its answer, though what was asked for is done."""

    batch_error_calls: Annotated[int, Field(ge=0)] = 1
    """How many calls of each step get `batch_errors`, from the moment these settings came."""

    @model_validator(mode="after")
    def _fractions_sum_to_one_at_most(self) -> Self:
        for field, fractions in (("faults", self.faults), ("stubborn_faults", self.stubborn_faults)):
            total = sum(fractions.values())
            if total > 1 + ROUNDING:
                raise ValueError(f"{field}: the fractions sum to {total:g}; they may sum to 1 at most")
        return self

    def accepts(self, authorization: str | None) -> bool:
        """Whether a request with this Authorization header may pass."""
        return self.required_key is None or authorization == f"Bearer {self.required_key}"
