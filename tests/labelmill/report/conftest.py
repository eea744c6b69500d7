"""Records to report on."""

from datetime import UTC, datetime, timedelta

import pytest

from labelmill.run.record import RunRecord

STARTED = datetime(2026, 3, 1, 12, tzinfo=UTC)

PRICE = {
    "source": "genai-prices 0.2.3",
    "provider": "openai",
    "model": "gpt-4o-mini",
    "input_usd_per_mtok": 0.15,
    "cached_input_usd_per_mtok": 0.075,
    "output_usd_per_mtok": 0.6,
}

HOSTILE = [
    "<script>alert(1)</script>",
    "<img src=http://evil.example/x onerror=alert(1)>",
    "a | b || c",
    "`code` ``more``",
    "*bold* _it_ ~gone~ **b**",
    "[link](http://evil.example) ![i](http://evil.example/i.png)",
    "<http://evil.example>",
    "see http://evil.example or www.evil.example",
    "&lt;b&gt; &amp; &#60; &nbsp;",
    "$x$ {y} #z +w !v \\u \\",
    "line\nbreak\r\n# Title\n\n- item",
    "NUL\x00 ESC\x1b[31m",
    "\u202eright to left\u2066\u200f\u061c",
    "\ufeff\u200bhidden\u2028separator",
    '"quoted" \'single\'" onload="x',
    "|---|",
    "</table></style></title><svg/onload=x>",
]
"""Texts from outside, as labels, names, messages and paths may hold them."""


@pytest.fixture
def record_of(job_of):
    """Build a run's record with something in every field, some of them replaced."""

    def build(job=None, **fields):
        values = {
            "run_id": "20260301-120000-ab12",
            "status": "completed",
            "message": None,
            "practice": False,
            "job": job or job_of(),
            "task_key": "0123456789abcdef",
            "rows_total": 1000,
            "rows_labeled": 950,
            "rows_reused": 100,
            "rows_failed": 30,
            "rows_pending": 20,
            "texts_asked": 900,
            "texts_labeled": 600,
            "requests": 910,
            "requests_without_usage": 0,
            "input_tokens": 450_000,
            "cached_input_tokens": 1_000,
            "output_tokens": 20_000,
            "cost_usd": 0.079425,
            "unseen_usd": 0.0,
            "price": PRICE,
            "seconds": 83.2,
            "labels": {"sport": 600, "money": 350},
            "failures": {"off_label": 25, "refused": 5},
            "started_at_utc": STARTED,
            "finished_at_utc": STARTED + timedelta(seconds=83.2),
            "labeled_path": "out/labeled",
            "failed_path": "out/failed/20260301-120000-ab12.parquet",
        }
        return RunRecord.model_validate(values | fields)

    return build


def batch_of(**fields):
    """What a record holds of a batch, some of it replaced."""
    return {
        "name": "20260301-120000-ab12-000",
        "batch_id": "batch_1",
        "step": "harvested",
        "status": "completed",
        "texts": 4000,
        "run_id": "20260301-120000-ab12",
        **fields,
    }


@pytest.fixture
def batch():
    """Build what a record holds of a batch: `batch(step="sent")`."""
    return batch_of


@pytest.fixture(params=HOSTILE, ids=lambda text: ascii(text[:14]))
def hostile(request):
    """One hostile text after the other."""
    return request.param
