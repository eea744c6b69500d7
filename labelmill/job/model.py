"""`LabelJob`: what is wanted, in one frozen model.

It is the flow's parameter, the job file's schema, the form in the Prefect UI and the record in `run.json`. Every field
is documented here and nowhere else.
"""

from collections.abc import Iterable
from datetime import date
from typing import Annotated, Any, Literal, Self
from urllib.parse import urlsplit

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, JsonValue, WithJsonSchema, model_validator

Usd = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Fraction = Annotated[float, Field(ge=0, le=1)]
Seconds = Annotated[float, Field(gt=0, allow_inf_nan=False)]


def web_address(value: str) -> str:
    """An endpoint's address as it is.

    Raises:
        ValueError: it is none; says what was expected.
    """
    expected = "an address such as 'http://127.0.0.1:11434/v1'"
    try:
        parts = urlsplit(value)
        usable = parts.scheme in {"http", "https"} and parts.hostname and parts.port != 0
    except ValueError:
        raise ValueError(expected) from None
    if not usable:
        raise ValueError(expected)
    return value


CLASS_PATTERN = r"^[A-Za-z_][A-Za-z0-9_]*(\.[A-Za-z_][A-Za-z0-9_]*)*:[A-Za-z_][A-Za-z0-9_]*$"
"""A module and a class in it."""


def _path(value: str) -> str:
    if "\0" in value:
        raise ValueError("a path, which can't hold a NUL")
    return value


FilePath = Annotated[str, Field(min_length=1), AfterValidator(_path)]


def _title(name: str, _: object) -> str:
    """A field's name as words, for the form in the Prefect UI."""
    words = " ".join(
        {"usd": "USD", "url": "URL", "api": "API", "mtok": "million tokens"}.get(word, word)
        for word in name.split("_")
    )
    return words[0].upper() + words[1:]


def _positions(schema: dict[str, Any]) -> None:
    """Say where each field stands: the form keeps to it, also where the database has lost the order of the schema."""
    for position, field in enumerate(schema.get("properties", {}).values()):
        field["position"] = position


class Section(BaseModel):
    """A table of the job file: frozen, and with no room for an unknown field."""

    model_config = ConfigDict(
        extra="forbid",
        frozen=True,
        use_attribute_docstrings=True,
        ser_json_inf_nan="strings",
        field_title_generator=_title,
        json_schema_extra=_positions,
    )


class Storage(Section):
    """How an object store is reached, where its address and the environment don't say it. Keys stand in neither: `docs/stores.md`."""

    endpoint: Annotated[str, AfterValidator(web_address)] | None = None
    """The address of a store that is not the cloud's own, such as `http://minio:9000`. Left out, the environment may say it
    (`AWS_ENDPOINT_URL`)."""
    region: str | None = Field(default=None, min_length=1)
    """The region of an S3 bucket. Left out, it is `AWS_REGION`, the profile's, or `us-east-1`."""
    profile: str | None = Field(default=None, min_length=1)
    """A profile of `~/.aws/credentials` whose keys are used, in the place of those in the environment."""
    account: str | None = Field(default=None, min_length=1)
    """The name of the Azure storage account. Left out, it is `AZURE_STORAGE_ACCOUNT_NAME`."""
    anonymous: bool = False
    """Send no credentials: for buckets that anyone may read."""


class Source(Section):
    """The Parquet dataset to label, and the text of each row."""

    path: FilePath
    """A Parquet file, a glob, or a folder (hive partitions are read from its folder names), also at `s3://`, `gs://` or `az://`.
    Names that begin with `.` or `_` are passed over, but for partitions such as `_year=2026`. Relative paths start at the
    folder the command runs in."""
    text: str = Field(min_length=1)
    """The column that holds the text, or a template over several: `"{title}\\n{body}"`. JSON and bytes in UTF-8 are text
    too."""
    storage: Storage | None = None
    """How its store is reached."""


_offered_providers: list[str] = []


def offer_providers(names: Iterable[str]) -> None:
    """Have these providers offered in the form of the Prefect UI and in the reference; the check knows them by itself.

    They stand in `providers/table.py`, floors above this one.
    """
    _offered_providers[:] = names


def _provider_choice(schema: dict[str, Any]) -> None:
    schema["enum"] = list(_offered_providers) or [schema["default"]]


class Model(Section):
    """The language model and its settings.

    Changing any of them but `timeout_seconds`, `api_key_env`, `base_url` and `api_version` asks for every label anew.
    """

    # A name that Python has taken stands in the file and in JSON by its alias.
    model_config = ConfigDict(validate_by_alias=True, validate_by_name=True, serialize_by_alias=True)

    provider: Annotated[str, Field(json_schema_extra=_provider_choice)] = "openai"
    """Who is asked; `docs/providers.md` has a section on each. `openai` is also any other OpenAI-compatible endpoint, by
    `base_url`; `anthropic` and `google` (Gemini) need an extra on the live lane; `langchain` is any chat model of LangChain's,
    on the live lane; `practice` is built in, needs no key, and is not a language model."""
    name: str = Field(min_length=1)
    """The model's name as the provider knows it, with Azure the name of its deployment; the price is looked up by it, unless
    `[price]` names another."""
    output: Literal["text", "schema", "choice"] = "text"
    """How the label set is enforced: a short plain answer matched exactly (2 to 4 output tokens); `schema`: the provider's
    structured output (about 10); `choice`: the endpoint's own means to allow an answer nothing but a label, such as vLLM's
    choices or llama.cpp's grammar, and a schema where there are none. Which it has is found out by the run."""
    temperature: Annotated[float, Field(ge=0, le=2)] | Literal["unset"] = 0.0
    """0 gives the most repeatable labels. `unset` leaves it out of the request: some reasoning models refuse it, or accept
    only 1."""
    max_tokens: Annotated[int, Field(ge=1)] | Literal["auto"] = "auto"
    """The longest answer, in tokens, with the thoughts of a model that thinks first. `auto` leaves room for the longest label,
    and for thoughts where the model is known for them or its first answers show them."""
    reasoning_effort: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]*$", max_length=40)] | None = (
        None
    )
    """How much a reasoning model thinks, in the provider's word, such as `low`, `minimal` or `none`."""
    confidence: bool = False
    """Ask for token log-probabilities and fill `label_confidence`. Not every endpoint has them."""
    base_url: Annotated[str, AfterValidator(web_address)] | None = None
    """The endpoint, ending in `/v1` as a rule. Otherwise `OPENAI_BASE_URL` (with the provider `openai`) or
    `AZURE_OPENAI_ENDPOINT` (with `azure`), otherwise the provider's own."""
    api_version: str | None = Field(default=None, min_length=1)
    """The version of Azure's older address, such as `2024-10-21`. Without it Azure's newer one is asked, which needs none."""
    api_key_env: str | None = Field(default=None, pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")
    """The name of the environment variable that holds the key: otherwise what the provider's is called, such as
    `OPENAI_API_KEY`. The key itself never stands in a job."""
    timeout_seconds: Seconds = 60.0
    """How long to wait for one answer."""
    extra_body: dict[str, Any] = {}
    """What else goes into the body of each request, as it is: `docs/model-settings.md` has examples."""
    headers: dict[str, str] = {}
    """What else goes into the headers of each request. A secret one names its environment variable: `"env:GATEWAY_KEY"`."""
    class_name: Annotated[str, Field(pattern=CLASS_PATTERN)] | None = Field(default=None, alias="class")
    """With the provider `langchain`, the chat model's class as `"langchain_ollama:ChatOllama"`. It comes from a package named
    `langchain_…`, unless the environment allows another (`LABELMILL_LANGCHAIN_PACKAGES`)."""
    settings: dict[str, Annotated[JsonValue, WithJsonSchema({})]] = {}
    """What that class is given beside the fields above, by its own names. A key is named by its variable: `"env:NAME"`."""

    @property
    def sent_temperature(self) -> float | None:
        """The temperature that a request holds; None where it holds none."""
        return None if self.temperature == "unset" else self.temperature


class Prompt(Section):
    """The wording, where the default doesn't fit."""

    language: Literal["auto", "en", "zh"] = "auto"
    """The default wording's language. `auto` follows the labels: Chinese where they hold Chinese, else English."""
    system: str | None = None
    """Replaces the system message; `""` is none at all. `{labels}` stands for the list of labels, and has to stand here or in
    `user`, unless every label does. Left out, it is the default wording's; none where `user` has `{labels}`."""
    user: str | None = None
    """Replaces the user message. `{text}` stands for the row's text and is required. Write a literal brace twice."""
    label_separator: Annotated[str, Field(min_length=1)] | None = None
    """What stands between the labels in `{labels}`, such as `"、"` or `", "`. Left out, a line each as `- name: meaning`; in
    the default wording one line where no label has a meaning or a sign that could part it."""
    descriptions: bool = True
    """Tell the model what the labels mean. With `false` it sees their names alone, whatever `[labels]` says."""
    wording: Literal["auto", 1, 2] = "auto"
    """The default wording's version. 2 is the shorter one. `auto` is the one that this output's answers were asked with, so
    that nothing is asked anew for it; else the newest."""


class Price(Section):
    """What tokens cost, where genai-prices doesn't know the model or you pay another price; and the currency that you pay in."""

    input_usd_per_mtok: Usd | None = None
    """Input tokens, in USD per million."""
    output_usd_per_mtok: Usd | None = None
    """Output tokens, in USD per million."""
    cached_input_usd_per_mtok: Usd | None = None
    """Input tokens that the provider had cached; the input price where it is left out."""
    batch_fraction: Annotated[float, Field(ge=0, le=1)] | None = None
    """What part of the live price the Batch API costs: 0.5 with most providers. Without it the batch lane's cost is unknown
    where the prices are your own, or nobody lists it."""
    model: str | None = Field(default=None, min_length=1)
    """The name that genai-prices has the model under, where `model.name` is another: a deployment's, or a server's own."""
    currency: str | None = Field(default=None, pattern=r"^[A-Z]{3}$")
    """The currency that you pay in, such as `CNY`. The bill shows the cost in it too; budgets stay in USD."""
    usd_rate: Annotated[float, Field(gt=0, allow_inf_nan=False)] | None = None
    """What one US dollar is in that currency: `7.12` of `CNY`."""
    usd_rate_date: date | None = None
    """The day of that rate, which the bill shows beside it: `2026-11-30`."""
    input_per_mtok: Usd | None = None
    """Input tokens, in `currency` per million, in place of `input_usd_per_mtok`."""
    output_per_mtok: Usd | None = None
    """Output tokens, in `currency` per million."""
    cached_input_per_mtok: Usd | None = None
    """Input tokens that the provider had cached, in `currency` per million; the input price where it is left out."""


class Run(Section):
    """How the work is done. None of this changes a label, so none of it asks for one anew."""

    lane: Literal["live", "batch", "auto"] = "live"
    """`live` sends a request per text. `batch` uses the provider's Batch API: about half the price, an answer within a
    day. `auto` tries the batch lane first and finishes live in time for `deadline`."""
    deadline: str | None = Field(default=None, pattern=r"^([01][0-9]|2[0-3]):[0-5][0-9]$")
    """When a run on the lane `auto` has to be done, as `"08:00"`: the next time it is that late."""
    deadline_timezone: str = "UTC"
    """The time zone of `deadline`, such as `Asia/Shanghai`."""
    max_wait_minutes: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 1440.0
    """How long a run waits for its batches. Then it publishes what it has; the next run goes on from there."""
    retry_lane: Literal["batch", "live"] = "batch"
    """Where a text goes that failed in a batch and is worth asking again: into the next batch, or onto the live lane."""
    max_concurrency: int = Field(default=32, ge=1, le=1000)
    """The most requests in flight at once, in all processes of the run together. Fewer while the provider answers 429."""
    processes: int = Field(default=1, ge=1, le=64)
    """How many processes of this machine ask on the live lane, with one budget, one pace and one bill. One sends several
    hundred texts a second, a thousand at most; where the provider takes more, have one for each core. There are never more
    than `max_concurrency`. Previews and comparisons have one."""
    runner: Literal["local", "dask"] = "local"
    """Where the live lane asks. `local`: this machine. `dask`: the workers of a Dask cluster, each chunk with its part of the
    budget and of the pace; it needs the extra `dask`, and an output that all of them reach."""
    runner_address: str | None = Field(default=None, min_length=1)
    """The scheduler of a Dask cluster that exists, such as `tcp://scheduler:8786`. Left out, a run has a cluster of its own on
    this machine."""
    workers: int = Field(default=2, ge=1, le=16)
    """How many chunks are with workers elsewhere at once; the shares of the pace are made from it. Used with a `runner` other
    than `local` only."""
    max_requests_per_minute: Annotated[int, Field(ge=1)] | None = None
    """A limit of your own. The provider's is learned from its headers, and the lower of the two holds."""
    max_tokens_per_minute: Annotated[int, Field(ge=1)] | None = None
    """The same for tokens, input and output together."""
    shared_limit: str | None = None
    """The name of a Prefect global concurrency limit, held once per chunk: for runs on several machines."""
    rows_per_chunk: Annotated[int, Field(ge=1)] | Literal["auto"] = "auto"
    """Texts per task run. `auto` keeps a run at some tens of task runs, and a very large one at two hundred."""
    max_attempts: int = Field(default=5, ge=1, le=20)
    """Requests for one text when the provider fails: rate limits, timeouts, server errors."""
    max_answers: int = Field(default=3, ge=1, le=5)
    """Answers paid for one text when an answer is outside the label set, empty, cut off or a refusal."""
    patience_minutes: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 10.0
    """How long a run waits, with everything paused, while nothing gets through to the provider, and the longest wait that
    a provider may ask for. Beyond it the run ends in the provider's words, and the next one goes on from there."""
    max_failed_fraction: Fraction = 0.05
    """The run ends in `too_many_failures` (exit code 3) when more of the rows with a text than this have
    failed."""
    stop_at_failed_fraction: Fraction = 0.5
    """The run stops when more of its last 100 requests than this have failed (rate limits aside). 1 never stops it."""
    max_cost_usd: Usd | None = None
    """The most that one run may cost. It stops before the request that could pass it."""
    max_cost_usd_per_day: Usd | None = None
    """The most that all runs into this output may cost in one UTC day."""
    max_cost_usd_per_month: Usd | None = None
    """The most that all runs into this output may cost in one UTC month."""
    trace_texts: bool = False
    """With `LANGSMITH_TRACING=true`, send the texts and the answers along. Otherwise LangSmith gets names, times, tokens
    and row keys only."""
    poll_seconds: Seconds = 60.0
    """The longest time between two polls of the batches that are out; the first come sooner."""


class Batch(Section):
    """The provider's Batch API: who speaks to it, and what it takes. The defaults are OpenAI's limits.

    Source: <https://platform.openai.com/docs/guides/batch>.
    """

    adapter: Literal["openai", "langasync"] = "openai"
    """Who makes the batches of OpenAI and compatible endpoints: `openai` is OpenAI's own client, `langasync` needs the extra
    of that name. Other providers have one way, whatever stands here."""
    model: str | None = Field(default=None, min_length=1)
    """What the same model is called in a batch, where that is another name: Azure has deployments of their own for batches."""
    max_requests: int = Field(default=50_000, ge=1)
    """The most requests in one batch."""
    max_bytes: int = Field(default=200_000_000, ge=1)
    """The largest file of requests."""
    cancel_seconds: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 600.0
    """How long the provider may take to stop a batch. The lane `auto` begins to cancel that much earlier."""
    max_queue_tokens: Annotated[int, Field(ge=1)] | None = None
    """The most input tokens that the provider queues for the model over all batches; a larger one waits its turn. Where
    it is left out and the provider refuses a batch for it, the batch is sent again in smaller ones."""
    keep_files: bool = False
    """Leave a batch's files at the provider once its answers are in the ledger. Otherwise they are deleted there: they hold
    your texts."""


def _is_open(schema: dict[str, Any]) -> None:
    _positions(schema)
    del schema["additionalProperties"]


class Practice(Section):
    """How the practice provider behaves. Used with `provider = "practice"` only.

    Any other of its settings may stand here too, as all did once: it is handed to the provider as it is.
    """

    model_config = ConfigDict(extra="allow", json_schema_extra=_is_open)

    latency_seconds: Annotated[float, Field(ge=0, allow_inf_nan=False)] | None = None
    """Mean time to an answer: none where neither this nor the settings file has one."""
    seed: int | None = None
    """Another seed gives the delays and the faults to other texts."""
    settings: FilePath | None = None
    """A TOML file with what else is to be rehearsed: faults, odd answers, limits, slow and broken batches. `docs/practice.md`
    lists its settings."""


class Output(Section):
    """Where everything a run leaves goes."""

    path: FilePath
    """A folder outside the source, also at `s3://`, `gs://` or `az://`. It gets `labeled/`, `failed/`, `ledger/` and `runs/`."""
    column_prefix: str = Field(default="", max_length=40, pattern=r"^([A-Za-z_][A-Za-z0-9_]*)?$")
    """What the names of the columns begin with that Labelmill adds, where the source has a `label` already: `lm_` gives
    `lm_label`, `lm_label_status` and so on."""
    storage: Storage | None = None
    """How its store is reached."""


When = Literal["trouble", "every_run", "never"]


class Alert(Section):
    """Who is told how a run ended. What isn't said here the environment or `.env` says for all jobs; `docs/alerts.md`."""

    url: str | None = None
    """The variable that holds the address alerts go to: `"env:FEISHU_WEBHOOK"`. The address is a secret and never stands in a
    job. Left out, it is what `LABELMILL_ALERT_URL` holds."""
    when: When | None = None
    """`trouble`: a run that failed, stopped at its budget, had too many failures, had to leave out files, or waits for a batch
    longer than batches take. `every_run`: each run, rehearsals too. `never`: none. Left out, it is `LABELMILL_ALERT_WHEN`, else
    `trouble`."""
    service: str | None = Field(default=None, min_length=1)
    """`slack`, `feishu` (and Lark), `dingtalk`, `wecom`, or `webhook`, which gets the record's fields as JSON. Left out, the
    address tells."""
    secret: str | None = None
    """The variable that holds the secret of a robot that wants signatures (Feishu, DingTalk): `"env:FEISHU_SECRET"`."""
    keyword: str | None = Field(default=None, min_length=1, max_length=100)
    """A word that the robot wants in each message (Feishu, DingTalk)."""


class LabelJob(Section):
    """A dataset, a set of labels and a model: everything a run needs to know."""

    name: str = Field(min_length=1, max_length=100, pattern=r"^[^/%&<>\x00-\x1f]+$")
    """What people call the job. It names runs and reports."""
    slug: Annotated[str, Field(max_length=60, pattern=r"^[a-z0-9]+(-[a-z0-9]+)*$")] | None = None
    """What the keys of its artifacts in Prefect begin with, such as `news-topics`: for a name that isn't in ASCII, whose keys
    would be a hash. No two jobs of one server should have the same. Left out, it is made from the name."""
    source: Source
    labels: dict[str, str]
    """Two labels or more: each name with what it means (which may be empty)."""
    model: Model
    prompt: Prompt = Prompt()
    price: Price | None = None
    """What tokens cost, where genai-prices doesn't know the model or you pay another price; and the currency that you pay in."""
    run: Run = Run()
    batch: Batch = Batch()
    output: Output
    alert: Alert = Alert()
    practice: Practice = Practice()
    """How the practice provider behaves. Used with `provider = "practice"` only."""
    label_order: tuple[str, ...] = ()
    """The order in which the model reads the labels; those that are not named here follow. A job file needs none:
    `labelmill deploy` fills it in, since a Prefect server on PostgreSQL loses the order of `labels`."""

    @model_validator(mode="after")
    def _put_labels_in_order(self) -> Self:
        first = {name: self.labels[name] for name in self.label_order if name in self.labels}
        # Frozen from here on.
        self.__dict__["labels"] = first | self.labels
        return self
