"""What a run imports and reads sooner or later, for processes that are forked into runs: it saves each most of a second."""

import genai_prices.data
import genai_prices.decompose  # noqa: F401
import httpx  # noqa: F401
import httpx2
import jiter  # noqa: F401
import langchain_openai
import numpy as np  # noqa: F401
import openai.resources  # noqa: F401
import tiktoken  # noqa: F401
from certificates import share_certificates

import labelmill.pipeline.label
import labelmill.pipeline.preview
import labelmill.providers.first_models  # noqa: F401
from labelmill.report import page

langchain_openai.ChatOpenAI  # noqa: B018  (imported when it is asked for)
share_certificates()
httpx2.Client().close()
page._template()
