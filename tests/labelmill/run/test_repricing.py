"""Repricing: the tokens of the past at today's prices."""

from decimal import Decimal

import polars as pl
import pytest

from labelmill.job.model import Run
from labelmill.money.usage import Usage
from labelmill.providers.table import price_of
from labelmill.run.history import read_runs, read_work, scan_history, sums_by
from labelmill.run.repricing import TodaysPrices, is_tiered, reprice
from labelmill.store.folder import OutputFolder

TIERED = "gemini-2.5-pro"
KEY = "0123456789abcdef"


@pytest.fixture
def repriced(tmp_path, job_of):
    """Price the output's work again: `repriced(model=..., price=...)` are the job's sections today."""

    def read(model="gpt-4o-mini", price=None, base_url=None):
        folder = OutputFolder(tmp_path / "out")
        job = job_of(model={"name": model}, **({"price": price} if price else {}))
        rows = scan_history(folder.ledgers, Run())
        prices = TodaysPrices(job, [KEY] if model else [], read_runs(folder), base_url)
        work = read_work(rows)
        work = read_work(rows, by_tokens=True) if prices.need_texts(work) else work
        return reprice(work, prices)

    return read


def _total(work):
    (total,) = sums_by(work)
    return total


def test_the_jobs_own_price_is_taken_today(repriced, write_part):
    """What was counted at one price is shown at the job's price of today, beside the old one."""
    write_part("run1", [{}, {"cost_usd": None}])
    total = _total(
        repriced(
            price={"input_usd_per_mtok": 1.0, "cached_input_usd_per_mtok": 0.5, "output_usd_per_mtok": 10}
        )
    )
    assert total["cost_usd"] is None
    assert total["repriced_usd"] == pytest.approx((2 * 60 * 1.0 + 2 * 40 * 0.5 + 2 * 2 * 10) / 1e6)


def test_a_listed_price_of_sums_is_the_sum_of_prices(repriced, write_part, job_of):
    """A price without tiers gives the same for the sums as for each text."""
    usages = [Usage(100 * n, 10 * n, n) for n in range(1, 6)]
    write_part("run1", [vars(usage) for usage in usages])
    price = price_of(job_of().model)
    assert _total(repriced())["repriced_usd"] == float(sum(map(price.cost_of, usages)))


def test_a_price_in_tiers_is_taken_per_text(repriced, write_part, job_of):
    """Two texts below a tier's edge don't pass it together."""
    price = price_of(
        job_of(model={"name": TIERED}).model,
        base_url="https://generativelanguage.googleapis.com/v1beta/openai",
    )
    assert is_tiered(price)
    usage = Usage(150_000, 0, 10)
    write_part("run1", [vars(usage)] * 2)
    work = repriced(TIERED, base_url="https://generativelanguage.googleapis.com/v1beta/openai")
    assert work["rows"].to_list() == [2]
    assert work["repriced_usd"].sum() == 2 * price.cost_of(usage)
    assert work["repriced_usd"].sum() < price.cost_of(usage + usage)


def test_a_task_keeps_the_model_of_its_record(repriced, write_part, write_run):
    """A task of another model is priced at that model's price, whatever the job says today."""
    own = {"input_usd_per_mtok": 1000.0, "output_usd_per_mtok": 1000.0}
    write_part(
        "run1", [{"input_tokens": 1_000_000, "cached_input_tokens": 0, "output_tokens": 0}], task_key="f" * 16
    )
    write_run("run1", task_key="f" * 16, model="gpt-4o")
    assert repriced(price=own)["repriced_usd"].to_list() == [Decimal("2.5")]


def test_a_task_keeps_the_provider_of_its_record(repriced, write_part, write_run):
    """Whoever the job's provider is today."""
    write_part(
        "run1", [{"input_tokens": 1_000_000, "cached_input_tokens": 0, "output_tokens": 0}], task_key="f" * 16
    )
    asked = {"model": {"provider": "anthropic", "name": "claude-haiku-4-5", "base_url": None}}
    write_run("run1", task_key="f" * 16, job=asked)
    assert repriced()["repriced_usd"].to_list() == [Decimal(1)]


def test_without_a_record_the_reported_model_is_priced(repriced, write_part):
    """A killed run of a task that has no record is priced by the name the provider reported."""
    rows = [
        {"input_tokens": 1_000_000, "cached_input_tokens": 0, "output_tokens": 0, "model": "practice:gpt-4o"}
    ]
    write_part("run1", rows, task_key="practice-" + "f" * 16)
    assert repriced()["repriced_usd"].to_list() == [Decimal("2.5")]


def test_what_no_price_can_know_stays_unknown(repriced, write_part):
    """A model without a price, and an answer without a count of its tokens, are unknown today too."""
    write_part("run1", [{}], task_key="f" * 16)
    write_part("run2", [{"cost_usd": None, "unseen": 1}])
    write_part("run3", [{"model": "nobody-knows-me"}], task_key="e" * 16)
    by_run = {row["run_id"]: row["repriced_usd"] for row in sums_by(repriced(), "run_id")}
    assert by_run["run1"] is not None
    assert by_run["run2"] is None
    assert by_run["run3"] is None


def test_failures_without_tokens_cost_nothing_at_any_price(repriced, write_part):
    """Requests that were never paid need no price."""
    failed = {"label": None, "model": None, "input_tokens": 0, "cached_input_tokens": 0, "output_tokens": 0}
    write_part("run1", [{**failed, "cost_usd": Decimal(0)}], task_key="e" * 16)
    assert repriced()["repriced_usd"].dtype == pl.Decimal(38, 12)
    assert repriced()["repriced_usd"].to_list() == [Decimal(0)]


MILLION = {"input_tokens": 1_000_000, "cached_input_tokens": 0, "output_tokens": 0}


def test_what_the_batch_lane_asked_is_priced_at_its_price(repriced, write_part):
    """Half of the live lane's, within the same run, day and model; parts of older versions were all live."""
    write_part("run1", [{**MILLION, "lane": "batch"}, {**MILLION, "lane": "live"}, MILLION])
    by_lane = {row["lane"]: row["repriced_usd"] for row in sums_by(repriced(), "lane")}
    assert by_lane == {"batch": 0.075, "live": 0.3}
    own = {"input_usd_per_mtok": 8.0, "output_usd_per_mtok": 8.0}
    by_lane = {
        row["lane"]: row["repriced_usd"]
        for row in sums_by(repriced(price=own | {"batch_fraction": 0.25}), "lane")
    }
    assert by_lane == {"batch": 2.0, "live": 16.0}


def test_a_batch_price_that_is_unknown_today_is_not_the_live_one(repriced, write_part):
    """A job's own price without `batch_fraction` prices the live lane alone."""
    write_part("run1", [{**MILLION, "lane": "batch"}])
    write_part("run2", [MILLION])
    own = {"input_usd_per_mtok": 8.0, "output_usd_per_mtok": 8.0}
    by_run = {row["run_id"]: row["repriced_usd"] for row in sums_by(repriced(price=own), "run_id")}
    assert by_run == {"run1": None, "run2": 8.0}


@pytest.fixture
def write_part_as_now(tmp_path, write_part):
    """Write a ledger part with the columns for cache writes and service tiers, whichever of them rows tell."""

    def write(run_id, rows, **where):
        named = ("cache_write_input_tokens", "service_tier")
        write_part(run_id, [{k: v for k, v in row.items() if k not in named} for row in rows], **where)
        (path,) = (tmp_path / "out" / "ledger").glob(f"*/{run_id}-*.parquet")
        told = {
            "cache_write_input_tokens": [row.get("cache_write_input_tokens") for row in rows],
            "service_tier": [row.get("service_tier") for row in rows],
        }
        schema = {"cache_write_input_tokens": pl.Int64, "service_tier": pl.String}
        pl.read_parquet(path).with_columns(pl.DataFrame(told, schema=schema)).write_parquet(path)

    return write


@pytest.fixture
def repriced_rows(job_of, tmp_path):
    """Price ledger parts again as they are on disk, with all their columns, beside those of older versions."""

    def read(model="gpt-4o-mini", by_tokens=False):
        frames = [
            pl.scan_parquet(path).with_columns(task_key=pl.lit(path.parent.name))
            for path in sorted((tmp_path / "out" / "ledger").glob("*/*.parquet"))
        ]
        job = job_of(model={"name": model})
        prices = TodaysPrices(job, [KEY], [], None)
        return reprice(read_work(pl.concat(frames, how="diagonal"), by_tokens=by_tokens), prices)

    return read


@pytest.mark.parametrize("by_tokens", [False, True])
def test_each_service_tier_is_priced_as_its_own(repriced_rows, write_part, write_part_as_now, by_tokens):
    """Within one run, day, model and lane; a tier without a price is unknown, and old parts are standard."""
    write_part_as_now(
        "run1", [MILLION, {**MILLION, "service_tier": "priority"}, {**MILLION, "service_tier": "default"}]
    )
    write_part_as_now("run2", [{**MILLION, "service_tier": "scale"}, MILLION])
    write_part("run3", [MILLION, MILLION])
    work = repriced_rows(by_tokens=by_tokens)
    by_run = {row["run_id"]: row["repriced_usd"] for row in sums_by(work, "run_id")}
    assert by_run == {"run1": pytest.approx(0.55), "run2": None, "run3": 0.3}
    (total,) = sums_by(work)
    assert (total["texts"], total["input_tokens"]) == (7, 7_000_000)


@pytest.mark.parametrize("by_tokens", [False, True])
def test_tokens_written_to_a_cache_are_priced_as_such(
    repriced_rows, write_part, write_part_as_now, by_tokens
):
    """A quarter more with OpenAI's newer models; nothing was known of them in old parts."""
    model = "gpt-5.6-luna"
    hundred = {"input_tokens": 100_000, "cached_input_tokens": 0, "output_tokens": 0, "model": model}
    write_part_as_now("run1", [{**hundred, "cache_write_input_tokens": 100_000}, hundred])
    write_part("run2", [hundred])
    by_run = {row["run_id"]: row for row in sums_by(repriced_rows(model, by_tokens), "run_id")}
    assert by_run["run1"]["repriced_usd"] == pytest.approx(0.025 + 0.02)
    assert by_run["run2"]["repriced_usd"] == pytest.approx(0.02)
    assert [by_run[run]["cache_write_input_tokens"] for run in ("run1", "run2")] == [100_000, 0]


def test_what_a_dearer_model_answered_is_priced_as_its_own(repriced, write_part, write_run):
    """As it was billed: the name in the job is not what was paid for."""
    write_part("run1", [{**MILLION, "model": "gpt-4o-2024-08-06"}, MILLION])
    write_run("run1", task_key=KEY)
    assert _total(repriced())["repriced_usd"] == 2.65
    own = {"input_usd_per_mtok": 1.0, "output_usd_per_mtok": 1.0}
    assert _total(repriced(price=own))["repriced_usd"] == 2.0
