"""The server's process comes up fast, stays on loopback, and ends with its parent."""

import os
import signal
import subprocess
import sys
import time

import psutil
import pytest

from practice import PracticeSettings, start_practice

pytestmark = pytest.mark.slow

PARENT = """
import sys, time
from practice import PracticeSettings, start_practice
server = start_practice(PracticeSettings())
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


def test_the_server_ends_when_its_parent_is_killed():
    """A parent that dies without a word takes its server along."""
    with subprocess.Popen([sys.executable, "-c", PARENT], stdout=subprocess.PIPE) as parent:
        child = psutil.Process(int(parent.stdout.readline()))
        parent.send_signal(signal.SIGKILL)
    psutil.wait_procs([child], timeout=5)
    assert not child.is_running() or child.status() == psutil.STATUS_ZOMBIE


def test_stopping_leaves_no_process():
    """A stopped server is gone, not a zombie, and stopping twice is fine."""
    with start_practice(PracticeSettings()) as server:
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
        start_practice(PracticeSettings(), port=practice.port)


def test_wrong_settings_end_the_command():
    """The command line refuses settings it does not know, with exit code 2."""
    wrong = subprocess.run(
        [sys.executable, "-m", "practice", "--settings-json", '{"speed": 1}'],
        capture_output=True,
        text=True,
        timeout=20,
        check=False,
    )
    assert wrong.returncode == 2
    assert "speed" in wrong.stderr
    assert "Traceback" not in wrong.stderr


def test_the_foreground_says_what_it_is_and_stops_on_interrupt():
    """Started by hand it says on stderr that it is no language model, and Ctrl-C ends it quietly."""
    command = [sys.executable, "-m", "practice", "--latency-seconds", "0.1"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as running:
        said = running.stderr.readline()
        time.sleep(0.5)
        running.send_signal(signal.SIGINT)
        rest = running.stderr.read()
    assert "not a language model" in said
    assert (rest, running.returncode) == ("", 0)


def test_heavy_libraries_are_not_imported():
    """The server comes up without Prefect, Polars and LangChain."""
    asked = "import sys, practice.__main__; print({'prefect', 'polars', 'langchain_core'} & set(sys.modules))"
    printed = subprocess.run(
        [sys.executable, "-c", asked], capture_output=True, text=True, timeout=20, check=True
    )
    assert printed.stdout.strip() == "set()"
