"""A run's summary, as a terminal shows it: rows, bill, labels with a few of their texts, where all of it is, what to do next."""

from collections.abc import Sequence
from functools import partial

from rich.cells import cell_len
from rich.console import Console
from rich.table import Table
from rich.text import Text

from commands.next_steps import NextStep, next_steps
from commands.terminal import console, shown
from labelmill.report.formatting import (
    STATUS_WORDS,
    bill_of,
    notices,
    percent,
    rows_of,
    said_of,
    shortened,
    visible,
)
from labelmill.report.samples import Samples, samples_of
from labelmill.run.optional import OptionalSteps
from labelmill.run.record import RunRecord
from labelmill.store.files import place_of
from labelmill.store.folder import OutputFolder

_SHOWN_LABELS = 20
_GAP = 2
"""Spaces between the columns of the labels."""
_FEWEST_CELLS = 12
"""Less of a name or of a text says nothing."""


def show(
    record: RunRecord,
    job_file: str | None = None,
    where: Console = console,
    *,
    more: Sequence[NextStep] = (),
) -> None:
    """Print a run's summary, and at its end what the run could not leave; no trouble with it ends the command.

    `job_file` is what the command was given, for what to do next; without it nothing is said of that but for `more`.
    """
    optional = OptionalSteps()
    optional.take("the summary", partial(_show_summary, record, job_file, more, where), None, "shown")
    for sentence in [*record.omissions, *optional.sentences]:
        said = partial(where.print, f"[yellow]{shown(sentence)}.[/]", soft_wrap=True)
        optional.take("the last notices", said, None, "shown")


def _show_summary(record: RunRecord, job_file: str | None, more: Sequence[NextStep], where: Console) -> None:
    """What comes from outside moves no cursor and opens no link."""
    where.print(
        f"\n[bold]{shown(record.job.name)}[/]: {STATUS_WORDS[record.status]}  [dim]{record.run_id}[/]",
        soft_wrap=True,
    )
    for notice in notices(record.model_copy(update={"notices": _known_before_the_end(record)})):
        where.print(f"[yellow]{shown(notice)}[/]", soft_wrap=True)
    where.print(facts_table([*rows_of(record), *bill_of(record)]))
    if record.labels:
        # What is no terminal may be a log, where no text belongs.
        labels = labels_table(record, where.width, has_texts=where.is_terminal)
        where.print("\n[bold]Labels[/]", labels, sep="\n")
    if record.failures or said_of(record):
        where.print()
    for kind, count in (record.failures or {}).items():
        where.print(f"[red]failed[/] {count:,} {shown(kind)}", soft_wrap=True)
    for whose, often, words in said_of(record):
        if words not in (record.message or ""):
            where.print(f"{whose}, {often}: {shown(words)}", soft_wrap=True)
    _show_places(record, where)
    for step in [*(next_steps(record, job_file) if job_file else []), *more]:
        where.print(f"\n{shown(step.sentence)}", soft_wrap=True)
        if step.line:
            # On one line whatever the width: it is there to be copied.
            where.print(Text(f"  {visible(step.line)}", style="bold"), soft_wrap=True)


def _show_places(record: RunRecord, where: Console) -> None:
    page = OutputFolder.of(record.job).run(record.run_id) / "report.html"
    places = [("labels", record.labeled_path), ("report", place_of(page) if page.exists() else None)]
    where.print("")
    failed = record.failed_paths or ([record.failed_path] if record.failed_path else [])
    for what, path in [*places, *(("failed", path) for path in failed)]:
        if path:
            # A path stays on one line, also one with a space in it.
            where.print(Text(f"{what}  {visible(path)}"), soft_wrap=True)


def facts_table(facts: Sequence[tuple[str, str]]) -> Table:
    """What a run came to, a line each; in little room the names are broken, and no number."""
    table = Table.grid(padding=(0, 2))
    longest = max(cell_len(word) for _, value in facts for word in value.split())
    table.add_column(overflow="fold")
    table.add_column(overflow="fold", min_width=longest)
    for what, value in facts:
        table.add_row(what, shown(value))
    return table


def labels_table(record: RunRecord, room: int, *, has_texts: bool = True) -> Table:
    """Each label with its rows and its share, those without rows too, and a few of its texts, each on one line."""
    optional = OptionalSteps()
    wanted = partial(samples_of, record) if has_texts else dict
    samples: Samples = optional.take("the sample texts", wanted, {}, "read")
    labels = list((record.labels or {}).items())
    more = labels[_SHOWN_LABELS:]
    rest = sum(count for _, count in more)
    rows = [(name, count, samples.get(name, ())) for name, count in labels[:_SHOWN_LABELS]]
    rows += [(f"and {len(more):,} more", rest, ())] if more else []
    # Rows and shares are whole whatever the labels are called; texts have the room that is left.
    names = [shortened(visible(name), max(_FEWEST_CELLS, room // 3)) for name, _, _ in rows]
    numbers = [(f"{count:,}", percent(count, record.rows_labeled)) for _, count, _ in rows]
    widths = [max(map(cell_len, column)) for column in (names, *zip(*numbers, strict=True))]
    left = room - sum(widths) - 3 * _GAP
    table = Table.grid(padding=(0, _GAP, 0, 0))
    table.add_column(no_wrap=True)
    for _ in range(2):
        table.add_column(justify="right", no_wrap=True)
    for name, (count, share), (_, _, texts) in zip(names, numbers, rows, strict=True):
        first, *others = [
            [Text(shortened(text, left), style="dim")] for text in texts if left >= _FEWEST_CELLS
        ] or [[]]
        table.add_row(Text(name), count, share, *first)
        for text in others:
            table.add_row("", "", "", *text)
    return table


def _known_before_the_end(record: RunRecord) -> list[str]:
    return [notice for notice in record.notices if notice not in record.omissions]
