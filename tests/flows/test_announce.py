"""The events of a run that a person should look at, and when a dataset is announced as labeled."""

import pytest

import tasks.asset
from flows.label import label_dataset
from practice import PracticeSettings

pytestmark = pytest.mark.usefixtures("prefect_server")


@pytest.fixture
def announced(monkeypatch):
    """What was announced: the events, and the metadata of assets."""
    told = {"events": [], "assets": {}}
    monkeypatch.setattr(tasks.asset, "emit_event", lambda **event: told["events"].append(event))
    monkeypatch.setattr(
        tasks.asset, "add_asset_metadata", lambda key, metadata: told["assets"].update({key: metadata})
    )
    return told


def test_a_labeled_dataset_is_an_asset_with_what_its_readers_ask(
    announced, practice, job_of, write_texts, tmp_path
):
    """A completed run announces rows, labels, cost, run id, schema and paths, and raises no alarm."""
    write_texts(["the match", "the market"])
    practice.configure(PracticeSettings())
    record = label_dataset(job_of(), practice.base_url, return_state=True).result()
    (asset,) = announced["assets"].values()
    assert list(announced["assets"]) == [f"file://{tmp_path}/out/labeled"]
    assert (asset["rows_labeled"], asset["labels"], asset["run_id"]) == (2, record.labels, record.run_id)
    assert asset["cost_usd"] == record.cost_usd
    assert asset["schema"]["label"] == "String"
    assert asset["labeled_path"] == str(tmp_path / "out" / "labeled")
    assert announced["events"] == []


@pytest.mark.parametrize(
    ("settings", "run", "event", "is_asset"),
    [
        (PracticeSettings(), {"max_cost_usd": 0}, "labelmill.run.budget-reached", True),
        (
            PracticeSettings(stubborn_faults={"content_filter": 1}),
            {},
            "labelmill.run.too-many-failures",
            False,
        ),
        (PracticeSettings(required_key="another"), {}, "labelmill.run.failed", False),
    ],
)
def test_a_run_that_a_person_should_look_at_is_an_event(
    announced, practice, job_of, write_texts, settings, run, event, is_asset
):
    """Each kind of bad end has an event with labels that are strings and a sentence; only a budget's keeps the asset."""
    write_texts(["the match", "the market", None])
    practice.configure(settings)
    label_dataset(job_of(name="daily news", run=run), practice.base_url, return_state=True)
    (told,) = announced["events"]
    assert told["event"] == event
    assert told["resource"]["prefect.resource.name"] == "daily news"
    assert all(isinstance(label, str) for label in told["resource"].values())
    assert told["payload"]["sentence"]
    assert told["payload"]["rows_empty"] == 1
    assert bool(told["payload"]["provider_messages"]) is (event != "labelmill.run.budget-reached")
    assert bool(announced["assets"]) == is_asset
