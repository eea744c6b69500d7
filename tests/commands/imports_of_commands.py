"""What a command imports sooner or later, for processes that are forked into commands."""

import sys
from pathlib import Path

import fastapi  # noqa: F401
import genai_prices.data  # noqa: F401
import httpcore2  # noqa: F401
import httpx
import httpx2
import numpy as np  # noqa: F401
import openai.resources  # noqa: F401
import prefect.flow_engine
import prefect.task_engine  # noqa: F401

import flows.compare
import flows.label  # noqa: F401
import tasks.states  # noqa: F401

sys.path.append(str(Path(__file__).parents[1]))
from certificates import share_certificates

share_certificates()
for _client in (httpx.Client, httpx2.Client):
    _client().close()  # what it reads, its forks need not
