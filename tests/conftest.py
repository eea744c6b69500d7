"""What every test stands on: no key, no network but loopback, no state outside its own folder."""

import fcntl
import gc
import ipaddress
import json
import os
import socket
import tempfile
from contextlib import ExitStack, contextmanager, nullcontext
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import chain as chained
from itertools import repeat
from pathlib import Path

import polars as pl
import pytest
from certificates import share_certificates
from hypothesis import settings
from servers import stores
from servers.base import serving
from servers.practice import start_practice
from servers.prefect_server import prefect_serving
from servers.robots import Robots

from commands.prefect_setup import prepare_environment
from labelmill.job.model import LabelJob

# Prefect reads its settings when it is imported, which collecting the tests already does.
# The processes that share out the tests have one folder and one server between them.
HOMES = "labelmill-tests-"
if "PYTEST_XDIST_WORKER" not in os.environ or HOMES not in os.environ.get("PREFECT_HOME", ""):
    os.environ["PREFECT_HOME"] = tempfile.mkdtemp(prefix=HOMES)
os.environ["PREFECT_LOGGING_LEVEL"] = "WARNING"
os.environ.pop("PREFECT_API_URL", None)
os.environ.pop("PREFECT_PROFILE", None)
# Certificates of this machine's own: every run would read them to see that they can be read.
os.environ.pop("SSL_CERT_FILE", None)
os.environ.pop("SSL_CERT_DIR", None)
prepare_environment(quiet=True)

share_certificates()  # here none is ever needed

# A busy machine takes what time it takes; what an example may take is no test's promise.
settings.register_profile("busy", deadline=None)
settings.load_profile("busy")

KEY_MARKS = ("_API_KEY", "_TOKEN", "_SECRET")


def pytest_collection():
    """Spare the garbage collector what is imported and collected: it stays to the end."""
    gc.disable()


def pytest_collection_finish():
    """Collect garbage from here on, of what the tests make."""
    gc.collect()
    gc.freeze()
    gc.enable()


@pytest.fixture(autouse=True, scope="session")
def _no_spending():
    """Take every key out of the environment and let no socket connect beyond this machine."""
    with pytest.MonkeyPatch.context() as patch:
        for name in list(os.environ):
            if name.endswith(KEY_MARKS) or name.startswith(
                ("OPENAI_", "LANGSMITH_", "LANGCHAIN_", "LABELMILL_ALERT_")
            ):
                patch.delenv(name)
        # Clients of object stores that are not Python's own.
        for name in ("AWS_ENDPOINT_URL", "AWS_METADATA_ENDPOINT"):
            patch.setenv(name, "http://127.0.0.1:9")
        connect, connect_ex = socket.socket.connect, socket.socket.connect_ex
        patch.setattr(socket.socket, "connect", lambda self, address: connect(self, _allowed(self, address)))
        patch.setattr(
            socket.socket, "connect_ex", lambda self, address: connect_ex(self, _allowed(self, address))
        )
        yield


def _allowed(opened, address):
    if opened.family == socket.AF_UNIX:
        return address
    host = address[0]
    if host == "localhost" or ipaddress.ip_address(host).is_loopback:
        return address
    raise AssertionError(f"a test tried to reach {host}, which is not this machine")


@pytest.fixture(scope="session")
def practice():
    """One practice provider for the session; tests reset it and set it up as they need."""
    with start_practice() as server:
        yield server


@pytest.fixture(scope="session")
def prefect_server():
    """One Prefect server for the session, whichever processes share out its tests; yields its API address."""
    from prefect.settings import PREFECT_FLOWS_HEARTBEAT_FREQUENCY, temporary_settings  # noqa: PLC0415

    # A sync flow run waits a second for its heartbeat thread.
    with _shared_api() as url, temporary_settings({PREFECT_FLOWS_HEARTBEAT_FREQUENCY: None}):
        yield url


@contextmanager
def _shared_api():
    """The first process that needs the server starts it, and ends it once no other uses it any more."""
    home = Path(os.environ["PREFECT_HOME"])
    address = home / "server-of-the-tests.txt"
    with (home / "users-of-the-server").open("w") as users, (home / "start-of-the-server").open("w") as start:
        fcntl.flock(start, fcntl.LOCK_EX)
        fcntl.flock(users, fcntl.LOCK_SH)
        is_ours = not address.exists()
        started = prefect_serving(home / "server") if is_ours else nullcontext(address.read_text())
        with started as url:
            address.write_text(url)
            fcntl.flock(start, fcntl.LOCK_UN)
            with _used(url):
                yield url
            if is_ours:
                # The others go on with it; who comes now waits, and starts one again.
                fcntl.flock(start, fcntl.LOCK_EX)
                fcntl.flock(users, fcntl.LOCK_EX)
                address.unlink()


@contextmanager
def _used(url):
    """Have Prefect use a server in this block; what is to be told to it is told before it may end."""
    from prefect.events.worker import EventsWorker  # noqa: PLC0415
    from prefect.logging.handlers import APILogHandler  # noqa: PLC0415
    from prefect.settings import PREFECT_API_URL, temporary_settings  # noqa: PLC0415

    with temporary_settings({PREFECT_API_URL: url}):
        yield
        APILogHandler().flush()
        EventsWorker.drain_all()


@pytest.fixture
def write_texts(tmp_path):
    """Write a list of texts as the source of `job_of`'s job."""

    def write(texts, name="source.parquet"):
        frame = pl.DataFrame(
            {"id": range(len(texts)), "text": texts}, schema={"id": pl.Int64, "text": pl.String}
        )
        frame.write_parquet(tmp_path / name)
        return frame

    return write


@pytest.fixture
def job_of(tmp_path):
    """Build a job over two English labels: `job_of(source="...", model={...}, run={...})`."""

    def build(**sections):
        values = {
            "name": "test",
            "source": {"path": str(tmp_path / "source.parquet"), "text": "text"},
            "labels": {"sport": "football, match, team", "money": "bank, market, price"},
            "model": {"provider": "practice", "name": "gpt-4o-mini"},
            "output": {"path": str(tmp_path / "out")},
        }
        for name, value in sections.items():
            known = values.get(name)
            values[name] = {**known, **value} if isinstance(known, dict) and name != "labels" else value
        return LabelJob.model_validate(values)

    return build


class ScriptedServer(ThreadingHTTPServer):
    """Answers every POST with the next of its replies, the last one for ever, and keeps the requests it got."""

    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), _Handler)
        self.bodies, self.headers_seen = [], []
        self.base_url = f"http://127.0.0.1:{self.server_address[1]}/v1"
        self.replies = iter(())

    def reply(self, *replies):
        """Set the replies: tuples of a status, a body (a dict or bytes) and headers."""
        self.replies = chained(replies, repeat(replies[-1]))


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self):
        self.server.bodies.append(json.loads(self.rfile.read(int(self.headers["content-length"]))))
        self.server.headers_seen.append(self.headers)
        status, body, headers = (*next(self.server.replies), {})[:3]
        raw = body if isinstance(body, bytes) else json.dumps(body).encode()
        self.send_response(status)
        for name, value in {
            "content-type": "application/json",
            "content-length": len(raw),
            **headers,
        }.items():
            self.send_header(name, str(value))
        self.end_headers()
        self.wfile.write(raw)

    def log_message(self, *_):
        """Say nothing."""


@pytest.fixture
def scripted():
    """Start a `ScriptedServer`."""
    with serving(ScriptedServer()) as server:
        yield server


@pytest.fixture
def robots():
    """All robots of chats, as if just set up."""
    with serving(Robots()) as server:
        yield server


@pytest.fixture
def completion():
    """Build the body of a chat completion: `completion("sport")`, with its message, reason or usage replaced."""

    def build(content="sport", finish_reason="stop", usage=(11, 2), **message):
        counted = usage and {
            "prompt_tokens": usage[0],
            "completion_tokens": usage[1],
            "total_tokens": sum(usage),
        }
        return {
            "id": "chatcmpl-1",
            "object": "chat.completion",
            "created": 1,
            "model": "scripted",
            "choices": [
                {
                    "index": 0,
                    "message": {"role": "assistant", "content": content, **message},
                    "finish_reason": finish_reason,
                }
            ],
            "usage": counted,
        }

    return build


STORES = {
    "seaweedfs": (stores.seaweedfs, "bin/weed"),
    "moto": (stores.moto, "bin/moto_server"),
    "s3rver": (stores.s3rver, "node_modules/.bin/s3rver"),
    "azurite": (stores.azurite, "node_modules/.bin/azurite-blob"),
}


@pytest.fixture(scope="session")
def store_servers():
    """The servers of objects of this process, by name, each started when it is first asked for."""
    with ExitStack() as stack:
        running = {}

        def server(name):
            if name not in running:
                start, program = STORES[name]
                if not stores.is_installed(program):
                    if os.environ.get("LABELMILL_REQUIRE_SYSTEM"):
                        pytest.fail(f"{program} is not installed; `make test` does that")
                    pytest.skip(f"{program} is not installed")
                running[name] = stack.enter_context(start())
            return running[name]

        yield server


@pytest.fixture
def store_server(store_servers, monkeypatch, tmp_path):
    """Gives a server of objects by its name, with its keys in the environment, and a cache of the test's own."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))

    def given(name):
        server = store_servers(name)
        for variable, value in server.variables.items():
            monkeypatch.setenv(variable, value)
        return server

    return given
