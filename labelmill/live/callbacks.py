"""Who is told of each step of the chain."""

from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from langchain_core.callbacks import BaseCallbackHandler


class Tracing:
    """What a run's requests are traced by: nothing, unless `tracing` has made another."""

    @property
    def callbacks(self) -> list["BaseCallbackHandler"]:
        """What LangChain tells of each step."""
        return []

    def around_batch(self) -> AbstractContextManager[None]:
        """What the chain is called in."""
        return nullcontext()
