"""The task and its past: what has changed, what it costs, and which ledgers still hold its answers."""

import json
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path

import polars as pl
import pytest

from labelmill.money.usage import Usage
from labelmill.providers.table import price_of
from labelmill.question.attempts import Attempt, outcomes_of
from labelmill.question.task_key import former_task_key_of, task_key_of
from labelmill.run.task_change import PastJobs, changes_between, former_ledgers, task_change_of
from labelmill.store.folder import OutputFolder
from labelmill.store.ledger import frame_of
from labelmill.store.row_key import row_key_of

TEXTS = ("a", "b", "c")


@pytest.fixture
def past_run():
    """Leave what a run left: its record, and a ledger with a label for each of `TEXTS`."""

    def leave(job, run_id="20260101-000000-aaaa", task_key=None, texts=TEXTS, **facts):
        key = task_key or task_key_of(job)
        folder = OutputFolder.of(job)
        record = {
            "run_id": run_id,
            "task_key": key,
            "job": job.model_dump(mode="json"),
            "rows_total": len(texts),
        }
        folder.run(run_id).mkdir(parents=True)
        (folder.run(run_id) / "run.json").write_text(json.dumps({**record, **facts}))
        attempts = [
            Attempt(row_key_of(text), datetime.now(UTC), label="sport", answered=True, usage=Usage(100, 0, 2))
            for text in texts
        ]
        folder.ledger(key).mkdir(parents=True, exist_ok=True)
        frame_of(outcomes_of(attempts, job.run), run_id).write_parquet(
            folder.ledger(key) / f"{run_id}-00000.parquet"
        )
        return folder

    return leave


@pytest.fixture
def pending(tmp_path):
    """A plan that asks for "b", "c" and "d"."""
    path = tmp_path / "pending.parquet"
    pl.DataFrame({"row_key": [row_key_of(text) for text in "bcd"], "text": list("bcd")}).write_parquet(path)
    return path


def change_of(folder, job, pending, *, practice=False):
    """The change as a run would see it."""
    return task_change_of(PastJobs(folder), job, pending, price_of(job.model), practice=practice)


def test_a_changed_task_says_what_changed_how_many_texts_are_asked_again_and_for_how_much(
    job_of, past_run, pending
):
    """Two of the three pending texts have a label of the former task, whose mean tokens tell what they cost now."""
    folder = past_run(job_of(model={"provider": "openai"}))
    now = job_of(model={"provider": "openai", "name": "gpt-4o"}, labels={"sport": "football", "money": ""})
    change = change_of(folder, now, pending)
    assert change.texts == 2
    assert change.cost_usd == 2 * (100 * Decimal("2.5") + 2 * Decimal(10)) / 1_000_000
    sentence = change.sentence()
    assert "model.name: 'gpt-4o-mini' → 'gpt-4o'" in sentence
    assert "descriptions changed: sport, money" in sentence
    assert "this means asking 2 texts that already have a label again, for about $0.0005" in sentence


@pytest.mark.parametrize(
    ("sections", "said"),
    [
        (
            {"labels": {"sport": "football, match, team", "money": "bank, market, price", "other": ""}},
            "labels added: other",
        ),
        ({"labels": {"sport": "football, match, team", "art": ""}}, "labels removed: money"),
        (
            {"labels": {"money": "bank, market, price", "sport": "football, match, team"}},
            "the order of the labels",
        ),
        ({"model": {"temperature": 1.0}}, "model.temperature: 0.0 → 1.0"),
        ({"prompt": {"user": "Sort this: {text}"}}, "prompt.user: None → 'Sort this: {text}'"),
    ],
)
def test_each_change_of_what_is_asked_has_its_words(job_of, sections, said):
    """Labels, settings and wording are named as the job file names them."""
    assert said in list(changes_between(job_of(), job_of(**sections)))


def test_nothing_is_said_where_nothing_is_asked_again(job_of, past_run, pending):
    """Not for ignored fields, not for an address, not where no known text is pending, and not in a new output."""
    job = job_of(model={"provider": "openai"})
    assert change_of(OutputFolder.of(job), job, pending) is None
    folder = past_run(job)
    for same in (
        job_of(model={"provider": "openai"}, run={"max_concurrency": 2}),
        job_of(model={"provider": "openai", "base_url": "http://127.0.0.1:9/v1"}),
    ):
        assert change_of(folder, same, pending) is None
    other = job_of(model={"provider": "openai", "name": "gpt-4o"})
    pl.DataFrame({"row_key": [row_key_of("new")], "text": ["new"]}).write_parquet(pending)
    assert change_of(folder, other, pending) is None


def test_a_rehearsal_is_compared_with_rehearsals_only(job_of, past_run, pending):
    """A paid run after a rehearsal of another task has nothing to say of it."""
    folder = past_run(job_of(), task_key="practice-" + task_key_of(job_of()))
    changed = job_of(model={"name": "gpt-4o"})
    assert change_of(folder, changed, pending, practice=False) is None
    assert change_of(folder, changed, pending, practice=True).texts == 2


def test_a_ledger_of_the_same_task_under_its_former_key_stays_in_use(job_of, past_run):
    """Wherever the address stood then and stands now, what was paid is found; other tasks' and rehearsals' ledgers are not."""
    plain = job_of(model={"provider": "openai"})
    with_address = job_of(model={"provider": "openai", "base_url": "http://127.0.0.1:9/v1"})
    former = former_task_key_of(with_address)
    folder = past_run(with_address, task_key=former)
    past_run(job_of(model={"provider": "openai", "name": "gpt-4o"}), run_id="20260102-000000-aaaa")
    past_run(with_address, run_id="20260103-000000-aaaa", task_key="practice-" + former)
    for job in (
        plain,
        with_address,
        job_of(model={"provider": "openai", "base_url": "http://127.0.0.1:8/v1"}),
    ):
        assert former_ledgers(PastJobs(folder), job, practice=False) == (folder.ledger(former),)
    (folder.run("20260101-000000-aaaa") / "run.json").unlink()
    assert former_ledgers(PastJobs(folder), with_address, practice=False) == (folder.ledger(former),)
    assert former_ledgers(PastJobs(folder), plain, practice=False) == ()


def test_a_ledger_made_with_another_wording_is_another_tasks(job_of, past_run, pending):
    """A key that this version can't make stands for other words of the prompt: its answers are not taken for these."""
    job = job_of(model={"provider": "openai"})
    folder = past_run(job, task_key="0123456789abcdef")
    assert former_ledgers(PastJobs(folder), job, practice=False) == ()
    assert "the default wording" in change_of(folder, job, pending).sentence()


@pytest.mark.parametrize(
    "content", ["", "{", "[]", "{}", '{"task_key": 1, "job": {}}', '{"job": null, "rows_total": 1}']
)
def test_a_record_that_can_not_be_read_is_passed_over(job_of, past_run, pending, content):
    """Half a record, or somebody else's file, costs neither the run nor the notice."""
    job = job_of(model={"provider": "openai"})
    folder = past_run(job)
    folder.run("20260105-000000-aaaa").mkdir()
    (folder.run("20260105-000000-aaaa") / "run.json").write_text(content)
    assert change_of(folder, job_of(model={"provider": "openai", "name": "gpt-4o"}), pending).texts == 2


def test_each_record_is_read_once_and_only_as_far_as_it_is_needed(job_of, past_run, monkeypatch):
    """A folder of a thousand runs costs a run that starts the reading of its latest record, once."""
    folder = past_run(job_of())
    for number in range(2, 5):
        past_run(job_of(), run_id=f"2026010{number}-000000-aaaa")
    read, opened = Path.read_bytes, []
    monkeypatch.setattr(Path, "read_bytes", lambda path: opened.append(path.parent.name) or read(path))
    past_jobs = PastJobs(folder)
    assert opened == []
    for _ in range(2):
        next(iter(past_jobs))
    assert opened == ["20260104-000000-aaaa"]
    assert len(list(past_jobs)) == len(list(past_jobs)) == 4
    assert opened == [f"2026010{number}-000000-aaaa" for number in (4, 3, 2, 1)]


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ({"provider": "openai", "base_url": "https://api.deepseek.com/v1/"}, {"provider": "deepseek"}),
        ({"provider": "deepseek"}, {"provider": "openai", "base_url": "https://api.deepseek.com/v1"}),
        (
            {"provider": "openai", "base_url": "https://mine.openai.azure.com/openai/v1"},
            {"provider": "azure", "base_url": "https://mine.openai.azure.com"},
        ),
    ],
)
def test_an_endpoint_that_gets_its_name_asks_nothing_anew(job_of, past_run, pending, before, after):
    """It is where it was: what was paid by its address is found under its name, and the other way round."""
    past, now = job_of(model=before), job_of(model=after)
    folder = past_run(past)
    assert former_ledgers(PastJobs(folder), now, practice=False) == (folder.ledger(task_key_of(past)),)
    assert change_of(folder, now, pending) is None


@pytest.mark.parametrize(
    "after",
    [
        {"provider": "groq"},
        {"provider": "openai", "base_url": "https://api.groq.com/openai/v1"},
        {"provider": "deepseek", "name": "deepseek-v4-pro"},
        {"provider": "anthropic"},
    ],
)
def test_another_endpoint_is_another_task_and_says_so(job_of, past_run, pending, after):
    """Elsewhere, another model, or another dialect: what it costs is said before anything is asked."""
    folder = past_run(job_of(model={"provider": "deepseek"}))
    now = job_of(model=after)
    assert former_ledgers(PastJobs(folder), now, practice=False) == ()
    assert (
        "this means asking 2 texts that already have a label again"
        in change_of(folder, now, pending).sentence()
    )
