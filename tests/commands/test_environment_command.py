"""Proxies, certificates, keys and limits, as a user's shell has them: the whole program in a subprocess."""

import json
import os
import resource
import socket
import subprocess
import sys
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from servers.base import serving

LABELMILL = Path(sys.executable).parent / "labelmill"
KEY = "sk-marked-0123456789"
DEAD = "http://me:pa55word@127.0.0.1:9"
JOB = """
name = "environment"
[source]
path = "source.parquet"
text = "text"
[labels]
sport = "match, team"
money = "bank, price"
[model]
provider = "{provider}"
name = "gpt-4o-mini"
[output]
path = "out"
{more}
"""


@pytest.fixture
def labelmill(tmp_path, write_texts):
    """Run the command line on a job over three texts, with an environment of its own."""
    write_texts(["a match", "a bank", "a team"])

    def run(*arguments, provider="practice", more="", limit=None, **environment):
        (tmp_path / "job.toml").write_text(JOB.format(provider=provider, more=more))
        known = {name: value for name, value in os.environ.items() if not name.casefold().endswith("_proxy")}

        def limited():
            resource.setrlimit(resource.RLIMIT_NOFILE, (limit, limit))

        return subprocess.run(
            [LABELMILL, *arguments],
            capture_output=True,
            text=True,
            cwd=tmp_path,
            env={**known, "COLUMNS": "200", "OPENAI_API_KEY": KEY, **environment},
            timeout=120,
            check=False,
            preexec_fn=limited if limit else None,
        )

    return run


def _shows_no_secret(done):
    return "pa55word" not in done.stderr + done.stdout and KEY not in done.stderr + done.stdout


def test_a_run_on_practice_needs_no_proxy(labelmill, server_told):
    """With proxies that are dead and a NO_PROXY that httpx breaks at, practice and Prefect's server are reached."""
    done = labelmill(
        "run",
        "job.toml",
        "--json",
        HTTP_PROXY=DEAD,
        HTTPS_PROXY=DEAD,
        all_proxy=DEAD,
        **server_told,
        NO_PROXY="intranet.example,fd07:b51a:cc66:f0::/64,[::1]",
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["rows_labeled"] == 3
    assert "Traceback" not in done.stderr
    assert _shows_no_secret(done)


@pytest.mark.parametrize("verb", [("run", "job.toml"), ("demo",), ("up",)])
def test_what_can_not_be_used_is_refused_by_name(verb, labelmill):
    """Every variable at once, in a line each, before anything is sent or written: exit 2."""
    done = labelmill(
        *verb,
        ALL_PROXY="socks4://me:pa55word@127.0.0.1:1",
        https_proxy="socks://127.0.0.1:1",
        SSL_CERT_FILE="/nonexistent/ca.pem",
    )
    assert done.returncode == 2, done.stderr
    lines = [line for line in done.stderr.splitlines() if line.startswith("error ")]
    assert [line.split(":")[0] for line in lines] == [
        "error https_proxy",
        "error ALL_PROXY",
        "error SSL_CERT_FILE",
    ]
    assert "socks5://" in lines[1]
    assert _shows_no_secret(done)


def test_a_variable_is_refused_with_a_jobs_other_mistakes(labelmill):
    """What is wrong with the environment and what is wrong with the job are said together."""
    done = labelmill("run", "job.toml", more="[batch]\nmax_bytez = 1", SSL_CERT_FILE="/nonexistent/ca.pem")
    assert done.returncode == 2
    assert "SSL_CERT_FILE" in done.stderr
    assert "max_bytez" in done.stderr


def test_a_far_endpoint_is_asked_through_the_proxy(labelmill, scripted, completion, prefect_server):
    """A host that only the proxy can reach is labeled by, and Prefect's server is not asked through it."""
    scripted.reply((200, completion("sport")))
    done = labelmill(
        "run",
        "job.toml",
        "--json",
        "--model-base-url",
        "http://models.example/v1",
        provider="openai",
        HTTP_PROXY=f"http://127.0.0.1:{scripted.server_address[1]}",
        PREFECT_API_URL=prefect_server,
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["rows_labeled"] == 3
    assert {headers["host"] for headers in scripted.headers_seen} == {"models.example"}


@pytest.mark.parametrize(
    ("base_url", "proxy", "words"),
    [
        ("{dead}", None, "nothing answers at 127.0.0.1:{port}: connection refused; is the server running?"),
        ("https://models.invalid/v1", None, "the name 'models.invalid' could not be resolved"),
        (
            "https://api.openai.com/v1",
            "{dead}",
            "HTTPS_PROXY: nothing answers at the proxy http://127.0.0.1:{port}",
        ),
    ],
)
def test_an_endpoint_that_can_not_be_reached_costs_a_moment(
    base_url, proxy, words, labelmill, prefect_server, tmp_path
):
    """The reason is said, exit 2, and no folder is made."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    dead = f"http://127.0.0.1:{port}"
    done = labelmill(
        "run",
        "job.toml",
        "--model-base-url",
        base_url.format(dead=f"{dead}/v1"),
        provider="openai",
        PREFECT_API_URL=prefect_server,
        **({"HTTPS_PROXY": dead} if proxy else {}),
    )
    assert done.returncode == 2, done.stderr
    assert words.format(port=port) in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("lane", ["live", "batch"])
def test_a_wrong_key_costs_one_free_request(lane, labelmill, prefect_server, tmp_path):
    """On either lane the provider's words are said, exit 2, nothing is asked and no folder is made."""
    with _refusing() as (base_url, asked):
        done = labelmill(
            "run",
            "job.toml",
            "--model-base-url",
            base_url,
            provider="openai",
            more=f'[run]\nlane = "{lane}"',
            PREFECT_API_URL=prefect_server,
        )
    assert done.returncode == 2, done.stderr
    assert (
        f"OPENAI_API_KEY: {base_url} did not accept the key (401): Incorrect API key provided" in done.stderr
    )
    assert [path for path in asked if path != "/practice"] == ["/v1/models"]
    assert _shows_no_secret(done)
    assert not (tmp_path / "out").exists()


@contextmanager
def _refusing():
    """A provider that accepts no key, and the paths it was asked for."""
    asked = []

    class Refusing(BaseHTTPRequestHandler):
        def do_GET(self):
            asked.append(self.path)
            body = json.dumps({"error": {"message": f"Incorrect API key provided: {KEY}"}}).encode()
            self.send_response(404 if self.path == "/practice" else 401)
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def do_POST(self):
            self.do_GET()

        def log_message(self, *_):
            """Say nothing."""

    with serving(ThreadingHTTPServer(("127.0.0.1", 0), Refusing)) as server:
        yield f"http://127.0.0.1:{server.server_address[1]}/v1", asked


def test_too_few_open_files_are_said_before_a_run(labelmill, prefect_server):
    """A limit that the run's connections don't fit into is named with both ways out: exit 2."""
    done = labelmill(
        "run", "job.toml", limit=128, more="[run]\nmax_concurrency = 100", PREFECT_API_URL=prefect_server
    )
    assert done.returncode == 2, done.stderr
    assert "run.max_concurrency: 100 requests at once need about 164 open files" in done.stderr
    assert "ulimit -n 164, or set run.max_concurrency = 64" in done.stderr
