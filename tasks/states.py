"""How a flow run ends: a run's status as Prefect's state."""

from typing import Any

from prefect.client.schemas.objects import State
from prefect.states import Cancelled, Completed, Failed

from labelmill.errors import CannotWrite, JobRefused, RunFailed
from labelmill.report.formatting import cost_of_record, labeled_words, visible
from labelmill.run.record import RunRecord


def state_of(status: str, record: Any, message: str) -> State[Any]:
    """The state of a flow run that leaves this record: one that can go on later is a completed run by that name.

    Its message goes to terminals too: what a provider said in it moves no cursor there.
    """
    message = visible(message)
    match status:
        case "completed":
            return Completed(data=record, message=message)
        case "budget_reached":
            return Completed(data=record, name="BudgetReached", message=message)
        case "waiting":
            return Completed(data=record, name="Waiting", message=message)
        case "cancelled":
            return Cancelled(data=record, message=message)
        case _:
            return Failed(data=RunFailed(record, message), message=message)


def message_of(record: RunRecord) -> str:
    """What a list of runs shows of one: how many rows are labeled, what it cost, and what else is to be said."""
    cost = cost_of_record(record)
    money = f"cost {cost}" if record.cost_usd is None else cost
    practice = " (practice, nothing was paid)" if record.practice else ""
    rows = "nothing was published" if record.rows_total is None else labeled_words(record)
    sentence = f"{rows}, {money}{practice}."
    return f"{sentence} {record.message}" if record.message else sentence


def state_without_record(error: JobRefused | CannotWrite | OSError, folder: str) -> State[Any]:
    """The state of a flow run that left no record: what a person can mend, in a sentence."""
    sentence = CannotWrite.because(error, folder) if isinstance(error, OSError) else error
    lines = str(sentence).splitlines()
    return Failed(data=sentence, message="\n".join(map(visible, lines)))


def record_in(state: State[Any]) -> Any:
    """The record that a flow run has left, however it ended.

    Raises:
        LabelmillError: what kept it from leaving one.
    """
    result = state.result(raise_on_failure=False)
    if isinstance(result, RunFailed):
        return result.record
    if isinstance(result, BaseException):
        raise result
    return result
