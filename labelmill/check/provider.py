"""What of a job its provider can't do, found before anything is spent."""

from collections.abc import Iterator

from labelmill.errors import JobRefused, Mistake
from labelmill.job.model import Batch, LabelJob, Model, Run
from labelmill.providers.table import provider_of


def provider_mistakes(model: Model, run: Run | None, batch: Batch | None) -> Iterator[tuple[str, str]]:
    """What a job asks of its provider that isn't there: place and sentence. Sections that can't be read are None."""
    provider, name = provider_of(model), model.provider
    if model.temperature > provider.max_temperature:
        yield "model.temperature", f"the provider {name!r} takes 0 to {provider.max_temperature:g}"
    if not provider.is_batch_only:
        return
    if model.output == "schema":
        yield "model.output", f'through the Batch API of {name!r} there are no schemas; set output = "text"'
    if model.confidence:
        yield (
            "model.confidence",
            f"the provider {name!r} gives no token probabilities; set confidence = false",
        )
    if run is not None and run.lane != "batch":
        yield "run.lane", f'Labelmill has the batch lane alone for the provider {name!r}; set lane = "batch"'
    if run is not None and run.retry_lane != "batch":
        yield "run.retry_lane", f'the provider {name!r} has no live lane; set retry_lane = "batch"'
    if batch is not None and batch.adapter != "langasync":
        yield "batch.adapter", f"OpenAI's client can't speak to {name!r}; set adapter = \"langasync\""


def refuse_without_live_lane(job: LabelJob) -> None:
    """Refuse what asks live, whatever the job's lane is, where there is no live lane.

    Raises:
        JobRefused: there is none.
    """
    if provider_of(job.model).is_batch_only:
        sentence = f"strategies are compared on the live lane, which {job.model.provider!r} doesn't have here"
        raise JobRefused([Mistake("model.provider", sentence)])
