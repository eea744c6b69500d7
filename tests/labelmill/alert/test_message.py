"""Alerts as services take them: whatever a message holds, it arrives as text, in one piece, and signed as is written."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from servers.robots import TOKEN

from labelmill.alert.channel import Channel
from labelmill.alert.message import MOST_CHARACTERS, Message, post_of
from labelmill.alert.services import service_at, services

FEISHU_SIGN = "5kvqmf010V+darWhkYsEsrwCF+h6GqAJi4UHlmWhTcg="
DINGTALK_SIGN = "GMxX%2BbsfJiBLbhPZz7uXXMods9rpaFqjWYFhGX8eBkQ%3D"
ODD = st.text(max_size=60) | st.text(
    st.sampled_from("\"'\\\n\r\t\x00\u2028<>&@at 猫🙂\ud800"), max_size=MOST_CHARACTERS * 2
)


def _channel(service, **more):
    return Channel(f"https://example.com/{TOKEN}", services()[service], "trouble", **more)


def _text_in(body):
    """The text of a body, wherever its service has it."""
    found = json.loads(body)
    content = found.get("text", found.get("content"))
    return content if isinstance(content, str) else content.get("content", content.get("text"))


@pytest.mark.parametrize(
    ("url", "service"),
    [
        (f"https://open.feishu.cn/open-apis/bot/v2/hook/{TOKEN}", "feishu"),
        (f"https://open.larksuite.com/open-apis/bot/v2/hook/{TOKEN}", "feishu"),
        (f"https://OAPI.dingtalk.com/robot/send?access_token={TOKEN}", "dingtalk"),
        (f"https://hooks.slack.com/services/T0/B0/{TOKEN}", "slack"),
        (f"https://qyapi.weixin.qq.com/cgi-bin/webhook/send?key={TOKEN}", "wecom"),
        ("https://alerts.example.com/hooks.slack.com", "webhook"),
        ("https://hooks.slack.com.example.com/", "webhook"),
    ],
)
def test_a_service_is_told_by_its_host(url, service):
    """Its own hosts and no others: an address that only holds a service's name gets what any webhook gets."""
    assert service_at(url).name == service


@pytest.mark.parametrize("service", [name for name, known in services().items() if known.body])
@given(
    lines=st.lists(ODD, min_size=1, max_size=4), keyword=st.none() | st.text("ab词", min_size=1, max_size=20)
)
def test_any_text_fits_its_service(service, lines, keyword):
    """A body is JSON that the service takes by its size, and holds the beginning of what is told, keyword first."""
    channel = _channel(service, keyword=keyword, secret="s" * 20)
    post = post_of(Message(tuple(lines), {}), channel, 1_790_000_000)
    known = services()[service]
    assert len(post.body) <= known.max_bytes
    text = _text_in(post.body)
    assert len(text) <= MOST_CHARACTERS * 5 + 30
    if keyword and known.has_keyword:
        assert keyword in text
    wanted = "\n".join(lines).encode(errors="replace").decode()
    is_cut = len(wanted) > MOST_CHARACTERS or text.endswith("…")
    for mark, instead in known.replaced:
        wanted = wanted.replace(mark, instead)
    shown = text.removeprefix(f"[{keyword}] ")
    assert wanted.startswith(shown.removesuffix("…").rstrip()[:-3]) if is_cut else shown == wanted


def test_a_keyword_that_is_there_already_is_not_said_twice():
    """Every alert begins with Labelmill: a robot with that keyword needs nothing else."""
    message = Message(("[Labelmill] news: failed",), {})
    assert _text_in(post_of(message, _channel("feishu", keyword="Labelmill"), 0).body) == message.lines[0]
    assert (
        _text_in(post_of(message, _channel("feishu", keyword="警报"), 0).body) == f"[警报] {message.lines[0]}"
    )


def test_nobody_is_mentioned_by_what_a_provider_said():
    """A mention of everybody, as Feishu and Slack have it, is text in an alert."""
    message = Message(('<at user_id="all">all</at> & <!channel>',), {})
    assert _text_in(post_of(message, _channel("feishu"), 0).body).startswith('< at user_id="all">')
    slack = json.loads(post_of(message, _channel("slack"), 0).body)
    assert slack["text"] == '&lt;at user_id="all"&gt;all&lt;/at&gt; &amp; &lt;!channel&gt;'
    assert slack["mrkdwn"] is False


def test_signatures_are_those_of_the_services():
    r"""Feishu's stands in the body with seconds, DingTalk's in the query with milliseconds; the values are reckoned by openssl.

    `printf '' | openssl dgst -sha256 -hmac $'1599360473\nthe secret' -binary | base64`, and for DingTalk
    `printf '1599360473000\nthe secret' | openssl dgst -sha256 -hmac 'the secret' -binary | base64`.
    """
    message = Message(("hello",), {})
    feishu = post_of(message, _channel("feishu", secret="the secret"), 1_599_360_473.0)
    assert json.loads(feishu.body) == {
        "timestamp": "1599360473",
        "sign": FEISHU_SIGN,
        "msg_type": "text",
        "content": {"text": "hello"},
    }
    dingtalk = post_of(message, _channel("dingtalk", secret="the secret"), 1_599_360_473.0)
    assert dingtalk.url.endswith(f"?timestamp=1599360473000&sign={DINGTALK_SIGN}")
    assert json.loads(dingtalk.body) == {"msgtype": "text", "text": {"content": "hello"}}
