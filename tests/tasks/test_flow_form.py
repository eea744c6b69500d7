"""What a server is told of a flow's parameters."""

import pytest
from prefect import Flow

from flows.compare import compare_strategies
from flows.label import label_dataset


@pytest.mark.parametrize("flow", [label_dataset, compare_strategies], ids=lambda flow: flow.name)
def test_parameters_are_told_as_prefect_would_tell_them(flow, job_of):
    """A job with all kinds of fields and a run's own options are on the server what FastAPI's encoder makes of them."""
    job = job_of(
        labels={"体育": "比赛", "money": ""},
        model={"extra_body": {"top_k": 3, "nested": [{"a": None}]}, "headers": {"X-Team": "news"}},
        run={"lane": "auto", "deadline": "08:00", "max_cost_usd": 0.1},
    )
    parameters = {"job": job, "model_base_url": None, "rows": 3, "concurrency": [1, 2], "max_cost_usd": 0.5}
    told = flow.serialize_parameters(parameters)
    assert told == Flow.serialize_parameters(flow, parameters)
    assert list(told["job"]["labels"]) == ["体育", "money"]
