"""Any chat model of LangChain as a provider's live model."""

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial

from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, BaseMessage

from labelmill.providers.completions import answer_of
from labelmill.providers.endpoint import without_key
from labelmill.providers.failures import failure_of
from labelmill.providers.protocol import Reply
from labelmill.providers.refusals import Sent
from labelmill.providers.wire import mapping_in
from labelmill.question.failures import Failure


@dataclass(frozen=True)
class LangChainChat:
    """A `LiveModel` over a LangChain model, whose own retries are to be off (`max_retries=0` with most)."""

    model: BaseChatModel
    api_key: str

    def payload_of(self, messages: Sequence[BaseMessage]) -> list[BaseMessage]:
        """The messages: the model puts them into its provider's dialect itself."""
        return list(messages)

    def send(self, payload: list[BaseMessage]) -> Reply:
        """Send one request, past LangChain's cache and callbacks, which the chain has already."""
        hide_key = partial(without_key, key=self.api_key)
        began = time.monotonic()
        try:
            (generation,) = self.model._generate(payload).generations  # noqa: SLF001  (what every LangChain model has to have)
            message = generation.message
            if not isinstance(message, AIMessage):
                return Reply(Failure("bad_response", "the answer is no message of a model"))
            answer = answer_of(message, hide_key)
        except Exception as error:  # noqa: BLE001  (something was sent, and may have been paid)
            sent = Sent(texts=tuple(message.text for message in payload))
            return Reply(failure_of(error, hide_key, sent))
        headers = mapping_in(message.response_metadata.get("headers"))
        return Reply(
            replace(answer, seconds=time.monotonic() - began),
            {str(name).casefold(): str(value) for name, value in headers.items()},
        )
