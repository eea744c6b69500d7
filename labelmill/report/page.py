"""`report.html`: the report of a run as one page that opens without a network."""

from html import escape

from labelmill.report.wording import STATUS_WORDS, bill_of, notices, percent, rows_of
from labelmill.run.record import RunRecord

_STYLE = """
:root{color-scheme:light dark;--ink:#1d2433;--soft:#667085;--line:#e4e7ec;--bar:#3b6ea8;--back:#fff;--warn:#fff6e0}
@media(prefers-color-scheme:dark){:root{--ink:#e6e9ef;--soft:#98a2b3;--line:#344054;--bar:#6ea8e0;--back:#12161f;
--warn:#33290f}}
body{font:15px/1.5 system-ui,sans-serif;color:var(--ink);background:var(--back);max-width:46rem;margin:2rem auto;
padding:0 1rem}
h1{font-size:1.5rem;margin:0}h2{font-size:1.1rem;margin:1.8rem 0 .4rem}p.soft{color:var(--soft);margin:.2rem 0 1rem}
p.notice{background:var(--warn);border-left:4px solid #d9a514;padding:.6rem .8rem;border-radius:4px}
table{border-collapse:collapse;width:100%}td,th{padding:.3rem .5rem;border-bottom:1px solid var(--line);text-align:left}
td.number{text-align:right;font-variant-numeric:tabular-nums;white-space:nowrap}
td.bar{width:45%}td.bar svg{display:block;width:100%;height:12px}rect{fill:var(--bar)}
"""


def report_page(record: RunRecord) -> str:
    """A run's report as a self-contained HTML page. Everything from outside is escaped."""
    name = escape(record.job.name)
    finished = f"{record.finished_at_utc:%Y-%m-%d %H:%M} UTC"
    parts = [
        f"<h1>{name}: {STATUS_WORDS[record.status]}</h1>",
        f'<p class="soft">{escape(record.job.model.name)} · run {record.run_id} · {finished}</p>',
        *(f'<p class="notice">{escape(notice)}</p>' for notice in notices(record)),
        "<h2>Rows</h2>" + _table(rows_of(record)),
        "<h2>Bill of this run</h2>" + _table(bill_of(record)),
    ]
    if record.labels:
        parts.append("<h2>Labels</h2>" + _bars(record.labels, record.rows_labeled))
    if record.failures:
        parts.append("<h2>Failures</h2>" + _bars(record.failures, record.rows_failed))
    parts.append(
        f'<p class="soft">Labels in {escape(record.labeled_path)} · Labelmill {record.labelmill_version}</p>'
    )
    body = "\n".join(parts)
    return (
        f'<!doctype html>\n<html lang="en">\n<meta charset="utf-8">\n'
        f'<meta name="viewport" content="width=device-width">\n<title>{name}, {record.run_id}</title>\n'
        f"<style>{_STYLE}</style>\n{body}\n</html>\n"
    )


def _table(rows: list[tuple[str, str]]) -> str:
    cells = (
        f'<tr><td>{escape(what)}</td><td class="number">{escape(value)}</td></tr>' for what, value in rows
    )
    return f"<table>{''.join(cells)}</table>"


def _bars(counts: dict[str, int], whole: int) -> str:
    most = max(counts.values())
    rows = (
        f'<tr><td>{escape(name)}</td><td class="number">{count:,}</td><td class="number">{percent(count, whole)}</td>'
        f'<td class="bar"><svg viewBox="0 0 100 12" preserveAspectRatio="none">'
        f'<rect width="{100 * count / most:.1f}" height="12"/></svg></td></tr>'
        for name, count in counts.items()
    )
    return f"<table>{''.join(rows)}</table>"
