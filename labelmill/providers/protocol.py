"""What a provider must have, and what comes of asking one: the same for all of them, whoever they are.

A provider is one file beside this one and its line in `table.py`. It owns its address, its key's variable, its limits, its
dialect, and who speaks it:

    live lane     chat(job, ...)           a `LiveModel`: one request out, one `Reply` back
    batch lane    batch_lines(job, ...)    what a text is in a file of requests
                  batch_client(job, ...)   a `BatchClient`: the file out, a `BatchAnswer` for each row back

What a provider can't do on a lane it has not, it says in `mistakes`, before anything is spent. Whatever words a reply, an
answer or an error holds: the key is not in them.
"""

import os
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple, Protocol, TypeAlias

from labelmill.errors import JobRefused, LabelmillError, Mistake
from labelmill.job.model import Batch, LabelJob, Model, Run
from labelmill.providers.dialect import Dialect
from labelmill.providers.endpoint import Endpoint
from labelmill.providers.environment import plain_http_client
from labelmill.providers.request_fields import body_mistakes, header_mistakes
from labelmill.question.answers import Answer
from labelmill.question.failures import Failure
from labelmill.question.form import AnswerForm

if TYPE_CHECKING:
    from langchain_core.messages import BaseMessage

# ---- the live lane


@dataclass(frozen=True)
class Reply:
    """What came of one live request: an answer, or why there is none, and the headers that came with it."""

    result: Answer | Failure
    headers: Mapping[str, str] = field(default_factory=dict)


class LiveModel(Protocol):
    """A model as a job sets it up. Its own retries are off: whoever sends its requests sees and counts each of them."""

    def payload_of(self, messages: Sequence["BaseMessage"]) -> Any:
        """What is sent for these messages, in the provider's dialect."""

    def send(self, payload: Any) -> Reply:
        """Send one request, and return whatever came of it. It raises nothing: something may have been paid."""


# ---- the batch lane


class BatchStatus(StrEnum):
    """Where a batch stands at the provider."""

    VALIDATING = "validating"
    IN_PROGRESS = "in_progress"
    FINALIZING = "finalizing"
    CANCELLING = "cancelling"
    COMPLETED = "completed"
    EXPIRED = "expired"
    CANCELLED = "cancelled"
    FAILED = "failed"

    @property
    def is_final(self) -> bool:
        """Whether nothing more will come of it. What is finished of an expired or a cancelled batch was paid."""
        return self in {self.COMPLETED, self.EXPIRED, self.CANCELLED, self.FAILED}


@dataclass(frozen=True)
class BatchError:
    """Why a provider took a batch for invalid: its own code, where it gave one, and its own words."""

    code: str | None
    message: str


@dataclass(frozen=True)
class BatchState:
    """A batch at one moment. `completed` and `failed` count its rows; `errors` say why a `failed` one is invalid.

    Counts that a provider leaves out or that can't be read are 0.
    """

    status: BatchStatus
    total: int = 0
    completed: int = 0
    failed: int = 0
    errors: tuple[BatchError, ...] = ()

    @property
    def has_counts(self) -> bool:
        """Whether the provider says how many rows were worked on: all zeros, as they stand at first, say nothing."""
        return self.total > 0 or self.completed > 0 or self.failed > 0

    @property
    def is_invalid(self) -> bool:
        """Whether it failed as a whole: nothing was asked, and nothing paid."""
        return self.status is BatchStatus.FAILED and not self.completed


@dataclass(frozen=True)
class RowError:
    """A row that got no answer: the HTTP status it would have had live (None where it was not executed), code, words."""

    status: int | None
    code: str | None
    message: str

    @property
    def was_executed(self) -> bool:
        """False where the batch ended before the row's turn: nothing was asked, and nothing paid."""
        return self.status is not None


@dataclass(frozen=True)
class BatchAnswer:
    """What came of one row: an answer, whatever it holds, or an error in its place."""

    row_key: str
    answer: Answer | None = None
    error: RowError | None = None


@dataclass(frozen=True)
class FoundBatch:
    """A batch that a provider knows: its id, and when it was made; None where that can't be read."""

    id: str
    created_at_utc: datetime | None


class BatchRefused(LabelmillError):  # noqa: N818  (the name is the sentence)
    """The provider has refused for good, in its own words: nothing was made, and asking again would be refused again.

    `is_missing` tells that it knows nothing of what it was asked about.
    """

    def __init__(self, message: str, *, is_missing: bool = False) -> None:
        self.is_missing = is_missing
        super().__init__(message)


class BatchUnreachable(LabelmillError):  # noqa: N818
    """The provider did not answer, or answered that it can't now. What was asked of it may have been done all the same."""


def no_note(_: str) -> None:
    """Note nothing of an upload."""


class BatchClient(Protocol):
    """What the batch lane asks of a provider.

    Every method raises `BatchRefused` or `BatchUnreachable`, and nothing else of the provider's or the network's doing.
    An answer that can't be read counts as none.
    """

    @property
    def endpoint(self) -> Endpoint:
        """Where the requests go."""

    def send(
        self, requests: Path, metadata: Mapping[str, str], uploaded: Callable[[str], None] = no_note
    ) -> str:
        """Make a batch of a file of requests, one of the provider's `batch_lines` each; returns the batch's id.

        The making is tried once: a second try might make a second batch, and both would be paid. After a
        `BatchUnreachable` the batch may exist; `find` tells. `uploaded` is told the id of the file, where there is one,
        before the batch is made, and again each time that the file is waited for: what it raises ends that.
        """

    def find(
        self, metadata: Mapping[str, str], since: datetime, known: Collection[str] = ()
    ) -> FoundBatch | None:
        """The batch that carries this metadata (all of it), whenever it was made; None if there is none.

        Batches that were made long before `since` (UTC) are not looked through. `known` are ids of batches whose metadata
        is known to be another: where it shows late, nobody waits for theirs.
        """

    def state(self, batch_id: str) -> BatchState:
        """Where a batch stands.

        Raises:
            BatchRefused: the provider knows no such batch, or doesn't let us see it.
        """

    def answers(
        self, batch_id: str, row_keys: Sequence[str], metadata: Mapping[str, str]
    ) -> Iterator[BatchAnswer]:
        """What came of the rows of a batch that is final, in any order, as it is read from the provider.

        `row_keys` are those of the file that was sent, in its order, and `metadata` went with it. Rows that the provider
        says nothing of are not among the answers; a row that stands there twice is told once.
        """

    def cancel(self, batch_id: str) -> None:
        """Ask the provider to stop a batch; returns at once. One that is final already is left as it is."""

    def delete(self, batch_id: str | None, file_id: str | None) -> None:
        """Have the provider delete what it keeps of a batch that is settled: its files, or its results.

        `file_id` is the file that was uploaded for it; `batch_id` is None where no batch was made of that. What is gone
        already is no error.
        """


LineOf: TypeAlias = "Callable[[str, Sequence[BaseMessage]], Mapping[str, Any]]"
"""What one text is in a file of requests, by its row key and its messages: an object that becomes a line of JSON."""


# ---- the provider

NO_HEADERS: Mapping[str, str] = MappingProxyType({})
"""Where a job has none of its own."""


class ListedModels(NamedTuple):
    """How a provider has answered when it was asked for its models; the body of a refusal alone is read."""

    status: int
    body: str


@dataclass(frozen=True)
class Provider:
    """A provider: its usual address and key, its limits, and what of a job it can do.

    `price_id` is its name in genai-prices, None where that doesn't know it; `batch_fraction` is what its batches cost of the
    live price where genai-prices lists none. `api` is whose requests it takes, by a name of `request_fields.toml`. `base_url` is
    empty where each customer has an address of their own, which looks like `address_form`. `base_url_env` names the environment
    variable that changes the address, where there is one. Where `needs_key` is false, it answers without a key wherever it is.
    `also_called` are names that people write for its own. Where `has_deployments`, `model.name` is the name of a deployment,
    which hides the model, and the address has an API version. A batch takes no more than `max_requests` and `max_bytes`,
    whatever the job says. `is_practice` tells of the one that is started by Labelmill itself and whose answers are no model's,
    `takes_class` of the one whose model is a class that a job names. `dialect` is how it is asked first; what it refuses of that
    a run finds out.
    """

    sends_own_fields: ClassVar[bool] = False
    """Whether its requests hold what a job adds to them: `extra_body`, `headers` and `reasoning_effort`."""

    name: str
    base_url: str
    api_key_env: str
    price_id: str | None
    base_url_env: str | None = None
    address_form: str = ""
    also_called: tuple[str, ...] = ()
    needs_key: bool = True
    has_deployments: bool = False
    batch_fraction: float | None = None
    api: str = "chat"
    max_temperature: float = 2.0
    max_requests: int | None = None
    max_bytes: int | None = None
    has_live_lane: bool = True
    has_batch_lane: bool = True
    has_schemas: bool = True
    has_probabilities: bool = True
    has_reasoning_effort: bool = True
    is_practice: bool = False
    takes_class: bool = False
    dialect: Dialect = field(default_factory=Dialect)

    def mistakes(self, model: Model, run: Run | None, batch: Batch | None) -> Iterator[tuple[str, str]]:
        """What a job asks of it that it hasn't: place and sentence. Sections that can't be read are None."""
        name = self.name
        if (model.sent_temperature or 0) > self.max_temperature:
            yield "model.temperature", f"the provider {name!r} takes 0 to {self.max_temperature:g}"
        if model.output != "text" and not self.has_schemas:
            yield "model.output", f'the provider {name!r} is asked without schemas here; set output = "text"'
        elif model.output == "choice" and not self.dialect.bindings:
            sentence = f'the provider {name!r} binds an answer to the labels by no means that Labelmill knows; set output = "text"'
            yield "model.output", sentence
        if model.confidence and not self.has_probabilities:
            sentence = f"the provider {name!r} gives no token probabilities; set confidence = false"
            yield "model.confidence", sentence
        if not self.has_deployments:
            if model.api_version is not None:
                yield "model.api_version", f"the provider {name!r} has no API versions; take it out"
            if batch is not None and batch.model is not None:
                sentence = f"the provider {name!r} has one name for a model on both lanes; take it out"
                yield "batch.model", sentence
        if not self.takes_class:
            sentence = f'the provider {name!r} has no use for it; take it out, or set provider = "langchain"'
            told = (("model.class", model.class_name), ("model.settings", model.settings))
            yield from ((place, sentence) for place, value in told if value)
        yield from self._own_field_mistakes(model, run)
        if run is not None:
            yield from self._lane_mistakes(run)

    def _lane_mistakes(self, run: Run) -> Iterator[tuple[str, str]]:
        name = self.name
        if run.lane != "batch" and not self.has_live_lane:
            sentence = f'Labelmill has the batch lane alone for the provider {name!r}; set lane = "batch"'
            yield "run.lane", sentence
        if run.lane != "live" and not self.has_batch_lane:
            yield "run.lane", f'Labelmill has no batches for the provider {name!r}; set lane = "live"'
        if run.retry_lane != "batch" and not self.has_live_lane:
            yield "run.retry_lane", f'the provider {name!r} has no live lane; set retry_lane = "batch"'

    def address(self, base_url: str, model: Model) -> str:  # noqa: ARG002
        """Where a job's requests go, all that an address takes in it, of the address that was given."""
        return base_url

    def _own_field_mistakes(self, model: Model, run: Run | None) -> Iterator[tuple[str, str]]:
        name = self.name
        told = {
            "extra_body": model.extra_body,
            "headers": model.headers,
            "reasoning_effort": model.reasoning_effort,
        }
        if not self.sends_own_fields:
            sentence = f"the provider {name!r} sends nothing of the job's own along here; take it out"
            yield from ((f"model.{field}", sentence) for field, value in told.items() if value)
            return
        if model.reasoning_effort is not None and not self.has_reasoning_effort:
            sentence = (
                f"the provider {name!r} has no such field; say how much to think in [model.extra_body], as its API calls it "
                "(docs/model-settings.md)"
            )
            yield "model.reasoning_effort", sentence
        yield from body_mistakes(model, self.api, run)
        yield from header_mistakes(model, self.headers(""))

    def chat(self, job: LabelJob, base_url: str, api_key: str, form: AnswerForm) -> LiveModel:  # noqa: ARG002
        """The model of a job on the live lane, which is asked for answers in a form."""
        raise JobRefused([Mistake("run.lane", f"the provider {self.name!r} has no live lane")])

    def batch_lines(self, job: LabelJob, base_url: str, form: AnswerForm) -> LineOf:  # noqa: ARG002
        """How a text of a job stands in a file of requests, where it is asked for an answer in a form."""
        raise JobRefused([Mistake("run.lane", f"the provider {self.name!r} has no batches")])

    def batch_client(self, job: LabelJob, endpoint: Endpoint) -> BatchClient:  # noqa: ARG002
        """Who speaks to its Batch API for a job, at an endpoint that is reachable.

        Raises:
            JobRefused: it can't be spoken to from here.
        """
        raise JobRefused([Mistake("run.lane", f"the provider {self.name!r} has no batches")])

    def price_id_of(self, model: Model) -> str | None:  # noqa: ARG002  (for providers of many models)
        """Whose prices a model is counted at, by the name in genai-prices."""
        return self.price_id

    def headers(self, api_key: str) -> dict[str, str]:
        """What a request of our own making carries."""
        return {"Authorization": f"Bearer {api_key}"}

    def url_of(self, base_url: str, path: str) -> str:
        """Where a path of its API is, such as `/models`."""
        return base_url.rstrip("/") + path

    def list_models(
        self,
        base_url: str,
        api_key: str,
        timeout_seconds: float,
        environment: Mapping[str, str] = os.environ,  # noqa: ARG002  (the plain client reads it by itself)
        headers: Mapping[str, str] = NO_HEADERS,
    ) -> ListedModels:
        """Ask for the list of models, for nothing, as a run's own requests are sent; whatever a client raises, it raises.

        `headers` are the job's own.
        """
        with plain_http_client(base_url) as http:
            url = self.url_of(base_url, "/models")
            sent = {**headers, **self.headers(api_key)}
            answer = http.get(url, headers=sent, timeout=timeout_seconds)
            return ListedModels(answer.status_code, answer.text if answer.is_error else "")
