"""A key in a job is refused and never shown."""

import pytest

from labelmill.check.job import checked_job
from labelmill.errors import JobRefused
from labelmill.job.file import draft_of_file

KEYS = {
    "openai": "sk-proj-9aB3cD5eF7gH9iJ1kL3mN5oP7qR9sT1uV3wX5yZ7",
    "short": "sk-1234567890abcdef",
    "anthropic": "sk-ant-api03-Zx9Yw8Vu7Ts6Rq5Po4Nm3Lk2Ji1Hg0-abc_def",
    "groq": "gsk_9aB3cD5eF7gH9iJ1kL3mN5oP7qR9",
    "hugging face": "hf_aBcDeFgHiJkLmNoPqRsTuVwXyZ0123456789",
    "google": "AIzaSyA1234567890abcdefghijklmnopqrstuv",
    "header": "Bearer 0123456789abcdef0123456789abcdef",
    "in an address": "https://user:hunter2hunter2@example.com/v1",
}
SENTENCE = "a job must not hold a key; take it out, put it into the environment or .env as OPENAI_API_KEY, "


def _refusal_of(path):
    with pytest.raises(JobRefused) as refused:
        checked_job(draft_of_file(path))
    return refused.value


@pytest.mark.parametrize("key", KEYS.values(), ids=KEYS)
@pytest.mark.parametrize(
    ("old", "new", "place"),
    [
        ('name = "topics"', 'name = "KEY"', "name"),
        ('text = "text"', 'text = "KEY"', "source.text"),
        ('"money" = ""', '"money" = "KEY"', "labels.money"),
        ('"money" = ""', '"money" = ["KEY"]', "labels.money.0"),
        ('"money" = ""', '"KEY" = ""', "labels"),
        ("[output]", 'api_key = "KEY"\n[output]', "model.api_key"),
        ("[output]", 'api_key_env = "KEY"\n[output]', "model.api_key_env"),
        ("[output]", 'base_url = "KEY"\n[output]', "model.base_url"),
        ("[output]", 'max_tokens = "KEY"\n[output]', "model.max_tokens"),
        ("[output]", '"KEY" = 1\n[output]', "model"),
        ("[output]", '[openai]\nanything = {deep = ["x", "KEY"]}\n[output]', "openai.anything.deep.1"),
        ("[output]", '[run]\nlane = ["KEY"]\n[output]', "run.lane.0"),
        ("[output]", '[prompt]\nsystem = "Use KEY: {labels}"\n[output]', "prompt.system"),
        ("[output]", '[price]\ninput_usd_per_mtok = "KEY"\n[output]', "price.input_usd_per_mtok"),
    ],
)
def test_a_key_is_found_wherever_it_stands_and_never_echoed(job_file, key, old, new, place):
    """A value that looks like a key is named by its place; no sentence holds the key or a piece of it."""
    path = job_file((old, new.replace("KEY", key)))
    refused = _refusal_of(path)
    found = {mistake.where: mistake.sentence for mistake in refused.mistakes}
    assert found[f"{path}, {place}"].startswith(SENTENCE)
    for words in (str(refused), repr(refused), *map(repr, refused.mistakes)):
        assert key not in words
        assert key[-10:] not in words


@pytest.mark.parametrize(
    "name",
    ["api_key", "apikey", "API_KEY", "api-key", "apiKey", "openai_api_key", "key", "token", "hf-token", "password", "client_secret", "Authorization"],
)  # fmt: skip
def test_a_key_of_any_form_is_known_by_its_name(job_file, name):
    """A field whose name says key is refused as one, and its value isn't shown, whatever it looks like."""
    refused = _refusal_of(job_file(("[output]", f'"{name}" = "hunter2"\n[output]')))
    assert [mistake.sentence[:26] for mistake in refused.mistakes] == ["a job must not hold a key;"]
    assert "hunter2" not in str(refused)


def test_a_key_in_place_of_a_variables_name_is_not_shown(job_file):
    """Where the variable's name should stand, people paste the key itself, in whatever form their provider gives it."""
    for key in ("0123456789abcdef.GhIjKlMnOpQrStUv", "a1b2c3d4e5f60718293a4b5c6d7e8f90", "my key!"):
        refused = _refusal_of(job_file(("[output]", f'api_key_env = "{key}"\n[output]')))
        assert "model.api_key_env" in str(refused)
        assert key not in str(refused)


def test_an_endpoint_with_a_key_in_its_address_is_not_shown(job_file):
    """Also where nothing else is wrong, and a key is missing besides, no sentence repeats the address."""
    path = job_file(
        ('provider = "practice"', 'provider = "openai"\nbase_url = "https://me:hunter2@example.com/v1"')
    )
    refused = _refusal_of(path)
    assert "model.base_url" in str(refused)
    assert "hunter2" not in str(refused)


def test_a_source_with_a_key_in_its_address_is_not_shown(job_file, tmp_path):
    """An object-store address with credentials is refused without being repeated."""
    path = job_file((f"{tmp_path}/source.parquet", "s3://AKIA:hunter2hunter2@bucket/x.parquet"))
    refused = _refusal_of(path)
    assert "source.path" in str(refused)
    assert "hunter2" not in str(refused)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ('name = "topics"', 'name = "sk-headlines-2026"'),
        ('name = "topics"', 'name = "hf_dataset_of_headlines"'),
        ('"money" = ""', '"password" = "asks for a new password"'),
        ('"money" = ""', '"api_key" = "questions about keys"'),
        ('"money" = ""', '"money" = "bearer bonds, pk_questions"'),
        ("[output]", 'api_key_env = "MY_COMPANYS_SECOND_OPENAI_API_KEY_2"\n[output]'),
        ("[output]", 'base_url = "http://127.0.0.1:8000/v1"\n[output]'),
        ("[output]", "max_tokens = 5\n[output]"),
    ],
)
def test_what_only_resembles_a_key_is_no_mistake(job_file, old, new):
    """Names of datasets, labels about passwords, names of variables and addresses with ports are left alone."""
    assert draft_of_file(job_file((old, new))).mistakes == ()


@pytest.mark.parametrize(
    ("alert", "place"),
    [
        ('[alert]\nurl = "HOOK"', "alert.url"),
        ('[alert]\nurl = "Bearer env:HOOK"', "alert.url"),
        ('[alert]\nurl = ["HOOK"]', "alert.url"),
        ('[alert]\nservice = "HOOK"', "alert.service"),
        ('[alert]\nkeyword = "HOOK"', "alert.keyword"),
        ('[alert]\nsecret = "SEC0123456789abcdef"', "alert.secret"),
        ('alert = "HOOK"', "alert"),
        ('alert = ["HOOK"]', "alert"),
        ('[alert]\nwhen = "HOOK"', "alert.when"),
    ],
)
def test_the_address_of_alerts_is_a_secret_like_a_key(job_file, alert, place):
    """Wherever it was put in `[alert]` it is refused by its place, and no sentence holds it or the robot's secret."""
    hook = "https://hooks.slack.com/services/T0123/B0123/q1w2e3r4t5y6"
    new = alert.replace("HOOK", hook)
    path = (
        job_file(('name = "topics"', f'name = "topics"\n{new}'))
        if new.startswith("alert")
        else job_file(("[output]", f"{new}\n[output]"))
    )
    refused = _refusal_of(path)
    assert f"{path}, {place}" in [mistake.where for mistake in refused.mistakes]
    assert "q1w2e3r4t5y6" not in str(refused)
    assert "0123456789abcdef" not in str(refused)
