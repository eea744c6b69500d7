"""How long a fresh Python takes from `labelmill.label(...)` to its first request, beside LangChain alone.

Each time is that of a process of its own: from the call, imports and all, to the moment at which the endpoint on loopback has
read the first request to label a text. LangChain alone imports ChatOpenAI and asks once. CPU seconds tell the work from
what a busy machine adds. `import labelmill` is measured by itself.
"""

import json
import subprocess
import sys
import tempfile
import threading
import time
from argparse import Namespace
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import psutil
from measure import FailedError, environment
from rows import Row, at_most, parser_of, progress, show

ALONE = "LangChain's ChatOpenAI alone"
SCRIPTS = {
    "labelmill.label of a Polars frame": """
import polars as pl
frame = pl.DataFrame({"text": ["the match", "the bank"]})
print(time.time(), flush=True)
import labelmill
labelmill.label(frame, text="text", labels=["sport", "money"], model="gpt-4o-mini")
""",
    "labelmill.label of a pandas frame": """
import pandas as pd
frame = pd.DataFrame({"text": ["the match", "the bank"]})
print(time.time(), flush=True)
import labelmill
labelmill.label(frame, text="text", labels=["sport", "money"], model="gpt-4o-mini")
""",
    ALONE: """
print(time.time(), flush=True)
from langchain_openai import ChatOpenAI
ChatOpenAI(model="gpt-4o-mini", temperature=0).invoke("Is this sport or money? the match")
""",
}
ANSWER = json.dumps(
    {
        "id": "1",
        "object": "chat.completion",
        "created": 1,
        "model": "gpt-4o-mini",
        "choices": [
            {"index": 0, "message": {"role": "assistant", "content": "sport"}, "finish_reason": "stop"}
        ],
        "usage": {"prompt_tokens": 11, "completion_tokens": 2, "total_tokens": 13},
    }
).encode()


class Endpoint(ThreadingHTTPServer):
    """Answers whatever it is asked, and notes when the first text was, and what CPU time its process had used by then."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.pid = 0
        self.first: tuple[float, float] | None = None
        self.lock = threading.Lock()

    def handle_error(self, *_: Any) -> None:
        """Say nothing of connections that clients have closed."""

    def note(self) -> None:
        """Note a request."""
        with self.lock:
            if self.first is None:
                used = psutil.Process(self.pid).cpu_times()
                self.first = (time.time(), used.user + used.system)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Endpoint

    def do_GET(self) -> None:
        self._answer(b'{"data": []}')

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["content-length"]))
        self.server.note()
        self._answer(ANSWER)

    def _answer(self, body: bytes) -> None:
        self.send_response(200)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        pass


def main() -> None:
    """Measure, and print the rows."""
    options = parser_of(__doc__).parse_args()
    show(rows_of(options), as_json=options.json)


def rows_of(options: Namespace) -> Iterator[Row]:
    """Start each script some times, in turn."""
    seconds: dict[str, list[tuple[float, float]]] = {name: [] for name in SCRIPTS}
    imports = []
    for number in range(options.rounds or (7 if options.full else 3)):
        progress(f"first requests from Python, round {number + 1}")
        for name, script in SCRIPTS.items():
            seconds[name].append(first_request_of(script))
        imports.append(import_seconds())
    for name, found in seconds.items():
        yield Row("from the call to the first request", name, "s", tuple(wall for wall, _ in found))
    for name, found in seconds.items():
        wanted = (at_most(3, ALONE),) if name != ALONE else ()
        yield Row("CPU from the call to the first request", name, "s", tuple(cpu for _, cpu in found), wanted)
    yield Row("an import alone", "import labelmill", "s", tuple(imports))


def first_request_of(script: str) -> tuple[float, float]:
    """The seconds from what a script prints to its first request, and the CPU seconds of these."""
    server = Endpoint()
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    own = {"OPENAI_BASE_URL": f"http://127.0.0.1:{server.server_port}/v1", "OPENAI_API_KEY": "none"}
    with tempfile.TemporaryDirectory() as folder:
        child = subprocess.Popen(
            [sys.executable, "-c", f"import time{script}"],
            stdout=subprocess.PIPE,
            cwd=folder,
            env=environment(**own),
        )
        server.pid = child.pid
        with child:
            begun = float(child.stdout.readline())  # type: ignore[union-attr]
            used = psutil.Process(child.pid).cpu_times()
    server.shutdown()
    server.server_close()
    if child.returncode or server.first is None:
        raise FailedError(f"the script ended with {child.returncode} and asked nothing")
    at, cpu = server.first
    return at - begun, cpu - used.user - used.system


def import_seconds() -> float:
    """The seconds that `import labelmill` takes in a fresh process."""
    script = "import time; begun = time.perf_counter(); import labelmill; print(time.perf_counter() - begun)"
    done = subprocess.run([sys.executable, "-c", script], env=environment(), capture_output=True, check=True)
    return float(done.stdout)


if __name__ == "__main__":
    main()
