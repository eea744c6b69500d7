"""The comparison's flow as Prefect shows it, with a real Prefect server: names, artifacts, and the state of each ending."""

import re

import pytest
from prefect.client.schemas.objects import StateType

from flows.compare import compare_strategies
from labelmill.errors import JobRefused, RunFailed
from practice import PracticeSettings

pytestmark = pytest.mark.usefixtures("prefect_server")

TEXTS = [f"the {word} of day {number}" for number in range(30) for word in ("match", "market")]


@pytest.fixture
def compare(practice, left_by):
    """Run the flow against the session's practice provider and return its state and comparison."""

    def run_flow(job, settings=None, rows=20, concurrency=(1, 3), batch_wait_minutes=0):
        practice.configure(settings or PracticeSettings())
        practice.reset()
        state = compare_strategies(
            job, rows, list(concurrency), practice.base_url, batch_wait_minutes, return_state=True
        )
        return state, left_by(state)

    return run_flow


def test_the_page_a_person_looks_at(compare, job_of, write_texts, seen):
    """The flow run and its task runs are named after what they do, and the artifact has the table and the chart."""
    write_texts(TEXTS)
    state, comparison = compare(job_of())

    flow_run, artifacts, task_runs = seen(state, lambda names: len(names) >= 7)
    started = flow_run.expected_start_time.astimezone()
    assert flow_run.name == f"test compare {started:%Y-%m-%d %H:%M:%S}"
    assert set(flow_run.tags) == {"test", "labelmill"}
    assert {task_run.name for task_run in task_runs} == {
        "sample",
        "compare warm-up",
        "compare sequential",
        "compare batch, 1 at once",
        "compare batch, 3 at once",
        "compare chunks, up to 32 at once",
        "publish",
    }
    found = {artifact.key: artifact.data for artifact in artifacts}
    assert found.keys() == {"test-compare", "test-progress"}
    report = found["test-compare"]
    assert f"comparison `{comparison.run_id}`" in report
    assert len(re.findall(r"^\| (sequential|batch|chunks)", report, flags=re.MULTILINE)) == 4 * 2
    assert report.count("](data:image/svg+xml;base64,") == 1
    assert found["test-progress"] == 100


@pytest.mark.parametrize(
    ("status", "settings", "asked", "minutes", "kind", "name"),
    [
        (
            "budget_reached",
            PracticeSettings(),
            {"max_cost_usd": 0.0001},
            0,
            StateType.COMPLETED,
            "BudgetReached",
        ),
        (
            "waiting",
            PracticeSettings(batch_seconds=3600),
            {"poll_seconds": 0.2},
            0.001,
            StateType.COMPLETED,
            "Waiting",
        ),
        ("failed", PracticeSettings(required_key="another"), {}, 0, StateType.FAILED, "Failed"),
    ],
)
def test_each_ending_is_a_state_of_its_own_and_holds_the_comparison(
    compare, job_of, write_texts, status, settings, asked, minutes, kind, name
):
    """The state's type, name and message say how the comparison ended; one that failed raises an error with its record."""
    write_texts(TEXTS[:6])
    state, comparison = compare(
        job_of(run=asked), settings, rows=3, concurrency=[2], batch_wait_minutes=minutes
    )
    assert (comparison.status, state.type, state.name) == (status, kind, name)
    assert state.message.startswith("3 texts, ")
    assert comparison.message in state.message
    if kind is StateType.FAILED:
        with pytest.raises(RunFailed) as failed:
            state.result()
        assert failed.value.record == comparison
    else:
        assert state.result() == comparison


def test_a_source_without_texts_is_a_failed_state_in_a_sentence(compare, practice, job_of, write_texts):
    """Nothing to ask is a sentence before the first request."""
    write_texts([None, " "])
    state, refused = compare(job_of())
    assert isinstance(refused, JobRefused)
    assert (state.is_failed(), "no row has a text" in state.message) == (True, True)
    assert practice.totals()["requests"] == 0
