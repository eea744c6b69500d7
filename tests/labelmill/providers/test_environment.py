"""What the environment says of the way to a provider, read as the clients read it."""

import os
import resource
import ssl
import subprocess
import sys

import httpx
import httpx2
import openai
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from labelmill.providers.environment import (
    OWN_OPEN_FILES,
    bypass_proxies,
    environment_mistakes,
    http_client_of,
    open_files_mistakes,
    proxy_of,
    shared_http_client,
    without_credentials,
)
from labelmill.providers.table import PROVIDERS
from labelmill.question.form import form_of

DEAD = "http://127.0.0.1:9"
VARIABLES = ("http_proxy", "https_proxy", "all_proxy", "no_proxy", "openai_proxy")
ENTRIES = [
    "fd07:b51a:cc66:f0::/64",
    "fd07::/64",
    "[::1]",
    "[fd07::]/64",
    "[::1]:8080",
    "10.0.0.0/8",
    "*.corp.example",
    ".corp.example",
    "corp.example",
    "corp.example:8443",
    "例子.example",
    "host:port",
    "http://[",
    "a b",
    "<local>",
    "fe80::%eth0/64",
    "http://corp.example",
]
HOSTS = (
    "http://corp.example/",
    "https://a.corp.example:8443/",
    "http://a.corp.example/",
    "http://[fd07::5]/",
    "http://10.1.2.3/",
    "http://models.example/",
    "https://models.example/",
)


@pytest.fixture
def no_proxies(monkeypatch):
    """An environment without a proxy variable; returns what sets them."""
    for name in list(os.environ):
        if name.casefold() in VARIABLES:
            monkeypatch.delenv(name)
    return lambda **variables: [monkeypatch.setenv(name, value) for name, value in variables.items()]


def _goes_direct(client, url):
    return client._transport_for_url(
        httpx2.URL(url) if isinstance(client, httpx2.Client) else httpx.URL(url)
    ) is (client._transport)


def _with(environment, make):
    """What is made in an environment that has these proxy variables alone."""
    with pytest.MonkeyPatch.context() as patch:
        for name in list(os.environ):
            if name.casefold() in VARIABLES:
                patch.delenv(name)
        for name, value in environment.items():
            patch.setenv(name, value)
        return make()


def _clients(environment):
    quick = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    return _with(environment, lambda: (httpx.Client(verify=quick), httpx2.Client(verify=quick)))


NO_PROXY = st.lists(
    st.sampled_from(ENTRIES) | st.text(st.characters(codec="utf-8", exclude_characters="\0,*"), max_size=12),
    max_size=6,
).map(",".join)


@settings(deadline=None, max_examples=60)
@given(NO_PROXY, st.sampled_from(["no_proxy", "NO_PROXY", "No_Proxy"]))
@example("localhost,127.0.0.1,::1,fd07:b51a:cc66:f0::/64", "NO_PROXY")
@example("localhost,[::1]", "no_proxy")
def test_loopback_goes_past_every_proxy_whatever_no_proxy_holds(no_proxy, name):
    """Both HTTP libraries can be used, neither asks a proxy for this machine, and a second call changes nothing."""
    environment = {"HTTP_PROXY": DEAD, "ALL_PROXY": DEAD, name: no_proxy}
    bypass_proxies(environment)
    for client in _clients(environment):
        for host in ("127.0.0.1:4200", "localhost:11434", "[::1]:8000"):
            assert _goes_direct(client, f"http://{host}/"), (type(client), host)
        assert (
            not _goes_direct(client, "http://far.example.org/") or "example" in no_proxy or "org" in no_proxy
        )
    again = dict(environment)
    bypass_proxies(again)
    assert again == environment


@pytest.mark.parametrize("entry", ENTRIES)
def test_what_no_proxy_says_of_other_hosts_stays_so(entry):
    """What the openai client alone would do with an entry, it still does; and `proxy_of` tells the same."""
    plain = {"HTTP_PROXY": DEAD, "HTTPS_PROXY": DEAD, "NO_PROXY": entry}
    ours = dict(plain)
    bypass_proxies(ours)
    before = _with(plain, httpx2.Client)
    after = _with(ours, httpx2.Client)
    for url in HOSTS:
        assert _goes_direct(after, url) is _goes_direct(before, url), url
        assert (proxy_of(url, plain) is None) is _goes_direct(before, url), url
    assert entry in ours["NO_PROXY"]


def test_an_environment_without_proxies_is_left_as_it_is():
    """Where there is no proxy, or none for anything, nothing is put into the environment."""
    for environment in ({}, {"HTTP_PROXY": ""}, {"HTTP_PROXY": DEAD, "NO_PROXY": "*"}, {"PATH": "/bin"}):
        known = dict(environment)
        bypass_proxies(environment)
        assert environment == known


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("ALL_PROXY", "socks://me:pa55word@127.0.0.1:7890", "begins with http://"),
        ("https_proxy", "socks4://127.0.0.1:1080", "begins with http://"),
        ("HTTP_PROXY", "ftp://127.0.0.1", "begins with http://"),
        ("HTTPS_PROXY", "http://proxy.example:port", "expected an address"),
        ("HTTPS_PROXY", "http://me:pa55word#1@proxy.example:3128", "%23"),
        ("HTTPS_PROXY", "http://me:12/pa55word@proxy.example:3128", "%23"),
        ("HTTPS_PROXY", "me:pa55word/x@proxy.example:3128", "%23"),
        ("HTTP_PROXY", "http://", "expected an address"),
        ("HTTP_PROXY", "http://[::1", "expected an address"),
        ("HTTP_PROXY", "http://proxy.example:99999", "expected an address"),
        ("HTTP_PROXY", "http://proxy.example\x07:1", "expected an address"),
        ("SSL_CERT_FILE", "/nonexistent/ca.pem", "there is no such file"),
        ("SSL_CERT_FILE", "/", "is a folder"),
        ("SSL_CERT_FILE", __file__, "holds no certificate"),
        ("PREFECT_API_SSL_CERT_FILE", "/nonexistent/ca.pem", "there is no such file"),
        ("SSL_CERT_DIR", "/nonexistent:/nowhere", "there is no such folder"),
        ("SSLKEYLOGFILE", "/nonexistent/keys", "can't be written"),
    ],
)
def test_a_variable_that_no_client_could_use_is_a_mistake_by_name(name, value, words):
    """The variable, its value without credentials and what was expected are said, wherever requests would go."""
    for base_url in (None, "http://127.0.0.1:8000/v1", "https://api.openai.com/v1"):
        (mistake,) = environment_mistakes({name: value}, base_url)
        assert mistake.where == name
        assert words in mistake.sentence
        assert "pa55word" not in str(mistake)


@pytest.mark.parametrize("value", ["socks5://me:pa55word@127.0.0.1:1080", "socks5h://127.0.0.1:1080"])
def test_a_socks_proxy_needs_a_package(value, monkeypatch):
    """Where what speaks to such a proxy is not installed, the command that installs it is named; else nothing is wrong."""
    assert environment_mistakes({"ALL_PROXY": value}) == []
    monkeypatch.setattr("labelmill.providers.environment.find_spec", lambda _: None)
    (mistake,) = environment_mistakes({"ALL_PROXY": value})
    assert "needs the package socksio" in mistake.sentence
    assert "pa55word" not in str(mistake)


@pytest.mark.parametrize(
    "environment",
    [
        {"HTTP_PROXY": "127.0.0.1:3128", "https_proxy": "https://me:p%23@proxy.example:8443"},
        {"ALL_PROXY": "socks://127.0.0.1:1", "all_proxy": ""},
        {"ALL_PROXY": "socks://127.0.0.1:1", "NO_PROXY": "localhost,*"},
        {"NO_PROXY": ",".join(ENTRIES), "HTTP_PROXY": DEAD},
        {"SSL_CERT_FILE": "", "SSL_CERT_DIR": "/nonexistent:/"},
        {"FTP_PROXY": "ftp://x", "REQUESTS_CA_BUNDLE": "/nonexistent"},
        {"OPENAI_PROXY": "gopher://x"},
    ],
)
def test_what_clients_can_use_or_do_not_read_is_no_mistake(environment):
    """A dead proxy is found out by asking; a variable that is empty, hidden by another or read by nobody is nothing."""
    assert environment_mistakes(environment) == []


@settings(deadline=None, max_examples=60)
@given(st.dictionaries(st.sampled_from(["http_proxy", "HTTPS_PROXY", "ALL_PROXY"]), st.text(max_size=30)))
@example({"HTTP_PROXY": "http://user:p@ss@host:1"})
def test_what_is_no_mistake_makes_a_client(environment):
    """Whatever stands in the proxy variables, either it is a mistake or both HTTP libraries can be used."""
    environment = {
        name: value for name, value in environment.items() if "\0" not in value and value.isprintable()
    }
    if not environment_mistakes(environment):
        bypass_proxies(environment)
        assert _clients(environment)


@given(st.text(), st.text(st.characters(exclude_characters="@:/"), min_size=8), st.text())
def test_no_password_is_shown(user, password, host):
    """Of an address that holds an @, nothing before its last one is shown but the scheme."""
    hidden = without_credentials(f"http://{user}:{password}@{host}")
    assert password not in hidden or password in host.rpartition("@")[2] or password in hidden[:16]


def test_loopback_has_a_client_past_proxies_with_the_openai_clients_own_limits(no_proxies):
    """The client for this machine has no proxy, and as many connections and as much time as the one it stands in for."""
    no_proxies(HTTP_PROXY=DEAD, ALL_PROXY=DEAD, OPENAI_PROXY=DEAD)
    with http_client_of("http://127.0.0.2:8000/v1") as ours, openai.DefaultHttpxClient() as default:
        assert _goes_direct(ours, "http://127.0.0.2:8000/v1")
        assert (ours.timeout, ours.follow_redirects) == (default.timeout, default.follow_redirects)
        assert ours._transport._pool._max_connections == default._transport._pool._max_connections == 1000
    assert shared_http_client("http://127.0.0.1:1/v1") is shared_http_client("http://localhost:2/v1")


def test_other_addresses_are_left_to_the_openai_client(no_proxies):
    """Where there is nothing to do otherwise, there is no client of ours; LangChain's own variable is followed."""
    no_proxies(HTTPS_PROXY=DEAD)
    assert http_client_of("https://api.openai.com/v1") is None
    no_proxies(OPENAI_PROXY="http://127.0.0.1:3128")
    with http_client_of("https://api.openai.com/v1") as ours:
        assert not _goes_direct(ours, "https://api.openai.com/v1")
    assert proxy_of("https://api.openai.com/v1").variable == "OPENAI_PROXY"


@pytest.mark.parametrize("name", ["HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy", "OPENAI_PROXY"])
def test_a_chain_asks_a_far_endpoint_through_the_proxy(name, no_proxies, scripted, completion, job_of):
    """A provider's host that this machine can't reach is asked by the proxy of each variable that there is for it."""
    # The openai client's connections are shared by all with one address: each case needs an address of its own.
    host = f"{name.replace('_', '-')}-{name.isupper()}.example".casefold()
    scripted.reply((200, completion("sport")))
    no_proxies(**{name: f"http://me:secret@127.0.0.1:{scripted.server_address[1]}"})
    answer = _chat(job_of, f"http://{host}/v1").invoke("match?")
    assert answer.content == "sport"
    assert scripted.headers_seen[0]["host"] == host
    assert scripted.headers_seen[0]["proxy-authorization"].startswith("Basic ")


def _chat(job_of, base_url):
    job = job_of()
    return PROVIDERS["openai"].chat(job, base_url, "key", form_of(job)).model


@pytest.mark.parametrize("name", ["HTTP_PROXY", "all_proxy", "OPENAI_PROXY"])
def test_a_chain_asks_its_own_machine_past_the_proxy(name, no_proxies, scripted, completion, job_of, caplog):
    """A local endpoint is asked directly, and without a warning."""
    scripted.reply((200, completion("sport")))
    no_proxies(**{name: DEAD})
    for host in ("127.0.0.1", "localhost"):
        base_url = f"http://{host}:{scripted.server_address[1]}/v1"
        assert _chat(job_of, base_url).invoke("match?").content == "sport"
    assert caplog.records == []


LIMITED = """
import resource, sys
from labelmill.providers.environment import open_files_mistakes
soft, hard, concurrency = map(int, sys.argv[1:])
resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
print([str(mistake) for mistake in open_files_mistakes(concurrency)], resource.getrlimit(resource.RLIMIT_NOFILE)[0])
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("soft", "hard", "concurrency", "told"),
    [
        (256, 1024, 32, "[] 256"),
        (128, 1024, 500, f"[] {500 + OWN_OPEN_FILES}"),
        (128, 128, 32, "[] 128"),
        (128, 128, 100, f"set run.max_concurrency = {128 - OWN_OPEN_FILES}"),
        (40, 40, 1, "ulimit -n 65"),
    ],
)
def test_a_run_has_room_for_its_connections_or_says_so(soft, hard, concurrency, told):
    """The soft limit on open files is raised as far as it goes; where that is too little, both ways out are named."""
    command = [sys.executable, "-c", LIMITED, str(soft), str(hard), str(concurrency)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert told in done.stdout


def test_no_limit_is_room_enough(monkeypatch):
    """A system without a limit on open files is asked for nothing."""
    unlimited = (resource.RLIM_INFINITY, resource.RLIM_INFINITY)
    monkeypatch.setattr(resource, "getrlimit", lambda _: unlimited)
    assert open_files_mistakes(1000) == []
