"""The task key: a hash of all that changes an answer."""

import hashlib
import json

from pydantic import BaseModel

from labelmill.job.model import LabelJob
from labelmill.question.answers import PARSER_VERSION
from labelmill.question.prompt import listing_of, told_labels, without_separator, wording_of

IGNORED_FIELDS = frozenset(
    {
        "name",
        "slug",
        "label_order",  # the labels stand in the key in their order
        "source",
        "output",
        "alert",
        "run",
        "batch",
        "price",
        "practice",
        "prompt",  # the words themselves stand in the key instead: a change in the default wording counts too
        "model.timeout_seconds",
        "model.api_key_env",
        "model.base_url",
        "model.api_version",
    }
)
"""What doesn't change an answer. Everything else of a job does, so that a new field counts until it is listed."""

_ALWAYS_TOLD = frozenset(
    {
        "labels",
        "model",
        "model.provider",
        "model.name",
        "model.output",
        "model.temperature",
        "model.max_tokens",
        "model.confidence",
    }
)
"""Fields that stand in the key also at their default, as they always have. Those that came later do only where they are set:
a job that doesn't name them asks what it has always asked, and keeps its ledger.
"""

_AS_IF_UNSET = frozenset({"model.base_url"})
"""Ignored fields that stand in the key as null, as they always have where the environment or the command line gave the address."""


def task_key_of(job: LabelJob) -> str:
    """The job's task key: 16 hex digits.

    The order of labels counts, since the model reads them in that order. Where the model is reached doesn't, wherever that
    is said: in the job, by the environment or on the command line.
    """
    return _key_of(job, _told(job))


def former_task_key_of(job: LabelJob) -> str:
    """The key that earlier versions gave the task, in which the job's own `model.base_url` counted."""
    facts = _told(job)
    model = {**facts["model"], "base_url": job.model.base_url}  # type: ignore[dict-item]
    return _key_of(job, {**facts, "model": model})


def _key_of(job: LabelJob, values: dict[str, object]) -> str:
    wording = wording_of(job)
    facts: dict[str, object] = {
        "job": {**values, "labels": dict(told_labels(job))},
        "labels": list(told_labels(job).items()),
        "wording": [wording.system, wording.user, wording.correction],
        "parser": PARSER_VERSION,
    }
    listing = listing_of(job)
    if listing != listing_of(without_separator(job)):
        facts["listing"] = listing
    canonical = json.dumps(facts, sort_keys=True, ensure_ascii=True)
    return hashlib.sha256(canonical.encode()).hexdigest()[:16]


def _told(section: BaseModel, prefix: str = "") -> dict[str, object]:
    """What of a job stands in its key."""
    kept: dict[str, object] = {}
    values = section.model_dump(mode="json", by_alias=False)
    for name, field in type(section).model_fields.items():
        place, value = prefix + name, getattr(section, name)
        if place in _AS_IF_UNSET:
            kept[name] = None
        elif place in IGNORED_FIELDS or (place not in _ALWAYS_TOLD and value == field.get_default()):
            continue
        else:
            kept[name] = _told(value, f"{place}.") if isinstance(value, BaseModel) else values[name]
    return kept
