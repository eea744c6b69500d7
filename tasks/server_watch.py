"""The Prefect server in the middle of a run: one that goes away must not take the run along.

Prefect asks its server before each task run, and a minute for each request that isn't answered. That carries a run over a
restart. With a server that stays away it would hold up every chunk in turn, for hours, and end in a traceback.
"""

import logging
import time
from collections.abc import Callable
from http import HTTPStatus

import httpx
from prefect.concurrency._asyncio import ConcurrencySlotAcquisitionError
from prefect.settings import PREFECT_API_URL, get_current_settings

from labelmill.errors import LabelmillError
from labelmill.providers.environment import without_credentials

log = logging.getLogger("labelmill.prefect")

PATIENCE_SECONDS = 60.0
"""How long a server may be silent: a restart takes less."""
SECONDS_BETWEEN_QUESTIONS = 10.0
_ANSWER_SECONDS = 5.0
_NOBODY_BEHIND = {HTTPStatus.BAD_GATEWAY, HTTPStatus.SERVICE_UNAVAILABLE, HTTPStatus.GATEWAY_TIMEOUT}

SERVER_ERRORS = (httpx.HTTPError, ConcurrencySlotAcquisitionError)
"""What Prefect raises where its server doesn't answer."""


class ServerAway(LabelmillError):  # noqa: N818  (the name is the sentence)
    """The server is away, so that there is nobody to show a run to."""

    def __init__(self) -> None:
        super().__init__(f"the Prefect server at {_address()} does not answer")


class ServerWatch:
    """Whether the server still answers. It is asked now and then, by whoever wants to know.

    While it is away Prefect's client asks once rather than for a minute, so that nobody waits for it.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._asked = clock()
        self._silent_since: float | None = None
        self._is_away = False
        self._retries = 0

    @property
    def is_away(self) -> bool:
        """Whether it has been silent for longer than a restart takes."""
        now = self._clock()
        if now - self._asked >= SECONDS_BETWEEN_QUESTIONS:
            self._asked = now
            self._hear(answers=_answers(PREFECT_API_URL.value() or ""), now=now)
        return self._is_away

    def _hear(self, *, answers: bool, now: float) -> None:
        client = get_current_settings().client
        # Prefect's handlers write to the terminal whenever their lines find nobody.
        logging.raiseExceptions = answers
        if answers:
            self._silent_since = None
            if self._is_away:
                self._is_away, client.max_retries = False, self._retries
                log.warning("The Prefect server at %s answers again", _address())
            return
        if self._silent_since is None:
            self._silent_since = now
        if not self._is_away and now - self._silent_since >= PATIENCE_SECONDS:
            self._is_away, self._retries, client.max_retries = True, client.max_retries, 0
            log.warning(
                "The Prefect server at %s does not answer; the run goes on, and its page shows no more of it",
                _address(),
            )

    def showing(self, show: Callable[[], object]) -> Callable[[], object]:
        """The same step towards the server, unless that is away by then."""

        def take() -> object:
            if self.is_away:
                raise ServerAway
            return show()

        return take


def _answers(api_url: str) -> bool:
    """Whether anybody answers there: a gateway that finds no server behind it does not count."""
    try:
        # Told and believed is nothing: no password goes there, and its certificate was looked at when the run began.
        answer = httpx.get(f"{api_url}/health", timeout=_ANSWER_SECONDS, verify=False)  # noqa: S501
    except (httpx.HTTPError, httpx.InvalidURL, OSError):
        return False
    return answer.status_code not in _NOBODY_BEHIND


def _address() -> str:
    return without_credentials(PREFECT_API_URL.value() or "its address")


def quiet_about_silence() -> None:
    """Keep from the log what Prefect's background services say of a server that is away, again and again, each in pages."""
    for name, words in (
        ("prefect._internal.concurrency", "failed to process item"),
        ("prefect.events.clients", "Unable to connect to"),
        ("prefect.task_runs", "Please wait for all submitted tasks"),
    ):
        logger = logging.getLogger(name)
        if not any(isinstance(one, _Without) for one in logger.filters):
            logger.addFilter(_Without(words))
    for name in ("prefect.task_runs", "prefect.flow_runs", "prefect.engine"):
        logger = logging.getLogger(name)
        if not any(isinstance(one, _WithoutTraceback) for one in logger.filters):
            logger.addFilter(_WithoutTraceback())


class _Without(logging.Filter):
    def __init__(self, words: str) -> None:
        super().__init__()
        self._words = words

    def filter(self, record: logging.LogRecord) -> bool:
        return self._words not in str(record.msg)


class _WithoutTraceback(logging.Filter):
    """A sentence needs none: what a person can mend, and what Prefect says of a server that is away."""

    def filter(self, record: logging.LogRecord) -> bool:
        if record.exc_info and _is_said_in_a_sentence(record.exc_info[1]):
            record.exc_info = None
        return True


def _is_said_in_a_sentence(error: BaseException | None) -> bool:
    # What a client raises that is told not to ask again while it waits to do so.
    has_given_up = isinstance(error, AssertionError) and "Retry handling ended" in str(error)
    return has_given_up or isinstance(error, (LabelmillError, *SERVER_ERRORS))
