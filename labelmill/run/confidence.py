"""Whether a run got the confidence that its job asks for."""

import polars as pl

from labelmill.job.model import LabelJob


def confidence_notice(job: LabelJob, answers: pl.LazyFrame) -> str | None:
    """What to say where no label came with its probability, though the job asks for it; else None.

    Some servers pass the field over without a word (llama-cpp-python's is one).

    Args:
        job: what is asked.
        answers: what the run has got, as the ledger has it.
    """
    if not job.model.confidence:
        return None
    labeled = answers.filter(pl.col("label").is_not_null())
    texts, told = labeled.select(pl.len(), pl.col("confidence").is_not_null().sum()).collect().row(0)
    if told or not texts:
        return None
    labels = "the 1 text" if texts == 1 else f"the {texts:,} texts"
    return (
        f"The endpoint gave no token probabilities, which model.confidence asks for: label_confidence is null for {labels} "
        "labeled in this run"
    )
