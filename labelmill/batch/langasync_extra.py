"""The optional extra `langasync`, and whether it is there."""

from importlib import import_module

from labelmill.errors import Mistake
from labelmill.job.model import Batch
from labelmill.providers.table import Provider


def adapter_mistakes(batch: Batch, provider: Provider, where: str = "batch.adapter") -> list[Mistake]:
    """What keeps a job's `batch.adapter` from being used on this machine, found before anything is spent."""
    if batch.adapter != "langasync":
        return []
    try:
        import_module(provider.langasync_module)
    except (ImportError, ValueError) as error:  # it reads the environment when it is imported
        words = str(error).splitlines()[0]
        sentence = (
            f"langasync can't be used here ({words}); install it with: pip install 'labelmill[langasync]'"
        )
        if not provider.is_batch_only:
            sentence += ', or set batch.adapter = "openai"'
        return [Mistake(where, sentence)]
    return []
