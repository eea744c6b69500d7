"""What went wrong with a request: the failure of a row, told from a response's status and body or from a client's error.

It takes what the openai client raises, LangChain's and langasync's wrappings of it, and httpx's own errors; what is wrong
with a connection it says in one sentence without credentials.
"""

import errno
import json
import math
import os
import re
import socket
import ssl
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from types import MappingProxyType
from typing import Any
from urllib.parse import urlsplit

from labelmill.errors import Mistake
from labelmill.providers.endpoint import is_loopback
from labelmill.providers.environment import OWN_PROXY, Proxy, proxy_of, without_credentials
from labelmill.providers.refusals import Sent, field_refusal
from labelmill.providers.wire import list_in, mapping_in
from labelmill.providers.wordings import Meaning, error_in, meaning_of
from labelmill.question.failures import Failure

HideKey = Callable[[str], str]
"""Takes the key out of words, should a provider have repeated it."""

# ---- what a response or an error means for its row

_AFTER_THE_WORK_STATUSES = {408, 499, 502, 504, 520, 521, 522, 523, 524, 598}
"""What a gateway answers that waited for the work in vain: it may have been done, and charged.

Sources: RFC 9110 section 15.6 (502, 504); nginx (499); Cloudflare's 5xx errors (520 to 524).
"""
NOBODY_BEHIND_STATUSES = {502, 520, 521, 522, 523}
"""What a gateway answers while the server behind it is away, as it is during a restart."""
_AGAIN_STATUSES = {408, 409, 425, 499}
_SERVER_ERROR = 500


def failure_of(error: BaseException, hide_key: HideKey = str, sent: Sent | None = None) -> Failure:
    """Tell what an exception of a client, or anything else that was raised by a request, means for its row.

    Where it is told what was `sent`, it also tells which field of that was refused.

    Anything that is not known to be the provider's or the network's doing counts as `bad_response`, which may have been paid.
    """
    origin = _origin_of(error)
    names = _names_of([origin])
    if names & {"APIStatusError", "HTTPStatusError"}:
        return _failure_of_status(origin, hide_key, sent)
    if isinstance(origin, UnicodeEncodeError) and origin.encoding == "ascii":
        return Failure("denied", f"{_NOT_SENT}: the key holds characters that are not ASCII", is_account=True)
    if names & _TIMEOUTS and not isinstance(origin, OSError) and was_sent(origin):
        return Failure("timeout", "the provider did not answer in time", may_have_been_paid=True)
    if names & {"APIConnectionError", "RequestError"}:
        return _failure_of_connection(origin, hide_key)
    words = hide_key(f"{type(origin).__name__}: {origin}")
    return Failure("bad_response", words, may_have_been_paid=True)


_NOT_SENT = "the request can't be sent"


def _origin_of(error: BaseException) -> BaseException:
    """The client's own error, where LangChain has wrapped it in another."""
    while error.__cause__ is not None and "OpenAIError" in _names_of([error.__cause__]):
        error = error.__cause__
    return error


def _failure_of_status(error: Any, hide_key: HideKey, sent: Sent | None) -> Failure:
    """Told from the response itself, of which the key is hidden before anything is read."""
    response = error.response
    try:
        said = hide_key(response.content.decode(errors="replace"))
    except Exception:  # noqa: BLE001  (its body could not be read, or was not)
        said = ""
    try:
        body: object = json.loads(said)
    except (ValueError, RecursionError):
        body = said or None
    fallback = hide_key(str(error))
    return failure_of_response(response.status_code, body, fallback, response.headers, sent)


def _failure_of_connection(error: BaseException, hide_key: HideKey) -> Failure:
    """Told by names and words: the client's HTTP library is its own affair, and changes."""
    cause, sent = error.__cause__ or error, was_sent(error)
    if type(cause).__name__ == "UnsupportedProtocol":
        return Failure("denied", hide_key(f"{_NOT_SENT}: {cause}"), is_account=True)
    if _is_bad_key([cause]):
        sentence = f"{_NOT_SENT}: the key holds a line break or another character that no key has"
        return Failure("denied", sentence, is_account=True)
    # An answer had begun, and has been paid.
    cut_off = any(part in str(cause) for part in _CUT_OFF)
    kind = "bad_response" if cut_off else "connection"
    return Failure(kind, hide_key(connection_words(error)), may_have_been_paid=sent)


def failure_of_response(
    status: int,
    body: object,
    fallback: str = "",
    headers: Mapping[str, str] = MappingProxyType({}),
    sent: Sent | None = None,
) -> Failure:
    """Tell what an HTTP response of 400 or more means for its row; `fallback` are its words where its body has none."""
    said = error_in(body)
    words = said.words or fallback
    failure = _failure_of_error(status, said.code, said.kind, words, headers)
    if failure.kind in _WAITED_FOR and failure.retry_after_seconds is None:
        failure = replace(failure, retry_after_seconds=_retry_delay_in(body))
    return field_refusal(failure, status, said.code, said.kind, words, sent) or failure


_WAITED_FOR = frozenset({"rate_limited", "overloaded"})
_DELAY = re.compile(r"([0-9]{1,6}(?:\.[0-9]{1,9})?)s")


def _retry_delay_in(body: object) -> float | None:
    """The wait that Google asks for, in seconds: it stands in the body.

    Source: <https://cloud.google.com/apis/design/errors#error_payloads> (`RetryInfo`).
    """
    first = body[0] if isinstance(body, list) and body else body
    for detail in list_in(mapping_in(mapping_in(first).get("error")).get("details")):
        told = mapping_in(detail).get("retryDelay")
        if isinstance(told, str) and (found := _DELAY.fullmatch(told)):
            return float(found[1])
    return None


def failure_of_status(
    status: int,
    code: str | None,
    said: str,
    headers: Mapping[str, str] = MappingProxyType({}),
    sent: Sent | None = None,
) -> Failure:
    """Tell what an HTTP status of 400 or more, with the provider's code and words, means for its row."""
    failure = _failure_of_error(status, code, None, said, headers)
    return field_refusal(failure, status, code, None, said, sent) or failure


def _failure_of_error(  # noqa: PLR0911  (a decision table reads best as one)
    status: int, code: str | None, kind: str | None, said: str, headers: Mapping[str, str]
) -> Failure:
    words, wait = f"{status}: {said}", retry_after_seconds(headers)
    match meaning_of(status, code, kind, said):
        case Meaning.ACCOUNT:
            return Failure("denied", words, wait, is_account=True)
        case Meaning.PERMISSION_SCOPE | Meaning.SCHEMA_REFUSED:
            return Failure("denied", words, wait)
        case Meaning.CONTENT_FILTER:
            return Failure("content_filter", words)
        case Meaning.TOO_LONG:
            return Failure("too_long", words)
        case Meaning.RATE_LIMIT:
            return Failure("rate_limited", words, wait)
        case Meaning.OFF_FORM:  # the model had answered, and the provider keeps the answer to itself
            return Failure("bad_response", words, wait, may_have_been_paid=True)
        case Meaning.OVERLOADED:
            return Failure("overloaded", words, wait, may_have_been_paid=status in _AFTER_THE_WORK_STATUSES)
    if status >= _SERVER_ERROR or status in _AGAIN_STATUSES:
        return Failure("provider_error", words, wait, may_have_been_paid=status in _AFTER_THE_WORK_STATUSES)
    return Failure("denied", words, wait)


def retry_after_seconds(headers: Mapping[str, str]) -> float | None:
    """The wait a provider asks for, in seconds; None without one.

    It stands in `retry-after-ms`, or in `Retry-After` as seconds or as a date.
    """
    for name, unit in (("retry-after-ms", 0.001), ("retry-after", 1.0)):
        try:
            seconds = float(headers[name]) * unit
        except (KeyError, ValueError):
            continue
        if math.isfinite(seconds):
            return max(0.0, seconds)
    try:
        until = parsedate_to_datetime(headers["retry-after"])
    except (KeyError, ValueError):
        return None
    return max(0.0, (until.astimezone(UTC) - datetime.now(UTC)).total_seconds())


# ---- what went wrong with a connection

_WORDS_CHARACTERS = 300
_NEVER_SENT = frozenset(
    {"ConnectError", "ConnectTimeout", "PoolTimeout", "ProxyError", "UnsupportedProtocol", "InvalidURL"}
)
"""Exceptions of httpx, httpx2 and their cores, by name: it is told which of them a client uses by nothing else."""
_NO_MORE_FILES = frozenset({errno.EMFILE, errno.ENFILE})
_NO_ROUTE = frozenset({errno.ENETUNREACH, errno.EHOSTUNREACH, errno.ENETDOWN, errno.EHOSTDOWN})
_CUT = frozenset({errno.ECONNRESET, errno.EPIPE, errno.ECONNABORTED})
_OF_THE_NETWORK = _NO_ROUTE | _CUT | {errno.ECONNREFUSED, errno.ETIMEDOUT, errno.EADDRNOTAVAIL}
_BAD_CERTIFICATES: Mapping[int, str] = {
    9: "is not valid yet; is this machine's clock right?",
    10: "has expired",
    18: "is self-signed and not trusted here; {trust}",
    19: "is signed by an authority that is not trusted here; {trust}",
    20: "is signed by an authority that is not trusted here; {trust}",
    21: "is signed by an authority that is not trusted here; {trust}",
    23: "has been revoked",
    62: "is for another host name",
    64: "is for another address",
}
"""OpenSSL's verify codes: https://docs.openssl.org/master/man3/X509_STORE_CTX_get_error/"""
_TRUST = "name a PEM file with the authority's certificate in SSL_CERT_FILE"
_OTHERS_TRUST = ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE")
_NOT_TLS = frozenset(
    {
        "WRONG_VERSION_NUMBER",
        "HTTP_REQUEST",
        "UNKNOWN_PROTOCOL",
        "PACKET_LENGTH_TOO_LONG",
        "RECORD_LAYER_FAILURE",
    }
)
_TIMEOUTS = frozenset({"TimeoutException", "APITimeoutError", "TimeoutError"})
_CUT_OFF = ("complete message body", "incomplete chunked")
_TLS_RECORD = ("\\x15\\x03", "\\x16\\x03", "illegal request line")
"""How an answer begins that is TLS, an alert or a handshake, and what h11 says of its first byte."""


@dataclass(frozen=True)
class _Route:
    """Where a request went: `host` and `target` (host:port), through a proxy or not; all None where nothing tells."""

    scheme: str = "https"
    host: str | None = None
    target: str | None = None
    proxy: Proxy | None = None

    @property
    def peer(self) -> str:
        """Whom this machine connects to."""
        if self.proxy:
            return f"the proxy {self.proxy} ({self.proxy.variable})"
        return self.target or "the endpoint"

    @property
    def end(self) -> str:
        """Whom the request is for."""
        return self.target or "the endpoint"

    @property
    def asked_name(self) -> str:
        """The host name that this machine looks up."""
        host = urlsplit(self.proxy.url).hostname if self.proxy else self.host
        return repr(host) if host else "of the endpoint"


def connection_words(error: BaseException, environment: Mapping[str, str] = os.environ) -> str:
    """What went wrong between this machine and a provider, in one sentence without credentials.

    For any other exception there is a sentence too.
    """
    causes = _causes_of(error)
    route = _route_of(causes, environment)
    names = _names_of(causes)
    for words in (_machine_words(causes), _name_words(causes, route), _tls_words(causes, route, environment)):
        if words:
            return words
    if "ProxyError" in names:
        return _proxy_words(str(causes[-1]), route)
    return _peer_words(causes, names, route)


def connection_mistake(
    base_url: str, error: BaseException, environment: Mapping[str, str] = os.environ
) -> Mistake | None:
    """What a user has to mend before any request arrives at an address; None where a moment's wait might mend it."""
    if not is_beyond_doubt(error):
        return None
    route = _route_to(base_url, environment)
    words = connection_words(error, environment)
    if "connection refused" in words and not route.proxy and is_loopback(base_url):
        words += "; is the server running?"
    return Mistake(route.proxy.variable if route.proxy else base_url, words)


def proxy_mistake(base_url: str, environment: Mapping[str, str] = os.environ) -> Mistake:
    """What a status of 407 means: it is a proxy's, and never a provider's."""
    route = _route_to(base_url, environment)
    return Mistake(route.proxy.variable if route.proxy else base_url, _proxy_words("407", route))


def is_beyond_doubt(error: BaseException) -> bool:
    """Whether no request would arrive: what a moment's wait might mend, such as a reset, is left to the run."""
    causes = _causes_of(error)
    if "ProxyError" in _names_of(causes) or _is_bad_key(causes):
        return True
    if _numbers_of(causes) & (_NO_MORE_FILES | _NO_ROUTE | {errno.ECONNREFUSED}):
        return True
    cut = ssl.SSLEOFError | ssl.SSLZeroReturnError
    return any(
        isinstance(cause, socket.gaierror)
        or (isinstance(cause, ssl.SSLError) and not isinstance(cause, cut))
        or _is_bad_name(cause)
        for cause in causes
    )


def was_sent(error: BaseException) -> bool:
    """Whether a request may have reached its provider: false only where it can't have left this machine.

    It did not where no connection came about: the name, the refusal, TLS, a proxy, no free place or file.
    """
    causes = _causes_of(error)
    if _names_of(causes) & _NEVER_SENT or _is_bad_key(causes):
        return False
    return not any(
        isinstance(cause, socket.gaierror | ConnectionRefusedError | ssl.SSLCertVerificationError)
        or _is_bad_name(cause)
        for cause in causes
    )


def _causes_of(error: BaseException) -> list[BaseException]:
    """An exception and what caused it, the outermost first; a group counts as its first one."""
    found: list[BaseException] = []
    cause: BaseException | None = error
    while cause is not None and cause not in found:
        found.append(cause)
        inner = cause.exceptions if isinstance(cause, BaseExceptionGroup) else cause.args
        # The clients' cores take the cause away again (`from None`); what they were made of is left.
        cause = cause.__cause__ or next((each for each in inner if isinstance(each, BaseException)), None)
    return found


def _names_of(causes: list[BaseException]) -> frozenset[str]:
    return frozenset(kind.__name__ for cause in causes for kind in type(cause).__mro__)


def _numbers_of(causes: list[BaseException]) -> frozenset[int]:
    return frozenset(
        cause.errno
        for cause in causes
        if isinstance(cause, OSError)
        and cause.errno
        and not isinstance(cause, socket.gaierror | ssl.SSLError)
    )


def _route_of(causes: list[BaseException], environment: Mapping[str, str]) -> _Route:
    for cause in reversed(causes):
        try:
            url = str(cause.request.url)  # type: ignore[attr-defined]
        except (AttributeError, RuntimeError):
            continue
        if not type(cause).__module__.startswith(("httpx2", "openai")):  # others don't know of it
            environment = {name: value for name, value in environment.items() if name != OWN_PROXY}
        return _route_to(url, environment)
    return _Route()


def _route_to(url: str, environment: Mapping[str, str]) -> _Route:
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
        proxy = proxy_of(url, environment)
    except ValueError:
        return _Route()
    if not host:
        return _Route()
    shown = f"[{host}]" if ":" in host else host
    return _Route(parts.scheme, host, f"{shown}:{port or (443 if parts.scheme == 'https' else 80)}", proxy)


def _machine_words(causes: list[BaseException]) -> str | None:
    """What this machine, or the key, is to blame for."""
    numbers = _numbers_of(causes)
    # A name that can't be looked up for want of a file leaves any number: what glibc leaves in errno is another call's.
    is_odd = bool(numbers - _OF_THE_NETWORK) or any(isinstance(cause, socket.gaierror) for cause in causes)
    if numbers & _NO_MORE_FILES or (is_odd and not _can_open_file()):
        return "this process may open no more files: raise ulimit -n, or lower run.max_concurrency"
    if errno.EADDRNOTAVAIL in numbers:
        return "this machine has no free port left to connect from: lower run.max_concurrency"
    if _is_bad_key(causes):
        return "the request can't be sent: the key holds a line break or another character that no key has"
    return None


def _can_open_file() -> bool:
    try:
        os.close(os.open(os.devnull, os.O_RDONLY))
    except OSError:
        return False
    return True


def _is_bad_key(causes: list[BaseException]) -> bool:
    # Its words would show the key.
    return any(
        ("LocalProtocolError" in _names_of([cause]) and "Illegal header" in str(cause))
        or (isinstance(cause, UnicodeEncodeError) and cause.encoding == "ascii")
        for cause in causes
    )


def _is_bad_name(cause: BaseException) -> bool:
    """Whether a host's name has a part that is empty or too long."""
    return isinstance(cause, UnicodeError) and "idna" in str(cause).casefold()


def _name_words(causes: list[BaseException], route: _Route) -> str | None:
    whose = f" of {route.proxy.variable}" if route.proxy else ""
    for cause in causes:
        if _is_bad_name(cause) or "InvalidURL" in _names_of([cause]):
            return f"the address{whose} holds no host name that could be looked up"
        if isinstance(cause, socket.gaierror):
            if cause.errno == socket.EAI_AGAIN:
                return f"the name {route.asked_name}{whose} could not be resolved: no name server answers"
            return f"the name {route.asked_name}{whose} could not be resolved: there is no such host"
    return None


def _tls_words(causes: list[BaseException], route: _Route, environment: Mapping[str, str]) -> str | None:
    failed = next((cause for cause in causes if isinstance(cause, ssl.SSLError)), None)
    if failed is None:
        return None
    if isinstance(failed, ssl.SSLCertVerificationError):
        trust = _TRUST
        if ignored := [name for name in _OTHERS_TRUST if environment.get(name)]:
            trust += f" ({ignored[0]} is not read here)"
        elif bundle := environment.get("SSL_CERT_FILE"):
            trust = f"SSL_CERT_FILE is {bundle!r}, which lacks the authority's certificate"
        # A proxy that is spoken to by TLS has a certificate too.
        whose = (
            f"{route.end}, or of {route.peer},"
            if route.proxy and route.proxy.scheme == "https"
            else route.end
        )
        wrong = _BAD_CERTIFICATES.get(getattr(failed, "verify_code", 0), "is not accepted ({said})")
        said = str(getattr(failed, "verify_message", "no reason given"))
        return f"TLS: the certificate of {whose} {wrong.format(trust=trust, said=said)}"
    reason = getattr(failed, "reason", None) or "no reason given"
    if reason in _NOT_TLS:
        if route.proxy and route.proxy.scheme == "https":
            return f"TLS: {route.peer} does not speak TLS; its address may have to begin with http://"
        return f"TLS: {route.end} does not speak TLS; its address may have to begin with http://"
    if isinstance(failed, ssl.SSLEOFError | ssl.SSLZeroReturnError):
        return f"TLS: {route.end} closed the connection during the handshake"
    return f"TLS with {route.end} failed: {reason.replace('_', ' ').casefold()}"


def _proxy_words(said: str, route: _Route) -> str:
    if "407" in said:
        variable = route.proxy.variable if route.proxy else "the proxy's variable"
        return (
            f"{route.peer} wants a user name and a password (407): write them as http://USER:PASSWORD@HOST:PORT into "
            f"{variable}"
        )
    return f"{route.peer} did not let the connection to {route.end} through: {in_one_line(said) or 'no reason given'}"


def _peer_words(causes: list[BaseException], names: frozenset[str], route: _Route) -> str:
    numbers, said, peer, end = _numbers_of(causes), str(causes[-1]), route.peer, route.end
    is_protocol = "RemoteProtocolError" in names
    sentences = (
        (errno.ECONNREFUSED in numbers, f"nothing answers at {peer}: connection refused"),
        (numbers & _NO_ROUTE, f"there is no route from this machine to {peer}{_told(_reason(numbers))}"),
        (numbers & {errno.EACCES, errno.EPERM}, f"this machine does not allow a connection to {peer}"),
        ("ConnectTimeout" in names, f"{peer} did not accept the connection in time"),
        ("PoolTimeout" in names, "no connection became free in time"),
        (names & _TIMEOUTS, f"{end} did not answer in time"),
        (numbers & _CUT, f"{peer} reset the connection"),
        ("without sending a response" in said, f"{peer} closed the connection without an answer"),
        (any(words in said for words in _CUT_OFF), f"the answer of {end} was cut off"),
        (
            is_protocol and any(mark in said for mark in _TLS_RECORD),
            f"{end} seems to speak TLS; its address may have to begin with https://",
        ),
        (is_protocol, f"what {end} answers is not HTTP"),
        ("UnsupportedProtocol" in names, "the address has to begin with http:// or https://"),
    )
    otherwise = f"the connection to {peer} failed{_told(_reason(numbers) or in_one_line(said))}"
    return next((sentence for is_so, sentence in sentences if is_so), otherwise)


def _reason(numbers: frozenset[int]) -> str:
    return os.strerror(min(numbers)).casefold() if numbers else ""


def _told(said: str) -> str:
    return f": {said}" if said else ""


def in_one_line(said: str) -> str:
    """Another program's words, such that they can be shown in a line."""
    line = " ".join("".join(letter if letter.isprintable() else " " for letter in said).split())
    line = re.sub(r"\[(Errno|SSL)[^\]]*\] ?", "", line)
    shown = re.sub(r"\S*://\S*", lambda address: without_credentials(address[0]), line)
    return shown[:_WORDS_CHARACTERS].encode(errors="replace").decode()
