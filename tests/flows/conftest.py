"""What tests of flows share."""

import asyncio

import pytest
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import FlowRunFilter

from labelmill.errors import LabelmillError
from tasks.states import record_in


@pytest.fixture(scope="session")
def left_by():
    """What a flow run has left: its record, or the sentence that kept it from leaving one."""

    def left(state):
        try:
            return record_in(state)
        except LabelmillError as sentence:
            return sentence

    return left


@pytest.fixture
def seen():
    """What people see of a flow run: it, its artifacts, and its task runs as soon as their names are those waited for."""

    async def look(flow_run_id, are_all):
        async with get_client() as client:
            mine = FlowRunFilter(id={"any_": [flow_run_id]})
            found = await client.read_artifacts(flow_run_filter=mine)
            tasks = []
            for _ in range(50):
                # Task runs reach the server as events, a moment later.
                tasks = await client.read_task_runs(flow_run_filter=mine)
                if are_all([task_run.name for task_run in tasks]):
                    break
                await asyncio.sleep(0.2)
            return await client.read_flow_run(flow_run_id), found, tasks

    return lambda state, are_all: asyncio.run(look(state.state_details.flow_run_id, are_all))
