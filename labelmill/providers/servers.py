"""Which server stands behind an address, as far as its list of models tells, and what that binds answers by: data in `servers.toml`."""

import json
import tomllib
from collections.abc import Mapping
from functools import cache
from importlib.resources import files

from labelmill.providers.endpoint import Endpoint
from labelmill.providers.environment import plain_http_client
from labelmill.providers.protocol import Provider
from labelmill.providers.wire import list_in, mapping_in, name_in
from labelmill.question.binding import Binding

_MOST_BYTES = 4_000_000
_MOST_SECONDS = 10.0


@cache
def _bindings() -> Mapping[str, tuple[Binding, ...]]:
    data = tomllib.loads(files(__package__).joinpath("servers.toml").read_text(encoding="utf-8"))
    return {server["owned_by"]: tuple(map(Binding, server["bindings"])) for server in data["server"]}


def bindings_in(models: object) -> tuple[Binding, ...]:
    """What the server binds answers by whose list of models this is; nothing where it is not known or not one server's."""
    owners = {name_in(mapping_in(model).get("owned_by")) for model in list_in(mapping_in(models).get("data"))}
    return _bindings().get(next(iter(owners)) or "", ()) if len(owners) == 1 else ()


def bindings_told_by(provider: Provider, endpoint: Endpoint, timeout_seconds: float) -> tuple[Binding, ...]:
    """Ask an endpoint for its models, for nothing; whatever else comes of it than their list, nothing is known."""
    base_url = endpoint.base_url or provider.base_url
    try:
        with plain_http_client(base_url) as http:
            answer = http.get(
                provider.url_of(base_url, "/models"),
                headers={**endpoint.own_headers(), **provider.headers(endpoint.api_key())},
                timeout=min(timeout_seconds, _MOST_SECONDS),
            )
            if answer.is_success and len(answer.content) <= _MOST_BYTES:
                return bindings_in(json.loads(answer.content))
    except Exception:  # noqa: BLE001  (the run's own requests will tell what is wrong, in better words)
        return ()
    return ()
