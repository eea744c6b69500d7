"""What a run would do and cost: told beforehand, by looking alone, and true of the run that follows."""

import pytest
from servers.base import Endpoint, completion, error

from labelmill.errors import JobRefused
from labelmill.pipeline.forecast import asking_of, forecast
from labelmill.providers.table import price_of

TEXTS = [f"the {word} of day {number}" for number in range(10) for word in ("match", "market")]
PRICED = {"input_usd_per_mtok": 1.0, "output_usd_per_mtok": 2.0, "cached_input_usd_per_mtok": 0.5}


class Labeling(Endpoint):
    """A model that is always right."""

    def reply(self, call):
        """The right label."""
        return completion(call)


def tree_of(folder):
    """All that is in a folder, with when it was written."""
    return {path: path.stat().st_mtime_ns for path in folder.rglob("*")}


def test_a_forecast_is_what_the_run_then_does(world):
    """Texts, those known, those to ask: as many as the run asks, and after it none; nothing is asked or written before."""
    world.has([*TEXTS, TEXTS[0], None, ""])
    job = world.job(run={"max_cost_usd": 0.5})
    with Labeling() as server:
        before = tree_of(world.folder)
        found = forecast(job, server.base_url)
        assert (server.requests, tree_of(world.folder)) == (0, before)
        assert (found.files, found.rows, found.rows_empty) == (1, 23, 2)
        assert (found.texts, found.texts_known, found.asking.texts) == (20, 0, 20)
        record = world.run(server, run={"max_cost_usd": 0.5})
        assert record.texts_asked == found.asking.texts
        assert 0 < record.cost_usd < found.asking.max_cost_usd
        world.has([*TEXTS, "the match of tomorrow"])
        later = forecast(job, server.base_url)
        assert (later.texts, later.texts_known, later.asking.texts) == (21, 20, 1)
        world.wait_for_source()
        world.run(server)
        after = tree_of(world.folder)
        settled = forecast(job, server.base_url)
        assert (settled.files_settled, settled.texts, settled.asking.texts) == (1, 0, 0)
        assert tree_of(world.folder) == after
        assert server.requests == 21


def test_it_says_what_a_run_would_say_first(world):
    """Labels that are paid for and would be asked again, and how much of a budget is left."""
    world.has(TEXTS)
    with Labeling() as server:
        record = world.run(server)
        changed = world.job(
            labels={"sport": "any game", "money": "any deal"},
            run={"max_cost_usd_per_day": 0.01},
            price=PRICED,
        )
        found = forecast(changed, server.base_url)
    (notice,) = found.notices
    assert notice.startswith(
        "What is asked has changed since the last run (descriptions changed: sport, money)"
    )
    (limit,) = found.limits
    assert (limit.field, limit.limit_usd, limit.spent_usd) == ("max_cost_usd_per_day", 0.01, record.cost_usd)
    assert found.left_usd == pytest.approx(0.01 - record.cost_usd)


def test_a_zone_by_another_name_and_files_that_are_passed_over_are_told(job_of, write_texts, tmp_path):
    """What a run says when it opens is said beforehand too; the budget's lane is the one whose price is counted."""
    write_texts(TEXTS)
    write_texts(TEXTS, ".hidden.parquet")
    run = {"lane": "auto", "deadline": "08:00", "deadline_timezone": "Asia/Beijing"}
    found = forecast(
        job_of(source={"path": f"{tmp_path}/*"}, run=run, output={"path": str(tmp_path / "o" / "ut")})
    )
    zone, hidden = sorted(found.notices, reverse=True)
    assert zone == "the time zone 'Asia/Beijing' is called 'Asia/Shanghai', and is taken for it"
    assert "'.hidden.parquet'" in hidden
    assert found.base_url is None
    assert found.price["input_usd_per_mtok"] == 0.075


def test_a_wrong_key_is_found_and_an_unknown_price_is_not_zero(world):
    """The free request tells of the key; what nobody knows the price of has no cost."""
    world.has(TEXTS)
    with Labeling() as server:
        job = world.job(model={"name": "nobody-knows-this-model"})
        assert (forecast(job, server.base_url).asking.cost_usd, forecast(job, server.base_url).price) == (
            None,
            None,
        )
    with Labeling() as server:
        server.models = error(401, "Incorrect API key provided.", code="invalid_api_key")
        with pytest.raises(JobRefused, match="did not accept the key"):
            forecast(world.job(), server.base_url)


def test_a_ledger_that_a_run_would_refuse_is_refused(world):
    """A part that was cut off holds what was paid: it is named beforehand, whichever task it is of."""
    world.has(TEXTS)
    broken = world.folder / "out" / "ledger" / "0123456789abcdef" / "20260101-000000-0000-00000.parquet"
    broken.parent.mkdir(parents=True)
    broken.write_bytes(b"PAR1 and no more")
    with Labeling() as server, pytest.raises(JobRefused, match="20260101-000000-0000-00000"):
        forecast(world.job(), server.base_url)


def test_the_cost_of_many_texts_is_told_from_some(job_of):
    """A part of the texts that is like the whole tells the same as all of them, and at most is never below about."""
    job = job_of()
    price = price_of(job.model)
    whole, part = asking_of(job, TEXTS * 50, 1000, price), asking_of(job, TEXTS, 1000, price)
    assert part.cost_usd == pytest.approx(whole.cost_usd)
    assert part.max_cost_usd == pytest.approx(whole.max_cost_usd)
    assert part.cost_usd < part.max_cost_usd
    assert part.max_requests == 1000 * (job.run.max_attempts + job.run.max_answers - 1)
