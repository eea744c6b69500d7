"""Which version of the default wording a run asks with: whatever the job, the one that its output knows."""

import json
import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from labelmill.job.model import LabelJob
from labelmill.question.prompt import DEFAULT_WORDINGS, NEWEST_WORDING, in_wording, prompt_of
from labelmill.question.task_key import former_task_key_of, task_key_of
from labelmill.run.task_change import PastJobs
from labelmill.run.wording import with_wording
from labelmill.store.folder import OutputFolder

NAMES = st.text(st.sampled_from("ab 、,技术（)和-:"), min_size=1, max_size=6)
LABELS = st.dictionaries(NAMES, st.text(st.sampled_from("ab ，技"), max_size=4), min_size=2, max_size=4)
WORDS = st.sampled_from(["", "{labels}", "Of {labels}: ", "是{labels}？", "{{}} {labels} {labels}"])
PROMPTS = st.fixed_dictionaries(
    {},
    optional={
        "language": st.sampled_from(["en", "zh"]),
        "system": WORDS,
        "user": WORDS.map(lambda words: words + "{text}"),
        "label_separator": st.sampled_from(["、", ", ", "\n", " "]),
        "descriptions": st.booleans(),
    },
)


def job_in(folder, labels, prompt, **model):
    """A job whose output is in a folder."""
    return LabelJob.model_validate(
        {
            "name": "t",
            "source": {"path": "s.parquet", "text": "text"},
            "labels": labels,
            "model": {"provider": "openai", "name": "m", **model},
            "prompt": prompt,
            "output": {"path": str(folder)},
        }
    )


def resolved(job, *, practice=False):
    """The job as a run would ask it now."""
    return with_wording(job, PastJobs(OutputFolder.of(job)), practice=practice)


def leave(job, key, *, is_recorded=True, run_id="20260101-000000-aaaa", **values):
    """Leave what a killed run left in a ledger, and its record as the version before wrote it, with other values in its prompt."""
    folder = OutputFolder.of(job)
    folder.ledger(key).mkdir(parents=True)
    (folder.ledger(key) / f"{run_id}-00000.jsonl").write_text("")
    if is_recorded:
        dumped = job.model_dump(mode="json")
        dumped["prompt"] = {
            name: getattr(job.prompt, name) for name in ("language", "system", "user")
        } | values
        folder.run(run_id).mkdir(parents=True)
        record = {"run_id": run_id, "task_key": key, "job": dumped, "rows_total": 1}
        (folder.run(run_id) / "run.json").write_text(json.dumps(record))


@settings(max_examples=80)
@given(LABELS, PROMPTS, st.sampled_from(sorted(DEFAULT_WORDINGS)), st.booleans())
def test_an_output_keeps_its_task_and_its_requests_whatever_the_job_says(
    labels, prompt, version, is_recorded
):
    """A job that leaves its wording open finds the ledger of any version, and asks in the very words that made it."""
    with tempfile.TemporaryDirectory() as folder:
        job = job_in(folder, labels, prompt)
        asked = in_wording(job, version)
        leave(asked, task_key_of(asked), is_recorded=is_recorded)
        now = resolved(job)
        assert task_key_of(now) == task_key_of(asked)
        assert prompt_of(now).format_messages(text="t") == prompt_of(asked).format_messages(text="t")


@settings(max_examples=40)
@given(LABELS, PROMPTS)
def test_a_key_stands_for_the_words_that_are_told(labels, prompt):
    """Two versions of a job have one key exactly where they send the same messages."""
    first, second = (in_wording(job_in("out", labels, prompt), version) for version in (1, 2))
    told = [prompt_of(job).format_messages(text="t") for job in (first, second)]
    assert (told[0] == told[1]) == (task_key_of(first) == task_key_of(second))


def test_a_new_output_gets_the_newest_and_a_job_its_own_word(tmp_path):
    """Whatever else stands in the output."""
    job = job_in(tmp_path, {"a": "", "b": ""}, {})
    assert resolved(job).prompt.wording == NEWEST_WORDING
    leave(job, task_key_of(in_wording(job, 1)))
    assert resolved(in_wording(job, 2)).prompt.wording == 2
    # A rehearsal's own past is another one; it follows what the model was asked.
    assert resolved(job, practice=True).prompt.wording == 1
    other = job_in(tmp_path, {"a": "", "c": ""}, {})
    assert resolved(other).prompt.wording == resolved(other, practice=True).prompt.wording == NEWEST_WORDING


def test_a_ledger_is_found_under_the_key_of_an_address_that_has_moved(tmp_path):
    """Also where records alone tell of it."""
    moved = job_in(tmp_path, {"a": "", "b": ""}, {}, base_url="http://127.0.0.1:1/v1")
    first = in_wording(moved, 1)
    assert former_task_key_of(first) != task_key_of(first)
    leave(first, former_task_key_of(first))
    for job in (moved, job_in(tmp_path, {"a": "", "b": ""}, {})):
        assert resolved(job).prompt.wording == 1


@pytest.mark.parametrize(("system", "is_kept"), [("", True), (None, False)])
def test_an_empty_system_message_is_obeyed_unless_it_was_ignored(tmp_path, system, is_kept):
    """Whoever has just emptied it has none; an output that was asked with the default one though it was empty goes on so."""
    prompt = {"user": "Of {labels}: {text}"}
    before = in_wording(job_in(tmp_path, {"a": "", "b": ""}, prompt), 1)
    leave(before, task_key_of(before), system=system)
    now = resolved(job_in(tmp_path, {"a": "", "b": ""}, {**prompt, "system": ""}))
    assert (task_key_of(now) == task_key_of(before)) is is_kept
    assert [message.type for message in prompt_of(now).format_messages(text="t")] == (
        ["system", "human"] if is_kept else ["human"]
    )


def test_what_is_no_ledger_says_nothing(tmp_path):
    """An empty folder, and a stranger's files."""
    job = job_in(tmp_path, {"a": "", "b": ""}, {})
    ledger = OutputFolder.of(job).ledger(task_key_of(in_wording(job, 1)))
    ledger.mkdir(parents=True)
    Path(ledger / "notes.txt").write_text("x")
    assert resolved(job).prompt.wording == NEWEST_WORDING
