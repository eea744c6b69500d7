"""The way to a provider, tried: one free request before a run, and what went wrong with a connection in words."""

import errno
import json
import math
import os
import re
import socket
import ssl
import time
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import urlsplit

import openai

from labelmill.errors import JobRefused, Mistake
from labelmill.job.model import LabelJob, Model
from labelmill.providers.endpoint import OPENAI_BASE_URL, Endpoint, endpoint_of, is_loopback
from labelmill.providers.environment import (
    OWN_PROXY,
    Proxy,
    environment_mistakes,
    http_client_of,
    proxy_of,
    without_credentials,
)
from labelmill.providers.table import provider_of

CHECK_SECONDS = 10.0
_RETRY_SECONDS = 0.5
_ANSWERING_SECONDS = 60.0
_WORDS_CHARACTERS = 300

# ---- what went wrong with a connection

_NEVER_SENT = frozenset(
    {"ConnectError", "ConnectTimeout", "PoolTimeout", "ProxyError", "UnsupportedProtocol", "InvalidURL"}
)
"""Exceptions of httpx, httpx2 and their cores, by name: it is told which of them a client uses by nothing else."""
_NO_MORE_FILES = frozenset({errno.EMFILE, errno.ENFILE})
_NO_ROUTE = frozenset({errno.ENETUNREACH, errno.EHOSTUNREACH, errno.ENETDOWN, errno.EHOSTDOWN})
_CUT = frozenset({errno.ECONNRESET, errno.EPIPE, errno.ECONNABORTED})
_BAD_CERTIFICATES: Mapping[int, str] = {
    9: "is not valid yet; is this machine's clock right?",
    10: "has expired",
    18: "is signed by itself and not trusted here; {trust}",
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

    It takes what the openai client raises, LangChain's and langasync's wrappings of it, and httpx's own errors; for any
    other exception there is a sentence too.
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


def proxy_refusal_words(base_url: str, environment: Mapping[str, str] = os.environ) -> str:
    """What a status of 407 means: it is a proxy's, and never a provider's."""
    return _proxy_words("407", _route_to(base_url, environment))


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
    starved = any(isinstance(cause, socket.gaierror) for cause in causes) and not _can_open_file()
    if numbers & _NO_MORE_FILES or starved:
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
    return (
        f"{route.peer} did not let the connection to {route.end} through: {_plain(said) or 'no reason given'}"
    )


def _peer_words(causes: list[BaseException], names: frozenset[str], route: _Route) -> str:
    numbers, said, peer, end = _numbers_of(causes), str(causes[-1]), route.peer, route.end
    is_protocol = "RemoteProtocolError" in names
    sentences = (
        (errno.ECONNREFUSED in numbers, f"nothing answers at {peer}: connection refused"),
        (numbers & _NO_ROUTE, f"there is no way from this machine to {peer}{_told(_reason(numbers))}"),
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
    otherwise = f"the connection to {peer} failed{_told(_reason(numbers) or _plain(said))}"
    return next((sentence for is_so, sentence in sentences if is_so), otherwise)


def _reason(numbers: frozenset[int]) -> str:
    return os.strerror(min(numbers)).casefold() if numbers else ""


def _told(said: str) -> str:
    return f": {said}" if said else ""


def _plain(said: str) -> str:
    """Another program's words, such that they can be shown in a line."""
    line = " ".join("".join(letter if letter.isprintable() else " " for letter in said).split())
    line = re.sub(r"\[(Errno|SSL)[^\]]*\] ?", "", line)
    shown = re.sub(r"\S*://\S*", lambda address: without_credentials(address[0]), line)
    return shown[:_WORDS_CHARACTERS].encode(errors="replace").decode()


# ---- one free request

_WRONG_KEY_WORDS = ("incorrect api key", "invalid_api_key", "api_key_invalid", "api key not valid")
"""How a wrong key is told with another status than 401, in small letters.

- xAI, 400: "Incorrect API key provided" (continuedev/continue#10778)
- Google, 400: "API key not valid. Please pass a valid API key.", reason API_KEY_INVALID
  (https://ai.google.dev/gemini-api/docs/troubleshooting)
"""
_RIGHT_KEY_WORDS = ("missing scope", "insufficient permission", "not allowed to call this route")
"""How a key is told, with 401 or 403, that may ask a model and not read their list, in small letters.

- OpenAI, restricted keys: "You have insufficient permissions for this operation. Missing scopes: api.model.read."
  (with 401 in continuedev/continue#10059)
- LiteLLM, virtual keys: "Virtual key is not allowed to call this route." (litellm/proxy/auth/route_checks.py)
"""
_WRONG_KEY_STATUSES = frozenset({400, 403})
_UNAUTHORIZED = 401
_PROXY_WANTS_KEY = 407


@dataclass(frozen=True)
class _Reply:
    """What the list of models was answered with; the body of a refusal alone is read."""

    status: int
    body: str


def answering_endpoint(job: LabelJob, model_base_url: str | None = None) -> Endpoint:
    """A job's endpoint, where nothing is found that would keep every request from being answered.

    Whoever asks again within a minute, as the command line and its flow do, gets the same without another request.

    Raises:
        JobRefused: with what was found, before anything costs.
    """
    endpoint = endpoint_of(job.model, model_base_url)
    asked = (endpoint, endpoint.practice or hash(endpoint.api_key()))
    if time.monotonic() - _answering.get(asked, -math.inf) > _ANSWERING_SECONDS:
        if mistakes := endpoint_mistakes(endpoint, job.model):
            raise JobRefused(mistakes)
        _answering[asked] = time.monotonic()
    return endpoint


_answering: dict[tuple[Endpoint, int], float] = {}
"""When endpoints were last found to answer, in monotonic seconds, each with its key's hash."""


def endpoint_mistakes(
    endpoint: Endpoint, model: Model, environment: Mapping[str, str] = os.environ
) -> list[Mistake]:
    """What would keep every request from being answered, found before the first one that costs anything."""
    return environment_mistakes(environment, endpoint.base_url) or key_mistakes(
        endpoint, model, environment=environment
    )


def key_mistakes(
    endpoint: Endpoint,
    model: Model,
    timeout_seconds: float = CHECK_SECONDS,
    environment: Mapping[str, str] = os.environ,
) -> list[Mistake]:
    """Ask an endpoint for its models, for nothing, to find a wrong address or a wrong key.

    A practice provider is not asked. What leaves open whether a request would be answered is no mistake: no list of
    models (404), no right to it (403), a server in trouble (5xx), a time-out.
    """
    if endpoint.practice or endpoint.base_url is None:
        return []
    try:
        reply = _reply_to(endpoint, model, timeout_seconds, environment)
    except Exception as error:  # noqa: BLE001  (whatever a client raises: a check must not end a run that would go well)
        return _unreachable(endpoint.base_url, error, environment)
    if reply.status == _PROXY_WANTS_KEY:
        route = _route_to(endpoint.base_url, environment)
        where = route.proxy.variable if route.proxy else endpoint.base_url
        return [Mistake(where, proxy_refusal_words(endpoint.base_url, environment))]
    if not _is_wrong_key(reply):
        return []
    told = _told(_plain(endpoint.hide_key(_message_in(reply.body))))
    given = "did not accept the key" if environment.get(endpoint.api_key_env, "").strip() else "wants a key"
    return [Mistake(endpoint.api_key_env, f"{endpoint.base_url} {given} ({reply.status}){told}")]


def _unreachable(base_url: str, error: Exception, environment: Mapping[str, str]) -> list[Mistake]:
    causes = _causes_of(error)
    if not _is_beyond_doubt(causes):
        return []
    route = _route_to(base_url, environment)
    words = connection_words(error, environment)
    if "connection refused" in words and not route.proxy and is_loopback(base_url):
        words += "; is the server running?"
    return [Mistake(route.proxy.variable if route.proxy else base_url, words)]


def _is_beyond_doubt(causes: list[BaseException]) -> bool:
    """Whether no request would arrive: what a moment's wait might mend, such as a reset, is left to the run."""
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


def _is_wrong_key(reply: _Reply) -> bool:
    said = reply.body.casefold()
    if any(words in said for words in _RIGHT_KEY_WORDS) or "<html" in said or "<!doctype" in said:
        return False
    told = any(words in said for words in _WRONG_KEY_WORDS)
    return reply.status == _UNAUTHORIZED or (reply.status in _WRONG_KEY_STATUSES and told)


def _message_in(body: str) -> str:
    """An error's words: its innermost `message` or the like, else all of it."""
    try:
        told: object = json.loads(body)
    except (ValueError, RecursionError):
        return body
    while isinstance(told, Mapping | list) and told:
        if isinstance(told, list):
            told = told[0]
        else:
            told = next((told[name] for name in ("error", "message", "detail") if told.get(name)), None)
    return told if isinstance(told, str) else body


def _reply_to(
    endpoint: Endpoint, model: Model, timeout_seconds: float, environment: Mapping[str, str]
) -> _Reply:
    try:
        return _ask(endpoint, model, timeout_seconds, environment)
    except Exception as error:
        if not _is_beyond_doubt(_causes_of(error)):
            raise
    time.sleep(_RETRY_SECONDS)
    return _ask(endpoint, model, timeout_seconds, environment)


def _ask(endpoint: Endpoint, model: Model, timeout_seconds: float, environment: Mapping[str, str]) -> _Reply:
    """One request, by the client and with the headers that a run's own requests have."""
    base_url, key = endpoint.base_url or OPENAI_BASE_URL, endpoint.api_key(environment)
    provider = provider_of(model)
    if provider.key_header is None:
        http_client = http_client_of(base_url, environment)
        with openai.OpenAI(
            base_url=base_url, api_key=key, timeout=timeout_seconds, max_retries=0, http_client=http_client
        ) as client:
            try:
                with client.models.with_streaming_response.list() as listed:
                    return _Reply(listed.status_code, "")
            except openai.APIStatusError as error:
                return _Reply(error.status_code, error.response.text)
    own = {name: value for name, value in environment.items() if name != OWN_PROXY}
    root = base_url.rstrip("/")
    root = root.removesuffix("/v1") if provider.models_path.startswith("/v1/") else root
    headers = {provider.key_header: key, **dict(provider.more_headers)}
    with http_client_of(base_url, own) or openai.DefaultHttpxClient() as http:
        # No redirect is followed: the key would go along to another host.
        answer = http.get(
            root + provider.models_path, headers=headers, timeout=timeout_seconds, follow_redirects=False
        )
        return _Reply(answer.status_code, answer.text if answer.is_error else "")
