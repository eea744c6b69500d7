"""The lock: one holder, known by name, and none that is dead."""

import pytest

from labelmill.store.lock import LockedError, locked


def test_a_second_process_learns_who_holds_the_lock(tmp_path, held_elsewhere):
    """Whoever comes second gets the holder's own words, as often as it asks, and takes nothing from it."""
    path = tmp_path / "deep" / ".lock"
    with held_elsewhere("lock", path, "run 7, process 42 技术"):
        for _ in range(2):
            with pytest.raises(LockedError) as error, locked(path, "me"):
                pytest.fail("it got a lock that is held")
            assert error.value.holder == str(error.value) == "run 7, process 42 技术"


def test_a_killed_holder_holds_nothing(tmp_path, held_elsewhere):
    """After SIGKILL the lock is free, though its file still bears the dead one's name."""
    path = tmp_path / ".lock"
    with held_elsewhere("lock", path, "a dead run with a long name") as holder:
        holder.kill()
        holder.wait()
        assert path.read_text() == "a dead run with a long name"
        with locked(path, "me"):
            assert path.read_text() == "me"


def test_a_lock_can_be_had_again_and_is_given_back_after_an_error(tmp_path):
    """However the block ends, the next one gets the lock, in this process or another."""
    path = tmp_path / ".lock"
    with pytest.raises(KeyError), locked(path, "first"):
        raise KeyError
    with locked(path, "second"):
        with pytest.raises(LockedError, match="second"), locked(path, "third"):
            pytest.fail("one process got the lock twice")
        assert path.read_text() == "second"


def test_a_holder_that_has_not_said_its_name_is_called_another_process(tmp_path, held_elsewhere):
    """In the moment between taking the lock and writing a name, the sentence still has a subject."""
    path = tmp_path / ".lock"
    with (
        held_elsewhere("lock", path),
        pytest.raises(LockedError, match="another process"),
        locked(path, "me"),
    ):
        pytest.fail("it got a lock that is held")


def test_two_folders_have_two_locks(tmp_path):
    """Runs into different outputs don't wait for each other."""
    with locked(tmp_path / "a" / ".lock", "a"), locked(tmp_path / "b" / ".lock", "b"):
        assert (tmp_path / "a" / ".lock").read_text() == "a"
