"""Comparing: a task run per strategy, and the record for programs and for people."""

from typing import Any

from prefect import runtime, task
from prefect.artifacts import create_markdown_artifact
from prefect.cache_policies import NO_CACHE
from prefect.logging import get_run_logger

from labelmill.compare.estimate import Estimate, estimate_of
from labelmill.compare.record import Comparison, write_comparison
from labelmill.compare.sample import Sample, draw_sample, write_sample
from labelmill.compare.strategies import Strategy, StrategyReceipt, ask_with
from labelmill.errors import JobRefused, Mistake
from labelmill.report.comparison import comparison_report, estimate_sentence, total_sentence
from labelmill.report.markdown import escaped
from labelmill.run.label_run import LabelRun
from labelmill.run.live import live_run
from tasks.artifact_keys import artifact_key_of
from tasks.disk import disk_errors_as_sentences
from tasks.limits import shared_slot


def _name() -> str:
    parameters: dict[str, Any] = runtime.task_run.parameters
    return f"compare {parameters['strategy'].name}"


@task(name="sample", task_run_name="sample", retries=0, cache_policy=NO_CACHE)
@disk_errors_as_sentences
def plan_comparison(run: LabelRun, strategies: list[Strategy], rows: int) -> tuple[Sample, Estimate]:
    """Choose the texts, and say what asking them will cost.

    Raises:
        JobRefused: the source has no text.
    """
    drawn = draw_sample(run.files, run.template, rows)
    if drawn.is_empty():
        raise JobRefused([Mistake("source.path", "no row has a text, so there is nothing to compare")])
    live = live_run(run.run_id)
    estimate = estimate_of(run.job, drawn["text"].to_list(), strategies, live.price, live.batch_price)
    get_run_logger().info(
        "A comparison of %s", estimate_sentence(estimate, drawn.height, run.job.run, practice=run.practice)
    )
    return write_sample(drawn, run.record_folder), estimate


@task(name="compare", task_run_name=_name, retries=0, cache_policy=NO_CACHE)
@disk_errors_as_sentences
def ask_by_strategy(run: LabelRun, strategy: Strategy, sample: Sample) -> StrategyReceipt:
    """Ask the sample by one strategy and leave the answers in the ledger.

    With `run.shared_limit` a strategy holds one slot of that global concurrency limit; waiting for it is not measured.
    """
    with shared_slot(run.job):
        return ask_with(live_run(run.run_id), strategy, sample)


@task(name="publish", task_run_name="publish", retries=0, cache_policy=NO_CACHE)
@disk_errors_as_sentences
def publish_comparison(run: LabelRun, comparison: Comparison) -> None:
    """Write `compare.json`, then show the comparison in Prefect."""
    write_comparison(comparison, run.record_folder)
    name = comparison.job.name
    create_markdown_artifact(
        comparison_report(comparison),
        key=f"{artifact_key_of(name)}-compare",
        description=f"Strategies compared for {escaped(name)}",
    )
    get_run_logger().info("Compared %s", total_sentence(comparison))
