"""The provider of `provider.c`, compiled where it is needed: it costs next to nothing, so that what is measured is the client."""

import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

SOURCE = Path(__file__).with_name("provider.c")


class NoCompilerError(Exception):
    """This machine has no C compiler."""


@contextmanager
def cheap_provider(
    median_milliseconds: float = 0.0, sigma: float = 0.0, label: str = "sport"
) -> Iterator[str]:
    """Start it, and yield its address; it ends with the block.

    Raises:
        NoCompilerError: there is no `cc`.
    """
    compiler = shutil.which("cc")
    if compiler is None:
        raise NoCompilerError("cc is not there: on Debian, apt-get install gcc libc6-dev")
    with tempfile.TemporaryDirectory() as folder:
        program = Path(folder) / "provider"
        subprocess.run([compiler, "-O2", "-o", program, SOURCE, "-lm"], check=True)
        words = [str(median_milliseconds), str(sigma), label]
        with subprocess.Popen(
            [program, *words], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        ) as child:
            try:
                yield f"http://127.0.0.1:{child.stdout.readline().strip()}/v1"
            finally:
                child.stdin.close()
