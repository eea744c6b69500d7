"""A preview: what is sent, what is known, and labels that the next run doesn't pay for again."""

import json

import polars as pl
import pytest
from pydantic import BaseModel
from servers.base import Endpoint, completion

from labelmill.errors import JobRefused
from labelmill.pipeline.forecast import forecast
from labelmill.pipeline.label import label
from labelmill.pipeline.preview import fields_of, plan_preview, preview
from labelmill.run.history import history_of, read_runs, read_work, scan_history
from labelmill.store.folder import OutputFolder

TEXTS = [f"the {word} of day {number}" for number in range(20) for word in ("match", "market")]


class Labeling(Endpoint):
    """A model that is always right, and keeps what it was sent."""

    def __init__(self):
        super().__init__()
        self.bodies = []

    def reply(self, call):
        """The right label."""
        self.bodies.append(call.body)
        return completion(call)


class Config(BaseModel):
    """How a library keeps a request's fields, and words among them."""

    temperature: float = 0.0
    seed: int | None = None
    system_instruction: str = "words"


class Stubborn(Labeling):
    """A model that has no word for the markets."""

    def reply(self, call):
        """The right label for a match, and none for a market."""
        return completion(call) if call.label == "sport" else completion(call, "cricket")


def test_what_is_shown_is_what_is_sent(world):
    """Messages and fields of the first text are those of its request, and a plan alone sends and writes nothing."""
    world.has(TEXTS)
    with Labeling() as server:
        plan = plan_preview(world.job(), server.base_url, rows=5)
        assert (server.requests, (world.folder / "out").exists()) == (0, False)
        preview(plan, server.base_url)
    first = plan.texts["text"][0]
    (body,) = [body for body in server.bodies if body["messages"][-1]["content"] == first]
    messages = body.pop("messages")
    assert [(role, words) for role, words in plan.prompt.messages] == [
        (message["role"], message["content"]) for message in messages
    ]
    assert plan.prompt.fields == body


def test_a_run_after_a_preview_pays_for_the_others_alone(world):
    """The previewed texts are known to a second preview and to the run; the bill is one, and it is no run that published."""
    world.has(TEXTS)
    with Labeling() as server:
        record, asked = preview(plan_preview(world.job(), server.base_url, rows=6), server.base_url)
        assert (record.status, record.rows, record.labeled, record.pending) == ("completed", 6, 6, 0)
        assert all(answer.label for answer in asked.values())
        assert (record.requests, server.requests) == (6, 6)
        folder = OutputFolder.of(record.job)
        assert not folder.labeled.exists()
        assert not list(folder.runs.glob("*/run.json"))
        assert not list(folder.runs.glob("*/pending*"))
        again = plan_preview(world.job(), server.base_url, rows=6)
        assert again.asking.texts == 0
        assert [answer.label for _, answer, _ in again.answers()] == [
            "sport" if "match" in text else "money" for text in again.texts["text"]
        ]
        run = world.run(server)
        assert (run.texts_asked, run.rows_labeled, server.requests) == (34, 40, 40)
        world.assert_labels(40)
    work = read_work(scan_history(folder.ledgers, run.job.run))
    told = history_of(work, read_runs(folder), practice=False)
    assert [(one["kind"], one["requests"]) for one in told["runs"]] == [("preview", 6), ("run", 34)]
    assert told["total"]["cost_usd"] == pytest.approx(record.cost_usd + run.cost_usd)
    assert json.loads((folder.run(record.run_id) / "preview.json").read_text())["requests"] == 6


def test_a_preview_keeps_to_the_budget(world):
    """What would pass the limit is not asked, and counts against the day's limit of the run that follows."""
    world.has(TEXTS)
    with Labeling() as server:
        job = world.job(run={"max_cost_usd_per_day": 0.00004, "max_concurrency": 1})
        record, _ = preview(plan_preview(job, server.base_url, rows=20), server.base_url)
        assert record.status == "budget_reached"
        assert record.pending == 20 - record.labeled
        run = world.run(server, run={"max_cost_usd_per_day": 0.00004, "max_concurrency": 1})
    assert run.status == "budget_reached"
    assert record.cost_usd + run.cost_usd <= 0.00004


def test_a_text_without_a_label_says_why(world):
    """An answer that is none of the labels is told in its row, as a run would tell it."""
    world.has(TEXTS[:4])
    with Stubborn() as server:
        plan = plan_preview(world.job(), server.base_url)
        record, asked = preview(plan, server.base_url)
    assert (record.labeled, record.failed) == (2, 2)
    failed = [answer for text, answer, _ in plan.answers(asked) if "market" in text]
    assert {answer.failure for answer in failed} == {"off_label"}
    assert all("cricket" in answer.message for answer in failed)


@pytest.mark.parametrize("lane", ["batch", "auto"])
def test_a_job_of_batches_is_previewed_live(world, lane):
    """Nobody waits a day for a preview; the answers are in the ledger that the batches are of."""
    world.has(TEXTS)
    deadline = {"deadline": "08:00"} if lane == "auto" else {}
    job = world.job(run={"lane": lane, **deadline})
    with Labeling() as server:
        record, _ = preview(plan_preview(job, server.base_url, rows=3), server.base_url)
    assert (record.labeled, server.requests) == (3, 3)
    assert pl.read_parquet(world.folder / "out" / "ledger" / "*" / "*.parquet")["label"].len() == 3


@pytest.mark.slow
def test_a_text_that_is_in_a_batch_is_not_asked_again(job_of, write_texts):
    """What is at the provider is out: neither a forecast nor a preview counts it as to be asked."""
    write_texts(TEXTS)
    job = job_of(run={"lane": "batch", "max_wait_minutes": 0}, practice={"batch_seconds": 600})
    assert label(job).status == "waiting"
    found = forecast(job)
    assert (found.texts, found.texts_known, found.texts_out, found.asking.texts) == (40, 0, 40, 0)
    plan = plan_preview(job, rows=3)
    assert plan.asking.texts == 0
    assert [answer.is_in_batch for _, answer, _ in plan.answers()] == [True] * 3


def test_a_source_without_a_text_can_not_be_previewed(world):
    """It is said so, before anything is asked."""
    world.has([None, " "])
    with Labeling() as server, pytest.raises(JobRefused, match="nothing to preview"):
        plan_preview(world.job(), server.base_url)


def test_the_prompt_of_a_practice_provider_that_is_not_there_yet(job_of, write_texts):
    """Its request is shown without it: nothing is started for it, and nobody else is asked."""
    write_texts(TEXTS)
    plan = plan_preview(job_of(model={"output": "choice"}), rows=0)
    assert plan.texts.is_empty()
    assert [role for role, _ in plan.prompt.messages] == ["system", "user"]
    assert plan.prompt.fields["model"] == "gpt-4o-mini"


def test_fields_are_shown_as_plain_data():
    """What a library keeps as objects can be written as JSON; the words stand by themselves."""
    told = fields_of({"model": "m", "contents": ["words"], "config": Config(), "stop": ("a", b"b")})
    assert json.loads(json.dumps(told)) == {
        "model": "m",
        "config": {"temperature": 0.0},
        "stop": ["a", "b'b'"],
    }
    assert fields_of(["a message"]) == {}
