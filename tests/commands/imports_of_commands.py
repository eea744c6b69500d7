"""What a command imports sooner or later, for processes that are forked into commands."""

import functools
import os
import ssl

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

_create = functools.cache(lambda _, *given, _made=ssl.create_default_context, **named: _made(*given, **named))


def _shared_context(*given, **named):
    """Certificates are read once, and not 20 ms long by every client of every fork; others where the environment says so."""
    told = tuple(os.environ.get(name) for name in ("SSL_CERT_FILE", "SSL_CERT_DIR"))
    return _create(told, *given, **named)


ssl.create_default_context = _shared_context
for _client in (httpx.Client, httpx2.Client):
    _client().close()  # what it reads, its forks need not
