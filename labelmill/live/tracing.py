"""Tracing: with `LANGSMITH_TRACING=true`, LangChain's steps go to LangSmith, without the texts unless the job wants it."""

import logging
import queue
import re
import threading
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from typing import Any

from langchain_core.callbacks import BaseCallbackHandler
from langchain_core.tracers.langchain import LangChainTracer
from langsmith import Client
from langsmith.run_helpers import tracing_context
from langsmith.utils import get_tracer_project, tracing_is_enabled
from urllib3.util import Retry

from labelmill.live.callbacks import Tracing

log = logging.getLogger(__name__)

MOST_WAITING = 10_000
"""Beginnings and ends of traced steps that wait at most; a text makes about eight of them."""
MOST_IN_A_REQUEST = 200
SECONDS_TO_SEND_THE_REST = 5.0
_GATHER_SECONDS = 0.2
_TIMEOUTS_MS = (2_000, 5_000)
_EXCEPTION_NAME = re.compile(r"[A-Za-z_][\w.]*")


class QueueClient(Client):
    """A LangSmith client whose runs go through a queue of its own.

    Args:
        keep_texts: leaves inputs, outputs and error messages as they are. Otherwise inputs and outputs are emptied, and
            of an error only the name of its exception is kept.
    """

    def __init__(self, *, keep_texts: bool, most_waiting: int = MOST_WAITING) -> None:
        self.taken = 0
        self.sent = 0
        self._counting = threading.Lock()
        self._keep_texts = keep_texts
        self._failed = False
        self._waiting: queue.Queue[tuple[str, dict[str, Any]]] = queue.Queue(most_waiting)
        self._closing = threading.Event()
        # None leaves the choice to LANGSMITH_HIDE_INPUTS and LANGSMITH_HIDE_OUTPUTS.
        hide = None if keep_texts else True
        super().__init__(
            auto_batch_tracing=False,
            hide_inputs=hide,
            hide_outputs=hide,
            # Without this, LangSmith takes the values of environment variables along.
            omit_traced_runtime_info=True,
            retry_config=Retry(total=0),
            timeout_ms=_TIMEOUTS_MS,
            tracing_error_callback=self._note_failure,
        )
        self._sender = threading.Thread(target=self._send_all, name="langsmith-queue", daemon=True)
        self._sender.start()

    @property
    def lost(self) -> int:
        """How many beginnings and ends of steps have not arrived, as far as is known."""
        return self.taken - self.sent

    def create_run(self, name: str, inputs: dict[str, Any], run_type: Any, **more: Any) -> None:
        """Take the beginning of a traced step; returns at once."""
        self._put("create", {"name": name, "inputs": inputs, "run_type": run_type, **more})

    def update_run(self, run_id: Any, **more: Any) -> None:
        """Take the end of a traced step; returns at once."""
        self._put(
            "update", {"id": run_id, **{name: value for name, value in more.items() if value is not None}}
        )

    def _put(self, kind: str, run: dict[str, Any]) -> None:
        run.pop("dangerously_allow_filesystem", None)  # an argument, no part of a step
        if not self._keep_texts:
            run = without_texts(run)
        with self._counting:
            self.taken += 1
        with suppress(queue.Full):
            self._waiting.put_nowait((kind, run))

    def send_the_rest(self, seconds: float = SECONDS_TO_SEND_THE_REST) -> None:
        """Send what waits, for so long at most, and give up the rest."""
        self._closing.set()
        self._sender.join(seconds)
        if not self._sender.is_alive():
            self.close(timeout=0)

    def _send_all(self) -> None:
        while batch := self._next_batch():
            self._send(batch)

    def _next_batch(self) -> list[tuple[str, dict[str, Any]]]:
        """The next traces to send, once there are some; none when the queue is closed and empty."""
        while not self._closing.is_set() and self._waiting.qsize() < MOST_IN_A_REQUEST:
            if self._closing.wait(_GATHER_SECONDS) or not self._waiting.empty():
                break
        batch: list[tuple[str, dict[str, Any]]] = []
        while len(batch) < MOST_IN_A_REQUEST:
            try:
                batch.append(self._waiting.get_nowait())
            except queue.Empty:
                break
        return batch

    def _send(self, batch: list[tuple[str, dict[str, Any]]]) -> None:
        self._failed = False
        try:
            self.multipart_ingest(
                create=[run for kind, run in batch if kind == "create"],
                update=[run for kind, run in batch if kind == "update"],
            )
        except Exception as error:  # noqa: BLE001  (whatever is wrong with a trace, the run goes on)
            self._note_failure(error)
        if not self._failed:
            self.sent += len(batch)

    def _note_failure(self, _: Exception) -> None:
        self._failed = True


def without_texts(run: dict[str, Any]) -> dict[str, Any]:
    """A step without what it was given and what it returned; of an error, the name of its exception is left."""
    run = {**run}
    for name in ("inputs", "outputs"):
        if run.get(name) is not None:
            run[name] = {}
    if run.get("error"):
        found = _EXCEPTION_NAME.match(str(run["error"]))
        run["error"] = found.group() if found else "error"
    return run


@contextmanager
def one_sentence_of_failures(langsmith_queue: QueueClient) -> Iterator[None]:
    """For the length of the block LangSmith's own log is silent; at its end one sentence says what did not arrive."""
    its_log = logging.getLogger("langsmith.client")
    its_log.addFilter(_silent)
    try:
        yield
    finally:
        its_log.removeFilter(_silent)
        if langsmith_queue.lost:
            log.warning(
                "LangSmith did not accept %d of %d traces of beginnings and ends; the labels are not affected",
                langsmith_queue.lost,
                langsmith_queue.taken,
            )


def _silent(_: logging.LogRecord) -> bool:
    return False


class TracedByLangSmith(Tracing):
    """Tracing by a tracer of our own."""

    def __init__(self, tracer: LangChainTracer) -> None:
        self._tracer = tracer

    @property
    def callbacks(self) -> list[BaseCallbackHandler]:
        """What LangChain tells of each step."""
        return [self._tracer]


class NotTraced(Tracing):
    """Tracing that was asked for and can't be had."""

    def around_batch(self) -> AbstractContextManager[None]:
        """Keeps LangChain from making a tracer of its own, which would send the texts."""
        return tracing_context(enabled=False)


@contextmanager
def tracing(*, keep_texts: bool) -> Iterator[Tracing]:
    """Trace for the length of the block if the environment asks for it, then wait a little for what is on its way.

    Nothing that LangSmith does or doesn't do raises here. A tracing that can't begin (no key) is said once.
    """
    if not tracing_is_enabled():
        yield Tracing()
        return
    try:
        langsmith_queue = QueueClient(keep_texts=keep_texts)
        tracer = LangChainTracer(client=langsmith_queue, project_name=get_tracer_project())
    except Exception as error:  # noqa: BLE001  (a run doesn't fail for its traces)
        log.warning("LANGSMITH_TRACING is set, but nothing is traced: %s", error)
        yield NotTraced()
        return
    with one_sentence_of_failures(langsmith_queue):
        try:
            yield TracedByLangSmith(tracer)
        finally:
            langsmith_queue.send_the_rest()
