"""The task key: whatever changes an answer changes it, and nothing else does."""

import itertools
from typing import Any, get_args

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import BaseModel, ValidationError

from labelmill.job.model import LabelJob
from labelmill.question.task_key import IGNORED_FIELDS, former_task_key_of, task_key_of

JOB = {
    "name": "test",
    "source": {"path": "in.parquet", "text": "text"},
    "labels": {"sport": "football, match", "money": "bank, market"},
    "model": {"provider": "practice", "name": "gpt-4o-mini"},
    "prompt": {"system": "Sort: {labels}", "user": "{text}"},
    "price": {"input_usd_per_mtok": 1, "output_usd_per_mtok": 2},
    "output": {"path": "out"},
}
OTHER_VALUES = [
    "langchain_acme:ChatAcme",
    True,
    False,
    1,
    2,
    7,
    0.25,
    "auto",
    "other",
    "expired",
    "http://127.0.0.1:1/v1",
    "OTHER_KEY",
    "08:00",
    "CNY",
    "2026-11-30",
    {"hang": 0.5},
    {"upload": 0.5},
    {"upload": "server_error"},
    ["m"],
]


def _fields(model=LabelJob, place=()):
    """The place of every field of the job, to its leaves."""
    for name, field in model.model_fields.items():
        annotation = field.annotation
        section = next((part for part in (annotation, *get_args(annotation)) if _is_section(part)), None)
        if section is None:
            yield (*place, name)
        else:
            yield from _fields(section, (*place, name))


def _is_section(part):
    return isinstance(part, type) and issubclass(part, BaseModel)


def _with(values: dict[str, Any], place, value):
    name, *rest = place
    return {**values, name: _with(values.get(name, {}), rest, value) if rest else value}


def _variants(place):
    """The job with other values in one place: at least one, whatever the field's type."""
    field = LabelJob
    for name in place:
        annotation = field.model_fields[name].annotation
        field = next((part for part in (annotation, *get_args(annotation)) if _is_section(part)), annotation)
    literals = itertools.chain(*(get_args(part) or [part] for part in get_args(field)))
    found = []
    for value in [*OTHER_VALUES, *literals]:
        try:
            job = LabelJob.model_validate(_with(JOB, place, value))
        except (ValidationError, TypeError):
            continue
        if job != LabelJob.model_validate(JOB):
            found.append(job)
    return found


def _is_ignored(place):
    return any(".".join(place[:depth]) in IGNORED_FIELDS for depth in range(1, len(place) + 1))


WORDING = {("prompt", name) for name in LabelJob.model_fields["prompt"].annotation.model_fields}
ONE_VALUE_ONLY = {("labels",)}
IGNORED_PLACES = sorted(
    place for place in _fields() if _is_ignored(place) and place not in WORDING | ONE_VALUE_ONLY
)
OTHER_PLACES = sorted(place for place in _fields() if not _is_ignored(place) and place not in ONE_VALUE_ONLY)
KEY = task_key_of(LabelJob.model_validate(JOB))


def _key(**sections):
    return task_key_of(LabelJob.model_validate({**JOB, **sections}))


@pytest.mark.parametrize("place", IGNORED_PLACES, ids=".".join)
def test_an_ignored_field_leaves_the_key(place):
    """How the work is done, what it may cost and where it goes asks for no label anew."""
    jobs = _variants(place)
    assert jobs, "no other value was found for this field: add one to OTHER_VALUES"
    assert {task_key_of(job) for job in jobs} == {KEY}


@pytest.mark.parametrize("place", OTHER_PLACES, ids=".".join)
def test_every_other_field_changes_the_key(place):
    """A field that isn't listed as ignored, also one that is added later, asks anew when it changes."""
    jobs = _variants(place)
    assert jobs, "no other value was found for this field: add one to OTHER_VALUES"
    keys = [task_key_of(job) for job in jobs]
    assert KEY not in keys
    assert len(set(keys)) == len({job.model_dump_json() for job in jobs})


def test_ignored_fields_are_fields_of_the_job():
    """No field is listed that isn't there, and the model's name and output are none."""
    places = {".".join(place[:depth]) for place in _fields() for depth in range(1, len(place) + 1)}
    assert places >= IGNORED_FIELDS
    assert ("model", "name") in OTHER_PLACES
    assert ("model", "output") in OTHER_PLACES
    assert ("model", "base_url") in IGNORED_PLACES
    assert len(IGNORED_PLACES) > 20


def test_the_address_is_no_part_of_the_key_and_the_former_key_is_still_known():
    """A job that gets its address is the task it was without one, whose key earlier versions gave it; theirs can be told too."""
    moved = LabelJob.model_validate({**JOB, "model": {**JOB["model"], "base_url": "http://127.0.0.1:1/v1"}})
    plain = LabelJob.model_validate(JOB)
    assert task_key_of(moved) == task_key_of(plain) == former_task_key_of(plain) == KEY
    assert former_task_key_of(moved) != KEY
    # What version 0.1.0 gave these two jobs.
    assert (KEY, former_task_key_of(moved)) == ("61c7fb81968e660e", "f6e5ced480eaf55e")


@pytest.mark.parametrize(
    ("sections", "key"),
    [
        ({"prompt": {"wording": 1}}, "73f7454087971338"),
        ({"prompt": {"wording": 1}, "labels": {"技术": "软件、硬件", "商业": ""}}, "1337f2608533beaf"),
        ({"model": {"name": "gpt-4o-mini", "output": "schema", "confidence": True}}, "7f5495774f746d82"),
        (
            {
                "model": {"provider": "anthropic", "name": "claude-haiku-4-5", "temperature": 0.7},
                "batch": {"adapter": "langasync"},
            },
            "4f317424d3a55182",
        ),
        (
            {"model": {"provider": "google", "name": "gemini-2.5-flash-lite", "max_tokens": 50}},
            "6ea8132548fd9b00",
        ),
        ({"label_order": ["money"], "practice": {"seed": 3, "faults": {"hang": 0.1}}}, "e3d393e919ffb6f9"),
    ],
)
def test_a_task_keeps_the_key_that_an_earlier_version_gave_it(sections, key):
    """What was paid for under it is found, whatever the wording, the provider or the form of the answer."""
    assert _key(**sections) == key


def test_each_output_is_a_task_of_its_own():
    """A bound answer may be another one; by which means it is bound is the endpoint's affair."""
    keys = {_key(model={"name": "m", "output": output}) for output in ("text", "schema", "choice")}
    assert len(keys) == 3


def test_labels_change_the_key():
    """Another name, description, order or number of labels is another task."""
    sets = [
        {"sport": "football, match", "money": "bank, market"},
        {"money": "bank, market", "sport": "football, match"},
        {"sport": "football, match", "money": "bank"},
        {"sport": "", "money": "bank, market"},
        {"Sport": "football, match", "money": "bank, market"},
        {"sport": "football, match", "money": "bank, market", "other": ""},
        {"sport": "money", "football, match": "bank, market"},
    ]
    keys = [_key(labels=labels) for labels in sets]
    assert len(set(keys)) == len(sets)
    assert keys[0] == KEY


def test_wording_changes_the_key():
    """Another system or user message is another task."""
    words = [
        {"system": "Sort: {labels}", "user": "{text}"},
        {"system": "Sort these: {labels}", "user": "{text}"},
        {"system": "Sort: {labels}", "user": "Text: {text}"},
        {"user": "{text}"},
        {},
        {"language": "zh"},
    ]
    keys = [_key(prompt=prompt) for prompt in words]
    # The default user message is "{text}", so that saying it changes nothing.
    assert keys[3] == keys[4]
    assert len(set(keys)) == len(words) - 1


def test_how_labels_are_told_counts_by_its_words():
    """What is set as it is anyway asks nothing anew, nor does a version of the default wording that the job doesn't use."""
    bare = {"labels": {"sport": "", "money": ""}}
    assert _key(prompt={**JOB["prompt"], "wording": 1}) == _key(prompt={**JOB["prompt"], "wording": 2}) == KEY
    assert (
        _key(**bare, prompt={"label_separator": ", "})
        == _key(**bare, prompt={"wording": 2})
        == _key(**bare, prompt={})
    )
    keys = [
        _key(**bare, prompt=prompt)
        for prompt in (
            {},
            {"wording": 1},
            {"label_separator": " | "},
            {"label_separator": "\n"},
            {"system": "", "user": "{labels} {text}"},
        )
    ]
    assert len(set(keys)) == len(keys)
    # Meanings that are not told don't count.
    assert _key(prompt={"descriptions": False}) == _key(**bare, prompt={}) != _key(prompt={})


def test_a_language_counts_by_its_words():
    """Naming the language that `auto` would choose anyway asks nothing anew."""
    assert _key(prompt={"language": "en"}) == _key(prompt={"language": "auto"}) == _key(prompt={})


@settings(max_examples=30, deadline=None)
@given(st.dictionaries(st.text(st.characters(exclude_categories=["Cs"])), st.text(st.characters(exclude_categories=["Cs"])), min_size=2, max_size=4))  # fmt: skip
def test_the_key_depends_on_values_only(labels):
    """One job has one key, however it was written and whoever wrote it: 16 hex digits, fit for a folder's name."""
    job = LabelJob.model_validate({**JOB, "labels": labels})
    again = LabelJob.model_validate_json(job.model_dump_json())
    assert task_key_of(again) == task_key_of(job)
    assert len(task_key_of(job)) == 16
    assert set(task_key_of(job)) <= set("0123456789abcdef")


def test_a_whole_number_and_its_float_are_one_setting():
    """`temperature = 0` and `temperature = 0.0` are the same job."""
    model = JOB["model"]
    assert _key(model={**model, "temperature": 0}) == _key(model={**model, "temperature": 0.0}) == KEY


def test_the_key_is_the_same_in_every_process():
    """The key of a known job never changes by itself: ledgers on disk are found by it."""
    reordered = dict(reversed(JOB.items()))
    assert task_key_of(LabelJob.model_validate(reordered)) == KEY
