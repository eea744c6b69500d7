"""The words in which the settings speak of batches."""

from enum import StrEnum


class BatchOutcome(StrEnum):
    """How batches end."""

    COMPLETED = "completed"
    """All rows were worked on."""

    EXPIRED = "expired"
    """Time ran out: some rows finished and are billed, the others stand in the error file."""

    FAILED = "failed"
    """No row was worked on, and nothing is billed."""


class BatchStep(StrEnum):
    """What a client asks of the Batch API."""

    UPLOAD = "upload"
    CREATE = "create"
    RETRIEVE = "retrieve"
    LIST = "list"
    CONTENT = "content"
    CANCEL = "cancel"


class StepFault(StrEnum):
    """What becomes of an answer though the work is done."""

    SERVER_ERROR = "server_error"
    """500."""

    CONNECTION_RESET = "connection_reset"
    """The TCP connection is reset without an answer."""
