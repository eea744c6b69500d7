"""Automations as code: `python deployments/automations.py` creates or updates them on the server of PREFECT_API_URL.

Running it again changes nothing. `labelmill up` runs it.
"""

from datetime import timedelta
from typing import Any

from prefect.automations import Automation, AutomationCore
from prefect.client.orchestration import get_client
from prefect.events.actions import ChangeFlowRunState
from prefect.events.schemas.automations import EventTrigger, Posture
from prefect.events.schemas.events import ResourceSpecification
from prefect.settings import PREFECT_FLOWS_HEARTBEAT_FREQUENCY
from prefect.states import StateType

DEFAULT_HEARTBEAT_SECONDS = 180
MISSED_HEARTBEATS = 3


def zombie_automation(heartbeat_seconds: float) -> AutomationCore:
    """Crash a flow run that showed no sign of life for three heartbeats: its process died without a word.

    Until then such a run counts as running, and holds the place of its deployment's next run.
    """
    return AutomationCore(
        name="labelmill: crash runs whose process died",
        description="A run without a heartbeat for three times its frequency is marked as crashed.",
        trigger=EventTrigger(
            after={"prefect.flow-run.heartbeat"},
            # Any sign of life will do: the next heartbeat, or an end, whose state may have a name of its own such as
            # BudgetReached.
            expect={"prefect.flow-run.*"},
            match=ResourceSpecification({"prefect.resource.id": ["prefect.flow-run.*"]}),
            for_each={"prefect.resource.id"},
            posture=Posture.Proactive,
            threshold=1,
            within=timedelta(seconds=MISSED_HEARTBEATS * heartbeat_seconds),
        ),
        actions=[
            ChangeFlowRunState(
                state=StateType.CRASHED,
                message="The run's process died: no heartbeat arrived. The next run goes on where it was.",
            )
        ],
    )


def apply(wanted: list[AutomationCore]) -> None:
    """Create what is missing and update what differs, by name.

    One that is the same must be left alone: an update starts it afresh, and it forgets the runs it was watching.
    """
    with get_client(sync_client=True) as client:
        for automation in wanted:
            found: list[Automation] = client.read_automations_by_name(automation.name)
            if not found:
                client.create_automation(automation)
            elif _meaning_of(found[0]) != _meaning_of(automation):
                client.update_automation(found[0].id, automation)


def _meaning_of(automation: AutomationCore) -> dict[str, Any]:
    """What an automation does, without the ids that the server gives it."""
    meaning = AutomationCore.model_validate(automation.model_dump(exclude={"id"})).model_dump()
    meaning["trigger"].pop("id", None)
    return meaning


if __name__ == "__main__":
    # Every worker must beat at the pace that is set here: one that beats more slowly would lose live runs.
    frequency = PREFECT_FLOWS_HEARTBEAT_FREQUENCY.value() or DEFAULT_HEARTBEAT_SECONDS
    apply([zombie_automation(frequency)])
