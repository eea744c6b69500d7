"""What a command imports sooner or later, for processes that are forked into commands."""

import sys
from pathlib import Path

import fastapi  # noqa: F401
import httpx
import prefect.flow_engine
import prefect.task_engine  # noqa: F401

import tasks.states  # noqa: F401

sys.path.append(str(Path(__file__).parents[1]))
import imports_of_runs  # noqa: F401

httpx.Client().close()  # what it reads, its forks need not
