"""A Prefect server that is away, wants a password or is none: a sentence from every command that needs one."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from servers.base import serving
from servers.prefect_stand_in import PrefectStandIn

from commands.server_check import Credentials, Told, away, mistake_of

LABELMILL = Path(sys.executable).parent / "labelmill"
COMMANDS = {
    "run": ["run", "job.toml"],
    "compare": ["compare", "job.toml", "--yes"],
    "deploy": ["deploy", "job.toml", "--cron", "0 6 * * *"],
    "start": ["start", "job.toml"],
    "status": ["status", "news"],
    "logs": ["logs", "news"],
}
URL = "http://127.0.0.1:4200/api"


@pytest.fixture
def command(tmp_path, write_texts):
    """Run a command over a job of the practice provider, with settings of Prefect's."""
    write_texts(["football", "bank"])
    (tmp_path / "job.toml").write_text(
        """
name = "news"
source = { path = "source.parquet", text = "text" }
labels = { sport = "football", money = "bank" }
model = { provider = "practice", name = "gpt-4o-mini" }
output = { path = "out" }
"""
    )

    def run(*words, **settings):
        return subprocess.run(
            [LABELMILL, *words],
            capture_output=True,
            text=True,
            cwd=tmp_path,
            env={**os.environ, **settings},
            timeout=120,
            check=False,
        )

    return run


@pytest.mark.parametrize("name", COMMANDS)
def test_a_server_that_is_away_is_one_sentence(command, tmp_path, name):
    """Exit 2, no traceback, nothing asked: the last line names the variable, the address and what is wrong."""
    done = command(*COMMANDS[name], PREFECT_API_URL="http://127.0.0.1:9/api")
    assert done.returncode == 2, done.stderr
    sentence = done.stderr.strip().splitlines()[-1]
    assert sentence == (
        "error no Prefect server answers at PREFECT_API_URL = http://127.0.0.1:9/api: connection refused"
    )
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("name", ["run", "status"])
def test_a_server_with_a_password_names_the_variable(command, name):
    """Without a password, and with a wrong one, the sentence says where it goes; the password itself is not shown."""
    with serving(PrefectStandIn(auth="admin:right")) as server:
        without = command(*COMMANDS[name], PREFECT_API_URL=server.api_url)
        wrong = command(
            *COMMANDS[name], PREFECT_API_URL=server.api_url, PREFECT_API_AUTH_STRING="admin:wrong"
        )
    assert (without.returncode, wrong.returncode) == (2, 2)
    assert "PREFECT_API_AUTH_STRING: the Prefect server at" in without.stderr
    assert "wants a password (401): set PREFECT_API_AUTH_STRING to it" in without.stderr
    assert "does not accept the password in PREFECT_API_AUTH_STRING (401)" in wrong.stderr
    assert "admin:wrong" not in wrong.stderr
    assert "Traceback" not in without.stderr + wrong.stderr


def test_the_password_in_the_environment_is_used(command):
    """With the right password the server is asked on, and what it is not comes out."""
    with serving(PrefectStandIn(version="2.20.4", auth="admin:right")) as server:
        done = command(
            "run", "job.toml", PREFECT_API_URL=server.api_url, PREFECT_API_AUTH_STRING="admin:right"
        )
    assert done.returncode == 2
    assert f"the server at PREFECT_API_URL = {server.api_url} is Prefect 2.20.4" in done.stderr
    assert "upgrade the server to Prefect 3" in done.stderr


@pytest.mark.parametrize(
    ("stand_in", "path", "words"),
    [
        ({"version": None}, "/api", "is no Prefect API (found a web page)"),
        (
            {},
            "",
            "is no Prefect API (found status 404); the address ends in /api as a rule, so try http://127.0.0.1:",
        ),
        ({"status": 503}, "/api", "is in trouble: it answers with status 503"),
    ],
)
def test_what_is_no_server_is_named(command, stand_in, path, words):
    """A web page, an address without /api and a server in trouble are a sentence each."""
    with serving(PrefectStandIn(**stand_in)) as server:
        done = command("run", "job.toml", PREFECT_API_URL=server.api_url.removesuffix("/api") + path)
    assert (done.returncode, "Traceback" in done.stderr) == (2, False)
    assert words in done.stderr


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"PREFECT_API_URL": "localhost:4200/api"}, "the address has to begin with http:// or https://"),
        (
            {"PREFECT_API_URL": "http://nowhere.invalid/api"},
            "the name 'nowhere.invalid' could not be resolved",
        ),
        (
            {"PREFECT_API_SSL_CERT_FILE": "/no/such.pem"},
            "error PREFECT_API_SSL_CERT_FILE: found '/no/such.pem'",
        ),
    ],
)
def test_an_address_that_can_not_be_used_is_named(command, settings, words):
    """A wrong scheme, a name that is no host and a file of certificates that isn't there are a sentence each."""
    done = command("run", "job.toml", **{"PREFECT_API_URL": URL, **settings})
    assert (done.returncode, "Traceback" in done.stderr) == (2, False)
    assert words in done.stderr


def test_tls_where_there_is_none_is_said(command):
    """An https address of a server without TLS names what is wrong with it."""
    with serving(PrefectStandIn()) as server:
        done = command("run", "job.toml", PREFECT_API_URL=server.api_url.replace("http:", "https:"))
    assert (done.returncode, "Traceback" in done.stderr) == (2, False)
    assert "does not speak TLS; its address may have to begin with http://" in done.stderr


@pytest.mark.parametrize("body", ["", "null", "[]", '"x"', "{", "3.8.8", '{"version": "3"}'])
def test_only_a_version_is_taken_for_one(body):
    """Whatever else answers 200 is no Prefect API."""
    assert "is no Prefect API" in str(mistake_of(URL, Told(200, body), Credentials(), "3.8.8"))
    assert mistake_of(URL, Told(200, '"3.9.1"'), Credentials(), "3.8.8") is None


def test_no_sentence_shows_a_password_of_the_address():
    """What stands before the @ of an address is hidden, whatever goes wrong."""
    url = "http://admin:secret@127.0.0.1:9/api"
    told = [away(url, ConnectionRefusedError(111, "refused"))]
    told += [
        mistake_of(url, Told(status, "<html>"), Credentials("a:b"), "3.8.8")
        for status in (200, 401, 404, 500)
    ]
    assert not any("secret" in str(mistake) for mistake in told)


def test_prefect_cloud_is_asked_for_its_key():
    """Cloud has keys in place of passwords."""
    without = mistake_of(URL, Told(401, ""), Credentials(), "3.8.8", is_cloud=True)
    wrong = mistake_of(URL, Told(403, ""), Credentials(api_key="pnu_1"), "3.8.8", is_cloud=True)
    assert (
        str(without)
        == f"PREFECT_API_KEY: Prefect Cloud at PREFECT_API_URL = {URL} wants a key: set PREFECT_API_KEY"
    )
    assert "refuses the key in PREFECT_API_KEY" in str(wrong)
    assert mistake_of(URL, Told(200, "true"), Credentials(), "3.8.8", is_cloud=True) is None
