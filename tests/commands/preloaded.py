"""`labelmill` as a process that need not import Prefect and LangChain again: forked from one that has.

An interpreter takes seconds to import them, which is most of a command over a few rows. One process per session does so
once and forks for every command; what runs in the fork is a process like any other (its own id, signals, environment,
folder, terminal and exit code), and all of `commands/` is imported in it anew. A command that says something to Python,
Prefect or another library which these read at their import is started from the file, as is all that a fork can't take over.
"""

import ctypes
import gc
import inspect
import json
import logging
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

LABELMILL = Path(sys.executable).parent / "labelmill"

READ_AT_IMPORT = ("PREFECT_", "PYTHON", "LANG", "LC_", "POLARS_", "OPENAI_LOG", "PATH", "TZ")
READ_AGAIN = {"PREFECT_API_URL", "PREFECT_LOGGING_LEVEL", "PYTHONIOENCODING"}
UNUSUAL = ("executable", "preexec_fn", "pass_fds", "shell", "start_new_session")
"""Arguments of `Popen` that ask for more than descriptors, an environment and a folder."""

_PR_SET_CHILD_SUBREAPER = 36


def can_fork():
    """Whether this system hands a fork's fork to us as our own child, as Linux does."""
    if sys.platform != "linux":
        return False
    return ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) == 0


class Preloaded:
    """The process that forks; closing it ends it."""

    def __init__(self):
        self.environment = dict(os.environ)
        self._ours, its = socket.socketpair()
        with its:
            self._process = subprocess.Popen(
                [sys.executable, __file__, str(its.fileno())], pass_fds=[its.fileno()]
            )

    def can_start(self, arguments):
        """Whether `Popen`'s arguments are a command that a fork is as good for."""
        words, env = arguments["args"], arguments["env"]
        if isinstance(words, str | bytes) or Path(words[0]) != LABELMILL:
            return False
        if any(arguments[name] for name in UNUSUAL):
            return False
        env = os.environ if env is None else env
        changed = {name for name, _ in set(env.items()) ^ set(self.environment.items())} - READ_AGAIN
        return not any(name.startswith(READ_AT_IMPORT) for name in changed)

    def start(self, words, env, cwd, descriptors):
        """Start a command with its standard input, output and error; returns its process id."""
        request = {
            "words": [os.fspath(word) for word in words],
            "env": dict(os.environ if env is None else env),
            "cwd": os.fspath(cwd or Path.cwd()),
        }
        raw = json.dumps(request).encode()
        socket.send_fds(self._ours, [len(raw).to_bytes(4, "big")], descriptors)
        self._ours.sendall(raw)
        return int.from_bytes(_exactly(self._ours, 4), "big")

    def close(self):
        """End it."""
        self._ours.close()
        self._process.wait()


def popen_of(preloaded):
    """The class to put in `subprocess.Popen`'s place: commands are forked, everything else is started as ever."""
    start = subprocess.Popen._execute_child

    class Popen(subprocess.Popen):
        def _execute_child(self, *positional):
            bound = inspect.signature(start).bind(self, *positional).arguments
            if not preloaded.can_start(bound):
                start(self, *positional)
                return
            pipes = [bound[name] for name in ("p2cread", "c2pwrite", "errwrite")]
            descriptors = [pipe if pipe != -1 else own for own, pipe in enumerate(pipes)]
            self.pid = preloaded.start(bound["args"], bound["env"], bound["cwd"], descriptors)
            self._child_created = True
            ends = ("p2cread", "p2cwrite", "c2pread", "c2pwrite", "errread", "errwrite")
            self._close_pipe_fds(*(bound[name] for name in ends))

    return Popen


def _exactly(connection, count):
    raw = b""
    while len(raw) < count:
        piece = connection.recv(count - len(raw))
        if not piece:
            raise EOFError
        raw += piece
    return raw


def _serve(connection):
    """Fork for every request; returns, in the fork, the request and the three descriptors. Ends with its parent."""
    while True:
        head, descriptors, *_ = socket.recv_fds(connection, 4, 3)
        if not head:
            sys.exit()
        request = json.loads(_exactly(connection, int.from_bytes(head, "big")))
        reading, writing = os.pipe()
        if between := os.fork():
            # With the one between gone, its child is the test process's own, which takes what its forks leave.
            os.waitpid(between, 0)
            connection.sendall(os.read(reading, 4))
        elif child := os.fork():
            os.write(writing, child.to_bytes(4, "big"))
            os._exit(0)
        os.close(reading)
        os.close(writing)
        if not between:
            connection.close()
            return request, descriptors
        for descriptor in descriptors:
            os.close(descriptor)


def _become(request, descriptors):
    """Take over what a new process would have been given."""
    encoding, _, on_errors = request["env"].get("PYTHONIOENCODING", "").partition(":")
    for own, given in enumerate(descriptors):
        os.dup2(given, own)
        os.close(given)
    for own, name in enumerate(("stdin", "stdout", "stderr")):
        # As Python opens them: what was known of the descriptors (a terminal, a pipe) no longer holds.
        like = getattr(sys, name)
        line_buffered = own == 2 or os.isatty(own)  # standard error
        stream = open(  # noqa: SIM115
            own,
            like.mode,
            buffering=1 if line_buffered else -1,
            encoding=encoding or like.encoding,
            errors=like.errors if own == 2 or not encoding else on_errors or "strict",
            closefd=False,
        )
        setattr(sys, name, stream)
        setattr(sys, f"__{name}__", stream)
    os.environ.clear()
    os.environ.update(request["env"])
    os.chdir(request["cwd"])
    sys.argv = request["words"]
    signal.signal(signal.SIGINT, signal.default_int_handler)


def _forget_handlers(*names):
    """Have loggers as they are where nobody has imported Prefect."""
    for logger in map(logging.getLogger, names):
        logger.handlers.clear()
        logger.propagate = True


if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    sys.path.append(str(Path(__file__).parents[2]))

    import imports_of_commands  # noqa: F401
    import prefect.context
    from prefect.logging.configuration import setup_logging
    from prefect.settings import (
        PREFECT_FLOWS_HEARTBEAT_FREQUENCY,
        PREFECT_LOGGING_EXTRA_LOGGERS,
        temporary_settings,
    )

    with socket.socket(fileno=int(sys.argv[1])) as listening:
        gc.freeze()
        _become(*_serve(listening))
    prefect.context.refresh_global_settings_context()
    # Prefect's handlers anew, at the streams of now; it would add its own to these loggers a second time.
    _forget_handlers("", *PREFECT_LOGGING_EXTRA_LOGGERS.value())
    if os.environ.get("PREFECT_API_URL"):
        setup_logging(incremental=False)

    from commands.main import main

    # A flow run would wait a second for its heartbeat thread.
    with temporary_settings({PREFECT_FLOWS_HEARTBEAT_FREQUENCY: None}):
        main()
