"""A preview: the prompt as it is sent, and the labels of a few texts, which a run does not ask for again.

    plan_preview  ->  what is shown and what it costs to ask the rest  ->  a yes  ->  preview: asked as a run asks

Its record is no run's: it publishes nothing, and only the bill knows of it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import partial
from typing import Any

import polars as pl
from langchain_core.messages import AIMessage, BaseMessage, HumanMessage, SystemMessage
from pydantic import BaseModel

from labelmill.check.job import check_job
from labelmill.compare.sample import draw_sample
from labelmill.dataset.plan import Plan, write_texts, write_tried
from labelmill.errors import JobRefused, Mistake
from labelmill.job.model import LabelJob
from labelmill.live.chain import Ways
from labelmill.pipeline.forecast import Asking, asking_of, digests_in_batches
from labelmill.providers.dialect import SpokenDialect
from labelmill.providers.table import first_dialect_of, provider_of
from labelmill.question.prompt import prompt_of
from labelmill.run.batch_lane import digests_out
from labelmill.run.context import RunContext
from labelmill.run.counts import Bill, work_of
from labelmill.run.live_lane import ask_planned, cut_into_chunks
from labelmill.run.open_run import open_output
from labelmill.run.read_output import reading_output
from labelmill.run.record import Record
from labelmill.run.runner import Runner
from labelmill.run.unreadable import name_unreadable, unreadable_mistakes
from labelmill.store.compaction import compact_ledgers
from labelmill.store.files import disk_errors, write_text_whole
from labelmill.store.folder import PREVIEW
from labelmill.store.ledger import Ledger, answers_to, faults_named, scan_run
from labelmill.store.row_key import key_digest

_ROLES: Mapping[type[BaseMessage], str] = {
    SystemMessage: "system",
    HumanMessage: "user",
    AIMessage: "assistant",
}
_MESSAGES = frozenset({"messages", "contents", "system", "system_instruction"})
"""Where the words of a request stand in the providers' dialects, which are shown by their roles."""
_ADDRESS_OF_NOBODY = "http://127.0.0.1/v1"
"""What a client is made for that sends nothing, where a practice provider is yet to be started."""


@dataclass(frozen=True)
class SentPrompt:
    """A request as it is sent: its messages by role, and what else is in it. No key is in it."""

    messages: tuple[tuple[str, str], ...]
    fields: Mapping[str, Any]


@dataclass(frozen=True)
class TextAnswer:
    """What is known of a text: its label, or how it failed, or that a batch at the provider holds it, or nothing yet."""

    label: str | None = None
    failure: str | None = None
    message: str | None = None
    is_final: bool = False
    is_in_batch: bool = False

    @property
    def needs_request(self) -> bool:
        """Whether it is asked."""
        return not (self.is_final or self.is_in_batch)


@dataclass(frozen=True)
class PreviewPlan:
    """What a preview shows and what it takes to complete it.

    Attributes:
        job: the job that is previewed, on the live lane.
        prompt: what is sent for the first of the texts.
        texts: the texts (`row_key`, `text`), in the source's order.
        known: what the ledger says of each of them, by row key.
        asking: what it takes to ask the others.
        practice: whether the practice provider is asked, so that nothing is paid.
    """

    job: LabelJob
    prompt: SentPrompt
    texts: pl.DataFrame
    known: Mapping[str, TextAnswer]
    asking: Asking
    practice: bool

    def answers(self, asked: Mapping[str, TextAnswer] | None = None) -> list[tuple[str, TextAnswer, bool]]:
        """Each text with what is known of it, and whether it has been asked just now."""
        now = asked or {}
        nothing = TextAnswer()
        return [
            (text, now.get(key) or self.known.get(key, nothing), key in now)
            for key, text in self.texts.iter_rows()
        ]


class Preview(Bill, Record):
    """What a preview that has asked leaves; the content of `preview.json`. Texts are not in it."""

    rows: int
    """The texts that it was about."""
    labeled: int
    """Those that it has a label for, from whichever run."""
    failed: int
    """Those that were given up."""
    pending: int
    """Those that are still to be asked."""
    notices: tuple[str, ...] = ()
    """What had to be said beside its numbers."""


def plan_preview(job: LabelJob, model_base_url: str | None = None, *, rows: int = 20) -> PreviewPlan:
    """Choose the texts of a preview of a checked job, and say what is known of them. Nothing is asked or written.

    Raises:
        JobRefused: no request would be answered, there is no text, or the job can't be asked live.
    """
    job = on_the_live_lane(job)
    with reading_output(job, model_base_url) as context, faults_named(context.folder.ledgers):
        drawn = draw_sample(context.digests, max(rows, 1))
        name_unreadable(context)
        if context.files and not context.readable_files:
            raise JobRefused(unreadable_mistakes(context))
        if drawn.is_empty():
            raise JobRefused([Mistake("source.path", "no row has a text, so there is nothing to preview")])
        prompt = prompt_for(context, drawn["text"][0])
        texts = drawn.head(rows)
        known = answers_in(context.ledger, texts)
        for key in _in_batches(context, texts):
            known[key] = replace(known.get(key, TextAnswer()), is_in_batch=True)
        missing = [text for key, text in texts.iter_rows() if known.get(key, TextAnswer()).needs_request]
        asking = asking_of(context.job, missing, len(missing), context.price)
        return PreviewPlan(context.job, prompt, texts, known, asking, context.practice)


def on_the_live_lane(job: LabelJob) -> LabelJob:
    """The job as a preview asks it: nobody waits a day for twenty texts.

    Raises:
        JobRefused: its provider has no live lane.
    """
    if not provider_of(job.model).has_live_lane:
        sentence = f"a preview asks on the live lane, which {job.model.provider!r} doesn't have here"
        raise JobRefused([Mistake("model.provider", sentence)])
    live = {"lane": "live", "deadline": None}
    return job.model_copy(update={"run": job.run.model_copy(update=live)})


def preview(
    plan: PreviewPlan, model_base_url: str | None = None, *, runner: Runner | None = None
) -> tuple[Preview, dict[str, TextAnswer]]:
    """Ask what is missing of a preview as a run would: under the lock, within the budget, into the ledger.

    Returns:
        its record, and what is known of each text that was asked, by row key.

    Raises:
        JobRefused: the job has mistakes, or another run writes into the same output.
        CannotWrite: a file can't be written; what was paid is kept.
    """
    job = plan.job
    check_job(job, model_base_url)
    runner = runner or Runner(job)
    with open_output(job, model_base_url) as context:
        with runner.watch(context):
            ask_planned(context, runner, partial(_plan_texts, context, plan.texts))
        record, answers = runner.step("publish", partial(_publish, context, plan))
        compact_ledgers(context.folder.ledgers, context.ledger)
    return record, answers


def _plan_texts(context: RunContext, texts: pl.DataFrame, after: Plan | None) -> Plan:
    """Those of some texts that still need a request, cut into chunks."""
    path = context.record_folder / f"pending-{context.next_number}.parquet"
    with faults_named(context.folder.ledgers), disk_errors():
        digests = texts.lazy().with_columns(digest=key_digest(pl.col("row_key")))
        known = [context.ledger.known_digests(run_id=context.run_id), digests_out(context)]
        pending = digests.join(pl.concat(known), on="digest", how="anti", maintain_order="left").drop(
            "digest"
        )
        count = write_texts([pending.collect()], path)
        write_tried(path, context.ledger.tries(context.run_id))
    return cut_into_chunks(context, path, count, after)


def _publish(context: RunContext, plan: PreviewPlan) -> tuple[Preview, dict[str, TextAnswer]]:
    """Write what the preview leaves of itself, and say what has come of its texts."""
    answers = answers_in(context.ledger, plan.texts)
    asked = {
        key: answer for key, answer in answers.items() if plan.known.get(key, TextAnswer()).needs_request
    }
    labeled = sum(answer.label is not None for answer in answers.values())
    failed = sum(answer.is_final and answer.label is None for answer in answers.values())
    stopped, finished = context.stop_signal.stopped, datetime.now(UTC)
    work = work_of(scan_run(context.folder.ledgers, context.run_id))
    record = Preview(
        run_id=context.run_id,
        status=stopped.reason if stopped else "completed",
        message=stopped.message if stopped else None,
        practice=context.practice,
        job=context.job,
        task_key=context.task_key,
        rows=plan.texts.height,
        labeled=labeled,
        failed=failed,
        pending=plan.texts.height - labeled - failed,
        notices=tuple(context.notices),
        **work.model_dump(include=set(Bill.model_fields)),
        price=context.price.entry if context.price else None,
        seconds=round((finished - context.started_at_utc).total_seconds(), 3),
        started_at_utc=context.started_at_utc,
        finished_at_utc=finished,
    )
    write_text_whole(context.record_folder / PREVIEW, record.model_dump_json(indent=2) + "\n")
    return record, asked


def _in_batches(context: RunContext, texts: pl.DataFrame) -> list[str]:
    """Those of some texts that are in a batch at the provider: they are not asked a second time."""
    out = digests_in_batches(context)
    if out is None:
        return []
    digests = texts.lazy().select("row_key", digest=key_digest(pl.col("row_key")))
    return digests.join(out, on="digest", how="semi").collect()["row_key"].to_list()


def answers_in(ledger: Ledger, texts: pl.DataFrame) -> dict[str, TextAnswer]:
    """What a ledger says of some texts (`row_key`), by row key; those that it doesn't know are left out."""
    digests = texts.select("row_key", digest=key_digest(pl.col("row_key")))
    pieces = pl.concat(list(ledger.pieces(digests["digest"])), how="vertical_relaxed")
    found = answers_to(digests.lazy().select("digest"), pieces).collect()
    known = digests.join(found, on="digest").select("row_key", "label", "error", "message", "is_final")
    return {
        key: TextAnswer(label, error if label is None else None, message if label is None else None, is_final)
        for key, label, error, message, is_final in known.iter_rows()
    }


# ---- the prompt


def prompt_for(context: RunContext, text: str) -> SentPrompt:
    """What is sent for a text, as the endpoint is asked first."""
    endpoint, job = context.endpoint, context.job
    # A practice provider that is yet to be started can't be asked what it binds answers by.
    first = first_dialect_of(job, endpoint) if context.base_url else provider_of(job.model).dialect
    spoken = SpokenDialect(job, first)
    base_url = context.base_url or _ADDRESS_OF_NOBODY
    ways = Ways(job, base_url, endpoint.api_key(), spoken, is_correction=False)
    messages = spoken.now.arranged(prompt_of(job).format_messages(text=text))
    payload = ways.way(spoken.now).live_model.payload_of(messages)
    return SentPrompt(tuple((_role_of(message), message.text) for message in messages), fields_of(payload))


def fields_of(payload: Any) -> dict[str, Any]:
    """What a request holds beside its words, as plain data; nothing where its provider's library puts it together unseen."""
    if not isinstance(payload, Mapping):
        return {}
    return {name: _plain(value) for name, value in payload.items() if name not in _MESSAGES}


def _plain(value: Any) -> Any:
    if isinstance(value, BaseModel):
        value = value.model_dump(mode="json", exclude_none=True)
    if isinstance(value, Mapping):
        return {str(name): _plain(each) for name, each in value.items() if name not in _MESSAGES}
    if isinstance(value, Sequence) and not isinstance(value, str | bytes):
        return [_plain(each) for each in value]
    return value if isinstance(value, str | int | float | bool) or value is None else str(value)


def _role_of(message: BaseMessage) -> str:
    return _ROLES.get(type(message), message.type)
