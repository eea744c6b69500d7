"""The room that answers have for thoughts, as several processes of a run find it."""

from labelmill.job.model import Model
from labelmill.live.thought_room import ThoughtRoom
from labelmill.question.thinking import MOST_ROOM


def test_room_that_another_process_needs_is_everyones():
    """What one has found to be needed the others give at once; less than that takes nothing away, and there is an end to it."""
    room = ThoughtRoom(Model(name="m"))
    assert room.tokens == 0
    room.hear(2048)
    room.hear(1024)
    assert room.tokens == 2048
    room.hear(10 * MOST_ROOM)
    assert room.tokens == MOST_ROOM


def test_a_limit_of_the_jobs_own_stays_as_it_is():
    """Whatever others find: a job that says how long an answer may be is asked so."""
    room = ThoughtRoom(Model(name="m", max_tokens=50))
    before = room.tokens
    room.hear(2048)
    assert room.tokens == before
