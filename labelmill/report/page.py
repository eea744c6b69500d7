"""`report.html`: the report of a run as one page that opens without a network."""

import html
from collections.abc import Sequence

from labelmill.report.batch_words import BATCH_COLUMNS, batches_of
from labelmill.report.changes import LIMITS_NOTE, changes_of, examples_of, figures_of, gone_labels, limits_of
from labelmill.report.charts import XMLNS
from labelmill.report.findings import Findings, PastRun
from labelmill.report.formatting import (
    SAID_COLUMNS,
    STATUS_WORDS,
    bill_of,
    duration,
    notices,
    percent,
    prices_words,
    rows_of,
    said_of,
    usd,
    visible,
)
from labelmill.run.record import RunRecord

_STYLE = """
:root{color-scheme:light dark;--ink:#1d2433;--soft:#667085;--line:#e4e7ec;--back:#fff;--tile:#f6f7f9;--label:#3b6ea8;
--failure:#c4572e;--warn:#fff6e0;--good:#1a7f4b;--bad:#b3361e;--held:#8a6100}
@media(prefers-color-scheme:dark){:root{--ink:#e6e9ef;--soft:#98a2b3;--line:#344054;--back:#12161f;--tile:#1b212d;
--label:#6ea8e0;--failure:#e08a63;--warn:#33290f;--good:#5ec48f;--bad:#f08a70;--held:#e0b64a}}
body{font:15px/1.5 system-ui,sans-serif;color:var(--ink);background:var(--back);max-width:50rem;margin:2rem auto;
padding:0 1rem;overflow-wrap:anywhere}
h1{font-size:1.6rem;line-height:1.25;margin:0}h2{font-size:1.05rem;margin:1.9rem 0 .4rem}
.status{font-size:.9rem;font-weight:600;border:1px solid;border-radius:1rem;padding:.1rem .7rem;margin-left:.5rem;
vertical-align:.25em;white-space:nowrap;color:var(--bad)}
.status.completed{color:var(--good)}.status.budget_reached,.status.cancelled,.status.waiting{color:var(--held)}
.soft{color:var(--soft);margin:.2rem 0 1rem}footer.soft{margin:2rem 0}footer.soft,.price{font-size:.9rem}
.price{text-align:right}.price+.price{margin-top:-.8rem}
.notice{background:var(--warn);border-left:4px solid #d9a514;padding:.6rem .8rem;border-radius:4px}
.tiles{display:grid;grid-template-columns:repeat(auto-fit,minmax(10rem,1fr));gap:.8rem;margin-top:1.2rem}
.tile{background:var(--tile);border-radius:8px;padding:.7rem .9rem}.tile b{display:block;font-size:1.45rem;line-height:1.3}
.tile span{color:var(--soft);font-size:.9rem}
.columns{display:grid;grid-template-columns:repeat(auto-fit,minmax(19rem,1fr));gap:0 2.5rem;align-items:start}
table{border-collapse:collapse;width:100%}td{padding:.3rem .2rem;border-bottom:1px solid var(--line)}
td.part{padding-left:1.2rem;color:var(--soft)}
td.number{text-align:right;font-variant-numeric:tabular-nums;padding-left:1rem}
.facts td.number,.bars td.number{white-space:nowrap}.bars td.number{width:1%}
td.bar{width:50%;padding-left:1.2rem}td.bar svg{display:block;width:100%;height:12px}
th{text-align:right;font-weight:500;color:var(--soft);padding:.2rem .2rem .2rem 1rem}
th:first-child,.words th{text-align:left;padding-left:.2rem}.words td{vertical-align:top;padding-right:1rem}
.words{margin-top:1rem}.words td:first-child{white-space:nowrap}
.batches{margin-top:0}.batches td:first-child{white-space:normal;font-size:.9rem;width:48%;min-width:6rem}
.batches td:nth-child(2),.batches td:nth-child(3){white-space:nowrap}
.batches td:nth-child(3),.batches th:nth-child(3){text-align:right;padding-right:1rem}
.batches td:nth-child(4){overflow-wrap:break-word;min-width:6rem}
figure{margin:1.9rem 0 0}figcaption{font-weight:600;font-size:1.05rem;margin-bottom:.6rem}
figure svg{max-width:100%;height:auto}figure text{fill:var(--soft)}
.label rect{fill:var(--label)}.failure rect{fill:var(--failure)}
"""


NOTHING_MORE = Findings()
_MOST_GONE = 100


def report_page(record: RunRecord, findings: Findings = NOTHING_MORE) -> str:
    """A run's report as a self-contained HTML page. Everything from outside is escaped."""
    name = escaped(record.job.name)
    finished = f"{record.finished_at_utc:%Y-%m-%d %H:%M} UTC"
    parts = [
        f'<h1>{name} <span class="status {record.status}">{STATUS_WORDS[record.status]}</span></h1>',
        f'<p class="soft">{escaped(record.job.model.name)} · run {record.run_id} · {finished}</p>',
        *(f'<p class="notice">{escaped(notice)}</p>' for notice in notices(record)),
        _tiles(record),
        '<div class="columns">',
        f"<section><h2>Rows</h2>{_facts(rows_of(record))}</section>",
        f"<section><h2>Bill of this run</h2>{_facts(_bill_in_short(record))}</section>",
        "</div>",
        *(f'<p class="soft price">Price: {escaped(words)}</p>' for words in prices_words(record)),
    ]
    if findings.limits:
        parts.append("<h2>Budget</h2>" + _table(("limit", "at most", "spent", "used"), limits_of(findings)))
        parts.append(f'<p class="soft">{escaped(LIMITS_NOTE)}</p>')
    if record.batches:
        parts.append("<h2>Batches</h2>" + _table(BATCH_COLUMNS, batches_of(record), "words batches"))
    if record.labels:
        parts.append("<h2>Labels</h2>" + _bars(record.labels, sum(record.labels.values()), "label"))
    if findings.last:
        parts += _changes(record, findings.last)
    parts += [
        # In a page an SVG needs no namespace, and its words take the page's colour.
        f"<figure><figcaption>{escaped(words)}</figcaption>{svg.replace(XMLNS, '')}</figure>"
        for words, svg in figures_of(record, findings, has_bars=True)
    ]
    if record.failures:
        parts.append("<h2>Failures</h2>" + _bars(record.failures, sum(record.failures.values()), "failure"))
    if said := said_of(record):
        parts.append("<h2>What was said most often</h2>" + _table(SAID_COLUMNS, said, "words said"))
    if findings.examples:
        parts.append("<h2>Some of the failed rows</h2>")
        parts.append(_table(("kind", "text", "message"), examples_of(findings), "words"))
    parts.append(
        f'<footer class="soft">Labels in {escaped(record.labeled_path)} · '
        f"Labelmill {record.labelmill_version}</footer>"
    )
    body = "\n".join(parts)
    return (
        f'<!doctype html>\n<html lang="en">\n<meta charset="utf-8">\n'
        f'<meta name="viewport" content="width=device-width">\n<title>{name}, {record.run_id}</title>\n'
        f"<style>{_STYLE}</style>\n{body}\n</html>\n"
    )


def escaped(text: str) -> str:
    """Text from outside as plain text on the page: no tag, line break or direction switch survives."""
    return html.escape(visible(text))


def _tiles(record: RunRecord) -> str:
    """What most readers come for, in large."""
    tiles = [
        (
            percent(record.rows_labeled, record.rows_with_text),
            "of the rows with a text labeled" if record.rows_empty else "of the rows labeled",
        ),
        (f"{record.texts_asked:,}", "texts asked"),
        (usd(record.cost_usd), "cost, had it been paid" if record.practice else "cost of this run"),
        (duration(record.seconds), "time"),
    ]
    cells = (f'<div class="tile"><b>{escaped(value)}</b><span>{what}</span></div>' for value, what in tiles)
    return f'<div class="tiles">{"".join(cells)}</div>'


def _facts(rows: list[tuple[str, str]]) -> str:
    cells = (
        f'<tr><td{_part(what)}>{escaped(what)}</td><td class="number">{escaped(value)}</td></tr>'
        for what, value in rows
    )
    return f'<table class="facts">{"".join(cells)}</table>'


def _bill_in_short(record: RunRecord) -> list[tuple[str, str]]:
    """The bill without its one long line, which stands below it."""
    return [(what, value) for what, value in bill_of(record) if what != "price"]


def _table(head: tuple[str, ...], rows: Sequence[tuple[str, ...]], kind: str = "numbers") -> str:
    number = ' class="number"' if kind == "numbers" else ""
    titles = "".join(f"<th>{escaped(title)}</th>" for title in head)
    lines = (
        f"<tr><td>{escaped(row[0])}</td>{''.join(f'<td{number}>{escaped(cell)}</td>' for cell in row[1:])}</tr>"
        for row in rows
    )
    return f'<table class="{kind}"><tr>{titles}</tr>{"".join(lines)}</table>'


def _changes(record: RunRecord, last: PastRun) -> list[str]:
    heading = f"<h2>Since the last run ({last.started_at_utc:%Y-%m-%d %H:%M} UTC)</h2>"
    changes = [heading + _table(("", "last run", "this run", "change"), changes_of(record, last))]
    if gone := gone_labels(record, last):
        more = f" and {len(gone) - _MOST_GONE:,} more" if len(gone) > _MOST_GONE else ""
        changes.append(f'<p class="soft">No longer there: {escaped(", ".join(gone[:_MOST_GONE]))}{more}</p>')
    return changes


def _part(what: str) -> str:
    """Set in a row that is part of the one above it."""
    return ' class="part"' if what.startswith("of these") else ""


def _bars(counts: dict[str, int], whole: int, kind: str) -> str:
    most = max(counts.values()) or 1
    rows = (
        f'<tr><td>{escaped(name)}</td><td class="number">{count:,}</td><td class="number">{percent(count, whole)}</td>'
        f'<td class="bar"><svg viewBox="0 0 100 12" preserveAspectRatio="none" aria-hidden="true">'
        f'<rect width="{100 * count / most:.1f}" height="12"/></svg></td></tr>'
        for name, count in counts.items()
    )
    return f'<table class="bars {kind}">{"".join(rows)}</table>'
