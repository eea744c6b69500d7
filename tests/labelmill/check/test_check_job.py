"""The check of a whole job: dataset, wording, key and budget, before anything is spent."""

import sys

import pytest

from labelmill.check.job import check_job, checked_job
from labelmill.errors import JobRefused
from labelmill.job.file import draft_of_file


@pytest.fixture(autouse=True)
def _no_address(monkeypatch):
    """No endpoint but what a test names."""
    monkeypatch.delenv("OPENAI_BASE_URL", raising=False)


def test_a_good_job_is_handed_back(job_file, tmp_path):
    """A job without a mistake comes out as it was read, and the check leaves nothing behind."""
    path = job_file()
    before = sorted(tmp_path.iterdir())
    draft = draft_of_file(path)
    assert checked_job(draft) is draft.job
    assert sorted(tmp_path.iterdir()) == before


def test_a_job_that_came_as_a_parameter_is_checked_alike(job_of, tmp_path):
    """A job from the Prefect UI gets the sentences a job file gets, under the job's name."""
    job = job_of(name="from the form", labels={"only": ""})
    with pytest.raises(JobRefused) as refused:
        check_job(job)
    assert str(refused.value).splitlines() == [
        "from the form, labels: there must be two labels or more, and there is only 'only'",
        f"from the form, source.path: there is no file or folder '{tmp_path}/source.parquet'",
    ]


def test_a_job_that_came_as_a_parameter_holds_no_key_either(job_of, write_texts):
    """What a form or a deployment hands over is read for keys as a job file is, and they are not shown."""
    write_texts(["a"])
    job = job_of(prompt={"system": "use sk-abcdef1234567890abcdef for {labels}"})
    with pytest.raises(JobRefused) as refused:
        check_job(job)
    (mistake,) = refused.value.mistakes
    assert mistake.where == f"{job.name}, prompt.system"
    assert mistake.sentence.startswith("a job must not hold a key")
    assert "sk-" not in str(refused.value)


def test_a_missing_key_is_named_with_a_way_out(job_file):
    """The sentence says which variable is missing, for which address, and how to try without."""
    path = job_file(('provider = "practice"', 'provider = "openai"'))
    with pytest.raises(JobRefused) as refused:
        checked_job(draft_of_file(path))
    (mistake,) = refused.value.mistakes
    assert mistake.where == "OPENAI_API_KEY"
    assert mistake.sentence == (
        f"{path} needs a key for https://api.openai.com/v1, and neither the environment nor .env has "
        'OPENAI_API_KEY; to try the job without one, set model.provider = "practice"'
    )


def test_another_variable_can_hold_the_key(job_file, monkeypatch):
    """The variable that the job names is the one that is looked at."""
    provider = 'provider = "openai"\napi_key_env = "MY_KEY"'
    path = job_file(('provider = "practice"', provider))
    monkeypatch.setenv("OPENAI_API_KEY", "not this one")
    with pytest.raises(JobRefused, match="MY_KEY"):
        checked_job(draft_of_file(path))
    monkeypatch.setenv("MY_KEY", "this one")
    assert checked_job(draft_of_file(path)).model.api_key_env == "MY_KEY"


@pytest.mark.parametrize("address", ["http://127.0.0.1:9/v1", "http://localhost:9/v1", "http://[::1]:9/v1"])
def test_this_machines_own_models_need_no_key(job_file, address):
    """An endpoint on this machine is asked without a key."""
    path = job_file(('provider = "practice"', f'provider = "openai"\nbase_url = "{address}"'))
    assert checked_job(draft_of_file(path)).model.base_url == address


def test_the_command_lines_address_goes_before_the_jobs(job_file):
    """Whether a key is needed is decided for the address that will be asked."""
    path = job_file(('provider = "practice"', 'provider = "openai"\nbase_url = "https://example.com/v1"'))
    with pytest.raises(JobRefused, match=r"needs a key for https://example\.com/v1"):
        checked_job(draft_of_file(path))
    assert checked_job(draft_of_file(path), "http://127.0.0.1:9/v1")


@pytest.mark.parametrize("option", [True, False])
@pytest.mark.parametrize(
    ("address", "sentence"),
    [
        ("https://me:hunter2@example.com/v1", "an address must not hold a user name or a password; put the key into"),
        ("https://hunter2@example.com/v1", "an address must not hold a user name or a password; put the key into"),
        ("127.0.0.1:8000/v1", "found '127.0.0.1:8000/v1', expected an address such as 'http://127.0.0.1:11434/v1'"),
        ("http://[::1", "found 'http://[::1', expected an address such as"),
        ("ftp://example.com", "found 'ftp://example.com', expected an address such as"),
    ],
)  # fmt: skip
def test_an_address_from_outside_is_checked_too(job_file, monkeypatch, option, address, sentence):
    """An address from the command line or the environment gets a sentence, which never holds a password."""
    path = job_file(('provider = "practice"', 'provider = "openai"'))
    if not option:
        monkeypatch.setenv("OPENAI_BASE_URL", address)
    with pytest.raises(JobRefused) as refused:
        checked_job(draft_of_file(path), address if option else None)
    (mistake,) = refused.value.mistakes
    assert mistake.where == "--model-base-url or OPENAI_BASE_URL"
    assert mistake.sentence.startswith(sentence)
    assert "hunter2" not in str(refused.value)


@pytest.mark.parametrize("limit", ["max_cost_usd", "max_cost_usd_per_day", "max_cost_usd_per_month"])
def test_a_budget_needs_a_price(job_file, mistakes_in, limit):
    """A budget without a known price can't be kept, and is refused with the way to give one."""
    unknown = ('"gpt-4o-mini"', '"nobody-knows-this-model"')
    more = f"[run]\n{limit} = 1.0\n"
    assert mistakes_in(job_file(unknown, more=more)) == {
        f"run.{limit}": (
            "a budget can't be kept, since the price of 'nobody-knows-this-model' is unknown; "
            "add a [price] section with input_usd_per_mtok and output_usd_per_mtok"
        )
    }
    price = "[price]\ninput_usd_per_mtok = 0\noutput_usd_per_mtok = 0\n"
    assert checked_job(draft_of_file(job_file(unknown, more=more + price)))
    assert checked_job(draft_of_file(job_file(unknown)))


def test_mistakes_of_every_kind_come_together(job_file):
    """A missing key, an unknown price, a missing column and a single label are one answer, not four."""
    path = job_file(
        ('provider = "practice"', 'provider = "openai"'),
        ('"gpt-4o-mini"', '"nobody-knows-this-model"'),
        ('text = "text"', 'text = "{title}"'),
        ('"money" = ""\n', ""),
        more="[run]\nmax_cost_usd = 1\n",
    )
    with pytest.raises(JobRefused) as refused:
        checked_job(draft_of_file(path))
    assert [mistake.where.removeprefix(f"{path}, ") for mistake in refused.value.mistakes] == [
        "labels",
        "source.text",
        "OPENAI_API_KEY",
        "run.max_cost_usd",
    ]
    assert len(str(refused.value).splitlines()) == 4


def test_a_refusal_is_its_sentences(job_file):
    """What the user reads is one line for each mistake, with the file and the field in front."""
    path = job_file(('"money" = ""\n', ""))
    with pytest.raises(JobRefused) as refused:
        checked_job(draft_of_file(path))
    assert (
        str(refused.value) == f"{path}, labels: there must be two labels or more, and there is only 'sport'"
    )


def test_an_adapter_that_is_not_installed_is_named_before_anything_is_spent(job_file, monkeypatch):
    """With the command that installs it, and the adapter that needs none."""
    for name in [name for name in sys.modules if name.split(".")[0] == "langasync"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "langasync", None)
    path = job_file(more='[run]\nlane = "batch"\n[batch]\nadapter = "langasync"\n')
    with pytest.raises(JobRefused) as refused:
        checked_job(draft_of_file(path))
    (mistake,) = refused.value.mistakes
    assert mistake.where == f"{path}, batch.adapter"
    assert "-m pip install langasync==0.2.3" in mistake.sentence
    assert 'batch.adapter = "openai"' in mistake.sentence
