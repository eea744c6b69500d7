"""Compare ways to ask: the same texts one by one, in batches, and as a run does it."""

import logging
from collections.abc import Sequence
from datetime import UTC, datetime
from functools import partial

from labelmill.check.job import check_job
from labelmill.check.provider import refuse_without_live_lane
from labelmill.compare.estimate import Estimate, estimate_of
from labelmill.compare.record import Comparison, comparison_of, write_comparison
from labelmill.compare.sample import Sample, draw_sample, write_sample
from labelmill.compare.strategies import WARM_UP, Strategy, ask_with, strategies_of
from labelmill.errors import JobRefused, Mistake
from labelmill.job.model import LabelJob
from labelmill.report.comparison import estimate_sentence, total_sentence
from labelmill.run.context import RunContext
from labelmill.run.open_run import open_output
from labelmill.run.optional import OptionalSteps, kept
from labelmill.run.runner import Runner
from labelmill.run.unreadable import name_unreadable, unreadable_mistakes
from labelmill.store.compaction import compact_ledgers

log = logging.getLogger(__name__)


def compare(  # noqa: PLR0913  (an option each)
    job: LabelJob,
    model_base_url: str | None = None,
    *,
    rows: int = 100,
    concurrency: Sequence[int] = (1, 2, 5),
    batch_wait_minutes: float = 10.0,
    runner: Runner | None = None,
) -> Comparison:
    """Ask the same texts by each strategy, and return time, cost, failures and agreement side by side.

    Args:
        job: its source is asked, with its labels, its model and its budget.
        model_base_url: sends the requests elsewhere, such as to a gateway.
        rows: how many distinct texts to ask by each strategy.
        concurrency: the levels of concurrency that `chain.batch` is tried at.
        batch_wait_minutes: how long to wait for the provider's Batch API; 0 leaves the batch lane out.
        runner: takes the steps; in this process, and nobody looks on, unless it is given.

    Raises:
        JobRefused: the job has mistakes, there is nothing to compare, or another run writes into the same output.
        CannotWrite: a file can't be written; what was paid is kept.
    """
    check_job(job, model_base_url)
    refuse_without_live_lane(job)
    runner = runner or Runner(job)
    with open_output(job, model_base_url) as context:
        strategies = strategies_of(job, concurrency, batch_wait_minutes, context.batch_price)
        with runner.watch(context):
            sample, estimate = runner.step("sample", partial(plan, context, strategies, rows))
            context.progress.enter("comparing", estimate.requests)
            receipts = [
                runner.step(
                    "compare", partial(ask_with, context, way, sample), f"compare {way.name}", asks=True
                )
                for way in (WARM_UP, *strategies)
                if way is WARM_UP or context.stop_signal.stopped is None
            ]
        comparison = comparison_of(context, sample.rows, estimate, receipts[1:], datetime.now(UTC))
        comparison = runner.step("publish", partial(publish, context, runner, comparison))
        compact_ledgers(context.folder.ledgers, context.ledger)
    return comparison


def plan(context: RunContext, strategies: Sequence[Strategy], rows: int) -> tuple[Sample, Estimate]:
    """Choose the texts, and say what asking them will cost.

    Raises:
        JobRefused: the source has no text.
    """
    drawn = draw_sample(context.digests, rows)
    name_unreadable(context)
    if context.files and not context.readable_files:
        raise JobRefused(unreadable_mistakes(context))
    if drawn.is_empty():
        raise JobRefused([Mistake("source.path", "no row has a text, so there is nothing to compare")])
    texts = drawn["text"].to_list()
    estimate = estimate_of(context.job, texts, strategies, context.price, context.batch_price)
    sentence = estimate_sentence(estimate, drawn.height, context.job.run, practice=context.practice)
    log.info("A comparison of %s", sentence)
    return write_sample(drawn, context.record_folder), estimate


def publish(context: RunContext, runner: Runner, comparison: Comparison) -> Comparison:
    """Write `compare.json`, then let the comparison be shown, which costs nothing of it.

    Returns:
        the record as it is on the disk.
    """
    folder, optional = context.record_folder, OptionalSteps()
    write_comparison(comparison, folder)
    optional.take_all("the comparison", partial(runner.shows, comparison), "shown")
    log.info("Compared %s", total_sentence(comparison))
    return kept(comparison, comparison, optional, partial(write_comparison, folder=folder))
