"""Reading a batch's input before any of it is worked on, with the mistakes in OpenAI's words."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from practice.batches.store import Checked, Mistake
from practice.errors import RequestRefusedError
from practice.question import read_question
from practice.settings import PracticeSettings

_MOST_MISTAKES = 100


def check_input(path: Path, endpoint: str, settings: PracticeSettings) -> Checked:
    """How many requests an input holds, or what is wrong with it; one line at a time is in memory."""
    size = path.stat().st_size
    if size > settings.batch_max_bytes:
        most = settings.batch_max_bytes
        message = f"The batch input file is larger than the {most} bytes maximum: it has {size}."
        return Checked(mistakes=(Mistake(code="file_too_large", message=message),))
    reading = _Reading(endpoint, settings)
    with path.open("rb") as lines:
        for number, line in numbered_rows(lines):
            reading.read(number, line)
            if len(reading.mistakes) >= _MOST_MISTAKES:
                break
    return reading.checked()


def numbered_rows(lines: Iterator[bytes]) -> Iterator[tuple[int, bytes]]:
    """The lines that are not blank, with their numbers from 1."""
    return ((number, line) for number, line in enumerate(lines, 1) if line.strip())


class _Reading:
    """What was seen so far."""

    def __init__(self, endpoint: str, settings: PracticeSettings) -> None:
        self.endpoint = endpoint
        self.settings = settings
        self.mistakes: list[Mistake] = []
        self._ids: set[str] = set()
        self._total = 0
        self._input_tokens = 0
        self._model: str | None = None

    def read(self, number: int, line: bytes) -> None:
        """Read one request."""
        self._total += 1
        if self._total == self.settings.batch_max_requests + 1:
            most = self.settings.batch_max_requests
            self._mistake("too_many_tasks", f"The batch has more than the {most} requests allowed.", number)
        try:
            asked = json.loads(line)
        except (ValueError, RecursionError):
            asked = None
        if not isinstance(asked, dict):
            self._mistake("invalid_json_line", "This line is not parseable as valid JSON.", number)
            return
        if self._is_whole(asked, number):
            self._read_model(asked["body"], number)
            self._input_tokens += _input_tokens(asked["body"])

    def checked(self) -> Checked:
        """The result."""
        if not self._total:
            self._mistake("empty_file", "The batch input file is empty.", None)
        if self.mistakes:
            return Checked(model=self._model, mistakes=tuple(self.mistakes))
        return Checked(total=self._total, model=self._model, input_tokens=self._input_tokens)

    def _is_whole(self, asked: dict[str, Any], number: int) -> bool:
        before = len(self.mistakes)
        for name, kind in (("custom_id", str), ("method", str), ("url", str), ("body", dict)):
            if asked.get(name) is None:
                self._mistake(
                    "missing_required_parameter", f"Missing required parameter: '{name}'.", number, name
                )
            elif not isinstance(asked[name], kind):
                self._mistake("invalid_type", f"Invalid type for '{name}'.", number, name)
        if len(self.mistakes) > before:
            return False
        if asked["custom_id"] in self._ids:
            message = f"The custom_id '{asked['custom_id']}' stands in more than one request of this batch."
            self._mistake("duplicate_custom_id", message, number, "custom_id")
        self._ids.add(asked["custom_id"])
        if asked["method"] != "POST":
            self._mistake("invalid_method", "The HTTP method of a request must be POST.", number, "method")
        if asked["url"] != self.endpoint:
            message = "The URL provided for this request does not prefix-match the batch endpoint."
            self._mistake("invalid_url", message, number, "url")
        return True

    def _read_model(self, body: dict[str, Any], number: int) -> None:
        model = body.get("model")
        if not isinstance(model, str) or not model:
            message = "Missing required parameter: 'body.model'."
            self._mistake("missing_required_parameter", message, number, "body.model")
            return
        known = self.settings.known_models
        if known is not None and model not in known:
            message = f"The provided model '{model}' is not supported by the Batch API."
            self._mistake("model_not_found", message, number, "body.model")
        elif self._model is not None and model != self._model:
            message = f"This batch has requests for '{self._model}' and for '{model}': it may have one model."
            self._mistake("mismatched_model", message, number, "body.model")
        self._model = self._model or model

    def _mistake(self, code: str, message: str, line: int | None, param: str | None = None) -> None:
        self.mistakes.append(Mistake(code=code, message=message, line=line, param=param))


def _input_tokens(body: dict[str, Any]) -> int:
    try:
        return read_question(body).input_tokens
    except RequestRefusedError:
        # This row will fail by itself.
        return 0
