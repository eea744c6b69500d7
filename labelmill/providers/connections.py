"""Connections to a provider: HTTP/1.1 by Python's own `http.client`, at a tenth of what the openai client's Python costs.

A client's first request goes through the client, which says how it is sent: to which address, with which headers. All others
are sent like it (`PreparedRequest`). What goes wrong is raised as httpx2 has it, whichever way a request went.
"""

import atexit
import contextlib
import http.client
import os
import re
import select
import socket
import ssl
import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property, lru_cache
from http import HTTPStatus
from typing import Final, NoReturn
from urllib.parse import unquote, urlsplit
from weakref import WeakSet

import httpx2

from labelmill.providers.environment import ENVIRONMENT_OF_CLIENTS, Proxy, proxy_of

IDLE_SECONDS: Final = 5.0
"""How long an unused connection is kept: as long as the openai client does."""
_KEEPALIVE: Final = (
    (socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1),
    *(
        (socket.IPPROTO_TCP, getattr(socket, name), value)
        for name, value in (("TCP_KEEPIDLE", 60), ("TCP_KEEPINTVL", 60), ("TCP_KEEPCNT", 5))
        if hasattr(socket, name)
    ),
)
"""A provider that is gone without a word is noticed, as by the openai client and LangChain's."""
_ILLEGAL = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]|^[ \t]|[ \t]$")
"""What no header's value may hold: <https://www.rfc-editor.org/rfc/rfc9110#section-5.5>."""
_NO_PROTOCOL = "Request URL is missing an 'http://' or 'https://' protocol."
_TUNNEL_FAILED = "Tunnel connection failed: "
_NOT_CONTINUED = range(101, 200)
_SHORT_BYTES = 65_536


@dataclass(frozen=True)
class HttpResponse:
    """A response that has come whole. The names of its headers are in lower case."""

    status_code: int
    headers: Mapping[str, str]
    content: bytes


@dataclass(frozen=True)
class _Parts:
    scheme: str
    host: str
    port: int
    target: str
    host_header: str

    @classmethod
    def of(cls, url: httpx2.URL) -> "_Parts":
        if url.scheme not in {"http", "https"}:
            sentence = f"Request URL has an unsupported protocol '{url.scheme}://'."
            raise httpx2.UnsupportedProtocol(sentence if url.scheme else _NO_PROTOCOL)
        port = url.port or (443 if url.scheme == "https" else 80)
        return cls(
            url.scheme,
            url.raw_host.decode("ascii"),
            port,
            url.raw_path.decode("ascii"),
            url.netloc.decode("ascii"),
        )


@dataclass(frozen=True)
class PreparedRequest:
    """A POST but for its body: the address, the headers, and how many seconds each step may take."""

    url: str
    parts: _Parts
    headers: tuple[tuple[str, str], ...]
    timeout_seconds: float | None

    @classmethod
    def like(cls, request: httpx2.Request) -> "PreparedRequest":
        """One that is sent as a client has sent this one."""
        headers = tuple(
            (name.decode("ascii"), value.decode("latin-1"))
            for name, value in request.headers.raw
            if name.lower() != b"content-length"
        )
        return cls(str(request.url), _Parts.of(request.url), headers, _seconds_in(request))

    @cached_property
    def error_request(self) -> httpx2.Request:
        """What its errors say that they belong to."""
        return httpx2.Request("POST", self.url)


_ALL: "WeakSet[Connections]" = WeakSet()


class Connections(httpx2.BaseTransport):
    """Connections that threads share: a request takes one that is free, or makes one, and leaves it for the next.

    Args:
        proxy: what all requests go through, if anything.
    """

    def __init__(self, proxy: Proxy | None = None) -> None:
        self._proxy = proxy
        self._free: dict[tuple[str, str, int], deque[tuple[http.client.HTTPConnection, float]]] = {}
        self._elsewhere: httpx2.HTTPTransport | None = None
        _ALL.add(self)

    def post(self, prepared: PreparedRequest, content: bytes) -> HttpResponse:
        """Send a request and return its response, whatever its status is. No redirect is followed.

        Raises:
            httpx2.TransportError: it got no response, or not all of it.
        """
        if self._is_beyond_us(prepared.parts):
            return self._by_httpx(prepared, content)
        return _decoded(*self._exchange("POST", prepared, content), prepared)

    def get(self, url: str, headers: Mapping[str, str], timeout_seconds: float) -> HttpResponse:
        """Ask for what is at an address. No redirect is followed, and what is no error and long is left unread.

        Raises:
            httpx2.TransportError: there was no response.
        """
        timeout = httpx2.Timeout(timeout_seconds).as_dict()
        request = httpx2.Request("GET", url, headers=dict(headers), extensions={"timeout": timeout})
        prepared = PreparedRequest.like(request)
        if self._is_beyond_us(prepared.parts):
            response = self._httpx.handle_request(request)
            response.request = request
            try:
                content = response.read() if response.is_error else b""
            finally:
                response.close()
            return HttpResponse(response.status_code, _joined(response.headers.multi_items()), content)
        return _decoded(*self._exchange("GET", prepared, b"", is_read=_is_worth_reading), prepared)

    def handle_request(self, request: httpx2.Request) -> httpx2.Response:
        """Send a client's request."""
        prepared = PreparedRequest.like(request)
        if self._is_beyond_us(prepared.parts):
            return self._httpx.handle_request(request)
        status, headers, raw = self._exchange(request.method, prepared, request.read())
        return httpx2.Response(status, headers=headers, stream=httpx2.ByteStream(raw))

    def close(self) -> None:
        """Close what is free."""
        for free in self._free.values():
            while free:
                with contextlib.suppress(IndexError):
                    free.pop()[0].close()
        if self._elsewhere is not None:
            self._elsewhere.close()
            self._elsewhere = None

    def _is_beyond_us(self, parts: _Parts) -> bool:
        """Whether httpx2 has to send it: `http.client` knows no SOCKS, no TLS to a proxy, and no IPv6 address behind one."""
        return self._proxy is not None and (self._proxy.scheme != "http" or ":" in parts.host)

    @property
    def _httpx(self) -> httpx2.HTTPTransport:
        if self._elsewhere is None:
            limits = httpx2.Limits(max_connections=None, max_keepalive_connections=None)
            proxy = None if self._proxy is None else self._proxy.url
            self._elsewhere = httpx2.HTTPTransport(verify=self._context, proxy=proxy, limits=limits)
        return self._elsewhere

    def _by_httpx(self, prepared: PreparedRequest, content: bytes) -> HttpResponse:
        timeout = httpx2.Timeout(prepared.timeout_seconds).as_dict()
        request = httpx2.Request(
            "POST", prepared.url, headers=prepared.headers, content=content, extensions={"timeout": timeout}
        )
        response = self._httpx.handle_request(request)
        response.request = request
        try:
            response.read()
        finally:
            response.close()
        return HttpResponse(response.status_code, _joined(response.headers.multi_items()), response.content)

    @cached_property
    def _context(self) -> ssl.SSLContext:
        """The certificates that the environment names, read where the first request needs them."""
        return httpx2.create_ssl_context()

    # ---- one request

    def _exchange(
        self,
        method: str,
        prepared: PreparedRequest,
        content: bytes,
        is_read: Callable[[http.client.HTTPResponse], bool] = lambda _: True,
    ) -> tuple[int, list[tuple[str, str]], bytes]:
        head = self._head(method, prepared, len(content))
        key = (prepared.parts.scheme, prepared.parts.host, prepared.parts.port)
        connection = self._free_one(key) or self._connected(prepared)
        try:
            response = _answered(connection, method, head + content, prepared)
            is_whole = is_read(response)
            raw = _whole(response, prepared) if is_whole else b""
        except BaseException:
            connection.close()
            raise
        if response.will_close or not is_whole:
            response.close()
            connection.close()
        else:
            self._free.setdefault(key, deque()).append((connection, time.monotonic()))
        return response.status, response.getheaders(), raw

    def _head(self, method: str, prepared: PreparedRequest, length: int) -> bytes:
        parts, target = prepared.parts, prepared.parts.target
        lines = []
        if self._proxy is not None and parts.scheme == "http":  # it is told the whole address, and forwards
            target = f"http://{parts.host_header}{parts.target}"
            lines += [f"{name}: {value}" for name, value in _credentials(self._proxy).items()]
        for name, value in prepared.headers:
            if _ILLEGAL.search(value):
                raise httpx2.LocalProtocolError("Illegal header value")  # which may be the key
            lines.append(f"{name}: {value}")
        if length or method != "GET":
            lines.append(f"Content-Length: {length}")
        return "\r\n".join([f"{method} {target} HTTP/1.1", *lines, "\r\n"]).encode("latin-1")

    def _free_one(self, key: tuple[str, str, int]) -> http.client.HTTPConnection | None:
        """A free connection that its other end has not closed."""
        free = self._free.get(key)
        while free:
            try:
                connection, since = free.pop()
            except IndexError:  # another thread was quicker
                return None
            if time.monotonic() - since < IDLE_SECONDS and not _has_something_to_read(connection):
                return connection
            connection.close()
        return None

    def _connected(self, prepared: PreparedRequest) -> http.client.HTTPConnection:
        parts = prepared.parts
        proxy = None if self._proxy is None else urlsplit(self._proxy.url)
        host, port = (parts.host, parts.port) if proxy is None else (proxy.hostname or "", proxy.port or 80)
        seconds = prepared.timeout_seconds
        connection = (
            http.client.HTTPSConnection(host, port, timeout=seconds, context=self._context)
            if parts.scheme == "https"
            else http.client.HTTPConnection(host, port, timeout=seconds)
        )
        if self._proxy is not None and parts.scheme == "https":
            connection.set_tunnel(parts.host, parts.port, _credentials(self._proxy))
        try:
            connection.connect()
            for option in _KEEPALIVE:
                connection.sock.setsockopt(*option)
        except BaseException as error:
            connection.close()
            if isinstance(error, OSError | http.client.HTTPException):
                _raise_not_connected(error, prepared)
            raise
        return connection


def shared_connections(base_url: str, environment: Mapping[str, str] = os.environ) -> Connections:
    """The connections to an address, by the proxy and with the certificates of the environment: one for all chains of this process.

    They are closed at its end.
    """
    return _shared(proxy_of(base_url, environment), *map(environment.get, ENVIRONMENT_OF_CLIENTS))


@lru_cache(maxsize=8)
def _shared(proxy: Proxy | None, *_: str | None) -> Connections:
    connections = Connections(proxy)
    atexit.register(connections.close)
    return connections


def _leave_to_parent() -> None:
    """Take none of the parent's connections into a child: both would write into one conversation."""
    for connections in list(_ALL):
        connections.close()


os.register_at_fork(after_in_child=_leave_to_parent)


def _credentials(proxy: Proxy) -> dict[str, str]:
    """The header that a proxy's user name and password go into."""
    parts = urlsplit(proxy.url)
    if not parts.username and not parts.password:
        return {}
    user, password = unquote(parts.username or ""), unquote(parts.password or "")
    return {"Proxy-Authorization": httpx2.BasicAuth(user, password)._auth_header}  # noqa: SLF001


def _has_something_to_read(connection: http.client.HTTPConnection) -> bool:
    """Whether an unused connection has an end, or an alert, that waits to be read."""
    waiting = select.poll()  # `select` knows no descriptor above 1,023
    waiting.register(connection.sock, select.POLLIN)
    return bool(waiting.poll(0))


def _answered(
    connection: http.client.HTTPConnection, method: str, request: bytes, prepared: PreparedRequest
) -> "_Response":
    """The response that has begun to come."""
    connection.sock.settimeout(prepared.timeout_seconds)
    write_error: httpx2.WriteError | None = None
    try:
        connection.sock.sendall(request)
    except TimeoutError as error:
        raise httpx2.WriteTimeout(str(error), request=prepared.error_request) from error
    except OSError as error:
        # Servers may answer, and close, before they have read all of a request that is too long.
        write_error = httpx2.WriteError(str(error), request=prepared.error_request)
        write_error.__cause__ = error
    response = _Response(connection.sock, method=method)
    try:
        response.begin()
    except (OSError, http.client.HTTPException) as error:
        response.close()
        if write_error is not None:
            raise write_error from write_error.__cause__
        _raise_not_read(error, prepared)
    return response


def _whole(response: http.client.HTTPResponse, prepared: PreparedRequest) -> bytes:
    try:
        return response.read()
    except (OSError, http.client.HTTPException) as error:
        _raise_not_read(error, prepared)
    finally:
        response.close()


class _Response(http.client.HTTPResponse):
    """One that passes over interim responses (103, Early Hints), which Python's own takes for the last word."""

    def _read_status(self) -> tuple[str, int, str]:
        while True:
            version, status, reason = super()._read_status()  # type: ignore[misc]
            if status not in _NOT_CONTINUED:
                return version, status, reason
            while self.fp.readline(65_537).strip():
                pass


def _raise_not_connected(error: Exception, prepared: PreparedRequest) -> NoReturn:
    """Raise what httpx2 would.

    Raises:
        httpx2.TransportError: always.
    """
    request, said = prepared.error_request, str(error)
    if isinstance(error, http.client.HTTPException):
        raise httpx2.RemoteProtocolError(_protocol_words(error), request=request) from None
    if said.startswith(_TUNNEL_FAILED):
        raise httpx2.ProxyError(said.removeprefix(_TUNNEL_FAILED), request=request) from None
    if isinstance(error, TimeoutError):
        raise httpx2.ConnectTimeout(said, request=request) from error
    raise httpx2.ConnectError(said, request=request) from error


def _raise_not_read(error: Exception, prepared: PreparedRequest) -> NoReturn:
    """Raise what httpx2 would.

    Raises:
        httpx2.TransportError: always.
    """
    request = prepared.error_request
    if isinstance(error, http.client.RemoteDisconnected):
        sentence = "Server disconnected without sending a response."
        raise httpx2.RemoteProtocolError(sentence, request=request) from None
    if isinstance(error, http.client.HTTPException):
        raise httpx2.RemoteProtocolError(_protocol_words(error), request=request) from None
    if isinstance(error, TimeoutError):
        raise httpx2.ReadTimeout(str(error), request=request) from error
    raise httpx2.ReadError(str(error), request=request) from error


def _protocol_words(error: http.client.HTTPException) -> str:
    if isinstance(error, http.client.IncompleteRead):
        return "peer closed connection without sending complete message body"
    if isinstance(error, http.client.BadStatusLine):
        return f"illegal status line: {error.args[0]!r}"
    return f"{type(error).__name__}: {str(error)!r}"


def _decoded(
    status: int, headers: list[tuple[str, str]], raw: bytes, prepared: PreparedRequest
) -> HttpResponse:
    told = _joined(headers)
    if raw and told.get("content-encoding"):
        raw = httpx2.Response(status, headers=headers, content=raw, request=prepared.error_request).content
    return HttpResponse(status, told, raw)


def _is_worth_reading(response: http.client.HTTPResponse) -> bool:
    """Whether to read what a response holds: an error's words, or so little that its connection is kept for it."""
    is_short = response.length is not None and response.length <= _SHORT_BYTES
    return response.status >= HTTPStatus.BAD_REQUEST or is_short


def _joined(headers: Iterable[tuple[str, str]]) -> dict[str, str]:
    joined: dict[str, str] = {}
    for name, value in headers:
        known = name.lower()
        joined[known] = f"{joined[known]}, {value}" if known in joined else value
    return joined


def _seconds_in(request: httpx2.Request) -> float | None:
    told = request.extensions.get("timeout", {})
    seconds: float | None = told.get("read")
    return seconds
