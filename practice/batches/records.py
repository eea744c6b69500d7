"""What is kept of files and batches, in the folder and over restarts."""

from typing import Any

from pydantic import BaseModel, ConfigDict, NonNegativeFloat

DAY_SECONDS = 24 * 60 * 60
FILE_LIFE_SECONDS = 30 * DAY_SECONDS
"""How long OpenAI keeps the files of batches."""


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class FileRecord(_Record):
    """A file that was uploaded, or that a batch left."""

    id: str
    filename: str
    purpose: str
    bytes: int
    created_at: float
    expires_at: float | None

    def body(self) -> dict[str, Any]:
        """The file as OpenAI describes it."""
        return {
            "id": self.id,
            "object": "file",
            "bytes": self.bytes,
            "created_at": int(self.created_at),
            "expires_at": None if self.expires_at is None else int(self.expires_at),
            "filename": self.filename,
            "purpose": self.purpose,
            "status": "processed",
            "status_details": None,
        }


class Mistake(_Record):
    """Why a batch failed; `line` counts from 1."""

    code: str
    message: str
    line: int | None = None
    param: str | None = None


class Checked(_Record):
    """What reading the input showed."""

    total: int = 0
    model: str | None = None
    input_tokens: int = 0
    mistakes: tuple[Mistake, ...] = ()


class Bill(_Record):
    """The rows of a batch that were answered with 200, and their tokens."""

    rows: int = 0
    rows_missing: int = 0
    """Of these rows, the ones that stand in no file."""
    input_tokens: int = 0
    cached_input_tokens: int = 0
    output_tokens: int = 0
    unseen_input_tokens: int = 0
    """Of these tokens, the ones of rows that stand in no file or don't tell their tokens."""
    unseen_output_tokens: int = 0


class Ended(_Record):
    """The results of a batch, once they are made: from then on nothing changes them."""

    status: str
    ended_at: float
    output_file_id: str | None = None
    error_file_id: str | None = None
    failed: int = 0
    bill: Bill = Bill()


class BatchRecord(_Record):
    """A batch: what was asked, and what has become of it so far."""

    id: str
    endpoint: str
    input_file_id: str
    completion_window: str
    metadata: dict[str, str] | None
    output_life_seconds: NonNegativeFloat
    created_at: float
    cancel_asked_at: float | None = None
    deleted: bool = False
    """Nobody is told of it any more, but for the totals."""
    checked: Checked | None = None
    ended: Ended | None = None
