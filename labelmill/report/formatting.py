"""What people read of a run, the same in every report: numbers, notices, rows and bill, batches, progress."""

import re
import unicodedata
from collections.abc import Callable, Mapping
from decimal import Decimal
from typing import Any

from labelmill.live.progress import BatchSeen, Snapshot
from labelmill.plural import are_counted, counted
from labelmill.run.causes import times
from labelmill.run.record import BatchFacts, Record, RunRecord
from labelmill.store.files import place_of
from labelmill.store.folder import OutputFolder

_UNSEEN = re.compile(
    r"[\x00-\x1f\x7f-\x9f\u061c\u180e\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\ud800-\udfff\ufeff\ufff9-\ufffb\ufffe\uffff]"
)
"""Control characters, switches of direction, lone surrogates, spaces without width; joiners are part of a word."""
_CENT = Decimal("0.01")
_SIGNIFICANT_DIGITS = 4
BAR_CELLS = 20
"""How long the longest bar of block characters is, where there is room."""

STATUS_WORDS = {
    "running": "running",
    "completed": "completed",
    "waiting": "waiting for batches",
    "budget_reached": "stopped at the budget",
    "too_many_failures": "too many failures",
    "files_unreadable": "some files can't be read",
    "failed": "failed",
    "cancelled": "cancelled",
}


def visible(text: str) -> str:
    """Text from outside on one line and in its own direction: what can't be seen becomes a space."""
    return _UNSEEN.sub(" ", text)


def shortened(text: str, cells: int) -> str:
    """Text cut to a width, with an ellipsis where something is left out; a Chinese character takes two cells."""
    width = 0
    for index, letter in enumerate(text):
        width += 2 if unicodedata.east_asian_width(letter) in "WF" else 1
        if width > cells:
            return text[: max(0, index - 1)].rstrip() + "…"
    return text


def bar(count: float, most: float, cells: int = BAR_CELLS) -> str:
    """A bar of block characters; anything above zero shows at least one block."""
    return "█" * (max(1, round(cells * count / most)) if count else 0)


def usd(amount: float | Decimal | None) -> str:
    """An amount of money: `$1.25`, `$0.0000795`, or `unknown`; never rounded to nothing."""
    return "unknown" if amount is None else f"${_figure(amount)}"


def _figure(amount: float | Decimal) -> str:
    exact = Decimal(str(amount))
    if exact == 0 or exact >= 1:
        return f"{exact:,.2f}"
    digits = _SIGNIFICANT_DIGITS - 1 - exact.adjusted() if exact < _CENT else _SIGNIFICANT_DIGITS
    whole, _, fraction = f"{exact:.{digits}f}".partition(".")
    return f"{whole}.{fraction.rstrip('0'):0<2}"


def in_currency(amount: float | None, code: str) -> str:
    """An amount in another currency than USD: `0.0854 CNY`."""
    return "unknown" if amount is None else f"{_figure(amount)} {code}"


def money(amount: float | None, record: Record) -> str:
    """An amount of a record's: in USD, and in the currency that its job is paid in: `$0.012 (0.0854 CNY)`."""
    currency = record.currency
    if amount is None or currency is None:
        return usd(amount)
    return f"{usd(amount)} ({in_currency(amount * currency.usd_rate, currency.code)})"


def percent(part: int | None, whole: int | None) -> str:
    """A share in percent; a dash of nothing and of what is unknown."""
    return "–" if part is None or not whole else f"{part / whole:.1%}"


def percent_of(part: float, whole: float) -> str:
    """A share of an amount in percent; a dash of nothing."""
    return f"{part / whole:.1%}" if whole else "–"


def count(number: int | None) -> str:
    """A number of things; a dash where it is unknown."""
    return "–" if number is None else f"{number:,}"


def cost_of_record(record: RunRecord) -> str:
    """A record's cost, as `cost_words`, in the currency that its job is paid in too."""
    if record.cost_usd is None and record.cost_known_usd:
        return f"unknown, {money(record.cost_known_usd, record)} or more"
    return money(record.cost_usd, record)


def cost_words(cost_usd: float | None, known_usd: float | None) -> str:
    """A cost; an unknown one with what is known of it, where anything is: `unknown, $0.12 or more`."""
    return f"unknown, {usd(known_usd)} or more" if cost_usd is None and known_usd else usd(cost_usd)


def duration(seconds: float | None) -> str:
    """A length of time: `4.2 s`, `3 min 20 s`, `2 h 05 min`."""
    if seconds is None:
        return "–"
    if seconds < 60:  # noqa: PLR2004  (a minute has 60 seconds)
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest:02d} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60:02d} min"  # noqa: PLR2004


def seconds_words(seconds: float) -> str:
    """A short time: `85 ms`, `1.2 s`, `45 s`, `3 min 20 s`."""
    if seconds < 1:
        return f"{seconds * 1000:.0f} ms"
    return duration(seconds) if seconds < 10 or seconds >= 60 else f"{seconds:.0f} s"  # noqa: PLR2004


def notices(record: RunRecord) -> list[str]:
    """What must be said beside a run's numbers so that nobody takes them for more than they are."""
    said = ending_notice(record)
    said += [f"{notice.rstrip('.')}." for notice in record.notices]
    if record.texts_out and record.status != "waiting":
        are = are_counted(record.texts_out, "text")
        said.append(
            f"{are} in batches at the provider, which keep running. The next run harvests what is done."
        )
    if record.practice and record.rows_labeled:
        said.append(
            "Practice: these labels come from Labelmill's practice provider, which is not a language model. Nothing "
            f"was paid. Tokens are its own estimate, and the cost is what {record.job.model.name} would have cost."
        )
    if record.practice and record.labeled_path == place_of(OutputFolder.of(record.job).practice_labeled):
        said.append(
            "This rehearsal's labels are in a folder of their own: labeled/ holds those of a model, and stays as it is."
        )
    if record.price is None and record.requests:
        said.append(price_notice(record))
    elif record.batch_price is None and record.texts_by_batch:
        said.append(
            f"The Batch API's price of {record.job.model.name} is unknown, so the cost is unknown. Add a [price] section "
            "with batch_fraction to the job."
        )
    if record.other_tasks_cost_usd != 0:
        said.append(
            f"{usd(record.other_tasks_cost_usd)} of the cost is for batches sent with an earlier prompt, label set or model. "
            "What was finished of them is in the ledger of their own task."
        )
    return said + unseen_notice(record.requests_without_usage, record.unseen_usd)


def ending_notice(record: Record) -> list[str]:
    """How a run or a comparison ended; nothing where it completed."""
    return [f"How it ended: {record.message.rstrip('.')}."] if record.message else []


def price_notice(record: Record) -> str:
    """What is to be said where the model's price is unknown."""
    return (
        f"The price of {record.job.model.name} is unknown, so the cost is unknown, not zero. "
        "Add a [price] section to the job, with what you pay or with the name that the model is listed under."
    )


def unseen_notice(requests: int, unseen_usd: float | None) -> list[str]:
    """What is to be said of requests that may have been paid and whose tokens nobody saw; nothing where there are none."""
    if not requests:
        return []
    cost = f"a cost of at most {usd(unseen_usd)}" if unseen_usd else "an unknown cost"
    said = (
        f"{counted(requests, 'request')} ended without a token count (a timeout, a broken connection, a provider that sends "
        f"none), at {cost}. The budget counts it as spent; the tokens and the cost shown leave it out."
    )
    return [said]


SAID_COLUMNS = ("whose words", "how often", "what was said")


def said_of(record: RunRecord) -> list[tuple[str, str, str]]:
    """What was said to texts that got no label, the most frequent first, as (whose words, how often, what)."""
    parts = [("provider", record.provider_messages), ("wrong answer", record.wrong_answers)]
    return [(whose, times(said.count), said.text) for whose, messages in parts for said in messages]


def prices_words(record: RunRecord) -> list[str]:
    """The prices a run was counted at, one for each lane that it used, and where they come from."""
    if not record.texts_by_batch:
        return [price_words(record.price)]
    words = [f"{price_words(record.batch_price)}, on the batch lane"]
    # A text that a batch tried in vain may have been answered live; only live answers are timed.
    if record.texts_by_batch < record.texts_asked or record.answer_seconds is not None:
        words.append(f"{price_words(record.price)}, live")
    return words


def price_words(price: Mapping[str, Any] | None) -> str:
    """One price, and where it comes from."""
    if price is None:
        return "unknown"
    kinds = ("input", "cached_input", "output")
    if "currency" in price:
        shown = [in_currency(price[f"{kind}_per_mtok"], price["currency"]) for kind in kinds]
    else:
        rates = [price[f"{kind}_usd_per_mtok"] for kind in kinds]
        if None in rates:
            return f"in tiers ({price['source']})"
        shown = [usd(rate) for rate in rates]
    return f"{shown[0]} in, {shown[1]} cached in, {shown[2]} out per million tokens ({price['source']})"


def rows_of(record: RunRecord) -> list[tuple[str, str]]:
    """A run's rows, as (what, how many)."""
    share = percent(record.rows_labeled, record.rows_with_text)
    unreadable = (
        [("unreadable (in files left out)", count(record.rows_unreadable))] if record.unreadable_files else []
    )
    return [
        ("rows in the dataset", count(record.rows_total)),
        (
            "labeled",
            f"{count(record.rows_labeled)} ({share}{_whole_words(record)})",
        ),
        ("of these from earlier runs", count(record.rows_reused)),
        ("failed", count(record.rows_failed)),
        ("pending", count(record.rows_pending)),
        ("empty (no text)", count(record.rows_empty)),
        *unreadable,
    ]


def _whole_words(record: RunRecord) -> str:
    """What a share of the labeled rows is of, where it isn't all rows."""
    with_text = " with a text" if record.rows_empty else ""
    if record.rows_unreadable:
        return f" of the readable rows{with_text}"
    return f" of those{with_text}" if with_text else ""


def labeled_words(record: RunRecord) -> str:
    """How many rows have a label, in a few words: `87 of 100 rows labeled, 13 empty`."""
    others = {"empty": record.rows_empty, "unreadable": record.rows_unreadable}
    words = "".join(f", {rows:,} {name}" for name, rows in others.items() if rows)
    return f"{count(record.rows_labeled)} of {count(record.rows_total)} rows labeled{words}"


def bill_of(record: RunRecord) -> list[tuple[str, str]]:
    """A run's bill, as (what, how much)."""
    paid = "" if not record.practice else ", had it been paid"
    return [
        ("texts asked", f"{record.texts_asked:,}"),
        *([("of these on the batch lane", f"{record.texts_by_batch:,}")] if record.texts_by_batch else []),
        ("requests", f"{record.requests:,}"),
        ("input tokens", f"{record.input_tokens:,}"),
        ("of these cached", f"{record.cached_input_tokens:,}"),
        *_descriptions(record),
        ("output tokens", f"{record.output_tokens:,}"),
        *([("of these thoughts", f"{record.reasoning_tokens:,}")] if record.reasoning_tokens else []),
        (f"cost{paid}", cost_of_record(record)),
        *_saving(record),
        ("cost per 1,000 labels", _per_thousand(record)),
        *_exchange_rate(record),
        *[("price", words) for words in prices_words(record)],
        ("time", duration(record.seconds)),
        *_answer_times(record),
    ]


def _descriptions(record: RunRecord) -> list[tuple[str, str]]:
    """The part of the input that was what the labels mean; it is an estimate."""
    if not record.description_tokens:
        return []
    share = percent(record.description_tokens, record.input_tokens)
    return [("of these for descriptions", f"about {record.description_tokens:,} ({share})")]


def _per_thousand(record: RunRecord) -> str:
    """What a thousand labels cost in this run, with all that was paid for them; a dash where it has made none."""
    if not record.texts_labeled:
        return "–"
    return money(None if record.cost_usd is None else record.cost_usd * 1000 / record.texts_labeled, record)


def _exchange_rate(record: RunRecord) -> list[tuple[str, str]]:
    """At which rate amounts in another currency are told, and of which day that is."""
    told = record.currency
    return [("exchange rate", f"$1 = {told.usd_rate:g} {told.code} on {told.usd_rate_date}")] if told else []


def _saving(record: RunRecord) -> list[tuple[str, str]]:
    """What the live lane would have cost, where the batch lane was used at all."""
    if not record.texts_by_batch:
        return []
    cost, live = record.cost_usd, record.live_cost_usd
    rows = [("the same on the live lane", money(live, record))]
    if cost is not None and live:
        rows.append(("saved by the batch lane", f"{usd(live - cost)} ({percent_of(live - cost, live)})"))
    return rows


def _answer_times(record: RunRecord) -> list[tuple[str, str]]:
    if record.answer_seconds is None:
        return []
    took = record.answer_seconds
    return [
        ("answer time, median", seconds_words(took.p50)),
        ("answer time, 95th percentile", seconds_words(took.p95)),
    ]


BATCH_COLUMNS = ("batch", "status", "texts", "what became of it")
_MOST_BATCH_ROWS = 100
MESSAGE_CELLS = 160
"""The width that a message of the provider's gets in a table."""

_ENDED_EARLY = {"expired", "cancelled"}
_BECAME = {
    "intended": "not sent; its texts are asked again",
    "creating": "not confirmed yet; the next run looks for it at the provider",
    "sent": "at the provider; the next run harvests it",
    "harvesting": "done but not fetched yet; the next run fetches it",
    "harvested": "its answers are in the ledger",
    "dropped": "nothing came of it, and nothing was paid",
}
_HARVESTED_EARLY = "what was finished is in the ledger; the rest was not asked"


def batches_of(record: RunRecord) -> list[tuple[str, str, str, str]]:
    """A run's batches, the earliest first, as (the provider's id, its status, texts, what became of it)."""
    rows = [
        (
            batch.batch_id or batch.name,
            (batch.status or "–").replace("_", " "),
            count(batch.texts),
            _became(batch, record.run_id),
        )
        for batch in record.batches[:_MOST_BATCH_ROWS]
    ]
    if more := record.batches[_MOST_BATCH_ROWS:]:
        rows.append((f"{len(more):,} more", "–", count(sum(batch.texts for batch in more)), "–"))
    return rows


def _became(batch: BatchFacts, run_id: str) -> str:
    words = _BECAME.get(batch.step, batch.step)
    if batch.step == "harvested" and batch.status in _ENDED_EARLY:
        words = _HARVESTED_EARLY
    if batch.run_id != run_id:
        words = f"{words} (sent by run {batch.run_id})"
    return f"{words}: {shortened(batch.message, MESSAGE_CELLS)}" if batch.message else words


MOST_BATCHES = 10
"""Batches that a line of progress tells one by one."""


def progress_line(now: Snapshot, shown: Callable[[str], str] = visible) -> str:
    """Where a run stands: texts done, rate, cost so far, time left; why nothing is sent, if so; then each batch that is out.

    `shown` makes the provider's words fit to be shown.
    """
    pause = [now.pause] if now.pause else []
    return "; ".join([_counts_line(now), *pause, *batch_lines(now, shown)])


def _counts_line(now: Snapshot) -> str:
    if not now.texts:
        is_idle = now.texts is not None and not now.batches
        return f"{now.phase}: nothing to ask" if is_idle else now.phase
    words = [
        f"{now.phase}: {now.done:,} of {now.texts:,} texts ({percent(now.done, now.texts)})",
        f"{now.texts_per_second:.1f} a second",
        f"{usd(now.cost_usd)} so far",
    ]
    if now.failed:
        words.append(f"{now.failed:,} failed")
    if now.seconds_left:
        words.append(f"{duration(now.seconds_left)} left")
    return ", ".join(words)


def batch_lines(now: Snapshot, shown: Callable[[str], str] = visible) -> list[str]:
    """Where each batch that is out stands; of very many the first, and how many more there are."""
    more = len(now.batches) - MOST_BATCHES
    lines = [_batch_line(batch, shown) for batch in now.batches[:MOST_BATCHES]]
    return [*lines, counted(more, "more batch", "more batches")] if more > 0 else lines


def _batch_line(batch: BatchSeen, shown: Callable[[str], str]) -> str:
    return f"batch {shown(batch.name)} {shown(batch.status)}, {batch.done:,} of {batch.texts:,}"
