"""Whole jobs without Prefect: what a run leaves, how it is stopped, and that nothing of Prefect is needed for it."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from labelmill.check import dataset
from labelmill.dataset.columns import failure_columns, label_columns
from labelmill.errors import CannotWrite, JobRefused, RunStopped
from labelmill.live.progress import viewer
from labelmill.pipeline.compare import compare
from labelmill.pipeline.label import label
from labelmill.run.counts import Bill, work_of_run
from labelmill.run.runner import Runner
from labelmill.store.files import FileStamp
from labelmill.store.folder import OutputFolder
from labelmill.store.parts import parts_in
from practice import FaultKind, PracticeSettings

ROOT = Path(__file__).parents[3]
TEXTS = [f"the {word} of day {number}" for number in range(20) for word in ("match", "bank")]
SCRIPT = """
import json, sys
from pathlib import Path
from labelmill.job.model import LabelJob
from labelmill.pipeline.label import label
record = label(LabelJob.model_validate_json(Path(sys.argv[1]).read_bytes()), sys.argv[2])
prefects = sorted(name for name in sys.modules if name.split(".")[0] == "prefect")
print(json.dumps({"status": record.status, "labeled": record.rows_labeled, "prefects": prefects}))
"""


def in_output(tmp_path):
    """The names of the files in the output folder, but for its ledger."""
    out = tmp_path / "out"
    files = (path.relative_to(out) for path in out.rglob("*") if path.is_file())
    return sorted(path.name for path in files if path.parts[0] != "ledger")


@pytest.mark.slow
@pytest.mark.parametrize("lane", ["live", "batch"])
def test_a_whole_job_is_labeled_in_an_interpreter_that_has_no_prefect(
    practice, job_of, write_texts, tmp_path, lane
):
    """On each lane: every row has its label, the run leaves all its files, and no module of Prefect was imported."""
    write_texts(TEXTS)
    job = tmp_path / "job.json"
    job.write_text(job_of(run={"lane": lane, "poll_seconds": 0.05}).model_dump_json())
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, job, practice.base_url],
        capture_output=True,
        text=True,
        check=True,
        cwd=ROOT,
    )
    assert json.loads(done.stdout) == {"status": "completed", "labeled": len(TEXTS), "prefects": []}
    assert {"source.parquet", "run.json", "costs.parquet", "report.html", "_manifest.json"} <= set(
        in_output(tmp_path)
    )
    labeled = pl.read_parquet(tmp_path / "out" / "labeled" / "source.parquet")
    assert labeled["label_status"].unique().to_list() == ["ok"]


def test_a_second_run_asks_nothing(practice, job_of, write_texts):
    """The ledger remembers, whoever runs the job."""
    write_texts(TEXTS)
    label(job_of(), practice.base_url)
    asked = practice.totals()["requests"]
    record = label(job_of(), practice.base_url)
    assert (record.status, record.rows_reused, practice.totals()["requests"]) == ("completed", 40, asked)


def test_a_run_says_once_what_it_passed_over(practice, job_of, write_texts, tmp_path, caplog):
    """A file that is hidden is not labeled, and that stands in the log and beside the run's numbers."""
    write_texts(TEXTS)
    (tmp_path / "in" / "_old").mkdir(parents=True)
    for name in ("a.parquet", "_old/b.parquet"):
        shutil.copy(tmp_path / "source.parquet", tmp_path / "in" / name)
    record = label(job_of(source={"path": str(tmp_path / "in")}), practice.base_url)
    sentence = (
        f"Not labeled from '{tmp_path}/in': hidden by a name that begins with . or _: 1 ('_old/b.parquet')"
    )
    assert (record.rows_total, record.notices) == (len(TEXTS), [sentence])
    assert [said.message for said in caplog.records].count(sentence) == 1


def test_texts_that_are_json_are_labeled(practice, job_of, tmp_path):
    """A payload is sent as it stands, whether its writer calls it JSON or just bytes."""
    payloads = [json.dumps({"title": text}) for text in TEXTS]
    columns = {
        "json": pa.array(payloads, pa.json_()),
        "bytes": pa.array([text.encode() for text in payloads]),
    }
    pq.write_table(pa.table(columns), tmp_path / "source.parquet", store_schema=False)
    for column in columns:
        record = label(job_of(source={"text": column}), practice.base_url)
        assert (record.status, record.rows_labeled) == ("completed", 40)
    # Both are the same texts.
    assert practice.totals()["requests"] == 40


def test_a_dataset_that_has_a_label_is_labeled_under_a_prefix(practice, job_of, tmp_path):
    """Its own columns stay, ours begin with the prefix, wherever they are written, counted and shown; another prefix costs nothing."""
    practice.configure(PracticeSettings(faults={FaultKind.TOO_LONG: 0.4}))
    own = pl.DataFrame({"text": TEXTS, "Label": ["own"] * 40, "failure_kind": ["own"] * 40})
    own.write_parquet(tmp_path / "source.parquet")
    asked = None
    for prefix in ("lm_", "x"):
        job = job_of(
            output={"path": str(tmp_path / "out"), "column_prefix": prefix}, run={"max_failed_fraction": 1.0}
        )
        record = label(job, practice.base_url)
        labeled = pl.read_parquet(record.labeled_path + "/*.parquet")
        assert labeled.columns == [*own.columns, *label_columns(prefix)]
        assert labeled.select(own.columns).equals(own)
        counts = dict(labeled.group_by(f"{prefix}label_status").len().iter_rows())
        assert counts == {"ok": record.rows_labeled, "failed": record.rows_failed}
        assert len(counts) == 2
        assert record.labels == dict(labeled[f"{prefix}label"].drop_nulls().value_counts().iter_rows())
        failed = pl.read_parquet(record.failed_path)
        assert failed.columns == [*own.columns, *failure_columns(prefix)]
        assert failed["failure_kind"].unique().to_list() == ["own"]
        assert failed[f"{prefix}failure_kind"].unique().to_list() == ["too_long"]
        manifest = json.loads((tmp_path / "out" / "_manifest.json").read_bytes())
        assert (manifest["column_prefix"], list(manifest["label_columns"])) == (
            prefix,
            [*label_columns(prefix)],
        )
        page = (tmp_path / "out" / "runs" / record.run_id / "report.html").read_text()
        assert failed["text"][0] in page
        asked = asked or practice.totals()["requests"]
    assert practice.totals()["requests"] == asked


def test_what_the_provider_failed_at_is_asked_once_more_at_the_end(practice, job_of, write_texts):
    """The last pass belongs to the run, not to whatever shows it."""
    practice.configure(PracticeSettings(faults={FaultKind.SERVER_ERROR: 0.6}))
    write_texts(TEXTS)
    steps = []

    class Recorded(Runner):
        def step(self, kind, do, name=None, *, asks=False):
            steps.append(name or kind)
            return super().step(kind, do, name, asks=asks)

    job = job_of(run={"max_attempts": 2, "stop_at_failed_fraction": 1.0, "max_failed_fraction": 1.0})
    label(job, practice.base_url, runner=Recorded(job))
    assert steps == ["plan", "classify", "plan", "classify", "merge", "publish"]


def test_a_job_with_mistakes_is_refused_before_anything_is_asked(practice, job_of, write_texts):
    """All of them at once, under the job's name."""
    write_texts(TEXTS)
    job = job_of(source={"text": "nothing"}, run={"deadline": "08:00"})
    with pytest.raises(JobRefused) as refused:
        label(job, practice.base_url)
    assert [mistake.where for mistake in refused.value.mistakes] == [
        "test, source.text",
        "test, run.deadline",
    ]
    assert practice.totals()["requests"] == 0


def test_whoever_begins_a_run_is_shown_its_progress(practice, job_of, write_texts):
    """A terminal's bar needs no name of the run to find it; outside the context nobody is told."""
    write_texts(TEXTS)
    begun = []
    token = viewer.set(begun.append)
    try:
        label(job_of(), practice.base_url)
    finally:
        viewer.reset(token)
    label(job_of(), practice.base_url)
    assert [(progress.now().done, progress.now().pause) for progress in begun] == [(40, None)]


def test_a_chunk_that_breaks_stops_the_run_and_keeps_the_others(practice, job_of, write_texts, monkeypatch):
    """All chunks are waited for, and the run says which error it was."""
    write_texts(TEXTS)
    read = "labelmill.run.classify.read_chunk"
    whole = sys.modules["labelmill.dataset.plan"].read_chunk

    def broken(texts, chunk):
        if chunk.number == 1:
            raise ZeroDivisionError("by nothing")
        return whole(texts, chunk)

    monkeypatch.setattr(read, broken)
    record = label(job_of(run={"rows_per_chunk": 10}), practice.base_url)
    assert record.status == "failed"
    assert "a chunk could not be classified: ZeroDivisionError: by nothing" in record.message
    assert record.rows_labeled > 0


def test_a_full_disk_is_a_sentence(practice, job_of, write_texts, monkeypatch):
    """Nothing of Prefect is needed to say it."""
    write_texts(TEXTS)

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("labelmill.pipeline.label.write_record", full)
    with pytest.raises(CannotWrite, match="can't be written: No space left on device"):
        label(job_of(), practice.base_url)


def test_a_run_that_is_stopped_publishes_what_it_has(practice, job_of, write_texts):
    """Through the one signal that its parts share."""
    write_texts(TEXTS)

    class Stopped(Runner):
        def watch(self, context):
            context.stop_signal.stop(RunStopped("cancelled", "enough"))
            return super().watch(context)

    record = label(job_of(), practice.base_url, runner=Stopped(job_of()))
    assert (record.status, record.message, record.rows_pending) == ("cancelled", "enough", 40)


def test_strategies_are_compared_without_prefect_too(practice, job_of, write_texts, tmp_path):
    """The batch lane among them, settled by the loop that settles a run's batches."""
    write_texts(TEXTS)
    job = job_of(run={"poll_seconds": 0.05})
    comparison = compare(job, practice.base_url, rows=8, concurrency=[4], batch_wait_minutes=1)
    assert (comparison.status, comparison.rows) == ("completed", 8)
    assert [one.strategy for one in comparison.strategies] == ["sequential", "batch", "chunks", "batch_lane"]
    assert {one.labeled for one in comparison.strategies} == {8}
    assert "compare.json" in in_output(tmp_path)


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (None, ""),
        (OSError(28, "No space left on device"), "No space left"),
        (KeyboardInterrupt(), "interrupted"),
    ],
)
def test_runs_and_comparisons_leave_a_ledger_of_few_parts(
    practice, job_of, write_texts, tmp_path, monkeypatch, caplog, error, words
):
    """Bills by chunk, earlier runs' sums and labels are as ever; where it fails or is ended, a line says so and the run ends well."""
    chunks = len(TEXTS) // 4
    if error:

        def fail(*_):
            raise error

        monkeypatch.setattr("labelmill.store.compaction.footer_of_compacted", fail)
    job = job_of(run={"rows_per_chunk": 4})
    write_texts(TEXTS)
    records = [label(job, practice.base_url)]
    write_texts([*TEXTS, *(f"the next {text}" for text in TEXTS)])
    records.append(label(job, practice.base_url))
    parts = parts_in(OutputFolder.of(job).ledger(records[0].task_key))
    assert len(parts) == (2 * chunks if error else 1)
    assert words in caplog.text
    assert ("as many parts" in caplog.text) == bool(error)
    for record in records:
        work = work_of_run(OutputFolder.of(job).ledgers, record.run_id, record.task_key)
        assert {name: getattr(record, name) for name in Bill.model_fields} == {
            name: getattr(work, name) for name in Bill.model_fields
        }
        costs = pl.read_parquet(tmp_path / "out" / "runs" / record.run_id / "costs.parquet")
        assert costs.sort("chunk")["chunk"].to_list() == list(range(chunks))
    again = label(job, practice.base_url)
    assert (again.status, again.requests, again.rows_reused) == ("completed", 0, 2 * len(TEXTS))
    comparison = compare(job, practice.base_url, rows=8, concurrency=range(1, 8), batch_wait_minutes=0)
    assert [strategy.labeled for strategy in comparison.strategies] == [8] * len(comparison.strategies)
    assert error or len(parts_in(parts[0].parent)) == 1


def test_what_was_labeled_and_has_not_changed_is_not_looked_into_again(
    job_of, write_texts, practice, monkeypatch, tmp_path
):
    """A day's check reads the day's files; with another text or prefix it reads all."""
    looked_into = []
    read_footer = dataset.read_footer
    monkeypatch.setattr(
        dataset, "read_footer", lambda path: looked_into.append(path.name) or read_footer(path)
    )
    monkeypatch.setattr(FileStamp, "is_older_than", lambda _stamp, _moment: True)
    practice.configure(PracticeSettings())
    (tmp_path / "source").mkdir()
    write_texts(["the match"], "source/a.parquet")
    job = job_of(source={"path": str(tmp_path / "source")})
    label(job, practice.base_url)
    assert looked_into == ["a.parquet"]
    write_texts(["the bank"], "source/b.parquet")
    label(job, practice.base_url)
    assert looked_into == ["a.parquet", "b.parquet"]
    label(job, practice.base_url)
    assert looked_into == ["a.parquet", "b.parquet"]
    label(
        job_of(source={"path": str(tmp_path / "source")}, output={"column_prefix": "lm_"}), practice.base_url
    )
    assert looked_into == ["a.parquet", "b.parquet"] * 2
