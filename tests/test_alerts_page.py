"""docs/alerts.md: what it shows is what happens."""

import io
import json
import re
import tomllib
from pathlib import Path

import pytest
from dotenv import dotenv_values
from servers.base import Endpoint
from servers.robots import TOKEN

from labelmill.alert.channel import channel_of
from labelmill.alert.services import services
from labelmill.job.model import Alert
from labelmill.pipeline.label import label
from labelmill.report.alert import FACTS, message_of
from labelmill.run.record import RunRecord

PAGE = (Path(__file__).parent.parent / "docs" / "alerts.md").read_text(encoding="utf-8")
ADDRESSES = {
    "FEISHU_WEBHOOK": ("feishu", f"https://open.feishu.cn/open-apis/bot/v2/hook/{TOKEN}"),
    "DINGTALK_WEBHOOK": ("dingtalk", f"https://oapi.dingtalk.com/robot/send?access_token={TOKEN}"),
    "ALERT_GATEWAY": ("slack", f"https://gateway.example.com/{TOKEN}"),
}


def _blocks(language):
    return re.findall(rf"^```{language}\n(.*?)^```$", PAGE, flags=re.MULTILINE | re.DOTALL)


@pytest.mark.parametrize("block", _blocks("sh"))
def test_each_env_file_is_a_channel(block):
    """The lines for .env name a service by its address, and are all that is needed."""
    values = dotenv_values(stream=io.StringIO(block))
    channel = channel_of(Alert(), values)
    assert channel.url == values["LABELMILL_ALERT_URL"]
    assert channel.service.hosts
    assert channel.secret == values.get("LABELMILL_ALERT_SECRET")


@pytest.mark.parametrize("block", _blocks("toml"))
def test_each_alert_of_the_page_tells_its_robot(block, job_of, write_texts, robots, monkeypatch):
    """The section belongs to the service that the page says, and a run with it is taken by a robot that wants just that."""
    alert = tomllib.loads(block)["alert"]
    service, address = ADDRESSES[alert["url"].removeprefix("env:")]
    secret = alert.get("secret", "").removeprefix("env:")
    assert (
        channel_of(
            Alert(**alert), {alert["url"].removeprefix("env:"): address, secret: "s3cret"}
        ).service.name
        == service
    )
    robots.keyword = alert.get("keyword")
    robots.secret = "SEC-0123456789" if secret else None
    monkeypatch.setenv(alert["url"].removeprefix("env:"), robots.url(service))
    if secret:
        monkeypatch.setenv(secret, robots.secret)
    monkeypatch.setenv("OPENAI_API_KEY", "sk-marked-0123456789abcdef")
    write_texts(["the match"])
    with Endpoint() as server:
        job = job_of(
            model={"provider": "openai"}, alert={**alert, "service": service}, run={"max_cost_usd": 0}
        )
        assert label(job, server.base_url).omissions == []
    assert len(robots.taken) == 1


def test_the_webhook_gets_what_the_page_shows():
    """The fields of the JSON block are those that are sent, in their order and of their kinds."""
    (block,) = _blocks("json")
    shown = json.loads(block)
    assert list(shown) == ["summary", "job", "trouble", *FACTS]
    kinds = {
        name: RunRecord.model_fields[name].annotation for name in FACTS if name in RunRecord.model_fields
    }
    assert set(kinds) == set(FACTS)


def test_the_line_is_the_one_that_the_page_shows(job_of, record_of_page):
    """The example of a completed run is made by the program."""
    (block,) = _blocks("text")
    assert message_of(record_of_page(job_of(name="news-topics")), trouble=False).lines == (block.strip(),)


@pytest.fixture
def record_of_page(write_texts, practice):
    """A record with the numbers of the page."""

    def build(job):
        write_texts(["the match"])
        record = label(job, practice.base_url)
        return record.model_copy(
            update={"rows_total": 1860, "rows_labeled": 1841, "cost_usd": 0.0449, "practice": False}
        )

    return build


def test_the_page_knows_all_services():
    """Each service that a job may name stands there."""
    for service in services().values():
        assert service.title.removeprefix("the ") in PAGE or service.name == "webhook"
