"""What a process costs with all that it starts."""

import shutil
import subprocess
import sys

import pytest
from measure import Cost, FailedError, environment, measured, of_a_text, peak_of

pytestmark = pytest.mark.skipif(shutil.which("cc") is None, reason="the sampler in C needs a compiler: gcc")

HELD = """
import subprocess, sys
held = b"x" * (60 << 20)
if len(sys.argv) > 1:
    child = subprocess.Popen([sys.executable, __file__], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    child.stdout.readline()
print("held", flush=True)
sys.stdin.read()
"""


def test_the_peak_is_that_of_a_process_and_its_children_together(tmp_path):
    """Two processes that hold 60 MB each hold 120 MB, and a little more for Python itself."""
    script = tmp_path / "held.py"
    script.write_text(HELD)
    with (
        subprocess.Popen(
            [sys.executable, script, "with a child"], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        ) as process,
        peak_of(process.pid) as peak,
    ):
        process.stdout.readline()
    assert 120 <= peak[0] <= 180


def test_cpu_is_that_of_a_process_and_its_children_together():
    """A child's work is its parent's cost; waiting costs nothing."""
    work = "import time\nwhile time.process_time() < 0.3: pass"
    parent = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {work!r}], check=True)"
    cost = measured([sys.executable, "-c", parent], environment())
    assert 0.3 <= cost.cpu_seconds <= cost.seconds + 0.1
    assert cost.peak_mb > 1


def test_what_fails_is_no_figure():
    """A process that ends in an error is told with what it said, since what fails is fast."""
    with pytest.raises(FailedError, match=r"ended with 3: the key is wrong"):
        measured([sys.executable, "-c", "import sys; print('the key is wrong'); sys.exit(3)"], environment())


def test_a_texts_cost_is_a_longer_run_less_a_shorter_one():
    """Starting costs nothing then; where the longer run was no longer there is no figure, rather than a wrong one."""
    less, more = Cost(seconds=5, cpu_seconds=4, peak_mb=1), Cost(seconds=15, cpu_seconds=6, peak_mb=1)
    assert of_a_text(less, more, 1000) == (2, 100)
    assert of_a_text(more, less, 1000) is None


def test_what_is_measured_knows_no_server_and_no_tracing(monkeypatch):
    """The settings of whoever measures stay with them: each figure is that of a fresh installation."""
    for name in ("PREFECT_API_URL", "LANGSMITH_TRACING", "https_proxy", "SSL_CERT_FILE"):
        monkeypatch.setenv(name, "mine")
    assert "mine" not in environment().values()
    assert environment(PREFECT_API_URL="ours")["PREFECT_API_URL"] == "ours"
