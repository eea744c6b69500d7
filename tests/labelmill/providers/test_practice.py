"""The practice provider as a process of ours: it comes up, follows what the job says, and ends with its parent."""

import os
import signal
import subprocess
import sys
import time

import openai
import psutil
import pytest
from servers.practice import PracticeServer, start_practice

from labelmill.errors import JobRefused
from labelmill.job.model import Practice
from labelmill.providers.practice import practice_mistakes

PARENT = """
import time
from labelmill.providers.practice import PracticeServer
server = PracticeServer.start()
print(server.pid, flush=True)
time.sleep(60)
"""


def test_only_loopback_is_bound(practice):
    """Nobody outside this machine can reach the server."""
    listening = [
        connection.laddr
        for connection in psutil.Process(practice.pid).net_connections()
        if connection.status == psutil.CONN_LISTEN
    ]
    assert [(address.ip, address.port) for address in listening] == [("127.0.0.1", practice.port)]


@pytest.mark.slow
def test_the_server_ends_when_its_parent_is_killed():
    """A parent that dies without a word takes its server along."""
    with subprocess.Popen([sys.executable, "-c", PARENT], stdout=subprocess.PIPE) as parent:
        child = psutil.Process(int(parent.stdout.readline()))
        parent.send_signal(signal.SIGKILL)
    psutil.wait_procs([child], timeout=5)
    assert not child.is_running() or child.status() == psutil.STATUS_ZOMBIE


def test_stopping_leaves_no_process():
    """A stopped server is gone, not a zombie, and stopping twice is fine."""
    with start_practice() as server:
        assert psutil.pid_exists(server.pid)
        # A session of its own: Ctrl-C at the parent's terminal does not reach it.
        assert os.getsid(server.pid) != os.getsid(0)
    assert not psutil.pid_exists(server.pid)
    server.stop()


def test_a_server_that_dies_leaves_a_clean_stop():
    """Stopping a server that is gone already is no error."""
    server = start_practice()
    os.kill(server.pid, signal.SIGKILL)
    time.sleep(0.05)
    server.stop()
    assert not psutil.pid_exists(server.pid)


def test_a_taken_port_is_told(practice):
    """A port that is taken is an error with the reason."""
    with pytest.raises(RuntimeError, match=r"did not start.*in use"):
        start_practice(port=practice.port)


def test_a_file_of_the_folder_does_not_take_its_place(tmp_path, monkeypatch):
    """A `practice.py` where the command runs is not what is started."""
    (tmp_path / "practice.py").write_text("raise SystemExit('not I')")
    monkeypatch.chdir(tmp_path)
    with start_practice() as server:
        assert server.totals()["requests"] == 0


def test_the_section_goes_before_the_settings_file(tmp_path, monkeypatch):
    """Paths start at the working folder; what the section says itself counts, former fields of jobs too."""
    (tmp_path / "rehearsal.toml").write_text('latency_seconds = 9.5\nknown_models = ["a"]\nseed = 3\n')
    monkeypatch.chdir(tmp_path)
    told = Practice(latency_seconds=0, settings="rehearsal.toml", known_models=["b", "c"])
    with PracticeServer.start(told) as server, openai.OpenAI(base_url=server.base_url, api_key="k") as client:
        assert [model.id for model in client.models.list()] == ["b", "c"]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("told", "file", "place", "sentence"),
    [
        ({"sead": 1}, None, "practice.sead", "unknown field; did you mean 'seed'?"),
        (
            {"faults": {"hangs": 0.1}},
            None,
            "practice.faults.hangs",
            "found 'hangs', expected 'rate_limited', ",
        ),
        ({}, "", None, None),
        ({}, "faults.hang = 0.1", None, None),
        ({}, "sead = 1", "practice.settings", "{path}, sead: unknown field; did you mean 'seed'?"),
        ({}, "[faults]\nhang = 2", "practice.settings", "{path}, faults.hang: found 2, expected less than "),
        ({}, "seed", "practice.settings", "the settings file '{path}' is not valid TOML: "),
        (
            {},
            None,
            "practice.settings",
            "the settings file '{path}' can't be read: No such file or directory",
        ),
    ],
)
def test_what_it_cannot_follow_is_said(tmp_path, told, file, place, sentence):
    """The provider itself finds what is wrong with its settings, and starts with none that are."""
    path = tmp_path / "rehearsal.toml"
    if file is not None:
        path.write_text(file)
    section = Practice(**told, **({} if told else {"settings": str(path)}))
    found = practice_mistakes(section)
    assert [where for where, _ in found] == ([] if place is None else [place])
    for _, said in found:
        assert said.startswith(sentence.format(path=path))
        with pytest.raises(JobRefused, match="practice"):
            PracticeServer.start(section)


def test_every_mistake_is_said_at_once(tmp_path):
    """Those of the section and those of the file, side by side."""
    (path := tmp_path / "rehearsal.toml").write_text("sead = 1\nodd_answers = 2\n")
    assert len(practice_mistakes(Practice(settings=str(path), hang=1, batch_seconds=-1))) == 4
