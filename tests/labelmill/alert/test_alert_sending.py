"""Alerts on real HTTP: what robots take, and what is said where they don't."""

import logging
import os
import signal
import threading
import time

import pytest
from servers.robots import TOKEN

from labelmill.alert import sending
from labelmill.alert.channel import Channel
from labelmill.alert.message import Message
from labelmill.alert.sending import send
from labelmill.alert.services import services
from labelmill.errors import AlertNotSent

LINE = '[Labelmill] 新闻 "daily" <news>: failed'
MESSAGE = Message(
    (LINE, "第二行\\ and 'more'"), {"job": '新闻 "daily" <news>', "status": "failed", "rows_total": None}
)
BODY = "\n".join(MESSAGE.lines)


def _channel(robots, service, **more):
    return Channel(robots.url(service), services()[service], "trouble", **more)


def _failed(message, channel):
    with pytest.raises(AlertNotSent) as caught:
        send(message, channel)
    assert TOKEN not in str(caught.value)
    return str(caught.value)


def test_each_service_takes_an_alert(robots):
    """Quotes, newlines, marks and Chinese arrive as they were said, signed and with a keyword where a robot wants that."""
    robots.secret, robots.keyword = "SEC-0123456789", "Labelmill"
    for service in ("feishu", "dingtalk"):
        send(MESSAGE, _channel(robots, service, secret=robots.secret))
    for service in ("slack", "wecom", "webhook"):
        send(MESSAGE, _channel(robots, service))
    feishu, dingtalk, slack, wecom, webhook = robots.taken
    assert (feishu, dingtalk, wecom) == (BODY, BODY, BODY)
    assert slack == BODY.replace("<", "&lt;").replace(">", "&gt;")
    assert webhook == {"summary": LINE, **MESSAGE.facts}


@pytest.mark.parametrize(
    ("service", "wanted", "says"),
    [
        (
            "feishu",
            {"secret": "another"},
            (
                "Feishu answered with the code 19021: sign match fail or timestamp is not within one hour from current time; set "
                "alert.secret to the variable of the robot's signature secret, and see that this machine's clock is right"
            ),
        ),
        (
            "feishu",
            {"keyword": "警报"},
            "Feishu answered with the code 19024: Key Words Not Found; set alert.keyword to a keyword of the robot",
        ),
        (
            "dingtalk",
            {"secret": "another"},
            (
                "DingTalk answered with the code 310000: sign not match; set alert.secret to the variable of the robot's secret, "
                "which begins with SEC"
            ),
        ),
        (
            "dingtalk",
            {"keyword": "警报"},
            "DingTalk answered with the code 310000: keywords not in content; set alert.keyword to a keyword of the robot",
        ),
        (
            "dingtalk",
            {"clock": lambda: time.time() + 4000, "secret": "SEC-0123456789"},
            "DingTalk answered with the code 310000: invalid timestamp; see that this machine's clock is right",
        ),
    ],
)
def test_a_robot_that_answers_200_and_takes_nothing_is_heard(robots, service, wanted, says):
    """A code in an answer of 200 is a refusal: it is asked once, and the sentence says what to set."""
    for name, value in wanted.items():
        setattr(robots, name, value)
    assert _failed(MESSAGE, _channel(robots, service, secret="SEC-0123456789")) == says
    assert len(robots.posts) == 1


@pytest.mark.parametrize(
    ("service", "reply", "says"),
    [
        (
            "slack",
            (404, "no_service"),
            "Slack answered 404: no_service; the address is no longer valid; make a new one in the app's settings",
        ),
        ("webhook", (400, ""), "the webhook answered 400"),
        ("webhook", (403, f"no hook /hooks/{TOKEN} here"), "the webhook answered 403: no hook [hidden] here"),
        (
            "feishu",
            (200, "<html>hello</html>"),
            "Feishu did not say that it took the alert: <html>hello</html>",
        ),
        ("dingtalk", (200, "{}"), "DingTalk did not say that it took the alert: {}"),
        (
            "webhook",
            (302, "", {"location": "/elsewhere"}),
            "the webhook answered with a redirect (302), which is not followed; take the address it leads to",
        ),
    ],
)
def test_a_refusal_is_a_sentence_without_the_address(robots, service, reply, says):
    """It is asked once, follows nobody elsewhere, and hides what the answer repeats of the address."""
    robots.replies = [reply]
    assert _failed(MESSAGE, _channel(robots, service)) == says
    assert len(robots.posts) == 1


def test_what_passes_by_itself_is_tried_again(robots, monkeypatch):
    """A service that is busy for a moment gets the alert all the same, once."""
    monkeypatch.setattr(sending, "_PAUSES_SECONDS", (0.01, 0.02))
    robots.replies = [(503, "busy"), (429, "slow down")]
    send(MESSAGE, _channel(robots, "slack"))
    robots.replies = [(200, {"code": 11232, "msg": "frequency limited"})]
    send(MESSAGE, _channel(robots, "feishu"))
    assert len(robots.taken) == 2
    robots.replies = [(500, "down")] * 9
    assert _failed(MESSAGE, _channel(robots, "slack")) == "Slack answered 500: down"
    assert len(robots.replies) == 6


def test_a_service_that_is_not_there_is_a_sentence(robots):
    """Nobody listens at the address: tried a few times, within seconds."""
    gone = Channel("http://127.0.0.1:9/hooks/" + TOKEN, services()["webhook"], "trouble")
    began = time.monotonic()
    assert _failed(MESSAGE, gone).startswith("the webhook can't be reached: ")
    assert time.monotonic() - began < 10
    assert robots.posts == []


def test_a_slow_service_holds_nobody_up(robots, monkeypatch):
    """One that takes the alert and never answers is left after a while, and not told twice; so is one past the whole time."""
    robots.held = threading.Event()
    monkeypatch.setattr(sending, "_TRY_SECONDS", 0.2)
    words = _failed(MESSAGE, _channel(robots, "feishu"))
    assert words == "Feishu gave no answer within 0 s; the alert may have arrived all the same"
    assert len(robots.posts) == 1
    monkeypatch.setattr(sending, "_TRY_SECONDS", 60)
    monkeypatch.setattr(sending, "MOST_SECONDS", 0.2)
    assert _failed(MESSAGE, _channel(robots, "feishu")) == "Feishu took longer than 0 s"
    robots.held.set()


def test_ctrl_c_ends_the_waiting_and_nothing_else(robots):
    """The run is over by then: whoever stops the last wait loses the alert at most."""
    robots.held = threading.Event()
    threading.Timer(0.2, os.kill, (os.getpid(), signal.SIGINT)).start()
    words = "nobody waited for Slack any longer; the alert may have arrived"
    assert _failed(MESSAGE, _channel(robots, "slack")) == words
    robots.held.set()


def test_an_alert_goes_through_the_proxy_of_the_environment(robots, monkeypatch):
    """Where only a proxy leads out, alerts go through it as requests do; to this machine's own addresses they go directly."""
    monkeypatch.setenv("HTTP_PROXY", robots.root)
    monkeypatch.delenv("NO_PROXY", raising=False)
    monkeypatch.delenv("no_proxy", raising=False)
    send(MESSAGE, Channel(f"http://alerts.example.com/hooks/{TOKEN}", services()["webhook"], "trouble"))
    assert len(robots.taken) == 1
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    send(MESSAGE, _channel(robots, "webhook"))
    assert len(robots.taken) == 2


def test_no_log_holds_the_address(robots, caplog):
    """Httpx has a line for each request at the level info; those of an alert are kept from it, others are not."""
    with caplog.at_level(logging.DEBUG):
        send(MESSAGE, _channel(robots, "webhook"))
        logging.getLogger("httpx").info("HTTP Request: %s", "GET /v1/models")
    assert TOKEN not in caplog.text
    assert "GET /v1/models" in caplog.text
