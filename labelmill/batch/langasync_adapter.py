"""langasync's adapter for OpenAI, kept from losing what it reads and from changing what is sent.

Of langasync 0.2.3 this takes the adapter alone: its own handles drop the rows of an expired batch, its results have no
row they belong to, its job store pickles code, and its poller marks answers as fetched before they are saved.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Self

import httpx
from langasync.providers.openai import OpenAIProviderJobAdapter
from langasync.settings import LangasyncSettings

from labelmill.batch.client import no_note
from labelmill.batch.output import results_in
from labelmill.batch.wire import FILE_NAME, PAGE_LIMIT, Batch, files_of, id_of, page_in
from labelmill.providers.endpoint import OPENAI_BASE_URL, Endpoint

_TRANSFER_SECONDS = 600.0
"""For files: a wait for the next piece, not for the whole."""


class WholeAdapter(OpenAIProviderJobAdapter):
    """The adapter for one call, in an `async with`: its connections break in another event loop."""

    def __init__(
        self,
        endpoint: Endpoint,
        timeout_seconds: float,
        metadata: Mapping[str, str] | None = None,
        requests: Sequence[Mapping[str, Any]] = (),
        uploaded: Callable[[str], None] = no_note,
    ) -> None:
        # All of it given, under the names that precede: langasync reads the environment and any .env by itself.
        super().__init__(
            LangasyncSettings(
                _env_file=None,
                OPENAI_API_KEY=endpoint.api_key(),
                OPENAI_BASE_URL=(endpoint.base_url or OPENAI_BASE_URL).rstrip("/"),
            )
        )
        self._timeout_seconds = timeout_seconds
        self._metadata = metadata
        self._requests = requests
        self._uploaded = uploaded

    async def __aenter__(self) -> Self:
        """Open its connections."""
        await self._client.aclose()
        self._client = _Client(self._client.headers, self._timeout_seconds, self._metadata)
        return self

    async def __aexit__(self, *_: object) -> None:
        """Close them."""
        await self._client.aclose()

    async def batch(self, batch_id: str) -> Batch:
        """A batch as the provider tells of it: langasync's word for `cancelling` is `cancelled`."""
        return await self._object(f"/batches/{batch_id}")

    async def page(self, after: str | None) -> tuple[Sequence[Batch], bool]:
        """One page of the list of batches, newest first, and whether there are more."""
        answer = await self._object("/batches", limit=PAGE_LIMIT, **({"after": after} if after else {}))
        return page_in(answer), bool(answer.get("has_more"))

    async def results(self, batch_id: str) -> list[dict[str, Any]]:
        """The lines of a batch's files, whole: langasync drops why an answer ended, and breaks at a row that was not executed."""
        lines: list[dict[str, Any]] = []
        for file_id in files_of(await self.batch(batch_id)):
            response = await self._client.get(f"{self.base_url}/files/{file_id}/content")
            lines += results_in(response.raise_for_status().content.split(b"\n"))
        return lines

    async def delete(self, file_id: str) -> None:
        """Delete a file; one that is gone already is left so."""
        response = await self._client.delete(
            f"{self.base_url}/files/{file_id}", timeout=self._timeout_seconds
        )
        if response.status_code != httpx.codes.NOT_FOUND:
            response.raise_for_status()

    async def ask_to_cancel(self, batch_id: str) -> None:
        """Ask for the end of a batch. langasync's own `cancel` waits for it, and takes no refusal in."""
        (await self._client.post(f"{self.base_url}/batches/{batch_id}/cancel")).raise_for_status()

    async def _object(self, path: str, **query: Any) -> Batch:
        response = await self._client.get(self.base_url + path, params=query, timeout=self._timeout_seconds)
        answer = response.raise_for_status().json()
        if not isinstance(answer, dict):
            raise ValueError("the answer is no JSON object")  # noqa: TRY004  (not our caller's mistake)
        return answer

    def _get_model_config(self, _: Any, model_bindings: dict[str, Any] | None = None) -> dict[str, Any]:
        """What all requests say but for their messages: what is bound, and nothing of the model's own."""
        return dict(model_bindings or {})

    async def _upload_batch_file(self, jsonl_content: str) -> str:
        """Upload the requests, each with its own id and with what it alone says: langasync knows one model configuration a batch.

        They go up as they were measured: langasync's own file would hold twice the bytes of a Chinese text.
        """
        lines = map(_line_of, jsonl_content.split("\n"), self._requests)
        response = await self._client.post(
            f"{self.base_url}/files",
            files={"file": (FILE_NAME, "\n".join(lines).encode(), "application/jsonl")},
            data={"purpose": "batch"},
        )
        file_id = id_of(response.raise_for_status().json())
        self._uploaded(file_id)
        return file_id


def _line_of(written: str, asked: Mapping[str, Any]) -> str:
    """A request as langasync wrote it, with what it leaves out."""
    request = json.loads(written)
    body = {**asked["body"], "messages": request["body"]["messages"]}
    return json.dumps({**request, "custom_id": asked["custom_id"], "body": body}, ensure_ascii=False)


class _Client(httpx.AsyncClient):
    """Connections that wait for files, follow redirects, and put into the making of a batch what langasync leaves out."""

    def __init__(
        self, headers: httpx.Headers, timeout_seconds: float, metadata: Mapping[str, str] | None
    ) -> None:
        super().__init__(headers=headers, timeout=_TRANSFER_SECONDS, follow_redirects=True)
        self._timeout_seconds = timeout_seconds
        self._metadata = metadata

    async def post(self, url: Any, **options: Any) -> httpx.Response:
        if "json" in options:
            options["json"] = {**options["json"], "metadata": dict(self._metadata or {})}
        if "files" not in options:
            options["timeout"] = self._timeout_seconds
        return await super().post(url, **options)
