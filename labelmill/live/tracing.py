"""Tracing: with `LANGSMITH_TRACING=true`, LangChain's steps go to LangSmith, without the texts unless the job wants it."""

import logging
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass

from langchain_core.callbacks import BaseCallbackHandler
from langchain_core.tracers.langchain import LangChainTracer
from langsmith.run_helpers import tracing_context
from langsmith.utils import get_tracer_project, tracing_is_enabled

from labelmill.live.langsmith_queue import QueueClient, one_sentence_of_failures

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Tracing:
    """What a run's requests are traced by: `tracer` is None where they are not."""

    tracer: LangChainTracer | None = None
    wanted: bool = False

    @property
    def callbacks(self) -> list[BaseCallbackHandler]:
        """What LangChain tells of each step."""
        return [] if self.tracer is None else [self.tracer]

    def around_batch(self) -> AbstractContextManager[None]:
        """Keeps LangChain from making a tracer of its own, which would send the texts, where ours can't be had."""
        return tracing_context(enabled=False) if self.wanted and self.tracer is None else nullcontext()


@contextmanager
def tracing(*, keep_texts: bool) -> Iterator[Tracing]:
    """Trace for the length of the block if the environment asks for it, then wait a little for what is on its way.

    Nothing that LangSmith does or doesn't do raises here. A tracing that can't begin (no key) is said once.
    """
    if not tracing_is_enabled():
        yield Tracing()
        return
    try:
        outbox = QueueClient(keep_texts=keep_texts)
        tracer = LangChainTracer(client=outbox, project_name=get_tracer_project())
    except Exception as error:  # noqa: BLE001  (a run doesn't fail for its traces)
        log.warning("LANGSMITH_TRACING is set, but nothing is traced: %s", error)
        yield Tracing(wanted=True)
        return
    with one_sentence_of_failures(outbox):
        try:
            yield Tracing(tracer, wanted=True)
        finally:
            outbox.send_the_rest()
