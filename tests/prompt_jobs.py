"""Jobs of which the prompt alone matters."""

from labelmill.job.model import LabelJob


def job_with(labels, **prompt):
    """A job of which only the prompt matters."""
    return LabelJob.model_validate(
        {
            "name": "t",
            "source": {"path": "s.parquet", "text": "text"},
            "labels": labels,
            "model": {"name": "m"},
            "prompt": prompt,
            "output": {"path": "out"},
        }
    )
