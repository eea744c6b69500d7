"""What can be wrong with a lane: found before anything is spent, each with a way out."""

import sys
import zoneinfo
from datetime import UTC, datetime
from zoneinfo import ZoneInfo, available_timezones

import pytest

from labelmill.batch.deadline import next_deadline
from labelmill.check.job import checked_job
from labelmill.installing import installing
from labelmill.job.file import draft_of_file

OWN_PRICE = "[price]\ninput_usd_per_mtok = 1.0\noutput_usd_per_mtok = 1.0\n"
UNKNOWN = ('"gpt-4o-mini"', '"nobody-knows-this-model"')


@pytest.fixture(autouse=True)
def _no_address(monkeypatch):
    """No endpoint but what a test names."""
    monkeypatch.delenv("OPENAI_BASE_URL", raising=False)


def run_of(**settings):
    """A job file's run section."""
    lines = (f"{name} = {value!r}" for name, value in settings.items())
    return "[run]\n" + "\n".join(lines) + "\n"


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"lane": "live"},
        {"lane": "batch"},
        {"lane": "batch", "retry_lane": "live"},
        {"lane": "auto", "deadline": "08:00"},
        {"lane": "auto", "deadline": "23:59", "deadline_timezone": "Asia/Shanghai"},
        {"lane": "batch", "max_cost_usd": 1.0},
    ],
)
def test_a_lane_that_can_be_kept_is_no_mistake(job_file, settings):
    """Every lane, with what it needs."""
    assert checked_job(draft_of_file(job_file(more=run_of(**settings))))


def test_the_lane_auto_needs_a_deadline(job_file, mistakes_in):
    """Without one it would not know when to stop waiting."""
    assert mistakes_in(job_file(more=run_of(lane="auto"))) == {
        "run.deadline": 'the lane "auto" has to know by when a run must be finished; add a time of day such as '
        'deadline = "08:00", or set lane = "batch"'
    }


@pytest.mark.parametrize("lane", ["live", "batch"])
def test_a_deadline_that_nobody_would_keep_is_refused(job_file, mistakes_in, lane):
    """Rather than ignored: who wrote it counts on it."""
    assert mistakes_in(job_file(more=run_of(lane=lane, deadline="08:00"))) == {
        "run.deadline": f'only the lane "auto" keeps a deadline, and the lane is "{lane}"; set lane = "auto", or take it out'
    }


def test_an_address_that_nobody_goes_to_is_refused(job_file, mistakes_in):
    """Whoever names a cluster wants it used."""
    assert mistakes_in(job_file(more=run_of(runner_address="tcp://scheduler:8786"))) == {
        "run.runner_address": 'an address is of use to a cluster only, and the runner is "local"; set runner = "dask", or take '
        "it out"
    }


def test_a_cluster_and_processes_of_this_machine_do_not_go_together(job_file, mistakes_in):
    """The workers of the cluster ask, and nobody else."""
    assert mistakes_in(job_file(more=run_of(runner="dask", processes=2))) == {
        "run.processes": 'with the runner "dask" the workers ask, and found processes = 2, which are of this machine; say how '
        "many workers ask with workers, and take processes out"
    }


def test_without_dask_its_runner_is_refused(job_file, mistakes_in, monkeypatch):
    """The sentence says how to have it."""
    monkeypatch.setitem(sys.modules, "distributed", None)
    assert mistakes_in(job_file(more=run_of(runner="dask"))) == {
        "run.runner": f'the runner "dask" needs Dask, which is not installed here: {installing("distributed")}'
    }


@pytest.mark.parametrize("deadline", ["8:00", "24:00", "08:60", "08:00:00", "8 am", ""])
def test_a_deadline_is_a_time_of_day(job_file, mistakes_in, deadline):
    """What isn't one gets a sentence with an example."""
    assert mistakes_in(job_file(more=run_of(lane="auto", deadline=deadline))) == {
        "run.deadline": f'found {deadline!r}, expected a time of day such as "08:00"'
    }


@pytest.mark.parametrize(
    ("zone", "hint"),
    [
        ("Asia/Shanghi", "did you mean 'Asia/Shanghai'?"),
        ("asia/tokio", "did you mean 'Asia/Tokyo'?"),
        ("Berlin", "did you mean 'Europe/Berlin'?"),
        ("Asia", None),
        ("../UTC", None),
        ("/etc/localtime", None),
        ("", "expected a name such as 'Asia/Shanghai' or 'UTC'"),
        ("北冰洋", "expected a name such as 'Asia/Shanghai' or 'UTC'"),
        ("Asia/Mumbai", "did you mean 'Asia/Kolkata'?"),
    ],
)
def test_an_unknown_time_zone_is_named_with_the_nearest(job_file, mistakes_in, zone, hint):
    """Whatever it is that stands there: a typing error, a city, a folder of zones, a path."""
    more = run_of(lane="auto", deadline="08:00", deadline_timezone=zone)
    (sentence,) = mistakes_in(job_file(more=more)).values()
    assert sentence.startswith(f"there is no time zone {zone!r}; ")
    assert hint is None or sentence.endswith(hint)


@pytest.mark.parametrize("zone", ["UTC", "Asia/Shanghai", "Etc/GMT+8"])
def test_known_time_zones_are_taken(job_file, zone):
    """As the time zone database names them."""
    assert zone in available_timezones()
    more = run_of(lane="auto", deadline="08:00", deadline_timezone=zone)
    assert checked_job(draft_of_file(job_file(more=more))).run.deadline_timezone == zone


def test_a_machine_without_a_time_zone_database_still_knows_utc(job_file, mistakes_in, monkeypatch):
    """Slim images have none; for another zone it is said what to install."""
    database = tuple(zoneinfo.TZPATH)
    ZoneInfo.clear_cache()
    zoneinfo.reset_tzpath(())
    for name in ["tzdata", *(name for name in sys.modules if name.startswith("tzdata."))]:
        monkeypatch.setitem(sys.modules, name, None)
    try:
        assert checked_job(draft_of_file(job_file(more=run_of(lane="auto", deadline="08:00"))))
        assert next_deadline(datetime(2026, 3, 1, tzinfo=UTC), "08:00", "UTC").hour == 8
        more = run_of(lane="auto", deadline="08:00", deadline_timezone="Asia/Shanghai")
        assert mistakes_in(job_file(more=more)) == {
            "run.deadline_timezone": "there is no time zone 'Asia/Shanghai'; "
            f"this machine has no time zone database; install one with: {installing('tzdata')}"
        }
    finally:
        zoneinfo.reset_tzpath(database)
        ZoneInfo.clear_cache()


@pytest.mark.parametrize("lane", ["batch", "auto"])
def test_a_budget_on_batches_needs_their_price(job_file, mistakes_in, lane):
    """The live lane's price, known or the job's own, says nothing of what a batch costs."""
    more = run_of(lane=lane, max_cost_usd_per_day=1.0, **({"deadline": "08:00"} if lane == "auto" else {}))
    assert mistakes_in(job_file(UNKNOWN, more=more)) == {
        "run.max_cost_usd_per_day": "a budget can't be kept, since the price of 'nobody-knows-this-model' is unknown; "
        "add a [price] section with input_usd_per_mtok, output_usd_per_mtok and batch_fraction"
    }
    assert mistakes_in(job_file(UNKNOWN, more=more + OWN_PRICE)) == {
        "run.max_cost_usd_per_day": f"a budget can't be kept on the lane {lane!r}, since the Batch API's price of "
        "'nobody-knows-this-model' is unknown; add batch_fraction to [price] (0.5 with most providers), "
        'or set lane = "live"'
    }
    assert checked_job(draft_of_file(job_file(UNKNOWN, more=more + OWN_PRICE + "batch_fraction = 0.5\n")))
    without_budget = run_of(lane="batch") + OWN_PRICE
    assert checked_job(draft_of_file(job_file(UNKNOWN, more=without_budget)))


def test_a_listed_model_without_a_batch_price_is_told_apart(job_file, mistakes_in):
    """Its live price is known, and is not passed off as the batch lane's."""
    groq = 'provider = "openai"\nbase_url = "https://api.groq.com/openai/v1"\napi_key_env = "PATH"'
    path = job_file(
        ('provider = "practice"', groq),
        ('"gpt-4o-mini"', '"llama-3.3-70b-versatile"'),
        more=run_of(lane="batch", max_cost_usd=1.0),
    )
    (sentence,) = mistakes_in(path).values()
    assert "add a [price] section with batch_fraction (0.5 with most providers)" in sentence


@pytest.mark.parametrize(("lane", "is_needed"), [("live", False), ("batch", True)])
def test_an_adapter_that_is_not_installed_is_asked_for(job_file, mistakes_in, monkeypatch, lane, is_needed):
    """Only where the lane uses it."""
    for name in [name for name in sys.modules if name.split(".")[0] == "langasync"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "langasync", None)
    path = job_file(more=run_of(lane=lane) + '[batch]\nadapter = "langasync"\n')
    if not is_needed:
        assert checked_job(draft_of_file(path))
        return
    (found,) = mistakes_in(path).items()
    assert found[0] == "batch.adapter"
    assert "-m pip install langasync==0.2.3" in found[1]


@pytest.mark.parametrize(("setting", "unit"), [("max_bytes", "bytes"), ("max_queue_tokens", "tokens")])
def test_a_limit_that_no_text_can_keep_is_refused(job_file, mistakes_in, setting, unit):
    """The prompt alone is larger; on the live lane it is nobody's concern."""
    more = f"[batch]\n{setting} = 10\n"
    (found,) = mistakes_in(job_file(more=run_of(lane="batch") + more)).items()
    assert found[0] == f"batch.{setting}"
    assert found[1].startswith("found 10, and the prompt alone takes ")
    assert found[1].endswith(f" {unit}: no text fits into a batch")
    assert checked_job(draft_of_file(job_file(more=more)))
    enough = f"[batch]\n{setting} = 10000\n"
    assert checked_job(draft_of_file(job_file(more=run_of(lane="batch") + enough)))


def test_mistakes_of_a_lane_come_with_all_others(job_file, mistakes_in):
    """A prompt that can't be read doesn't hide them, nor is it tried."""
    more = (
        run_of(lane="auto", deadline_timezone="Mars") + '[batch]\nmax_bytes = 1\n[prompt]\nuser = "{text"\n'
    )
    found = mistakes_in(job_file(('text = "text"', 'text = "titel"'), more=more))
    assert found.keys() == {"prompt.user", "source.text", "run.deadline", "run.deadline_timezone"}
