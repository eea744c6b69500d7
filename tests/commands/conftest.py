"""What the tests of whole runs against small servers share."""

import fcntl
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from preloaded import Preloaded, can_fork, popen_of
from terminals import in_terminal
from world import KEY, World

from labelmill.live import guard

LABELMILL = Path(sys.executable).parent / "labelmill"


@pytest.fixture(scope="session", autouse=True)
def _preloaded():
    """Fork the commands that tests start from a process that has imported what they need."""
    if not can_fork():
        yield
        return
    preloaded = Preloaded()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(subprocess, "Popen", popen_of(preloaded))
        yield
    preloaded.close()


@pytest.fixture
def demo_alone():
    """The demo has one folder: tests of it wait for each other, whichever processes share out the tests."""
    with (Path(os.environ["PREFECT_HOME"]) / "demo-alone").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


class CommandWorld(World):
    """A world whose runs are commands too, each in a process of its own."""

    def __init__(self, folder, job_of, server_told):
        super().__init__(folder, job_of)
        self._server_told = server_told

    def command(self, server, *arguments, environment=(), **sections):
        """Run `labelmill run` in a process of its own; its output goes into pipes."""
        return subprocess.run(
            self._words(server, *arguments, **sections),
            cwd=self.folder,
            env=self._environment(environment),
            capture_output=True,
            text=True,
            timeout=180,
            check=False,
        )

    def terminal(self, server, *arguments, environment=(), **sections):
        """Run `labelmill run` in a terminal of 80 columns; returns its exit code and the lines it leaves there."""
        return in_terminal(
            self._words(server, *arguments, **sections), 80, self.folder, self._environment(environment)
        )

    def _words(self, server, *arguments, **sections):
        path = _job_file(self.folder, self.job(**sections))
        return [LABELMILL, "run", path, "--model-base-url", server.base_url, *arguments]

    def _environment(self, more):
        return {**os.environ, **self._server_told, "OPENAI_API_KEY": KEY, **dict(more)}


@pytest.fixture(params=["on a server", "in its process"])
def server_told(request):
    """What the environment of a run says of a Prefect server: where it is, and that there is none."""
    on_server = request.param == "on a server"
    return {"PREFECT_API_URL": request.getfixturevalue("prefect_server")} if on_server else {}


@pytest.fixture
def world(tmp_path, job_of, server_told, monkeypatch):
    """A job in an empty folder, whose requests are sent again after a fraction of the usual waits."""
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    monkeypatch.setattr(guard, "FIRST_WAIT_SECONDS", 0.02)
    return CommandWorld(tmp_path, job_of, server_told)


def _job_file(folder, job):
    """A job as a file: what JSON has of strings, numbers and switches is TOML too."""
    values = job.model_dump(mode="json", exclude_unset=True)
    sections = {name: fields for name, fields in values.items() if isinstance(fields, dict)}
    lines = _toml_of({name: value for name, value in values.items() if name not in sections})
    for name, fields in sections.items():
        lines += [f"[{name}]", *_toml_of(fields)]
    path = folder / "job.toml"
    path.write_text("\n".join(lines))
    return path


def _toml_of(fields):
    return [f"{json.dumps(name)} = {json.dumps(value)}" for name, value in fields.items()]
