"""An alert as a service takes it: its body, its address and its signature."""

import base64
import hashlib
import hmac
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

from labelmill.alert.channel import Channel
from labelmill.alert.services import Service, Signature

MOST_CHARACTERS = 2_000
"""A chat is no place for more; where a service takes less, it gets less."""
_ELLIPSIS = "…"


@dataclass(frozen=True)
class Message:
    """What is told of a run: lines for people, of which the first says it all, and the facts for programs."""

    lines: tuple[str, ...]
    facts: Mapping[str, object]


@dataclass(frozen=True)
class Post:
    """A request as it is sent."""

    url: str
    body: bytes


def post_of(message: Message, channel: Channel, now: float) -> Post:
    """The request that tells a service of a run.

    Args:
        message: what is told.
        channel: whom.
        now: the time in seconds since 1970, which signatures hold.
    """
    service = channel.service
    signature = service.signature if channel.secret else None
    signed = _signed(signature, channel.secret or "", now) if signature else {}
    in_body = signed if signature and signature.goes_into == "body" else {}
    if service.body is None:
        return Post(channel.url, _json({"summary": message.lines[0], **message.facts}))
    text = _text_of(message, service, channel.keyword)
    body = _json({**in_body, **_filled(service.body, _escaped(text, service))})
    while service.max_bytes and len(body) > service.max_bytes and text:
        text = text[: len(text) * 3 // 4].removesuffix(_ELLIPSIS) + _ELLIPSIS if len(text) > 1 else ""
        body = _json({**in_body, **_filled(service.body, _escaped(text, service))})
    in_query = signed if signature and signature.goes_into == "query" else {}
    return Post(_with_query(channel.url, in_query), body)


def _text_of(message: Message, service: Service, keyword: str | None) -> str:
    """The lines, cut where they are long. A keyword stands in front, where nothing cuts it off, unless it is there already."""
    text = "\n".join(message.lines)
    if len(text) > MOST_CHARACTERS:
        text = text[:MOST_CHARACTERS].rstrip() + _ELLIPSIS
    first_line = message.lines[0][:MOST_CHARACTERS]
    return f"[{keyword}] {text}" if keyword and keyword not in first_line and service.has_keyword else text


def _escaped(text: str, service: Service) -> str:
    for mark, instead in service.replaced:
        text = text.replace(mark, instead)
    return text


def _filled(body: Any, text: str) -> Any:
    if isinstance(body, Mapping):
        return {name: _filled(value, text) for name, value in body.items()}
    return text if body == "{text}" else body


def _signed(signature: Signature, secret: str, now: float) -> dict[str, str]:
    timestamp = str(round(now * 1000) if signature.unit == "milliseconds" else round(now))
    key, signed = (
        words.replace("{timestamp}", timestamp).replace("{secret}", secret)
        for words in (signature.key, signature.signed)
    )
    digest = hmac.new(key.encode(), signed.encode(), hashlib.sha256).digest()
    return {"timestamp": timestamp, "sign": base64.b64encode(digest).decode()}


def _with_query(url: str, values: Mapping[str, str]) -> str:
    if not values:
        return url
    address, _, fragment = url.partition("#")
    joined = f"{address}{'&' if '?' in address else '?'}{urlencode(values)}"
    return f"{joined}#{fragment}" if fragment else joined


def _json(value: object) -> bytes:
    return json.dumps(value, ensure_ascii=False).encode(errors="replace")
