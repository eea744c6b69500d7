"""Programs in the background: found again, stopped, and never taken for another's."""

import os
import sys

from commands.background import BackgroundProgram

SLEEP = [sys.executable, "-c", "import time; print('up', flush=True); time.sleep(60)"]


def test_a_program_is_found_again_and_stopped(tmp_path):
    """What was started is known by its pid until it is stopped; stopping twice does nothing."""
    program = BackgroundProgram("sleeper", tmp_path)
    assert program.pid() is None
    pid = program.start(SLEEP, os.environ, tmp_path)
    assert program.pid() == pid
    assert program.stop(10)
    assert program.pid() is None
    assert not program.stop(10)


def test_a_pid_of_another_program_is_left_alone(tmp_path):
    """A pid file that nobody holds is a dead program's, whoever has its pid now."""
    program = BackgroundProgram("sleeper", tmp_path)
    program.pid_file.write_text(str(os.getpid()))
    assert program.pid() is None
    assert not program.stop(1)


def test_a_program_that_ignores_the_request_is_ended(tmp_path):
    """After the patience a program that doesn't listen is killed."""
    deaf = (
        "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('deaf', flush=True); "
        "time.sleep(60)"
    )
    program = BackgroundProgram("deaf", tmp_path)
    program.start([sys.executable, "-c", deaf], os.environ, tmp_path)
    while "deaf" not in program.last_words():
        assert program.pid() is not None
    assert program.stop(0.5)
    assert program.pid() is None
