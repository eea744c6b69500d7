"""Sending an alert: a few quick tries within a few seconds, and whatever comes of it in one sentence."""

import json
import logging
import time
from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from http import HTTPStatus
from threading import Thread
from typing import TYPE_CHECKING

from labelmill.alert.channel import Channel
from labelmill.alert.message import Message, Post, post_of
from labelmill.alert.services import Service
from labelmill.errors import AlertNotSent
from labelmill.providers.environment import plain_http_client

if TYPE_CHECKING:
    import httpx

MOST_SECONDS = 15.0
"""What an alert may hold up the end of a run, whatever becomes of it."""
_TRY_SECONDS = 5.0
_PAUSES_SECONDS = (0.3, 1.0)
"""Before the second and the third try."""
_WORTH_A_TRY = {429, 500, 502, 503, 504}
_REDIRECTS, _ERRORS = 300, 400
_MOST_BYTES = 65_536
_SHOWN_CHARACTERS = 200


class _TryAgain(Exception):  # noqa: N818  (the name is the sentence)
    """What went wrong may be over in a moment."""


def send(message: Message, channel: Channel) -> None:
    """Tell a service of a run.

    Raises:
        AlertNotSent: it was not told, or it isn't known; the sentence holds neither the address nor the secret.
    """
    told: Future[None] = Future()

    def tell() -> None:
        try:
            _send(message, channel)
        except AlertNotSent as error:
            told.set_exception(error)
        except Exception as error:  # noqa: BLE001  (nothing of it may show the address)
            told.set_exception(AlertNotSent(channel.hidden(f"{type(error).__name__}: {error}")))
        else:
            told.set_result(None)

    # A name that isn't resolved and an answer that drips can't be given up in any other way.
    Thread(target=tell, name="alert", daemon=True).start()
    try:
        told.result(MOST_SECONDS)
    except TimeoutError:
        raise AlertNotSent(f"{channel.service.title} took longer than {MOST_SECONDS:.0f} s") from None
    except KeyboardInterrupt:
        # The run is over, and who presses Ctrl-C now waits for nothing but this.
        raise AlertNotSent(
            f"nobody waited for {channel.service.title} any longer; the alert may have arrived"
        ) from None


def _send(message: Message, channel: Channel) -> None:
    with plain_http_client(channel.url) as http, _address_unlogged(channel):
        for pause in (*_PAUSES_SECONDS, None):
            try:
                return _post(http, post_of(message, channel, time.time()), channel)
            except _TryAgain as error:
                if pause is None:
                    raise AlertNotSent(channel.hidden(str(error))) from None
                time.sleep(pause)
    return None


def _post(http: "httpx.Client", post: Post, channel: Channel) -> None:
    import httpx  # noqa: PLC0415  (it brings a command line of its own, and few runs need it)

    service = channel.service
    headers = {"content-type": "application/json; charset=utf-8"}
    try:
        with http.stream(
            "POST", post.url, content=post.body, headers=headers, timeout=_TRY_SECONDS
        ) as response:
            status, said = response.status_code, _beginning_of(response)
    except (httpx.ConnectError, httpx.ConnectTimeout, httpx.ProxyError) as error:
        raise _TryAgain(f"{service.title} can't be reached: {error or type(error).__name__}") from None
    except httpx.TimeoutException:
        # It may have arrived: a second try could tell people twice.
        raise AlertNotSent(
            f"{service.title} gave no answer within {_TRY_SECONDS:.0f} s; the alert may have arrived all the same"
        ) from None
    except httpx.TransportError as error:
        words = channel.hidden(str(error)) or type(error).__name__
        raise AlertNotSent(
            f"{service.title} broke off: {words}; the alert may have arrived all the same"
        ) from None
    _read_answer(status, said, channel)


def _beginning_of(response: "httpx.Response") -> str:
    read = b""
    for piece in response.iter_bytes():
        read += piece
        if len(read) > _MOST_BYTES:
            break
    return read[:_MOST_BYTES].decode(errors="replace")


def _read_answer(status: int, said: str, channel: Channel) -> None:
    """See whether an answer says that the message was taken.

    Raises:
        AlertNotSent: it says that it was not.
        _TryAgain: so it does, and that may be over in a moment.
    """
    service = channel.service
    answer = _mapping_in(said)
    reason = next((str(answer[name]) for name in service.says if answer.get(name)), said)
    shown = " ".join(channel.hidden(reason).split())[:_SHOWN_CHARACTERS].rstrip(" .")
    hint = service.hint_for(reason)
    advice = f"; {hint}" if hint else ""
    if _REDIRECTS <= status < _ERRORS:
        raise AlertNotSent(
            f"{service.title} answered with a redirect ({status}), which is not followed; take the address it leads to"
        )
    if not HTTPStatus.OK <= status < _REDIRECTS:
        words = f"{service.title} answered {status}{f': {shown}' if shown else ''}{advice}"
        raise _TryAgain(words) if status in _WORTH_A_TRY else AlertNotSent(words)
    if not service.code:
        return
    code = next((answer[name] for name in service.code if name in answer), None)
    if code == 0:
        return
    if code is None:
        raise AlertNotSent(
            f"{service.title} did not say that it took the alert{f': {shown}' if shown else ''}"
        )
    words = f"{service.title} answered with the code {code}{f': {shown}' if shown else ''}{advice}"
    raise _TryAgain(words) if _is_busy(code, service) else AlertNotSent(words)


def _is_busy(code: object, service: Service) -> bool:
    return isinstance(code, int) and code in service.busy


def _mapping_in(said: str) -> dict[str, object]:
    try:
        found = json.loads(said)
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


@contextmanager
def _address_unlogged(channel: Channel) -> Iterator[None]:
    """Keep the address out of httpx's log, which has a line for each request."""
    log = logging.getLogger("httpx")

    def is_harmless(line: logging.LogRecord) -> bool:
        words = line.getMessage()
        return channel.hidden(words) == words

    log.addFilter(is_harmless)
    try:
        yield
    finally:
        log.removeFilter(is_harmless)
