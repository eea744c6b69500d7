"""How the practice provider says no: OpenAI's error body, with a status and headers."""

from dataclasses import dataclass, field
from typing import Any


@dataclass(eq=False)
class RequestRefusedError(Exception):
    """A request that gets an error instead of an answer."""

    status: int
    message: str
    code: str | None = None
    type: str = "invalid_request_error"
    param: str | None = None
    headers: dict[str, str] = field(default_factory=dict)

    @property
    def body(self) -> dict[str, Any]:
        """The error as OpenAI writes it."""
        said = {"message": self.message, "type": self.type, "param": self.param, "code": self.code}
        return {"error": said}


def malformed(message: str, param: str | None = None) -> RequestRefusedError:
    """400: the request cannot be read."""
    return RequestRefusedError(400, message, param=param)


def wrong_key() -> RequestRefusedError:
    """401: the API key is not the required one."""
    return RequestRefusedError(401, "Incorrect API key provided to the practice provider.", "invalid_api_key")


def unknown_model(model: str) -> RequestRefusedError:
    """404: the practice provider was told not to know this model."""
    message = f"The model `{model}` does not exist or you do not have access to it."
    return RequestRefusedError(404, message, "model_not_found", param="model")


def rate_limited(message: str, headers: dict[str, str]) -> RequestRefusedError:
    """429: come back later."""
    return RequestRefusedError(429, message, "rate_limit_exceeded", "requests", headers=headers)


def quota_exhausted() -> RequestRefusedError:
    """429 that no waiting heals."""
    message = "You exceeded your current quota, please check your plan and billing details."
    return RequestRefusedError(429, message, "insufficient_quota", "insufficient_quota")
