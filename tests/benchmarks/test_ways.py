"""The ways of doing the same job that are compared."""

import shutil

import pytest
from cheap_provider import cheap_provider
from measure import FailedError
from ways import CALL, CLIENT, COMMAND, CURATOR, PLAIN, Task, cost_of, texts_of

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(shutil.which("cc") is None, reason="the provider in C needs a compiler: gcc"),
]


@pytest.mark.parametrize("way", [PLAIN, CLIENT, CALL, COMMAND])
def test_each_way_labels_all_texts(way, tmp_path):
    """A figure is taken only where every text has its label."""
    with cheap_provider() as base_url:
        cost = cost_of(way, Task(base_url, texts=texts_of(20), in_flight=4), tmp_path)
    assert cost.cpu_seconds > 0
    assert cost.peak_mb > 20


@pytest.mark.parametrize("way", [PLAIN, CLIENT, CALL, COMMAND])
def test_no_way_is_fast_by_failing(way, tmp_path):
    """An answer that is no label, such as a server's that is not what it should be, ends the measurement."""
    with (
        cheap_provider(label="a poem") as base_url,
        pytest.raises(FailedError),
    ):
        cost_of(way, Task(base_url, texts=texts_of(4), in_flight=4), tmp_path)


def test_curator_is_missing_where_no_python_has_it(tmp_path, monkeypatch):
    """It is never looked for in Labelmill's own environment."""
    monkeypatch.delenv("LABELMILL_BENCH_CURATOR", raising=False)
    with pytest.raises(FailedError, match="no Python is named that has curator"):
        cost_of(CURATOR, Task("http://127.0.0.1:1/v1", texts=["a text"], in_flight=1), tmp_path)
