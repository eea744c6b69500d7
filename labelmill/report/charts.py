"""Charts of a run as small SVG images, made by hand.

Each works on a light and on a dark background: its colours lie between the two, and it has no background of its own.
Every text from outside is shortened and escaped.
"""

import html
from collections.abc import Mapping, Sequence

from labelmill.report.formatting import seconds_words, shortened, usd, visible

INK = "#76839a"
NOW = "#4a86c5"
BEFORE = "#a3adbd"
XMLNS = ' xmlns="http://www.w3.org/2000/svg"'
_WIDTH = 640
_MOST_LABELS = 12
_LABEL_CELLS = 22
_NAME_CELLS = 28
_ROW = 30
_PLOT_HEIGHT = 120
_MOST_RUNS = 30
_FEWEST_PLACES = 10


def labels_chart(now: Mapping[str, int], before: Mapping[str, int] | None = None) -> str:
    """Each label's share of the labeled rows as a bar, with the last run's share as a thin bar below it.

    The largest labels of this run are shown. What the others add up to is told in words: as a bar it would dwarf the rest.
    """
    shares, earlier = _shares(now), _shares(before or {})
    shown = sorted(shares, key=lambda label: -shares[label])[:_MOST_LABELS]
    rows = [(shortened(label, _LABEL_CELLS), shares[label], earlier.get(label, 0.0)) for label in shown]
    longest = max((share for row in rows for share in row[1:]), default=0) or 1
    # To the right of the longest bar there is room for "100.0% (+100.0 pp)".
    left, room = 180, 320
    parts = []
    for index, (label, share, was) in enumerate(rows):
        y = index * _ROW
        parts += [_text(left - 8, y + 15, label, "end"), _rect(left, y + 4, room * share / longest, 14, NOW)]
        if earlier:
            parts.append(_rect(left, y + 20, room * was / longest, 4, BEFORE))
        parts.append(
            _text(left + room * share / longest + 6, y + 15, _share_words(share, was if earlier else None))
        )
    if hidden := len(shares) - len(shown):
        rest = max(0.0, 1 - sum(share for _, share, _ in rows))
        was = max(0.0, 1 - sum(was for _, _, was in rows))
        words = _share_words(rest, was if earlier else None)
        parts += [_text(left - 8, len(rows) * _ROW + 15, f"{hidden:,} more", "end")]
        parts += [_text(left, len(rows) * _ROW + 15, f"together {words}")]
    height = (len(rows) + bool(hidden)) * _ROW
    legend = (
        "wide: this run, thin: the last run; pp: percentage points" if earlier else "share of labeled rows"
    )
    return _svg([*parts, _text(left, height + 14, legend)], height + 22, "Labels")


def _share_words(share: float, was: float | None) -> str:
    return f"{share:.1%}" + ("" if was is None else f" ({points_words(share - was)})")


def costs_chart(costs: Sequence[tuple[str, float | None]]) -> str:
    """What each of the last runs cost, in USD, as (when, how much), the oldest first; the last one stands out.

    A cost that is unknown is a question mark and not a bar of no height.
    """
    costs = costs[-_MOST_RUNS:]
    most = max((cost for _, cost in costs if cost is not None), default=0)
    step, top = (_WIDTH - 20) / max(_FEWEST_PLACES, len(costs)), 22
    base = top + _PLOT_HEIGHT
    parts = [_text(10, 12, f"most: {usd(most)}"), _rect(10, base, _WIDTH - 20, 1, BEFORE)]
    for index, (_, cost) in enumerate(costs):
        x = 10 + index * step
        if cost is None:
            parts.append(_text(x + step / 2, base - 4, "?", "middle"))
            continue
        height = max(1.0, _PLOT_HEIGHT * cost / most) if cost else 0.0
        parts.append(
            _rect(x + 2, base - height, step - 4, height, NOW if index == len(costs) - 1 else BEFORE)
        )
    if costs:
        last = 10 + len(costs) * step
        parts.append(_text(10, base + 16, costs[0][0]))
        if len(costs) >= _FEWEST_PLACES / 2:
            parts.append(_text(last, base + 16, costs[-1][0], "end"))
        parts.append(_text(_WIDTH - 10, 12, f"this run: {usd(costs[-1][1])}", "end"))
    return _svg(parts, base + 24, "Cost per run")


def seconds_chart(bins: Sequence[tuple[float, int]]) -> str:
    """How long answers took: a histogram of (upper end in seconds, answers); the last bin takes all that is longer."""
    most = max((count for _, count in bins), default=0) or 1
    step, top = (_WIDTH - 20) / max(1, len(bins)), 22
    base = top + _PLOT_HEIGHT
    parts = [_text(10, 12, f"most in one bar: {most:,} answers"), _rect(10, base, _WIDTH - 20, 1, BEFORE)]
    for index, (upper, count) in enumerate(bins):
        height = max(1.0, _PLOT_HEIGHT * count / most) if count else 0.0
        parts.append(_rect(10 + index * step + 1, base - height, step - 2, height, NOW))
        if index % 5 == 4:  # noqa: PLR2004  (every fifth bar has room for words)
            is_last = index == len(bins) - 1
            words = f"{seconds_words(bins[index - 1][0])} +" if is_last else seconds_words(upper)
            parts.append(_text(10 + (index + 1) * step, base + 16, words, "end"))
    return _svg(parts, base + 24, "Seconds to an answer")


def rates_chart(rates: Sequence[tuple[str, float | None, str]], title: str) -> str:
    """How fast some things are as bars, each with its words; the first is what the others are compared with.

    A rate that is unknown has no bar.
    """
    fastest = max((rate for _, rate, _ in rates if rate is not None), default=0) or 1
    left, room = 180, 300
    parts = []
    for index, (name, rate, words) in enumerate(rates):
        y, width = index * _ROW, room * (rate or 0) / fastest
        parts.append(_text(left - 8, y + 19, shortened(name, _NAME_CELLS), "end"))
        parts.append(_rect(left, y + 8, width, 14, NOW if index else BEFORE))
        parts.append(_text(left + width + 6, y + 19, words))
    return _svg(parts, len(rates) * _ROW + 8, title)


def points_words(difference: float) -> str:
    """A difference of two shares in percentage points: `+1.2 pp`; `±0` where it would be rounded to nothing."""
    words = f"{difference * 100:+.1f}"
    return "±0" if words in {"+0.0", "-0.0"} else f"{words} pp"


def _shares(counts: Mapping[str, int]) -> dict[str, float]:
    whole = sum(counts.values())
    return {label: count / whole if whole else 0.0 for label, count in counts.items()}


def _svg(parts: Sequence[str], height: float, title: str) -> str:
    return (
        f'<svg{XMLNS} viewBox="0 0 {_WIDTH} {height:.0f}" width="{_WIDTH}" height="{height:.0f}" role="img" '
        f'font-family="system-ui,sans-serif" font-size="12"><title>{title}</title>{"".join(parts)}</svg>'
    )


def _rect(x: float, y: float, width: float, height: float, fill: str) -> str:
    return f'<rect x="{x:.1f}" y="{y:.1f}" width="{width:.1f}" height="{height:.1f}" fill="{fill}"/>'


def _text(x: float, y: float, words: str, anchor: str = "start") -> str:
    at = "" if anchor == "start" else f' text-anchor="{anchor}"'
    return f'<text x="{x:.1f}" y="{y:.1f}" fill="{INK}"{at}>{html.escape(visible(words))}</text>'
