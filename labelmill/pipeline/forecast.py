"""What a run would do and cost, found without asking anybody for an answer and without writing anything."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Any

import polars as pl
from pydantic import BaseModel, ConfigDict

from labelmill.batch.record import BatchFolder
from labelmill.dataset.plan import write_pending
from labelmill.job.model import LabelJob
from labelmill.job.zones import zone_notice
from labelmill.money.budget import limit_uses
from labelmill.money.prices import Price, cost_of
from labelmill.money.usage import Usage
from labelmill.question.expected import expected_usage_of, worst_case_again_of
from labelmill.question.form import form_of
from labelmill.question.prompt import messages_of
from labelmill.question.tokens import about_tokens, instructions_tokens
from labelmill.run.context import RunContext, spent_of_limits
from labelmill.run.publication import files_to_plan
from labelmill.run.read_output import reading_output
from labelmill.run.task_change import task_change_of
from labelmill.run.unreadable import read_digests
from labelmill.run.wording import shorter_wording_notice
from labelmill.store.ledger import faults_named

SAMPLED_TEXTS = 2_000
"""Of more texts than that so many are looked at, and the others are taken to be like them."""


class Asking(BaseModel):
    """What it takes to ask some texts. Costs are USD, null where the price is unknown."""

    model_config = ConfigDict(frozen=True, use_attribute_docstrings=True)

    texts: int
    """How many are asked."""
    max_requests: int
    """The most requests that takes: each text asked again as often as the job allows."""
    input_tokens: int
    """About how many tokens are sent, each text asked once."""
    cost_usd: float | None
    """About what that costs."""
    max_cost_usd: float | None
    """What it costs at most: every request at its worst case. Of very many texts it is told from a part of them."""


class Limit(BaseModel):
    """One of a job's budgets, and how much of it is spent."""

    model_config = ConfigDict(frozen=True)

    field: str
    limit_usd: float
    spent_usd: float


class Forecast(BaseModel):
    """What a run of a job would find, ask and cost."""

    model_config = ConfigDict(frozen=True, use_attribute_docstrings=True)

    job: LabelJob
    """The whole job as it is."""
    practice: bool
    """Whether the practice provider would answer, so that nothing is paid."""
    base_url: str | None
    """Where the requests would go; null for a practice provider that a run starts by itself."""
    files: int
    """The source's files."""
    files_settled: int
    """Those of them that are labeled already and have not changed since: a run doesn't read them."""
    rows: int | None
    """The rows of all files; null where a footer can't be read."""
    rows_empty: int
    """Rows without a text, of the files that are not settled."""
    texts: int
    """Different texts in the files that are not settled."""
    texts_known: int
    """Those of them that need no request."""
    texts_out: int
    """Those of them that are in batches at the provider."""
    asking: Asking
    """What the others take."""
    price: dict[str, Any] | None
    """The price entry that the cost is counted at, and where it comes from; null where it is unknown."""
    limits: list[Limit] = []
    """The job's budgets, the one with the least left first."""
    notices: list[str] = []
    """What a run would say before it asks."""

    @property
    def left_usd(self) -> float | None:
        """What may still be spent; None without a budget."""
        return max(0.0, self.limits[0].limit_usd - self.limits[0].spent_usd) if self.limits else None


def forecast(job: LabelJob, model_base_url: str | None = None) -> Forecast:
    """Look at all that a run of a checked job would look at, and say what it would do.

    The provider is asked for its models, which is free; nothing else is asked, and nothing is written.

    Raises:
        JobRefused: no request would be answered, or a part of a ledger can't be read.
    """
    with reading_output(job, model_base_url) as context, faults_named(context.folder.ledgers):
        numbers = files_to_plan(context)
        read_digests(context, numbers)
        readable = [number for number in numbers if number in context.digests.rows]
        rows, with_text, texts = _counts(context, readable)
        pending, known = _scratch(context) / "pending.parquet", context.ledger.known_digests
        unanswered = to_ask = write_pending(context.digests, numbers, known, pending)
        if (out := digests_in_batches(context)) is not None:
            to_ask = write_pending(
                context.digests, numbers, lambda about: pl.concat([known(about), out]), pending
            )
        lane = "live" if context.job.run.lane == "live" else "batch"
        price = context.price if lane == "live" else context.batch_price
        asking = asking_of(context.job, _some_texts(pending, to_ask), to_ask, price, context.price)
        return Forecast(
            job=context.job,
            practice=context.practice,
            base_url=context.base_url or None,
            files=len(context.files),
            files_settled=len(context.files) - len(numbers),
            rows=_rows_in(context),
            rows_empty=rows - with_text,
            texts=texts,
            texts_known=texts - unanswered,
            texts_out=unanswered - to_ask,
            asking=asking,
            price=price.entry if price else None,
            limits=_limits_of(context),
            notices=list(_notices(context, pending, price)),
        )


def asking_of(
    job: LabelJob, some: Sequence[str], texts: int, price: Price | None, retry_price: Price | None = None
) -> Asking:
    """What it takes to ask so many texts, told from some of them or from all.

    Args:
        job: what is asked.
        some: texts to tell it from.
        texts: how many there are.
        price: what tokens cost.
        retry_price: what they cost at most, where another lane may ask them again.
    """
    messages, form = list(messages_of(job, some)), form_of(job)
    instructions = instructions_tokens(job)
    expected = [
        replace(
            expected_usage_of(job, asked, form), input_tokens=math.ceil(instructions + about_tokens(text))
        )
        for text, asked in zip(some, messages, strict=True)
    ]
    worst = [worst_case_again_of(job, asked) for asked in messages]
    times = job.run.max_attempts + job.run.max_answers - 1
    share = texts / len(some) if some else 0.0
    return Asking(
        texts=texts,
        max_requests=texts * times,
        input_tokens=math.ceil(sum(usage.input_tokens for usage in expected) * share),
        cost_usd=_sum(expected, price, share),
        max_cost_usd=_sum(worst, retry_price or price, share * times),
    )


def _sum(usages: Sequence[Usage], price: Price | None, share: float) -> float | None:
    costs = [cost_of(usage, price) for usage in usages]
    known = [cost for cost in costs if cost is not None]
    return float(sum(known, Decimal(0))) * share if price is not None and len(known) == len(costs) else None


def _scratch(context: RunContext) -> Path:
    if context.scratch_folder is None:
        raise ValueError("The run has no scratch folder.")
    return context.scratch_folder


def _counts(context: RunContext, numbers: Sequence[int]) -> tuple[int, int, int]:
    """Of some files that were read: their rows, those with a text, and how many different texts these have."""
    with_text = texts = 0
    for bucket in context.digests.buckets:
        digests = context.digests.scan(bucket, numbers).select("digest").drop_nulls()
        held, distinct = digests.select(pl.len(), pl.col("digest").n_unique()).collect().row(0)
        with_text, texts = with_text + held, texts + distinct
    return sum(context.digests.rows[number] for number in numbers), with_text, texts


def digests_in_batches(context: RunContext) -> pl.LazyFrame | None:
    """The digests of the task's texts that are in batches; None where none is out. Their records are read alone."""
    folder = BatchFolder(context.folder.batches)
    mine = [
        record
        for record in folder.outstanding(practice=context.practice)
        if record.task_key == context.task_key and folder.requests_path(record.name).exists()
    ]
    return folder.digests(mine) if mine else None


def _some_texts(pending: Path, texts: int) -> list[str]:
    """Some of the pending texts from throughout the source; all of them where they are few."""
    frame = pl.scan_parquet(pending, glob=False, hive_partitioning=False).select("text")
    every = max(1, texts // SAMPLED_TEXTS)
    return frame.gather_every(every).head(SAMPLED_TEXTS).collect()["text"].to_list()


def _rows_in(context: RunContext) -> int | None:
    total = 0
    for file in context.files:
        try:
            total += file.count()
        except (pl.exceptions.PolarsError, OSError):
            return None
    return total


def _limits_of(context: RunContext) -> list[Limit]:
    run = context.job.run
    today, month = spent_of_limits(
        run, context.folder.ledgers, context.started_at_utc, practice=context.practice
    )
    return [
        Limit(field=use.field, limit_usd=float(use.limit_usd), spent_usd=float(use.spent_usd))
        for use in limit_uses(run, Decimal(0), today, month)
    ]


def _notices(context: RunContext, pending: Path, price: Price | None) -> Iterator[str]:
    if (passed_over := context.listing.notice()) is not None:
        yield passed_over
    if (
        context.job.run.lane == "auto"
        and (renamed := zone_notice(context.job.run.deadline_timezone)) is not None
    ):
        yield renamed
    for file, fault in context.unreadable.items():
        yield f"{fault.sentence(file.path)}; a run leaves the file out"
    yield from context.notices
    change = task_change_of(context.past_jobs, context.job, pending, price, practice=context.practice)
    if change is not None:
        yield change.sentence()
    if (shorter := shorter_wording_notice(context.job, context.ledger, price)) is not None:
        yield shorter
    if any(context.folder.ledgers.glob("*/*.jsonl")):
        yield (
            "a run into this output is at work, or was killed; what it has been answered since it began is counted as "
            "still to be asked"
        )
