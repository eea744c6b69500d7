"""Who is told of a run by Prefect's side, and what the example flows show: text from outside is text on Prefect's pages."""

import json

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from markdown_it import MarkdownIt
from prefect.client.orchestration import get_client
from servers.base import Endpoint

from flows.alert import alert, alert_words
from flows.label import label_dataset
from flows.summarize_labeled import count_labels
from labelmill.report.formatting import visible

MARKDOWN = MarkdownIt("commonmark", {"html": True}).enable(["table", "strikethrough"])
OUTSIDE = st.text(max_size=40) | st.text(
    st.sampled_from("|`*_<>[]()!\\&#;~$-+=\"'ab1. \n\r\t\x00\u2028\u202e:/@"), max_size=40
)


@settings(max_examples=300, deadline=None)
@given(job=OUTSIDE, sentence=OUTSIDE)
def test_nothing_in_an_alert_is_taken_for_markup(job, sentence):
    """A job's name and a provider's words are read back as they are: no mark, tag, link, heading or list comes of them."""
    tokens = MARKDOWN.parse(alert_words(job, sentence))
    blocks = [token.type for token in tokens if token.type != "inline"]
    assert blocks[:3] == ["paragraph_open", "paragraph_close", "blockquote_open"]
    assert set(blocks[3:]) <= {"paragraph_open", "paragraph_close", "blockquote_close"}
    first, *rest = [token for token in tokens if token.type == "inline"]
    kinds = {child.type for token in (first, *rest) for child in token.children}
    assert kinds <= {"text", "text_special", "html_inline", "softbreak"}
    tags = {
        child.content for token in (first, *rest) for child in token.children if child.type == "html_inline"
    }
    assert tags <= {"<!-- -->"}
    assert _text_of(first) == f"Job: {visible(job)}".strip()
    assert "".join(map(_text_of, rest)) == visible(sentence).strip()


def _text_of(token):
    return "".join(child.content for child in token.children if child.type != "html_inline").strip()


@pytest.fixture
def job(job_of, robots, monkeypatch):
    """A job that isn't a rehearsal, and tells a webhook of trouble."""
    monkeypatch.setenv("OPENAI_API_KEY", "sk-marked-0123456789abcdef")
    monkeypatch.setenv("HOOK", robots.url("webhook"))
    return job_of(model={"provider": "openai"}, alert={"url": "env:HOOK"})


@pytest.mark.usefixtures("prefect_server")
def test_a_deployed_run_that_is_refused_tells_somebody_once(job, robots):
    """Nobody looks at a run at night: one without a source, which leaves no record, is told by the flow."""
    state = label_dataset(job, return_state=True)
    assert state.is_failed()
    (told,) = robots.taken
    assert (told["job"], told["status"]) == ("test", "refused")
    assert told["message"] in state.message
    assert told["summary"] == "[Labelmill] test: did not run, and nothing was spent"


@pytest.mark.usefixtures("prefect_server")
def test_a_run_with_a_record_tells_somebody_once(job, robots, write_texts):
    """The flow adds nothing to what the run has told itself."""
    write_texts(["the match", "the market"])
    dear = job.model_copy(update={"run": job.run.model_copy(update={"max_cost_usd": 0})})
    with Endpoint() as server:
        state = label_dataset(dear, server.base_url, return_state=True)
    assert state.name == "BudgetReached"
    (told,) = robots.taken
    assert (told["status"], told["rows_pending"]) == ("budget_reached", 2)


@pytest.mark.usefixtures("prefect_server")
def test_what_only_prefect_sees_is_told_by_the_alert_flow(job, robots):
    """Of a run whose process died Prefect knows its parameters: whom its job names is told what Prefect says of it."""
    with get_client(sync_client=True) as client:
        run = client.create_flow_run(label_dataset, parameters={"job": job.model_dump(mode="json")})
    alert(f"prefect.flow-run.{run.id}", "Flow run process exited with status code -9")
    (told,) = robots.taken
    assert told["summary"] == "[Labelmill] test: broke off"
    assert (told["status"], told["message"]) == ("failed", "Flow run process exited with status code -9")
    with get_client(sync_client=True) as client:
        run = client.create_flow_run(label_dataset, parameters={"job": "no job"})
    alert(f"prefect.flow-run.{run.id}", "no job")
    assert len(robots.taken) == 1


@pytest.fixture
def labeled(tmp_path):
    """A labeled folder without a manifest: two labels, and rows without one."""
    folder = tmp_path / "out" / "labeled" / "day=1"
    folder.mkdir(parents=True)
    statuses = {"label": ["a", "a", "b", None, None], "label_status": ["ok", "ok", "ok", "failed", "empty"]}
    pl.DataFrame(statuses).write_parquet(folder / "part.parquet")
    return folder.parent


def test_labels_that_no_row_has_are_counted_too(labeled):
    """The manifest beside the folder knows all of the job's labels; without one those of the rows are counted."""
    assert count_labels(labeled).rows() == [("a", 2, 3), ("b", 1, 3)]
    manifest = {"labels": {"a": 2, "b": 1, "unused": 0}}
    (labeled.parent / "_manifest.json").write_text(json.dumps(manifest))
    assert count_labels(labeled).rows() == [("a", 2, 3), ("b", 1, 3), ("unused", 0, 3)]


def test_labels_under_a_prefix_are_counted(labeled):
    """The manifest says what the columns' names begin with."""
    plain = count_labels(labeled).rows()
    (path,) = labeled.rglob("*.parquet")
    frame = pl.read_parquet(path)
    frame.rename({name: f"lm_{name}" for name in frame.columns}).write_parquet(path)
    (labeled.parent / "_manifest.json").write_text(json.dumps({"labels": {}, "column_prefix": "lm_"}))
    assert count_labels(labeled).rows() == plain
    (labeled.parent / "_manifest.json").write_text("[]")
    frame.write_parquet(path)
    assert count_labels(labeled).rows() == plain
