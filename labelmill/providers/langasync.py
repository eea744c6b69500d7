"""langasync as a choice: it makes the batches of OpenAI and compatible endpoints. It needs the extra of that name.

Of langasync 0.2.3 this takes the adapter for OpenAI, and of that the making of a batch alone: its own handles drop the rows
of an expired batch, its results have no row they belong to, its job store pickles code, and its poller marks answers as
fetched before they are saved. What comes back is read as it is from OpenAI's client.
"""

import asyncio
import json
import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from labelmill.installing import installing
from labelmill.providers.batches import TRANSFER_SECONDS, id_of
from labelmill.providers.endpoint import Endpoint

if TYPE_CHECKING:
    import httpx

FILE_NAME = "requests.jsonl"
"""What an upload is called: another ending is refused."""
REQUIREMENT = "langasync==0.2.3"
"""What the extra of pyproject.toml brings."""
_MODULE = "langasync.providers.openai"

# It logs each error before it raises it, with words that may hold the key.
logging.getLogger("langasync").setLevel(logging.CRITICAL + 1)


def mistakes() -> Iterator[str]:
    """What keeps langasync from being used on this machine."""
    try:
        import_module(_MODULE)
    except (ImportError, ValueError) as error:  # it reads the environment when it is imported
        words = str(error).splitlines()[0]
        yield (
            f"langasync can't be used here ({words}); install it with: {installing(REQUIREMENT)}, "
            'or set batch.adapter = "openai"'
        )


def send(  # noqa: PLR0913, PLR0917  (what any sending of a batch takes)
    endpoint: Endpoint,
    base_url: str,
    requests: Path,
    metadata: Mapping[str, str],
    uploaded: Callable[[str], None],
    timeout_seconds: float,
) -> str:
    """Upload a file of requests and make a batch of it; returns the batch's id. Nothing is tried twice.

    Raises:
        Exception: what the provider, the network or `uploaded` raises, without langasync's wrapping.
    """
    from langasync.exceptions import LangAsyncError  # noqa: PLC0415

    with requests.open("rb") as lines:
        asked = [json.loads(line) for line in lines]
    try:
        # In a thread of its own: a notebook's has a running loop already.
        with ThreadPoolExecutor(1) as own:
            making = _make(endpoint, base_url, asked, metadata, uploaded, timeout_seconds)
            return own.submit(asyncio.run, making).result()
    except LangAsyncError as error:
        cause = error.__cause__ or ValueError(str(error))
    raise cause


async def _make(  # noqa: PLR0913, PLR0917
    endpoint: Endpoint,
    base_url: str,
    asked: Sequence[Mapping[str, Any]],
    metadata: Mapping[str, str],
    uploaded: Callable[[str], None],
    timeout_seconds: float,
) -> str:
    import httpx  # noqa: PLC0415
    from langasync.providers.interface import NullLanguageModel  # noqa: PLC0415
    from langasync.providers.openai import OpenAIProviderJobAdapter  # noqa: PLC0415
    from langasync.settings import LangasyncSettings  # noqa: PLC0415
    from langchain_core.messages import convert_to_messages  # noqa: PLC0415

    # All of it given, under the names that precede: langasync reads the environment and any .env by itself.
    settings = LangasyncSettings(
        _env_file=None, OPENAI_API_KEY=endpoint.api_key(), OPENAI_BASE_URL=base_url.rstrip("/")
    )
    adapter: Any = OpenAIProviderJobAdapter(settings)

    async def upload(written: str) -> str:
        # As they were measured, each with its own id and with what it alone says: langasync knows one model configuration
        # a batch, and its own file would hold twice the bytes of a Chinese text.
        lines = map(_line_of, written.split("\n"), asked)
        response = await adapter._client.post(  # noqa: SLF001
            f"{adapter.base_url}/files",
            files={"file": (FILE_NAME, "\n".join(lines).encode(), "application/jsonl")},
            data={"purpose": "batch"},
            timeout=TRANSFER_SECONDS,
        )
        file_id = id_of(response.raise_for_status().json())
        uploaded(file_id)
        return file_id

    adapter._upload_batch_file = upload  # noqa: SLF001
    # Each request brings what it says; nothing is the model's own.
    adapter._get_model_config = lambda *_: {}  # noqa: SLF001
    headers = httpx.Headers({**endpoint.own_headers(), **adapter._client.headers})  # noqa: SLF001
    await adapter._client.aclose()  # noqa: SLF001
    async with httpx.AsyncClient(headers=headers, timeout=timeout_seconds, follow_redirects=True) as client:
        adapter._client = _MakingClient(client, metadata)  # noqa: SLF001
        inputs = [convert_to_messages(request["body"]["messages"]) for request in asked]
        return id_of({"id": (await adapter.create_batch(inputs, NullLanguageModel())).id})


def _line_of(written: str, asked: Mapping[str, Any]) -> str:
    """A request as langasync wrote it, with what it leaves out."""
    request = json.loads(written)
    body = {**asked["body"], "messages": request["body"]["messages"]}
    return json.dumps({**request, "custom_id": asked["custom_id"], "body": body}, ensure_ascii=False)


class _MakingClient:
    """A client as langasync uses it to make a batch; it puts in what langasync leaves out."""

    def __init__(self, client: "httpx.AsyncClient", metadata: Mapping[str, str]) -> None:
        self._client = client
        self._metadata = dict(metadata)

    async def post(self, url: Any, **options: Any) -> "httpx.Response":
        if "json" in options:
            options["json"] = {**options["json"], "metadata": self._metadata}
        return await self._client.post(url, **options)
