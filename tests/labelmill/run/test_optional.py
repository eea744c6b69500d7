"""Steps that a run can do without: what they raise becomes a sentence."""

import asyncio
import errno
from datetime import UTC, datetime

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from labelmill.errors import CannotWrite
from labelmill.run.context import RunContext
from labelmill.run.counts import Work
from labelmill.run.optional import Omission, OptionalSteps, kept, reason_of, sentences_of
from labelmill.run.record import Prices
from labelmill.run.record import record_of as record_made_of

THINGS = st.sampled_from(["the costs", "costs.parquet", "the failed rows", "the report"])
OMISSIONS = st.lists(
    st.builds(
        Omission,
        THINGS,
        st.sampled_from(["written", "shown"]),
        st.sampled_from(["No space left on device", "ValueError: no"]),
    )
)


@pytest.fixture
def record_of(job_of):
    """Build the record of a run that has begun, some of it replaced."""

    def build(**fields):
        run = RunContext(
            job=job_of(),
            run_id="r1",
            base_url="",
            practice=False,
            started_at_utc=datetime(2026, 3, 1, tzinfo=UTC),
        )
        record = record_made_of(run, None, Work(), Prices(None), ("running", None), None)
        return record.model_copy(update=fields)

    return build


class PanicException(BaseException):
    """As each extension in Rust has one of its own."""


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (TypeError("unsupported operand"), "TypeError: unsupported operand"),
        (KeyError("label"), "KeyError: 'label'"),
        (MemoryError(), "MemoryError"),
        (PermissionError(errno.EACCES, "Permission denied", "/out/a"), "/out/a: Permission denied"),
        (OSError(errno.ENOSPC, "words of a library", "/out/a"), "No space left on device"),
        (OSError("cut off"), "OSError: cut off"),
        (CannotWrite("a can't be written."), "a can't be written"),
        (pl.exceptions.ComputeError("two\nlines"), "ComputeError: two lines"),
        (pl.exceptions.PanicException("no time zone"), "PanicException: no time zone"),
        (PanicException("index out of bounds"), "PanicException: index out of bounds"),
        (ValueError("x" * 1000), f"ValueError: {'x' * 288}…"),
    ],
)
def test_whatever_goes_wrong_is_a_sentence(error, reason):
    """Programming errors, a process without memory and panics of extensions, which are no exceptions, alike."""

    def broken():
        raise error

    optional = OptionalSteps()
    assert optional.take("the report", broken, "nothing") == "nothing"
    assert optional.sentences == [f"The report could not be written: {reason}"]


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit, GeneratorExit, asyncio.CancelledError])
def test_what_ends_the_process_passes(error):
    """Ctrl-C, an exit and a cancelled task are nobody's fault, and are not held up."""

    def ended():
        raise error

    optional = OptionalSteps()
    with pytest.raises(error):
        optional.take("the report", ended, None)
    assert optional.sentences == []


def test_each_of_several_steps_costs_only_itself():
    """Also where one fails, the others are taken; where nobody can tell them, that is said."""
    optional, done = OptionalSteps(), []

    def broken():
        raise ValueError("no")

    optional.take_all("the run", lambda: {"a": broken, "b": lambda: done.append("b")}, "shown")
    optional.take_all("the run", broken, "announced")
    assert done == ["b"]
    assert optional.sentences == ["a could not be shown, the run could not be announced: ValueError: no"]


def test_what_goes_well_is_handed_on():
    """The step's own result, and nothing to say."""
    optional = OptionalSteps()
    assert (optional.take("the report", lambda: 7, None), optional.sentences) == (7, [])


@given(omissions=OMISSIONS)
def test_each_reason_is_named_once(omissions):
    """A full disk is one sentence, whatever it kept from being done; each of these things is in it once."""
    sentences = sentences_of(omissions)
    reasons = list(dict.fromkeys(omission.reason for omission in omissions))
    assert [sentence.rsplit("could not be ", 1)[1].split(": ", 1)[1] for sentence in sentences] == reasons
    for omission in omissions:
        (mine,) = [sentence for sentence in sentences if sentence.endswith(omission.reason)]
        assert mine.casefold().count(omission.thing) == len(
            {
                other.done
                for other in omissions
                if (other.thing, other.reason) == (omission.thing, omission.reason)
            }
        )


def test_a_full_disk_has_one_reason_whichever_file_it_was():
    """Python, Polars and PyArrow each say it in words of their own."""
    errors = [OSError(errno.ENOSPC, words, path) for words, path in (("a", "x"), ("b", "y"), ("c", None))]
    assert len({reason_of(error) for error in errors}) == 1


def test_a_late_notice_is_written_into_the_record(record_of):
    """The record is written again with it, beside the notices that it had; with nothing to say it is not."""
    optional, written = OptionalSteps(), []
    record = record_of(notices=["the prompt has changed"])
    assert kept(record, record, optional, written.append) == record
    assert written == []
    optional.omissions.append(Omission("the report", "written", "no"))
    told = kept(record, record, optional, written.append)
    assert written == [told]
    assert told.notices == ["the prompt has changed", "The report could not be written: no"]
    optional.omissions.append(Omission("the run's end", "announced", "no"))
    later = kept(told, told, optional, written.append)
    assert later.omissions == ["The report could not be written, the run's end could not be announced: no"]
    assert later.notices == ["the prompt has changed", *later.omissions]


def test_a_record_that_can_not_be_written_again_is_told_all_the_same(record_of, caplog):
    """What is on the disk stays as it was; who called, and the log, have the sentence."""
    optional, record = OptionalSteps(), record_of()
    optional.omissions.append(Omission("the report", "written", "No space left on device"))

    def full(_):
        raise OSError(errno.ENOSPC, "No space left on device")

    told = kept(record, record, optional, full)
    sentence = "The report and the record with its last notices could not be written: No space left on device"
    assert (told.omissions, [line.message for line in caplog.records]) == ([sentence], [sentence])
