"""`labelmill preview`: the prompt as it is sent, and the labels of a few texts."""

import json
from collections.abc import Mapping
from pathlib import Path

from rich.cells import cell_len
from rich.console import Console
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from commands.invocation import command, file_word
from commands.questions import may_spend
from commands.quiet import quiet_logs
from commands.run import EXIT_OTHER, ending_in_a_sentence, exit_code_of, read_job
from commands.terminal import console, shown
from labelmill.job.model import LabelJob
from labelmill.pipeline.forecast import Asking
from labelmill.pipeline.preview import (
    Preview,
    PreviewPlan,
    SentPrompt,
    TextAnswer,
    plan_preview,
    preview,
)
from labelmill.plural import counted
from labelmill.report.formatting import (
    ending_notice,
    money,
    price_notice,
    shortened,
    unseen_notice,
    usd,
    visible,
)
from labelmill.report.progress_bar import progress_bar

_WIDTH_OF_A_FILE = 180
"""Columns for a table that goes into a file or a pipe."""
_INDENT = 2
_LEAST_TEXT = 16
_MOST_LABEL = 40
_ORIGIN_COLUMNS = 8
_BORDERS = 10


def preview_job(  # noqa: PLR0913  (an option each)
    path: Path,
    *,
    rows: int,
    prompt_only: bool,
    max_cost_usd: float | None,
    model_base_url: str | None,
    yes: bool,
) -> int:
    """Preview a job file; returns the exit code. What is asked stays in the ledger."""
    out = Console(highlight=False)
    if not out.is_terminal:
        out = Console(highlight=False, width=_WIDTH_OF_A_FILE)
    record, asked = None, None
    with ending_in_a_sentence(), quiet_logs():
        job = read_job(path, max_cost_usd, model_base_url)
        plan = plan_preview(job, model_base_url, rows=0 if prompt_only else rows)
        show_prompt(plan.prompt, plan.job, out)
        if plan.texts.is_empty():
            return 0
        if plan.asking.texts:
            if not _agreed(plan, yes=yes):
                console.print("nothing was asked")
                return EXIT_OTHER
            with progress_bar(console, "opening the output"):
                record, asked = preview(plan, model_base_url)
    show_labels(plan, asked, out)
    if record is not None:
        _show_bill(record, out)
    else:
        out.print("Nothing had to be asked, and nothing was spent.", soft_wrap=True)
    out.print(f"next  {shown(command('run', file_word(path)))}", soft_wrap=True)
    return 0 if record is None else exit_code_of(record)


def show_prompt(prompt: SentPrompt, job: LabelJob, out: Console) -> None:
    """Print a request as it is sent, for the first text."""
    model = f"{shown(job.model.name)} ({shown(job.model.provider)})"
    out.print(f"[bold]What is sent[/] to {model} for the first text\n", soft_wrap=not out.is_terminal)
    for role, words in prompt.messages:
        out.print(f"[bold]{shown(role)}[/]")
        for line in words.split("\n"):
            _print_indented(line, out)
    if prompt.fields:
        out.print("[bold]fields[/]")
        for name, value in prompt.fields.items():
            out.print(f"  {shown(name)} = {shown(json.dumps(value, ensure_ascii=False))}", soft_wrap=True)
    for name, value in job.model.headers.items():
        out.print(f"  header {shown(name)}: {shown(value)}", soft_wrap=True)
    out.print()


def _print_indented(line: str, out: Console) -> None:
    """Print a line of a message: in a terminal all that it takes is indented, in a file it has one line."""
    if out.is_terminal:
        out.print(Padding.indent(Text(visible(line)), _INDENT))
    else:
        out.print(Text(" " * _INDENT + visible(line)), soft_wrap=True)


def show_labels(plan: PreviewPlan, asked: Mapping[str, TextAnswer] | None, out: Console) -> None:
    """Print a table of text and label. A label is never cut off; a text takes the room that is left."""
    answers = plan.answers(asked)
    labels = [_label_of(answer) for _, answer, _ in answers]
    for_label = min(_MOST_LABEL, max(cell_len("label"), *map(cell_len, labels)))
    for_text = max(_LEAST_TEXT, out.width - for_label - _ORIGIN_COLUMNS - _BORDERS)
    table = Table()
    table.add_column("text", no_wrap=True)
    table.add_column("label", overflow="fold", max_width=_MOST_LABEL)
    table.add_column("from", no_wrap=True)
    for (text, answer, is_new), label in zip(answers, labels, strict=True):
        origin = "–" if not (answer.is_final or answer.failure) else "now" if is_new else "ledger"
        table.add_row(Text(shortened(visible(text), for_text)), Text(label), origin)
    out.print(table)
    for words in dict.fromkeys(
        f"{answer.failure}: {answer.message}" for _, answer, _ in answers if answer.message
    ):
        out.print(f"[red]failed[/] {shown(words)}", soft_wrap=not out.is_terminal)


def _label_of(answer: TextAnswer) -> str:
    if answer.label is not None:
        return visible(answer.label)
    if answer.failure is not None:
        return f"({answer.failure})"
    return "(in a batch)" if answer.is_in_batch else "(not asked)"


def _show_bill(record: Preview, out: Console) -> None:
    notices = [*ending_notice(record), *(f"{notice.rstrip('.')}." for notice in record.notices)]
    if record.price is None and record.requests:
        notices.append(price_notice(record))
    if record.practice and record.labeled:
        notices.append(
            "Practice: these labels come from Labelmill's practice provider, which is not a language model. Nothing was "
            f"paid. The cost is what {record.job.model.name} would have cost."
        )
    for notice in [*notices, *unseen_notice(record.requests_without_usage, record.unseen_usd)]:
        out.print(f"[yellow]{shown(notice)}[/]", soft_wrap=not out.is_terminal)
    out.print(
        f"{counted(record.requests, 'request')}, {record.input_tokens:,} input tokens, {record.output_tokens:,} output "
        f"tokens, cost {money(record.cost_usd, record)}. The answers are in the ledger: a run does not ask for them again.",
        soft_wrap=not out.is_terminal,
    )


def _agreed(plan: PreviewPlan, *, yes: bool) -> bool:
    """Say what asking costs; whether it may begin. What is paid needs a yes.

    Raises:
        JobRefused: there is nobody to ask for one.
    """
    sentence = asking_words(plan.asking, plan)
    console.print(shown(sentence), soft_wrap=not console.is_terminal)
    if plan.practice or yes:
        return True
    return may_spend(sentence, "Ask them?")


def asking_words(asking: Asking, plan: PreviewPlan) -> str:
    """What is to be asked and what it costs, and which of the job's limits stop it."""
    if asking.cost_usd is None:
        cost = "the cost is unknown, since the model's price is; a [price] section makes it known"
    else:
        cost = f"about {usd(asking.cost_usd)}, at most {usd(asking.max_cost_usd)}"
    if plan.practice:
        cost += " (practice: nothing is paid)"
    run = plan.job.run
    limits = [
        f"{name} = {value}"
        for name in ("max_cost_usd", "max_cost_usd_per_day", "max_cost_usd_per_month")
        if (value := getattr(run, name)) is not None
    ]
    held = f"; it stops at {' and '.join(limits)}" if limits else ""
    return f"{asking.texts:,} of {counted(plan.texts.height, 'text')} to ask: {cost}{held}"
