"""What can be wrong with a job's deadline, its workers, the room of its batches and its budget, as (place, sentence)."""

import json
from importlib.util import find_spec

from labelmill.batch.requests import RequestWriter
from labelmill.installing import installing
from labelmill.job.model import LabelJob, Model, Price, Run
from labelmill.job.zones import zone_mistake
from labelmill.providers.table import price_of, provider_of
from labelmill.question.prompt import messages_of
from labelmill.store.row_key import row_key_of

_ROOMY_TIMES, _ROOMY_BYTES = 10, 10_000
"""A line of a batch is its prompt, its labels and the job's own fields, each a few times at most, and some names."""


def lane_mistakes(run: Run) -> list[tuple[str, str]]:
    """What is wrong with when a run has to be done."""
    return [*_deadline_mistakes(run), *_timezone_mistakes(run), *_runner_mistakes(run)]


def _runner_mistakes(run: Run) -> list[tuple[str, str]]:
    if run.runner == "local":
        if run.runner_address is None:
            return []
        sentence = 'an address is of use to a cluster only, and the runner is "local"; set runner = "dask", or take it out'
        return [("run.runner_address", sentence)]
    mistakes = []
    if not _has("distributed"):
        sentence = f'the runner "dask" needs Dask, which is not installed here: {installing("distributed")}'
        mistakes.append(("run.runner", sentence))
    if run.processes > 1:
        sentence = (
            f'with the runner "dask" the workers ask, and found processes = {run.processes}, which are of this machine; '
            f"say how many workers ask with workers, and take processes out"
        )
        mistakes.append(("run.processes", sentence))
    return mistakes


def _has(module: str) -> bool:
    try:
        return find_spec(module) is not None
    except ValueError:
        return False


def _deadline_mistakes(run: Run) -> list[tuple[str, str]]:
    if run.lane == "auto" and run.deadline is None:
        sentence = (
            'the lane "auto" has to know by when a run must be finished; add a time of day such as deadline = "08:00", '
            'or set lane = "batch"'
        )
        return [("run.deadline", sentence)]
    if run.lane != "auto" and run.deadline is not None:
        sentence = f'only the lane "auto" keeps a deadline, and the lane is "{run.lane}"; set lane = "auto", or take it out'
        return [("run.deadline", sentence)]
    return []


def _timezone_mistakes(run: Run) -> list[tuple[str, str]]:
    mistake = zone_mistake(run.deadline_timezone)
    return [] if mistake is None else [("run.deadline_timezone", mistake)]


def budget_mistakes(run: Run, model: Model, own: Price | None, base_url: str | None) -> list[tuple[str, str]]:
    """What keeps a budget from being kept: a price that is unknown on a lane that the run uses."""
    names = [name for name in Run.model_fields if name.startswith("max_cost_usd")]
    limit = next((name for name in names if getattr(run, name) is not None), None)
    if limit is None:
        return []
    has_batches = run.lane != "live"
    if price_of(model, own, base_url) is None:
        needed = "input_usd_per_mtok, output_usd_per_mtok and batch_fraction"
        if not has_batches:
            needed = "input_usd_per_mtok and output_usd_per_mtok"
        or_named = ", or with model, the name of the model behind that deployment"
        sentence = (
            f"a budget can't be kept, since the price of {model.name!r} is unknown; "
            f"add a [price] section with {needed}{or_named if provider_of(model).has_deployments else ''}"
        )
        return [(f"run.{limit}", sentence)]
    if has_batches and price_of(model, own, base_url, "batch") is None:
        add = "add batch_fraction to [price]" if own else "add a [price] section with batch_fraction"
        sentence = (
            f"a budget can't be kept on the lane {run.lane!r}, since the Batch API's price of {model.name!r} is unknown; "
            f'{add} (0.5 with most providers), or set lane = "live"'
        )
        return [(f"run.{limit}", sentence)]
    return []


def room_mistakes(job: LabelJob, base_url: str | None) -> list[tuple[str, str]]:
    """Limits that keep every text out of a batch, since the prompt alone passes them. To be asked of a job without other mistakes."""
    if job.run.lane == "live":
        return []
    (messages,) = messages_of(job, [""])
    told = json.dumps(
        [*(message.text for message in messages), job.labels, job.model.extra_body], default=str
    )
    most = _ROOMY_TIMES * len(told) + _ROOMY_BYTES
    limits_told = (job.batch.max_bytes, job.batch.max_queue_tokens)
    if all(limit is None or limit >= most for limit in limits_told):
        return []
    writer = RequestWriter(job, base_url or "", None, is_correction=False, under_schema=False)
    _, size = writer.line_of(row_key_of(""), "", None)
    limits = {
        "max_bytes": (job.batch.max_bytes, size.bytes, "bytes"),
        "max_queue_tokens": (job.batch.max_queue_tokens, size.tokens, "tokens"),
    }
    return [
        (
            f"batch.{name}",
            f"found {limit:,}, and the prompt alone takes {least:,} {unit}: no text fits into a batch",
        )
        for name, (limit, least, unit) in limits.items()
        if limit is not None and least > limit
    ]
