"""Any chat model of LangChain as a provider's live model, and what its exceptions mean."""

import time
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from importlib.resources import files
from typing import TYPE_CHECKING, Any, AnyStr

from labelmill.providers.completions import answer_of, error_within
from labelmill.providers.endpoint import without_keys
from labelmill.providers.failures import HideKey, failure_of, failure_of_response
from labelmill.providers.protocol import Reply
from labelmill.providers.refusals import Sent
from labelmill.providers.wire import mapping_in
from labelmill.question.failures import Failure

if TYPE_CHECKING:
    from langchain_core.language_models import BaseChatModel
    from langchain_core.messages import BaseMessage

_ERROR_STATUSES = range(400, 600)


@cache
def langchain_words() -> Mapping[str, Any]:
    """What LangChain's models call the same things, from `langchain.toml`."""
    return tomllib.loads(files(__package__).joinpath("langchain.toml").read_text(encoding="utf-8"))


@dataclass(frozen=True)
class LangChainChat:
    """A `LiveModel` over a LangChain model, whose own retries are to be off (`max_retries=0` with most).

    `secrets` are what beside the key must not be in any words.
    """

    model: "BaseChatModel"
    api_key: str
    secrets: tuple[str, ...] = ()

    def payload_of(self, messages: Sequence["BaseMessage"]) -> list["BaseMessage"]:
        """The messages: the model puts them into its provider's dialect itself."""
        return list(messages)

    def send(self, payload: list["BaseMessage"]) -> Reply:
        """Send one request, past LangChain's cache and callbacks, which the chain has already."""
        from langchain_core.messages import AIMessage  # noqa: PLC0415  (a job is read and checked without LangChain)

        began = time.monotonic()
        try:
            (generation,) = self.model._generate(payload).generations  # noqa: SLF001  (what every LangChain model has to have)
            message = generation.message
            if not isinstance(message, AIMessage):
                return Reply(Failure("bad_response", "the answer is not a model's message"))
            answer = answer_of(message, self._hide_key)
        except Exception as error:  # noqa: BLE001  (something was sent, and may have been paid)
            sent = Sent(texts=tuple(message.text for message in payload))
            return Reply(failure_of_model(error, self._hide_key, sent))
        headers = mapping_in(message.response_metadata.get("headers"))
        return Reply(
            replace(answer, seconds=time.monotonic() - began),
            {str(name).casefold(): str(value) for name, value in headers.items()},
        )

    def _hide_key(self, said: AnyStr) -> AnyStr:
        return without_keys(said, (self.api_key, *self.secrets))


def failure_of_model(error: BaseException, hide_key: HideKey = str, sent: Sent | None = None) -> Failure:
    """Tell what an exception of any LangChain model means for its row: by the HTTP status that it carries, or by its name.

    What has neither counts as `bad_response`, which may have been paid.
    """
    causes = list(_causes_of(error))
    for cause in causes:
        told = _response_in(cause)
        if told is not None:
            status, body, headers = told
            return failure_of_response(status, _hidden(body, hide_key), hide_key(str(cause)), headers, sent)
    for cause in causes:
        if found := _failure_by_name(cause, hide_key) or _failure_within(cause, hide_key):
            return found
    return failure_of(causes[-1] if _is_known(causes[-1]) else error, hide_key, sent)


def _causes_of(error: BaseException) -> Iterator[BaseException]:
    """An exception and what it was raised from, the outermost first."""
    seen: set[int] = set()
    cause: BaseException | None = error
    while cause is not None and id(cause) not in seen:
        seen.add(id(cause))
        yield cause
        cause = cause.__cause__ or (None if cause.__suppress_context__ else cause.__context__)


def _response_in(error: BaseException) -> tuple[int, object, Mapping[str, str]] | None:
    """The status, the body and the headers that an exception carries; None where it carries no status of an error."""
    response: Any = getattr(error, "response", None)
    if isinstance(response, Mapping):  # botocore's
        facts = mapping_in(response.get("ResponseMetadata"))
        said = mapping_in(response.get("Error"))
        body: object = {"error": {"code": said.get("Code"), "message": said.get("Message")}}
        status, headers = facts.get("HTTPStatusCode"), facts.get("HTTPHeaders")
    else:
        status = getattr(response, "status_code", None)
        headers = getattr(response, "headers", None)
        body = _body_of(response)
    if not _is_status(status):
        numbers = (getattr(error, name, None) for name in ("status_code", "http_status", "code"))
        status = next((number for number in numbers if _is_status(number)), None)
        body = getattr(error, "body", None) or getattr(error, "error", None) or str(error)
    if not isinstance(status, int) or not _is_status(status):
        return None
    told = headers if isinstance(headers, Mapping) else {}
    return status, body, {str(name).casefold(): str(value) for name, value in told.items()}


def _is_status(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value in _ERROR_STATUSES


def _body_of(response: Any) -> object:
    try:
        content = response.content
    except Exception:  # noqa: BLE001  (there is none, or it was not read)
        return None
    return content if isinstance(content, bytes | str) else None


def _hidden(body: object, hide_key: HideKey) -> object:
    """A body without the key, before anything of it is read."""
    match body:
        case bytes():
            return hide_key(body.decode(errors="replace"))
        case str():
            return hide_key(body)
        case Mapping():
            return {name: _hidden(value, hide_key) for name, value in body.items()}
        case list():
            return [_hidden(value, hide_key) for value in body]
        case _:
            return body


def _failure_by_name(error: BaseException, hide_key: HideKey) -> Failure | None:
    """What the names of an exception's classes say; None where they say nothing."""
    known = langchain_words()["errors"]
    words = hide_key(f"{type(error).__name__}: {error}")
    names = [kind.__name__ for kind in type(error).__mro__]
    if any(name in known["account"] for name in names):
        return Failure("denied", f"the request can't be sent: {words}", is_account=True)
    if type(error).__name__ in known["unsent"] and getattr(error, "errno", None) is None:
        return Failure("connection", words)
    if any(name in known["cut"] for name in names):
        return Failure("connection", words, may_have_been_paid=True)
    if any(name in known["timeout"] for name in names):
        return Failure("timeout", "the provider did not answer in time", may_have_been_paid=True)
    status = next((known["statuses"][name] for name in names if name in known["statuses"]), None)
    return None if status is None else failure_of_response(status, None, words)


def _failure_within(error: BaseException, hide_key: HideKey) -> Failure | None:
    """What an error within a 200 means, which LangChain's models raise as it is; None where it is none."""
    told = error.args[0] if error.args else None
    if not isinstance(told, Mapping) or not any(told.get(name) for name in ("message", "code")):
        return None
    return error_within({"error": _hidden(told, hide_key)})


_KNOWN = frozenset({"RequestError", "APIConnectionError", "TimeoutException"})


def _is_known(error: BaseException) -> bool:
    return any(kind.__name__ in _KNOWN for kind in type(error).__mro__)
