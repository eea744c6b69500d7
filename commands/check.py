"""`labelmill check`: all of a run's checks, and nothing spent."""

from collections.abc import Iterator, Sequence
from pathlib import Path

from rich.console import Console
from rich.table import Table
from rich.text import Text

from commands.invocation import command, file_word
from commands.quiet import quiet_logs
from commands.run import ending_in_a_sentence, read_job
from commands.terminal import output, print_json, shown
from labelmill.check.dataset import check_columns
from labelmill.pipeline.forecast import Forecast, Limit, forecast
from labelmill.plural import counted
from labelmill.report.formatting import price_words, usd, visible


def check_job_file(
    path: Path, *, max_cost_usd: float | None, model_base_url: str | None, check_files: bool, as_json: bool
) -> int:
    """Check a job file as a run would, and say what a run of it would do; returns the exit code."""
    with ending_in_a_sentence(), quiet_logs():
        job = read_job(path, max_cost_usd, model_base_url)
        if check_files:
            check_columns(job, str(path))
        found = forecast(job, model_base_url)
    if as_json:
        print_json(found.model_dump_json(indent=2))
        return 0
    console = output()
    console.print(
        f"[green]{shown(str(path))} can run.[/] Nothing was asked, and nothing was spent.\n",
        soft_wrap=True,
    )
    show_facts(list(facts_of(found)), console)
    for notice in found.notices:
        console.print(f"[yellow]{shown(notice.rstrip('.'))}.[/]", soft_wrap=True)
    word = file_word(path)
    console.print("\nnext")
    for line in (command("preview", word), command("run", word)):
        # On one line whatever the width: it is there to be copied.
        console.print(Text(f"  {visible(line)}"), soft_wrap=True)
    return 0


def show_facts(facts: Sequence[tuple[str, str]], console: Console) -> None:
    """Print a short list: in a terminal lines end between words, in a file each fact has one line."""
    if not console.is_terminal:
        width = max(len(what) for what, _ in facts)
        for what, words in facts:
            console.print(f"{what:<{width}}  {shown(words)}", soft_wrap=True)
        return
    grid = Table.grid(padding=(0, 2))
    for what, words in facts:
        grid.add_row(what, shown(words))
    console.print(grid)


def facts_of(found: Forecast) -> Iterator[tuple[str, str]]:
    """What was checked and found, as (what, words)."""
    job, asking = found.job, found.asking
    is_settled = 0 < found.files == found.files_settled
    which = f"{counted(found.files_settled, 'file')} " if not is_settled else ""
    settled = f"; {which}labeled and unchanged" if found.files_settled else ""
    rows = "an unknown number of rows" if found.rows is None else counted(found.rows, "row")
    yield "source", f"{counted(found.files, 'file')}, {rows}{settled}"
    new = " in the other files" if found.files_settled else ""
    empty = f"; {counted(found.rows_empty, 'row')} without a text" if found.rows_empty else ""
    yield "texts", "none is new" if is_settled else f"{found.texts:,} different ones{new}{empty}"
    out = f", {found.texts_out:,} are in batches at the provider" if found.texts_out else ""
    if not is_settled:
        yield "known", f"{found.texts_known:,} need no request{out}"
    yield "to ask", counted(asking.texts, "text")
    yield "labels", f"{len(job.labels):,}: {', '.join(job.labels)}"
    yield "model", f"{job.model.name} ({job.model.provider}), {_LANES[job.run.lane]}"
    yield "endpoint", _endpoint_words(found)
    yield "price", price_words(found.price)
    yield "cost", cost_words_of(found)
    for limit in found.limits:
        yield "budget", _limit_words(limit)
    yield "output", job.output.path


_LANES = {
    "live": "on the live lane",
    "batch": "on the batch lane",
    "auto": "on the lane that the run chooses",
}
_SPANS = {"max_cost_usd": "run", "max_cost_usd_per_day": "UTC day", "max_cost_usd_per_month": "UTC month"}


def _limit_words(limit: Limit) -> str:
    spent = "" if limit.field == "max_cost_usd" else f", {usd(limit.spent_usd)} of it spent"
    return f"{usd(limit.limit_usd)} a {_SPANS[limit.field]} (run.{limit.field}){spent}"


def _endpoint_words(found: Forecast) -> str:
    if found.practice:
        return (
            f"{found.base_url or 'a practice provider on this machine, started by the run'}; nothing is paid"
        )
    where = found.base_url or "known to the model's class alone"
    return f"{where}; asked for its models, and nothing speaks against the key"


def cost_words_of(found: Forecast) -> str:
    """What a run would cost, about and at most."""
    asking, left = found.asking, found.left_usd
    if not asking.texts:
        return "nothing: no text is to be asked"
    if asking.cost_usd is None or asking.max_cost_usd is None:
        return "unknown, since the price is; a [price] section makes it known"
    about = f"about {usd(asking.cost_usd)} for about {asking.input_tokens:,} input tokens"
    if left is not None and left < asking.max_cost_usd:
        most = f"{usd(left)}, where the budget stops it"
    else:
        most = f"{usd(asking.max_cost_usd)}, if every answer were as long as it may be and every text were asked again and again"
    paid = " (practice: nothing is paid)" if found.practice else ""
    return f"{about}; at most {most}{paid}"
