"""The output of a batch: lines of JSON, and the answers they hold."""

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from labelmill.batch.client import BatchAnswer, RowError
from labelmill.batch.wire import HideKey, count_in, mapping_in, name_in, words_in
from labelmill.question.answers import Answer

AnswerOf = Callable[[object], Answer]
"""Reads the body of an answer, whatever it holds. It never raises."""

_BAD_REQUEST = 400
_SERVER_ERROR = 500
_NOT_EXECUTED = {"batch_expired", "batch_cancelled"}


def answers_in(
    results: Iterable[Mapping[str, Any]],
    row_key_of: Mapping[str, str],
    answer_of: AnswerOf,
    hide_key: HideKey,
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
        row = _row_of(row_key, result, answer_of, hide_key)
        if row.answer is None:
            errors.setdefault(row_key, row)
        else:
            answered.add(row_key)
            yield row
    yield from (row for row_key, row in errors.items() if row_key not in answered)


def results_in(lines: Iterable[bytes]) -> Iterator[dict[str, Any]]:
    """The results that lines of JSON hold; what is none is passed over, for the others' sake."""
    for line in lines:
        try:
            result = json.loads(line)
        except (ValueError, RecursionError):
            continue
        if isinstance(result, dict):
            yield result


def _row_of(row_key: str, result: Mapping[str, Any], answer_of: AnswerOf, hide_key: HideKey) -> BatchAnswer:
    response = mapping_in(result.get("response"))
    body, status = response.get("body"), count_in(response.get("status_code"))
    if status < _BAD_REQUEST and (not result.get("error") or _is_answer(body)):
        return BatchAnswer(row_key, answer=answer_of(body))
    error = result.get("error") or mapping_in(body).get("error") or body
    return BatchAnswer(row_key, error=_row_error(error, status, hide_key))


def _is_answer(body: Any) -> bool:
    """Whether a body holds an answer, though an error stands beside it: it was paid."""
    return bool({"choices", "content", "candidates"} & mapping_in(body).keys())


def _row_error(error: Any, status: int, hide_key: HideKey) -> RowError:
    said = error if isinstance(error, Mapping) else {"message": error}
    code = name_in(said.get("code")) or name_in(said.get("type"))
    words = said.get("message") or json.dumps(error, ensure_ascii=False)
    known = status if status >= _BAD_REQUEST else _SERVER_ERROR
    return RowError(None if code in _NOT_EXECUTED else known, code, words_in(words, hide_key))
