"""What a command imports sooner or later, for processes that are forked into commands."""

import fastapi  # noqa: F401
import genai_prices.data  # noqa: F401
import httpcore2  # noqa: F401
import httpx2  # noqa: F401
import numpy as np  # noqa: F401
import openai.resources  # noqa: F401
import prefect.flow_engine
import prefect.task_engine  # noqa: F401

import flows.compare
import flows.label  # noqa: F401
import tasks.states  # noqa: F401
