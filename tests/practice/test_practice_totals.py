"""The totals are the truth about what clients did, and limits and faults are the same every time."""

import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import openai
import pytest

from practice import FaultKind, PracticeSettings
from practice.limits import RateLimits, duration

TEXTS = [f"text {number}" for number in range(60)]
FAULTS = {FaultKind.SERVER_ERROR: 0.2, FaultKind.RATE_LIMITED: 0.1, FaultKind.OFF_LABEL: 0.1}


def test_totals_equal_what_the_client_saw(practice, ask):
    """Requests, tokens and statuses are those the client counted, faults and concurrency included."""
    practice.configure(PracticeSettings(faults=FAULTS, latency_seconds=0.01, latency_sigma=0.5))
    answers, errors = ask_all(ask, TEXTS)
    totals = practice.totals()
    assert totals["requests"] == len(TEXTS)
    assert totals["answered"] == len(answers) == totals["by_status"]["200"]
    assert totals["input_tokens"] == sum(answer.usage.prompt_tokens for answer in answers.values())
    assert totals["output_tokens"] == sum(answer.usage.completion_tokens for answer in answers.values())
    statuses = Counter(str(error.status_code) for error in errors.values())
    assert {status: n for status, n in totals["by_status"].items() if status != "200"} == statuses
    assert errors
    assert 1 < totals["peak_in_flight"] <= 4
    assert totals["in_flight"] == 0


def test_faults_and_answers_do_not_depend_on_order(practice, ask):
    """The same texts in another order meet the same faults and get the same labels."""
    practice.configure(PracticeSettings(faults=FAULTS))
    first_answers, first_errors = ask_all(ask, TEXTS)
    practice.reset()
    answers, errors = ask_all(ask, TEXTS[::-1])
    assert {text: type(error) for text, error in errors.items()} == {
        text: type(error) for text, error in first_errors.items()
    }
    assert {text: answer.choices for text, answer in answers.items()} == {
        text: answer.choices for text, answer in first_answers.items()
    }


def ask_all(ask, texts):
    """Ask four at a time; returns answers and errors by text."""
    answers, errors = {}, {}

    def asked(text):
        try:
            answers[text] = ask(text)
        except openai.APIStatusError as error:
            errors[text] = error

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(asked, texts))
    return answers, errors


def test_latency_is_waited(practice, ask):
    """An answer takes the time it was given."""
    practice.configure(PracticeSettings(latency_seconds=0.2))
    started = time.monotonic()
    ask()
    assert time.monotonic() - started >= 0.2


def test_reset_zeroes_totals_and_attempts(practice, ask):
    """After a reset every text is new again."""
    practice.configure(PracticeSettings(faults={FaultKind.EMPTY: 1.0}))
    assert [ask().choices[0].message.content for _ in range(2)] == ["", "体育"]
    practice.reset()
    assert practice.totals()["requests"] == 0
    assert ask().choices[0].message.content == ""


def test_requests_over_the_limit_are_told_to_wait(practice, ask):
    """Beyond the allowance comes 429 with the headers that clients steer by."""
    practice.configure(PracticeSettings(requests_per_minute=2))
    ask()
    ask()
    with pytest.raises(openai.RateLimitError) as refused:
        ask()
    headers = refused.value.response.headers
    assert refused.value.code == "rate_limit_exceeded"
    assert 20_000 < int(headers["retry-after-ms"]) <= 30_000
    assert headers["x-ratelimit-limit-requests"] == "2"
    assert headers["x-ratelimit-remaining-requests"] == "0"
    assert practice.totals()["by_status"] == {"200": 2, "429": 1}


def test_tokens_over_the_limit_are_told_to_wait(practice, client):
    """Tokens run out like requests do, and answers say how many remain."""
    practice.configure(PracticeSettings(tokens_per_minute=100))
    create = client.chat.completions.with_raw_response.create
    told = create(model="m", messages=[{"role": "user", "content": "面" * 60}]).headers
    assert told["x-ratelimit-limit-tokens"] == "100"
    assert told["x-ratelimit-remaining-tokens"] == "33"
    with pytest.raises(openai.RateLimitError, match="tokens per min"):
        create(model="m", messages=[{"role": "user", "content": "面" * 60}])
    with pytest.raises(openai.RateLimitError, match="too large"):
        create(model="m", messages=[{"role": "user", "content": "面" * 600}])


def test_an_allowance_fills_up_with_time():
    """A bucket regains its share of a minute, and never more than it may save."""
    limits = RateLimits.from_settings(PracticeSettings(requests_per_minute=60, burst_seconds=2), now=0.0)
    limits.admit(1, 0.0)
    limits.admit(1, 0.0)
    with pytest.raises(Exception, match=r"try again in 1\.000s"):
        limits.admit(1, 0.0)
    limits.admit(1, 1.0)
    limits.admit(1, 100.0)
    assert limits.headers()["x-ratelimit-remaining-requests"] == "1"


@pytest.mark.parametrize(
    ("seconds", "written"),
    [(0, "0ms"), (0.12, "120ms"), (1, "1s"), (1.5, "1.5s"), (360, "6m0s"), (90.25, "1m30.25s")],
)
def test_durations_are_written_as_openai_writes_them(seconds, written):
    """Durations read like "6m0s"."""
    assert duration(seconds) == written


def test_the_quota_runs_out(practice, ask):
    """After the answers paid for, every request gets insufficient_quota, however many run at once."""
    practice.configure(PracticeSettings(insufficient_quota_after=5, latency_seconds=0.02))
    answers, errors = ask_all(ask, TEXTS[:12])
    assert (len(answers), len(errors)) == (5, 7)
    assert {error.code for error in errors.values()} == {"insufficient_quota"}
