"""Endpoints that don't take every field: which of a request's they refuse, as the settings tell, in OpenAI's words."""

from collections.abc import Mapping
from itertools import pairwise
from typing import Any

from practice.errors import RequestRefusedError
from practice.settings import PracticeSettings

SYSTEM, ROLES = "system", "roles"
"""What no field of the body is called: a system message, and roles that don't alternate."""


def refuse_fields(body: Any, settings: PracticeSettings) -> None:
    """Refuse a request that holds what the settings say is not taken.

    Raises:
        RequestRefusedError: with the settings' status: it does.
    """
    if not settings.refused_fields or not isinstance(body, Mapping):
        return
    refused = next((name for name in settings.refused_fields if _holds(body, name)), None)
    if refused is None:
        return
    status = settings.refusal_status
    if refused == SYSTEM:
        raise RequestRefusedError(status, "System role not supported")
    if refused == ROLES:
        raise RequestRefusedError(
            status, "Conversation roles must alternate user/assistant/user/assistant/..."
        )
    field, _, value = refused.partition(".")
    if value:
        message = f"Invalid parameter: '{field}' of type '{value}' is not supported with this model."
        raise RequestRefusedError(status, message, param=field)
    message = f"Unsupported parameter: '{field}' is not supported with this model."
    raise RequestRefusedError(status, message, "unsupported_parameter", param=field)


def _holds(body: Mapping[str, Any], name: str) -> bool:
    messages = body.get("messages")
    roles = [
        message.get("role")
        for message in (messages if isinstance(messages, list) else ())
        if isinstance(message, Mapping)
    ]
    if name == SYSTEM:
        return "system" in roles
    if name == ROLES:
        said = [role for role in roles if role != "system"]
        return any(one == other for one, other in pairwise(said))
    field, _, kind = name.partition(".")
    if not kind:
        return body.get(field) is not None
    value = body.get(field)
    return isinstance(value, Mapping) and value.get("type") == kind
