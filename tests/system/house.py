"""What `labelmill up` starts on this machine, as a person uses it: verbs, and questions to the API."""

import base64
import http.client
import json
import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.parse
import urllib.request
from pathlib import Path

from commands.background import BackgroundProgram

LABELMILL = Path(sys.executable).parent / "labelmill"
PATIENCE_SECONDS = 120
BUSY_SECONDS = 120
STATES_THAT_END = {"COMPLETED", "FAILED", "CANCELLED", "CRASHED"}


class House:
    """Everything `labelmill up` starts, in a PREFECT_HOME and on a port of its own."""

    def __init__(self, home, **settings):
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self.home = home
        self.page = f"http://127.0.0.1:{self.port}"
        self.url = f"{self.page}/api"
        self.environment = {
            **os.environ,
            "PREFECT_HOME": str(home),
            "PREFECT_SERVER_API_PORT": str(self.port),
            "PREFECT_WORKER_QUERY_SECONDS": "1",
            "COLUMNS": "200",
        }
        # What the other tests keep quiet, a person sees.
        self.environment.pop("PREFECT_LOGGING_LEVEL", None)
        self.password = settings.get("PREFECT_SERVER_API_AUTH_STRING")
        self._csrf = None
        # Where a person would put them: labelmill reads this file in the folder it is called in.
        (home / ".env").write_text("".join(f"{name}={value}\n" for name, value in settings.items()))

    def labelmill(self, *words, **environment):
        """Run a verb as a person would, from a folder that is not the project's."""
        return subprocess.run(
            [LABELMILL, *map(str, words)],
            capture_output=True,
            text=True,
            cwd=self.home,
            env={**self.environment, **environment},
            timeout=300,
            check=False,
        )

    def prefect(self, *words):
        """Run a verb of Prefect's own, on this server."""
        known = {"PREFECT_API_URL": self.url}
        if self.password:
            known["PREFECT_API_AUTH_STRING"] = self.password
        return subprocess.run(
            [sys.executable, "-m", "prefect", *map(str, words)],
            capture_output=True,
            text=True,
            cwd=self.home,
            env={**self.environment, **known},
            timeout=PATIENCE_SECONDS,
            check=True,
        )

    def deploy(self, file):
        """Deploy a job file for every morning, and return the deployment's name."""
        done = self.labelmill("deploy", file, "--cron", "0 6 * * *", "--timezone", "Asia/Shanghai")
        assert done.returncode == 0, done.stderr
        return f"label-dataset/{Path(file).stem}"

    def start(self, deployment, **parameters):
        """Start a run of a deployment."""
        found = self.ask(f"/deployments/name/{deployment}")
        return self.ask(f"/deployments/{found['id']}/create_flow_run", {"parameters": parameters})

    def run(self, run):
        """A flow run as it is now."""
        return self.ask(f"/flow_runs/{run['id']}")

    def wait_for_end(self, run):
        """Wait until a flow run has ended, and return it."""
        return self.wait_until(run, lambda now: now["state"]["type"] in STATES_THAT_END)

    def wait_until(self, run, wanted):
        """Wait until a flow run is as wanted, and return it."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        while not wanted(now := self.run(run)):
            assert time.monotonic() < deadline, now["state"]
            time.sleep(0.3)
        return now

    def wait_for(self, flow, state, **parameters):
        """Wait for a run of a flow with these parameters to be in a state, and return it."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        body = {
            "flows": {"name": {"any_": [flow]}},
            "flow_runs": {"state": {"name": {"any_": [state]}}},
            "sort": "EXPECTED_START_TIME_DESC",
        }
        while time.monotonic() < deadline:
            for run in self.ask("/flow_runs/filter", body):
                if parameters.items() <= run["parameters"].items():
                    return run
            time.sleep(0.5)
        raise AssertionError(f"no run of {flow} with {parameters} is {state}")

    def artifacts(self, run):
        """The artifacts of a flow run by their keys."""
        found = self.ask("/artifacts/filter", {"artifacts": {"flow_run_id": {"any_": [run["id"]]}}})
        return {artifact["key"]: artifact for artifact in found}

    def ask(self, path, body=None, *, csrf=True):
        """The API's answer."""
        headers = {"content-type": "application/json"}
        if self.password:
            headers["authorization"] = f"Basic {base64.b64encode(self.password.encode()).decode()}"
        if csrf and self._csrf and body is not None:
            headers |= self._csrf
        return self.send(path, body, headers)

    def ask_with_csrf_token(self):
        """Have all later questions carry a token, as the UI's do."""
        client = "tests"
        token = self.ask(f"/csrf-token?{urllib.parse.urlencode({'client': client})}")["token"]
        self._csrf = {"Prefect-Csrf-Token": token, "Prefect-Csrf-Client": client}

    def send(self, path, body, headers):
        """The API's answer to exactly these headers.

        A server whose SQLite is busy answers 503 and has done nothing, or is silent for a minute; Prefect's own client asks
        again, and so does this. What may have been done is not sent twice.
        """
        sent = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self.url + path, sent, headers)
        deadline = time.monotonic() + BUSY_SECONDS
        while True:
            try:
                with urllib.request.urlopen(request, timeout=BUSY_SECONDS / 2) as response:
                    return json.load(response)
            except TimeoutError:
                if body is not None or time.monotonic() > deadline:
                    raise
            except urllib.error.HTTPError as error:
                if error.code != http.client.SERVICE_UNAVAILABLE or time.monotonic() > deadline:
                    raise
            time.sleep(0.5)

    def program(self, name):
        """The program `server` or `worker`."""
        return BackgroundProgram(name, self.home / "labelmill")

    def pids(self):
        """The pids of the server and of the worker."""
        return [self.program(name).pid() for name in ("server", "worker")]
