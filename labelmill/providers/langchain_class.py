"""Any chat model of LangChain, by the name of its class: on the live lane, through LangChain's standard interface.

Whoever reaches the Prefect server can edit a job. So a class comes from packages of that kind alone, and what it is given is
plain data under the names of its own fields: nothing that is looked up, loaded or called.
"""

import enum
import math
import os
import re
import types
import typing
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from importlib import import_module
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, is_typeddict

from pydantic import BaseModel, SecretStr
from pydantic.fields import FieldInfo

from labelmill.errors import JobRefused, Mistake
from labelmill.installing import installing
from labelmill.job.file import nearest
from labelmill.job.model import Batch, LabelJob, Model, Run
from labelmill.job.variables import variable_named
from labelmill.providers.endpoint import NO_KEY, is_loopback, without_keys
from labelmill.providers.environment import plain_http_client, shared_http_client
from labelmill.providers.extras import in_words
from labelmill.providers.langchain import LangChainChat, langchain_words
from labelmill.providers.protocol import NO_HEADERS, ListedModels, Provider
from labelmill.question.form import AnswerForm

if TYPE_CHECKING:
    from langchain_core.language_models import BaseChatModel

ALLOWED_PACKAGES = "LABELMILL_LANGCHAIN_PACKAGES"
"""The environment variable that names further packages a class may come from, with commas between them."""

_PREFIX = "langchain_"
_PROXY_WANTS_KEY = 407
_NOT_LISTED = 404

Found = Iterator[tuple[str, str]]
"""Mistakes as (place in the job, sentence)."""


class LangChain(Provider):
    """A job names the class and its settings; what all models have stands in the job's own fields, as with any provider."""

    def mistakes(self, model: Model, run: Run | None, batch: Batch | None) -> Found:
        """Also a class that can't be had, and settings that it is not given."""
        yield from super().mistakes(model, run, batch)
        found = list(class_mistakes(model))
        if not found:
            chat_class = _class_of(model.class_name or "")
            found = [
                *_standard_mistakes(model, chat_class, run),
                *settings_mistakes(model.settings, chat_class),
            ]
        if not found:
            try:
                _built(model, model.base_url or "", _key_of(model), AnswerForm(1, None))
            except JobRefused as refused:
                found = [(mistake.where, mistake.sentence) for mistake in refused.mistakes]
        yield from found

    def chat(self, job: LabelJob, base_url: str, api_key: str, form: AnswerForm) -> LangChainChat:
        """The class, made with the job's settings.

        Raises:
            JobRefused: it can't be.
        """
        model = job.model
        found = list(class_mistakes(model))
        found = found or list(settings_mistakes(model.settings, _class_of(model.class_name or "")))
        if found:
            raise JobRefused([Mistake(*one) for one in found])
        made = _built(model, base_url, api_key, form)
        return LangChainChat(made, api_key, tuple(_secrets_of(made, model.settings)))

    def price_id_of(self, model: Model) -> str:
        """By its package, or its class."""
        module, _, name = (model.class_name or "").partition(":")
        words = langchain_words()
        own: str | None = words["price_ids_of_classes"].get(name)
        return own or str(words["price_ids"].get(module.partition(".")[0], ""))

    def list_models(
        self,
        base_url: str,
        api_key: str,  # noqa: ARG002  (it goes where the class sends it, and nowhere else)
        timeout_seconds: float,
        environment: Mapping[str, str] = os.environ,  # noqa: ARG002  (the plain client reads it by itself)
        headers: Mapping[str, str] = NO_HEADERS,  # noqa: ARG002  (it sends none of the job's own)
    ) -> ListedModels:
        """Nobody knows how its models are listed: whether its address can be reached, where the job names one."""
        if not base_url:
            return ListedModels(_NOT_LISTED, "")
        with plain_http_client(base_url) as http:
            status = http.get(base_url, timeout=timeout_seconds).status_code
            return ListedModels(status if status == _PROXY_WANTS_KEY else _NOT_LISTED, "")


LANGCHAIN = LangChain(
    name="langchain",
    base_url="",
    api_key_env="",
    price_id="",
    has_batch_lane=False,
    has_schemas=False,
    takes_class=True,
)


# ---- the class


def class_mistakes(model: Model, environment: Mapping[str, str] = os.environ) -> Found:
    """Why a job's class can't be had; nothing is imported of a package that may not be."""
    if model.class_name is None:
        yield (
            "model.class",
            'this field is missing: the chat model\'s class, such as "langchain_ollama:ChatOllama"',
        )
        return
    package = model.class_name.partition(":")[0].partition(".")[0]
    allowed = {name.strip() for name in environment.get(ALLOWED_PACKAGES, "").split(",")}
    if not package.startswith(_PREFIX) and package not in allowed:
        sentence = (
            f"found {model.class_name!r}, expected a class of a package named {_PREFIX}…; another package is to be "
            f"allowed by name, in the environment variable {ALLOWED_PACKAGES} of whoever runs the job"
        )
        yield "model.class", sentence
    elif find_spec(package) is None:
        name = package.replace("_", "-")
        yield (
            "model.class",
            f"the package {name} is not installed; if you trust it, install it with: {installing(name)}",
        )
    else:
        try:
            found = _class_of(model.class_name)
        except Exception as error:  # noqa: BLE001  (a package may raise anything when it is imported)
            yield "model.class", f"{model.class_name!r} can't be imported ({in_words(error)})"
            return
        own = found.__module__.partition(".")[0]
        if own != package and not own.startswith(_PREFIX) and own not in allowed:
            sentence = f"{model.class_name!r} is a class of the package {own}, which is not allowed: see {ALLOWED_PACKAGES}"
            yield "model.class", sentence


def _class_of(name: str) -> type["BaseChatModel"]:
    """The class of that name.

    Raises:
        ImportError: there is none, or it is no chat model.
    """
    from langchain_core.language_models import BaseChatModel  # noqa: PLC0415  (who names no class needs none)

    module, _, attribute = name.partition(":")
    found = getattr(import_module(module), attribute, None)
    if found is None:
        raise ImportError(f"{module} has no {attribute}")
    if not (isinstance(found, type) and issubclass(found, BaseChatModel)):
        raise ImportError(f"{attribute} is not a LangChain chat model")  # noqa: TRY004  (one error for its caller)
    return found


@cache
def _given_as(chat_class: type["BaseChatModel"]) -> Mapping[str, str]:
    """The names that a class knows its fields by, each with the one that the field is given under."""
    known = {}
    for name, field in chat_class.model_fields.items():
        alias = field.validation_alias if isinstance(field.validation_alias, str) else field.alias
        for each in {name, alias or name}:
            known[each] = alias or name
    return known


def _field_of(chat_class: type["BaseChatModel"], name: str) -> FieldInfo:
    given = _given_as(chat_class)[name]
    fields = chat_class.model_fields
    return fields.get(given) or next(
        field for each, field in fields.items() if given == field.alias or each == name
    )


def _names_of(chat_class: type["BaseChatModel"], parameter: str) -> list[str]:
    """What a class calls what all models have; empty where it has no such thing."""
    known = _given_as(chat_class)
    names = [known[name] for name in langchain_words()["parameters"][parameter] if name in known]
    if not names and parameter == "api_key":
        names = [known[name] for name in known if name.endswith("_api_key") and name == known[name]]
    return list(dict.fromkeys(names))


# ---- its settings

_FIELD_OF_PARAMETER = {
    "model": "model.name",
    "temperature": "model.temperature",
    "max_tokens": "model.max_tokens",
    "timeout_seconds": "model.timeout_seconds",
    "base_url": "model.base_url",
    "api_key": "model.api_key_env",
    "logprobs": "model.confidence",
}
_PLAIN = (str, int, float, bool, type(None), SecretStr)
_CONTAINERS = (dict, list, tuple, set, frozenset, Mapping, Sequence)
_DEEPEST = 6


def settings_mistakes(
    settings: Mapping[str, Any],
    chat_class: type["BaseChatModel"],
    environment: Mapping[str, str] = os.environ,
) -> Found:
    """What of a job's settings a class is not given, and why."""
    for name, value in settings.items():
        place = f"model.settings.{name}"
        sentence = _setting_mistake(name, value, chat_class)
        if sentence:
            yield place, sentence
            continue
        for variable in _variables_in(value):
            if not environment.get(variable):
                yield place, f"neither the environment nor .env has {variable}"


def _setting_mistake(name: str, value: Any, chat_class: type["BaseChatModel"]) -> str | None:  # noqa: PLR0911  (a decision table)
    known = _given_as(chat_class)
    own = chat_class.__name__
    for parameter in langchain_words()["parameters"]:
        if known.get(name) in _names_of(chat_class, parameter):
            if parameter in _FIELD_OF_PARAMETER:
                return f"{own} is given this by {_FIELD_OF_PARAMETER[parameter]}; write it there"
            return "Labelmill sets this itself, so that every request is sent once and counted; take it out"
    if refused := _refused_in({name: value}):
        return f"{refused!r} is not handed on: a setting is plain data, and names neither code nor files nor clients"
    if name not in known:
        close = nearest(name, list(known))
        return f"{own} has no such field" + (f"; did you mean {close!r}?" if close else "")
    annotation = _field_of(chat_class, name).annotation
    if not is_plain(annotation):
        return f"{own} takes an object here, which a job can't hold; take it out"
    if _is_secret(annotation) and not (isinstance(value, str) and variable_named(value)):
        return 'a job must not hold a key; name its environment variable as "env:NAME"'
    if isinstance(value, str) and "://" in value:
        return "an address stands in model.base_url alone"
    return None


@cache
def _refused() -> re.Pattern[str]:
    return re.compile("|".join(f"(?:{pattern})" for pattern in langchain_words()["settings"]["refused"]))


def _refused_in(value: Any) -> str | None:
    """The first name, at any depth, that is never handed on."""
    match value:
        case Mapping():
            for name, inner in value.items():
                if _refused().fullmatch(str(name).casefold()):
                    return str(name)
                if found := _refused_in(inner):
                    return found
        case list():
            return next((found for inner in value if (found := _refused_in(inner))), None)
    return None


def is_plain(annotation: Any, depth: int = 0) -> bool:  # noqa: PLR0911  (a decision table)
    """Whether a field of a type can be given what JSON holds, and makes nothing but data of it."""
    if depth > _DEEPEST:
        return False
    origin, inner = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is typing.Annotated:
        return not any("ImportString" in repr(part) for part in inner[1:]) and is_plain(inner[0], depth)
    if origin is typing.Literal:
        return True
    if origin in {typing.Union, types.UnionType}:
        plain = [is_plain(part, depth + 1) for part in inner if part is not type(None)]
        # What is called can't be made of data; an object of any other class might be.
        return any(plain) and all(
            is_so or _is_callable(part)
            for is_so, part in zip(plain, [part for part in inner if part is not type(None)], strict=True)
        )
    if origin is not None:
        is_container = isinstance(origin, type) and issubclass(origin, _CONTAINERS)
        return is_container and all(part in {Any, ...} or is_plain(part, depth + 1) for part in inner)
    if not isinstance(annotation, type):
        return False
    if is_typeddict(annotation) or annotation in _CONTAINERS:
        return True
    if issubclass(annotation, BaseModel):
        fields = annotation.model_fields.values()
        return all(is_plain(field.annotation, depth + 1) for field in fields)
    return issubclass(annotation, (*_PLAIN, enum.Enum))


def _is_callable(annotation: Any) -> bool:
    origin = typing.get_origin(annotation) or annotation
    return getattr(origin, "__name__", "") == "Callable"


def _is_secret(annotation: Any) -> bool:
    return annotation is SecretStr or any(map(_is_secret, typing.get_args(annotation)))


def _variables_in(value: Any) -> Iterator[str]:
    match value:
        case str():
            if variable := variable_named(value):
                yield variable
        case Mapping():
            for inner in value.values():
                yield from _variables_in(inner)
        case list():
            for inner in value:
                yield from _variables_in(inner)


def _resolved(value: Any, environment: Mapping[str, str]) -> Any:
    """The same with what the variables hold in place of their names."""
    match value:
        case str():
            variable = variable_named(value)
            return environment.get(variable, "").strip() if variable else value
        case Mapping():
            return {name: _resolved(inner, environment) for name, inner in value.items()}
        case list():
            return [_resolved(inner, environment) for inner in value]
        case _:
            return value


# ---- what all models have


def _standard_mistakes(model: Model, chat_class: type["BaseChatModel"], run: Run | None) -> Found:
    """What a job says in its own fields that a class has no name for."""
    own = chat_class.__name__

    def lacks(parameter: str) -> bool:
        return not _names_of(chat_class, parameter)

    if lacks("model"):
        yield "model.class", f"{own} has no field for the model's name; Labelmill can't use it"
    if lacks("temperature") and model.sent_temperature:
        yield "model.temperature", f"{own} has no field for it; leave it out"
    if lacks("base_url") and model.base_url is not None:
        yield "model.base_url", f"{own} has no field for it; leave it out"
    if lacks("api_key") and model.api_key_env is not None:
        yield (
            "model.api_key_env",
            f"{own} has no field for a key; leave it out, and name the class's own variables",
        )
    if lacks("logprobs") and model.confidence:
        yield "model.confidence", f"{own} gives no token probabilities; set confidence = false"
    if lacks("max_tokens"):
        limits = (name for name in Run.model_fields if name.startswith("max_cost_usd"))
        limit = next((name for name in limits if run is not None and getattr(run, name) is not None), None)
        if limit is not None:
            yield f"run.{limit}", f"a budget can't be kept, since {own} has no field for the longest answer"
        if model.max_tokens != "auto":
            yield "model.max_tokens", f"{own} has no field for it; leave it out"


def _key_of(model: Model, environment: Mapping[str, str] = os.environ) -> str:
    return environment.get(model.api_key_env or "", "").strip() or NO_KEY


def _built(model: Model, base_url: str, api_key: str, form: AnswerForm) -> "BaseChatModel":
    """A job's chat model.

    Raises:
        JobRefused: its class won't be made with these settings.
    """
    chat_class = _class_of(model.class_name or "")
    try:
        return chat_class(**_arguments_of(model, chat_class, base_url, api_key, form))
    except Exception as error:  # noqa: BLE001  (a class may raise anything over its settings)
        words = without_keys(in_words(error), (api_key, *_told_secrets(model.settings)))
        sentence = f"{chat_class.__name__} can't be made with these settings: {words}"
        raise JobRefused([Mistake("model.class", sentence)]) from None


def _arguments_of(
    model: Model, chat_class: type["BaseChatModel"], base_url: str, api_key: str, form: AnswerForm
) -> dict[str, Any]:
    """What a class is given: what the job says of every model, under the class's names, and the settings."""
    words = langchain_words()
    package = chat_class.__module__.partition(".")[0]
    told: dict[str, Any] = {
        "model": model.name,
        "temperature": model.sent_temperature,
        "max_tokens": form.max_tokens,
        "timeout_seconds": _timeout_of(model.timeout_seconds, chat_class),
        "max_retries": int(package in words["retries"]["count_the_first"]),
        "base_url": base_url or None,
        "api_key": None if api_key == NO_KEY else api_key,
        "logprobs": model.confidence or None,
        "client_kwargs": _client_settings(model, chat_class, base_url),
    }
    given = {
        names[0]: value
        for parameter, value in told.items()
        if value is not None and (names := _names_of(chat_class, parameter))
    }
    known = _given_as(chat_class)
    given |= {known[name]: model.name for name in words["also_the_model"]["names"] if name in known}
    given |= {known[name]: _resolved(value, os.environ) for name, value in model.settings.items()}
    return given | {"cache": False} | _connections(chat_class, base_url, model.timeout_seconds)


def _timeout_of(seconds: float, chat_class: type["BaseChatModel"]) -> float:
    names = _names_of(chat_class, "timeout_seconds")
    takes: Any = _field_of(chat_class, names[0]).annotation if names else None
    return math.ceil(seconds) if takes is int or typing.get_args(takes) == (int, type(None)) else seconds


def _client_settings(model: Model, chat_class: type["BaseChatModel"], base_url: str) -> dict[str, Any] | None:
    """What an HTTP client is told by a class that has no other way to say it."""
    if _names_of(chat_class, "timeout_seconds"):
        return None
    return {"timeout": model.timeout_seconds, "trust_env": not is_loopback(base_url)}


def _connections(chat_class: type["BaseChatModel"], base_url: str, timeout_seconds: float) -> dict[str, Any]:
    """How families of classes are kept from sending twice, and from taking a proxy to this machine itself."""
    fields = chat_class.model_fields
    if {"config", "region_name"} <= fields.keys():
        from botocore.config import Config  # noqa: PLC0415  (AWS's, of which only these classes know)

        once = {"total_max_attempts": 1, "mode": "standard"}
        direct: dict[str, Any] = {"proxies": {}} if is_loopback(base_url) else {}
        return {
            "config": Config(
                retries=once,
                read_timeout=timeout_seconds,
                connect_timeout=timeout_seconds,
                max_pool_connections=100,
                **direct,
            )
        }
    if any(kind.__name__ == "BaseChatOpenAI" for kind in chat_class.__mro__) and (
        client := shared_http_client(base_url)
    ):
        return {"http_client": client, "http_socket_options": ()}
    return {}


def _secrets_of(made: "BaseChatModel", settings: Mapping[str, Any]) -> Iterator[str]:
    """Whatever a chat model keeps secret, wherever it has it from."""
    for name in type(made).model_fields:
        value = getattr(made, name, None)
        if isinstance(value, SecretStr):
            yield value.get_secret_value()
    yield from _told_secrets(settings)


def _told_secrets(settings: Mapping[str, Any]) -> Iterator[str]:
    for variable in _variables_in(settings):
        yield os.environ.get(variable, "").strip()
