"""History at today's prices: the stored tokens priced again. Nothing is written."""

from collections.abc import Iterable
from decimal import Decimal
from typing import Any

import polars as pl
from pydantic import ValidationError

from labelmill.job.model import LabelJob, Model
from labelmill.money.prices import PRACTICE_MODEL, Lane, Price, surcharge_of
from labelmill.money.usage import Usage
from labelmill.providers.table import price_of
from labelmill.run.history import TOKENS, RunFacts
from labelmill.store.ledger import MONEY

RATES = ("input_usd_per_mtok", "cached_input_usd_per_mtok", "output_usd_per_mtok")


class TodaysPrices:
    """Today's price of each task's model: the job's own `[price]` for the job's model, genai-prices for the others.

    A task's model is the name its job gave, which all records of the task have in common; where no record is left,
    the name that the provider reported.

    Args:
        job: the job as it is now.
        task_key: the job's task, without the mark of practice.
        runs: the records of past runs.
        base_url: where the job's requests go, as far as it is known.
    """

    def __init__(
        self, job: LabelJob, task_keys: Iterable[str], runs: Iterable[RunFacts], base_url: str | None
    ) -> None:
        self._job = job
        self._base_url = base_url
        self._models = {run.task_key: run.model for run in runs if run.task_key and run.model.get("name")}
        self._models |= dict.fromkeys(task_keys, job.model.model_dump())
        self._prices: dict[tuple[str, str, str | None, str | None, Lane], Price | None] = {}

    def of(self, task_key: str, reported: str | None, lane: Lane) -> Price | None:
        """The price of a task's tokens on a lane; None where it is unknown. A dearer model that answered has its own."""
        known = self._models.get(task_key)
        name = str(known["name"]) if known else (reported or "").removeprefix(PRACTICE_MODEL)
        base_url, class_name = (known.get(field) if known else None for field in ("base_url", "class"))
        provider = str((known or {}).get("provider") or self._job.model.provider)
        key = (provider, name, class_name, base_url, lane)
        if key not in self._prices:
            self._prices[key] = self._price_of(*key)
        surcharge = surcharge_of(self._prices[key], reported)
        return surcharge.price if surcharge else self._prices[key]

    def _price_of(
        self, provider: str, name: str, class_name: str | None, base_url: str | None, lane: Lane
    ) -> Price | None:
        try:
            model = Model.model_validate({"provider": provider, "name": name, "class": class_name})
        except ValidationError:
            return None
        own = self._job.price if name == self._job.model.name else None
        return price_of(model, own, base_url or self._base_url, lane)

    def need_texts(self, cells: pl.DataFrame) -> bool:
        """Whether any price has tiers, so that sums of tokens can't be priced, only single texts."""
        prices = [self.of(*cell) for cell in cells.select("task_key", "model", "lane").unique().iter_rows()]
        return any(price is not None and is_tiered(price) for price in prices)


def is_tiered(price: Price) -> bool:
    """Whether the price of a token depends on how many there are in a request."""
    return any(price.entry.get(rate) is None for rate in RATES)


def reprice(work: pl.DataFrame, prices: TodaysPrices) -> pl.DataFrame:
    """The same work with `repriced_usd`; null where the price is unknown today, at that service tier too, or tokens are.

    Work has to be by tokens where a price has tiers; each text is then priced as one request.
    """
    return work.with_columns(
        repriced_usd=pl.Series(
            [
                _cost_of(row, prices.of(row["task_key"], row["model"], row["lane"]))
                for row in work.iter_rows(named=True)
            ],
            dtype=MONEY,
        )
    )


def _cost_of(row: dict[str, Any], price: Price | None) -> Decimal | None:
    if not any(row[name] for name in TOKENS) and not row["costs_unknown"]:
        return Decimal(0)
    if price is None or row["usage_unknown"]:
        return None
    per_text = "text_input_tokens" in row
    counts = (row[f"text_{name}"] if per_text else row[name] for name in TOKENS)
    cost = price.cost_of(Usage(*counts), row["service_tier"])
    return cost * int(row["rows"]) if cost is not None and per_text else cost
