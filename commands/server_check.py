"""Whether the Prefect server that this machine is told of can be used: where it can't, a sentence before anything is spent.

Prefect's own client tries for a minute and ends in a traceback.
"""

import base64
import json
import os
import re
import ssl
import sys
from collections.abc import Callable, Mapping
from datetime import datetime
from http import HTTPStatus
from pathlib import Path
from typing import NamedTuple, TypeVar
from urllib.parse import urlsplit

import httpx

from labelmill.errors import JobRefused, LabelmillError, Mistake
from labelmill.job.model import LabelJob
from labelmill.providers.environment import without_credentials
from labelmill.providers.failures import connection_words, in_one_line
from labelmill.run.record import Record
from labelmill.store.folder import OutputFolder

R = TypeVar("R", bound=Record)

CONNECT_SECONDS = 5.0
ANSWER_SECONDS = 20.0
_SHOWN_CHARACTERS = 80
_PASSWORD = "PREFECT_API_AUTH_STRING"  # noqa: S105  (the name of a variable)


class Told(NamedTuple):
    """What a server answered to the question for its version."""

    status: int
    body: str


class Credentials(NamedTuple):
    """What Prefect's clients show a server, by their settings."""

    password: str | None = None
    api_key: str | None = None
    headers: Mapping[str, str] = {}

    def as_headers(self) -> dict[str, str]:
        """The headers of a request."""
        if self.password:
            basic = base64.b64encode(self.password.encode()).decode()
            return {**self.headers, "Authorization": f"Basic {basic}"}
        return {**self.headers, **({"Authorization": f"Bearer {self.api_key}"} if self.api_key else {})}


def require_server(api_url: str) -> None:
    """See that a Prefect server answers at an address, takes the password and is one that Prefect's client speaks to.

    Raises:
        JobRefused: with what the user can mend.
    """
    from prefect import __version__  # noqa: PLC0415  (importing Prefect takes seconds)
    from prefect.settings import (  # noqa: PLC0415
        PREFECT_API_SSL_CERT_FILE,
        PREFECT_API_TLS_INSECURE_SKIP_VERIFY,
        PREFECT_CLOUD_API_URL,
        get_current_settings,
    )

    settings = get_current_settings()
    secrets = settings.api.auth_string, settings.api.key
    password, key = (secret.get_secret_value() if secret else None for secret in secrets)
    credentials = Credentials(password, key, settings.client.custom_headers)
    is_cloud = api_url.startswith(PREFECT_CLOUD_API_URL.value())
    try:
        context = _tls(
            PREFECT_API_SSL_CERT_FILE.value(), insecure=PREFECT_API_TLS_INSECURE_SKIP_VERIFY.value()
        )
        with httpx.Client(
            verify=context,
            timeout=httpx.Timeout(ANSWER_SECONDS, connect=CONNECT_SECONDS),
            follow_redirects=True,
            headers=credentials.as_headers(),
        ) as client:
            answer = client.get(f"{api_url.rstrip('/')}/{'health' if is_cloud else 'admin/version'}")
            told = Told(answer.status_code, answer.text)
    except (httpx.HTTPError, httpx.InvalidURL, UnicodeError, OSError) as error:
        raise JobRefused([away(api_url, error)]) from None
    if mistake := mistake_of(api_url, told, credentials, __version__, is_cloud=is_cloud):
        raise JobRefused([mistake])


class ServerLost(LabelmillError):  # noqa: N818  (the name is the sentence)
    """A server that went away in the middle of a run, which has left no record."""


_lost: list[str] = []


def end_without_server(exit_code: int) -> int:
    """The exit code, unless the run has lost its server: then the process ends here.

    Prefect would hold it up at its end for seconds over every event that the server has not heard.
    """
    if _lost:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(exit_code)
    return exit_code


def record_left(
    error: Exception, api_url: str, job: LabelJob, began: datetime, read: Callable[[Path], R | None]
) -> R:
    """The record of a run whose end its server has not heard of, with a last sentence that says so.

    Args:
        error: what Prefect raised.
        api_url: the server's address.
        job: what was run.
        began: when it began.
        read: reads the record in a run's folder; None where there is none.

    Raises:
        ServerLost: it has left none, since it was not over.
        Exception: the error, where the server answers, which then is not to blame.
    """
    try:
        require_server(api_url)
    except JobRefused as refused:
        words = str(refused)
    else:
        raise error
    _lost.append(api_url)
    folders = sorted(OutputFolder.of(job).runs.glob("*/"), reverse=True)
    record = next((found for folder in folders[:1] if (found := read(folder)) is not None), None)
    if record is None or record.status == "running" or record.started_at_utc < began:
        sentence = (
            f"the run lost its server: {words}. What was paid is kept, and the next run goes on from it"
        )
        raise ServerLost(sentence) from None
    sentence = f"The run's page does not show how it ended, and what was labeled is kept: {words}"
    return record.model_copy(update={"omissions": [*record.omissions, sentence]})


def _tls(authorities: str | None, *, insecure: bool) -> ssl.SSLContext:
    """What Prefect's client trusts.

    Raises:
        JobRefused: the file of certificates can't be read.
    """
    if insecure:
        context = ssl.create_default_context()
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        return context
    try:
        return ssl.create_default_context(cafile=authorities) if authorities else httpx.create_ssl_context()
    except OSError as error:
        sentence = f"found {authorities!r}, expected a PEM file of certificates ({in_one_line(str(error))})"
        raise JobRefused([Mistake("PREFECT_API_SSL_CERT_FILE", sentence)]) from None


def away(api_url: str, error: BaseException) -> Mistake:
    """What is said of a server that no request reaches."""
    words = connection_words(error).replace(" in SSL_CERT_FILE", " in PREFECT_API_SSL_CERT_FILE")
    # The address stands in the sentence already.
    words = re.sub(r"^nothing answers at \S+: ", "", words)
    return Mistake("", f"no Prefect server answers at PREFECT_API_URL = {_shown(api_url)}: {words}")


def mistake_of(
    api_url: str, told: Told, credentials: Credentials, client_version: str, *, is_cloud: bool = False
) -> Mistake | None:
    """What a user has to mend where a server has answered so; None where it can be used."""
    where = f"PREFECT_API_URL = {_shown(api_url)}"
    if told.status in {HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN}:
        return _password_mistake(where, told, credentials, is_cloud=is_cloud)
    if told.status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        said = _words_of(told.body)
        sentence = f"the Prefect server at {where} is in trouble: it answers with status {told.status}{said}"
        return Mistake("", f"{sentence}; try again in a moment, and look at its log otherwise")
    if is_cloud and told.status == HTTPStatus.OK:
        return None
    version = _version_in(told.body) if told.status == HTTPStatus.OK else None
    if version is None:
        found = "a web page" if "<html" in told.body[:1000].casefold() else f"status {told.status}"
        sentence = (
            f"what answers at {where} is no Prefect API (found {found}); the address ends in /api as a rule"
        )
        if not urlsplit(api_url).path.rstrip("/").endswith("/api"):
            sentence += f", so try {_shown(api_url).rstrip('/')}/api"
        return Mistake("", sentence)
    ours = client_version.partition(".")[0]
    if version.partition(".")[0] != ours:
        return Mistake(
            "",
            f"the server at {where} is Prefect {version}, and Labelmill comes with Prefect {client_version}: "
            f"upgrade the server to Prefect {ours}, or name another server",
        )
    return None


def _password_mistake(where: str, told: Told, credentials: Credentials, *, is_cloud: bool) -> Mistake:
    if is_cloud:
        found = "refuses the key in" if credentials.api_key else "wants a key: set"
        return Mistake("PREFECT_API_KEY", f"Prefect Cloud at {where} {found} PREFECT_API_KEY")
    if credentials.password:
        refused = "does not accept the password in"
        what = "it has to be what PREFECT_SERVER_API_AUTH_STRING says on the server"
        return Mistake(
            _PASSWORD, f"the Prefect server at {where} {refused} {_PASSWORD} ({told.status}); {what}"
        )
    what = f'set {_PASSWORD} to it, here or in .env, as "user:password"'
    return Mistake(_PASSWORD, f"the Prefect server at {where} wants a password ({told.status}): {what}")


def _version_in(body: str) -> str | None:
    try:
        version = json.loads(body)
    except ValueError:
        return None
    return version if isinstance(version, str) and version[:1].isdigit() else None


def _words_of(body: str) -> str:
    words = "" if "<" in body else in_one_line(body)[:_SHOWN_CHARACTERS]
    return f" ({words})" if words else ""


def _shown(api_url: str) -> str:
    return without_credentials(api_url)
