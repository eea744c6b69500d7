"""The events of a run that a person should look at, and when a dataset is announced as labeled."""

import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import tasks.artifacts
import tasks.asset
from commands.run import exit_code_of
from flows.label import label_dataset
from practice import PracticeSettings
from tasks.states import record_in

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


def test_a_run_that_left_out_a_file_is_failed_and_announced_all_the_same(
    announced, practice, job_of, write_texts, tmp_path
):
    """Somebody has to mend the file; the others are labeled, and whoever waits for them hears of it."""
    practice.configure(PracticeSettings())
    (tmp_path / "source").mkdir()
    write_texts(["the match", "the market"], "source/1.parquet")
    write_texts(["the bank"], "source/2.parquet")
    broken = tmp_path / "source" / "0.parquet"
    table = pa.table({"id": [1], "text": ["a first text"]})
    pq.write_table(table, broken, use_dictionary=False, compression="none")
    broken.write_bytes(broken.read_bytes().replace(b"a first text", b"\xff" * 12))
    job = job_of(source={"path": str(tmp_path / "source")})
    state = label_dataset(job, practice.base_url, return_state=True)
    record = record_in(state)
    assert (state.is_failed(), record.status, exit_code_of(record)) == (True, "files_unreadable", 6)
    assert str(broken) in state.message
    (event,) = announced["events"]
    assert event["event"] == "labelmill.run.files-unreadable"
    assert event["payload"]["unreadable_files"][0]["column"] == "text"
    (asset,) = announced["assets"].values()
    assert (asset["rows_labeled"], asset["rows_unreadable"], asset["schema"]["label"]) == (3, 1, "String")


@pytest.mark.usefixtures("announced")
@pytest.mark.parametrize(
    "name",
    [
        "create_markdown_artifact",
        "create_table_artifact",
        "emit_event",
        "scan_parquet",
    ],
)
def test_prefect_that_does_not_take_it_costs_no_run(
    practice, job_of, write_texts, monkeypatch, tmp_path, name
):
    """An artifact, an asset or an event that can't be made is a sentence in the record; the run ends as it would have."""

    def broken(*_, **__):
        raise RuntimeError("the server is away")

    module = tasks.artifacts if name.endswith("artifact") else tasks.asset
    write_texts(["the match", "the market"])
    practice.configure(PracticeSettings())
    monkeypatch.setattr(module, name, broken)
    settings = {"max_cost_usd": 0} if name == "emit_event" else {}
    state = label_dataset(job_of(run=settings), practice.base_url, return_state=True)
    record = record_in(state)
    assert (state.is_completed(), record.status) == (True, "budget_reached" if settings else "completed")
    (sentence,) = record.omissions
    assert sentence.endswith(": RuntimeError: the server is away")
    written = json.loads((tmp_path / "out" / "runs" / record.run_id / "run.json").read_bytes())
    assert written["notices"] == [sentence]
