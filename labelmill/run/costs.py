"""`costs.parquet`: a run's cost by chunk and model."""

from pathlib import Path

import polars as pl

from labelmill.run.context import RunContext
from labelmill.run.counts import BILL
from labelmill.run.record import RunRecord
from labelmill.store.files import written_whole
from labelmill.store.ledger import scan_run


def costs_of(run: RunContext, record: RunRecord) -> pl.DataFrame:
    """A run's costs, from the ledger.

    One row per chunk (on the batch lane a batch) and model as the provider names it: `lane`, `texts`, `labeled`, `failed`,
    the fields of a `Bill`, and the prices used, in USD per million tokens.
    """
    # The column is there whether or not anything was asked; older parts have no lane, and were live.
    lane = pl.col("lane").fill_null("live")
    rates = {
        name: pl.when(pl.col("lane") == "batch")
        .then(pl.lit((record.batch_price or {}).get(name), dtype=pl.Float64))
        .otherwise(pl.lit((record.price or {}).get(name), dtype=pl.Float64))
        for name in ("input_usd_per_mtok", "cached_input_usd_per_mtok", "output_usd_per_mtok")
    }
    return (
        scan_run(run.folder.ledgers, run.run_id, "part")
        .group_by(
            lane=lane,
            chunk=pl.col("part").str.extract(r"-(\d+)\.parquet$").cast(pl.Int64),
            model=pl.col("model"),
        )
        .agg(
            texts=pl.len().cast(pl.Int64),
            labeled=pl.col("label").is_not_null().sum().cast(pl.Int64),
            failed=pl.col("label").is_null().sum().cast(pl.Int64),
            **{
                name: total.cast(pl.Float64) if name.endswith("_usd") else total
                for name, total in BILL.items()
            },
        )
        .sort("chunk", "model")
        .select(
            pl.lit(run.run_id).alias("run_id"),
            pl.lit(run.job.name).alias("job"),
            pl.all(),
            **rates,
        )
        .collect()
    )


def write_costs(costs: pl.DataFrame, folder: Path) -> None:
    """Write `costs.parquet`, whole or not at all."""
    with written_whole(folder / "costs.parquet") as temporary:
        costs.write_parquet(temporary)
