"""kill -9 at every step of submit and harvest: no batch is paid twice, and none is lost."""

import itertools
import json
import os
import signal
import time
import urllib.request
from pathlib import Path

import polars as pl
import pytest
from servers.practice import start_practice

from commands.costs import costs_of
from labelmill.job.file import draft_of_file
from labelmill.store.row_key import row_key_of
from practice import PracticeSettings
from practice.odd_answers import UNTOLD

pytestmark = pytest.mark.slow

TEXTS = ["the match", "the bank", "a team", "a market", "a football match"]
FEWEST_STEPS = 12
ODD = {"odd_answers": 0.6, "seed": 2500}
"""Two labels behind thoughts, one with an end mark, two answers whose tokens are text or zeros: all of them are right."""
ODD_AND_ASKED_AGAIN = {"odd_answers": 0.6, "seed": 179}
"""One answer without choices, whose text goes into a second batch; one that tells no tokens, two labels in odd forms."""
CHUNKS = 9
"""Enough that their parts are put together when a run ends."""
JOB = """
name = "crash"
[source]
path = "source.parquet"
text = "text"
[labels]
sport = "match, team"
money = "bank, market"
[model]
provider = "practice"
name = "gpt-4o-mini"
max_tokens = 100
[run]
lane = "{}"
rows_per_chunk = 1
poll_seconds = 0.05
[batch]
max_requests = {}
[output]
path = "out"
"""


@pytest.fixture(scope="module")
def provider():
    """A practice provider of this file's own, which lives on over the kills."""
    with start_practice() as server:
        yield server


class Crashing:
    """A dataset and a provider, and runs of its job that die when they are told to."""

    def __init__(self, provider, mortals, folders):
        self.provider = provider
        self._mortals = mortals
        self._folders = folders
        self._number = itertools.count()
        self.folder = None

    def begin(self, settings=None, rows_per_batch=100, texts=TEXTS, lane="batch"):
        """A new dataset, and a provider that knows nothing of it."""
        self.provider.configure(settings or PracticeSettings(**ODD))
        self.provider.reset()
        self.folder = self._folders / str(next(self._number))
        self.folder.mkdir()
        pl.DataFrame({"id": range(len(texts)), "text": texts}).write_parquet(self.folder / "source.parquet")
        (self.folder / "job.toml").write_text(JOB.format(lane, rows_per_batch))

    def start(self, death=None):
        """Start a run; returns its process id."""
        return self._mortals.start(self.folder, self.provider.base_url, death)

    def wait(self):
        """The exit code of the run that was started; -9 where it was killed."""
        return self._mortals.wait()

    def run(self, death=None):
        """Run to its end, or to its death."""
        self.start(death)
        return self.wait()

    def is_done(self, step):
        """Whether the provider has done what it was asked to: a file or a batch is there. A look leaves nothing."""
        with urllib.request.urlopen(f"{self.provider.base_url}/files") as response:
            files = json.load(response)["data"]
        return {"upload": files, "create": self.provider.totals()["batches"]}.get(step, True)

    def records(self):
        """All that is kept of batches."""
        return [json.loads(path.read_bytes()) for path in self.folder.glob("out/batches/*/batch.json")]

    def assert_paid_once_and_all_labeled(self):
        """Every row has its label, the provider was paid once for each right answer, and the bills are its bill."""
        said = (self.folder / "stderr.txt").read_text()
        record = json.loads((self.folder / "stdout.txt").read_text())
        assert (record["status"], record["rows_labeled"], record["texts_out"]) == (
            "completed",
            len(TEXTS),
            0,
        ), said
        labeled = pl.read_parquet(self.folder / "out/labeled/source.parquet")
        assert labeled.select("id", "label_status").rows() == [(n, "ok") for n in range(len(TEXTS))]
        totals = self.provider.totals()
        assert totals["batch_texts_paid_twice"] == totals["requests"] == 0
        in_vain = sum(totals["odd_answers"].values()) - sum(totals["odd_answers_right"].values())
        assert totals["batch_rows_billed"] == len(TEXTS) + in_vain
        ledger = pl.read_parquet(self.folder / "out/ledger/*/*.parquet")
        assert ledger["requests"].sum() == totals["batch_rows_billed"]
        labels = ledger.filter(pl.col("label").is_not_null())
        assert labels["row_key"].n_unique() == labels.height == ledger["row_key"].n_unique() == len(TEXTS)
        runs = [json.loads(path.read_bytes()) for path in self.folder.glob("out/runs/*/run.json")]
        assert {run["status"] for run in runs} <= {"failed", "cancelled", "completed"}
        told = [
            totals[f"batch_{tokens}"] - totals[f"batch_unseen_{tokens}"]
            for tokens in ("input_tokens", "output_tokens")
        ]
        assert [sum(run[tokens] for run in runs) for tokens in ("input_tokens", "output_tokens")] == told
        known = float(ledger["cost_usd"].cast(pl.Float64).sum())
        assert known == pytest.approx((told[0] * 0.075 + told[1] * 0.3) / 1e6, rel=1e-9)
        untold = sum(totals["odd_answers"].get(kind, 0) for kind in UNTOLD)
        assert sum(run["requests_without_usage"] for run in runs) == untold
        assert bool(sum(run["unseen_usd"] for run in runs)) == bool(untold)
        costs = [run["cost_usd"] for run in runs]
        assert (None in costs) == bool(untold)
        made = [each["batch_id"] for each in self.records() if each["batch_id"] is not None]
        assert len(set(made)) == len(made) == totals["batches"]
        assert {each["step"] for each in self.records()} <= {"harvested", "dropped"}
        left = {path.name for path in self.folder.glob("out/batches/*/*")}
        assert left == {"batch.json"}


@pytest.fixture(scope="module")
def driver(provider, mortals, tmp_path_factory):
    """What all tests of this file share: the provider, and the process that its runs are forked from."""
    return Crashing(provider, mortals, tmp_path_factory.mktemp("crash"))


@pytest.mark.parametrize("moment", ["before", "after"])
def test_a_kill_at_any_step_is_made_good_by_the_next_run(driver, moment):
    """Killed at its first step, at its second, and so on until a run gets through: the next run always ends well."""
    for count in itertools.count(1):
        driver.begin()
        if driver.run((moment, count)) != -signal.SIGKILL:
            break
        assert driver.run() == 0
        driver.assert_paid_once_and_all_labeled()
    assert count > FEWEST_STEPS
    driver.assert_paid_once_and_all_labeled()


@pytest.mark.parametrize("moment", ["before", "after"])
def test_kills_in_a_row_leave_nothing_behind(driver, moment):
    """A run that dies at its first step, the next at its second, and so on: the one that gets through ends well."""
    driver.begin(PracticeSettings(**ODD_AND_ASKED_AGAIN), rows_per_batch=2)
    for count in itertools.count(1):
        code = driver.run((moment, count))
        if code != -signal.SIGKILL:
            break
    assert (code, count > 5) == (0, True)
    driver.assert_paid_once_and_all_labeled()


@pytest.mark.parametrize("step", ["upload", "create", "retrieve", "content"])
def test_a_kill_while_an_answer_is_under_way_is_made_good_by_the_next_run(driver, step):
    """The provider has done what it was asked to, and the one who asked is killed before it hears of that."""
    driver.begin(PracticeSettings(batch_hold_seconds={step: 60}, **ODD))
    pid = driver.start()
    while not driver.provider.totals()["batch_calls"][step] or not driver.is_done(step):
        time.sleep(0.02)
    os.kill(pid, signal.SIGKILL)
    assert driver.wait() == -signal.SIGKILL
    driver.provider.configure(PracticeSettings(**ODD))
    assert driver.run() == 0
    assert driver.provider.totals()["batches"] == 1
    driver.assert_paid_once_and_all_labeled()


def test_ctrl_c_while_it_waits_publishes_and_leaves_the_batches_to_the_next_run(driver):
    """The run ends at once as `cancelled`, with all rows pending; the next one harvests what was out."""
    driver.begin(PracticeSettings(batch_seconds=3600, **ODD))
    pid = driver.start()
    while not driver.provider.totals()["batch_calls"]["retrieve"]:
        time.sleep(0.05)
    os.kill(pid, signal.SIGINT)
    assert driver.wait() == 1
    record = json.loads((driver.folder / "stdout.txt").read_text())
    assert (record["status"], record["rows_pending"], record["texts_out"]) == ("cancelled", *[len(TEXTS)] * 2)
    assert pl.read_parquet(driver.folder / "out/labeled/source.parquet")[
        "label_status"
    ].unique().to_list() == ["pending"]
    driver.provider.configure(PracticeSettings(**ODD))
    assert driver.run() == 0
    assert driver.provider.totals()["batches"] == 1
    driver.assert_paid_once_and_all_labeled()


@pytest.mark.parametrize(
    "death", [("before", 1), ("after", 1), ("after", 2), ("after", 1 + CHUNKS), ("before", 2 + CHUNKS)]
)
def test_a_kill_while_the_ledger_is_compacted_leaves_it_whole(driver, monkeypatch, death):
    """Before and after the rename, with one part taken away, with all, and alive: the run has ended, each answer is there once."""
    texts = [f"match {number}" for number in range(CHUNKS)]
    driver.begin(PracticeSettings(), texts=texts, lane="live")
    assert driver.run((*death, "compaction")) == (0 if death[1] > 1 + CHUNKS else -signal.SIGKILL)
    monkeypatch.chdir(driver.folder)
    job = draft_of_file(Path("job.toml")).job
    costs = costs_of(job, "job.toml")["practice"]
    (run,) = (json.loads(path.read_bytes()) for path in Path("out/runs").glob("*/run.json"))
    assert (run["status"], run["rows_labeled"], run["requests"]) == ("completed", len(texts), len(texts))
    assert costs["total"]["requests"] == driver.provider.totals()["requests"] == len(texts)
    assert costs["total"]["cost_usd"] == pytest.approx(run["cost_usd"])
    assert driver.run() == 0
    assert driver.provider.totals()["requests"] == len(texts)
    after = costs_of(job, "job.toml")["practice"]
    assert [after[name] for name in ("total", "days")] == [costs[name] for name in ("total", "days")]
    (part,) = Path("out/ledger").glob("*/*")
    assert sorted(pl.read_parquet(part)["row_key"]) == sorted(row_key_of(text) for text in texts)
