"""Where alerts go: the job's own word, then the environment's; what can't be used is a sentence that shows no secret."""

import pytest
from servers.robots import TOKEN

from labelmill.alert.channel import alert_mistakes, channel_of
from labelmill.job.model import Alert

URL = f"https://hooks.slack.com/services/T0/B0/{TOKEN}"
OTHER = "https://open.feishu.cn/open-apis/bot/v2/hook/0ddba11-0123456789"


def test_nobody_is_told_unless_asked_for():
    """No address, no alerts, and nothing wrong with that."""
    assert channel_of(Alert(), {}) is None
    assert alert_mistakes(Alert(), "job.toml", {}) == []
    assert alert_mistakes(Alert(when="never"), "job.toml", {}) == []


def test_the_environment_has_the_word_for_all_jobs():
    """Two lines of .env are enough; the service is told by the address."""
    channel = channel_of(Alert(), {"LABELMILL_ALERT_URL": f" {URL}\n", "LABELMILL_ALERT_WHEN": "every_run"})
    assert (channel.url, channel.service.name, channel.when) == (URL, "slack", "every_run")
    assert channel_of(Alert(), {"LABELMILL_ALERT_URL": URL}).when == "trouble"


def test_a_job_has_its_own_word():
    """A job's address comes with its own secret and keyword, not with those of the environment's address; `never` is never."""
    environment = {
        "LABELMILL_ALERT_URL": URL,
        "LABELMILL_ALERT_SERVICE": "slack",
        "LABELMILL_ALERT_KEYWORD": "alert",
        "LABELMILL_ALERT_SECRET": "a secret",
        "FEISHU": OTHER,
        "SIGN": "another secret",
    }
    own = channel_of(Alert(url="env:FEISHU", secret="env:SIGN"), environment)
    assert (own.url, own.service.name, own.secret, own.keyword) == (OTHER, "feishu", "another secret", None)
    assert channel_of(Alert(when="never"), environment) is None
    named = channel_of(Alert(url="env:FEISHU", service="dingtalk", keyword="任务"), environment)
    assert (named.service.name, named.keyword) == ("dingtalk", "任务")


@pytest.mark.parametrize(
    ("alert", "environment", "sentence"),
    [
        (
            Alert(url="env:NOT_THERE"),
            {},
            (
                "job.toml, alert.url: neither the environment nor .env has NOT_THERE; put the address there, or take [alert] out "
                "of the job"
            ),
        ),
        (
            Alert(url="env:HOOK"),
            {"HOOK": f"hooks.slack.com/{TOKEN}"},
            (
                "job.toml, HOOK: what it holds is no web address, expected one such as 'https://hooks.slack.com/services/...'; copy "
                "it anew from the service"
            ),
        ),
        (
            Alert(service="slak"),
            {"LABELMILL_ALERT_URL": URL},
            "job.toml, alert.service: found 'slak', expected 'webhook', 'slack', 'feishu', 'dingtalk' or 'wecom'",
        ),
        (
            Alert(),
            {"LABELMILL_ALERT_URL": URL, "LABELMILL_ALERT_WHEN": "daily"},
            "LABELMILL_ALERT_WHEN: found 'daily', expected 'trouble', 'every_run' or 'never'",
        ),
        (
            Alert(secret="env:SIGN"),
            {"LABELMILL_ALERT_URL": OTHER},
            "job.toml, alert.secret: neither the environment nor .env has SIGN; put the robot's secret there",
        ),
        (
            Alert(url="env:HOOK", secret="env:SIGN"),
            {"HOOK": URL, "SIGN": "s3cret"},
            "job.toml, alert.secret: Slack has no secret that messages are signed with; take it out",
        ),
        (
            Alert(),
            {"LABELMILL_ALERT_WHEN": URL},
            "LABELMILL_ALERT_WHEN: found an address, expected 'trouble', 'every_run' or 'never'",
        ),
        (
            Alert(when="every_run"),
            {},
            (
                "job.toml, alert.url: [alert] says how but not where; put the address into .env and name its variable here as "
                '"env:NAME", or call it LABELMILL_ALERT_URL there'
            ),
        ),
    ],
)
def test_what_can_not_be_used_is_a_sentence(alert, environment, sentence):
    """Each mistake names its place and what to do; no address and no secret stands in it, and no alert goes anywhere."""
    (mistake,) = alert_mistakes(alert, "job.toml", environment)
    assert str(mistake) == sentence
    assert TOKEN not in sentence
    assert channel_of(alert, environment) is None


def test_a_channel_shows_neither_address_nor_secret():
    """Its representation, as a traceback may show it, and what others say are free of both."""
    environment = {"LABELMILL_ALERT_URL": f"https://oapi.dingtalk.com/robot/send?access_token={TOKEN}"}
    channel = channel_of(Alert(), {**environment, "LABELMILL_ALERT_SECRET": "SEC0123456789"})
    assert TOKEN not in repr(channel)
    assert "SEC0123456789" not in repr(channel)
    said = f"no robot {TOKEN} at {channel.url}, nor with SEC0123456789"
    assert channel.hidden(said) == "no robot [hidden] at [hidden], nor with [hidden]"
