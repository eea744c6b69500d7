"""A call through langasync: in an event loop of its own, with its errors put into ours."""

import asyncio
import logging
import ssl
from collections.abc import Coroutine
from typing import Any, TypeVar

import httpx
import httpx2
import openai
from langasync.exceptions import LangAsyncError

from labelmill.batch.errors import error_of
from labelmill.batch.wire import mapping_in
from labelmill.providers.endpoint import Endpoint

T = TypeVar("T")

# It logs each error before it raises it, with words that may hold the key.
logging.getLogger("langasync").setLevel(logging.CRITICAL + 1)

_PROVIDERS_DOING = (
    LangAsyncError,
    httpx.HTTPError,
    httpx.InvalidURL,
    ssl.SSLError,
    ValueError,
    RecursionError,
)


def run(call: Coroutine[Any, Any, T], endpoint: Endpoint) -> T:
    """What a call comes to.

    Raises:
        BatchRefused: the provider has refused for good.
        BatchUnreachable: it did not answer, or answered that it can't now.
    """
    try:
        return asyncio.run(call)
    except _PROVIDERS_DOING as error:
        cause = _cause_of(error)
        if isinstance(cause, OSError) and not isinstance(cause, ssl.SSLError):
            raise cause from None
        # Without the cause, whose words may hold the key.
        raise error_of(_as_openai(cause), endpoint) from None


def _cause_of(error: BaseException) -> BaseException:
    """What langasync has wrapped into an error of its own."""
    return error.__cause__ or error if isinstance(error, LangAsyncError) else error


def _as_openai(error: BaseException) -> BaseException:
    """The error that the openai client would have raised, which Labelmill knows how to read."""
    if isinstance(error, httpx.HTTPStatusError):
        answered = error.response
        try:
            body = answered.json()
        except ValueError:
            body = answered.text
        request = httpx2.Request(error.request.method, str(error.request.url))
        response = httpx2.Response(answered.status_code, headers=dict(answered.headers), request=request)
        said = mapping_in(body).get("error", body)
        return openai.APIStatusError(str(body), response=response, body=said)
    if isinstance(error, httpx.RequestError):
        request = httpx2.Request("GET", "http://provider")
        timeout = isinstance(error, httpx.TimeoutException)
        told = openai.APITimeoutError(request) if timeout else openai.APIConnectionError(request=request)
        told.__cause__ = error
        return told
    return error
