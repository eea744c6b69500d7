"""Outputs that were asked with an earlier default wording: nothing is asked anew for a shorter one, and nothing mixed unseen."""

import json
from pathlib import Path

import polars as pl
import pytest

from commands.costs import costs_of
from labelmill.job.file import draft_of_file
from labelmill.pipeline.compare import compare
from labelmill.pipeline.label import label
from labelmill.question.prompt import DEFAULT_WORDINGS, correction_of, in_wording, prompt_of
from labelmill.question.task_key import task_key_of
from practice import PracticeSettings

TEXTS = [f"the {word} of day {number}" for number in range(4) for word in ("match", "market")]
FIRST = DEFAULT_WORDINGS[1]["en"].in_lines.partition("{labels}")[0]
ROOT = Path(__file__).parents[3]


@pytest.fixture
def practice(practice):
    """The session's practice provider as if just started."""
    practice.configure(PracticeSettings())
    practice.reset()
    return practice


@pytest.fixture
def as_before(tmp_path):
    """Make an output what the version before left: its records know nothing of wordings."""

    def forget():
        for path in tmp_path.glob("out/*/*/*.json"):
            record = json.loads(path.read_text())
            for name in ("wording", "label_separator", "descriptions"):
                record["job"]["prompt"].pop(name)
            path.write_text(json.dumps(record))

    return forget


def test_an_output_of_the_version_before_is_labeled_at_no_cost_and_goes_on_in_its_words(
    practice, job_of, write_texts, as_before
):
    """No request is sent for what is known, new texts are asked as the others were, and the record and a notice tell."""
    write_texts(TEXTS)
    first = label(job_of(prompt={"wording": 1}), practice.base_url)
    as_before()
    practice.reset()
    again = label(job_of(), practice.base_url)
    assert (practice.totals()["requests"], again.requests, again.rows_labeled) == (0, 0, len(TEXTS))
    assert (again.task_key, again.job.prompt.wording) == (first.task_key, 1)
    (notice,) = again.notices
    assert notice.startswith(
        "New texts are asked in wording 1, like those before them. Wording 2 takes about "
    )
    assert (
        "with wording = 2 under [prompt] the 8 texts that have a label would be asked again, for about $"
        in notice
    )
    write_texts([*TEXTS, "a new match"])
    third = label(job_of(), practice.base_url)
    assert (third.requests, third.rows_labeled, third.task_key) == (1, len(TEXTS) + 1, first.task_key)
    assert third.input_tokens > 0.9 * first.input_tokens / len(TEXTS)


def test_the_shorter_wording_is_had_by_saying_so_and_what_it_costs_is_said_first(
    practice, job_of, write_texts, as_before
):
    """Every text is asked again, for fewer tokens; from then on the job may leave its wording open again."""
    write_texts(TEXTS)
    first = label(job_of(prompt={"wording": 1}), practice.base_url)
    as_before()
    second = label(job_of(prompt={"wording": 2}), practice.base_url)
    (notice,) = second.notices
    assert (
        "(prompt.wording: 1 → 2): this means asking 8 texts that already have a label again, for about $"
        in notice
    )
    assert second.requests == len(TEXTS)
    assert second.input_tokens < first.input_tokens
    third = label(job_of(), practice.base_url)
    assert (third.requests, third.job.prompt.wording, third.notices) == (0, 2, [])


def test_a_new_output_is_asked_in_the_newest_wording(practice, job_of, write_texts):
    """And its record says which that is."""
    write_texts(TEXTS)
    record = label(job_of(), practice.base_url)
    assert (record.job.prompt.wording, record.notices) == (max(DEFAULT_WORDINGS), [])


def test_batches_that_are_out_count_as_asked(practice, job_of, write_texts, tmp_path, as_before):
    """Before there is any ledger, what is at the provider says in which words the rest is asked."""
    write_texts(TEXTS)
    run = {"lane": "batch", "poll_seconds": 0.05, "max_wait_minutes": 0}
    practice.configure(PracticeSettings(batch_seconds=3600))
    sent = label(job_of(prompt={"wording": 1}, run=run), practice.base_url)
    assert (sent.status, list(tmp_path.glob("out/ledger/*/*"))) == ("waiting", [])
    as_before()
    practice.configure(PracticeSettings())
    done = label(job_of(run=run), practice.base_url)
    assert (done.status, done.rows_labeled, done.task_key) == ("completed", len(TEXTS), sent.task_key)
    assert practice.totals()["batches"] == 1


def test_a_rehearsal_is_asked_in_the_words_that_the_model_was(
    practice, scripted, completion, job_of, write_texts, monkeypatch
):
    """Its bill is that of the real run, which goes on in the wording of its ledger."""
    monkeypatch.setenv("OPENAI_API_KEY", "k")
    write_texts(TEXTS)
    scripted.reply((200, completion("sport")))
    label(job_of(model={"provider": "openai"}, prompt={"wording": 1}), scripted.base_url)
    assert all(body["messages"][0]["content"].startswith(FIRST) for body in scripted.bodies)
    rehearsal = label(job_of(), practice.base_url)
    assert (rehearsal.practice, rehearsal.job.prompt.wording, rehearsal.requests) == (True, 1, len(TEXTS))


def test_a_comparison_and_costs_find_the_same_ledger(practice, job_of, write_texts, as_before):
    """A comparison asks in the ledger's words, and the history is priced by the job's own price in whichever wording."""
    write_texts(TEXTS)
    first = label(job_of(prompt={"wording": 1}), practice.base_url)
    as_before()
    compared = compare(job_of(), practice.base_url, rows=2, concurrency=[1], batch_wait_minutes=0)
    assert (compared.task_key, compared.job.prompt.wording) == (first.task_key, 1)
    dearer = job_of(price={"input_usd_per_mtok": 1000.0, "output_usd_per_mtok": 0.0})
    history = costs_of(dearer, "job.toml", repriced=True)["practice"]
    run = next(run for run in history["runs"] if run["run_id"] == first.run_id)
    assert run["repriced_usd"] == pytest.approx(first.input_tokens / 1000)


def test_of_two_ledgers_the_one_with_more_labels_goes_on(practice, job_of, write_texts, as_before):
    """Whoever has tried the shorter wording on a few texts, and taken the word back, pays for no other text again."""
    write_texts(TEXTS[:2])
    label(job_of(prompt={"wording": 2}), practice.base_url)
    write_texts(TEXTS)
    label(job_of(prompt={"wording": 1}), practice.base_url)
    as_before()
    record = label(job_of(), practice.base_url)
    assert (record.requests, record.job.prompt.wording) == (0, 1)


def test_a_system_message_that_was_sent_though_the_job_has_it_empty_is_paid_for_no_second_time(
    scripted, completion, job_of, write_texts, tmp_path, monkeypatch
):
    """Where a record tells of it, the run goes on as before and says how to have none; whoever empties it now has none."""
    monkeypatch.setenv("OPENAI_API_KEY", "k")
    write_texts(TEXTS)
    scripted.reply((200, completion("sport")))
    listing = {"user": "One of {labels}: {text}"}

    def job(**prompt):
        return job_of(model={"provider": "openai"}, prompt={**listing, **prompt})

    label(job(wording=1), scripted.base_url)
    roles = [[message["role"] for message in body["messages"]] for body in scripted.bodies]
    assert roles == [["system", "user"]] * len(TEXTS)
    (path,) = tmp_path.glob("out/runs/*/run.json")
    record = json.loads(path.read_text())
    record["job"]["prompt"] = {"language": "auto", "system": "", **listing}
    path.write_text(json.dumps(record))
    again = label(job(system=""), scripted.base_url)
    assert again.requests == 0
    assert "with wording = 2 under [prompt]" in again.notices[0]
    scripted.bodies.clear()
    emptied = label(job(system="", wording=2), scripted.base_url)
    assert emptied.requests == len(TEXTS)
    assert {message["role"] for body in scripted.bodies for message in body["messages"]} == {"user"}


def test_a_prompt_of_ones_own_as_one_message_is_sent_to_the_letter(practice, monkeypatch, tmp_path):
    """The job file in `deployments/` labels the sample through one user message a text, and takes the tokens it should."""
    monkeypatch.chdir(ROOT)
    draft = draft_of_file(ROOT / "deployments" / "one-message.toml")
    assert draft.mistakes == ()
    job = draft.job.model_copy(
        update={"output": draft.job.output.model_copy(update={"path": str(tmp_path / "out")})}
    )
    texts = pl.read_parquet("data/sample.parquet")["text"].to_list()
    said = "将以下文本分类为以下类别之一：技术、商业、娱乐、体育、其他\n\n文本: {}\n\n分类:"
    for text in texts:
        (message,) = prompt_of(job).format_messages(text=text)
        assert (message.type, message.text) == ("human", said.format(text))
    record = label(job, practice.base_url)
    assert (record.status, record.rows_labeled, record.requests, record.notices) == ("completed", 10, 10, [])
    # By o200k_base, with the frames of a message (4) and of the answer (3).
    assert record.input_tokens == pytest.approx(422, rel=0.1)
    key = task_key_of(job)
    assert key == task_key_of(in_wording(job, 1)) == task_key_of(in_wording(job, 2))
    assert "- 体育" in correction_of(job, "off_label")
