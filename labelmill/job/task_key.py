"""The task key: a hash of all that changes an answer."""

import hashlib
import json

from labelmill.job.model import LabelJob
from labelmill.model.answers import PARSER_VERSION
from labelmill.model.prompt import wording_of

KNOBS = frozenset(
    {
        "name",
        "label_order",  # the labels stand in the key in their order
        "source",
        "output",
        "run",
        "batch",
        "price",
        "practice",
        "prompt",  # the words themselves stand in the key instead: a change in the default wording counts too
        "model.timeout_seconds",
        "model.api_key_env",
    }
)
"""What doesn't change an answer. Everything else of a job does, so that a new field asks anew until it is listed."""


def task_key_of(job: LabelJob) -> str:
    """The job's task key: 16 hex digits.

    The order of labels counts, since the model reads them in that order.
    """
    wording = wording_of(job)
    facts = {
        "job": _without_knobs(job.model_dump(mode="json")),
        "labels": list(job.labels.items()),
        "wording": [wording.system, wording.user, wording.correction],
        "parser": PARSER_VERSION,
    }
    canonical = json.dumps(facts, sort_keys=True, ensure_ascii=True)
    return hashlib.sha256(canonical.encode()).hexdigest()[:16]


def _without_knobs(values: dict[str, object], prefix: str = "") -> dict[str, object]:
    return {
        name: _without_knobs(value, f"{prefix}{name}.") if isinstance(value, dict) else value
        for name, value in values.items()
        if prefix + name not in KNOBS
    }
