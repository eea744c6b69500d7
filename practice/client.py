"""Looking into a running practice provider and setting it up anew: for tests and measurements."""

import json
import urllib.request
from typing import Any

from practice.settings import PracticeSettings

_PATIENCE_SECONDS = 30.0

# Loopback goes through no proxy, whatever the environment says.
_OPENER = urllib.request.build_opener(urllib.request.ProxyHandler({}))


class PracticeClient:
    """What a practice provider tells of itself and lets itself be told; `base_url` is the one it has for models.

    Every call raises OSError where the server does not answer, or refuses.
    """

    def __init__(self, base_url: str) -> None:
        self.base_url = base_url

    def totals(self) -> dict[str, Any]:
        """What the server has counted."""
        return self._ask("totals")

    def reset(self) -> None:
        """Zero the totals, forget which texts were seen, and delete files and batches."""
        self._ask("reset", b"")

    def configure(self, settings: PracticeSettings) -> None:
        """Replace the settings; totals and the attempts of each text stay."""
        self._ask("settings", settings.model_dump_json().encode())

    def _ask(self, name: str, body: bytes | None = None) -> dict[str, Any]:
        address = f"{self.base_url.removesuffix('/v1')}/practice/{name}"
        with _OPENER.open(urllib.request.Request(address, data=body), timeout=_PATIENCE_SECONDS) as response:  # noqa: S310 - an address on loopback
            answer: dict[str, Any] = json.load(response)
        return answer
