"""Artifact keys: a job's history is found under one name."""

import hashlib
import re
import unicodedata

from labelmill.job.model import LabelJob


def job_key_of(job: LabelJob) -> str:
    """What the keys of a job's artifacts begin with: its slug, or its name as Prefect allows it."""
    return job.slug or artifact_key_of(job.name)


def artifact_key_of(name: str) -> str:
    """A job's name as Prefect allows it in an artifact's key: `a-z`, `0-9` and `-`.

    A name that loses characters on the way gets a short hash, so that two jobs never share a history.
    """
    plain = unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode().lower()
    slug = re.sub(r"[^a-z0-9]+", "-", plain).strip("-")
    if slug == name:
        return slug
    digest = hashlib.sha256(name.encode()).hexdigest()[:6]
    return f"{slug}-{digest}" if slug else f"job-{digest}"
