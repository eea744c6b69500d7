"""`labelmill.label`: frames of every kind and files, their bill, mistakes, endings and Ctrl-C, over real HTTP."""

import asyncio
import gc
import json
import logging
import os
import signal
import subprocess
import sys
import threading
from datetime import date
from decimal import Decimal
from pathlib import Path

import pandas as pd
import polars as pl
import polars.testing
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from servers.base import Endpoint, completion, error, right_label

import labelmill
from labelmill.dataset.columns import LABEL_COLUMNS
from labelmill.job.model import Run
from labelmill.pipeline.label import label as run_job
from labelmill.store.folder import OutputFolder
from practice import PracticeSettings

ROOT = Path(__file__).parents[3]
TEXTS = ["the match", "the bank", None, "the match", "  ", "the market"]
STATUSES = ["ok", "ok", "empty", "ok", "empty", "ok"]
LABELS = {"sport": "football, match", "money": "bank, market"}
RIGHT = ["sport", "money", None, "sport", None, "money"]


@pytest.fixture
def server(tmp_path, monkeypatch):
    """The endpoint that the environment names, in an empty folder."""
    monkeypatch.chdir(tmp_path)
    with Endpoint() as endpoint:
        monkeypatch.setenv("OPENAI_BASE_URL", endpoint.base_url)
        monkeypatch.setenv("OPENAI_API_KEY", "sk-marked-0123456789abcdef")
        yield endpoint


def called(data, **options):
    """A call over `TEXTS`."""
    return labelmill.label(data, **{"text": "text", "labels": LABELS, "model": "gpt-4o-mini", **options})


def polars_frame():
    """Columns of many types beside the texts."""
    return pl.DataFrame(
        {
            "id": pl.Series([3, 1, 2, 9, 5, 4], dtype=pl.UInt8),
            "text": TEXTS,
            "when": [date(2026, 11, day) for day in range(1, 7)],
            "price": pl.Series([Decimal("1.10")] * 6, dtype=pl.Decimal(10, 2)),
            "kind": pl.Series(["a", "b", None, "a", "a", "b"], dtype=pl.Enum(["a", "b"])),
            "many": [[1], [], None, [2, 3], [4], [5]],
            "object": [{"a": 1}] * 6,
        }
    )


def test_a_polars_frame_comes_back_with_its_labels(server):
    """Its own columns are the very same, its rows in their order; equal texts are asked once, and empty ones never."""
    frame = polars_frame()
    labeled = called(frame)
    assert isinstance(labeled, pl.DataFrame)
    assert labeled.columns == [*frame.columns, *LABEL_COLUMNS]
    pl.testing.assert_frame_equal(labeled.select(frame.columns), frame)
    assert labeled.schema == {**frame.schema, **LABEL_COLUMNS}
    assert (labeled["label"].to_list(), labeled["label_status"].to_list()) == (RIGHT, STATUSES)
    assert server.requests == 3


def test_a_lazy_frame_comes_back_lazy_and_finds_its_labels_by_the_texts(server):
    """Also where its rows come in another order when it is collected, and a row that came later is pending."""
    rows = [polars_frame()]
    labeled = called(polars_frame().lazy().map_batches(lambda _: rows[-1]))
    assert isinstance(labeled, pl.LazyFrame)
    found = labeled.collect()
    assert (found["label"].to_list(), found["label_status"].to_list()) == (RIGHT, STATUSES)
    assert found.schema == {**polars_frame().schema, **LABEL_COLUMNS}
    more = polars_frame().tail(1).with_columns(text=pl.lit("a new text"))
    rows.append(pl.concat([more, polars_frame().reverse()]))
    found = labeled.collect()
    assert found["label"].to_list() == [None, *reversed(RIGHT)]
    assert found["label_status"].to_list() == ["pending", *reversed(STATUSES)]
    assert server.requests == 3


@pytest.mark.usefixtures("server")
def test_a_pandas_frame_keeps_its_index_and_its_types():
    """An index with the same value twice too, columns named alike or by numbers, and what hangs on the frame."""
    frame = pd.DataFrame(
        {
            "text": TEXTS,
            "kind": pd.Categorical(["a", "b", "a", "a", "b", "a"]),
            "count": pd.array([1, None, 3, 4, 5, 6], dtype="Int64"),
            "when": pd.date_range("2026-11-01", periods=6, tz="Asia/Shanghai"),
            7: [object()] * 6,
        },
        index=pd.MultiIndex.from_tuples([("x", 1), ("x", 1), ("y", 2), ("z", 3), ("z", 4), ("z", 5)]),
    )
    frame.insert(1, "again", 1)
    frame.columns = [*frame.columns[:-1], "kind"]
    frame.attrs["source"] = "newsroom"
    before = frame.copy()
    labeled = called(frame)
    assert list(labeled.columns) == [*frame.columns, *LABEL_COLUMNS]
    pd.testing.assert_frame_equal(labeled.iloc[:, : frame.shape[1]], before)
    pd.testing.assert_frame_equal(frame, before)
    assert labeled.attrs == frame.attrs
    assert labeled["label"].astype(object).where(labeled["label"].notna(), None).to_list() == RIGHT
    assert labeled["label_status"].to_list() == STATUSES
    assert labeled["label_confidence"].dtype == "float64"


def test_a_table_of_pyarrow_keeps_its_schema(server):
    """Types, metadata and nullability, and text as a dictionary or as a view."""
    fields = [
        pa.field("text", pa.dictionary(pa.int8(), pa.string()), metadata={"lang": "en"}),
        pa.field("id", pa.int16(), nullable=False),
        pa.field("body", pa.string_view()),
    ]
    schema = pa.schema(fields, metadata={"made by": "newsroom"})
    table = pa.table(
        [pa.array(TEXTS).dictionary_encode().cast(fields[0].type), range(6), TEXTS], schema=schema
    )
    for text in ("text", "body"):
        labeled = called(table, text=text)
        assert isinstance(labeled, pa.Table)
        assert labeled.select(schema.names).equals(table, check_metadata=True)
        assert labeled.column_names == [*schema.names, *LABEL_COLUMNS]
        assert labeled["label"].to_pylist() == RIGHT
    assert server.requests == 3


def test_files_are_labeled_as_a_job_file_would_have_it(server, tmp_path):
    """What comes back is the record; the folder has the file's name; the same task of a job file pays for nothing then."""
    pl.DataFrame({"text": TEXTS}).write_parquet("articles.parquet")
    record = called(tmp_path / "articles.parquet")
    assert (record.status, record.rows_labeled, record.job.name) == ("completed", 4, "articles")
    assert record.labeled_path == str(tmp_path / "labelmill-out/articles/labeled")
    assert pl.read_parquet(f"{record.labeled_path}/articles.parquet")["label"].to_list() == RIGHT
    again = run_job(record.job.model_copy(update={"name": "by a job file"}))
    assert (again.requests, server.requests) == (0, 3)


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("articles.parquet", "articles"),
        ("news", "news"),
        ("news/*.parquet", "news"),
        ("news/../news/a*.parquet", "news"),
        ("news/a%b.parquet", "a-b"),
    ],
)
@pytest.mark.usefixtures("server")
def test_a_path_names_its_job_and_its_output(tmp_path, path, name):
    """A file, a folder, a glob: each has an output of its own."""
    (tmp_path / "news").mkdir()
    for file in ("articles.parquet", "news/a%b.parquet"):
        pl.DataFrame({"text": ["the match"]}).write_parquet(file)
    record = called(path)
    assert (record.job.name, record.job.output.path) == (name, f"labelmill-out/{name}")


def test_the_same_call_again_pays_nothing_and_other_frames_share_what_they_have(server):
    """The ledger is that of the output folder, whichever kind of frame asks."""
    frame = polars_frame()
    called(frame)
    labeled, record = called(frame.to_pandas(), return_record=True)
    assert (record.requests, record.rows_reused, server.requests) == (0, 4, 3)
    assert list(labeled["label_status"]) == STATUSES
    _, record = called(pl.DataFrame({"text": ["the bank", "the cup match"]}), return_record=True)
    assert (record.requests, record.rows_total, record.cost_usd > 0) == (1, 2, True)


def test_a_frame_leaves_a_datasets_labels_as_they_are(server, tmp_path):
    """In the output of a daily job it shares the ledger; `labeled/` and its manifest stay that job's."""
    pl.DataFrame({"text": TEXTS}).write_parquet("articles.parquet")
    record = called("articles.parquet", output="out", name="daily")
    published = {path: path.read_bytes() for path in (tmp_path / "out").glob("labeled/*")}
    manifest = (tmp_path / "out/_manifest.json").read_bytes()
    for labels in (LABELS, {**LABELS, "weather": ""}):
        rows = called(pl.DataFrame({"text": ["the bank", "the rain"]}), output="out", labels=labels)
        assert rows["label_status"].to_list() == ["ok", "ok"]
    assert {path: path.read_bytes() for path in published} == published
    assert (tmp_path / "out/_manifest.json").read_bytes() == manifest
    assert json.loads(manifest)["run_id"] == record.run_id
    assert server.requests == 3 + 1 + 2
    assert run_job(record.job).requests == 0


@pytest.mark.usefixtures("server")
def test_what_a_frame_leaves_on_the_disk_is_what_was_asked(tmp_path):
    """Its text columns with their labels, below the output folder; no other column, and no copy of its own."""
    called(polars_frame())
    frame = "labelmill-out/frames/frame"
    left = sorted(str(path.relative_to(tmp_path)) for path in (tmp_path / frame).rglob("*") if path.is_file())
    assert left == [f"{frame}/_manifest.json", f"{frame}/_merge_state.json", f"{frame}/labeled/frame.parquet"]
    assert pq.read_schema(tmp_path / left[-1]).names == ["text", *LABEL_COLUMNS]


@pytest.mark.usefixtures("server")
def test_texts_of_a_call_that_was_killed_are_taken_away_by_the_next(tmp_path):
    """A copy that nobody holds goes; one whose call still goes on stays."""
    copies = tmp_path / "labelmill-out/frames/frame"
    (copies / "texts-dead").mkdir(parents=True)
    (copies / "texts-dead/frame.parquet").write_bytes(b"texts")
    with OutputFolder(tmp_path / "labelmill-out/frames").frame_texts() as alive:
        alive.write_bytes(b"texts")
        called(polars_frame())
        assert alive.exists()
    assert [path.name for path in copies.glob("texts-*")] == []


@pytest.mark.parametrize("kind", ["polars", "lazy", "pandas", "pyarrow"])
@pytest.mark.parametrize("texts", [[], [None, None]])
def test_a_frame_without_a_text_has_nothing_to_ask(server, kind, texts):
    """No rows, or no value in the column, which has no type then: the label columns have theirs all the same."""
    frame = {
        "polars": lambda: pl.DataFrame({"text": texts}),
        "lazy": lambda: pl.LazyFrame({"text": texts}),
        "pandas": lambda: pd.DataFrame({"text": texts}, dtype=object),
        "pyarrow": lambda: pa.table({"text": pa.array(texts)}),
    }[kind]()
    labeled, record = called(frame, return_record=True)
    labeled = labeled.collect() if kind == "lazy" else labeled
    assert (record.status, record.requests, server.requests) == ("completed", 0, 0)
    assert list(labeled["label_status"]) in (["empty"] * len(texts), [pa.scalar("empty")] * len(texts))
    assert pl.DataFrame(labeled).select(LABEL_COLUMNS.names()).schema == LABEL_COLUMNS or kind == "pandas"


@pytest.mark.usefixtures("server")
def test_whatever_a_job_file_says_a_call_can_say():
    """Sections as dicts or as models, the message of the system, a template, a prefix, and the name."""
    frame = polars_frame().with_columns(label=pl.lit("own"))
    labeled, record = called(
        frame,
        text="{kind}: {text}",
        labels=pl.Series(["sport", "money"]),
        model={"name": "gpt-4o-mini", "temperature": "unset", "headers": {"x-team": "news"}},
        instructions="Which is it?\n{labels}",
        column_prefix="lm_",
        run=Run(max_concurrency=2),
        price={"input_usd_per_mtok": 1, "output_usd_per_mtok": 1},
        max_cost_usd=1,
        name="kinds",
        return_record=True,
    )
    assert labeled.columns[-6:] == [f"lm_{name}" for name in LABEL_COLUMNS]
    assert labeled["label"].to_list() == ["own"] * 6
    job = record.job
    assert (job.name, job.output.path) == ("kinds", "labelmill-out/kinds")
    assert (job.model.provider, job.model.headers, job.run.max_concurrency) == (
        "openai",
        {"x-team": "news"},
        2,
    )
    assert (job.prompt.system, job.run.max_cost_usd, dict(job.labels)) == (
        "Which is it?\n{labels}",
        1,
        {"sport": "", "money": ""},
    )


def refused(*arguments, **options):
    """The mistakes that a call is refused with, by argument."""
    with pytest.raises(labelmill.JobRefused) as found:
        called(*arguments, **options)
    return {mistake.where: mistake.sentence for mistake in found.value.mistakes}


def test_every_mistake_stands_at_its_argument_and_nothing_is_left(server, tmp_path):
    """All at once, in the sentences of a job file; nothing was asked, and no folder was made."""
    frame = pl.DataFrame({"title": ["a"], "Label": ["b"]})
    found = refused(
        frame,
        text="titel",
        labels=["sport"],
        provider="opnai",
        instructions="none",
        max_cost_usd=-1,
        run={"max_concurency": 1},
    )
    assert found.pop("provider").endswith("; did you mean 'openai'?")
    assert found == {
        "text": "the frame has no column 'titel'; its columns are 'title', 'Label'; did you mean 'title'?",
        "data": "the frame has a column 'Label', which many programs take for 'label', the name of a column that Labelmill "
        'adds; rename it, or have ours begin with another prefix: column_prefix="lm_"',
        "labels": "there must be two labels or more, and there is only 'sport'",
        "instructions": "it has no {labels}, and neither has prompt.user: the model would not see them",
        "max_cost_usd": "found -1, expected greater than or equal to 0",
        "run.max_concurency": "unknown field; did you mean 'max_concurrency'?",
    }
    assert (server.requests, list(tmp_path.iterdir())) == (0, [])


@pytest.mark.parametrize(
    ("options", "mistakes"),
    [
        ({"labels": "sport, money"}, {"labels": "found 'sport, money', expected a list of names, or a dict"}),
        ({"labels": {"sport"}}, {"labels": "found {'sport'}, which has no order, expected a list of names"}),
        ({"labels": ["sport", "money", "sport"]}, {"labels": "'sport' is there 2 times"}),
        ({"labels": ["sport", 7]}, {"labels": "found 7 among the names, expected text"}),
        (
            {"model": {"name": "a", "provider": "openai"}, "provider": "practice"},
            {"provider": "found 'practice', and model.provider is 'openai'; give one of them"},
        ),
        ({"text": None}, {"text": "this field is missing"}),
        ({"text": "{text"}, {"text": "the template can't be read: it holds a { that has no partner"}),
        ({"text": "id"}, {"text": "the column 'id' of the frame is UInt8, not text"}),
        ({"text": "many"}, {"text": "the column 'many' of the frame is List(Int64), not text"}),
        ({"output": __file__}, {"output": f"{__file__!r} is a file, so there can be no folder"}),
        (
            {"output": "s3a://bucket/x"},
            {"output": "found 's3a://bucket/x', expected a folder, s3://, gs:// or az://"},
        ),
        ({"model": None}, {"model": "this field is missing"}),
        ({"on_incomplete": "retrun"}, {"on_incomplete": "found 'retrun', expected 'raise' or 'return'"}),
        ({"name": "a/b"}, {"name": "found 'a/b', expected a name without /"}),
        ({"run": 5, "max_cost_usd": 1}, {"run": "found 5, expected a section, [run]"}),
    ],
)
def test_a_mistake_is_one_sentence_at_its_argument(server, tmp_path, options, mistakes):
    """Nothing is asked, and nothing is left."""
    found = refused(polars_frame(), **options)
    assert found.keys() == mistakes.keys()
    for where, sentence in mistakes.items():
        assert found[where].startswith(sentence)
    assert (server.requests, list(tmp_path.iterdir())) == (0, [])


@pytest.mark.usefixtures("server")
def test_a_frame_that_was_labeled_before_says_so():
    """A notebook's cell that is run twice is refused rather than to lose labels; under another prefix both stand there."""
    labeled = called(polars_frame())
    assert refused(labeled) == {
        "data": "the frame was labeled before: it has the columns label, label_status, label_error, label_confidence, "
        "label_model, label_run_id; drop them, or have ours begin with another prefix: "
        'column_prefix="lm_"'
    }
    again = called(labeled, column_prefix="lm_", labels=[*LABELS, "weather"])
    assert again.columns == [*labeled.columns, *(f"lm_{name}" for name in LABEL_COLUMNS)]


@pytest.mark.parametrize(
    ("data", "where", "sentence"),
    [
        (["the match"], "data", "found a value of the type list, expected a frame of Polars"),
        (pl.Series(TEXTS), "data", "found a value of the type polars.series.series.Series, expected"),
        (None, "data", "found a value of the type NoneType, expected a frame"),
        ("nothing.parquet", "data", "there is no file or folder '"),
        (
            pd.DataFrame([["a", "b"]], columns=["text", "text"]),
            "text",
            "the frame has several columns 'text'; rename all but one",
        ),
        (
            pd.DataFrame({"text": ["a", 7, None]}),
            "text",
            "the column 'text' of the frame holds int and str, expected text",
        ),
        (
            pl.DataFrame({"text": [b"\xff\xfe"]}),
            "text",
            "the column 'text' of the frame is Binary, and row 1 of it is not ",
        ),
        (pl.DataFrame(), "text", "the frame has no column 'text'; its columns are none"),
    ],
)
def test_what_can_not_be_labeled_is_said(server, data, where, sentence):
    """One sentence, which names the frame and none of our files."""
    found = refused(data)
    assert list(found) == [where]
    assert found[where].startswith(sentence)
    assert server.requests == 0


def test_a_missing_key_and_a_wrong_one_are_said_before_anything_is_paid(server, monkeypatch):
    """The sentences of the command line, under the variable's name."""
    monkeypatch.delenv("OPENAI_BASE_URL")
    monkeypatch.delenv("OPENAI_API_KEY")
    found = refused(polars_frame())
    assert found["OPENAI_API_KEY"].startswith("labelmill.label needs a key for https://api.openai.com/v1")
    server.models = error(401, "Incorrect API key provided")
    monkeypatch.setenv("OPENAI_API_KEY", "sk-wrong")
    found = refused(polars_frame(), model={"name": "gpt-4o-mini", "base_url": server.base_url})
    assert "did not accept the key" in found["OPENAI_API_KEY"]
    assert server.requests == 0


@pytest.mark.usefixtures("server")
def test_a_key_in_a_file_is_found(monkeypatch, tmp_path):
    """As the command line finds it: in `.env` of the folder, or of one above."""
    (tmp_path / ".env").write_text("MY_KEY=sk-of-the-file\n")
    monkeypatch.setenv("MY_KEY", "")
    monkeypatch.delenv("MY_KEY")  # and again at the end, whoever has set it
    (tmp_path / "below").mkdir()
    monkeypatch.chdir(tmp_path / "below")
    called(polars_frame(), model={"name": "gpt-4o-mini", "api_key_env": "MY_KEY"})
    assert os.environ["MY_KEY"] == "sk-of-the-file"


def test_a_rehearsal_of_a_frame_is_told_from_a_models_labels(server, practice):
    """Both come back as they were answered, and neither is taken for the other."""
    frame = polars_frame()
    rehearsed = {"name": "gpt-4o-mini", "base_url": practice.base_url}
    for model, who in ((rehearsed, "practice:gpt-4o-mini"), ("gpt-4o-mini", "gpt-4o-mini")) * 2:
        assert called(frame, model=model)["label_model"].drop_nulls().unique().to_list() == [who]
    assert server.requests == 3


def test_a_batch_that_is_out_is_harvested_by_the_next_call(practice, tmp_path, monkeypatch):
    """The frame lies elsewhere then, and its texts are the same: nothing is sent twice."""
    monkeypatch.chdir(tmp_path)
    practice.configure(PracticeSettings(batch_seconds=1.0))
    model = {"name": "gpt-4o-mini", "base_url": practice.base_url}
    run = {"lane": "batch", "max_wait_minutes": 0, "poll_seconds": 0.05}
    with pytest.raises(labelmill.RunNotCompleted, match="3 texts are in 1 batch at the provider") as waiting:
        called(polars_frame(), model=model, run=run)
    assert waiting.value.labeled["label_status"].to_list().count("pending") == 4
    run["max_wait_minutes"] = 1
    labeled, record = called(polars_frame(), model=model, run=run, return_record=True)
    assert (labeled["label_status"].to_list(), record.requests) == (STATUSES, 3)


PRICE = {"input_usd_per_mtok": 10, "output_usd_per_mtok": 10}
MANY = [f"the {word} of day {number}" for number in range(10) for word in ("match", "market")]


def test_a_run_that_stops_at_its_budget_is_no_whole_frame(server):
    """It raises, with the frame as far as it is labeled and the bill; the next call goes on; `return` returns it."""
    frame = pl.DataFrame({"text": MANY})
    options = {"price": PRICE, "run": {"max_concurrency": 1}}
    with pytest.raises(labelmill.RunNotCompleted, match="stopped at the budget") as stopped:
        called(frame, max_cost_usd=0.004, **options)
    labeled, record = stopped.value.labeled, stopped.value.record
    assert repr(stopped.value) == f"RunNotCompleted({str(stopped.value)!r})"
    assert (record.status, record.job.run.max_cost_usd) == ("budget_reached", 0.004)
    done = labeled.filter(pl.col("label_status") == "ok")
    assert 0 < done.height == server.requests < len(MANY)
    assert labeled.filter(pl.col("label_status") == "pending").height == len(MANY) - done.height
    assert done["label"].to_list() == [right_label(text) for text in done["text"]]
    labeled, record = called(frame, max_cost_usd=0.0, on_incomplete="return", return_record=True, **options)
    assert (record.status, labeled["label_status"].to_list().count("ok")) == ("budget_reached", done.height)
    assert called(frame, **options)["label"].to_list() == [right_label(text) for text in MANY]
    assert server.requests == len(MANY)


class Refusing(Endpoint):
    """Answers no text of a market."""

    def reply(self, call):
        """No label for it."""
        return completion(call) if "match" in call.text else completion(call, "neither")


def test_too_many_failures_raise_and_a_few_do_not(server, monkeypatch):
    """Failed rows have no label, and the sentence says how they are asked again."""
    frame = pd.DataFrame({"text": MANY})
    with Refusing() as refusing:
        monkeypatch.setenv("OPENAI_BASE_URL", refusing.base_url)
        run = {"max_failed_fraction": 0.2, "stop_at_failed_fraction": 1}
        with pytest.raises(
            labelmill.RunNotCompleted, match="retry_failed=True asks those that failed again"
        ) as many:
            called(frame, run=run)
        assert many.value.labeled["label_status"].value_counts().to_dict() == {"ok": 10, "failed": 10}
        labeled = called(frame, run={"max_failed_fraction": 0.5})
        assert labeled.loc[labeled["label_status"] == "failed", "label"].isna().all()
    monkeypatch.setenv("OPENAI_BASE_URL", server.base_url)
    assert called(frame, retry_failed=True)["label"].to_list() == [right_label(text) for text in MANY]


@pytest.mark.usefixtures("server")
def test_files_that_are_not_whole_raise_with_their_record():
    """What a path's caller gets is the record either way."""
    pl.DataFrame({"text": MANY}).write_parquet("many.parquet")
    options = {"price": PRICE, "max_cost_usd": 0.004, "run": {"max_concurrency": 1}}
    with pytest.raises(labelmill.RunNotCompleted) as stopped:
        called("many.parquet", **options)
    assert (stopped.value.record.status, stopped.value.labeled) == ("budget_reached", None)
    assert called("many.parquet", on_incomplete="return", **options).status == "budget_reached"


@pytest.mark.parametrize("on_incomplete", ["raise", "return"])
def test_a_frame_whose_texts_can_not_be_read_has_no_labels(server, on_incomplete):
    """Bytes far down that are no text: there is no frame to return, and the sentence names none of our files."""
    frame = pl.DataFrame({"text": [b"the match"] * 1500 + [b"\xff"]})
    with pytest.raises(labelmill.RunNotCompleted, match=r"the column 'text' of the frame \(") as unreadable:
        called(frame, on_incomplete=on_incomplete)
    assert (unreadable.value.labeled, server.requests) == (None, 0)
    assert "on_incomplete" not in str(unreadable.value)


class Interrupting(Endpoint):
    """Its process is sent Ctrl-C while it works on the third request, twice."""

    def reply(self, call):
        """What is right, after the signals."""
        if call.number == 3:
            os.kill(os.getpid(), signal.SIGINT)
            os.kill(os.getpid(), signal.SIGINT)
        return completion(call)


@pytest.mark.usefixtures("server")
@pytest.mark.parametrize("on_incomplete", ["raise", "return"])
def test_ctrl_c_keeps_what_is_paid(monkeypatch, on_incomplete):
    """What is in flight is waited for; the KeyboardInterrupt has frame and bill; the next call asks only the rest."""
    frame = pl.DataFrame({"text": MANY})
    before = signal.getsignal(signal.SIGINT)
    with Interrupting() as interrupting:
        monkeypatch.setenv("OPENAI_BASE_URL", interrupting.base_url)
        with pytest.raises(KeyboardInterrupt, match="stopped by Ctrl-C") as stopped:
            called(frame, run={"max_concurrency": 1}, on_incomplete=on_incomplete)
        assert repr(stopped.value).startswith("RunInterrupted('stopped by Ctrl-C; what was paid is kept")
        assert stopped.value.record.status == "cancelled"
        done = stopped.value.labeled.filter(pl.col("label_status") == "ok").height
        assert 3 <= done == interrupting.requests < len(MANY)
        assert signal.getsignal(signal.SIGINT) is before
        assert called(frame)["label_status"].unique().to_list() == ["ok"]
        assert interrupting.requests == len(MANY)


@pytest.mark.usefixtures("server")
def test_signals_of_another_thread_and_of_a_program_that_ignores_them_stay():
    """A call in a thread sets none, and where Ctrl-C is passed over it stays so."""
    seen = []

    class Looking(Endpoint):
        def reply(self, call):
            seen.append(signal.getsignal(signal.SIGINT))
            return completion(call)

    before = signal.getsignal(signal.SIGINT)
    results = []
    with Looking() as looking:
        model = {"name": "gpt-4o-mini", "base_url": looking.base_url}
        thread = threading.Thread(
            target=lambda: results.append(called(polars_frame(), model=model, output="thread"))
        )
        thread.start()
        thread.join()
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        try:
            called(polars_frame(), model=model, output="ignored")
        finally:
            signal.signal(signal.SIGINT, before)
    assert len(results) == 1
    assert set(seen) == {before, signal.SIG_IGN}


@pytest.mark.parametrize(
    ("lane", "adapter"), [("live", "openai"), ("batch", "openai"), ("batch", "langasync")]
)
def test_a_running_loop_does_not_matter(practice, tmp_path, monkeypatch, lane, adapter):
    """As in a notebook's cell, on each lane, also where langasync makes the batches."""
    monkeypatch.chdir(tmp_path)

    async def cell():
        return called(
            polars_frame(),
            model={"name": "gpt-4o-mini", "base_url": practice.base_url},
            run={"lane": lane, "poll_seconds": 0.05},
            batch={"adapter": adapter},
        )

    assert asyncio.run(cell())["label_status"].to_list() == STATUSES


@pytest.mark.usefixtures("server")
def test_another_call_into_the_same_output_is_refused():
    """Two threads of one process share no ledger at once; the second is told to wait."""
    entered, go_on = threading.Event(), threading.Event()

    class Slow(Endpoint):
        def reply(self, call):
            entered.set()
            go_on.wait(60)
            return completion(call)

    with Slow() as slow:
        model = {"name": "gpt-4o-mini", "base_url": slow.base_url}
        first = threading.Thread(target=lambda: called(polars_frame(), model=model))
        first.start()
        assert entered.wait(60)
        found = refused(polars_frame(), model=model)
        go_on.set()
        first.join()
    assert "wait for it to end" in found["output"]


@pytest.mark.usefixtures("server")
def test_what_is_noticed_is_logged(caplog):
    """The bill and notices reach whoever configures logging, and nothing is printed."""
    with caplog.at_level(logging.INFO, logger="labelmill"):
        called(polars_frame())
        called(polars_frame(), labels=["sport", "money"])
    said = "\n".join(record.message for record in caplog.records)
    assert "completed: 4 of 6 rows labeled, 2 empty, cost of this run $" in said
    assert "What is asked has changed since the last run" in said


@pytest.mark.usefixtures("server")
def test_garbage_is_collected_as_before_the_call():
    """Whatever becomes of the call, and also where the program has turned it off."""
    assert gc.isenabled()
    called(polars_frame())
    refused(polars_frame(), text="nothing")
    assert gc.isenabled()
    gc.disable()
    try:
        called(polars_frame())
        assert not gc.isenabled()
    finally:
        gc.enable()


@pytest.mark.slow
def test_it_is_light_until_it_is_called_and_never_needs_prefect(tmp_path):
    """`import labelmill` brings none of its dependencies; a call with the practice provider imports no Prefect, and no pandas."""
    script = """
import json, sys
import labelmill
light = [name for name in ("polars", "pydantic", "langchain_core", "openai", "rich") if name in sys.modules]
import polars as pl
frame = pl.DataFrame({"text": ["the match", "the bank"]})
labeled = labelmill.label(frame, text="text", labels=["sport", "money"], model="gpt-4o-mini", provider="practice")
heavy = [name for name in ("prefect", "pandas", "typer", "commands", "flows") if name in sys.modules]
print(json.dumps({"light": light, "heavy": heavy, "rows": labeled["label_status"].to_list()}))
"""
    done = subprocess.run(
        [sys.executable, "-c", script],
        capture_output=True,
        text=True,
        check=True,
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    assert json.loads(done.stdout) == {"light": [], "heavy": [], "rows": ["ok", "ok"]}
    assert done.stderr == ""
