"""The output of a batch: lines of JSON, and the answers they hold."""

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from typing import Any

from langchain_core.messages import AIMessage
from langchain_openai import ChatOpenAI
from openai.types.chat import ChatCompletion
from pydantic import SecretStr

from labelmill.batch.client import BatchAnswer, RowError
from labelmill.batch.wire import mapping_in
from labelmill.model.endpoint import NO_KEY
from labelmill.model.failures import printable

_OK = 200
_BAD_REQUEST = 400
_SERVER_ERROR = 500
_NOT_EXECUTED = {"batch_expired", "batch_cancelled"}


def answers_in(
    results: Iterable[Mapping[str, Any]],
    row_key_of: Mapping[str, str],
    message_of: Callable[[Mapping[str, Any]], AIMessage],
    hide_key: Callable[[str], str],
) -> Iterator[BatchAnswer]:
    """What came of the rows, as it is read: at most one answer for a row, and an error only where there is none.

    `row_key_of` tells the row key from a result's `custom_id`. Results of other rows are passed over.
    """
    answered: set[str] = set()
    errors: dict[str, BatchAnswer] = {}
    for result in results:
        row_key = row_key_of.get(str(result.get("custom_id")))
        if row_key is None or row_key in answered:
            continue
        answer = _answer_of(row_key, result, message_of)
        if answer.message is None:
            errors.setdefault(row_key, answer)
        else:
            answered.add(row_key)
            yield answer
    for row_key, answer in errors.items():
        if row_key not in answered and answer.error:
            yield replace(answer, error=replace(answer.error, message=hide_key(answer.error.message)))


def results_in(lines: Iterable[bytes]) -> Iterator[dict[str, Any]]:
    """The results that lines of JSON hold; what is none is passed over, for the others' sake."""
    for line in lines:
        try:
            result = json.loads(line)
        except (ValueError, RecursionError):
            continue
        if isinstance(result, dict):
            yield result


def _answer_of(
    row_key: str, result: Mapping[str, Any], message_of: Callable[[Mapping[str, Any]], AIMessage]
) -> BatchAnswer:
    response = mapping_in(result.get("response"))
    body = mapping_in(response.get("body"))
    error = result.get("error")
    status = response.get("status_code")
    if error or (isinstance(status, int) and status >= _BAD_REQUEST):
        return BatchAnswer(
            row_key, error=_row_error(error or body.get("error") or response.get("body"), status)
        )
    try:
        return BatchAnswer(row_key, message=message_of(body))
    except Exception as unreadable:  # noqa: BLE001  (a body may be anything at all)
        words = printable(f"{type(unreadable).__name__}: {unreadable}")
        return BatchAnswer(row_key, error=RowError(_OK, "bad_response", words))


def _row_error(error: Any, status: Any) -> RowError:
    said = error if isinstance(error, Mapping) else {"message": error}
    code = said.get("code") or said.get("type")
    known = status if isinstance(status, int) and status >= _BAD_REQUEST else _SERVER_ERROR
    return RowError(
        None if code in _NOT_EXECUTED else known,
        str(code) if code else None,
        printable(str(said.get("message") or json.dumps(error))),
    )


class CompletionReader(ChatOpenAI):
    """Makes of a completion's body the message that the live chain's model makes of it. It sends nothing."""

    @classmethod
    def of(cls, model_name: str) -> "CompletionReader":
        """The reader of a model's completions."""
        return cls(
            model=model_name, api_key=SecretStr(NO_KEY), base_url="http://127.0.0.1", use_responses_api=False
        )

    def message_of(self, body: Mapping[str, Any]) -> AIMessage:
        """The message.

        Raises:
            Exception: of any kind, where the body is no chat completion.
        """
        # As the client builds it live: of a plain dict LangChain would leave out the refusal.
        result = self._create_chat_result(ChatCompletion.construct(**body))
        generation = result.generations[0]
        message = generation.message
        if not isinstance(message, AIMessage):
            raise TypeError(f"the answer is a message of the role {message.type!r}")
        # LangChain does this when it generates, which is where the live chain's facts come from.
        message.response_metadata = {
            **(result.llm_output or {}),
            **(generation.generation_info or {}),
            **message.response_metadata,
        }
        return message
