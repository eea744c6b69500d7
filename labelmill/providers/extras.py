"""What a provider needs on the live lane that not everybody installs, said before anything is spent."""

import re
from collections.abc import Callable, Iterator
from importlib.util import find_spec

from labelmill.installing import installing
from labelmill.job.model import Run


def asks_live(run: Run) -> bool:
    """Whether a run may send a text by itself."""
    return run.lane != "batch" or run.retry_lane != "batch"


def live_mistakes(provider: str, requirement: str, build: Callable[[], object]) -> Iterator[tuple[str, str]]:
    """What keeps LangChain's model for a provider from being used: it is not there, or it refuses its settings.

    Args:
        provider: the provider's name.
        requirement: the package that has the model, and its versions, as pip takes them.
        build: makes one; what it raises says what it refuses.
    """
    package = re.split("[<>=]", requirement)[0]
    if find_spec(package.replace("-", "_")) is None:
        sentence = (
            f"the live lane of {provider!r} needs the package {package}, which is not installed; "
            f'install it with: {installing(requirement)}, or set lane = "batch"'
        )
        yield "model.provider", sentence
        return
    try:
        build()
    except ImportError as error:
        yield "model.provider", f"{package} can't be used here ({in_words(error)})"
    except ValueError as error:
        yield "model.name", f"{package} would not send such a request: {in_words(error)}"


def in_words(error: Exception) -> str:
    """The first line of an error that says something, without pydantic's advice."""
    errors = getattr(error, "errors", None)
    if callable(errors):
        told = errors()[0]
        return f"{'.'.join(map(str, told['loc']))}: {told['msg']}".removeprefix(": ")
    return next((line for line in str(error).splitlines() if line.strip()), type(error).__name__)
