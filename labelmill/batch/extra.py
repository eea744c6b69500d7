"""The optional extra `langasync`, and whether it is there."""

from labelmill.errors import Mistake
from labelmill.job.model import Batch


def adapter_mistakes(batch: Batch, where: str = "batch.adapter") -> list[Mistake]:
    """What keeps a job's `batch.adapter` from being used on this machine, found before anything is spent."""
    if batch.adapter != "langasync":
        return []
    try:
        import langasync.providers.openai  # noqa: F401, PLC0415
    except (ImportError, ValueError) as error:  # it reads the environment when it is imported
        words = str(error).splitlines()[0]
        sentence = (
            f"langasync can't be used here ({words}); install it with: pip install 'labelmill[langasync]', "
            'or set batch.adapter = "openai"'
        )
        return [Mistake(where, sentence)]
    return []
