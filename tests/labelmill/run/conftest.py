"""Ledgers and records as runs leave them."""

import json
from datetime import UTC, datetime
from decimal import Decimal

import polars as pl
import pytest

from labelmill.store.ledger import SCHEMA

FACTS = {
    "label": "sport",
    "error": None,
    "message": None,
    "final": True,
    "ended": True,
    "confidence": None,
    "model": "gpt-4o-mini-2024-07-18",
    "requests": 1,
    "unseen": 0,
    "input_tokens": 100,
    "cached_input_tokens": 40,
    "output_tokens": 2,
    "cost_usd": Decimal("0.001"),
    "unseen_usd": Decimal(0),
    "answered_at_utc": datetime(2026, 11, 23, 12, tzinfo=UTC),
}


@pytest.fixture
def write_part(tmp_path):
    """Write a ledger part: `write_part(run_id, [{...what differs from a plain answer...}, ...])`."""

    def write(run_id, rows, task_key="0123456789abcdef", chunk=0):
        folder = tmp_path / "out" / "ledger" / task_key
        folder.mkdir(parents=True, exist_ok=True)
        full = [
            {"row_key": f"v1:{number}", "run_id": run_id, **FACTS, **row} for number, row in enumerate(rows)
        ]
        pl.DataFrame(full, schema=SCHEMA).write_parquet(folder / f"{run_id}-{chunk:05d}.parquet")

    return write


@pytest.fixture
def write_run(tmp_path):
    """Write what the history needs of a run's record."""

    def write(run_id, task_key="0123456789abcdef", model="gpt-4o-mini", **facts):
        folder = tmp_path / "out" / "runs" / run_id
        folder.mkdir(parents=True)
        record = {
            "run_id": run_id,
            "status": "completed",
            "practice": task_key.startswith("practice-"),
            "task_key": task_key,
            "job": {"model": {"name": model, "base_url": None}},
            "started_at_utc": "2026-11-23T12:00:00Z",
            **facts,
        }
        (folder / "run.json").write_text(json.dumps(record))

    return write
