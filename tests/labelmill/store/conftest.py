"""Other processes that hold a file, for real: they can be ended well, or killed."""

import subprocess
import sys
from contextlib import contextmanager

import pytest

from labelmill.store.ledger import Ledger

HOLDERS = {
    "journal": "from labelmill.store.journal import Journal\nholding = Journal(Path(sys.argv[1]))\n",
    "lock": "from labelmill.store.lock import locked\nholding = locked(Path(sys.argv[1]), sys.argv[2])\n",
}


@pytest.fixture
def held_elsewhere():
    """Hold a journal or a lock in another process for the length of a block; yields the process."""

    @contextmanager
    def hold(what, path, words=""):
        program = (
            f"import sys\nfrom pathlib import Path\n{HOLDERS[what]}"
            "with holding:\n    print('held', flush=True)\n    sys.stdin.read()\n"
        )
        command = [sys.executable, "-c", program, str(path), words]
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as holder:
            try:
                assert holder.stdout.readline() == b"held\n"
                yield holder
            finally:
                holder.kill()

    return hold


@pytest.fixture
def ledger(tmp_path):
    """An empty ledger."""
    return Ledger(tmp_path / "ledger" / "task")
