"""The ledger: what was paid for, one row per text and time it was asked for, in Parquet parts.

It is resume, deduplication, cache, incremental run and bill in one. A chunk adds a part under a name that tells its run
and chunk, so that writing one again is harmless; when a run ends, small parts are put together (`compaction`). Rows stay
as they are and keep their order.

`cost_usd` is what is known of a row's cost, and `unpriced` counts the answers whose cost is not in it: read both through
`COST_USD` or `KNOWN_USD`. Parts that an older version wrote lack columns, which are then null; the expressions here tell
what such parts mean.
"""

import logging
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime
from decimal import Decimal, localcontext
from pathlib import Path
from typing import Any, TypeVar

import polars as pl
from polars.exceptions import PolarsError

from labelmill import __version__
from labelmill.errors import JobRefused, Mistake
from labelmill.job.model import Run
from labelmill.money.prices import Lane
from labelmill.question.attempts import Attempt, Outcome, outcomes_of
from labelmill.question.failures import ASK_AGAIN_KINDS, FORM_KIND
from labelmill.store.digest_index import ranges_about
from labelmill.store.files import fault_of_parquet, rename, written_whole
from labelmill.store.journal import Entries, Journal, bring_back, is_abandoned, read_settled
from labelmill.store.parts import (
    UsdByDay,
    are_holding,
    footer_of_usd,
    is_compacted,
    parts_in,
    parts_of_run,
    state_now,
    state_of,
    usd_by_day_of,
)
from labelmill.store.row_key import key_digest

T = TypeVar("T")

log = logging.getLogger(__name__)

MONEY = pl.Decimal(38, 12)

_COLUMNS: dict[str, pl.DataType | type[pl.DataType]] = {
    "row_key": pl.String,
    "label": pl.String,
    "error": pl.String,
    "message": pl.String,
    "final": pl.Boolean,
    "ended": pl.Boolean,
    "confidence": pl.Float64,
    "model": pl.String,
    "run_id": pl.String,
    "requests": pl.Int64,
    "unseen": pl.Int64,
    "input_tokens": pl.Int64,
    "cached_input_tokens": pl.Int64,
    "output_tokens": pl.Int64,
    "cost_usd": MONEY,
    "unseen_usd": MONEY,
    "seconds": pl.Float64,
    "answered_at_utc": pl.Datetime("us", "UTC"),
    "lane": pl.String,
    "live_cost_usd": MONEY,
    "unpriced": pl.Int64,
    "answers": pl.Int64,
    "paid_attempts": pl.Int64,
    "problem": pl.String,
    "cache_write_input_tokens": pl.Int64,
    "service_tier": pl.String,
    "reasoning_tokens": pl.Int64,
}
SCHEMA = pl.Schema(_COLUMNS)
_ROWS_IN_A_PIECE = 200_000
_SMALLEST_USD = Decimal(1).scaleb(-MONEY.scale)
_DIGITS = 2 * MONEY.precision
"""Enough to add up amounts to the last digit."""
_MOST_LOOKS = 10
"""Times that a ledger is read whose parts go meanwhile; a run takes them away once, at its end."""

BY_BATCH = pl.col("lane").eq_missing("batch")
"""Whether a ledger row was asked on the batch lane; older parts say nothing of lanes, and were all live."""
UNPRICED = pl.col("unpriced").fill_null(pl.col("cost_usd").is_null().cast(pl.Int64))
"""The answers of a row whose cost isn't known; an older part's whole cost was null where one of them was."""
KNOWN_USD = pl.col("cost_usd").fill_null(0)
"""What is known of a row's cost."""
COST_USD = pl.when(UNPRICED == 0).then("cost_usd")
"""What a row cost; null where any part of that is unknown."""
LIVE_COST_USD = pl.when(BY_BATCH).then("live_cost_usd").otherwise(COST_USD)
"""What a ledger row would have cost on the live lane, and has where it was asked there."""
_LAST_IS_ANSWER = pl.col("error").is_in(ASK_AGAIN_KINDS)
ANSWERS = pl.col("answers").fill_null(_LAST_IS_ANSWER.cast(pl.Int64))
"""The answers of a row that got no label; of an older part's row as far as its last attempt tells."""
PAID_ATTEMPTS = pl.col("paid_attempts").fill_null((pl.col("unseen") - ANSWERS).clip(0))
"""The attempts of a row that were or may have been paid and brought no answer; in an older part those that nobody saw."""

PRACTICE_PREFIX = "practice-"
"""What the task keys of practice begin with: its answers are kept apart from a model's."""


@dataclass(frozen=True)
class Ledger:
    """The ledger of one task: all answers to one prompt, label set and model.

    It is written in `folder`. `also` are ledgers of the same task that an older version kept under other keys: they are
    read as if they were one with it.
    """

    folder: Path
    also: tuple[Path, ...] = ()

    def journal_path(self, run_id: str, chunk: int) -> Path:
        """Where a chunk's attempts go while it runs."""
        return self.folder / f"{run_id}-{chunk:05d}.jsonl"

    def part_path(self, run_id: str, chunk: int) -> Path:
        """Where a chunk's outcomes go when it is done."""
        return self.journal_path(run_id, chunk).with_suffix(".parquet")

    def add(self, journal: Journal, run: Run) -> None:
        """Turn a chunk's journal into a ledger part, then take the journal away.

        A journal with lines that this version can't read is kept, under a name at which it looks no more. A request that
        was noted and has no attempt is one that was interrupted: it may have been paid.
        """
        part = journal.path.with_suffix(".parquet")
        attempts = self._after_earlier_runs(journal.settled, part)
        if attempts:
            write_part(part, frame_of(outcomes_of(attempts, run), _run_id_of(journal.path)))
        if journal.unread_lines:
            log.warning(
                "%s: %d lines can't be read by this version of Labelmill (%s), and what they cost is in no sum. "
                "The file is kept as %r; run the version that wrote it to have them counted",
                journal.path,
                journal.unread_lines,
                __version__,
                journal.set_aside().name,
            )
        else:
            journal.remove()

    def fold_abandoned(self, run: Run) -> int:
        """Fold in the journals that dead runs left; returns how many requests they tell of."""
        requests = 0
        bring_back(self.folder)
        for path in sorted(self.folder.glob("*.jsonl")):
            if is_abandoned(path):
                with Journal(path) as journal:
                    requests += len(journal.settled)
                    self.add(journal, run)
        return requests

    def fold_given_up(self, path: Path, run: Run) -> None:
        """Fold in the journal of a worker that was given up. Its lock is not asked for: a stalled process holds it on.

        What its worker still writes goes nowhere. A journal that this version can't read whole stays for the next run.
        """
        part = path.with_suffix(".parquet")
        try:
            entries = Entries.read(path.read_bytes())
        except FileNotFoundError:
            return
        if not self.holds(part.name) and (attempts := self._after_earlier_runs(entries.settled, part)):
            write_part(part, frame_of(outcomes_of(attempts, run), _run_id_of(path)))
        if not entries.unread:
            path.unlink(missing_ok=True)

    def holds(self, part_name: str) -> bool:
        """Whether a part was written under this name, and its rows are in the ledger, wherever they are now."""
        return are_holding(parts_in(self.folder), part_name)

    def state(self) -> dict[str, int]:
        """The parts as they stand: the bytes of each by its path below the folder of all ledgers. One listing tells."""
        return state_of((self.folder, *self.also))

    def state_now(self, state: Mapping[str, int]) -> dict[str, int] | None:
        """What has become of an earlier `state`, in the names that its parts' rows have now.

        Parts of `state()` that are not in it were written since. None where that can't be told: a part is gone or is
        another one, or stands in one part with rows that were written since.
        """
        return state_now(state, (self.folder, *self.also))

    def scan(self) -> pl.LazyFrame:
        """Everything in the ledger: one row per text and part, with the schema `SCHEMA`."""
        return scan_parts(self._parts())

    def scan_run(self, run_id: str, path_column: str | None = None) -> pl.LazyFrame:
        """What one run added; with each row's part in `path_column`, where one is named.

        Of a run that has ended, the part may be one that it shares with others.
        """
        return _scan_run([self.folder], run_id, path_column)

    def known_digests(
        self, about: pl.Series | None = None, *, retry_failed: bool = False, run_id: str | None = None
    ) -> pl.LazyFrame:
        """The digests of the texts that need no request: one column `digest` (UInt128), possibly repeated.

        Where only some are asked `about`, more than those may be told. With `retry_failed` the texts that failed for good are asked again, but for those that the run `run_id` has seen fail.
        """
        settled = pl.col("final")
        if retry_failed:
            settled &= pl.col("label").is_not_null() | (pl.col("run_id") == (run_id or ""))
        rows = pl.concat(
            [scan_parts([]), *(rows for part in self._parts() for rows in _scan_about(part, about))]
        )
        return rows.filter(settled).select(digest=key_digest(pl.col("row_key")))

    def ended_in(self, run_id: str) -> pl.LazyFrame:
        """The digests of the texts that one run has tried to the end, in vain for now: one column `digest` (UInt128)."""
        ended = self.scan_run(run_id).filter(pl.col("ended"))
        return ended.select(digest=key_digest(pl.col("row_key")))

    def mean_seconds(self) -> float | None:
        """How long a live answer of this task took on average; None where none is known."""
        mean = self.scan().select(pl.col("seconds").mean()).collect().item()
        return None if mean is None else float(mean)

    def longest_answer(self) -> int:
        """About the most tokens that an answer with a label took, thoughts and all; 0 where there is none.

        What several requests for a text took together tells more than that, and counts only where there were thoughts.
        """
        tells = (pl.col("requests") == 1) | (pl.col("reasoning_tokens") > 0)
        longest = pl.col("output_tokens").filter(tells & pl.col("label").is_not_null()).max()
        return int(self.scan().select(longest).collect().item() or 0)

    def labels(self) -> pl.LazyFrame:
        """The label of each text that has one: `digest` (UInt128, unique), `label`, `confidence`, `model`, `run_id`.

        Should two runs have asked for the same text, the earlier one's label stays, so that labels don't change from
        run to run.
        """
        return _labels_of(_with_digests(self.scan()))

    def pieces(self, about: pl.Series | None = None) -> Iterator[pl.LazyFrame]:
        """Everything in the ledger piece by piece as `answers_to` takes it: with the `digest` of each row's text and its `order`.

        Where only some digests are asked `about`, what tells of none of them may be left out.
        """
        order = 0
        yield _told(scan_parts([])).with_row_index("order")
        for rows in (_told(rows) for part in self._parts() for rows in _scan_about(part, about)):
            count = int(rows.select(pl.len()).collect().item())
            for first in range(0, count, _ROWS_IN_A_PIECE):
                yield rows.slice(first, _ROWS_IN_A_PIECE).with_row_index("order", offset=order + first)
            order += count

    def tries(self, run_id: str) -> pl.LazyFrame:
        """What has been tried in vain of each text that is worth asking again.

        Columns: `digest` (UInt128, unique); `attempts`, requests of the run `run_id` that brought no answer; over all runs
        `answers`, those that were no label, and `paid_attempts`, requests that were or may have been paid and brought none;
        `problem`, the kind of the latest such answer, or null; `schema_refused`, whether the endpoint would not take a schema;
        `refusals`, the runs that refused the text to their end.
        """
        return _tries(self._parts(), run_id)

    def failures(self) -> pl.LazyFrame:
        """The latest failure of each text that failed.

        Columns: `digest` (unique), `error`, `message`, `model`, `run_id`, and over all runs `requests` and `cost_usd`
        (null where any of it is unknown). A text that got its label later is still here; one that a stopped run had not
        finished trying is not.
        """
        return _failures_of(_with_digests(self.scan()))

    def has_revived(self, state: Mapping[str, int]) -> bool:
        """Whether parts that were written since a `state` tell of a text that had been given up for good by then.

        True also where that can't be told any more.
        """
        before = self.state_now(state)
        if before is None:
            return True
        parts = {f"{part.parent.name}/{part.name}": part for part in self._parts()}
        new = [part for name, part in parts.items() if name not in before]
        if not new:
            return False
        old = _with_digests(scan_parts([part for name, part in parts.items() if name in before]))
        given_up = old.filter(pl.col("final") & pl.col("label").is_null())
        told = _with_digests(scan_parts(new)).select("digest")
        return int(given_up.join(told, on="digest", how="semi").select(pl.len()).collect().item()) > 0

    def _parts(self) -> list[Path]:
        """All parts, those of earlier runs first: a run's id sorts by time."""
        folders = (self.folder, *self.also)
        return sorted((part for folder in folders for part in parts_in(folder)), key=_by_name)

    def _after_earlier_runs(self, attempts: list[Attempt], part: Path) -> list[Attempt]:
        """The attempts of a part, each interrupted one with what other parts know of its text.

        The others know it of themselves: whoever asked had the plan before him.
        """
        interrupted = {attempt.row_key for attempt in attempts if attempt.failure == "interrupted"}
        parts = [other for other in self._parts() if other != part]
        if not interrupted or not parts:
            return attempts
        keys = pl.LazyFrame({"row_key": list(interrupted)}).with_columns(digest=key_digest(pl.col("row_key")))
        tried = keys.join(_tries(parts, ""), on="digest").select("row_key", "answers", "paid_attempts")
        before = {key: (answers, paid) for key, answers, paid in tried.collect().iter_rows()}
        return [
            replace(
                attempt,
                answers_before=before[attempt.row_key][0],
                paid_before=before[attempt.row_key][1],
            )
            if attempt.row_key in before and attempt.failure == "interrupted"
            else attempt
            for attempt in attempts
        ]


def answers_to(digests: pl.LazyFrame, rows: pl.LazyFrame) -> pl.LazyFrame:
    """What `Ledger.pieces` say of each of some texts (`digest`, UInt128) that they know; no more of them is held.

    Columns: `digest` (unique), `is_final` (whether the text needs no further request), `label`, `confidence`, `model` and
    `run_id` as in `Ledger.labels`, `error`, `message`, `failed_model`, `failed_run_id`, `requests` and `cost_usd` as in
    `Ledger.failures`.
    """
    found = rows.join(digests, on="digest", how="semi").collect(engine="streaming").sort("order").lazy()
    failures = _failures_of(found).rename({"model": "failed_model", "run_id": "failed_run_id"})
    return (
        found.group_by("digest")
        .agg(is_final=pl.col("final").any())
        .join(_labels_of(found), on="digest", how="left")
        .join(failures, on="digest", how="left")
    )


def _scan_about(part: Path, about: pl.Series | None) -> list[pl.LazyFrame]:
    """A part's rows in their order, of a large one those ranges alone in which any of some digests may be."""
    ranges = ranges_about(part, about) if about is not None and is_compacted(part) else None
    rows = scan_parts([part])
    return [rows] if ranges is None else [rows.slice(first, count) for first, count in ranges]


def _told(rows: pl.LazyFrame) -> pl.LazyFrame:
    """What of ledger rows tells an answer."""
    texts = ("label", "model", "run_id", "error", "message")
    facts = ("confidence", "final", "ended", "requests", "cost_usd", "unpriced", "answered_at_utc")
    return _with_digests(rows).select("digest", *texts, *facts)


def _with_digests(rows: pl.LazyFrame) -> pl.LazyFrame:
    return rows.with_columns(digest=key_digest(pl.col("row_key")))


def _labels_of(rows: pl.LazyFrame) -> pl.LazyFrame:
    names = ("label", "model", "run_id")
    labeled = rows.filter(pl.col("label").is_not_null())
    columns = labeled.select(pl.col(names).cast(pl.Categorical), "confidence", "digest")
    # maintain_order makes this twice as fast and half as large here (10 million rows: 2.2 s, 1.1 GB).
    return columns.unique("digest", keep="first", maintain_order=True)


def _failures_of(rows: pl.LazyFrame) -> pl.LazyFrame:
    ended = pl.col("ended")
    latest = pl.col("error", "message", "model", "run_id").filter(ended)
    per_text = (
        rows.filter(pl.col("label").is_null())
        .group_by("digest")
        .agg(
            latest.sort_by(pl.col("answered_at_utc").filter(ended)).last(),
            pl.col("requests").sum(),
            cost_usd=pl.when(COST_USD.is_not_null().all()).then(KNOWN_USD.sum()),
        )
    )
    return per_text.filter(pl.col("error").is_not_null())


def _tries(parts: Sequence[Path], run_id: str) -> pl.LazyFrame:
    error = pl.col("error")
    problem = pl.coalesce("problem", pl.when(_LAST_IS_ANSWER).then(error))
    # A request that was refused for its schema alone is none of the text's attempts; where the form was refused before the
    # text was asked at all, nothing was tried.
    is_of_form = (error == FORM_KIND) & (ANSWERS == 0) & (PAID_ATTEMPTS == 0)
    without_answer = (pl.col("requests") - ANSWERS - (error == "bad_request").cast(pl.Int64)).clip(0)
    return (
        scan_parts(parts)
        .filter(~pl.col("final") & ~is_of_form)
        .group_by(digest=key_digest(pl.col("row_key")))
        .agg(
            attempts=without_answer.filter(pl.col("run_id") == run_id).sum(),
            answers=ANSWERS.sum(),
            paid_attempts=PAID_ATTEMPTS.sum(),
            problem=problem.sort_by("answered_at_utc").drop_nulls().last(),
            schema_refused=(error == "bad_request").any(),
            refusals=pl.col("run_id").filter((error == "denied") & pl.col("ended")).n_unique().cast(pl.Int64),
        )
    )


def _by_name(part: Path) -> str:
    return part.name


def _run_id_of(part: Path) -> str:
    return part.stem.rsplit("-", 1)[0]


def frame_of(outcomes: Iterable[Outcome], run_id: str, lane: Lane = "live") -> pl.DataFrame:
    """Outcomes as ledger rows."""
    rows = [_row_of(outcome, run_id, lane) for outcome in outcomes]
    return pl.DataFrame(rows, schema=SCHEMA, orient="row")


def _row_of(outcome: Outcome, run_id: str, lane: Lane) -> dict[str, Any]:
    last, usage = outcome.last, outcome.usage
    return {
        "row_key": last.row_key,
        "label": last.label,
        "error": last.failure,
        "message": last.message,
        "final": outcome.final,
        "ended": outcome.ended,
        "confidence": last.confidence,
        "model": last.model,
        "run_id": run_id,
        "requests": outcome.requests,
        "unseen": outcome.unseen,
        "input_tokens": usage.input_tokens,
        "cached_input_tokens": usage.cached_input_tokens,
        "output_tokens": usage.output_tokens,
        "cost_usd": _exact(outcome.known_usd),
        "unseen_usd": _exact(outcome.unseen_usd),
        "seconds": outcome.seconds,
        "answered_at_utc": last.at_utc,
        "lane": lane,
        "live_cost_usd": _exact(outcome.live_cost_usd),
        "unpriced": outcome.unpriced,
        "answers": outcome.answers,
        "paid_attempts": outcome.paid_attempts,
        "problem": outcome.problem,
        "cache_write_input_tokens": usage.cache_write_input_tokens,
        "service_tier": outcome.service_tier,
        "reasoning_tokens": usage.reasoning_tokens,
    }


def _exact(usd: Decimal | None) -> Decimal | None:
    """An amount to the last digit that the ledger has. Polars has no Decimal of more digits than 38."""
    return None if usd is None else usd.quantize(_SMALLEST_USD)


def scan_run(ledgers: Path, run_id: str, path_column: str | None = None) -> pl.LazyFrame:
    """What one run added to the ledgers of all tasks: of other tasks it harvests what their batches had cost.

    With each row's part in `path_column`, where one is named; of a run that has ended, it may share that with others.
    """
    return _scan_run(sorted(ledgers.glob("*/")), run_id, path_column)


def ledgers_of_run(ledgers: Path, run_id: str) -> list[Path]:
    """The ledger folders that may hold anything a run has added, in parts or journals."""
    return [
        folder
        for folder in sorted(ledgers.glob("*/"))
        if parts_of_run(folder, run_id) or any(folder.glob(f"{run_id}-*.jsonl"))
    ]


def _scan_run(folders: Sequence[Path], run_id: str, path_column: str | None) -> pl.LazyFrame:
    return _rows_of_run(
        [part for folder in folders for part in parts_of_run(folder, run_id)], run_id, path_column
    )


def _rows_of_run(parts: Sequence[Path], run_id: str, path_column: str | None = None) -> pl.LazyFrame:
    rows = scan_parts(parts, path_column)
    return rows.filter(pl.col("run_id") == run_id) if any(map(is_compacted, parts)) else rows


def scan_with_journals(folder: Path, run: Run, run_id: str | None = None) -> pl.LazyFrame:
    """A task's rows, of one run where one is named, with those of journals that nobody has folded in yet.

    Nothing is written. What a run that lives has sent and not been answered is not in it.

    Raises:
        JobRefused: a part can't be read.
    """
    # Journals first: one that becomes a part in the meantime is then found as either.
    told = {}
    for journal in sorted(folder.glob(f"{run_id}-*.jsonl" if run_id else "*.jsonl")):
        with suppress(FileNotFoundError):
            told[journal] = read_settled(journal)
    parts = parts_of_run(folder, run_id) if run_id else parts_in(folder)
    frames = [
        frame_of(outcomes_of(attempts, run), _run_id_of(journal)).lazy()
        for journal, attempts in told.items()
        if not are_holding(parts, journal.with_suffix(".parquet").name)
    ]
    rows = readable(parts)
    return pl.concat([_rows_of_run(rows, run_id) if run_id else scan_parts(rows), *frames])


def spent_since(ledgers: Path, since: datetime, *, practice: bool = False) -> Decimal:
    """What all tasks in a ledger folder have cost since a moment (UTC), in USD.

    Requests whose usage nobody saw count at the most they may have cost; costs without a price are left out. Practice
    and paid work don't count against each other. From the beginning of a day on, the parts' footers tell, and only those
    of older versions are read.

    Raises:
        JobRefused: a part can't be read.
    """
    parts = [
        part
        for folder in sorted(ledgers.glob("*/"))
        if folder.name.startswith(PRACTICE_PREFIX) == practice
        for part in parts_in(folder)
    ]
    with faults_named(ledgers):
        if since == start_of_day(since):
            first = since.astimezone(UTC).date()
            days = usd_by_day_in(readable(parts))
            with localcontext(prec=_DIGITS):
                return sum(
                    (known + unseen for day, (known, unseen) in days.items() if day >= first), Decimal(0)
                )
        recent = scan_parts(readable(parts)).filter(pl.col("answered_at_utc") >= since)
        spent = recent.select(KNOWN_USD.sum() + pl.col("unseen_usd").sum()).collect()
    return spent.item() or Decimal(0)


def usd_by_day_in(parts: Iterable[Path]) -> UsdByDay:
    """What ledger parts cost by the UTC day of a row's last answer, exactly. Costs without a price are left out.

    Their footers tell. Only parts that an older version wrote are read.
    """
    untold: list[Path] = []
    days: dict[date, tuple[Decimal, Decimal]] = {}
    with localcontext(prec=_DIGITS):
        for part in parts:
            told = usd_by_day_of(part)
            if told is None:
                untold.append(part)
            _add(days, told or {})
        _add(days, _usd_by_day(scan_parts(untold)) if untold else {})
    return days


def _add(days: dict[date, tuple[Decimal, Decimal]], more: UsdByDay) -> None:
    for day, (known, unseen) in more.items():
        before = days.get(day, (Decimal(0), Decimal(0)))
        days[day] = (before[0] + known, before[1] + unseen)


def _usd_by_day(rows: pl.LazyFrame) -> UsdByDay:
    days = (
        rows.group_by(day=pl.col("answered_at_utc").dt.date())
        .agg(known=KNOWN_USD.sum(), unseen=pl.col("unseen_usd").sum())
        .filter(pl.col("day").is_not_null())
        .collect(engine="streaming")
    )
    return {day: (known, unseen) for day, known, unseen in days.sort("day").iter_rows()}


def write_part(part: Path, rows: pl.DataFrame) -> None:
    """Write a part of a ledger, whole or not at all, with what it cost by day in its footer.

    Raises:
        OSError: the disk is full or can't be written.
    """
    with written_whole(part) as temporary:
        rows.write_parquet(temporary, metadata=footer_of_usd(_usd_by_day(rows.lazy())))


def read_again(read: Callable[[], T]) -> T:
    """Read ledgers into which a run may be writing: again where a part went that the run put together with others."""
    for _ in range(_MOST_LOOKS - 1):
        try:
            return read()
        except FileNotFoundError:
            continue
    return read()


def start_of_day(now: datetime) -> datetime:
    """Midnight UTC of a moment's day."""
    return now.astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0)


def scan_parts(parts: Sequence[Path], path_column: str | None = None) -> pl.LazyFrame:
    """Ledger parts as one frame; with each row's part in `path_column`, where one is named."""
    if not parts:
        return pl.LazyFrame(schema={**SCHEMA, **({path_column: pl.String} if path_column else {})})
    # Parts that another version wrote may lack a column, which is then null, or have one that is not known here.
    return pl.scan_parquet(
        list(parts),
        schema=SCHEMA,
        hive_partitioning=False,
        glob=False,
        include_file_paths=path_column,
        missing_columns="insert",
        extra_columns="ignore",
    )


def set_empty_parts_aside(folder: Path) -> None:
    """Rename the parts of a ledger that are files of no bytes: a disk that broke may leave such, and they hold nothing."""
    for part in parts_in(folder):
        if not part.stat().st_size:
            aside = rename(part, f"{part.name}.empty")
            log.warning("%s was empty and is set aside as %r: it held nothing to go by", part, aside.name)


def readable(parts: Sequence[Path]) -> list[Path]:
    """Those of some ledger parts that hold anything.

    Only a file's ends are looked at, which tells in microseconds whether it was cut off.

    Raises:
        JobRefused: one holds what was paid for, and can't be read.
    """
    faults = {part: fault for part in parts if (fault := fault_of_parquet(part)) is not None}
    broken = {part: fault for part, fault in faults.items() if part.stat().st_size}
    if broken:
        raise JobRefused([_broken(part, fault) for part, fault in broken.items()])
    return [part for part in parts if part not in faults]


@contextmanager
def faults_named(ledgers: Path) -> Iterator[None]:
    """Let a ledger part that can't be read be named where the block trips over it.

    Raises:
        JobRefused: it is damaged within, or another version wrote it in another way.
    """
    try:
        yield
    except PolarsError:
        mistakes = []
        for part in (part for folder in sorted(ledgers.glob("*/")) for part in parts_in(folder)):
            try:
                scan_parts([part]).collect()
            except PolarsError as error:
                mistakes.append(_broken(part, str(error).splitlines()[0]))
        if mistakes:
            raise JobRefused(mistakes) from None
        raise


def _broken(part: Path, fault: str) -> Mistake:
    sentence = (
        f"{str(part)!r} can't be read: {fault}. What it holds was paid for: put it back from a backup, or run the version of "
        "Labelmill that wrote it. If it is lost, move it out of the ledger; its texts are then asked, and paid, again"
    )
    return Mistake("output.path", sentence)
