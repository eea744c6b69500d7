"""Whole runs that tell somebody how they ended: once, by what really happened, and with the address nowhere."""

import json
import logging

import pytest
from servers.base import Endpoint, completion
from servers.robots import TOKEN

from labelmill.errors import JobRefused
from labelmill.pipeline.alerts import alert_without_record, told_by_file, told_by_job
from labelmill.pipeline.label import label
from practice import PracticeSettings

TEXTS = [f"the {word} of day {number}" for number in range(5) for word in ("match", "market")]


class Wrong(Endpoint):
    """A model that knows another game, and the marks of a chat."""

    def reply(self, call):
        """No label."""
        return completion(call, '<at user_id="all">cricket</at> "板球"')


@pytest.fixture
def alerted(world, robots, monkeypatch):
    """A world whose jobs tell a robot of Feishu, which wants signatures."""
    robots.secret = "a signature's secret"
    monkeypatch.setenv("HOOK", robots.url("feishu"))
    monkeypatch.setenv("SIGN", robots.secret)
    world.has(TEXTS)
    return world


def _alert(**more):
    return {"url": "env:HOOK", "service": "feishu", "secret": "env:SIGN", **more}


def _is_nowhere(secret, folder):
    return not any(secret.encode() in path.read_bytes() for path in folder.rglob("*") if path.is_file())


def test_a_run_in_trouble_is_told_and_a_good_one_is_not(alerted, robots):
    """The budget's end and too many failures are told in the run's own words; a run that completes is silent unless asked."""
    with Endpoint() as server:
        assert alerted.run(server, alert=_alert(), run={"max_cost_usd": 0}).status == "budget_reached"
        (told,) = robots.taken
        assert told.startswith("[Labelmill] test: stopped at the budget, 0 of 10 rows labeled, ")
        assert alerted.run(server, alert=_alert()).status == "completed"
        assert len(robots.taken) == 1
        again = alerted.run(server, alert=_alert(when="every_run"))
        assert robots.taken[1] == "[Labelmill] test: completed, 10 of 10 rows labeled, $0.00"
        assert again.omissions == []
    assert len(robots.posts) == 2


def test_a_model_that_says_odd_things_mentions_nobody(alerted, robots):
    """The run's sentence quotes wrong answers; they are text in the chat."""
    with Wrong() as server:
        record = alerted.run(server, alert=_alert(), run={"max_failed_fraction": 0.05})
    assert record.status == "too_many_failures"
    (told,) = robots.taken
    assert '< at user_id="all">cricket' in told
    assert "板球" in told


@pytest.mark.parametrize(
    "reply", [(500, f"no such hook {TOKEN}"), (200, {"code": 19021, "msg": f"sign {TOKEN}"})]
)
def test_a_service_in_trouble_costs_the_run_a_sentence(alerted, robots, reply, caplog):
    """Labels, status and bill are those of the run; the record says that nobody was told, and the address is in no file or log."""
    robots.replies = [reply] * 3
    with caplog.at_level(logging.DEBUG), Endpoint() as server:
        record = alerted.run(server, alert=_alert(when="every_run"))
        alerted.assert_bill_is(server)
    assert (record.status, record.rows_labeled) == ("completed", 10)
    (sentence,) = record.omissions
    assert sentence.startswith("The alert could not be sent: Feishu answered ")
    assert alerted.written().omissions == [sentence]
    assert _is_nowhere(TOKEN, alerted.folder)
    assert _is_nowhere(robots.secret, alerted.folder)
    assert TOKEN not in caplog.text
    assert robots.secret not in caplog.text


def test_the_environment_is_enough_and_a_rehearsal_is_told_only_where_each_run_is(
    practice, job_of, write_texts, robots, monkeypatch
):
    """Two variables and no word in the job; the practice provider's runs are no trouble, and say what they are."""
    write_texts(TEXTS)
    practice.configure(PracticeSettings())
    monkeypatch.setenv("LABELMILL_ALERT_URL", robots.url("webhook"))
    label(job_of(run={"max_cost_usd": 0}), practice.base_url)
    assert robots.taken == []
    monkeypatch.setenv("LABELMILL_ALERT_WHEN", "every_run")
    record = label(job_of(), practice.base_url)
    (told,) = robots.taken
    assert told["summary"].endswith(" had it been paid (practice provider)")
    assert (told["job"], told["run_id"], told["labels"]) == ("test", record.run_id, record.labels)
    label(job_of(alert={"when": "never"}), practice.base_url)
    assert len(robots.taken) == 1


def test_where_alerts_go_changes_no_label(job_of, practice, write_texts, robots, monkeypatch):
    """A job that gets an alert asks nothing anew."""
    write_texts(TEXTS)
    monkeypatch.setenv("HOOK", robots.url("webhook"))
    first = label(job_of(), practice.base_url)
    second = label(job_of(alert={"url": "env:HOOK", "when": "every_run"}), practice.base_url)
    assert (second.task_key, second.texts_asked) == (first.task_key, 0)


def test_a_run_without_a_record_is_told_by_its_shell_once(tmp_path, alerted, robots):
    """Of two shells, one in the other, the outer one tells; what a person sees or breaks off is not told."""
    job = alerted.job(alert=_alert(), source={"path": str(tmp_path / "gone.parquet")})

    def told_by():
        return told_by_job(job)

    with pytest.raises(JobRefused), alert_without_record(told_by), alert_without_record(told_by):
        label(job)
    (told,) = robots.taken
    first, second = told.splitlines()
    assert first == "[Labelmill] test: did not run, and nothing was spent"
    assert second.startswith("test, source.path: ")
    with pytest.raises(JobRefused), alert_without_record(told_by, is_seen=True):
        label(job)
    with pytest.raises(KeyboardInterrupt), alert_without_record(told_by):
        raise KeyboardInterrupt
    assert len(robots.taken) == 1


def test_who_was_told_of_the_record_is_not_told_of_what_follows(alerted, robots):
    """A shell that breaks after the run's own alert says nothing more to the chat."""

    def run_and_break():
        with Endpoint() as server, alert_without_record(lambda: told_by_job(alerted.job(alert=_alert()))):
            alerted.run(server, alert=_alert(), run={"max_cost_usd": 0})
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        run_and_break()
    assert len(robots.taken) == 1


def test_a_job_file_that_can_not_be_read_is_told_to_whom_the_environment_names(tmp_path, robots, monkeypatch):
    """A file that is no TOML, or not there, says nothing of alerts, and one that is wrong elsewhere says all of it."""
    monkeypatch.setenv("LABELMILL_ALERT_URL", robots.url("slack"))
    monkeypatch.setenv("LABELMILL_ALERT_SERVICE", "slack")
    path = tmp_path / "daily.toml"
    with pytest.raises(JobRefused), alert_without_record(lambda: told_by_file(path)):
        raise JobRefused([])
    assert robots.taken == ["[Labelmill] daily.toml: did not run, and nothing was spent"]
    path.write_text('name = "news"\nlabels = 3\n[alert]\nwhen = "never"\n[model]\nprovider = "practice"\n')
    told = told_by_file(path)
    assert (told.job, told.alert.when, told.is_rehearsal) == ("news", "never", True)
    path.write_text(json.dumps({"no": "toml"}))
    assert told_by_file(path).job == "daily.toml"
