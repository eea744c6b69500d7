"""What a process costs with all that it starts: seconds, seconds of CPU, peak memory. Every benchmark measures by this.

CPU is what the kernel charged to the process and to those of its descendants that were waited for; memory is the peak of
the summed PSS, sampled every 50 ms by a small program in C. A provider and a Prefect server that a benchmark starts itself are
no descendants of what is measured: they are told apart.
"""

import atexit
import functools
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]
SAMPLER = Path(__file__).with_name("peak_memory.c")
LABELMILL = Path(sys.executable).with_name("labelmill")

NOT_PASSED_ON = ("PREFECT_", "LANGSMITH_", "LANGCHAIN_", "PYTHONDONTWRITEBYTECODE")
OF_THE_MACHINE = {"HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "SSL_CERT_FILE", "SSL_CERT_DIR"}


TOO_BUSY = "the machine was too busy: the longer run took no longer than the shorter one"


class FailedError(Exception):
    """What was to be measured has failed, with what it said."""


@dataclass(frozen=True)
class Cost:
    """What a process has cost with its descendants."""

    seconds: float
    cpu_seconds: float
    peak_mb: float


def measured(
    words: Sequence[str | Path],
    environment: Mapping[str, str],
    folder: Path | None = None,
    pass_fds: Sequence[int] = (),
) -> Cost:
    """Run a command to its end; what it prints is thrown away.

    Raises:
        FailedError: its exit code is not 0.
    """
    with tempfile.TemporaryFile() as said:
        began = time.monotonic()
        child = subprocess.Popen(
            words,
            env=dict(environment),
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=said,
            stderr=said,
            pass_fds=pass_fds,
        )
        with peak_of(child.pid) as peak:
            _, status, used = os.wait4(child.pid, 0)
            seconds = time.monotonic() - began
        child.returncode = os.waitstatus_to_exitcode(status)
        if child.returncode:
            said.seek(0)
            told = said.read().decode(errors="replace")[-2000:]
            raise FailedError(f"{Path(words[0]).name} ended with {child.returncode}: {told}")
    return Cost(seconds, used.ru_utime + used.ru_stime, peak[0])


def of_a_text(less: Cost, more: Cost, texts: int) -> tuple[float, float] | None:
    """What so many texts more have cost: milliseconds of CPU for each, and texts a second.

    None where a busy machine has made the longer run the shorter one: that says nothing.
    """
    cpu, seconds = more.cpu_seconds - less.cpu_seconds, more.seconds - less.seconds
    return (1000 * cpu / texts, texts / seconds) if cpu > 0 and seconds > 0 else None


@contextmanager
def peak_of(pid: int) -> Iterator[list[float]]:
    """Sample a process and its descendants for the length of the block; what is yielded then has the peak in MB."""
    peak: list[float] = []
    with subprocess.Popen(
        [sampler(), str(pid)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as child:
        yield peak
        told, _ = child.communicate()
        peak.append(int(told.split()[0]) / 1024)


@functools.cache
def sampler() -> str:
    """The program that samples, compiled once for this process.

    Raises:
        FailedError: this machine has no C compiler.
    """
    compiler = shutil.which("cc")
    if compiler is None:
        raise FailedError("cc is not there: on Debian, apt-get install gcc libc6-dev")
    folder = tempfile.mkdtemp()
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    program = f"{folder}/peak_memory"
    subprocess.run([compiler, "-O2", "-o", program, SAMPLER], check=True)
    return program


def environment(**own: str) -> dict[str, str]:
    """This process' environment for what is measured: this folder's Labelmill, no Prefect server, no tracing, no proxy.

    Nor certificates of the machine's own, which a run reads to see that they can be read.
    """
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(NOT_PASSED_ON) and name.upper() not in OF_THE_MACHINE
    }
    return {**kept, "PYTHONPATH": str(ROOT), "OPENAI_API_KEY": "none-needed", **own}
