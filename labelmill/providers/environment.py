"""What the environment says of the way to a provider: proxies, certificates, and how many files may be open.

Requests to this machine's own addresses go past any proxy. All others go as they would with the openai client alone,
which follows HTTPS_PROXY, HTTP_PROXY, ALL_PROXY, NO_PROXY, SSL_CERT_FILE and SSL_CERT_DIR.
"""

import atexit
import os
import resource
import ssl
from collections.abc import Mapping, MutableMapping
from dataclasses import dataclass
from functools import lru_cache
from importlib.util import find_spec
from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import httpx2

from labelmill.errors import Mistake
from labelmill.installing import installing
from labelmill.providers.endpoint import is_loopback

if TYPE_CHECKING:
    import httpx

OWN_PROXY = "OPENAI_PROXY"
"""LangChain's variable: a proxy for the provider `openai` alone, before any other."""
ENVIRONMENT_OF_CLIENTS = ("SSL_CERT_FILE", "SSL_CERT_DIR", OWN_PROXY)
"""What a client reads when it is made."""
LOOPBACK_NAMES = ("localhost", "127.0.0.1", "::1")
OWN_OPEN_FILES = 64
"""What a run may hold open beside its connections (Prefect, Polars, the ledger): 30 were counted."""

_SCHEMES = ("http", "https", "all")
_EXPECTED = "expected an address such as 'http://127.0.0.1:3128'; special characters in a password are written as %23 and the like"


@dataclass(frozen=True)
class Proxy:
    """A proxy, and the environment variable that names it, as it is written there."""

    variable: str
    value: str

    @property
    def url(self) -> str:
        """Its address; one without a scheme is taken for HTTP, as the clients do."""
        return self.value if "://" in self.value else f"http://{self.value}"

    @property
    def scheme(self) -> str:
        """How it is spoken to."""
        return self.url.partition("://")[0].casefold()

    def __str__(self) -> str:
        """What people are shown: without a user name or a password."""
        return without_credentials(self.value)


def without_credentials(address: str) -> str:
    """An address as it may be shown, whatever else is wrong with it."""
    scheme, separator, rest = address.rpartition("://") if "://" in address else ("", "", address)
    # What is before the last @ may be a password, also where its special characters are not encoded.
    return (
        f"{scheme.rpartition('@')[2]}{separator}[hidden]@{rest.rpartition('@')[2]}"
        if "@" in rest
        else address
    )


# ---- the client


def http_client_of(base_url: str, environment: Mapping[str, str] = os.environ) -> httpx2.Client | None:
    """A client for requests to an address, in place of the openai client's own; None where that one will do.

    It has the openai client's limits and timeouts. Whoever asks for it closes it.
    """
    from openai import DefaultHttpxClient  # noqa: PLC0415  (it takes a second, which only requests need to wait for)

    if is_loopback(base_url):
        # Certificates are read from the environment all the same: a server on this machine may have its own.
        return DefaultHttpxClient(trust_env=False, verify=httpx2.create_ssl_context())
    if proxy := environment.get(OWN_PROXY):
        return DefaultHttpxClient(proxy=Proxy(OWN_PROXY, proxy).url)
    return None


def plain_http_client(base_url: str) -> "httpx.Client":
    """A client for requests of our own making to an address. Whoever asks for it closes it.

    No redirect is followed: the key would go along to another host. OPENAI_PROXY means nothing to it.
    """
    import httpx  # noqa: PLC0415  (it brings a command line of its own, and few runs need it)

    # Certificates are read from the environment for this machine's own addresses too.
    return httpx.Client(trust_env=not is_loopback(base_url), verify=httpx.create_ssl_context())


def shared_http_client(base_url: str) -> httpx2.Client | None:
    """As `http_client_of`, one for all chains of this process, so that they share its connections. It is closed at the end."""
    return _shared(is_loopback(base_url), *map(os.environ.get, ENVIRONMENT_OF_CLIENTS))


@lru_cache(maxsize=8)
def _shared(loopback: bool, *_: str | None) -> httpx2.Client | None:  # noqa: FBT001  (a key)
    client = http_client_of("http://127.0.0.1" if loopback else "")
    if client is not None:
        atexit.register(client.close)
    return client


def bypass_proxies(environment: MutableMapping[str, str] = os.environ) -> None:
    """Have every HTTP client of this process, and of those it starts, reach this machine's own addresses directly.

    What the user has in NO_PROXY stays. Python's clients read `no_proxy` first; what httpx, which Prefect and langasync
    use, would break at is put there in a way that it bears. A second call changes nothing.
    """
    environment.update(_no_proxy_of(environment))


def _no_proxy_of(environment: Mapping[str, str]) -> dict[str, str]:
    own = _variable("no_proxy", environment)
    if not (own or any(_variable(f"{scheme}_proxy", environment) for scheme in _SCHEMES)):
        return {}
    entries = _entries(own.value if own else "")
    if "*" in entries:
        return {}
    upper = _entries(environment.get("NO_PROXY") or "") or entries
    lower = [bearable for entry in entries if (bearable := _bearable(entry))]
    return {
        "NO_PROXY": ",".join(dict.fromkeys([*upper, *LOOPBACK_NAMES])),
        "no_proxy": ",".join(dict.fromkeys([*lower, *LOOPBACK_NAMES])),
    }


def _bearable(entry: str) -> str | None:
    """An entry of NO_PROXY as both httpx and httpx2 read it alike; None where neither can."""
    import httpx  # noqa: PLC0415  (it brings a command line of its own, and few runs need it)

    if entry.startswith("["):
        entry = f"all://{entry}"
    elif entry.startswith("*."):
        entry = entry[1:]
    elif "/" in entry and "://" not in entry and _is_ipv6(entry.partition("/")[0]):
        address, _, prefix = entry.partition("/")
        entry = f"all://[{address}]/{prefix}"
    pattern = entry
    if "://" not in entry:
        pattern = f"all://[{entry}]" if _is_ipv6(entry) else f"all://*{entry}"
    try:
        httpx.URL(pattern)
    except (httpx.InvalidURL, ValueError):
        return None
    return entry


def _is_ipv6(host: str) -> bool:
    try:
        return ip_address(host).version == 6  # noqa: PLR2004
    except ValueError:
        return False


def _entries(no_proxy: str) -> list[str]:
    return [entry.strip() for entry in no_proxy.split(",") if entry.strip()]


def _variable(name: str, environment: Mapping[str, str]) -> Proxy | None:
    """A proxy variable as Python reads it: written small it comes first, and empty hides the others."""
    if name in environment:
        return Proxy(name, environment[name]) if environment[name] else None
    found = [key for key, value in environment.items() if key.casefold() == name and value]
    return Proxy(found[-1], environment[found[-1]]) if found else None


def proxy_of(base_url: str, environment: Mapping[str, str] = os.environ) -> Proxy | None:
    """The proxy that requests to an address go through."""
    if is_loopback(base_url):
        return None
    if own := environment.get(OWN_PROXY):
        return Proxy(OWN_PROXY, own)
    scheme = urlsplit(base_url).scheme
    for name in (f"{scheme}_proxy", "all_proxy"):
        if proxy := _variable(name, environment):
            excepted = _variable("no_proxy", environment)
            return None if excepted and _is_excepted(base_url, _entries(excepted.value)) else proxy
    return None


def _is_excepted(base_url: str, entries: list[str]) -> bool:
    """Whether NO_PROXY speaks of an address."""
    parts = urlsplit(base_url)
    host, port = parts.hostname or "", parts.port
    return any(entry == "*" or _speaks_of(entry, parts.scheme, host, port) for entry in entries)


def _speaks_of(entry: str, scheme: str, host: str, port: int | None) -> bool:
    told, _, name = entry.casefold().rpartition("://")
    if told not in {"", "all", scheme}:
        return False
    try:
        return ip_address(host) in ip_network(name.replace("[", "").replace("]", ""), strict=False)
    except ValueError:
        pass
    name, _, told_port = name.partition(":")
    if told_port and told_port != str(port):
        return False
    suffix = "." + name.lstrip("*.")
    has_hosts_below, is_host_itself = not told or name.startswith("*"), not name.startswith((".", "*."))
    return (has_hosts_below and host.endswith(suffix)) or (is_host_itself and host == suffix[1:])


# ---- what in the environment can't be used


def environment_mistakes(
    environment: Mapping[str, str] = os.environ, base_url: str | None = None
) -> list[Mistake]:
    """The proxy and certificate variables that no client could use, whether or not a request would go that way.

    The clients, Prefect's too, read all of them when they are made. Values are shown without credentials.
    """
    proxies = [_variable(f"{scheme}_proxy", environment) for scheme in _SCHEMES]
    excepted = _variable("no_proxy", environment)
    if excepted and "*" in _entries(excepted.value):
        proxies = []
    if base_url and not is_loopback(base_url) and environment.get(OWN_PROXY):
        proxies.append(Proxy(OWN_PROXY, environment[OWN_PROXY]))
    mistakes = [
        Mistake(proxy.variable, f"found {str(proxy)!r}, {wrong}")
        for proxy in proxies
        if proxy and (wrong := _proxy_problem(proxy))
    ]
    files = [name for name in ("SSL_CERT_FILE", "PREFECT_API_SSL_CERT_FILE") if environment.get(name)]
    mistakes += [
        _found(name, environment, wrong) for name in files if (wrong := _file_problem(environment[name]))
    ]
    folders = environment.get("SSL_CERT_DIR")
    if folders and "SSL_CERT_FILE" not in files and not any(map(os.path.isdir, folders.split(os.pathsep))):
        mistakes.append(_found("SSL_CERT_DIR", environment, "but there is no such folder"))
    log = environment.get("SSLKEYLOGFILE")
    if log and not _is_writable(Path(log)):
        mistakes.append(_found("SSLKEYLOGFILE", environment, "but that file can't be written"))
    return mistakes


def _found(name: str, environment: Mapping[str, str], wrong: str) -> Mistake:
    return Mistake(name, f"found {environment[name]!r}, {wrong}; correct it or unset it")


def _proxy_problem(proxy: Proxy) -> str | None:
    if proxy.scheme not in {"http", "https", "socks5", "socks5h"}:
        return f"expected one that begins with http://, https://, socks5:// or socks5h://, or no {proxy.variable}"
    import httpx  # noqa: PLC0415  (it brings a command line of its own, and few runs need it)

    try:
        url = httpx2.URL(proxy.url)
        httpx.Proxy(proxy.url)
        is_usable = url.host and urlsplit(proxy.url).port != 0
    except (httpx.InvalidURL, httpx2.InvalidURL, ValueError):
        return _EXPECTED
    if not is_usable or ("@" in proxy.value and not url.userinfo):
        return _EXPECTED
    if proxy.scheme.startswith("socks") and find_spec("socksio") is None:
        return f"which needs the package socksio; install it with: {installing('socksio')}, or use an HTTP proxy, or unset it"
    return None


def _file_problem(path: str) -> str | None:
    """What is wrong with a file of certificates, by reading it as the clients do."""
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(cafile=path)
    except FileNotFoundError:
        return "but there is no such file"
    except IsADirectoryError:
        return "which is a folder, expected a PEM file of certificates"
    except PermissionError:
        return "which this user may not read"
    except (OSError, ValueError):  # an SSLError is an OSError
        folder = "is a folder" if Path(path).is_dir() else "holds no certificate"
        return f"which {folder}, expected a PEM file of certificates"
    return None


def _is_writable(path: Path) -> bool:
    if path.exists():
        return path.is_file() and os.access(path, os.W_OK)
    return path.parent.is_dir() and os.access(path.parent, os.W_OK)


# ---- how many connections this process may have


def open_files_mistakes(max_concurrency: int) -> list[Mistake]:
    """Make room for as many connections as a run may have at once, and say so where the system has too little.

    The soft limit is raised as far as the hard one lets it.
    """
    needed = max_concurrency + OWN_OPEN_FILES
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    unlimited = resource.RLIM_INFINITY
    if soft == unlimited or soft >= needed:
        return []
    possible = needed if hard == unlimited else min(needed, hard)
    resource.setrlimit(resource.RLIMIT_NOFILE, (possible, hard))
    if possible >= needed:
        return []
    sentence = (
        f"{max_concurrency:,} requests at once need about {needed:,} open files, and this process may open no more "
        f"than {hard:,}; raise that with ulimit -n {needed}"
    )
    if hard > OWN_OPEN_FILES:
        sentence += f", or set run.max_concurrency = {hard - OWN_OPEN_FILES}"
    return [Mistake("run.max_concurrency", sentence)]
