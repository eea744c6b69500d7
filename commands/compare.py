"""`labelmill compare`: the same texts sequentially, in batches and as a run asks them, side by side."""

import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.text import Text

from commands.log_lines import log_lines
from commands.questions import may_spend
from commands.run import EXIT_OTHER, ending_in_a_sentence, exit_code_of, read_job
from commands.server_check import end_without_server
from commands.steps import taken
from commands.terminal import console, output, print_json, shown
from labelmill.check.provider import answering_endpoint, refuse_without_live_lane
from labelmill.compare.estimate import Estimate, estimate_of
from labelmill.compare.record import Comparison
from labelmill.compare.sample import draw_sample
from labelmill.compare.strategies import strategies_of
from labelmill.dataset.digests import SourceDigests
from labelmill.dataset.source import source_files
from labelmill.dataset.template import read_template
from labelmill.errors import JobRefused, Mistake
from labelmill.job.model import LabelJob
from labelmill.providers.table import endpoint_of, price_of
from labelmill.report.comparison import (
    estimate_sentence,
    estimate_table,
    notices,
    strategies_table,
    total_sentence,
)
from labelmill.report.formatting import STATUS_WORDS, visible
from labelmill.report.progress_bar import CHECKING, progress_bar
from labelmill.store.files import shown_path
from labelmill.store.folder import COMPARISON, OutputFolder

MOST_AT_ONCE = 1000


@dataclass(frozen=True)
class Wanted:
    """What a comparison is to be: the flow's parameters beside the job."""

    rows: int
    concurrency: list[int]
    model_base_url: str | None
    batch_wait_minutes: float


def compare_job(  # noqa: PLR0913  (an option each)
    path: Path,
    *,
    rows: int,
    concurrency: str,
    max_cost_usd: float | None,
    model_base_url: str | None,
    batch_wait_minutes: float,
    yes: bool,
    as_json: bool,
) -> int:
    """Compare ways to ask for a job file's labels; returns the exit code."""
    with ending_in_a_sentence(), log_lines(quiet=console.is_terminal):
        wanted = Wanted(rows, levels_of(concurrency), model_base_url, batch_wait_minutes)
        with progress_bar(console, CHECKING):
            job = read_job(path, max_cost_usd, model_base_url)
            refuse_without_live_lane(job)
            answering_endpoint(job, model_base_url)  # before anything else is waited for
        if not _agreed(job, wanted, yes=yes):
            console.print("Nothing was asked.")
            return EXIT_OTHER
        comparison = compare(job, wanted)
    if as_json:
        print_json(comparison.model_dump_json(indent=2))
    show(comparison, output(as_json=as_json))
    return end_without_server(exit_code_of(comparison))


def levels_of(words: str) -> list[int]:
    """The levels of `--concurrency`, each once, in the order given.

    Raises:
        JobRefused: it is no list of numbers.
    """
    parts = [part.strip() for part in words.split(",")]
    if not all(part.isdecimal() and 1 <= int(part) <= MOST_AT_ONCE for part in parts):
        sentence = f"found {words!r}, expected numbers from 1 to {MOST_AT_ONCE} such as 1,2,5"
        raise JobRefused([Mistake("--concurrency", sentence)])
    return list(dict.fromkeys(map(int, parts)))


def compare(job: LabelJob, wanted: Wanted) -> Comparison:
    """Compare by a checked job, with a progress bar where there is a terminal.

    Raises:
        JobRefused: another run is writing into the same output.
    """

    def here() -> Comparison:
        from labelmill.pipeline.compare import compare as compare_here  # noqa: PLC0415  (what asks takes a second to import)

        return compare_here(job, **vars(wanted))

    def flow() -> Any:
        from flows.compare import compare_strategies  # noqa: PLC0415  (importing Prefect takes a second)
        from tasks.tags import run_tags  # noqa: PLC0415

        with run_tags(job.name):
            return compare_strategies(job, **vars(wanted), return_state=True)

    return taken(job, here, flow, _comparison_in)


def _comparison_in(folder: Path) -> Comparison | None:
    try:
        return Comparison.model_validate_json((folder / COMPARISON).read_bytes())
    except (OSError, ValueError):
        return None


def show(comparison: Comparison, where: Console) -> None:
    """Print a comparison's table."""
    where.print(
        f"\n[bold]{shown(comparison.job.name)}[/], strategies compared: {STATUS_WORDS[comparison.status]}  "
        f"[dim]{comparison.run_id}[/]",
        soft_wrap=True,
    )
    for notice in notices(comparison):
        where.print(f"[yellow]{shown(notice)}[/]", soft_wrap=True)
    where.print(strategies_table(comparison))
    record = OutputFolder.of(comparison.job).run(comparison.run_id) / COMPARISON
    where.print(
        f"{shown(total_sentence(comparison))}\nThe answers are in the ledger: a run won't ask for them again.",
        soft_wrap=True,
    )
    where.print(Text(f"record  {visible(shown_path(record))}"), soft_wrap=True)


def _agreed(job: LabelJob, wanted: Wanted, *, yes: bool) -> bool:
    """Say what it will cost; whether it may begin. What is paid needs a yes.

    Raises:
        JobRefused: there is no text to ask, or nobody to ask for a yes.
    """
    endpoint = endpoint_of(job.model, wanted.model_base_url)
    files, template = source_files(job.source.path, job.source.storage), read_template(job.source.text)
    with tempfile.TemporaryDirectory() as folder, progress_bar(console, "choosing texts"):
        drawn = draw_sample(SourceDigests(files, template, Path(folder)), wanted.rows)
    if drawn.is_empty():
        raise JobRefused([Mistake("source.path", "no row has a text, so there is nothing to compare")])
    price = price_of(job.model, job.price, endpoint.base_url)
    batch_price = price_of(job.model, job.price, endpoint.base_url, "batch")
    strategies = strategies_of(job, wanted.concurrency, wanted.batch_wait_minutes, batch_price)
    estimate = estimate_of(job, drawn["text"].to_list(), strategies, price, batch_price)
    sentence = estimate_sentence(estimate, drawn.height, job.run, practice=endpoint.practice)
    _show_estimate(estimate, sentence)
    if endpoint.practice or yes:
        return True
    return may_spend(sentence, "Continue?")


def _show_estimate(estimate: Estimate, sentence: str) -> None:
    console.print(estimate_table(estimate))
    console.print(shown(sentence), soft_wrap=True)
