"""The endpoint: where requests go, whether they need a key, and what counts as practice."""

import contextlib
import socket
import threading
import time

import pytest

from labelmill.check.job import checked_job
from labelmill.errors import JobRefused
from labelmill.job.file import draft_of
from labelmill.providers.endpoint import (
    NO_KEY,
    Endpoint,
    is_loopback,
    is_practice,
    reachable,
)
from labelmill.providers.table import PROVIDERS, endpoint_of


@pytest.mark.parametrize(
    ("flag", "own", "environment", "expected"),
    [
        ("https://a/v1", "https://b/v1", {"OPENAI_BASE_URL": "https://c/v1"}, "https://a/v1"),
        (None, "https://b/v1", {"OPENAI_BASE_URL": "https://c/v1"}, "https://b/v1"),
        (None, None, {"OPENAI_BASE_URL": "https://c/v1"}, "https://c/v1"),
        (None, None, {"OPENAI_BASE_URL": ""}, PROVIDERS["openai"].base_url),
        (None, None, {}, PROVIDERS["openai"].base_url),
    ],
)
def test_the_nearest_word_on_the_address_counts(job_of, flag, own, environment, expected):
    """The command line's comes first, then the job's, then the environment's, then OpenAI."""
    job = job_of(model={"provider": "openai", "base_url": own})
    endpoint = endpoint_of(job.model, flag, environment)
    assert (endpoint.base_url, endpoint.practice, endpoint.needs_key) == (expected, False, True)


@pytest.mark.parametrize(
    ("provider", "address", "key"),
    [
        ("anthropic", "https://api.anthropic.com", "ANTHROPIC_API_KEY"),
        ("google", "https://generativelanguage.googleapis.com/v1beta", "GOOGLE_API_KEY"),
    ],
)
def test_other_providers_have_an_address_and_a_key_of_their_own(job_of, provider, address, key):
    """What stands in the environment for OpenAI is not theirs; the job's words are."""
    environment = {"OPENAI_BASE_URL": "https://c/v1"}
    endpoint = endpoint_of(job_of(model={"provider": provider}).model, None, environment)
    assert endpoint == Endpoint(address, key, practice=False)
    assert endpoint.needs_key
    own = job_of(model={"provider": provider, "base_url": "https://b", "api_key_env": "MINE"}).model
    assert endpoint_of(own, None, environment) == Endpoint("https://b", "MINE", practice=False)
    assert endpoint_of(own, "https://a", environment).base_url == "https://a"


@pytest.mark.parametrize("provider", ["anthropic", "google"])
def test_a_practice_provider_behind_another_providers_address_is_practice(job_of, practice, provider):
    """Its answers are kept apart, whichever dialect it speaks."""
    job = job_of(model={"provider": provider})
    assert endpoint_of(job.model, practice.base_url.removesuffix("/v1"), {}).practice


def test_a_practice_job_never_goes_to_the_environments_address(job_of):
    """Its requests go to the command line's address or a provider of its own, and need no key."""
    job = job_of(model={"base_url": "https://b/v1"})
    endpoint = endpoint_of(job.model, None, {"OPENAI_BASE_URL": "https://c/v1"})
    assert (endpoint.base_url, endpoint.practice, endpoint.needs_key) == (None, True, False)
    assert endpoint_of(job.model, "http://127.0.0.1:9/v1", {}).base_url == "http://127.0.0.1:9/v1"


def test_the_key_is_looked_up_when_it_is_needed_and_kept_nowhere():
    """The job's variable is read, a line break at its end is dropped, and without one a stand-in is sent."""
    endpoint = Endpoint("https://a/v1", "MY_KEY", practice=False)
    assert endpoint.api_key({"MY_KEY": "sk-1\n", "OPENAI_API_KEY": "sk-2"}) == "sk-1"
    assert endpoint.api_key({"OPENAI_API_KEY": "sk-2"}) == endpoint.api_key({"MY_KEY": " "}) == NO_KEY
    assert "sk-" not in repr(endpoint)


@pytest.mark.parametrize(
    ("base_url", "loopback"),
    [
        ("http://127.0.0.1:11434/v1", True),
        ("http://127.9.9.9/v1", True),
        ("http://localhost:8000/v1", True),
        ("http://LOCALHOST/v1", True),
        ("http://[::1]:8000/v1", True),
        ("http://[::ffff:127.0.0.1]:8000/v1", True),
        ("http://0.0.0.0:8000/v1", True),
        ("http://[::]:8000/v1", True),
        ("http://127.1:8000/v1", True),
        ("http://2130706433/v1", True),
        ("http://localhost.:8000/v1", True),
        ("http://models.localhost:8000/v1", True),
        ("http://10.1:8000/v1", False),
        ("http://notlocalhost/v1", False),
        ("https://api.openai.com/v1", False),
        ("http://192.168.0.9/v1", False),
        ("http://localhost.evil.example/v1", False),
        ("http://127.0.0.1.evil.example/v1", False),
        ("http://127.0.0.1@evil.example/v1", False),
        ("http://[::1/v1", False),
        ("localhost:8000/v1", False),
        ("", False),
    ],
)
def test_only_this_machines_own_addresses_are_loopback(base_url, loopback):
    """Names that only look like this machine's are not, and an address that can't be read is no crash."""
    assert is_loopback(base_url) is loopback


def test_a_practice_provider_is_known_by_asking_it(practice, job_of, scripted):
    """Pointed at by address, practice is still practice; another server on loopback is not."""
    job = job_of(model={"provider": "openai", "base_url": practice.base_url})
    assert endpoint_of(job.model, None, {}).practice
    assert not endpoint_of(job.model, scripted.base_url, {}).practice


@pytest.mark.parametrize(
    "said",
    [
        b"+PONG\r\n",
        b"HTTP/1.1 404 Not Found\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n\r\n" + b"[" * 9999,
        b"HTTP/1.1 200 OK\r\n\r\n[1]",
        b"HTTP/1.1 200 OK\r\n\r\n{",
    ],
)
def test_a_server_that_speaks_something_else_is_no_practice(said):
    """Whatever answers on a port, asking it is no crash."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def answer():
            connection, _ = server.accept()
            with connection:
                connection.recv(1000)
                connection.sendall(said)

        thread = threading.Thread(target=answer)
        thread.start()
        assert not is_practice(f"http://127.0.0.1:{server.getsockname()[1]}/v1")
        thread.join()


def test_a_practice_provider_is_started_for_as_long_as_it_is_needed(job_of):
    """`reachable` starts one with the job's settings and ends it; an endpoint with an address is left as it is."""
    job = job_of(practice={"known_models": ["m-1"]})
    with reachable(endpoint_of(job.model, None, {}), job.practice) as endpoint:
        assert is_practice(endpoint.base_url)
        assert endpoint.practice
    assert not is_practice(endpoint.base_url)
    named = Endpoint("http://127.0.0.1:9/v1", "K", practice=True)
    with reachable(named, job) as same:
        assert same is named


PRACTICE = b'HTTP/1.1 200 OK\r\ncontent-length: 18\r\n\r\n{"practice": true}'


@pytest.fixture
def answering():
    """Answer the connections to a port one after another: bytes, or None for silence; returns its address."""
    with contextlib.ExitStack() as stack:

        def start(*answers):
            server = stack.enter_context(socket.create_server(("127.0.0.1", 0)))

            def serve():
                with contextlib.suppress(OSError):
                    for answer in answers:
                        connection, _ = server.accept()
                        connection.recv(1000)
                        if answer is None:
                            stack.callback(connection.close)
                            continue
                        with connection:
                            connection.sendall(answer)

            threading.Thread(target=serve, daemon=True).start()
            stack.callback(server.shutdown, socket.SHUT_RDWR)
            return f"http://127.0.0.1:{server.getsockname()[1]}/v1"

        yield start


@pytest.mark.slow
@pytest.mark.parametrize("first", [b"", None])
def test_not_to_know_is_not_a_no(first, answering):
    """A practice provider that is silent at first, or hangs up as a container's port does, is asked again."""
    assert is_practice(answering(first, PRACTICE))


@pytest.mark.parametrize(("said", "words"), [(None, "says nothing"), (b"", "closes them without an answer")])
def test_what_never_says_whether_it_is_practice_is_refused(said, words, answering):
    """Its labels could go into the paid ledger as a model's: it is refused by its address rather than guessed."""
    base_url = answering(*[said] * 50)
    with pytest.raises(JobRefused) as caught:
        is_practice(base_url, patience_seconds=0.3)
    (mistake,) = caught.value.mistakes
    assert mistake.where == base_url
    assert words in mistake.sentence


def test_a_silent_endpoint_is_refused_with_a_jobs_other_mistakes(answering, monkeypatch, job_of):
    """The check names it beside all else that is wrong."""
    monkeypatch.setattr(is_practice, "__defaults__", (0.3,))
    base_url = answering(*[None] * 50)
    draft = draft_of(job_of(model={"provider": "openai"}).model_dump(mode="json"), "job.toml")
    with pytest.raises(JobRefused) as caught:
        checked_job(draft, base_url)
    assert {mistake.where for mistake in caught.value.mistakes} == {base_url, "job.toml, source.path"}


def test_an_endpoint_that_is_no_practice_is_known_at_once(scripted):
    """A server without that page, as Ollama and vLLM are, costs one quick question."""
    began = time.monotonic()
    assert not is_practice(scripted.base_url)
    assert time.monotonic() - began < 1.5  # below the first wait
