"""`python -m practice`: what a person at a terminal gets."""

import re
import signal
import subprocess
import sys
import urllib.request


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
        base_url = re.search(r"http://\S+/v1", said).group()
        urllib.request.urlopen(f"{base_url}/models").close()
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
