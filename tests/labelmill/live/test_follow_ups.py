"""Follow-ups: what a chunk asks again."""

import threading

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from labelmill.errors import RunStopped
from labelmill.job.model import LabelJob
from labelmill.live.follow_ups import ChunkFollowUps
from labelmill.live.guard import PutOff
from labelmill.live.questions import Question
from labelmill.question.failures import Failure
from labelmill.stop import StopSignal

OFF_LABEL = Failure("off_label", "no label", said="cricket")
NO_ROOM = Failure("truncated", "cut off", lacked_room=True)
KEYS = [f"v1:{number}" for number in range(5)]


class Asker:
    """Asks as the chain does: a text's requests come to what `script` says, one after the other, and then to a label."""

    def __init__(self, script):
        self.script = {key: list(steps) for key, steps in script.items()}
        self.follow_ups = None
        self.questions = []

    def __call__(self, question):
        """Ask once."""
        self.questions.append(question)
        steps = self.script[question.row_key]
        step = steps.pop(0) if steps else "label"
        if step == "later":
            self.follow_ups.later(question.row_key, 0.001)
            return PutOff(0.001)
        if isinstance(step, Failure):
            self.follow_ups.again(question.row_key, step)
        return step


@pytest.fixture
def job(job_of):
    """A job that pays for three answers to a text."""
    return job_of(run={"max_answers": 3})


def results_of(job, asker):
    """Ask some texts here, and return what they came to."""
    questions = [Question(key, "text") for key in KEYS]
    with ChunkFollowUps(job, questions, asker, StopSignal(), 2) as follow_ups:
        asker.follow_ups = follow_ups
        for question in questions:
            follow_ups.ask(question)
        return follow_ups.results()


steps = st.sampled_from(["later", OFF_LABEL, NO_ROOM, Failure("content_filter", "no")])


@settings(max_examples=60, deadline=None)
@given(script=st.fixed_dictionaries({key: st.lists(steps, max_size=6) for key in KEYS}))
def test_whatever_comes_of_its_requests_each_text_ends_once(script):
    """Answered as often as the job allows, put off or refused in any order: one result each, and nothing left running."""
    job = LabelJob.model_validate(
        {
            "name": "test",
            "source": {"path": "s.parquet", "text": "t"},
            "labels": {"a": "", "b": ""},
            "model": {"provider": "practice", "name": "m"},
            "run": {"max_answers": 3},
            "output": {"path": "out"},
        }
    )
    before = threading.active_count()
    asker = Asker(script)
    results = results_of(job, asker)
    assert set(results) == set(KEYS)
    for key, asked in script.items():
        paid = [step for step in asked if step != "later"]
        last = next(
            (step for number, step in enumerate(paid) if step.kind == "content_filter" or number == 2),
            "label",
        )
        assert results[key] == last
    assert all(question.answers < 3 for question in asker.questions)
    assert threading.active_count() == before


def test_the_last_answer_of_a_text_that_lacked_room_is_asked_when_the_batch_is_over(job):
    """By then the others have told how much room it takes; before that it is asked at once."""
    asker = Asker({key: [NO_ROOM, NO_ROOM] if key == KEYS[0] else [] for key in KEYS})
    questions = [Question(key, "text") for key in KEYS]
    with ChunkFollowUps(job, questions, asker, StopSignal(), 1) as follow_ups:
        asker.follow_ups = follow_ups
        for question in questions:
            follow_ups.ask(question)
        results = follow_ups.results()
    assert [question.answers for question in asker.questions if question.row_key == KEYS[0]] == [0, 1, 2]
    assert set(results.values()) == {"label"}


def test_who_waits_is_asked_at_once_when_the_run_stops(job):
    """A wait of an hour ends with the run, which then sends nothing."""
    stop_signal = StopSignal()
    stopped = RunStopped("cancelled", "enough")

    def ask(question):
        if stop_signal.stopped is not None:
            return stop_signal.stopped
        follow_ups.later(question.row_key, 3600.0)
        stop_signal.stop(stopped)
        return PutOff(3600.0)

    with ChunkFollowUps(job, [Question("v1:a", "text")], ask, stop_signal, 2) as follow_ups:
        follow_ups.ask(Question("v1:a", "text"))
        results = follow_ups.results()
    assert results == {"v1:a": stopped}


def test_what_is_no_failure_of_a_text_is_handed_on(job):
    """A full disk is found among the results by whoever looks at them."""
    full = OSError(28, "No space left on device")

    def ask(_):
        raise full

    with ChunkFollowUps(job, [Question("v1:a", "text")], ask, StopSignal(), 2) as follow_ups:
        follow_ups.ask(Question("v1:a", "text"))
        assert follow_ups.results() == {"v1:a": full}


def test_an_error_in_the_batch_leaves_nothing_running(job):
    """Who waits is given up when the block ends otherwise than by its results."""
    before = threading.active_count()
    questions = [Question(key, "text") for key in KEYS]

    def break_off():
        with ChunkFollowUps(job, questions, lambda _: "label", StopSignal(), 2) as follow_ups:
            follow_ups.later(KEYS[0], 3600.0)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        break_off()
    assert threading.active_count() == before
