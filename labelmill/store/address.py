"""Addresses in object stores, and the one place that turns one into what each reader and writer wants to be told.

Keys come from the environment, or from a profile of AWS's own files; none stands in a job, and none in what is said here.
"""

import configparser
import json
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Self

from labelmill.installing import installing
from labelmill.job.model import Storage

REQUIREMENT = "obstore>=0.12,<0.13"
_URL = re.compile(r"^[A-Za-z][A-Za-z0-9+.-]*://")
_SCHEMES = ("s3", "gs", "az")
_FOR_OTHERS = {"s3a": "s3", "s3n": "s3", "gcs": "gs", "azure": "az", "abfs": "az", "abfss": "az"}
_BUCKET = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{1,221}[A-Za-z0-9]")
_DEFAULT_REGION = "us-east-1"
_AZURE_VARIABLES = {
    "azure_storage_account_key": ("AZURE_STORAGE_ACCOUNT_KEY", "AZURE_STORAGE_KEY"),
    "azure_storage_sas_token": ("AZURE_STORAGE_SAS_TOKEN", "AZURE_STORAGE_SAS_KEY"),
}
_AWS_VARIABLES = {
    "aws_access_key_id": "AWS_ACCESS_KEY_ID",
    "aws_secret_access_key": "AWS_SECRET_ACCESS_KEY",
    "aws_session_token": "AWS_SESSION_TOKEN",
}


def is_url(path: str) -> bool:
    """Whether a path is a URL, such as `s3://bucket/key`."""
    return bool(_URL.match(path))


class AddressError(ValueError):
    """An address that can't be used, in one sentence that says what was found and what was expected."""


@dataclass(frozen=True)
class StoreAddress:
    """A place in an object store: a bucket (Azure's container) and a key in it, or what keys begin with.

    Args:
        scheme: `s3`, `gs` or `az`.
        bucket: the bucket.
        key: without a slash at either end; empty for the whole bucket.
        storage: how the store is reached.
    """

    scheme: str
    bucket: str
    key: str = ""
    storage: Storage = field(default_factory=Storage)

    @classmethod
    def of(cls, url: str, storage: Storage | None = None) -> Self:
        """The place that a URL names.

        Raises:
            AddressError: it names none, or one that can't be reached from here.
        """
        scheme, _, rest = url.partition("://")
        scheme = scheme.lower()
        if scheme not in _SCHEMES:
            other = _FOR_OTHERS.get(scheme)
            meant = f"; for {scheme}:// write {other}://" if other else ""
            raise AddressError(
                f"found {_without_secrets(url)!r}, expected a folder, s3://, gs:// or az://{meant}"
            )
        bucket, _, key = rest.partition("/")
        # A secret may have a slash in it, behind which the rest of the address looks like a key.
        if any(mark in bucket for mark in "@:") or "?" in rest or "#" in rest:
            raise AddressError(
                f"found more than {scheme}://bucket/folder, which is all that an address may be: keys come from the environment, "
                "and settings stand under storage"
            )
        if not _BUCKET.fullmatch(bucket):
            raise AddressError(
                f"found {_without_secrets(url)!r}, which names no bucket; expected {scheme}://bucket/folder"
            )
        parts = key.rstrip("/").split("/") if key.strip("/") else []
        if any(part in {"", ".", ".."} for part in parts):
            raise AddressError(f"found {_without_secrets(url)!r}; a key has no empty part, no . and no ..")
        told = storage or Storage()
        address = cls(scheme, bucket, "/".join(parts), told)
        address._check_storage()
        return address

    def __str__(self) -> str:
        return f"{self.scheme}://{self.bucket}/{self.key}".rstrip("/")

    def child(self, name: str) -> "StoreAddress":
        """A place below this one, by its relative name."""
        return StoreAddress(
            self.scheme, self.bucket, f"{self.key}/{name}" if self.key else name, self.storage
        )

    def holds(self, other: "StoreAddress") -> bool:
        """Whether another place is this one or below it, in the same store."""
        same = (self.scheme, self.bucket, self.endpoint) == (other.scheme, other.bucket, other.endpoint)
        return same and (not self.key or other.key == self.key or other.key.startswith(f"{self.key}/"))

    @property
    def endpoint(self) -> str | None:
        """Where the store answers; None for the cloud's own."""
        if self.storage.endpoint:
            return self.storage.endpoint.rstrip("/")
        names = {
            "s3": ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL", "AWS_ENDPOINT"),
            "az": ("AZURE_STORAGE_ENDPOINT", "AZURE_ENDPOINT"),
        }
        found = (os.environ.get(name) for name in names.get(self.scheme, ()))
        return next((value.rstrip("/") for value in found if value), None)

    def config(self) -> dict[str, Any]:
        """What obstore is told: it and Polars have their settings, and the names of these, from the same library."""
        return {"s3": self._aws, "gs": self._google, "az": self._azure}[self.scheme]()

    def polars_options(self) -> dict[str, str]:
        """What Polars is told as `storage_options`. It ignores in silence what it doesn't know: all names are known ones."""
        options = {name: str(value) for name, value in self.config().items()}
        if self.allows_http:
            prefix = {"s3": "aws", "az": "azure", "gs": "google"}[self.scheme]
            options[f"{prefix}_allow_http"] = "true"
        return options

    @property
    def allows_http(self) -> bool:
        """Whether requests go without TLS, which an endpoint that begins with `http://` says."""
        return (self.endpoint or "").startswith("http://")

    def _aws(self) -> dict[str, Any]:
        keys, region = self._aws_keys()
        told: dict[str, Any] = {
            "aws_region": self.storage.region
            or os.environ.get("AWS_REGION")
            or os.environ.get("AWS_DEFAULT_REGION")
            or region
            or _DEFAULT_REGION
        }
        if self.endpoint:
            told["aws_endpoint_url"] = self.endpoint
        if self.storage.anonymous:
            told["aws_skip_signature"] = "true"
        else:
            told |= keys
        return told

    def _aws_keys(self) -> tuple[dict[str, str], str | None]:
        """The keys of the profile, or of the environment where it has any; and the profile's region."""
        if (profile := self._profile) is not None:
            return aws_profile(profile)
        found = {name: os.environ.get(variable) for name, variable in _AWS_VARIABLES.items()}
        return {name: value for name, value in found.items() if value}, None

    @property
    def _profile(self) -> str | None:
        """The profile whose keys are used: the job's, or the environment's where it holds no keys itself."""
        if self.storage.profile is None and not os.environ.get("AWS_ACCESS_KEY_ID"):
            return os.environ.get("AWS_PROFILE") or None
        return self.storage.profile

    def _google(self) -> dict[str, Any]:
        if self.endpoint is None and not self.storage.anonymous:
            key = os.environ.get("GOOGLE_SERVICE_ACCOUNT_KEY")
            return {"google_service_account_key": key} if key else {}
        account = _json_object(os.environ.get("GOOGLE_SERVICE_ACCOUNT_KEY") or "{}")
        if not account or self.storage.anonymous:
            account = {"disable_oauth": True, "client_email": "", "private_key": "", "private_key_id": ""}
        if self.endpoint:
            account["gcs_base_url"] = self.endpoint
        return {"google_service_account_key": json.dumps(account)}

    def _azure(self) -> dict[str, Any]:
        account = self.storage.account or os.environ.get("AZURE_STORAGE_ACCOUNT_NAME")
        told: dict[str, Any] = {"azure_storage_account_name": account} if account else {}
        if self.endpoint:
            told["azure_endpoint"] = self.endpoint
        if self.storage.anonymous:
            told["azure_skip_signature"] = "true"
            return told
        for name, variables in _AZURE_VARIABLES.items():
            value = next((found for one in variables if (found := os.environ.get(one))), None)
            if value:
                told[name] = value
        return told

    def _check_storage(self) -> None:
        """See that what is told of the store is told to one that knows it: nothing would say so later.

        Raises:
            AddressError: it isn't.
        """
        known = {
            "s3": {"endpoint", "region", "profile", "anonymous"},
            "gs": {"endpoint", "anonymous"},
            "az": {"endpoint", "account", "anonymous"},
        }
        told = self.storage.model_dump(exclude_defaults=True)
        for name in told:
            if name not in known[self.scheme]:
                raise AddressError(f"storage.{name} means nothing to {self.scheme}://; take it out")
        if self.scheme == "s3" and not self.storage.anonymous and self._profile is not None:
            aws_profile(self._profile)


def missing_package() -> str | None:
    """Why no object store can be reached from this installation, and how to mend it; None where one can."""
    if find_spec("obstore") is not None:
        return None
    return f"object stores need the package obstore, which is not installed; install it with: {installing(REQUIREMENT)}"


def aws_profile(name: str) -> tuple[dict[str, str], str | None]:
    """The keys of a profile in AWS's own files, and its region.

    Raises:
        AddressError: there is no such profile, or it has no keys of its own.
    """
    home = Path.home() / ".aws"
    credentials = _ini(os.environ.get("AWS_SHARED_CREDENTIALS_FILE") or home / "credentials")
    config = _ini(os.environ.get("AWS_CONFIG_FILE") or home / "config")
    section = "default" if name == "default" else f"profile {name}"
    found = {
        **config.get(section, {}),
        **credentials.get(name, {}),
    }
    if not found:
        there = sorted({*credentials, *(one.removeprefix("profile ") for one in config)})
        listed = f"there are {', '.join(map(repr, there))}" if there else "there is none"
        raise AddressError(f"found no profile {name!r} in AWS's files; {listed}")
    keys = {setting: found[setting] for setting in _AWS_VARIABLES if found.get(setting)}
    if not {"aws_access_key_id", "aws_secret_access_key"} <= keys.keys():
        raise AddressError(
            f"the profile {name!r} has no keys of its own; put those of a role or of a single sign-on into the environment, "
            f"for example with: aws configure export-credentials --profile {name} --format env"
        )
    return keys, found.get("region")


def _json_object(told: str) -> dict[str, Any]:
    try:
        values = json.loads(told)
    except ValueError:
        values = None
    if not isinstance(values, dict):
        raise AddressError("GOOGLE_SERVICE_ACCOUNT_KEY is not the JSON of a service account's key")
    return values


def _ini(path: str | Path) -> Mapping[str, Mapping[str, str]]:
    parser = configparser.RawConfigParser()
    try:
        parser.read_string(Path(path).expanduser().read_text())
    except (OSError, UnicodeDecodeError):
        return {}
    except configparser.Error:
        raise AddressError(f"{str(path)!r} can't be read as AWS's own programs write it") from None
    return {name: dict(parser[name]) for name in parser.sections()}


def _without_secrets(url: str) -> str:
    """A URL for people: nothing of one that may hold a password or a token, wherever that stands in it."""
    return f"{url.partition('://')[0]}://…" if set("@?#") & set(url) else url
