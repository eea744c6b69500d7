"""The endpoint: where a job's requests go and which key they carry."""

import http.client
import ipaddress
import json
import os
import socket
import ssl
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import AnyStr
from urllib.parse import urlsplit

from labelmill.errors import JobRefused, Mistake
from labelmill.job.model import Practice
from labelmill.providers.practice import PracticeServer
from labelmill.providers.request_fields import header_secrets, sent_headers

NO_KEY = "no-key-needed"
"""What is sent to endpoints that need no key, since the client insists on one."""

_SHORTEST_SECRET = 8
"""What local servers are given for a key (`none`, `EMPTY`, `ollama`) is shorter: no secret, and a word that answers hold."""
_FIRST_PROBE_SECONDS = 2.0
_PATIENCE_SECONDS = 30.0
"""How long a server on loopback may leave open whether it is a practice provider."""
_PAUSE_SECONDS = 0.2
_INTRODUCTION_BYTES = 10_000


@dataclass(frozen=True)
class Endpoint:
    """A provider's endpoint. The key itself is looked up when a request is made, and kept nowhere.

    `base_url` is None for a practice provider that is yet to be started. `may_need_key` is false where a provider answers
    without a key wherever it is. `headers` are the job's own, as the job tells them: a secret one by its environment variable.
    """

    base_url: str | None
    api_key_env: str
    practice: bool
    may_need_key: bool = True
    headers: tuple[tuple[str, str], ...] = ()

    @property
    def needs_key(self) -> bool:
        """Whether requests must carry a key: true for everything but practice, this machine's own addresses and such providers.

        Where no variable is named, whoever sends them knows of the key, and nobody else does.
        """
        may_need = self.may_need_key and bool(self.api_key_env)
        return may_need and not self.practice and not is_loopback(self.base_url or "")

    def hide_key(self, said: AnyStr) -> AnyStr:
        """The same without the key and without the secrets of the job's own headers, as `without_keys`."""
        return without_keys(said, (self.api_key(), *header_secrets(dict(self.headers))))

    def own_headers(self, environment: Mapping[str, str] = os.environ) -> dict[str, str]:
        """The job's own headers as they are sent."""
        return sent_headers(dict(self.headers), environment)

    def api_key(self, environment: Mapping[str, str] = os.environ) -> str:
        """The key to send, without the line break that a file or a shell may have left at its end."""
        return environment.get(self.api_key_env, "").strip() or NO_KEY


def without_key(said: AnyStr, key: str) -> AnyStr:
    """What a provider has said, without the key, should it have repeated it.

    Every word from outside passes here as it arrives, before anybody reads or cuts it: a part of a key would not be found.
    """
    if key == NO_KEY or len(key) < _SHORTEST_SECRET:
        return said
    if isinstance(said, str):
        return said.replace(key, "[key]")
    return said.replace(key.encode(errors="surrogateescape"), b"[key]")


def without_keys(said: AnyStr, keys: Iterable[str]) -> AnyStr:
    """The same for several, the longest first: one may be a part of another."""
    for key in sorted(keys, key=len, reverse=True):
        said = without_key(said, key)
    return said


@contextmanager
def reachable(endpoint: Endpoint, practice: Practice, batches: Path | None = None) -> Iterator[Endpoint]:
    """Yield an endpoint that has an address, starting a practice provider for as long as it is needed.

    It keeps the batches it is sent in a folder, where one is given: the next one finds them there.
    """
    if endpoint.base_url is not None:
        yield endpoint
        return
    with PracticeServer.start(practice, folder=batches) as server:
        yield Endpoint(server.base_url, endpoint.api_key_env, practice=True)


def is_loopback(base_url: str) -> bool:
    """Whether an address is this machine's own, in whichever way it is written."""
    try:
        host = (urlsplit(base_url).hostname or "").rstrip(".")
    except ValueError:
        return False
    if host == "localhost" or host.endswith(".localhost"):  # RFC 6761, section 6.3
        return True
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return _is_short_loopback(host)
    mapped = getattr(address, "ipv4_mapped", None) or address
    # "Every address", where a server listens, leads to this machine too when it is connected to.
    return bool(mapped.is_loopback or mapped.is_unspecified)


def _is_short_loopback(host: str) -> bool:
    """Whether it is an address such as 127.1, which the system completes."""
    try:
        return ipaddress.ip_address(socket.inet_aton(host)).is_loopback
    except (OSError, UnicodeError):
        return False


def is_practice(base_url: str, patience_seconds: float = _PATIENCE_SECONDS) -> bool:
    """Whether a practice provider answers at an address, so that its answers are never taken for a model's.

    A server that accepts the connection and says nothing is asked again: not to know is not a no.

    Raises:
        JobRefused: it has not said in that time.
    """
    deadline = time.monotonic() + patience_seconds
    probe_seconds = min(_FIRST_PROBE_SECONDS, patience_seconds)
    while True:
        try:
            return _introduces_itself(base_url, probe_seconds)
        except OSError as error:
            left = deadline - time.monotonic()
            if left <= 0:
                raise JobRefused([_silence(base_url, error, patience_seconds)]) from None
            probe_seconds = min(probe_seconds * 2, left)
            time.sleep(min(_PAUSE_SECONDS, left))


def _introduces_itself(base_url: str, timeout_seconds: float) -> bool:
    """Ask once, past any proxy.

    Raises:
        OSError: neither a yes nor a no.
    """
    try:
        said = _introduction(base_url, timeout_seconds)
    except (ConnectionRefusedError, ssl.SSLError, socket.gaierror):
        return False  # nobody there, or nobody who would be one
    except http.client.RemoteDisconnected:
        raise  # as servers that are about to start do, behind a container's port
    except (http.client.HTTPException, ValueError, RecursionError):
        return False
    return isinstance(said, Mapping) and said.get("practice") is True


def _introduction(base_url: str, timeout_seconds: float) -> object:
    parts = urlsplit(base_url)
    kind = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
    with closing(kind(parts.hostname or "", parts.port, timeout=timeout_seconds)) as connection:
        connection.request("GET", "/practice")
        said: object = json.loads(connection.getresponse().read(_INTRODUCTION_BYTES))
        return said


def _silence(base_url: str, error: OSError, patience_seconds: float) -> Mistake:
    done = "says nothing" if isinstance(error, TimeoutError) else "closes them without an answer"
    sentence = (
        f"what is there accepts connections and {done} (asked for {patience_seconds:.0f} seconds whether it is a "
        "practice provider, whose answers must not be taken for a model's); check that server"
    )
    return Mistake(base_url, sentence)
