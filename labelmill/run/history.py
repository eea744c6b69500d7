"""What past runs asked and paid, added up from the ledgers of an output folder.

The ledgers know every run, also those that were killed or whose `run.json` is gone; the records only add how a run ended.
Nothing is written, and the rows are added up by Polars as they stream by.
"""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import polars as pl

from labelmill.batch.record import BatchFolder
from labelmill.job.model import Run
from labelmill.store.folder import COMPARISON, PREVIEW, OutputFolder
from labelmill.store.ledger import (
    BY_BATCH,
    COST_USD,
    KNOWN_USD,
    LIVE_COST_USD,
    PRACTICE_PREFIX,
    SCHEMA,
    scan_with_journals,
)

CELL = ("task_key", "run_id", "day", "model", "lane", "service_tier")
"""What a row of `read_work` stands for: a run's work on one UTC day and one lane, by model and tier as the provider names them."""
TOKENS = ("input_tokens", "cached_input_tokens", "output_tokens", "cache_write_input_tokens")
"""The kinds of tokens, in the order of `Usage`."""
_KNOWN = "cost_known_usd"
_IN_CURRENCY = "cost_in_currency"
_THOUGHTS = "reasoning_tokens"
_COUNTS = ("texts", "labels", "requests", "requests_by_batch", "requests_without_usage", *TOKENS, _THOUGHTS)
_KINDS = {"run.json": "run", COMPARISON: "comparison", PREVIEW: "preview"}
"""What records are called, and what each is of."""
_AMOUNTS = (_KNOWN, "costs_unknown", "unseen_usd", "unseen_unknown", "live_known_usd", "live_unknown")


@dataclass(frozen=True)
class RunFacts:
    """What a run's record says beside its work. `model` is the job's `[model]` section as it was then.

    `kind` is `run`, or `comparison` for one that compared ways to ask, or `preview` for one that asked a few texts. `currency` is the one that its job was paid in beside
    USD, and `usd_rate` what a dollar was in it; None where there was none.
    """

    run_id: str
    status: str | None
    practice: bool
    task_key: str | None
    model: dict[str, Any]
    started_at_utc: datetime | None
    kind: str = "run"
    currency: str | None = None
    usd_rate: float | None = None


def read_runs(folder: OutputFolder) -> list[RunFacts]:
    """The records of an output folder, in the order of their runs; those that can't be read are left out.

    They are read as plain JSON: a record that another version wrote still tells what it has in common. Comparisons and
    previews pay too, and are among them.
    """
    facts = []
    for path in sorted(path for name in _KINDS for path in folder.runs.glob(f"*/{name}")):
        try:
            record = json.loads(path.read_bytes())
            currency = record.get("currency") or {}
            facts.append(
                RunFacts(
                    run_id=str(record["run_id"]),
                    status=record.get("status"),
                    practice=bool(record.get("practice")),
                    task_key=record.get("task_key"),
                    model=dict((record.get("job") or {}).get("model") or {}),
                    started_at_utc=datetime.fromisoformat(record["started_at_utc"]),
                    kind=_KINDS[path.name],
                    currency=currency.get("code"),
                    usd_rate=currency.get("usd_rate"),
                )
            )
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            continue
    return facts


def scan_history(ledgers: Path, run: Run) -> pl.LazyFrame:
    """All rows of all tasks in a ledger folder, with `task_key`; journals that no run has folded in yet are read too.

    Raises:
        JobRefused: a part of a ledger can't be read.
    """
    tasks = [
        scan_with_journals(folder, run).with_columns(task_key=pl.lit(folder.name))
        for folder in sorted(ledgers.glob("*/"))
    ]
    if not tasks:
        return pl.LazyFrame(schema={**SCHEMA, "task_key": pl.String})
    return pl.concat(tasks)


def read_work(rows: pl.LazyFrame, *, by_tokens: bool = False) -> pl.DataFrame:
    """Add ledger rows up by `CELL`; with `by_tokens` also by a text's tokens, which prices in tiers need.

    Columns beside those: `practice`, `rows`, `texts`, `labels`, `requests`, `requests_without_usage`, `TOKENS` (of all its texts), `reasoning_tokens` (as far as
    the ledger tells them apart: parts of earlier versions don't),
    `cost_known_usd` (what is known of the cost), `costs_unknown` (texts of unknown cost), `usage_unknown` (those of
    them that no price can change, since tokens are missing), `unseen_usd`, `unseen_unknown` (texts with unseen requests
    whose worst case has no price), `requests_by_batch`, `live_known_usd` and `live_unknown` (the same as of the cost, had
    all been asked live).
    """
    per_text = tuple(f"text_{name}" for name in TOKENS) if by_tokens else ()
    rows = rows.with_columns(
        day=pl.col("answered_at_utc").dt.date(),
        lane=pl.when(BY_BATCH).then(pl.lit("batch")).otherwise(pl.lit("live")),
        **{f"text_{name}": pl.col(name).fill_null(0) for name in (TOKENS if by_tokens else ())},
    )
    unknown, unseen = COST_USD.is_null(), pl.col("unseen") > 0
    work = rows.group_by(*CELL, *per_text).agg(
        # A text that a run's salvage pass asked again has a row for each; the one that isn't final doesn't count then.
        rows=pl.len(),
        labels=pl.col("label").is_not_null().sum(),
        requests=pl.col("requests").sum(),
        requests_without_usage=pl.col("unseen").sum(),
        **{name: pl.col(name).sum() for name in (*TOKENS, _THOUGHTS)},
        cost_known_usd=KNOWN_USD.sum(),
        costs_unknown=unknown.sum(),
        usage_unknown=(unknown & unseen).sum(),
        unseen_usd=pl.col("unseen_usd").sum(),
        unseen_unknown=(unseen & (pl.col("unseen_usd").fill_null(0) == 0)).sum(),
        requests_by_batch=pl.col("requests").filter(BY_BATCH).sum(),
        live_known_usd=LIVE_COST_USD.sum(),
        live_unknown=LIVE_COST_USD.is_null().sum(),
    )
    keys = ("task_key", "run_id", "row_key")
    open_rows = rows.filter(~pl.col("final"))
    # By time: how rows are parted among files must not tell which of a text's rows counts. Texts are told
    # apart only where a run has left one open: keeping every key of ten million rows takes gigabytes.
    asked_twice = pl.concat(
        [
            open_rows.with_columns(copy=pl.int_range(pl.len()).over(keys, order_by="answered_at_utc"))
            .filter(pl.col("copy") > 0)
            .select(*CELL, *per_text),
            open_rows.join(rows.filter("final"), on=keys, how="semi")
            .sort("answered_at_utc")
            .unique(keys, keep="first", maintain_order=True)
            .select(*CELL, *per_text),
        ]
    )
    again = asked_twice.group_by(*CELL, *per_text).len("again")
    # One after the other: collected together, the rows they share would be kept in memory.
    counted, twice = work.collect(engine="streaming"), again.collect(engine="streaming")
    return (
        counted.join(twice, on=[*CELL, *per_text], how="left", nulls_equal=True)
        .with_columns(
            texts=(pl.col("rows").cast(pl.Int64) - pl.col("again").fill_null(0).cast(pl.Int64)),
            practice=pl.col("task_key").str.starts_with(PRACTICE_PREFIX),
        )
        .drop("again")
    )


def sums_by(work: pl.DataFrame, *keys: str) -> list[dict[str, Any]]:
    """Add work up by some of its keys (none gives the total), sorted by them; one dictionary each.

    `cost_usd` is None where any part of it is unknown, and `cost_known_usd` is then what is known of it. `unseen_usd` (at
    most), `live_cost_usd` (had all been asked live), `saved_usd` (by the batch lane) and, where work was priced again,
    `repriced_usd` are None where any part of them is unknown; so is `cost_in_currency`, which is there where runs were paid in
    another currency.
    """
    if work.is_empty():
        return []
    sums = [pl.col(name).sum().cast(pl.Int64) for name in _COUNTS]
    sums += [pl.col(name).sum() for name in _AMOUNTS]
    if "repriced_usd" in work.columns:
        sums.append(pl.when(pl.col("repriced_usd").is_not_null().all()).then(pl.col("repriced_usd").sum()))
    if _IN_CURRENCY in work.columns:
        sums.append(pl.when(pl.col(_IN_CURRENCY).is_not_null().all()).then(pl.col(_IN_CURRENCY).sum()))
    grouped = work.group_by(*keys).agg(sums).sort(keys) if keys else work.select(sums)
    return [_with_shares(row) for row in grouped.iter_rows(named=True)]


def _with_shares(row: dict[str, Any]) -> dict[str, Any]:
    known, unseen = float(row.pop(_KNOWN)), float(row["unseen_usd"])
    cost = None if row.pop("costs_unknown") else known
    row["unseen_usd"] = None if row.pop("unseen_unknown") else unseen
    live = float(row.pop("live_known_usd"))
    row["live_cost_usd"] = None if row.pop("live_unknown") else live
    row["saved_usd"] = None if cost is None or row["live_cost_usd"] is None else live - cost
    row["cached_fraction"] = row["cached_input_tokens"] / row["input_tokens"] if row["input_tokens"] else None
    row["cost_usd"], row[_KNOWN] = cost, known
    row["cost_per_1000_labels_usd"] = (
        cost * 1000 / row["labels"] if cost is not None and row["labels"] else None
    )
    if "repriced_usd" in row:
        row["repriced_usd"] = None if row["repriced_usd"] is None else float(row["repriced_usd"])
    return row


def batches_out(folder: OutputFolder, *, practice: bool) -> dict[str, Any]:
    """What is at the provider and in no cost yet: `batches`, their `texts`, and what they may cost at most (`at_most_usd`).

    `at_most_usd` is None where the price of any is unknown.

    Raises:
        JobRefused: the record of a batch can't be read.
    """
    out = BatchFolder(folder.batches).outstanding(practice=practice)
    worst = [record.worst_case_usd for record in out]
    return {
        "batches": len(out),
        "texts": sum(record.texts for record in out),
        "at_most_usd": None if None in worst else float(sum(usd for usd in worst if usd is not None)),
    }


def history_of(work: pl.DataFrame, runs: Iterable[RunFacts], *, practice: bool) -> dict[str, Any] | None:
    """The history of practice or of paid work: `total`, `runs`, `days` and `months` (UTC); None where there is none.

    Where runs were paid in one other currency, `currency` names it, and each cost is told in it too, at each run's own rate.
    A run without a record has the kind and the status None. One whose status is `running` may also have been killed: the next run
    finds that out. A run that asked nothing has only
    zeros.
    """
    mine = work.filter(pl.col("practice") == practice)
    facts = {run.run_id: run for run in runs if run.practice == practice}
    if mine.is_empty() and not facts:
        return None
    mine = mine.with_columns(month=pl.col("day").dt.strftime("%Y-%m"), day=pl.col("day").cast(pl.String))
    code = _currency_of(facts.values())
    if code is not None:
        mine = _with_currency(mine, facts)
    by_run = {row["run_id"]: row for row in sums_by(mine, "run_id")}
    idle = _with_shares(dict.fromkeys((*_COUNTS, *_AMOUNTS), 0))
    if "repriced_usd" in work.columns:
        idle["repriced_usd"] = 0.0
    if code is not None:
        idle[_IN_CURRENCY] = 0.0
    listed = [
        {
            "run_id": run_id,
            "kind": facts[run_id].kind if run_id in facts else None,
            "status": facts[run_id].status if run_id in facts else None,
            **(by_run.get(run_id) or idle),
        }
        for run_id in sorted({*by_run, *facts})
    ]
    return {
        **({"currency": code} if code is not None else {}),
        "total": (sums_by(mine) or [idle])[0],
        "runs": listed,
        "days": sums_by(mine, "day"),
        "months": sums_by(mine, "month"),
    }


def _currency_of(runs: Iterable[RunFacts]) -> str | None:
    """The currency beside USD that runs were paid in; None where there is none, or there are several, which don't add up."""
    codes = {run.currency for run in runs if run.currency is not None}
    return codes.pop() if len(codes) == 1 else None


def _with_currency(work: pl.DataFrame, facts: Mapping[str, RunFacts]) -> pl.DataFrame:
    """Work with its cost in the currency of its runs, each at its own rate; null where either is unknown."""
    rates = {run_id: run.usd_rate for run_id, run in facts.items() if run.usd_rate is not None}
    rate = pl.col("run_id").replace_strict(rates, default=None, return_dtype=pl.Float64)
    known = pl.col(_KNOWN).cast(pl.Float64)
    return work.with_columns(pl.when(pl.col("costs_unknown") == 0).then(known * rate).alias(_IN_CURRENCY))
