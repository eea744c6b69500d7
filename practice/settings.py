"""What the practice provider is told: how slow it is, what it allows, and which faults it plays."""

import difflib
import re
import tomllib
from collections.abc import Mapping
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError


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


class BatchOutcome(StrEnum):
    """How batches end."""

    COMPLETED = "completed"
    """All rows were worked on."""

    EXPIRED = "expired"
    """Time ran out: some rows finished and are billed, the others stand in the error file."""

    FAILED = "failed"
    """No row was worked on, and nothing is billed."""


class BatchStep(StrEnum):
    """What a client asks of the Batch API."""

    UPLOAD = "upload"
    CREATE = "create"
    RETRIEVE = "retrieve"
    LIST = "list"
    CONTENT = "content"
    CANCEL = "cancel"


class StepFault(StrEnum):
    """What becomes of an answer though the work is done."""

    SERVER_ERROR = "server_error"
    """500."""

    CONNECTION_RESET = "connection_reset"
    """The TCP connection is reset without an answer."""


Fraction = Annotated[float, Field(ge=0, le=1)]
Seconds = Annotated[float, Field(ge=0, allow_inf_nan=False)]

_SHOWN_CHARACTERS = 60

# Ten times 0.1 is a little more than 1 in binary floating point.
ROUNDING = 1e-9


def _at_most_one(fractions: dict[FaultKind, float]) -> dict[FaultKind, float]:
    total = sum(fractions.values())
    if total > 1 + ROUNDING:
        raise ValueError(f"fractions that sum to 1 at most, and not to {total:g}")
    return fractions


FaultFractions = Annotated[dict[FaultKind, Fraction], AfterValidator(_at_most_one)]


class PracticeSettings(BaseModel):
    """How the practice provider behaves.

    Faults, odd answers and latency depend on the seed, the request's text and the attempt number of that text
    only, never on the order in which requests arrive.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

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

    faults: FaultFractions = {}
    """Fraction of distinct texts whose first attempt gets this fault. Their sum is at most 1."""

    stubborn_faults: FaultFractions = {}
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

    refused_fields: tuple[str, ...] = ()
    """Fields of a chat request that are refused by their name: `max_tokens`, `grammar`, or one of a type, such as `response_format.json_schema`. `system` refuses a system message, `roles` two messages of one role in a row."""

    refusal_status: Annotated[int, Field(ge=400, le=599)] = 400
    """The status that `refused_fields` are refused with."""

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

    def accepts(self, authorization: str | None) -> bool:
        """Whether a request with this Authorization header may pass."""
        return self.required_key is None or authorization == f"Bearer {self.required_key}"


class WrongSettingsError(Exception):
    """Settings that can't be; `mistakes` are pairs of a place and a sentence."""

    def __init__(self, mistakes: list[tuple[str, str]]) -> None:
        self.mistakes = mistakes
        super().__init__(
            "; ".join(f"{place}: {sentence}" if place else sentence for place, sentence in mistakes)
        )


def settings_of(values: Any) -> PracticeSettings:
    """The settings that parsed JSON or TOML holds.

    Raises:
        WrongSettingsError: with every mistake in them.
    """
    try:
        return PracticeSettings.model_validate(values)
    except ValidationError as error:
        mistakes: dict[str, str] = {}
        for details in error.errors(include_url=False):
            place = ".".join(str(part) for part in details["loc"] if part != "[key]")
            mistakes.setdefault(place, _sentence_of(place, details["type"], details["input"], details["msg"]))
        raise WrongSettingsError(list(mistakes.items())) from None


def settings_in(path: Path) -> Mapping[str, Any]:
    """What a settings file, which is TOML, says.

    Raises:
        WrongSettingsError: at the place `settings`: there is no such file, it is no TOML, or the settings can't be.
    """
    try:
        values = tomllib.loads(path.read_text(encoding="utf-8-sig"))
        settings_of(values)
    except OSError as error:
        sentences = [f"the settings file {str(path)!r} can't be read: {error.strerror}"]
    except ValueError as error:  # not UTF-8, or not TOML
        sentences = [f"the settings file {str(path)!r} is not valid TOML: {error}"]
    except WrongSettingsError as error:
        sentences = [f"{path}, {place}: {sentence}" for place, sentence in error.mistakes]
    else:
        return values
    raise WrongSettingsError([("settings", sentence) for sentence in sentences])


def _sentence_of(place: str, kind: str, found: object, message: str) -> str:
    if kind == "extra_forbidden":
        known = list(PracticeSettings.model_fields)
        close = difflib.get_close_matches(place.casefold(), known, n=1)
        return (
            f"unknown field; did you mean {close[0]!r}?"
            if close
            else f"unknown field; the fields here are {', '.join(known)}"
        )
    shown = repr(found)
    shown = shown if len(shown) <= _SHOWN_CHARACTERS else shown[:_SHOWN_CHARACTERS] + "…"
    expected = re.sub(r"^(Input should be|\w+ should have|Value error,) ", "", message)
    return f"found {shown}, expected {expected[:1].lower() + expected[1:]}"
