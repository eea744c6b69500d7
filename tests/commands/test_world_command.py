"""`labelmill run` against endpoints as people have them, as a person sees it: the exit code, and a terminal of 80 columns."""

import json
from dataclasses import dataclass, field

import pytest
from servers.base import Endpoint, completion, error
from servers.billing import Dearer
from servers.breaking_off import BreakingOff
from servers.flagging import WORD, Flagging, refusals
from servers.quota import Quota, exhausted
from servers.restarting import CLOSED, Restarting
from servers.slots import Slots, too_many
from servers.thinking import Thinking, ThinkingTooLong
from servers.web_page import WebPage

TEXTS = [f"the {word} of day {number}" for number in range(20) for word in ("match", "market")]
FLAGGED = [*TEXTS[:7], f"{TEXTS[7]}, {WORD}", *TEXTS[8:]]
STRICT = {"max_failed_fraction": 0.05}


class WrongKey(Endpoint):
    """A provider that doesn't know the key, and says so to the request that is free."""

    def __init__(self):
        super().__init__()
        self.models = error(401, "Incorrect API key provided: sk-…cdef.", code="invalid_api_key")


class Wrong(Endpoint):
    """A model that knows another game."""

    def reply(self, call):
        """No label."""
        return completion(call, "cricket")


@dataclass(frozen=True)
class Situation:
    """An endpoint, a dataset and a job, and how the run ends: its code, rows by status, and words it says.

    `requests` are those that the endpoint gets, where they don't depend on the moment; `again` those of a second run.
    A record also counts the connections that were refused as requests, `most_refused` at most.
    """

    server: object
    code: int
    rows: dict
    says: tuple = ()
    texts: list = field(default_factory=lambda: TEXTS)
    sections: dict = field(default_factory=dict)
    arguments: tuple = ()
    requests: int | None = None
    again: int | None = None
    most_refused: int = 0


SITUATIONS = {
    "one text is flagged": Situation(
        lambda: Flagging(refusals()["OpenRouter's 403"]),
        code=0,
        rows={"labeled": 39, "failed": 1},
        says=("403: Your chosen model requires moderation and your input was flagged",),
        texts=FLAGGED,
        again=0,
    ),
    "no money from the start": Situation(
        lambda: Quota(exhausted()["Zhipu"][0]),
        code=2,
        rows={"pending": 40},
        says=("您的账户已欠费，请充值后重试", "the provider refuses every request"),
    ),
    "no money half way": Situation(
        lambda: Quota(exhausted()["Moonshot"][0], enough=20),
        code=1,
        rows={"labeled": 20, "pending": 20},
        says=("please check your plan and billing details",),
    ),
    "a day's quota": Situation(
        lambda: Quota(exhausted()["a Retry-After of a day"][0], enough=20),
        code=1,
        rows={"labeled": 20, "pending": 20},
        says=("asks to wait 24 h", "Too many tokens today"),
    ),
    "answers break off": Situation(
        lambda: BreakingOff("insufficient_system_resource"),
        code=0,
        rows={"labeled": 40},
        texts=[f"text {number}, {label}" for number in range(20) for label in ("sport", "sport news")],
        sections={"labels": {"sport": "", "sport news": ""}},
        requests=54,
        again=0,
    ),
    "a restart": Situation(
        lambda: Restarting(CLOSED), code=0, rows={"labeled": 40}, again=0, most_refused=3 * 8
    ),
    "gone for good": Situation(
        lambda: Restarting(503, seconds=-1),
        code=1,
        rows={"labeled": 20, "pending": 20},
        says=("nothing got through for", "no healthy upstream"),
        sections={"run": {"patience_minutes": 0.05}},
    ),
    "four at once": Situation(
        lambda: Slots(4, refusal=too_many()["503"]), code=0, rows={"labeled": 40}, again=0
    ),
    "empty thoughts": Situation(
        lambda: Thinking("empty thoughts"), code=0, rows={"labeled": 40}, requests=40, again=0
    ),
    "too long thoughts": Situation(
        ThinkingTooLong,
        code=3,
        rows={"failed": 6},
        says=("raise model.max_tokens",),
        texts=TEXTS[:6],
        sections={"run": STRICT},
        requests=18,
        again=0,
    ),
    "wrong answers": Situation(
        Wrong,
        code=3,
        rows={"failed": 6},
        says=("Wrong answers", "'cricket'"),
        texts=TEXTS[:6],
        sections={"run": STRICT},
        requests=18,
        again=0,
    ),
    "a dearer model within a budget": Situation(
        Dearer,
        code=4,
        rows={},
        says=("gpt-4o-2024-08-06", "16.7 times as much"),
        arguments=("--max-cost-usd", "1"),
    ),
    "rows without words": Situation(
        Endpoint,
        code=0,
        rows={"labeled": 6, "empty": 4},
        texts=[*TEXTS[:6], "", " ", None, "\u3000"],
        sections={"run": STRICT},
        requests=6,
        again=0,
    ),
}


@pytest.mark.parametrize("situation", SITUATIONS.values(), ids=SITUATIONS)
def test_each_situation_ends_right_and_says_why(world, situation):
    """Code, rows and bill are right; a terminal shows the cause in lines that end between words; it asks nothing twice."""
    world.has(situation.texts)
    with situation.server() as server:
        code, lines = world.terminal(server, *situation.arguments, **situation.sections)
        shown = " ".join(lines)
        record = world.written()
        assert code == situation.code, shown
        rows = {name: getattr(record, f"rows_{name}") for name in situation.rows}
        assert rows == situation.rows
        assert "Traceback" not in shown
        # A line may end between any two Chinese characters.
        said = "".join(shown.split())
        for words in situation.says:
            assert "".join(words.split()) in said
        summary = lines[next(at for at, line in enumerate(lines) if line.startswith("test: ")) :]
        # Paths and commands stay on one line, to be copied.
        paths = ("labels ", "report ", "failed  /", "  ")
        assert all(len(line) <= 80 for line in summary if not line.startswith(paths))
        assert situation.requests in {None, server.requests}
        assert 0 <= record.requests - server.requests <= situation.most_refused
        assert (record.input_tokens, record.output_tokens) == (server.input_tokens, server.output_tokens)
        if situation.again is not None:
            before = server.requests
            world.run(server, **situation.sections)
            assert server.requests - before == situation.again


def test_a_wrong_key_is_found_before_anything_is_asked(world):
    """One free request: exit 2, the provider's words, the key hidden, nothing asked and nothing written."""
    world.has(TEXTS)
    with WrongKey() as server:
        code, lines = world.terminal(server)
        shown = " ".join(" ".join(lines).split())
        assert (code, server.requests) == (2, 0)
        assert "Incorrect API key provided" in shown
        assert "OPENAI_API_KEY" in shown
        assert "Traceback" not in shown
        assert not (world.folder / "out" / "labeled").exists()


def test_an_address_that_leads_to_a_website_is_told(world):
    """Exit 2 with the hint, and nothing is spent."""
    world.has(TEXTS)
    with WebPage() as server:
        code, lines = world.terminal(server)
        assert code == 2
        assert "base_url should end in /v1" in " ".join(" ".join(lines).split())
        assert server.requests <= 10 + 2 * 8


def test_a_servers_default_of_retries_does_not_hide_how_a_run_ended(world):
    """With PREFECT_FLOWS_DEFAULT_RETRIES=1 too many failures are still exit code 3, and the flow runs once."""
    world.has(TEXTS[:6])
    with Wrong() as server:
        done = world.command(server, environment={"PREFECT_FLOWS_DEFAULT_RETRIES": "1"}, run=STRICT)
        assert done.returncode == 3, done.stderr
        assert "cricket" in done.stdout
        assert server.requests == 18


def test_a_record_is_printed_in_any_encoding(world):
    """--json on a terminal that knows ASCII only ends with the record, whatever the provider said."""
    world.has(TEXTS)
    with Quota(exhausted()["Zhipu"][0], enough=20) as server:
        done = world.command(server, "--json", environment={"PYTHONIOENCODING": "ascii"})
        record = json.loads(done.stdout)
        assert (done.returncode, record["status"]) == (1, "failed")
        assert "您的账户已欠费" in record["message"]
        assert record["requests"] == server.requests


def test_nothing_is_asked_again_in_silence(world):
    """A changed description says how many known texts are asked again and for about how much; a moved address asks none."""
    world.has(TEXTS)
    with Endpoint() as server, Endpoint() as moved:
        world.run(server)
        assert world.run(moved).requests == 0
        code, lines = world.terminal(server, labels={"sport": "any game", "money": "bank, market, price"})
        shown = " ".join(" ".join(lines).split())
        assert (code, server.requests) == (0, 80)
        assert "40 " in shown[: shown.index("test: ")]
        (notice,) = world.written().notices
        assert "40" in notice
        assert "$" in notice


def test_a_wrong_key_is_found_out_by_one_free_request_and_leaves_nothing(world):
    """Exit code 2, the provider's words, no label asked for, and no folder made."""
    world.has(TEXTS)
    with Endpoint() as server:
        server.models = error(401, "Incorrect API key provided", code="invalid_api_key")
        done = world.command(server)
        assert (done.returncode, server.requests) == (2, 0)
        assert "Incorrect API key provided" in done.stderr
        assert "OPENAI_API_KEY" in done.stderr
        assert "Traceback" not in done.stderr
        assert not (world.folder / "out").exists()


def test_a_servers_default_of_retries_does_not_hide_the_ending(world):
    """With PREFECT_FLOWS_DEFAULT_RETRIES=1 a run that fails ends once, with its own exit code and the provider's words."""
    world.has(TEXTS)
    with Quota(error(402, "Insufficient Balance"), enough=10) as server:
        done = world.command(server, environment={"PREFECT_FLOWS_DEFAULT_RETRIES": "1"})
        assert done.returncode == 1
        assert "Insufficient Balance" in done.stdout
        assert len(list(world.folder.glob("out/runs/*"))) == 1
        world.assert_bill_is(server)


def test_a_changed_task_says_what_it_asks_again_and_a_moved_address_asks_nothing(world):
    """A new description asks all known texts anew, and says how many and for how much before; another address is no change."""
    world.has(TEXTS[:20])
    with Endpoint() as server, Endpoint() as moved:
        world.run(server)
        again = world.run(moved, model={"base_url": moved.base_url})
        assert (moved.requests, again.rows_reused, again.notices) == (0, 20, [])
        labels = {"sport": "matches and teams", "money": "bank, market, price"}
        changed = world.run(moved, labels=labels)
        assert (moved.requests, changed.rows_labeled) == (20, 20)
        (notice,) = changed.notices
        assert "descriptions changed: sport" in notice
        assert "this means asking 20 texts that already have a label again, for about $" in notice
        done = world.command(moved, "--json", labels={**labels, "other": ""})
        assert done.returncode == 0
        assert done.stderr.index("labels added: other") < done.stderr.index("rows in the dataset")
