"""One practice provider for the whole folder, made new for every test."""

from collections.abc import Callable, Iterator

import openai
import pytest
from servers.practice import PracticeServer, start_practice

from practice import PracticeSettings

SYSTEM = "Answer with exactly one of these labels:\n- 技术: 软件、芯片\n- 体育: 足球、比赛"

LONG_LABELS = "Answer with exactly one of these labels:\n- 技术新闻: 软件、芯片\n- 体育新闻: 足球、比赛"


@pytest.fixture
def long_labels() -> str:
    """Instructions whose labels are two tokens each."""
    return LONG_LABELS


@pytest.fixture(scope="session")
def running_practice() -> Iterator[PracticeServer]:
    """A server that lives as long as the tests."""
    with start_practice(PracticeSettings()) as server:
        yield server


@pytest.fixture
def practice(running_practice: PracticeServer) -> PracticeServer:
    """The server as if just started."""
    running_practice.configure(PracticeSettings())
    running_practice.reset()
    return running_practice


@pytest.fixture
def client(practice: PracticeServer) -> Iterator[openai.OpenAI]:
    """OpenAI's own client, which retries nothing."""
    with openai.OpenAI(base_url=practice.base_url, api_key="practice", max_retries=0, timeout=10) as opened:
        yield opened


@pytest.fixture
def ask(client: openai.OpenAI) -> Callable:
    """Ask for the label of one text."""

    def asked(text: str = "足球比赛", system: str = SYSTEM, **options):
        messages = [{"role": "system", "content": system}, {"role": "user", "content": text}]
        return client.chat.completions.create(**{"model": "m", "messages": messages} | options)

    return asked
